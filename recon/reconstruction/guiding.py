"""Guides of priors: how one is read, what a certificate says of it, and how much it matters."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon import io
from recon.certificates import Condition, Given
from recon.device import Notify
from recon.errors import ConsistencyError, InputError, UsageError
from recon.evidence import Evidence, finite_or_none
from recon.io import Image
from recon.methods.setting import Method
from recon.priors import Prior
from recon.reconstruction.problem import Problem, back_projection

if TYPE_CHECKING:
    from recon.reconstruction.plan import Plan

GIVEN = Given(
    "the guide",
    "anything of the map from the data to the result where the guide follows the data: it need not be nonexpansive",
)

_FAR = 0.5
"""The distance of a guide from the first look at the data, relative to that look less its mean, that is remarked on."""


@dataclass(frozen=True)
class GuideFigures:
    """How much a guide matters, as measured on the result.

    Attributes:
        changed: The distance of the result from the first reconstruction, which was the guide, relative to the latter;
            ``None`` where there was none.
        from_guide: The distance of the result from a guide of the user's, relative to the guide; else ``None``.
        weights: The least and the largest weight that the guide gave.
        mean: The mean weight.
        bounds: The least and the largest weight that any guide could give.
    """

    changed: float | None
    from_guide: float | None
    weights: tuple[float, float]
    mean: float
    bounds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "changed": None if self.changed is None else finite_or_none(self.changed),  # of a blank image
            "from_guide": None if self.from_guide is None else finite_or_none(self.from_guide),
            "weights": list(self.weights),
            "mean": self.mean,
            "bounds": list(self.bounds),
            "evidence": Evidence.MEASURED.value,
        }

    def __str__(self) -> str:
        moved = (
            f"the result is {self.from_guide:.2%} of the image from the guide"
            if self.changed is None and self.from_guide is not None
            else f"the result is {self.changed:.2%} of the image from the first reconstruction"
        )
        low, high = self.weights
        return f"{moved} (measured); weights {low:.3g} to {high:.3g}, mean {self.mean:.3g}"


def guide_figures(plan: "Plan", x: Tensor, first: Tensor | None) -> GuideFigures | None:
    """How much the guide of a plan matters to its result; ``None`` where there is no guide.

    Args:
        plan: What was run.
        x: The result, on the scale of the problem.
        first: The first reconstruction, of which the guide was made.
    """
    mask = plan.problem.prior.prior.mask
    if plan.guide is None or mask is None:
        return None
    changed = None if first is None else _relative(x, first)
    from_guide = _relative(x, plan.guide) if first is None else None
    return GuideFigures(changed, from_guide, (mask.low, mask.high), mask.mean, mask.bounds)


def guided_method(method: Method, prior: Prior) -> Method:
    """The method with a certificate that says what is given, and which weights the guide gave."""
    mask = prior.mask
    assert mask is not None  # noqa: S101  a prior that a guide gave has a mask
    low, high = mask.bounds
    conditions = (
        Condition(
            "least weight of the guide", mask.low, ">", 0.0, mask.low > 0, Evidence.PROVED,
            f"the weights are clamped to at least {low:g}: the penalty stays convex",
        ),
        Condition(
            "largest weight of the guide", mask.high, "<=", high, mask.high <= high, Evidence.PROVED,
            f"the weights are clamped to at most {high:g}",
        ),
    )  # fmt: skip
    return replace(method, certificate=method.certificate.with_guide(GIVEN, conditions))


def read_guide(problem: Problem, say: Notify, image: Image | None = None) -> Tensor:
    """The guide on the scale of the problem, (frames, channels, height, width): of a file, or an image in its place.

    A guide in the units of the data is taken on their scale, any other on its own. One of a single channel or frame
    serves all.

    Args:
        problem: With a prior that takes a guide.
        say: Where remarks go.
        image: The guide, where no file is named.

    Raises:
        UsageError: The prior takes no guide.
        InputError: It cannot be read, or is constant.
        ConsistencyError: It has another size, or lies elsewhere.
    """
    named = problem.config.guide or "the guide"
    if problem.prior.guided is None and problem.prior.spec.name == "tv":
        raise UsageError(
            f"guide is {named!r} with {problem.prior.spec}; expected no smoothing=, because rounded total variation "
            "takes no guide."
        )
    if problem.prior.guided is None:
        raise UsageError(
            f"guide is {named!r} with the prior {problem.prior.spec}; expected tv or a guided model, as in --prior "
            "model:guided-gray, because no other takes a guide."
        )
    path = Path(named)
    guide, template = io.read(path) if image is None else image, problem.template
    if guide.source.format == "dicom":
        path = Path("the DICOM guide")  # its own name may be the patient's
    _check_place(path, guide, template, problem.image_shape)
    alike = guide.units == template.units
    if alike and (guide.units or guide.source.dtype == template.source.dtype):
        guide = replace(guide, value_range=template.value_range)
    elif not alike:
        say(
            f"{path.name}: the guide is in {guide.units or 'no units'} and the result in "
            f"{template.units or 'no units'}; it is taken on its own scale of grey values"
        )
    if guide.pixels.dtype.kind == "c":
        raise InputError(f"{path}: the guide is complex; expected an image of real numbers.")
    pixels = _fitted(path, io.to_tensor(guide, problem.measurement.dtype.to_real()), problem)
    if not float(pixels.std()) > 0:
        raise InputError(
            f"{path}: the guide is constant; expected an image with edges, because they decide where the prior smooths."
        )
    _say_distance(path, pixels, problem, say)
    return pixels


def _fitted(path: Path, pixels: Tensor, problem: Problem) -> Tensor:
    frames, channels = problem.measurement.shape[:2]
    pixels = pixels.to(problem.device)
    if pixels.shape[0] not in (1, frames) or pixels.shape[1] not in (1, channels):
        raise ConsistencyError(
            f"{path}: the guide has {pixels.shape[0]} frame(s) of {pixels.shape[1]} channel(s); expected {frames} "
            f"frame(s) of {channels} channel(s), as the data have, or 1 that serves all."
        )
    return pixels.expand(frames, channels, *pixels.shape[2:]).contiguous()


def _check_place(path: Path, guide: Image, template: Image, shape: tuple[int, ...]) -> None:
    found = (guide.height, guide.width)
    if found != tuple(shape[-2:]) or len(shape) != 2:
        raise ConsistencyError(
            f"{path}: the guide has {found[0]} x {found[1]} pixels; expected {' x '.join(map(str, shape))}, as the "
            "result has, because it weighs the prior pixel by pixel."
        )
    for what, of_guide, of_data in io.differing_places(guide, template):
        raise ConsistencyError(
            f"{path}: the guide's {what} is {of_guide}; expected {of_data}, the data's, because it weighs the prior "
            "pixel by pixel."
        )


@torch.no_grad()
def _say_distance(path: Path, guide: Tensor, problem: Problem, say: Notify) -> None:
    """Say how far the guide is from what the data show at first sight, where that is far."""
    if problem.prior.model is None:
        return  # total variation looks at the edges of a guide, whatever its scale
    look = problem.start
    if look is None:
        look = back_projection(problem.operator, problem.measurement)
    if look.is_complex() or look.shape != guide.shape:
        return
    spread = float((look - look.mean()).norm())
    distance = float((guide - look).norm()) / spread if spread else math.inf
    if distance > _FAR:
        say(
            f"{path.name}: the guide is {distance:.2g} of the contrast away from the first look at the data; the "
            "result still fits the data, and is smoothed where the guide is flat"
        )


def _relative(x: Tensor, y: Tensor) -> float:
    size = float(torch.linalg.vector_norm(y))
    return float(torch.linalg.vector_norm(x - y)) / size if size else math.inf
