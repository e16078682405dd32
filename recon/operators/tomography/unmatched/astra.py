"""The back-projections of the ASTRA toolbox: GPL-3, optional, and imported only when asked for."""

import importlib
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon._suggest import unknown_name
from recon.errors import ConsistencyError, DeviceError, UsageError
from recon.operators.tomography.geometry.geometry import Geometry
from recon.types import Map

PROJECTORS = {
    "parallel": {"line": "line", "strip": "strip", "linear": "linear", "cuda": "cuda"},
    "fan": {"line": "line_fanflat", "cuda": "cuda"},
}
"""Of each kind of scan: our names and ASTRA's. Its strips of a fan know no detector off centre."""


def astra_pair(geometry: Geometry, projector: str) -> tuple[Map, Map]:
    """ASTRA's back-projection, and its transpose.

    Raises:
        UsageError: ASTRA is not installed, or has no such projector for this kind of scan.
        ConsistencyError: The detector is an arc.
        DeviceError: ``cuda`` without a GPU.
    """
    if geometry.kind not in PROJECTORS or geometry.detector.shape == "arc":
        raise ConsistencyError(
            f"astra: kind is {geometry.kind!r} with an {geometry.detector.shape!r} detector; expected parallel rays or "
            "a fan with a flat one, because ASTRA has no other in a slice."
        )
    if projector not in PROJECTORS[geometry.kind]:
        raise unknown_name(projector, PROJECTORS[geometry.kind], "ASTRA projector")
    toolbox = _toolbox()
    if projector == "cuda" and not toolbox.use_cuda():
        raise DeviceError("astra: projector is 'cuda'; expected a GPU that ASTRA can use, and there is none.")
    pair = _pair(toolbox, geometry, PROJECTORS[geometry.kind][projector])

    def back(y: Tensor) -> Tensor:
        return _each(pair.BP, y, geometry.image_shape)

    def forward(x: Tensor) -> Tensor:
        if projector == "cuda":
            raise UsageError(
                "astra: with 'cuda' the transpose of the back-projection is not the forward projection; expected "
                "'pixel-driven', the same weights with their transpose."
            )
        return _each(pair.FP, x, geometry.sinogram_shape)

    return back, forward


def _toolbox() -> Any:
    try:
        return importlib.import_module("astra")
    except ImportError as error:
        raise UsageError(
            f"astra: the ASTRA toolbox cannot be imported ({error}); expected pip install recon-imaging[astra]."
        ) from error


def _pair(toolbox: Any, geometry: Geometry, projector: str) -> Any:
    """Back-projection and projection as ASTRA's own matrix-free matrix."""
    volume = geometry.volume
    rows, columns = volume.pixels
    x, y = volume.offset
    width, height = columns * volume.pitch / 2, rows * volume.pitch / 2
    slice_ = toolbox.create_vol_geom(rows, columns, x - width, x + width, y - height, y + height)
    kind = "parallel_vec" if geometry.kind == "parallel" else "fanflat_vec"
    scan = toolbox.create_proj_geom(kind, geometry.detector.pixels, _vectors(geometry))
    identifier = toolbox.create_projector(projector, scan, slice_)
    pair = toolbox.OpTomo(identifier)
    weakref.finalize(pair, toolbox.projector.delete, identifier)
    return pair


def _vectors(geometry: Geometry) -> np.ndarray:
    """Of each view: the ray or the source, the centre of the detector, and from a detector pixel to the next."""
    angle, detector = np.deg2rad(np.asarray(geometry.angles))[:, None], geometry.detector
    axis = np.concatenate((np.cos(angle), np.sin(angle)), 1)
    forth = np.concatenate((-np.sin(angle), np.cos(angle)), 1)
    centre = detector.offset * axis
    if geometry.kind == "parallel":
        return np.concatenate((forth, centre, detector.pitch * axis), 1)
    to_axis, distance = geometry.distances
    return np.concatenate((-to_axis * forth, (distance - to_axis) * forth + centre, detector.pitch * axis), 1)


def _each(one: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One image or sinogram at a time, in single precision, on the host."""
    flat = x.reshape(-1, *x.shape[-2:]).to("cpu", torch.float32).numpy()
    done = np.stack([one(np.ascontiguousarray(item)) for item in flat]) if len(flat) else np.empty((0, *shape))
    return torch.from_numpy(done).to(x).reshape(*x.shape[:-2], *shape)
