"""The residual ``A x - y`` of a result, compared with the noise that the run was told of, estimated or counted.

With the right noise and the right operator the residual of a regularised result looks like the noise: about as large,
and as little correlated. What is larger, smaller or smoother is said; it is a remark, and refuses nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.imaging import to_tensor
from recon.imaging.noise_estimate import signal
from recon.operators import Identity
from recon.pipeline import scan
from recon.pipeline.problem import Problem

Planes = NDArray[np.float64]
Mask = NDArray[np.bool_]

APART = 2.0
"""By how much the residual and the noise may differ."""

SMOOTH = 0.25
"""Of the mean square of the residual, that may be in the means of blocks: 1/64 of white noise is."""

UNCHANGED = 0.02
"""Of the noise: a result that is nearer to its input removed none of it."""

_BLOCK = 8
_BORDER = 8
_FEWEST = 256
_UNREGULARISED = ("none", "box")


@dataclass(frozen=True)
class ResidualCheck:
    """How large the residual is, on the scale of the solver.

    Attributes:
        noise: The standard deviation of the noise that the run used.
        source: ``stated``, ``counted`` of photon counts, or ``estimated``.
        inside: The root mean square of the residual over the object; NaN where it is too small.
        border: Over the border of the measurement; NaN where there is none to speak of.
        smooth: The share of its mean square, over the object, in the means of blocks of 8 x 8.
        unchanged: Whether the result is the input.
        remarks: What of this a user should know, a sentence each.
    """

    noise: float
    source: str
    inside: float
    border: float
    smooth: float
    unchanged: bool
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As plain values; a figure that does not exist is null."""
        figures = {"noise": self.noise, "inside": self.inside, "border": self.border, "smooth": self.smooth}
        plain: dict[str, object] = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        return {**plain, "noise_source": self.source, "unchanged": self.unchanged, "remarks": list(self.remarks)}


@torch.no_grad()
def check_residual(problem: Problem, x: Tensor) -> ResidualCheck | None:
    """Compare the residual of a result with the noise; ``None`` where the noise is not known, or 0."""
    noise = problem.noise
    if not noise:
        return None
    residual = _planes(problem.operator.A(x) - problem.measurement)
    measured = (residual != 0) | (_planes(problem.measurement) != 0)
    border, usable = _border(problem, measured.shape), measured & _object(problem, measured.shape)
    square = np.square(np.abs(residual)) / (2 if np.iscomplexobj(residual) else 1)
    inside = _root_mean(square, usable & ~border)
    check = ResidualCheck(
        noise,
        _source(problem),
        inside,
        _root_mean(square, measured & border),
        math.nan if np.iscomplexobj(residual) else _smooth_share(residual, usable & ~border),
        _is_unchanged(problem, x, noise),
        (),
    )
    return check


def _planes(values: Tensor) -> NDArray[np.generic]:
    every: NDArray[np.generic] = values.detach().cpu().numpy()
    return every.reshape(-1, *every.shape[-2:])


def _source(problem: Problem) -> str:
    if problem.config.noise is not None:
        return "stated"
    return "estimated" if scan.noise_of(problem.image) is None else "counted"


def _object(problem: Problem, shape: tuple[int, ...]) -> Mask:
    """Where the measurement is above air; all of a spectrum."""
    if problem.measurement.is_complex():
        return np.ones(shape, np.bool_)
    values = to_tensor(problem.image, torch.float64)
    if problem.family.geometry is not None:
        values = scan.as_items(values, problem.family.geometry)
    return np.stack([signal(plane) for plane in values.numpy().reshape(shape)])


def _border(problem: Problem, shape: tuple[int, ...]) -> Mask:
    """The pixels near the border; of projections those near the ends of the detector; none of a spectrum."""
    border = np.zeros(shape, np.bool_)
    if problem.measurement.is_complex():
        return border
    sides = (2,) if problem.family.geometry is not None else (1, 2)
    for axis in sides:
        width = min(_BORDER, shape[axis] // 8)
        along = np.moveaxis(border, axis, 0)
        along[:width] = along[len(along) - width :] = True
    return border


def _root_mean(square: Planes, where: Mask) -> float:
    return math.sqrt(float(square[where].mean())) if np.count_nonzero(where) >= _FEWEST else math.nan


def _smooth_share(residual: Planes, where: Mask) -> float:
    """The share of the mean square that the means of blocks have, of the blocks that are at least half full."""
    rows, columns = (side // _BLOCK * _BLOCK for side in residual.shape[1:])
    shape = (len(residual), rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    inside = where[:, :rows, :columns].reshape(shape)
    values = np.where(inside, residual[:, :rows, :columns].reshape(shape), 0.0)
    count, total = inside.sum(axis=(2, 4)), values.sum(axis=(2, 4))
    squares = np.square(values).sum(axis=(2, 4))
    full = count >= _BLOCK**2 // 2
    whole = float(squares[full].sum())
    return float((np.square(total[full]) / count[full]).sum()) / whole if whole > 0 else math.nan


def _is_unchanged(problem: Problem, x: Tensor, noise: float) -> bool:
    if not isinstance(problem.operator, Identity):
        return False
    apart = (x - problem.measurement).double()
    return float(apart.square().mean().sqrt()) <= UNCHANGED * noise
