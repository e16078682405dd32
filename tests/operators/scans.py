"""Ellipses and the line integrals through them, from the convention of the geometry alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.operators.tomography import Geometry, Volume

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ellipse:
    """Of constant attenuation in 1/mm; lengths in mm, the tilt of the first half-axis in degrees."""

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    tilt: float = 0.0
    attenuation: float = 0.02

    def within(self, points: Floats) -> Floats:
        """Points (2, ...) in the frame where the ellipse is the unit disc."""
        return np.tensordot(self._to_disc, points - np.reshape(self.centre, (2, *[1] * (points.ndim - 1))), 1)

    def directions(self, directions: Floats) -> Floats:
        return np.tensordot(self._to_disc, directions, 1)

    @property
    def _to_disc(self) -> Floats:
        cosine, sine = np.cos(np.deg2rad(self.tilt)), np.sin(np.deg2rad(self.tilt))
        return np.array([[cosine, sine], [-sine, cosine]]) / np.reshape(self.half_axes, (2, 1))


def sinogram(geometry: Geometry, *ellipses: Ellipse) -> Tensor:
    """The exact line integrals, (views, detector pixels) in double precision."""
    points, directions = _lines(geometry)
    total = np.zeros(geometry.sinogram_shape)
    for ellipse in ellipses:
        p, d = ellipse.within(points), ellipse.directions(directions)
        squared, along = (d**2).sum(0), (p * d).sum(0)
        root = np.maximum(along**2 - squared * ((p**2).sum(0) - 1), 0)
        total += ellipse.attenuation * 2 * np.sqrt(root) / squared * np.sqrt((directions**2).sum(0))
    return torch.from_numpy(total)


def centres(volume: Volume) -> Floats:
    """x and y of each pixel, (2, rows, columns)."""
    rows, columns = volume.pixels
    x = (np.arange(columns) - (columns - 1) / 2) * volume.pitch + volume.offset[0]
    y = ((rows - 1) / 2 - np.arange(rows)) * volume.pitch + volume.offset[1]
    return np.stack(np.meshgrid(x, y))


def depth_inside(volume: Volume, ellipse: Ellipse) -> Floats:
    """How deep each pixel lies inside, in mm or a little less; negative outside."""
    return (1 - np.sqrt((ellipse.within(centres(volume)) ** 2).sum(0))) * min(ellipse.half_axes)


def _lines(geometry: Geometry) -> tuple[Floats, Floats]:
    angle, detector = np.deg2rad(geometry.angles)[:, None], geometry.detector
    u = (np.arange(detector.pixels) - (detector.pixels - 1) / 2) * detector.pitch + detector.offset
    axis, forth = np.stack((np.cos(angle), np.sin(angle))), np.stack((-np.sin(angle), np.cos(angle)))
    if geometry.kind == "parallel":
        return u * axis, forth + 0 * u
    to_axis, distance = geometry.distances
    ray_coordinate = u / distance if detector.shape == "arc" else np.arctan(u / distance)
    return -to_axis * forth + 0 * u, np.cos(ray_coordinate) * forth + np.sin(ray_coordinate) * axis
