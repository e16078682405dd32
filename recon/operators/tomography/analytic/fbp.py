"""Filtered back-projection: the inverse of a scan in closed form."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from recon.errors import ConsistencyError
from recon.operators._checks import require_member
from recon.operators.base import Buffer, Space
from recon.operators.tomography.analytic.redundancy_weights import ray_weights, rim
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.projector import _Linear
from recon.operators.tomography.projectors.ramp_filter import convolve, ramp_taps
from recon.operators.tomography.projectors.rays import detector_coordinates, fan_angles
from recon.operators.tomography.unmatched.pixel_driven import PixelDriven, require_slice


@final
@dataclass(frozen=True)
class FilteredBackProjection:
    """The linear map from a sinogram to the image of which it holds the line integrals; build it with :func:`fbp`.

    For a fan the ramp acts on the cosine-weighted sinogram, and each pixel reads it with 1 / U^2, U its depth in units
    of the distance from source to axis; with an arc U is its distance from the source, and the ramp at the angle g is
    multiplied by (g / sin g)^2 (Kak and Slaney, section 3.4). What lies beside the detector counts as zero.

    Attributes:
        geometry: Of the scan.
        window: Of the ramp.
    """

    geometry: Geometry
    window: str = "ram-lak"

    def __post_init__(self) -> None:
        ramp_taps(1, self.window)
        require_slice("fbp", self.geometry)
        if self.geometry.kind == "fan":
            _refuse_half_circle(self.geometry)

    def __call__(self, y: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns), in 1/mm."""
        require_member("fbp", "sinogram", y, Space(self.geometry.sinogram_shape))
        image: Tensor = _Linear.apply(self.filtered(y), self._pixels.back, self._pixels.spread)
        return image

    def transpose(self, x: Tensor) -> Tensor:
        """The transposed map: (..., rows, columns) -> (..., views, detector pixels)."""
        require_member("fbp", "image", x, Space(self.geometry.image_shape))
        spread: Tensor = _Linear.apply(x, self._pixels.spread, self._pixels.back)
        return self.filtered_transpose(spread)

    def filtered(self, y: Tensor) -> Tensor:
        """Return the filtered sinogram: (..., views, detector pixels) -> (..., views, pixels of :attr:`wider`)."""
        return convolve(pad(y * self._weights.like(y), self._margin), self._taps)

    def filtered_transpose(self, z: Tensor) -> Tensor:
        """The transpose of :meth:`filtered`."""
        before, pixels = self._margin[0], self.geometry.detector.pixels
        return convolve(z, self._taps)[..., before : before + pixels] * self._weights.like(z)

    @cached_property
    def wider(self) -> Geometry:
        """The scan with the detector on which the filtered sinogram lies: as wide as the shadow of the whole image."""
        detector, (before, after) = self.geometry.detector, self._margin
        offset = detector.offset + (after - before) * detector.pitch / 2
        return replace(
            self.geometry, detector=replace(detector, pixels=before + detector.pixels + after, offset=offset)
        )

    @cached_property
    def _margin(self) -> tuple[int, int]:
        """Detector pixels to be put before and after those there are, until the whole image is seen.

        A sinogram that is zero there is no longer so after the ramp; without them nothing would cancel in the corners
        of the image, and the missing side of a detector off centre would be lost.
        """
        u, pitch, outermost = detector_coordinates(self.geometry), self.geometry.detector.pitch, rim(self.geometry)
        before, after = math.ceil((outermost + u[0]) / pitch), math.ceil((outermost - u[-1]) / pitch)
        return min(max(before, 0), len(u)), min(max(after, 0), len(u))

    @cached_property
    def _pixels(self) -> PixelDriven:
        return PixelDriven(self.wider, power=2)

    @cached_property
    def _taps(self) -> NDArray[np.float64]:
        detector = self.wider.detector
        taps = ramp_taps(detector.pixels, self.window)
        if detector.shape == "arc":
            taps = taps / np.sinc(np.arange(detector.pixels) * detector.pitch / self.geometry.distances[1] / np.pi) ** 2
        return taps

    @cached_property
    def _weights(self) -> Buffer:
        """Of the rays, over the pitch of the detector as it appears at the axis of rotation."""
        geometry, pitch, weights = self.geometry, self.geometry.detector.pitch, ray_weights(self.geometry)
        if geometry.kind == "fan":
            axis, distance = geometry.distances
            weights = weights * np.cos(fan_angles(geometry)) * distance / axis
        return Buffer(torch.from_numpy(weights / pitch))


def fbp(geometry: Geometry, window: str = "ram-lak") -> FilteredBackProjection:
    """The filtered back-projection of parallel or fan beams, as a differentiable linear map with its transpose.

    Any set of views: each stands for the arc half the way to its neighbours, so they need not be evenly spaced. Turns
    of 180 and of 360 degrees, a fan's part of a turn, and a detector off centre are told by the angles and the
    detector; a limited angle is left limited.

    Args:
        geometry: Of the scan.
        window: Of the ramp: ``ram-lak`` (none), ``shepp-logan``, ``cosine``, ``hamming``, ``hann``, from sharp to
            smooth.

    Raises:
        UsageError: There is no such window.
        ConsistencyError: The geometry is neither a parallel nor a fan beam, or its fan has 180 degrees or more.
    """
    return FilteredBackProjection(geometry, window)


def _refuse_half_circle(geometry: Geometry) -> None:
    angle = fan_angles(geometry)
    fan = float(angle[-1] - angle[0])
    if max(fan / 2, float(np.abs(angle).max())) >= math.pi / 2:
        raise ConsistencyError(
            f"fbp: the fan opens to {math.degrees(fan):.0f} degrees; expected less than 90 on either side of the axis, "
            "because the other rays never meet it."
        )
