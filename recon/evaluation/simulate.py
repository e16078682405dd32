"""Simulation of measurements from clean images, with a sidecar that holds operator and noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon import io
from recon.device import Notify
from recon.errors import ConsistencyError, OutputError, UsageError
from recon.io import Image, Source, ValueRange, to_tensor
from recon.operators.tomography import Geometry
from recon.reconstruction.ct_input import as_frames, as_items, remark_on_water
from recon.reconstruction.problem import on_unit_scale
from recon.reconstruction.record import input_file, versions, write_record
from recon.reconstruction.scale import black_seen
from recon.reconstruction.sidecar import sidecar_path
from recon.specs.operators import OperatorFactory
from recon.specs.solve_config import Noise, relocate
from recon.types import LinearOperator

_UNLIKE = 0.01
"""By how much the pixels of an image may differ from those of a geometry before it is said."""

_LARGEST_ATTENUATION = 10.0
"""In 1/mm: lead has 6 at 60 keV. What exceeds it, or is as far below zero, is in HU."""

_FEW_LIT = 0.5
"""Of the rays, that may end without a photon before it is said."""


@dataclass(frozen=True)
class Simulation:
    """The operator and the noise of simulated measurements.

    Attributes:
        family: The operator, for every image size.
        noise: The standard deviation of white Gaussian noise; of each of the two parts where it is complex.
        seed: Of the noise.
        water: The attenuation of water in 1/mm, for images in HU that are projected.
        photons: How many a ray of projections brings where nothing is in its way: the noise is then theirs.
    """

    family: OperatorFactory
    noise: Noise
    seed: int = 0
    water: float | None = None
    photons: float | None = None


def measure(operator: LinearOperator, clean: Tensor, sigma: float, seed: int, masked: bool) -> Tensor:
    """``A x`` plus white noise of standard deviation ``sigma``; what a mask leaves out stays zero."""
    with torch.no_grad():
        y = operator.A(clean)
        generator = torch.Generator().manual_seed(seed)
        if y.is_complex():
            parts = torch.randn(*y.shape, 2, generator=generator, dtype=y.real.dtype)
            noise = torch.view_as_complex(parts)
        else:
            noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        # A A^T is the mask itself for sampling operators
        return y + sigma * (operator.A(operator.A_adjoint(noise)) if masked else noise)


def simulate_image(simulation: Simulation, clean: Image, precision: torch.dtype = torch.float32) -> Image:
    """The measurement of a clean image, in its units, rounded where its file holds integers.

    Raises:
        ConsistencyError: The image is too small for the operator.
    """
    family = simulation.family
    if family.geometry is not None:
        return _project(simulation, family.geometry, clean)
    x = to_tensor(clean, precision)
    if family.is_complex:
        x = x.to(precision.to_complex())
    operator = family.on((clean.height, clean.width))
    sigma = on_unit_scale(simulation.noise, clean)
    y = measure(operator, x, sigma, simulation.seed, family.is_masked)
    if 0 in y.shape:
        raise ConsistencyError(f"{family.spec}: nothing is measured of an image of {clean.height} x {clean.width}.")
    black = black_seen(clean.value_range, operator, torch.zeros_like(x[:1]))
    return io.with_tensor(clean, y if black is None else y - black)


def _project(simulation: Simulation, geometry: Geometry, clean: Image) -> Image:
    """The line integrals of an image of attenuation in 1/mm, or in HU.

    (frames, 1, views, detector pixels), or of a cone, which sees all frames as a volume, (views, 1, panel rows, panel
    columns).
    """
    wanted = geometry.image_shape
    found = (clean.height, clean.width) if len(wanted) == 2 else (clean.frames, clean.height, clean.width)
    if found != wanted:
        raise ConsistencyError(
            f"{simulation.family.spec}: the volume has {_words(wanted)} pixels and the image {_words(found)}; expected "
            "the same size."
        )
    attenuation = as_items(torch.from_numpy(_attenuation(clean, simulation.water)), geometry)
    y = measure(simulation.family.on(wanted), attenuation, simulation.noise.sigma, simulation.seed, masked=False)
    if simulation.photons is not None:
        y = _counted(y, simulation.photons, simulation.seed)
    return Image(as_frames(y).numpy(), ValueRange(0.0, 1.0), source=Source("memory", "FHW", "float32"))


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _attenuation(clean: Image, water: float | None) -> "np.ndarray":
    """In 1/mm, none below air; padding is air."""
    values = clean.pixels.astype(np.float32)
    if clean.units != "HU" and not _is_stated_hounsfield(clean, water):
        return values.clip(min=0.0)
    if water is None:
        raise UsageError(
            "The image is in HU; expected --water MU, the attenuation of water in 1/mm (0.02 at about 60 keV), because "
            "projections are of attenuation."
        )
    values = (water * (1 + values / 1000)).astype(np.float32)
    if clean.padding is not None:
        values[clean.padding] = 0.0
    return values.clip(min=0.0)


def _is_stated_hounsfield(clean: Image, water: float | None) -> bool:
    """Return whether ``--water`` says that an image without units is in HU.

    Raises:
        UsageError: Its values are those of an attenuation in 1/mm, or it has other units.
    """
    if water is None:
        return False
    if clean.units or float(clean.pixels.max()) <= _LARGEST_ATTENUATION:
        kind = f"is in {clean.units}" if clean.units else "has values as of attenuation in 1/mm"
        raise UsageError(f"water is {water:g}, and the image {kind}; expected an image in HU, or no --water.")
    return True


def _remark_on_rays(measured: Image, photons: float | None, clean: Image, say: Notify) -> None:
    """Say so where an attenuation is negative, as only HU are, or where hardly a photon arrives."""
    if clean.units != "HU" and float(clean.pixels.min()) < -_LARGEST_ATTENUATION:
        say(
            f"the image has values down to {float(clean.pixels.min()):.4g} and is taken for attenuation in 1/mm, where "
            "those below 0 count as 0; if it is in HU, --water MU says so"
        )
    dark = 0.0 if photons is None else float(np.mean(measured.pixels >= np.log(photons) - 1e-3))
    if dark > _FEW_LIT:
        say(
            f"at most one photon of {photons:g} survives in {100 * dark:.0f} % of the rays; is the image in 1/mm, the "
            "pitch in mm?"
        )


def _counted(y: Tensor, photons: float, seed: int) -> Tensor:
    """The line integrals that are read off Poisson counts; a ray that no photon survives counts as one photon."""
    expected = photons * torch.exp(-y.double())
    counts = torch.poisson(expected, generator=torch.Generator().manual_seed(seed))
    return -torch.log(counts.clamp(min=1) / photons).to(y.dtype)


def simulate_files(
    simulation: Simulation, clean: Sequence[Path], output: Path, overwrite: bool, say: Notify
) -> tuple[Path, ...]:
    """Simulate the measurement of one file, or of a volume's slices in several, and write it with its sidecar.

    Raises:
        InputError, OutputError: A file cannot be read or written.
        ConsistencyError: The files are no volume, or not that of the scan.
    """
    if simulation.family.geometry is not None and output.suffix.lower() not in (".npy", ".tif", ".tiff"):
        raise OutputError(
            f"{output}: line integrals are floating-point numbers; expected TIFF or NPY, which hold them."
        )
    held = (*clean, *simulation.family.files)
    for path in (output, sidecar_path(output)):
        io.check_output(path, overwrite=overwrite, inputs=held)
    image = _read(simulation, clean, say)
    for note in image.notes:
        say(f"{clean[0].name}: {note}")
    remark_on_water(simulation.water, say)
    measured = simulate_image(simulation, image)
    if simulation.family.geometry is not None and not image.units and simulation.water is None:
        _remark_on_rays(measured, simulation.photons, image, say)
    written = io.write(measured, output, overwrite=overwrite, inputs=held)
    if written.clipped:
        say(f"{output}: {written.clipped} value(s) did not fit into the file's range and were clipped")
    for note in written.notes:
        say(f"{output}: {note}")
    folder = output.parent
    private = image.source.format == "dicom"
    document = {
        "operator": str(relocate(simulation.family.spec, folder)),
        "noise": str(simulation.noise),
        "seed": simulation.seed,
        **_scale(simulation, image),
        "clean": _one_or_all([input_file("clean", path, private).to_json(folder) for path in clean]),
        "operator_files": [input_file("operator", path).to_json(folder) for path in simulation.family.files],
        "outputs": [{"path": path.name, "sha256": input_file("output", path).sha256} for path in written.paths],
        "versions": versions(),
    }
    write_record(sidecar_path(output), document, overwrite)
    return written.paths


def _one_or_all(entries: list[dict[str, object]]) -> object:
    return entries[0] if len(entries) == 1 else entries


def _read(simulation: Simulation, clean: Sequence[Path], say: Notify) -> Image:
    """The image, or the volume of which a cone sees all slices at once."""
    geometry = simulation.family.geometry
    if geometry is None:
        return io.read(clean[0])
    stacked = geometry.volume.slices
    image = io.read(clean[0]) if stacked is None else io.read_volume(clean)
    pitches = [("the rows are", None if image.spacing is None else image.spacing[0], geometry.volume.pitch)]
    if stacked is not None:
        pitches += [("the slices are", None if image.slices is None else image.slices.pitch, stacked.pitch)]
    for what, found, wanted in pitches:
        if found is not None and abs(found - wanted) > _UNLIKE * wanted:
            say(f"{simulation.family.spec}: {what} {found:g} mm apart in the image and {wanted:g} in the geometry, "
                "whose distances are used")  # fmt: skip
    return image


def _scale(simulation: Simulation, image: Image) -> dict[str, object]:
    """Return the grey values that become 0 and 1, for the sidecar."""
    if simulation.family.geometry is None:
        return {"range": [image.value_range.low, image.value_range.high]}
    return {"range": None, "water": simulation.water, "photons": simulation.photons}
