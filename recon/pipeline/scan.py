"""X-ray projections in the chain: how they are read, what is odd about them, and the scale on which they are solved.

Solvers work on images in [0, 1], where 0 is air and 1 an attenuation ``width`` in 1/mm: a sinogram ``y`` of line
integrals becomes ``y / width``, and a result ``x`` is the attenuation ``width x``: ``1000 (width x / water - 1)`` HU.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon import imaging
from recon.errors import ConsistencyError, UsageError
from recon.imaging import Image, Slices, Source, ValueRange
from recon.operators.tomography import Geometry, checks, fbp
from recon.pipeline.config import SolveConfig
from recon.pipeline.device import Say
from recon.types import LinearOperator

BRIGHTEST_HU = 3071.0
AIR_HU = -1000.0
BRIGHT_PERCENTILE = 99.9
"""Of the attenuations of a quick look: what becomes 1 where no range is given."""

SAME_ANGLE = 0.01
"""In degrees."""


def read_scan(path: Path, config: SolveConfig, geometry: Geometry, say: Say) -> Image:
    """The line integrals in a file as an image of (slices, 1, views, detector pixels), checked against a geometry.

    Raises:
        InputError: The file cannot be read.
        ConsistencyError: It does not belong to the geometry.
    """
    projections = imaging.read_projections(path, flat=_path(config.flat), dark=_path(config.dark))
    for note in projections.notes:
        say(f"{path.name}: {note}")
    values = projections.values
    for warning in (*checks.check_sinogram(values, geometry), *_angles(projections.angles, geometry)):
        say(f"{path.name}: {warning}")
    weights = projections.weights
    if weights is None and config.photons is not None:
        weights = config.photons * np.exp(-values)
    return Image(
        np.ascontiguousarray(values[:, None]),
        ValueRange(0.0, 1.0),
        weights=None if weights is None else np.ascontiguousarray(weights[:, None]),
        source=Source("projections", "FHW", str(values.dtype)),
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _angles(angles: "np.ndarray | None", geometry: Geometry) -> tuple[str, ...]:
    if angles is None:
        return ()
    apart = np.abs(np.asarray(angles) - np.asarray(geometry.angles))
    worst = int(apart.argmax())
    if apart[worst] <= SAME_ANGLE:
        return ()
    return (
        f"view {worst} is at {angles[worst]:g} degrees in this file and at {geometry.angles[worst]:g} in the geometry; "
        "the geometry's angles are used.",
    )


def attenuation_range(config: SolveConfig, scan: Image, geometry: Geometry, say: Say) -> tuple[float, ValueRange]:
    """The attenuation in 1/mm that becomes 1, and the same scale in the units of the result.

    Raises:
        UsageError: The range that was asked for does not begin with air.
        ConsistencyError: The projections attenuate nothing.
    """
    air, units = (0.0, "1/mm") if config.water is None else (AIR_HU, "HU")
    if config.range is not None and config.range[0] != air:
        raise UsageError(
            f"range is {config.range[0]:g}:{config.range[1]:g}; expected {air:g}:HIGH in {units}, because the lower "
            "end of a reconstruction from projections is air."
        )
    if config.range is not None:
        high = config.range[1]
    elif config.water is not None:
        high = BRIGHTEST_HU
    else:
        high = _brightest(scan, geometry)
        say(f"the attenuation {high:.3g}/mm becomes 1, about the largest in a filtered back-projection")
    width = high if config.water is None else config.water * (high - AIR_HU) / -AIR_HU
    return width, ValueRange(air, high, units)


def _brightest(scan: Image, geometry: Geometry) -> float:
    middle = torch.from_numpy(scan.pixels[scan.frames // 2, 0].astype(np.float32))
    found = float(np.percentile(quick_look(middle, geometry).numpy(), BRIGHT_PERCENTILE))
    if not found > 0:
        raise ConsistencyError(
            f"The projections have a mean of {float(middle.mean()):.3g} and a filtered back-projection nowhere above "
            "0; expected line integrals of an attenuation, which is positive."
        )
    return float(f"{found:.3g}")


@torch.no_grad()
def quick_look(sinogram: Tensor, geometry: Geometry) -> Tensor:
    """The filtered back-projection with a Hann window."""
    return fbp(geometry, window="hann")(sinogram)


def scaled(scan: Image, width: float) -> Image:
    """The projections with the scale on which they are solved."""
    return replace(scan, value_range=ValueRange(0.0, width))


def template(scan: Image, geometry: Geometry, value_range: ValueRange) -> Image:
    """An image of the result's size, units and spacing, to write a result by."""
    blank = np.zeros((scan.frames, 1, *geometry.image_shape[-2:]), np.float32)
    spacing = (geometry.volume.pitch, geometry.volume.pitch)
    slices = Slices(None, (*geometry.volume.offset, 0.0))
    return Image(blank, value_range, spacing=spacing, slices=slices, source=Source("memory", "FHW", "float32"))


def root_weights(scan: Image) -> Tensor | None:
    """The square roots of the weights, of mean square 1, (views, detector pixels); ``None`` where all count alike.

    One weight a ray serves all slices: their mean.
    """
    if scan.weights is None:
        return None
    weights = scan.weights.astype(np.float64).mean((0, 1))
    return torch.from_numpy(np.sqrt(weights / weights.mean()))


def noise_of(scan: Image) -> float | None:
    """The standard deviation of the line integrals that the counts imply: the weighted rays all have it."""
    if scan.weights is None:
        return None
    mean = float(scan.weights.mean())
    return 1 / math.sqrt(mean) if mean > 0 else None


_SIGNS = (1, 1, 1, 1, -1, -1, 1, -1, -1)
"""Of three rows of three: the sum over all pairs of the product of their signs over their distance is near 0."""


@torch.no_grad()
def column_norm(operator: LinearOperator, shape: tuple[int, int]) -> float:
    """The root mean square norm of the projections of a single pixel near the middle of the image, about.

    Nine pixels are projected at once, with signs by which the rays that meet two of them count about as often for as
    against: of 128 x 128 pixels and more the error is about 1 %, and half of that in the weight of a prior.
    """
    pixels = torch.zeros(1, 1, *shape)
    for number, sign in enumerate(_SIGNS):
        pixels[0, 0, (shape[0] * (3 + number // 3)) // 8, (shape[1] * (3 + number % 3)) // 8] = sign
    return math.sqrt(float(operator.A(pixels).double().square().sum()) / len(_SIGNS))
