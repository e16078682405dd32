"""The files of uncertainty: mean, standard deviation, intervals, figure and record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from recon import io
from recon.device import Notify
from recon.io import Image, ValueRange
from recon.reconstruction.plan import Plan
from recon.reconstruction.record import input_file, nameless, now, record_path, versions, write_record
from recon.reconstruction.run import files_of, input_files, pixel_hash, writable
from recon.specs.solve_config import to_json
from recon.uncertainty.calibration import Calibration
from recon.uncertainty.intervals import widths
from recon.uncertainty.outputs import Outputs
from recon.uncertainty.quantify import Quantified
from recon.uncertainty.settings import Settings

COMMAND = "uncertainty"
"""What a record says made it."""


def write_maps(  # noqa: PLR0913, PLR0917  what there is to write
    quantified: Quantified, plans: Sequence[Plan], settings: Settings, calibration: Calibration | None,
    measurement: Path, outputs: Outputs, say: Notify, seconds: float,
) -> dict[str, object]:  # fmt: skip
    """Write the maps, the figure and the record; what the record says is returned.

    Raises:
        OutputError: Something cannot be written.
    """
    plan = quantified.result.plan
    inputs = files_of(plan, measurement)
    outputs.check(inputs)
    half = None if calibration is None else calibration.factors.pixel * widths(quantified.maps.std)
    written: list[Path] = []
    try:
        for path, (image, quantity) in _images(quantified, half, outputs).items():
            done = io.write_map(image, path, quantity, overwrite=outputs.overwrite, inputs=inputs)
            written += done.paths
            for note in done.notes:
                say(f"{path}: {note}")
        if outputs.figure is not None:
            _draw(quantified, settings, half, outputs.figure, outputs.overwrite)
            written.append(outputs.figure)
        document = _document(quantified, plans, settings, calibration, measurement, outputs, written, seconds)
        write_record(record_path(outputs.mean), document, outputs.overwrite)
    except BaseException:
        for path in written:  # maps without the others and the record would look whole
            path.unlink(missing_ok=True)
        raise
    return document


def _images(quantified: Quantified, half: Tensor | None, outputs: Outputs) -> dict[Path, tuple[Image, io.Quantity]]:
    """The maps by their files, and what each is of."""
    plan, maps = quantified.result.plan, quantified.maps
    images = {outputs.mean: (_located(plan, maps.mean), io.MEAN)}
    if outputs.std is not None:
        images[outputs.std] = _spread(plan, maps.std), io.STANDARD_DEVIATION
    if outputs.interval is not None and half is not None:
        low, high = outputs.interval
        images[low] = _located(plan, maps.mean - half), io.LOW
        images[high] = _located(plan, maps.mean + half), io.HIGH
    return images


def _document(  # noqa: PLR0913, PLR0917  what a record is made of
    quantified: Quantified, plans: Sequence[Plan], settings: Settings, calibration: Calibration | None,
    measurement: Path, outputs: Outputs, written: Sequence[Path], seconds: float,
) -> dict[str, object]:  # fmt: skip
    plan, maps = quantified.result.plan, quantified.maps
    folder = outputs.mean.parent
    return {
        "command": COMMAND,
        "status": maps.status,
        "sentence": maps.sentence,
        "method": settings.method,
        "settings": settings.to_json(),
        "seed": settings.seed,
        "details": maps.details,
        "units": plan.problem.template.value_range.units,
        "solution": {
            "status": quantified.result.status.value,
            "steps": quantified.result.steps,
            "distance": quantified.result.distance.to_json(),
            "sha256": pixel_hash(quantified.result.solution.x),
        },
        "calibration": None if calibration is None else _of_calibration(calibration),
        "guide": None if plan.guide is None else "frozen: the maps are of the problem with this guide, and of no other",
        "seconds": round(seconds, 3),
        "ended": now(),
        "certificate": plan.method.certificate.to_json(),
        "config": to_json(nameless(plan.problem.config), folder),
        "priors": [str(each.problem.prior.spec) for each in plans],
        "plan": plan.to_json(),
        "versions": versions(),
        "inputs": [entry.to_json(folder) for entry in input_files(plan, measurement)],
        "outputs": [
            {"path": path.name, "sha256": input_file("output", path).sha256}
            for path in written
            if path != outputs.figure
        ],
        "mean_sha256": pixel_hash(maps.mean),
        "std_sha256": pixel_hash(maps.std),
    }


def _of_calibration(calibration: Calibration) -> dict[str, object]:
    return {
        "level": calibration.level,
        "images": calibration.images,
        "pixel_factor": calibration.factors.pixel,
        "region_factor": calibration.factors.region,
        "statement": calibration.statement,
        "sha256": calibration.identity,
    }


def _located(plan: Plan, x: Tensor) -> Image:
    """An image in the units of the result."""
    problem = plan.problem
    image = io.with_tensor(problem.template, x, floating=True)
    return writable(image if problem.shown is None else replace(image, value_range=problem.shown), Path("map.tif"))


def _spread(plan: Plan, std: Tensor) -> Image:
    """A standard deviation in the units of the result: without their offset."""
    known = plan.problem.template.value_range
    image = io.with_tensor(replace(plan.problem.template, padding=None), std, floating=True)
    pixels = (std.detach().cpu().double().numpy() * known.width).astype(np.float32)
    return replace(image, pixels=pixels, value_range=ValueRange(0.0, known.width, known.units))


def picture(image: Image) -> "np.ndarray":
    """The first frame as it is drawn: (height, width), or (height, width, 3)."""
    first: np.ndarray = image.pixels[0]
    return first[0] if len(first) == 1 else np.moveaxis(first[:3], 0, -1)


def _draw(quantified: Quantified, settings: Settings, half: Tensor | None, path: Path, overwrite: bool) -> None:
    from recon.report.uncertainty_figure import uncertainty_figure  # noqa: PLC0415  matplotlib costs half a second

    plan, maps = quantified.result.plan, quantified.maps
    known = plan.problem.template.value_range
    shown = picture(_located(plan, maps.mean))
    window = io.display_window(plan.problem.template)
    if window is None:  # of HU and attenuations a range has room for metal, which few images have
        low, high = np.percentile(shown, (0.1, 99.9)) if known.units else (known.low, known.high)
        window = (float(low), float(max(high, low + known.width / 1000)))
    std = _spread(plan, maps.std).pixels[0].max(0)
    width = None if half is None else 2 * _spread(plan, half).pixels[0].max(0)
    title = f"{plan.problem.family.spec.name}, {plan.problem.prior.spec}, {settings.method}: {maps.status}"
    uncertainty_figure(path, shown, std, width, window, known.units, title, overwrite)
