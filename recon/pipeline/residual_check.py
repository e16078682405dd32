"""The residual ``A x - y`` of a result, compared with the noise that the run was told of, estimated or counted.

With the right noise and the right operator the residual of a regularised result looks like the noise: about as large,
and as little correlated. What is larger, smaller or smoother is said; it is a remark, and refuses nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.imaging import to_tensor
from recon.imaging.noise_estimate import signal
from recon.operators import Identity
from recon.pipeline import scan
from recon.pipeline.problem import Problem, noise_seen

Planes = NDArray[Any]
Mask = NDArray[np.bool_]

APART = 2.0
"""By how much the residual and the noise may differ."""

SMOOTH = 0.25
"""Of the mean square of the residual, that may be in the means of blocks: 1/64 of white noise is.

Of simulated measurements with the right noise it is 0.001 to 0.04: identity, blur, inpainting and downsampling of four
images of 128 x 128 pixels, with noise of 0.005 and 0.05 and total variation.
"""

TANGIBLE = 0.5
"""Of the noise, the least root mean square of a smooth part that is worth a remark."""

UNCHANGED = 0.02
"""Of the noise: a result that is nearer to its input removed none of it."""

_BLOCK = 8
_BORDER = 8
_FEWEST = 256


@dataclass(frozen=True)
class ResidualCheck:
    """How large the residual is, on the scale of the solver.

    Attributes:
        noise: The standard deviation of the noise that the run used; NaN where it used none.
        source: ``stated``, ``counted`` of photon counts, ``estimated``, or ``unknown``.
        inside: The root mean square of the residual over the object; NaN where it is too small.
        border: Over the border of the measurement; NaN where there is none to speak of.
        smooth: The share of its mean square, over the object, in the means of blocks of 8 x 8.
        unchanged: Whether the result is the input.
        seen: The noise of the measurement by :func:`recon.imaging.noise_estimate.estimate_noise`; NaN where a
            measurement does not tell.
    """

    noise: float
    source: str
    inside: float = math.nan
    border: float = math.nan
    smooth: float = math.nan
    unchanged: bool = False
    seen: float = math.nan

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of this a user should know, a sentence each."""
        found = (self._large(), self._small(), self._at_border(), self._structure(), self._same())
        return tuple(sentence for sentence in found if sentence)

    def to_json(self) -> dict[str, object]:
        """As plain values; a figure that does not exist is null."""
        figures = {name: getattr(self, name) for name in ("noise", "inside", "border", "smooth", "seen")}
        plain: dict[str, object] = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        return {**plain, "noise_source": self.source, "unchanged": self.unchanged, "remarks": list(self.remarks)}

    def _large(self) -> str:
        if not self.inside > APART * self.noise:
            return ""
        return (
            f"the residual over the object is {self.inside / self.noise:.2g} times the noise level {self.noise:.3g} that "
            f"was {self.source}; expected about as much: the noise is stronger, the prior too strong, or the operator "
            "not that of the measurement"
        )

    def _small(self) -> str:
        if not (self.inside < self.noise / APART and self.seen < self.noise / APART):
            return ""
        return (
            f"the residual over the object is {self.inside / self.noise:.2g} times the noise level {self.noise:.3g} that "
            f"was {self.source}, and the measurement looks like noise of {self.seen:.3g}; expected about as much: a "
            "level that is too high takes details away"
        )

    def _at_border(self) -> str:
        if not (self.border > APART * self.noise and not self.border < APART * self.inside):
            return ""
        return (
            f"the residual along the border is {self.border / self.noise:.2g} times the noise level {self.noise:.3g}; "
            "expected about as much: the measurement goes on beyond its border, and the operator does not (of a blur, "
            "boundary=valid does)"
        )

    def _structure(self) -> str:
        smooth = math.sqrt(self.smooth) * self.inside if math.isfinite(self.smooth) else 0.0
        if not (self.smooth > SMOOTH and smooth > TANGIBLE * self.noise):
            return ""
        return (
            f"the residual over the object has structure: {100 * self.smooth:.0f} % of its mean square is in means over "
            f"{_BLOCK} x {_BLOCK} pixels, of noise it is {100 / _BLOCK**2:.0f} %; the operator does not explain the "
            "measurement, as with beam hardening, scatter, or a wrong kernel"
        )

    def _same(self) -> str:
        level = f" at a noise level of {self.noise:.3g}" if math.isfinite(self.noise) else ""
        return f"the result equals the input: the prior takes nothing away{level}" if self.unchanged else ""


@torch.no_grad()
def check_residual(problem: Problem, x: Tensor) -> ResidualCheck:
    """Compare the residual of a result with the noise, where that is known."""
    noise = problem.noise or math.nan
    unchanged = _is_unchanged(problem, x, noise)
    if not problem.noise:
        return ResidualCheck(noise, "unknown", unchanged=unchanged)
    measurement = _planes(problem.measurement)
    residual = _planes(problem.operator.A(x)) - measurement
    measured, border = (residual != 0) | (measurement != 0), _border(problem, measurement.shape)
    inside = measured & ~border & _object(problem, measurement.shape)
    square = np.square(np.abs(residual)) / (2 if np.iscomplexobj(residual) else 1)  # sigma is of each part
    return ResidualCheck(
        noise,
        _source(problem),
        _root_mean(square, inside),
        _root_mean(square, measured & border),
        math.nan if np.iscomplexobj(residual) else _smooth_share(residual, inside),
        unchanged,
        noise_seen(problem),
    )


def _planes(values: Tensor) -> Planes:
    """Values as planes (planes, height, width), in double precision."""
    every: Planes = values.detach().cpu().numpy()
    kind = np.complex128 if np.iscomplexobj(every) else np.float64
    return every.reshape(-1, *every.shape[-2:]).astype(kind)


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
    """Whether the result of denoising is its input, to within a fiftieth of the noise, or rounding."""
    if not isinstance(problem.operator, Identity) or problem.prior.spec.name == "none":
        return False
    apart = float((x - problem.measurement).double().square().mean().sqrt())
    return apart <= max(UNCHANGED * noise if math.isfinite(noise) else 0.0, 1e-7)
