"""From a clean image to a measurement of it, with a sidecar that says how it was made."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recon import imaging
from recon.errors import ConsistencyError, InputError
from recon.imaging import Image, to_tensor
from recon.pipeline.config import Noise, relocate
from recon.pipeline.device import Say
from recon.pipeline.operator_specs import OperatorFamily
from recon.pipeline.problem import on_unit_scale
from recon.pipeline.record import SCHEMA, input_file, versions, write_record
from recon.pipeline.spec import parse_spec
from recon.types import LinearOperator

SUFFIX = ".simulate.json"


@dataclass(frozen=True)
class Simulation:
    """How a measurement is made of a clean image.

    Attributes:
        family: The operator, for every image size.
        noise: The standard deviation of white Gaussian noise; of each of the two parts where it is complex.
        seed: Of the noise.
    """

    family: OperatorFamily
    noise: Noise
    seed: int = 0


def sidecar_path(output: Path) -> Path:
    """Where the sidecar of a measurement lies."""
    return output.with_name(output.name + SUFFIX)


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
    x = to_tensor(clean, precision)
    if family.is_complex:
        x = x.to(precision.to_complex())
    operator = family.on((clean.height, clean.width))
    sigma = on_unit_scale(simulation.noise, clean)
    y = measure(operator, x, sigma, simulation.seed, family.is_masked)
    if 0 in y.shape:
        raise ConsistencyError(f"{family.spec}: nothing is measured of an image of {clean.height} x {clean.width}.")
    return imaging.with_tensor(clean, y)


def simulate_file(simulation: Simulation, clean: Path, output: Path, overwrite: bool, say: Say) -> tuple[Path, ...]:
    """Simulate the measurement of one file, and write it with its sidecar.

    Raises:
        InputError, OutputError: A file cannot be read or written.
    """
    held = (clean, *simulation.family.files)
    for path in (output, sidecar_path(output)):
        imaging.check_output(path, overwrite=overwrite, inputs=held)
    image = imaging.read(clean)
    for note in image.notes:
        say(f"{clean.name}: {note}")
    measured = simulate_image(simulation, image)
    written = imaging.write(measured, output, overwrite=overwrite, inputs=held)
    if written.clipped:
        say(f"{output}: {written.clipped} values did not fit into the file's range and were clipped")
    for note in written.notes:
        say(f"{output}: {note}")
    folder = output.parent
    private = image.source.format == "dicom"
    document = {
        "operator": str(relocate(simulation.family.spec, folder)),
        "noise": str(simulation.noise),
        "seed": simulation.seed,
        "range": [image.value_range.low, image.value_range.high],
        "clean": input_file("clean", clean, private).to_json(folder),
        "outputs": [{"path": path.name, "sha256": input_file("output", path).sha256} for path in written.paths],
        "versions": versions(),
    }
    write_record(sidecar_path(output), document, overwrite)
    return written.paths


def sidecar_values(measurement: Path) -> dict[str, object]:
    """The operator, the noise and the range that a measurement was simulated with.

    Raises:
        InputError: The sidecar is missing or damaged.
    """
    path = sidecar_path(measurement)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
        operator = parse_spec(document["operator"], "operator", str(path.parent))
        return {"operator": operator, "noise": document["noise"], "range": document["range"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the sidecar of the measurement is damaged ({error}).") from error
