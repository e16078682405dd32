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

from recon.io import Image, to_tensor
from recon.io.noise_estimate import estimate_noise, signal
from recon.operators import CircularBlur, Identity, Inpainting
from recon.operators.tomography import WeightedTomography
from recon.reconstruction import ct_input
from recon.reconstruction.problem import ESTIMABLE, Problem, is_reconstructed
from recon.reconstruction.volumes import some_of

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

OF_PROJECTIONS = "a wrong axis of rotation or geometry, beam hardening, or scatter"
OF_IMAGES = "a wrong kernel or mask"
"""Usual causes of a residual with structure."""

UNCHANGED = 0.02
"""Of the noise: a result that is nearer to its input removed none of it."""

DARK = 0.004
"""Of the pixels of a restored image, that may be darker than its measurement by a quarter of the range of this.

With the right kernel and boundary it is below 0.0005: photographs and points of light, four kernels, total variation.
Of photographs that are taken for periodic it is 0.009 to 0.05, of a wrong kernel up to 0.19.
"""

_BLOCK = 8
_BORDER = 8
_FEWEST = 256
_LOOKED_AT = 32


@dataclass(frozen=True)
class ResidualCheck:
    """The size of the residual, on the scale of the solver.

    Attributes:
        noise: The standard deviation of the noise that the run used; NaN where it used none.
        source: ``stated``, ``counted`` of photon counts, ``estimated``, or ``unknown``.
        inside: The root mean square of the residual over the object; NaN where it is too small.
        border: Over the border of the measurement; NaN where there is none to speak of.
        smooth: The share of its mean square, over the object, in the means of blocks of 8 x 8.
        unchanged: Whether the result is the input.
        seen: The noise of the measurement by :func:`recon.io.noise_estimate.estimate_noise`; NaN where a
            measurement does not tell.
        converged: Whether the run had converged; else its residual may be larger than that of its limit.
        level: The noise in the units of the measurement, as the remarks give it.
        causes: Of a residual with structure.
        dark: The share of pixels of the result that are darker than each pixel of a blurred measurement, by more than a
            quarter of the range of its values; NaN where the measurement is no blurred image.
        periodic: Whether the operator takes the image to continue at the opposite edge.
    """

    noise: float
    source: str
    inside: float = math.nan
    border: float = math.nan
    smooth: float = math.nan
    unchanged: bool = False
    seen: float = math.nan
    converged: bool = True
    level: str = ""
    causes: str = OF_IMAGES
    dark: float = math.nan
    periodic: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of this a user should know, a sentence each."""
        early = "" if self.converged else "; the run had not converged, which may be why"
        found = (self._large(), self._at_border(), self._structure())
        excess = tuple(sentence + early for sentence in found if sentence)
        return excess + tuple(sentence for sentence in (self._small(), self._same(), self._dark()) if sentence)

    def to_json(self) -> dict[str, object]:
        """Return plain values; a figure that does not exist is null."""
        figures = {name: getattr(self, name) for name in ("noise", "inside", "border", "smooth", "seen", "dark")}
        plain: dict[str, object] = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        return {**plain, "noise_source": self.source, "unchanged": self.unchanged, "remarks": list(self.remarks)}

    def _large(self) -> str:
        if not self.inside > APART * self.noise:
            return ""
        return (
            f"the residual over the object is {self.inside / self.noise:.2g} times the noise level {self.level} "
            f"that was {self.source}; expected about as much: the noise is stronger, the prior too strong, or the "
            "operator not that of the measurement"
        )

    def _small(self) -> str:
        if not (self.inside < self.noise / APART and self.seen < self.noise / APART):
            return ""
        return (
            f"the residual over the object is {self.inside / self.noise:.2g} times the noise level {self.level} "
            f"that was {self.source}, and the measurement looks like {self.seen / self.noise:.2g} times that level; "
            "expected about 1: a level that is too high takes details away"
        )

    def _at_border(self) -> str:
        if not (self.border > APART * self.noise and not self.border < APART * self.inside):
            return ""
        return (
            f"the residual along the border is {self.border / self.noise:.2g} times the noise level {self.level}; "
            "expected about as much: the measurement goes on beyond its border, and the operator does not (of a blur, "
            "boundary=valid does)"
        )

    def _structure(self) -> str:
        smooth = math.sqrt(self.smooth) * self.inside if math.isfinite(self.smooth) else 0.0
        if not (self.smooth > SMOOTH and smooth > TANGIBLE * self.noise):
            return ""
        return (
            f"the residual over the object has structure: {100 * self.smooth:.0f} % of its mean square is in means "
            f"over {_BLOCK} x {_BLOCK} pixels, of noise it is {100 / _BLOCK**2:.0f} %; the operator does not explain "
            f"the measurement, as with {self.causes}"
        )

    def _same(self) -> str:
        level = f" at a noise level of {self.level}" if self.level else ""
        return f"the result equals the input: the prior takes nothing away{level}" if self.unchanged else ""

    def _dark(self) -> str:
        if not self.dark > DARK:
            return ""
        border = ", or the image does not go on at the opposite edge (a photograph needs boundary=valid)"
        return (
            f"{100 * self.dark:.2g} % of the pixels of the result are darker than all of the measurement, by more than "
            "a quarter of the range of its values: the prior is too weak for the noise, or the kernel another one"
            f"{border if self.periodic else ''}"
        )


@torch.no_grad()
def check_residual(problem: Problem, x: Tensor, converged: bool = True) -> ResidualCheck:
    """Compare the residual of a result with the noise, where that is known."""
    noise = problem.noise or math.nan
    unchanged = _is_unchanged(problem, x, noise)
    if not problem.noise:
        return ResidualCheck(noise, "unknown", unchanged=unchanged, converged=converged)
    count = problem.measurement[..., 0, 0].numel()
    some = slice(None, None, max(1, count // _LOOKED_AT))
    measurement, image = _planes(_measured(problem), some), _planes(_image(problem), some)
    residual = _planes(problem.operator.A(x), some) - measurement
    measured, border = (residual != 0) | (measurement != 0), _border(problem, measurement.shape)
    inside = measured & ~border & _object(problem, image)
    square = np.square(np.abs(residual)) / (2 if np.iscomplexobj(residual) else 1)  # sigma is of each part
    return ResidualCheck(
        noise,
        _source(problem),
        _root_mean(square, inside),
        _root_mean(square, measured & border),
        math.nan if np.iscomplexobj(residual) else _smooth_share(residual, inside),
        unchanged,
        _noise_seen(problem, image, some),
        converged,
        _in_units(problem.noise, problem.image),
        OF_PROJECTIONS if problem.family.geometry is not None else OF_IMAGES,
        _dark_share(problem, x),
        isinstance(problem.slice_operator, CircularBlur),
    )


def _dark_share(problem: Problem, x: Tensor) -> float:
    """The share of pixels that are a quarter of the range of a blurred measurement below its least value."""
    y = problem.measurement
    if problem.family.spec.name != "blur" or y.is_complex():
        return math.nan
    return float((x < y.min() - (y.max() - y.min()) / 4).double().mean())


def _measured(problem: Problem) -> Tensor:
    """The measurement where there is one: a file may hold anything in the pixels that a mask leaves out."""
    operator, y = problem.slice_operator, problem.measurement
    return problem.operator.A(y) if isinstance(operator, Inpainting) else y


def _planes(values: Tensor, some: slice) -> Planes:
    """Some planes (planes, height, width) of values, in double precision."""
    planes: Planes = values.detach().reshape(-1, *values.shape[-2:])[some].cpu().numpy()
    return planes.astype(np.complex128 if np.iscomplexobj(planes) else np.float64)


def _in_units(noise: float, image: Image) -> str:
    """A noise level as ``--noise`` takes it."""
    if image.source.format == "projections":
        return f"{noise * image.value_range.width:.3g}"
    return f"{noise * image.value_range.width:.3g}{image.units}" if image.units else f"{noise:.3g}"


def _source(problem: Problem) -> str:
    if problem.config.noise is not None:
        return "stated"
    return "estimated" if ct_input.noise_of(problem.image) is None else "counted"


def _image(problem: Problem) -> Tensor:
    """The measurement as it was read, without weights."""
    values = to_tensor(problem.image, torch.float64 if problem.layout is None else torch.float32)
    values = values.to(values.dtype.to_complex()) if problem.family.is_complex else values
    if problem.layout is not None:
        return problem.layout.items(values)
    geometry = problem.family.geometry
    return values if geometry is None else ct_input.as_items(values, geometry)


def _object(problem: Problem, image: Planes) -> Mask:
    """Return where the measurement is above air; all of a spectrum."""
    if problem.family.is_complex:
        return np.ones(image.shape, np.bool_)
    return np.stack([signal(np.abs(plane) if np.iscomplexobj(plane) else plane) for plane in image])


def _noise_seen(problem: Problem, image: Planes, some: slice) -> float:
    """The noise that the measurement shows; of weighted rays, that of a ray of weight 1.

    Weights are of the counts that were measured, so the noise of a weighted line integral is not its weight times that
    of the line integral: at an integral of 2 they cancel.
    """
    if problem.family.spec.name not in ESTIMABLE:
        return math.nan
    padding = () if problem.image.padding is None else problem.image.padding.reshape(-1, *image.shape[1:])[some]
    seen = estimate_noise(image, padding, is_reconstructed(problem.image, problem.family))
    operator = problem.slice_operator
    if not isinstance(operator, WeightedTomography):
        return seen
    root = _planes(operator.root.expand(problem.measurement.shape), some)
    lit = _object(problem, image) & (root > 0)
    return seen * float(np.median(root[lit])) if lit.any() else math.nan


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
    """Return whether the result of denoising is its input, to within a fiftieth of the noise, or rounding."""
    if not isinstance(problem.slice_operator, Identity) or problem.prior.spec.name == "none":
        return False
    y = problem.measurement
    if problem.layout is not None:
        x, y = (some_of(each.flatten(0, 2)) for each in (x, y))
    apart = float((x - y).abs().double().square().mean().sqrt())
    spread = float(y.abs().double().std(correction=0))
    return apart <= max(UNCHANGED * min(noise, spread) if math.isfinite(noise) else 0.0, 1e-7)
