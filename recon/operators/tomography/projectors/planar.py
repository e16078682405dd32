"""Parallel and fan beams in a slice, on the CPU."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from recon.operators.base import Buffer
from recon.operators.tomography.projectors.planar_scan import PlanarScan

EIGHT = 8
"""The images that are projected together, interleaved."""

WORTH_EIGHT = 4
"""So many images or more are: all eight take about as long as three alone."""

Map = Callable[[Tensor], Tensor]

_AROUND = (2, 2)
"""The zeros at either end of a line of the image, which stand for what lies outside."""


@dataclass(frozen=True)
class PlanarBeam(PlanarScan):
    """The projector of a slice and its transpose."""

    def project(self, images: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels)."""
        sinograms = images.new_empty(*images.shape[:-2], *self.geometry.sinogram_shape)
        _in_turn(self._project, self._project_eight, images, sinograms)
        return sinograms

    def back_project(self, sinograms: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns)."""
        images = sinograms.new_empty(*sinograms.shape[:-2], *self.geometry.image_shape)
        eight = None if self.beam == "arc" else self._back_project_eight
        _in_turn(self._back_project, eight, sinograms, images)
        return images

    def _project(self, image: Tensor) -> Tensor:
        from recon.operators.tomography.projectors.kernels import planar  # noqa: PLC0415  numba is slow to import

        by_rows, by_columns = (pad(lines, _AROUND).numpy() for lines in (image, image.T))
        return torch.from_numpy(planar.project(by_rows, by_columns, *self._walks))

    def _project_eight(self, images: Tensor) -> Tensor:
        from recon.operators.tomography.projectors.kernels import interleaved  # noqa: PLC0415

        by_rows, by_columns = (_interleaved(pad(lines, _AROUND)) for lines in (images, images.mT))
        return torch.from_numpy(interleaved.project(by_rows, by_columns, *self._walks)).permute(2, 0, 1)

    def _back_project(self, sinogram: Tensor) -> Tensor:
        from recon.operators.tomography.projectors.kernels import planar  # noqa: PLC0415

        arguments = self._weighted(sinogram).numpy(), *self._seen
        last = self.footprints.reach, *self.geometry.image_shape
        match self.beam:
            case "parallel":
                patches = planar.back_project_parallel(*arguments, *last)
            case "flat":
                patches = planar.back_project_flat(*arguments, *last)
            case "arc":
                patches = planar.back_project_arc(*arguments, self.turns.astype(arguments[0].dtype), *last)
        return _whole(torch.from_numpy(patches), *self.geometry.image_shape)

    def _back_project_eight(self, sinograms: Tensor) -> Tensor:
        from recon.operators.tomography.projectors.kernels import interleaved  # noqa: PLC0415

        parallel = self.beam == "parallel"
        run = interleaved.back_project_parallel if parallel else interleaved.back_project_flat
        weighted = _interleaved(self._weighted(sinograms))
        images = run(weighted, *self._seen, self.footprints.reach, *self.geometry.image_shape)
        return torch.from_numpy(images).permute(2, 0, 1)

    def _weighted(self, sinograms: Tensor) -> Tensor:
        margin = self.footprints.margin
        return pad(sinograms * self._gain.like(sinograms), (margin, margin))

    @property
    def _walks(self) -> tuple[Any, ...]:
        rays = self.rays
        return rays.start, rays.slope, rays.length, rays.along_columns

    @property
    def _seen(self) -> tuple[Any, ...]:
        """What all back-projections take after the sinogram."""
        seen = self.footprints
        axis = () if self.beam == "parallel" else (seen.axis,)
        return seen.cosine, seen.sine, seen.corner, *axis, seen.centre + seen.margin, seen.step

    @cached_property
    def _gain(self) -> Buffer:
        return Buffer(torch.from_numpy(self.footprints.gain))


def _in_turn(one: Map, eight: Map | None, inputs: Tensor, outputs: Tensor) -> None:
    """Fill a batch, eight at a time; a few that are left over take longer together than one by one."""
    rest, filled = inputs.reshape(-1, *inputs.shape[-2:]), outputs.view(-1, *outputs.shape[-2:])
    while eight is not None and len(rest) >= WORTH_EIGHT:
        group = rest[:EIGHT]
        filled[: len(group)] = eight(pad(group, (0, 0, 0, 0, 0, EIGHT - len(group))))[: len(group)]
        rest, filled = rest[EIGHT:], filled[EIGHT:]
    for given, found in zip(rest, filled, strict=True):
        found.copy_(one(given))


def _interleaved(batch: Tensor) -> np.ndarray:
    """(8, ..., ...) -> (..., ..., 8), in pages as large as the system has: a walk down the columns touches them all."""
    return np.array(batch.permute(1, 2, 0).numpy())


def _whole(patches: Tensor, rows: int, columns: int) -> Tensor:
    """(patches down, patches across, pixels of a patch) -> (rows, columns)."""
    down, across, pixels = patches.shape
    side = math.isqrt(pixels)
    whole = patches.view(down, across, side, side).transpose(1, 2).reshape(down * side, across * side)
    return whole[:rows, :columns]
