"""Surrogates of a projector's adjoint, by name: back-projections that practice uses in its place.

None of them is the adjoint. Each is a linear map K from sinograms to images with its exact transpose, so that
:func:`recon.operators.mismatch_of` can say what its choice costs: how far K is from the adjoint, and whether K A is
still monotone, on which the guarantees of the solvers rest. docs/calibration.md
has both numbers for each of them on a small scan.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from recon._suggest import unknown_name
from recon.errors import UsageError
from recon.operators._checks import require_member
from recon.operators.base import Buffer, Space
from recon.operators.tomography.analytic.fdk import inverse
from recon.operators.tomography.geometry.geometry import Geometry, Volume, views
from recon.operators.tomography.projectors.projector import Tomography, _Linear
from recon.operators.tomography.projectors.rays import fan_angles
from recon.operators.tomography.unmatched.pixel_driven import PixelDriven, require_slice
from recon.types import Map


@final
@dataclass(frozen=True)
class Surrogate:
    """A back-projection K under its own name, as a map, and as the operator whose adjoint it is.

    Calling it applies K. ``A_adjoint`` is K, and ``A`` its exact transpose: not the projector that it serves, but the
    one that it would be the adjoint of. Autograd through either applies the other.

    Attributes:
        name: As it was asked for, with its options: ``views:every=4``.
        domain: The images.
        range: The sinograms.
        back: K, without autograd.
        forward: Its transpose, without autograd.
    """

    name: str
    domain: Space
    range: Space
    back: Map
    forward: Map

    def __call__(self, y: Tensor) -> Tensor:
        """K: (..., views, detector pixels) -> (..., rows, columns)."""
        return self.A_adjoint(y)

    def A(self, x: Tensor) -> Tensor:
        """The transpose of K: (..., rows, columns) -> (..., views, detector pixels)."""
        require_member(self.name, "image", x, self.domain)
        projected: Tensor = _Linear.apply(x, self.forward, self.back)
        return projected

    def A_adjoint(self, y: Tensor) -> Tensor:
        """K: (..., views, detector pixels) -> (..., rows, columns)."""
        require_member(self.name, "sinogram", y, self.range)
        image: Tensor = _Linear.apply(y, self.back, self.forward)
        return image


Pair = tuple[Map, Map]
"""K and its transpose."""


def pixel_driven(operator: Tomography, *, weights: str = "density", bits: int | None = None) -> Pair:
    """The back-projection of industry: each pixel reads the sinogram at its shadow, by linear interpolation.

    The pixel's width and the angle at which a ray crosses it go unseen; Joseph's method, the projector's, knows both.
    Where the weights of a pixel sum to the same in both, in every view, the two differ in the sharpness of that
    reading only: for parallel rays the sum is ``pitch of the image^2 / pitch of the detector``, the area of a pixel
    over the distance of two rays.

    Args:
        operator: The projector.
        weights: Of a fan: ``density``, the area of a pixel over the distance of two rays where the pixel is;
            ``constant``, over their distance on the axis of rotation.
        bits: To how many binary digits a position between two detector pixels is rounded, 8 in the texture units of
            GPUs; ``None`` for not at all.
    """
    if weights not in ("density", "constant"):
        raise unknown_name(weights, ("density", "constant"), "choice of weights")
    if bits is not None:
        _require_integer("pixel-driven", "bits", bits, 0, 16)
    geometry = operator.geometry
    pixels = PixelDriven(geometry, int(weights == "density"), bits)
    scale = Buffer(_ray_density(geometry, weights))
    return lambda y: pixels.back(y * scale.like(y)), lambda x: pixels.spread(x) * scale.like(x)


def nearest(operator: Tomography, *, weights: str = "density") -> Pair:
    """The pixel-driven back-projection without interpolation: each pixel reads the detector pixel nearest its shadow.

    It stands for low precision. A sinogram rounded to 16 bits gives a map that is not linear, and so has no transpose
    and none of the constants; positions rounded to whole detector pixels give one that is, and is in use.

    Args:
        operator: The projector.
        weights: As for ``pixel-driven``.
    """
    return pixel_driven(operator, weights=weights, bits=0)


def filtered(operator: Tomography, *, window: str = "ram-lak") -> Pair:
    """Filtered back-projection, FDK of a cone: nearly an inverse of A instead of its adjoint, hence a preconditioner.

    K A is nearly the identity on what the scan sees, while A^T A weighs an image's frequencies by 1 / |f|; no multiple
    of K is near A^T.

    Args:
        operator: The projector.
        window: Of the ramp, as in :func:`recon.operators.tomography.analytic.fbp`.
    """
    inverted = inverse(operator.geometry, window)
    return inverted, inverted.transpose


def some_views(operator: Tomography, *, every: int = 4) -> Pair:
    """The exact back-projection of every ``every``-th view only, times as many; the other views are never looked at.

    Far from the adjoint, and harmless: with A_s the views that are kept, K A is a multiple of A_s^T A_s, symmetric and
    monotone. What is solved is the problem of those views alone.

    Args:
        operator: The projector.
        every: From 1, which is the adjoint, to the number of views.
    """
    count = len(operator.geometry.angles)
    _require_integer("views", "every", every, 1, count)
    some = replace(operator, geometry=views(operator.geometry, range(0, count, every)))
    scale = count / len(some.geometry.angles)

    kept = torch.arange(0, count, every)
    rank, axis = len(operator.domain.shape), -len(operator.range.shape)

    def forward(x: Tensor) -> Tensor:
        y = x.new_zeros(*x.shape[: x.ndim - rank], *operator.range.shape)
        return y.index_copy_(axis, kept.to(x.device), scale * some.A(x))

    return lambda y: scale * some.A_adjoint(y.index_select(axis, kept.to(y.device))), forward


def coarse(operator: Tomography, *, factor: int = 2) -> Pair:
    """The exact back-projection onto a coarser grid, interpolated linearly to the fine one.

    Args:
        operator: The projector.
        factor: Pixels of the image along a side of one of the coarser grid; 1 is the adjoint.
    """
    rows, columns = operator.geometry.image_shape
    _require_integer("coarse", "factor", factor, 1, min(rows, columns))
    coarser = replace(operator, geometry=replace(operator.geometry, volume=_coarser(operator.geometry.volume, factor)))
    up, across = Buffer(_interpolation(rows, factor)), Buffer(_interpolation(columns, factor))

    def back(y: Tensor) -> Tensor:
        return up.like(y) @ (coarser.A_adjoint(y) / factor**2) @ across.like(y).T

    return back, lambda x: coarser.A(up.like(x).T @ x @ across.like(x)) / factor**2


def astra(operator: Tomography, *, projector: str = "line") -> Pair:
    """The back-projection of the ASTRA toolbox, which must be installed: ``pip install recon-imaging[astra]``.

    In single precision. On the CPU, the exact transpose of ASTRA's own projector, which is not ours.

    Args:
        operator: The projector.
        projector: ``line``, the lengths of intersections; for parallel rays ``strip``, their areas, and ``linear``,
            which is Joseph's method; ``cuda``, pixel-driven on the GPU, whose transpose ASTRA does not have: without it
            K can run, and its constants are not to be had.
    """
    from recon.operators.tomography.unmatched.astra import astra_pair  # noqa: PLC0415  an optional dependency

    return astra_pair(operator.geometry, projector)


SURROGATES: Mapping[str, Callable[..., Pair]] = {
    "pixel-driven": pixel_driven,
    "nearest": nearest,
    "fbp": filtered,
    "views": some_views,
    "coarse": coarse,
    "astra": astra,
}
"""Name to what makes it; each docstring says what it is."""


_OF_VOLUMES = ("fbp", "views")


def surrogate(name: str, operator: Tomography, **options: Any) -> Surrogate:
    """A surrogate of the adjoint of a projector, by name.

    Args:
        name: One of :data:`SURROGATES`.
        operator: The projector.
        options: Of that surrogate, as the keyword arguments of its function in :data:`SURROGATES`.

    Raises:
        UsageError: There is no such surrogate, it has no such option, or the option has no such value.
        ConsistencyError: The geometry is not one for which it exists.
    """
    if name not in SURROGATES:
        raise unknown_name(name, SURROGATES, "surrogate")
    known = options_of(name)
    for option in options:
        if option not in known:
            raise unknown_name(option, known, f"option of the surrogate {name!r}")
    if name not in _OF_VOLUMES:
        require_slice(f"surrogate {name!r}", operator.geometry)
    back, forward = SURROGATES[name](operator, **options)
    chosen = ",".join(f"{option}={value}" for option, value in options.items())
    return Surrogate(f"{name}:{chosen}" if chosen else name, operator.domain, operator.range, back, forward)


def options_of(name: str) -> dict[str, Any]:
    """The options of a surrogate and their defaults."""
    parameters = inspect.signature(SURROGATES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _ray_density(geometry: Geometry, weights: str) -> Tensor:
    """The area of an image's pixel over the distance of two rays on the axis of rotation, (1, detector pixels).

    With ``density`` divided by the cosine of a flat fan's rays, which are closer to each other towards the edge.
    """
    scale = geometry.volume.pitch**2 / geometry.detector.pitch
    if geometry.kind == "parallel":
        return torch.full((1, 1), scale, dtype=torch.float64)
    axis, distance = geometry.distances
    slanted = weights == "density" and geometry.detector.shape == "flat"
    cosines = np.cos(fan_angles(geometry)) if slanted else np.ones(1)
    return torch.from_numpy(scale * distance / axis / cosines)[None]


def _coarser(volume: Volume, factor: int) -> Volume:
    """Pixels ``factor`` times as large, from the same upper left corner; the last ones may reach beyond the others."""
    rows, columns = (math.ceil(pixels / factor) for pixels in volume.pixels)
    right = (columns * factor - volume.pixels[1]) / 2 * volume.pitch
    down = (rows * factor - volume.pixels[0]) / 2 * volume.pitch
    x, y = volume.offset
    return Volume((rows, columns), volume.pitch * factor, (x + right, y - down))


def _interpolation(fine: int, factor: int) -> Tensor:
    """The matrix (fine, coarse) of linear interpolation along one side, constant beyond the outermost centres."""
    coarse = math.ceil(fine / factor)
    place = ((torch.arange(fine, dtype=torch.float64) + 0.5) / factor - 0.5).clamp(0, coarse - 1)
    return (1 - (place[:, None] - torch.arange(coarse, dtype=torch.float64)).abs()).clamp(min=0)


def _require_integer(name: str, option: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name}: {option} is {value!r}; expected a whole number from {low} to {high}.")
