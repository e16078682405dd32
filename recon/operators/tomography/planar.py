"""Parallel and fan beams in a slice, on the CPU."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.operators.base import Buffer
from recon.operators.tomography.geometry import Geometry
from recon.operators.tomography.rays import Rays, trace
from recon.operators.tomography.shadows import Shadows, cast, turns

_AROUND = (2, 2)
"""The zeros at either end of a line of the image, which stand for what lies outside."""


@dataclass(frozen=True)
class PlanarBeam:
    """The projector of a slice and its transpose.

    Attributes:
        geometry: Of kind ``parallel`` or ``fan``.
    """

    geometry: Geometry

    def project(self, images: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels)."""
        sinograms = images.new_empty(*images.shape[:-2], *self.geometry.sinogram_shape)
        for image, sinogram in _pairs(images, sinograms):
            sinogram.copy_(torch.from_numpy(self._project(image)))
        return sinograms

    def back_project(self, sinograms: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns)."""
        images = sinograms.new_empty(*sinograms.shape[:-2], *self.geometry.image_shape)
        margin = self._shadows.margin, self._shadows.margin
        for sinogram, image in _pairs(sinograms, images):
            weighted = torch.nn.functional.pad(sinogram * self._gain.like(sinogram), margin)
            image.copy_(_whole(torch.from_numpy(self._back_project(weighted.numpy())), *image.shape))
        return images

    def _project(self, image: Tensor) -> Any:
        from recon.operators.tomography import kernels  # noqa: PLC0415  numba is slow to import

        rays = self._rays
        by_rows, by_columns = (torch.nn.functional.pad(lines, _AROUND).numpy() for lines in (image, image.T))
        return kernels.project(by_rows, by_columns, rays.start, rays.slope, rays.length, rays.along_columns)

    def _back_project(self, weighted: np.ndarray) -> Any:
        from recon.operators.tomography import kernels  # noqa: PLC0415

        shadows, shape = self._shadows, self.geometry.image_shape
        seen, centre = (weighted, shadows.cosine, shadows.sine, shadows.corner), shadows.centre + shadows.margin
        if self.geometry.kind == "parallel":
            return kernels.back_project_parallel(*seen, centre, shadows.step, shadows.reach, *shape)
        fan = *seen, shadows.axis, centre, shadows.step
        if self.geometry.detector.shape == "flat":
            return kernels.back_project_flat(*fan, shadows.reach, *shape)
        return kernels.back_project_arc(*fan, self._turns.astype(weighted.dtype), shadows.reach, *shape)

    @cached_property
    def _rays(self) -> Rays:
        return trace(self.geometry)

    @cached_property
    def _shadows(self) -> Shadows:
        return cast(self.geometry, self._rays)

    @cached_property
    def _gain(self) -> Buffer:
        return Buffer(torch.from_numpy(self._shadows.gain))

    @cached_property
    def _turns(self) -> np.ndarray:
        """As :func:`kernels.back_project_arc` takes them."""
        return turns(self._shadows.step, self.geometry.detector.pixels + 2 * self._shadows.margin)


def _pairs(inputs: Tensor, outputs: Tensor) -> Any:
    return zip(inputs.reshape(-1, *inputs.shape[-2:]), outputs.view(-1, *outputs.shape[-2:]), strict=True)


def _whole(patches: Tensor, rows: int, columns: int) -> Tensor:
    """(patches down, patches across, pixels of a patch) -> (rows, columns)."""
    down, across, pixels = patches.shape
    side = math.isqrt(pixels)
    whole = patches.view(down, across, side, side).transpose(1, 2).reshape(down * side, across * side)
    return whole[:rows, :columns]
