"""Parallel and fan beams in a slice, on a GPU."""

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from recon.errors import DeviceError
from recon.operators.base import Buffer
from recon.operators.tomography.projectors.planar_scan import PlanarScan


@dataclass(frozen=True)
class PlanarBeamOnGpu(PlanarScan):
    """The projector of a slice and its transpose, by triton; the constants are kept on each device that is met.

    Attributes:
        slices: How many slices of a batch a thread does, a power of two; by default what a GPU has the registers for.
    """

    slices: int | None = None

    def project(self, images: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels)."""
        kernels, exact = _kernels(images), images.new_empty(0, dtype=torch.float64)
        start, slope, length, along_columns = self._walks
        sinograms: Tensor = kernels.project(
            images.reshape(-1, *self.geometry.image_shape), start.like(exact), slope.like(exact), length.like(images),
            along_columns.like(images), self.slices,
        )  # fmt: skip
        return sinograms.reshape(*images.shape[:-2], *self.geometry.sinogram_shape)

    def back_project(self, sinograms: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns)."""
        kernels, exact = _kernels(sinograms), sinograms.new_empty(0, dtype=torch.float64)
        gain, turned, *scan = self._seen
        seen = kernels.Seen(
            self.beam, *(constant.like(exact) for constant in scan), turned.like(sinograms), self.footprints.reach,
            self.footprints.margin,
        )  # fmt: skip
        weighted = sinograms.reshape(-1, *self.geometry.sinogram_shape) * gain.like(sinograms)
        images: Tensor = kernels.back_project(weighted, seen, *self.geometry.image_shape, self.slices)
        return images.reshape(*sinograms.shape[:-2], *self.geometry.image_shape)

    @cached_property
    def _walks(self) -> tuple[Buffer, ...]:
        rays = self.rays
        return tuple(_buffer(values) for values in (rays.start, rays.slope, rays.length, rays.along_columns))

    @cached_property
    def _seen(self) -> tuple[Buffer, ...]:
        """``gain``, and the attributes of :class:`planar_triton.Seen` but the last two, ``turns`` first."""
        seen = self.footprints
        bends = (np.arange(self.geometry.detector.pixels) - seen.centre) * seen.step
        scan = np.array((*seen.corner, seen.axis, seen.centre, seen.step, 1 / seen.step))
        return tuple(
            _buffer(values)
            for values in (
                seen.gain,
                self.turns,
                scan,
                np.stack((seen.cosine, seen.sine), 1),
                np.stack((np.cos(bends), np.sin(bends)), 1),
            )
        )


def _buffer(values: np.ndarray) -> Buffer:
    return Buffer(torch.from_numpy(np.ascontiguousarray(values, np.float64)))


def _kernels(x: Tensor) -> ModuleType:
    try:
        from recon.operators.tomography.projectors.kernels import planar_triton  # noqa: PLC0415  triton is not everywhere
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise DeviceError(
            f"Tomography: the tensor is on {x.device} and triton is not installed; expected it (pip install triton) or "
            "a tensor on the CPU, because the projector's loops for a GPU are compiled by triton."
        ) from None
    return planar_triton
