"""The search of a network for violations, over sizes of images, inside of [0, 1] and outside of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import final

from torch import Tensor

from recon.certificates.ascent import Search
from recon.certificates.lipschitz_search import LipschitzLowerBound, hardest_of_network
from recon.device import Notify
from recon.operators.spectral import Effort
from recon.priors.networks import Network
from recon.priors.networks.files.card import LEAST_SIDE, SearchRecord

SEARCHED_SIDE = 8
"""The least height and width of what is searched: smaller images are nothing but borders."""

_OF_DATA = 3
"""Starting images that each given image makes: as it is, with noise, and denoised."""

_LEAST_STARTS = 2

_WORTH_SAYING = 20.0
"""Seconds from which on a search says beforehand how long it takes."""

UNIT = (0.0, 1.0)


@final
@dataclass(frozen=True)
class Extent:
    """The extent of a search.

    Attributes:
        sides: Heights and widths of the images.
        search: How hard to look on the least side; on larger ones from fewer images, as a step takes longer.
        boxes: The values that the images may have, one search each; ``None``: any.
        levels: How many noise levels at most, where none is stated.
    """

    sides: tuple[int, ...]
    search: Search
    boxes: tuple[tuple[float, float] | None, ...] = (UNIT, None)
    levels: int = 5

    def searches(self) -> list[tuple[int, Search]]:
        """Each search with its side."""
        return [(side, self._search(side, box)) for side in self.sides for box in self.boxes]

    def _search(self, side: int, box: tuple[float, float] | None) -> Search:
        fewer = min(1.0, LEAST_SIDE / side)
        return replace(self.search, box=box, starts=max(_LEAST_STARTS, round(self.search.starts * fewer)))

    def within(self, side: int | None, images: Mapping[str, Tensor]) -> "Extent":
        """On one side where it is stated, and else on none that the smallest image does not have, but 8."""
        if side is not None:
            return replace(self, sides=(side,))
        smallest = min((min(image.shape[-2:]) for image in images.values()), default=max(self.sides))
        fitting = tuple(each for each in self.sides if each <= smallest)
        return replace(self, sides=fitting or (max(SEARCHED_SIDE, smallest),))

    def work(self, images: int) -> float:
        """About in proportion to the time that it takes, with so many given images."""
        return sum((search.starts + _OF_DATA * images) * side**2 for side, search in self.searches())

    def count(self, images: int) -> int:
        """Starting images of all searches."""
        return sum(search.starts + _OF_DATA * images for _, search in self.searches())


WHOLE = Extent((32, 48, 64, 96), Search(steps=200, lanczos=Effort(tolerance=1e-2, applications=20)))
"""What a claim needs that rests on a search; see :data:`recon.priors.networks.files.card.WHOLE_STEPS`."""

QUICK = Extent((32,), Search(lanczos=Effort(tolerance=1e-2, applications=20), steps=50, starts=2), levels=2)
"""What can only refute."""

PROVED = Extent((32,), Search(rounds=2, steps=15, rate=0.05, distances=(0.05,)), boxes=(None,), levels=1)
"""A look at the code of a network with a proof."""

POTENTIAL = Extent((20,), Search(steps=6, distances=(0.05,), starts=2), boxes=(None,), levels=1)
"""The same where each value is an inner iteration."""

SPARSE = Extent(
    (16,), Search(rounds=1, steps=3, distances=(0.05,), starts=2, lanczos=Effort(tolerance=1e-2, applications=8)),
    boxes=(None,), levels=1,
)  # fmt: skip
"""The same of a sparse code, whose derivative is a linear system of a large condition number at each application."""


@final
@dataclass(frozen=True)
class Seen:
    """The progress of a search.

    Attributes:
        done: Starting images that are searched.
        count: All of them.
        value: The largest quotient so far.
        seconds_left: An estimate.
    """

    done: int
    count: int
    value: float
    seconds_left: float


ProgressCallback = Callable[[Seen], None]


@dataclass
class Progress:
    """The progress of searches, with an estimate of what is left by what they took so far.

    Attributes:
        work: Of all of them; see :meth:`Extent.work`.
        count: Starting images of all of them.
        say: Is told once how long all of it takes, where that is long.
        watch: Is told after each starting image.
    """

    work: float
    count: int
    say: Notify = lambda line: None
    watch: ProgressCallback = lambda seen: None
    done: int = 0
    value: float = 0.0
    _worked: float = 0.0
    _began: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108  looked up when it begins

    def advance(self, work: float, value: float) -> None:
        """One starting image more is searched."""
        self.done, self.value, self._worked = self.done + 1, max(self.value, value), self._worked + work
        took = time.monotonic() - self._began
        seconds = took * self.work / self._worked
        if self.done == 1 and seconds > _WORTH_SAYING:
            self.say(f"the whole search takes about {about(seconds)} here")
        self.watch(Seen(self.done, self.count, self.value, max(0.0, seconds - took)))


def about(seconds: float) -> str:
    """A duration in one unit."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s"


@final
@dataclass(frozen=True)
class Sought:
    """The findings of the searches of a network at one level.

    Attributes:
        hardest: The largest quotient.
        records: Each search.
    """

    hardest: LipschitzLowerBound
    records: tuple[SearchRecord, ...]


def search_network(  # noqa: PLR0913, PLR0917  the network, where it is used, and how hard to look
    network: Network,
    level: float | None,
    extent: Extent,
    images: Mapping[str, Tensor],
    seed: int = 0,
    progress: Progress | None = None,
) -> Sought:
    """The largest Lipschitz quotient of Q that searches find, by size and by the values of the images.

    Args:
        network: The network.
        level: What it is told of the noise; ``None`` where it is made for one level.
        extent: Which searches.
        images: What to begin with besides, each ``(1, channels, height, width)``; see
            :func:`recon.certificates.lipschitz_search.hardest_of_network`.
        seed: Of what is random.
        progress: Sees how far it is.
    """
    noise = network.config.noise_range[1] if level is None else level
    found, records = [], []
    for side, search in extent.searches():

        def watch(_done: int, _count: int, value: float, side: int = side) -> None:
            if progress is not None:
                progress.advance(side**2, value)

        worst = hardest_of_network(network, level, images, side, replace(search, seed=seed), watch=watch)
        known, starts = worst.quotient, search.starts + _OF_DATA * len(images)
        inside = search.box == UNIT
        steps = search.rounds * search.steps
        records.append(SearchRecord(noise, side, inside, steps, starts, known.value, known.how))
        found.append(worst)
    return Sought(max(found, key=lambda each: each.quotient.value), tuple(records))
