"""Measurements of one operator, whole and in memory, as a source of what a network learns from without clean images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from recon import io
from recon.errors import ConsistencyError, InputError, ReconError, UsageError
from recon.operators.tomography import Geometry
from recon.specs.grammar import parse_spec
from recon.specs.operators import OperatorFactory, read_operator
from recon.training.config import Recipe
from recon.training.data import Notify, Pixels, Source, chosen_channels, scale_of

_NAMED = 3
"""How many of the files at fault an error names."""

Shape = tuple[int, ...]


@final
@dataclass(frozen=True)
class Measurements:
    """Measurements of one shape, on the scale where images are on [0, 1].

    Attributes:
        items: Each (frames, channels, height, width), single precision.
        image_size: (height, width) of the images that were measured.
        units: Of the files, in words.
    """

    items: tuple[Tensor, ...]
    image_size: tuple[int, int]
    units: str = ""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.items)

    @property
    def pixels(self) -> int:
        """The numbers of all of one channel and frame."""
        return sum(item.shape[-2] * item.shape[-1] for item in self.items)

    def draw(self, count: int, generator: torch.Generator, frames: int = 1) -> Tensor:
        """Measurements, each as likely as any other: (frames, count, channels, height, width)."""
        found = []
        for index in torch.randint(self.count, (count,), generator=generator).tolist():
            item = self.items[index]
            found.append(item[torch.randperm(len(item), generator=generator)[:frames]])
        return torch.stack(found, 1)

    def fingerprint(self) -> str:
        """A hash of every number in its order."""
        total = hashlib.sha256()
        for item in self.items:
            total.update(f"{tuple(item.shape)}".encode())
            total.update(item.numpy().tobytes())
        return total.hexdigest()


def read_measurements(files: Sequence[Path], recipe: Recipe, say: Notify) -> Measurements:
    """The measurements of ``equilibrium.operator`` in files, as many as fit into the memory that the recipe allows.

    Args:
        files: Images as of other trainings; of a scan NPY, NPZ, TIFF or HDF5 with line integrals, (views, detector
            pixels) or a stack of these.
        recipe: What to do; ``noise2noise`` takes files of two frames or more, for others each frame is a measurement.
        say: Where remarks go.

    Raises:
        UsageError: The operator is none of real images, or the scale is not stated.
        InputError: Files cannot be read, are of other shapes, or not of this operator; each is named.
    """
    family = read_operator(parse_spec(recipe.equilibrium.operator, "equilibrium.operator"), say)
    _require_fit(family, recipe)
    reader = _Reader(family, recipe)
    items: list[Tensor] = []
    room = recipe.data.memory_mb * 2**20
    for count, file in enumerate(files):
        for item in reader.read(file):
            room -= item.numel() * item.element_size()
            if room >= 0:
                items.append(item)
        if room < 0:
            say(f"{len(items)} measurements fill the {recipe.data.memory_mb} MB of data.memory_mb; "
                f"{len(files) - count - 1} files are not read")  # fmt: skip
            break
    reader.report(say)
    if not items or reader.image_size is None:
        raise InputError(f"{len(files)} files hold no measurement; expected at least one.")
    return Measurements(tuple(items), reader.image_size, reader.units)


def held_out_measurements(files: Sequence[Path], recipe: Recipe, beside: Source) -> list[Tensor]:
    """The first measurements of other files, each (frames, channels, height, width).

    Raises:
        UsageError, InputError: As of :func:`read_measurements`; or they are not of the shape of the first.
    """
    assert isinstance(beside, Measurements)  # noqa: S101  as the recipe says
    found = read_measurements(files, recipe, lambda line: None)
    first, other = beside.items[0].shape[-2:], found.items[0].shape[-2:]
    if first != other:
        raise InputError(
            f"{files[0]}: the measurement has {_words(other)} values; expected {_words(first)} as in those of the "
            "training, because the operator of a training is one."
        )
    return list(found.items[: recipe.validation.images])


def _require_fit(family: OperatorFactory, recipe: Recipe) -> None:
    if family.is_complex:
        raise UsageError(
            f"equilibrium.operator = {recipe.equilibrium.operator!r}; expected an operator of real images, because "
            "networks are trained on such."
        )
    if family.geometry is None:
        return
    if family.geometry.kind == "cone":
        raise UsageError(
            f"equilibrium.operator = {recipe.equilibrium.operator!r} is a scan of a cone; expected parallel or fan "
            "beams, because networks are trained on slices."
        )
    low, high = recipe.data.range
    if not low < high:
        raise UsageError(
            f"data.range = {list(recipe.data.range)!r} with {recipe.equilibrium.operator!r}; expected the attenuations "
            "in 1/mm that become 0 and 1, as in range = [0, 0.05], because line integrals have no grey values."
        )
    parts, views = recipe.measurements.parts, len(family.geometry.angles)
    if recipe.training.loss == "splitting" and parts > views:
        raise UsageError(
            f"measurements.parts = {parts} with the {views} views of {recipe.equilibrium.operator}; expected at most "
            f"{views}, because each part has a view at least."
        )


class _Reader:
    """Reads one file after the other, and remembers which could not be."""

    def __init__(self, family: OperatorFactory, recipe: Recipe) -> None:
        self.family, self.config = family, recipe.data
        self.channels = recipe.network.channels
        self.frames = 2 if recipe.training.loss == "noise2noise" else 1
        self.shape: Shape | None = None
        self.image_size: tuple[int, int] | None = None
        self.units = ""
        self.faults: list[str] = []

    def read(self, file: Path) -> list[Tensor]:
        try:
            found = self._read(file)
        except ReconError as error:
            text = str(error)
            self.faults.append(text if str(file) in text else f"{file}: {text}")
            return []
        return [found] if self.frames > 1 else [found[index : index + 1] for index in range(len(found))]

    def _read(self, file: Path) -> Tensor:
        geometry = self.family.geometry
        values, black = self._of_scan(file, geometry) if geometry is not None else self._of_image(file)
        if len(values) < self.frames:
            raise InputError(f"there is {len(values)} frame; expected at least {self.frames} of one scene.")
        if not np.isfinite(values).all():
            raise InputError("there are values that are not finite; expected numbers.")
        low, width = black
        size = self._size(values.shape[-2:])
        item = torch.from_numpy(np.ascontiguousarray(values, np.float64))
        if low:
            operator = self.family.on(size)
            item = item - low * operator.A(torch.ones(1, 1, *size, dtype=torch.float64))
        return (item / width).float()

    def _of_scan(self, file: Path, geometry: Geometry) -> tuple[Pixels, tuple[float, float]]:
        projections = io.read_projections(file)
        values = projections.values[:, None]
        wanted = geometry.sinogram_shape
        if tuple(values.shape[-2:]) != wanted:
            raise ConsistencyError(
                f"the sinogram has {values.shape[-2]} x {values.shape[-1]} values; expected {wanted[0]} x {wanted[1]}, "
                f"views and detector pixels, as in {self.family.spec}."
            )
        if float(values.mean()) < 0:
            raise ConsistencyError(
                f"the projections have a mean of {float(values.mean()):.3g}; expected line integrals of an "
                "attenuation, which is positive: the sign of the logarithm is the wrong one."
            )
        self.units = "line integrals"
        return values, (self.config.range[0], self.config.range[1] - self.config.range[0])

    def _of_image(self, file: Path) -> tuple[Pixels, tuple[float, float]]:
        image = io.read(file)
        pixels = chosen_channels(image, self.channels, self.config)
        scale = scale_of(pixels, image, self.config)
        units = image.units or "no units"
        self.units = self.units or units
        if units != self.units:
            raise InputError(
                f"the values are in {units}; expected {self.units} as in the files before, because one network is "
                "trained on one scale."
            )
        return pixels, (scale.low, scale.width)

    def _size(self, shape: Shape) -> tuple[int, int]:
        if self.shape is not None and shape != self.shape:
            raise InputError(
                f"the measurement has {_words(shape)} values; expected {_words(self.shape)} as in the files before, "
                "because the operator of a training is one."
            )
        if self.image_size is None:
            height, width = self.family.image_shape(shape)
            self.shape, self.image_size = shape, (height, width)
        return self.image_size

    def report(self, say: Notify) -> None:
        """Refuse or mention the files that could not be read."""
        if not self.faults:
            return
        named = " ".join(self.faults[:_NAMED]) + (" ..." if len(self.faults) > _NAMED else "")
        files = "1 file" if len(self.faults) == 1 else f"{len(self.faults)} files"
        if not self.config.skip_damaged:
            raise InputError(f"{files} cannot be trained on (data.skip_damaged = true leaves such out): {named}")
        say(f"{files} left out: {named}")


def _words(shape: Shape) -> str:
    return " x ".join(map(str, shape))
