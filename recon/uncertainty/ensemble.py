"""The spread of the solutions of several priors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.reconstruction.run import Result
from recon.solvers.chains import block_means
from recon.uncertainty.maps import DONE, Maps


@torch.no_grad()
def ensemble(results: Sequence[Result]) -> Maps:
    """Mean and standard deviation of the solutions of one measurement by several priors.

    Args:
        results: One for each prior; the scale is that of the first.

    Raises:
        UsageError: There are fewer than two.
    """
    if len(results) < 2:
        raise UsageError(
            f"prior: {len(results)} was given with --method ensemble; expected at least two, each with --prior, "
            "because the spread of one is 0."
        )
    images = torch.stack([_on_scale_of(results[0], result) for result in results])
    mean = images.mean(0)
    regions = torch.stack([block_means(image - mean) for image in images])
    spread = (images - mean).abs().square().sum(0).div(len(images) - 1).sqrt()
    block = regions.square().sum(0).div(len(images) - 1).sqrt()
    specs = [str(result.plan.problem.prior.spec) for result in results]
    sentence = f"The spread of the solutions of {len(images)} priors; it has no claim of its own."
    return Maps(mean, spread, block, DONE, sentence, {"priors": specs})


def _on_scale_of(first: Result, result: Result) -> Tensor:
    scale, users = first.plan.problem.scale, result.plan.problem.scale.undo(result.solution.x)
    return users * scale.factor + scale.offset
