"""The refusal of a measurement in other units than the images that a prior was made for."""

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.operators import DataResolvent, LeastSquares
from recon.priors import ResolventProperties, name_of
from recon.types import Map

MOST = 16.0
"""How much larger a back-projected measurement may be than that of an image with half of its pixels at the far end.

A measurement of the images that a prior was made for is at most twice as large, but for its noise; of numbers from 0 to
255 in place of [0, 1] it is about 200 times as large.
"""


def refuse_other_units(solver: str, data: Map | None, *priors: Map) -> None:
    """Refuse a data term whose measurement no image explains that a prior was made for.

    Such a run would be solved, and certified, and its image would be nonsense: a box of [0, 1] is full, and a network
    sees what it never saw. Where the prior or the data term does not know its scale, nothing is refused.

    Args:
        solver: The name of the solver.
        data: Its data term: :class:`LeastSquares`, or its resolvent.
        priors: Resolvents of priors.

    Raises:
        UsageError: It is in other units.
    """
    term = data.data if isinstance(data, DataResolvent) else data
    if not isinstance(term, LeastSquares):
        return
    for prior in priors:
        known = getattr(prior, "properties", None)
        values = known.values if isinstance(known, ResolventProperties) else None
        if values is None or not any(values):
            continue
        factor = times_too_large(term, max(map(abs, values)))
        if factor > MOST:
            raise UsageError(
                f"{solver}: the measurement is about {factor:.2g} times as large as those of images with values from "
                f"{values[0]:g} to {values[1]:g}, for which {name_of(prior)} was made; expected it on the same scale: "
                "divide it, and its noise, by what makes these values of the image, or scale the prior, as "
                "recon.priors.scaled does."
            )


@torch.no_grad()
def times_too_large(data: LeastSquares, far: float) -> float:
    """``||K y||`` over ``||K A x||``, where half of the pixels of x, at random, are ``far``, and the others 0.

    The largest of the batch. Back-projected, what is not measured does not count.
    """
    back = data.operator.A_adjoint if data.surrogate is None else data.surrogate
    found = back(data.measurement)
    drawn = torch.rand(found[:1].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    seen = back(data.operator.A(far * drawn.to(found.device).to(found.dtype)))
    size = float(_norms(seen).max())
    return float(_norms(found).max()) / size if size else 0.0


def _norms(x: Tensor) -> Tensor:
    """The norm of each batch item, in double precision."""
    parts = torch.view_as_real(x) if x.is_complex() else x
    return parts.flatten(1).double().square().sum(1).sqrt()
