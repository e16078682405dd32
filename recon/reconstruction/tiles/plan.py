"""Everything that is known of a run in tiles before its first step: division, memory, method and certificate."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from recon.device import Notify
from recon.errors import UsageError
from recon.io import Array, Image
from recon.io.mapped import is_mapped, release, with_pixels
from recon.methods.operator_pair import OperatorPair
from recon.operators.blur import CircularBlur, ValidBlur
from recon.reconstruction.memory import PROGRAM
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.tiles.layout import Axis, Division, cut
from recon.specs.priors import PriorReader
from recon.specs.solve_config import Noise, SolveConfig
from recon.types import LinearOperator

SEAM = 1e-3
"""The largest difference of two tiles at one pixel, as a part of the range of grey values, that is left alone."""

MARGIN = 32
"""Pixels that a prior needs beside the reach of the operator: about three times that of the packaged potentials."""

GUIDE_MARGIN = 32
"""Pixels besides where the result of a first run is the guide of the second, which sees as far again."""

_WRAPPED = 4
"""How often the reach of a periodic operator, which takes a tile for periodic, too: an error there is amplified."""

DOUBLINGS = 2
"""How often a margin is doubled where a seam is larger."""

_SAMPLES, _SAMPLE = 4, 256
"""Parts along each side, and their size, from which noise and weights are estimated where the image is larger."""

_LEAST_CORE = 16
_STRIP_BYTES = 32 * 2**20
"""Strips of the input and of the result, and what a tile takes beside its solver."""

_SEEN = 0.85
"""Of the estimate of the memory of filters' responses, what was seen: 0.73 to 0.88 for tiles of 256 to 768 pixels."""

_COPIES = 4
"""Of an input that has to be read as a whole: its file, its pixels and what a decoder takes."""

_MIB = 2**20


@dataclass(frozen=True)
class TilePlan:
    """A division of an image, and the plan of its first tile, after which those of all others are made.

    Attributes:
        config: What was asked for.
        inner: The same with the noise level and the prior of the whole image: what each tile is solved by.
        image: The measurement; its pixels may lie in a file.
        division: Of the result.
        offset: How many pixels a result has more than its measurement along each side, in all.
        doublings: How often a margin may be doubled within the memory.
        pixel_bytes: What a pixel of a tile takes while it is solved, of all frames.
        held: Bytes that are held beside the program and a tile, or the result.
        first: The plan of the first tile.
        read: What reads the prior: it keeps the network.
        pairs: The operator as examined, by the shape of a tile.
    """

    config: SolveConfig
    inner: SolveConfig
    image: Image
    division: Division
    offset: tuple[int, int]
    doublings: int
    pixel_bytes: float
    held: int
    first: Plan
    read: PriorReader
    pairs: dict[tuple[int, ...], OperatorPair]

    @property
    def margin(self) -> int:
        """Pixels beyond a core, at first."""
        return self.division.rows.margin

    @cached_property
    def template(self) -> Image:
        """The whole measurement in the units and the range of the result."""
        return replace(self.image, value_range=self.first.problem.template.value_range)

    def memory_bytes(self, doubled: int = 0) -> int:
        """About how much memory the run takes, the program itself included, with margins doubled so often."""
        windows = self.division.windows((0, 0), self.margin * 2**doubled)
        tile = self.pixel_bytes * windows[0][1] * windows[1][1]
        return int(PROGRAM + self.held + max(tile, _result_bytes(self.image, self.division.shape)))

    def plan_of(self, tile: tuple[int, int], margin: int) -> Plan:
        """The plan of one tile, from its part of the measurement."""
        part = part_of(self, tile, margin)
        shape = part.pixels.shape
        inner = replace(self.inner, require_certificate=self.config.require_certificate and self.first.makes_guide)
        plan = make_plan(inner, part, _silent, self.pairs.get(shape), self.first.hardest, read=self.read)
        self.pairs.setdefault(shape, plan.pair)
        return plan

    def to_json(self) -> dict[str, object]:
        """Return the division, as plain values."""
        rows, columns = self.division.windows((0, 0))
        return {
            "rows": self.division.rows.count,
            "columns": self.division.columns.count,
            "tile_shape": [rows[1], columns[1]],
            "margin": self.margin,
            "largest_margin": self.margin * 2**self.doublings,
            "blended": 2 * self.division.rows.band,
            "largest_seam": SEAM,
            "memory_bytes": self.memory_bytes(),
            "largest_memory_bytes": self.memory_bytes(self.doublings),
        }

    def plan_json(self) -> dict[str, object]:
        """The plan of the whole, as :meth:`recon.reconstruction.plan.Plan.to_json` gives that of a tile."""
        measured, shape = list(self.image.pixels.shape), list(self.division.shape)
        return self.first.to_json() | {
            "measurement_shape": measured,
            "image_shape": shape,
            "memory_bytes": self.memory_bytes() - PROGRAM,
            "tiles": self.to_json(),
        }

    def describe(self) -> str:
        """The plan for a person: the tiles, then the plan of the first."""
        rows, columns = self.division.windows((0, 0))
        count, (height, width) = len(self.division.tiles), self.division.shape
        lines = [
            f"image        {height} x {width} pixels, in {count} tiles of {rows[1]} x {columns[1]}: "
            f"{self.division.rows.count} rows of {self.division.columns.count}",
            f"margin       {self.margin} pixels on each side, blended over {2 * self.division.rows.band}; doubled up "
            f"to {self.margin * 2**self.doublings} where two tiles differ by more than {SEAM:g} of the range",
            f"memory       about {self.memory_bytes() / _MIB:.0f} MiB with the program, and at most "
            f"{self.memory_bytes(self.doublings) / _MIB:.0f} with the largest margin",
            "",
            "The first tile:",
        ]
        return "\n".join([*lines, self.first.describe()])


def _silent(_: str) -> None:
    pass


def part_of(plan: TilePlan, tile: tuple[int, int], margin: int) -> Image:
    """The part of the measurement that a tile is solved on, in memory."""
    return _part(plan.image, plan.division, plan.offset, tile, margin)


def _part(image: Image, division: Division, offset: tuple[int, int], tile: tuple[int, int], margin: int) -> Image:
    axes = (division.rows, division.columns)
    windows = [
        (start // axis.unit, (size - more) // axis.unit)
        for axis, (start, size), more in zip(axes, division.windows(tile, margin), offset, strict=True)
    ]
    found = with_pixels(image, _cut(image.pixels, *windows))
    if image.padding is not None:
        found = replace(found, padding=_cut(image.padding, *windows))
    release(image.pixels)
    return found


def _cut(array: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    return np.ascontiguousarray(cut(cut(array, 2, rows), 3, columns)).copy()


def plan_tiles(config: SolveConfig, image: Image, say: Notify) -> TilePlan | None:
    """Divide an image so that its solution fits into ``--memory``.

    Args:
        config: What to do, with its memory.
        image: The measurement, mapped by :func:`recon.io.mapped.map_image` or in memory.
        say: Where remarks go, a line each.

    Returns:
        The plan; ``None`` where the whole image fits, or may not be divided because its numbers are complex.

    Raises:
        ReconError: What does not fit, as of a run without tiles, or the memory that no tile fits into.
    """
    if image.pixels.dtype.kind == "c" or config.memory is None:
        return None
    read = PriorReader()
    start = replace(config, memory=None, require_certificate=False)
    sample = sample_of(image)
    seen = make_plan(start, sample, say, read=read)
    pixel_bytes = seen.memory_bytes / math.prod(seen.problem.image_shape) / sample.frames * image.frames
    operator = seen.problem.operator
    measured, whole = sample.pixels.shape[-2:], seen.problem.image_shape
    unit = whole[0] // measured[0] if config.operator.name == "downsample" else 1
    more = (whole[0] - measured[0], whole[1] - measured[1]) if unit == 1 else (0, 0)
    shape = (image.height * unit + more[0], image.width * unit + more[1])
    if PROGRAM + pixel_bytes * math.prod(shape) <= config.memory:
        return None
    held = _held(image)
    split = seen.problem.prior.prior.split
    pixel_bytes *= _SEEN if split is not None and split.local else 1
    _require_result(config.memory, held + _result_bytes(image, shape))
    margin = MARGIN + (GUIDE_MARGIN if seen.makes_guide else 0)
    division, doublings = _divided(config.memory, pixel_bytes, held, shape, operator, unit, margin)
    inner = _inner(config, seen)
    pairs: dict[tuple[int, ...], OperatorPair] = {}
    part = _part(image, division, more, (0, 0), division.rows.margin)
    first = make_plan(
        replace(inner, require_certificate=config.require_certificate), part, _silent, None, seen.hardest, read=read
    )
    pairs[part.pixels.shape] = first.pair
    return TilePlan(config, inner, image, division, more, doublings, pixel_bytes, held, first, read, pairs)


def _require_result(memory: int, needed: int) -> None:
    """Refuse an image whose result alone does not fit."""
    if PROGRAM + needed > memory:
        raise UsageError(
            f"memory is {memory / 2**30:.3g} GiB, and the program and the result take about "
            f"{(PROGRAM + needed) / 2**30:.3g}; expected more, because the result is copied to its file as a whole."
        )


def _held(image: Image) -> int:
    """Bytes beside the program and a tile, or the result: strips, and an input that is not read in strips."""
    return (0 if is_mapped(image.pixels) else _COPIES * image.pixels.nbytes) + _STRIP_BYTES


def _result_bytes(image: Image, shape: tuple[int, int]) -> int:
    """The map of the result, which is in memory as a whole when it is copied to the output, after the last tile."""
    return image.frames * image.channels * math.prod(shape) * image.pixels.dtype.itemsize


def _inner(config: SolveConfig, seen: Plan) -> SolveConfig:
    """The configuration of every tile: the noise level and the prior are those of the whole."""
    problem = seen.problem
    inverse = problem.scale.inverse
    noise = config.noise
    if noise is None and problem.noise is not None:
        noise = inverse.of_noise(Noise(problem.noise))
    prior = inverse.of_spec(problem.prior.spec) if config.takes_prior else config.prior
    return replace(config, noise=noise, prior=prior, memory=None, require_certificate=False)


def _divided(  # noqa: PLR0913, PLR0917  internal: what plan_tiles has
    memory: int,
    pixel_bytes: float,
    held: int,
    shape: tuple[int, int],
    operator: LinearOperator,
    unit: int,
    prior_margin: int,
) -> tuple[Division, int]:
    """The division with the largest tiles that fit, whose margins may be doubled where there is room.

    Raises:
        UsageError: No tile fits.
    """
    periodic = not isinstance(operator, ValidBlur) and (unit > 1 or isinstance(operator, CircularBlur))
    reach = _reach(operator, unit) * (_WRAPPED if periodic else 1)
    margin = unit * math.ceil((prior_margin + reach) / unit)
    area = max(0.0, (memory - PROGRAM - held) / pixel_bytes)
    side = math.isqrt(int(area))
    least = 2 * margin + max(_LEAST_CORE, 4 * unit)
    needed = [min(length, least) for length in shape]
    if area < math.prod(needed):
        total = PROGRAM + held + pixel_bytes * math.prod(needed)
        raise UsageError(
            f"memory is {memory / 2**30:.3g} GiB, and the program, strips of the image and a tile of "
            f"{needed[0]} x {needed[1]} pixels take about {total / 2**30:.3g}; expected more, because a smaller tile "
            f"is all margin."
        )
    for doublings in range(DOUBLINGS, -1, -1):
        most = margin * 2**doublings
        sides = _sides(area, side, shape)
        cores = [length if size >= length else (size - 2 * most) // unit * unit for size, length in
                 zip(sides, shape, strict=True)]  # fmt: skip
        if not doublings or all(core >= max(least, size // 2) for core, size in zip(cores, sides, strict=True)):
            break
    axes = [Axis(length, max(unit, core), margin, unit, periodic) for length, core in zip(shape, cores, strict=True)]
    return Division(*axes), doublings


def _sides(area: float, side: int, shape: tuple[int, int]) -> tuple[int, int]:
    """The sides of the largest window of at most ``area`` pixels in an image, about square."""
    height = min(shape[0], side)
    width = min(shape[1], int(area / height))
    return min(shape[0], int(area / width)), width


def _reach(operator: LinearOperator, unit: int) -> int:
    """How far the operator looks, in pixels."""
    psf = getattr(operator, "psf", None)
    return max(psf.shape) // 2 if isinstance(psf, torch.Tensor) else 2 * unit if unit > 1 else 0


def sample_of(image: Image) -> Image:
    """Parts of an image, evenly spaced, as frames: the image itself where it is no larger than all of them."""
    count, side = _SAMPLES, _SAMPLE
    if image.height * image.width <= (count * side) ** 2:
        return with_pixels(image, np.array(image.pixels)) if is_mapped(image.pixels) else image
    height, width = min(side, image.height), min(side, image.width)
    tops, lefts = (
        sorted({round(k) for k in np.linspace(0, length - size, count)})
        for length, size in ((image.height, height), (image.width, width))
    )
    every = [image.pixels[:1, :, top : top + height, left : left + width] for top in tops for left in lefts]
    pixels = np.concatenate(every)
    release(image.pixels)
    return with_pixels(image, pixels)
