"""Figures of a Lipschitz star."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from recon import io
from recon.errors import OutputError
from recon.evidence import weakest
from recon.io.image import Array, Image
from recon.reconstruction.sensitivity import Arm, Star
from recon.report import FIGURE_SUFFIXES, StarFigure, WorstFigure, star_figure, worst_figure

MAP_SUFFIXES = (".tif", ".tiff", ".npy", ".dcm", ".dicom")
"""Of a map of floating-point numbers in the units of the result."""


def is_map(path: Path | None) -> bool:
    """Return whether a path names a map of numbers, and no figure."""
    return path is not None and path.suffix.lower() in MAP_SUFFIXES


def check_figures(paths: Sequence[Path], inputs: tuple[Path, ...], overwrite: bool, maps: bool = True) -> None:
    """See that figures and maps may be written, before any work is done.

    Raises:
        OutputError: One exists, is an input, has no suffix of a figure, or is named twice.
    """
    held = []
    for path in paths:
        if path.suffix.lower() not in FIGURE_SUFFIXES and not (maps and is_map(path)):
            raise OutputError(f"{path}: no format of a figure; expected {', '.join(FIGURE_SUFFIXES)}.")
        held.append(io.check_output(path, overwrite=overwrite, inputs=inputs))
    if len(set(held)) < len(held):
        raise OutputError(f"{paths[0]}: two figures have one name; expected two, because one would replace the other.")


def draw_star(star: Star, path: Path, overwrite: bool) -> None:
    """Draw the arms.

    Raises:
        OutputError: The file cannot be written.
    """
    image, limits = _picture(star)
    total = None if star.arms[0].total is None else _values(star.arms, "total")
    certified = _values(star.arms, "certified")
    bounded = [arm.certified.evidence for arm in star.arms if math.isfinite(arm.certified.value)]
    none = not bounded
    caption = (
        "certified: none, as neither data term nor prior is strongly monotone."
        if none
        else f"certified: {weakest(*bounded)}, for every change of the measurement."
    )
    notes = "".join(f" {note[0].upper()}{note[1:]}." for note in star.notes)
    figure = StarFigure(
        star.groups.spec.kind,
        [arm.position for arm in star.arms],
        certified,
        _values(star.arms, "local"),
        _values(star.arms, "perturbed"),
        total,
        star.groups.axes,
        f"Sensitivity to {star.groups.spec}: {star.result.plan.problem.family.spec.name}, "
        f"prior {star.result.plan.problem.prior.spec.name}",
        f"{caption} local: norm of the derivative at this image, measured. perturbed: one random change.{notes}",
        image,
        limits,
    )
    star_figure(path, figure, overwrite=overwrite)


def check_map(path: Path, image: Image) -> None:
    """See that a map of an image can be written in the format of a path, before any work is done.

    Raises:
        OutputError: The path is of DICOM, and the image is not.
    """
    if path.suffix.lower() in (".dcm", ".dicom") and image.source.format != "dicom":
        raise OutputError(
            f"{path}: a map of an input that is no DICOM has no patient and no place; expected .tif or .npy."
        )


def write_worst(star: Star, path: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Write the change of the image that the group with the longest local arm can cause, as a map in its units.

    Raises:
        OutputError: The file cannot be written, or the image is complex.
    """
    template, change = star.result.plan.problem.template, star.worst.image
    if change.is_complex():
        raise OutputError(f"{path}: the change of a complex image is no map of real numbers; expected a figure.")
    known = template.value_range
    pixels = (change.detach().cpu().double().numpy() * known.width).astype(np.float32)[None]
    image = io.with_tensor(replace(template, padding=None), change[None], floating=True)
    image = replace(image, pixels=pixels, value_range=io.ValueRange(0.0, known.width, known.units))
    io.write_map(image, path, io.WORST_CHANGE, overwrite=overwrite, inputs=inputs)


def draw_worst(star: Star, path: Path, overwrite: bool) -> None:
    """Draw the change of the image that the group with the longest local arm can cause.

    Raises:
        OutputError: The file cannot be written.
    """
    problem, worst = star.result.plan.problem, star.worst
    image, limits = _picture(star)
    group = star.groups.members[worst.index]
    measured = _plane(worst.change)[group.place[-2:]] * problem.image.value_range.width
    units = problem.template.value_range
    words = star.worst_in_words
    figure = WorstFigure(
        image,
        limits,
        _plane(worst.image) * units.width,
        measured,
        f"Weakest group: {group.name}",
        f"{words[0].upper()}{words[1:]}. Its sign is arbitrary, as the derivative is linear.",
        units.units,
    )
    worst_figure(path, figure, overwrite=overwrite)


def _values(arms: Sequence[Arm], name: str) -> Array:
    numbers = np.array([getattr(arm, name).value for arm in arms], np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _picture(star: Star) -> tuple[Array, tuple[float, float]]:
    """The reconstruction, the middle slice of a volume, in units, with black and white."""
    tensor = star.result.solution.x[0]
    if tensor.shape[0] == 3 and tensor.ndim == 3:
        return np.asarray(tensor.cpu().permute(1, 2, 0).clip(0, 1), np.float64), (0.0, 1.0)
    units = star.result.plan.problem.template.value_range
    picture = units.low + units.width * _plane(tensor, signed=not tensor.is_complex())
    low, high = (float(value) for value in np.percentile(picture, (0.1, 99.9)))
    return picture, (low, high) if high > low else (low - 1, low + 1)


def _plane(tensor: Tensor, signed: bool = True) -> Array:
    """(height, width): the mean of the channels, of the middle slice; of complex numbers the real part or modulus."""
    if tensor.is_complex():
        tensor = tensor.real if signed else tensor.abs()
    array = np.asarray(np.asarray(tensor.detach().cpu(), np.float64).mean(0))
    while array.ndim > 2:
        array = array[len(array) // 2]
    return array
