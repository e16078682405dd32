"""A run in tiles: each is solved on its own, neighbours are compared, and those that differ are solved again."""

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recon import io
from recon.certificates import Certificate
from recon.errors import GuaranteeError, OutputError
from recon.io import Image
from recon.io.mapped import release, with_pixels
from recon.reconstruction.guiding import GuideFigures
from recon.reconstruction.record import peak_bytes
from recon.reconstruction.run import WORST_FIRST, Result, execute
from recon.reconstruction.tiles.layout import cut
from recon.reconstruction.tiles.plan import TilePlan
from recon.reconstruction.tiles.scratch import Scratch
from recon.reconstruction.tiles.seams import Seams, difference, neighbours
from recon.solvers import Distance, Status

Watch = Callable[[int, int, int, float], None]
"""Called at each look with the tiles that are done, how many there are, the step and the estimated distance."""


@dataclass(frozen=True)
class Tile:
    """How the run of a tile ended.

    Attributes:
        place: Its row and column.
        margin: Pixels that were solved beyond its core.
        status: Whether it converged.
        steps: How many it took, of a guided prior those of the second run.
        distance: To the limit.
        certificate: What is guaranteed of it.
        guide: How much its own first result, as the guide, mattered; ``None`` where the prior takes no guide.
    """

    place: tuple[int, int]
    margin: int
    status: Status
    steps: int
    distance: Distance
    certificate: Certificate
    guide: GuideFigures | None

    def to_json(self) -> dict[str, object]:
        """Return plain values, but for the certificate."""
        return {
            "place": list(self.place),
            "margin": self.margin,
            "status": self.status.value,
            "steps": self.steps,
            "distance": self.distance.to_json(),
            "guide": None if self.guide is None else self.guide.to_json(),
        }


@dataclass(frozen=True)
class TiledResult:
    """A run in tiles that has ended.

    Attributes:
        plan: What was run.
        image: The result in the measurement's units; its pixels lie in a file without a name.
        tiles: Each tile, as it ended.
        seams: How far neighbours differ.
        sha256: The hash of the result before any rounding, as of a run without tiles.
        seconds: How long the solver took, tiles that were solved again included.
        peak_bytes: The largest memory used so far.
    """

    plan: TilePlan
    image: Image
    tiles: tuple[Tile, ...]
    seams: Seams
    sha256: str
    seconds: float
    peak_bytes: int

    @property
    def status(self) -> Status:
        """The worst status among the tiles."""
        return worst(self.tiles)

    @property
    def steps(self) -> int:
        """The steps of the tile that took the most."""
        return max(tile.steps for tile in self.tiles)

    @property
    def distance(self) -> Distance:
        """That of the tile that is the farthest from its limit."""
        return max((tile.distance for tile in self.tiles), key=lambda distance: distance.relative)

    @property
    def certificate(self) -> Certificate:
        """That of the first tile; of guided priors the others have weights of their own, and the same claim."""
        return self.tiles[0].certificate

    @property
    def guide(self) -> str | None:
        """How far the tiles are from their guides, in a line; ``None`` where the prior takes no guide."""
        known = [tile.guide for tile in self.tiles if tile.guide is not None]
        if not known:
            return None
        moved = [figures.changed for figures in known if figures.changed is not None]
        lows, highs = zip(*(figures.weights for figures in known), strict=True)
        changed = f"the tiles are {min(moved):.2%} to {max(moved):.2%} from it (measured); " if moved else ""
        return f"each tile's own first result; {changed}weights {min(lows):.3g} to {max(highs):.3g}"

    @property
    def outcome(self) -> str:
        """How it ended, in a few words."""
        return f"{self.status.value} after at most {self.steps} steps in {len(self.tiles)} tiles"

    @property
    def shortfall(self) -> str | None:
        """A sentence on tiles that did not converge; ``None`` where all did."""
        late = [tile for tile in self.tiles if tile.status in (Status.OUT_OF_STEPS, Status.STALLED, Status.DRIFTING)]
        if not late:
            return None
        return (
            f"{len(late)} of {len(self.tiles)} tiles ended as {worst(tuple(late)).value} after {self.steps} steps "
            f"({self.distance.brief} of itself from the limit); --iterations gives more, --tolerance asks less"
        )


def worst(tiles: tuple[Tile, ...]) -> Status:
    """The worst status among tiles."""
    return next(status for status in WORST_FIRST if any(tile.status is status for tile in tiles))


def solve_tiles(plan: TilePlan, watch: Watch | None = None, folder: Path | None = None) -> TiledResult:
    """Solve every tile, compare neighbours, and solve those again that differ by too much, with larger margins.

    Args:
        plan: What to run.
        watch: Called as the run goes on.
        folder: Where the tiles are kept meanwhile; ``None``: the system's folder for that.

    Raises:
        GuaranteeError: A tile diverged.
        KeyboardInterrupt: The run was interrupted.
        OutputError: The tiles cannot be kept.
    """
    division, image = plan.division, plan.image
    started = time.perf_counter()
    tiles: dict[tuple[int, int], Tile] = {}
    with Scratch(division, image.frames, image.channels, folder) as scratch:
        for tile in division.tiles:
            tiles[tile] = _solved(plan, tile, plan.margin, scratch, len(tiles), watch)
        found = {pair: difference(division, scratch, pair, axis) for pair, axis in neighbours(division)}
        axes = dict(neighbours(division))
        for doubled in range(1, plan.doublings + 1):
            seams = _seams(plan, tiles, found)
            again = sorted({tile for seam in seams.above for tile in seam.tiles})
            if not again:
                break
            for done, tile in enumerate(again):
                at = len(division.tiles) - len(again) + done
                tiles[tile] = _solved(plan, tile, plan.margin * 2**doubled, scratch, at, watch)
            for pair, axis in axes.items():
                if any(tile in again for tile in pair):
                    found[pair] = difference(division, scratch, pair, axis)
        seconds = time.perf_counter() - started
        result, digest = _written(plan, scratch, folder)
    ended = tuple(tiles[tile] for tile in division.tiles)
    return TiledResult(plan, result, ended, _seams(plan, tiles, found), digest, seconds, peak_bytes())


def _seams(plan: TilePlan, tiles: dict, found: dict) -> Seams:  # type: ignore[type-arg]
    known = plan.template.value_range
    return Seams(tuple(found.values()), known.width, known.units, tuple(tile.margin for tile in tiles.values()))


def _solved(  # noqa: PLR0913, PLR0917  internal: what solve_tiles has
    plan: TilePlan, tile: tuple[int, int], margin: int, scratch: Scratch, done: int, watch: Watch | None
) -> Tile:
    count = len(plan.division.tiles)

    def look(step: int, _: int, distance: float) -> None:
        if watch is not None:
            watch(done, count, step, distance)

    result = execute(plan.plan_of(tile, margin), look)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"in tile {done + 1} of {count}; nothing was written")
    if result.status in (Status.DIVERGED, Status.NOT_FINITE):
        raise GuaranteeError(
            f"{result.plan.method.name} on {result.plan.problem.family.spec} ended as {result.status.value} after "
            f"{result.steps} steps in the tile of row {tile[0] + 1} and column {tile[1] + 1}; nothing was written. "
            f"{result.status.sentence}"
        )
    scratch.put(tile, _kept(plan, tile, margin, result))
    certificate = result.plan.method.certificate
    return Tile(tile, margin, result.status, result.steps, result.distance, certificate, result.guide)


def _kept(plan: TilePlan, tile: tuple[int, int], margin: int, result: Result) -> io.Array:
    """The part of a tile's solution that enters the result."""
    x = result.solution.x.detach().cpu().numpy()
    windows, kept = plan.division.windows(tile, margin), plan.division.kept(tile)
    for axis, (window, (start, size), side) in enumerate(zip(windows, kept, plan.division.shape, strict=True)):
        x = cut(x, axis + 2, ((start - window[0]) % side, size))
    return x


def _written(plan: TilePlan, scratch: Scratch, folder: Path | None) -> tuple[Image, str]:
    """The blended result in the type and the units of the measurement, in a file without a name, and its hash."""
    template, shown = plan.template, plan.first.problem.shown
    same = plan.division.shape == (template.height, template.width)
    digest, clipped, pixels, part = hashlib.sha256(), 0, None, template
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for top, x in scratch.rows():
                digest.update(x.numpy().tobytes())
                rows = slice(top, top + x.shape[2])
                own = with_pixels(template, template.pixels[:, :, rows] if same else template.pixels[:, :, :1])
                if same and template.padding is not None:
                    own = replace(own, padding=template.padding[:, :, rows])
                part = io.with_tensor(own, x)
                clipped += part.clipped
                if pixels is None:
                    shape = (*x.shape[:2], *plan.division.shape)
                    pixels = np.memmap(file, part.pixels.dtype, "w+", shape=shape)
                pixels[:, :, rows] = part.pixels
                pixels.flush()
                release(pixels)
                release(template.pixels)
    except OSError as error:
        raise OutputError(
            f"The result cannot be kept in a file meanwhile ({str(error.strerror).lower()}); expected room beside the "
            "output."
        ) from error
    assert pixels is not None  # noqa: S101  an image has rows
    found = replace(
        template,
        pixels=pixels,
        value_range=shown or template.value_range,
        grid=part.grid,
        alpha=template.alpha if same else None,
        spacing=template.spacing if same else None,
        padding=template.padding if same else None,
        slices=template.slices if same else None,
        clipped=clipped,
    )
    return found, digest.hexdigest()
