"""X-ray projections in the chain: how they are read, what is odd about them, and the scale on which they are solved.

Solvers work on images in [0, 1], where 0 is air and 1 an attenuation ``width`` in 1/mm: a sinogram ``y`` of line
integrals becomes ``y / width``, and a result ``x`` is the attenuation ``width x``: ``1000 (width x / water - 1)`` HU.

An image of projections has a frame for each slice (views, detector pixels), or of a cone for each view (panel rows,
panel columns); solvers take the slices one by one, and all views of a cone together (:func:`as_items`).
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon import io
from recon.device import Notify
from recon.errors import ConsistencyError, UsageError
from recon.io import MAX_PIXELS, Image, Slices, Source, ValueRange
from recon.io.projections.saturation import photon_weights
from recon.operators.tomography import Geometry, inverse
from recon.operators.tomography.consistency import sinogram
from recon.reconstruction.scale import SAME, Scale, between, is_of_hounsfield
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig, is_number
from recon.types import LinearOperator

BRIGHTEST_HU = 3071.0
AIR_HU = -1000.0
LIKELY_WATER = (0.01, 0.1)
"""The attenuation of water in 1/mm for X-rays of 25 keV to several MeV."""

BRIGHT_PERCENTILE = 99.9
"""Of the attenuations of a quick look: what becomes 1 where no range is given."""

SAME_ANGLE = 0.01
"""In degrees."""


def read_scan(path: Path, config: SolveConfig, geometry: Geometry, say: Notify) -> Image:
    """The line integrals in a file as an image, checked against a geometry.

    (slices, 1, views, detector pixels), or of a cone (views, 1, panel rows, panel columns).

    Raises:
        InputError: The file cannot be read.
        ConsistencyError: It does not belong to the geometry.
    """
    is_panel = geometry.kind == "cone"
    projections = io.read_projections(
        path,
        flat=_field("flat", config.flat, say),
        dark=_field("dark", config.dark, say),
        panel=is_panel,
        max_values=max(MAX_PIXELS, math.prod(geometry.sinogram_shape)),
    )
    return checked_scan(projections, path.name, config, geometry, say)


def checked_scan(projections: io.Projections, name: str, config: SolveConfig, geometry: Geometry, say: Notify) -> Image:
    """Line integrals as an image, checked against a geometry; arguments and errors as of :func:`read_scan`.

    Args:
        projections: The line integrals.
        name: What remarks call them.
        config: What to do.
        geometry: The scan.
        say: Where remarks go, a line each.
    """
    is_panel = geometry.kind == "cone"
    values, weights, notes = projections.values, projections.weights, projections.notes
    refuse_negative(values)
    if weights is None and config.photons is not None:
        weights, bright = photon_weights(values, config.photons, "row" if is_panel else "slice")
        notes += bright
    for note in notes:
        say(f"{name}: {note}")
    if is_panel:
        values, weights = values.swapaxes(0, 1), None if weights is None else weights.swapaxes(0, 1)
    for warning in (*sinogram.check_sinogram(values, geometry), *_angles(projections.angles, geometry)):
        say(f"{name}: {warning}")
    return Image(
        np.ascontiguousarray(values[:, None]),
        ValueRange(0.0, 1.0),
        weights=None if weights is None else np.ascontiguousarray(weights[:, None]),
        source=Source("projections", "FHW", str(values.dtype)),
    )


def _field(option: str, value: str | float | None, say: Notify) -> Path | float | None:
    if not isinstance(value, str):
        return value
    if is_number(value):
        say(f"--{option} {value} is the file of that name here, not the number")
    return Path(value)


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


def attenuation_range(config: SolveConfig, scan: Image, geometry: Geometry, say: Notify) -> tuple[float, ValueRange]:
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
    remark_on_water(config.water, say)
    width = high if config.water is None else config.water * (high - AIR_HU) / -AIR_HU
    return width, ValueRange(air, high, units)


def solved_range(
    config: SolveConfig, width: float, value_range: ValueRange, prior: Spec
) -> tuple[float, ValueRange, Scale]:
    """The scale on which a scan is solved, and the map to there from the user's: another one for a network that was
    made for HU, whatever range was asked for.

    Args:
        config: What to do.
        width: The attenuation in 1/mm that becomes 1 on the user's scale.
        value_range: The same scale in the units of the result.
        prior: The prior.
    """
    if config.water is None or not is_of_hounsfield(prior):
        return width, value_range, SAME
    solved = ValueRange(AIR_HU, BRIGHTEST_HU, "HU")
    return config.water * solved.width / -AIR_HU, solved, between(value_range, solved)


def remark_on_water(water: float | None, say: Notify) -> None:
    """Say so where the attenuation of water is not that for X-rays of any common energy."""
    if water is not None and not LIKELY_WATER[0] <= water <= LIKELY_WATER[1]:
        say(f"--water is {water:g}; it is meant in 1/mm, where water has about 0.02 for the X-rays of medicine")


def refuse_negative(values: "np.ndarray") -> None:
    """Refuse projections that are mostly negative.

    Raises:
        ConsistencyError: Their mean is.
    """
    mean = float(values.mean())
    if mean < 0:
        raise ConsistencyError(
            f"The projections have a mean of {mean:.3g}; expected line integrals of an attenuation, which is positive: "
            "the sign of the logarithm is the wrong one."
        )


def _brightest(scan: Image, geometry: Geometry) -> float:
    looked = scan.pixels[:, 0] if geometry.kind == "cone" else scan.pixels[scan.frames // 2, 0]
    middle = torch.from_numpy(looked.astype(np.float32))
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
    return inverse(geometry, window="hann")(sinogram)


def as_items(frames: Tensor, geometry: Geometry) -> Tensor:
    """The frames (frames, 1, height, width) of an image of projections as solvers take them, an item each.

    Those of a cone are one item: (1, 1, views, panel rows, panel columns).
    """
    return frames.transpose(0, 1)[None] if geometry.kind == "cone" else frames


def as_frames(x: Tensor) -> Tensor:
    """Return what a solver gives as the frames of an image: a volume (1, 1, slices, height, width) slice by slice."""
    return x if x.ndim == 4 else x[0].transpose(0, 1)


def scaled(scan: Image, width: float) -> Image:
    """The projections with the scale on which they are solved."""
    return replace(scan, value_range=ValueRange(0.0, width))


def template(scan: Image, geometry: Geometry, value_range: ValueRange) -> Image:
    """An image of the result's size, units and spacing, to write a result by."""
    volume = geometry.volume
    frames, pitch, height = scan.frames, None, 0.0
    if volume.slices is not None:
        frames, pitch, height = volume.slices.pixels, volume.slices.pitch, volume.slices.offset
    blank = np.zeros((frames, 1, *volume.pixels), np.float32)
    spacing, slices = (volume.pitch, volume.pitch), Slices(pitch, (*volume.offset, height))
    return Image(blank, value_range, spacing=spacing, slices=slices, source=Source("memory", "FHW", "float32"))


def root_weights(scan: Image, geometry: Geometry) -> Tensor | None:
    """The square roots of the weights, of mean square 1, of the sinogram's shape; ``None`` where all count alike.

    One weight a ray serves all slices: their mean.
    """
    if scan.weights is None:
        return None
    weights = scan.weights.astype(np.float64).mean(1 if geometry.kind == "cone" else (0, 1))
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
def column_norm(operator: LinearOperator, shape: tuple[int, ...]) -> float:
    """The root mean square norm of the projections of a single pixel near the middle of the image, or volume, about.

    Nine pixels are projected at once, with signs by which the rays that meet two of them count about as often for as
    against: of 128 x 128 pixels and more the error is about 1 %, and half of that in the weight of a prior.
    """
    middle, height, width = tuple(side // 2 for side in shape[:-2]), *shape[-2:]
    pixels = torch.zeros(1, 1, *shape)
    for number, sign in enumerate(_SIGNS):
        row, column = (height * (3 + number // 3)) // 8, (width * (3 + number % 3)) // 8
        pixels[0, 0, *middle, row, column] = sign
    return math.sqrt(float(operator.A(pixels).double().square().sum()) / len(_SIGNS))
