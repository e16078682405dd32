"""The card beside a network, as evidence of what is known of its Q."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from recon.catalogue import CARD, identity_of, read_card
from recon.errors import InputError
from recon.evidence import Assumed, Evidence, Measured

LEAST_SIDE = 32
"""Height and width of the smallest image for which what a card says was measured stands, where it does not say itself:
smaller ones are borders all over, where searches find ||Q'|| above 1 of networks in which they find no violation
otherwise."""

LARGEST_SIDE = 512
"""Of the images of which a claim may begin."""

WHOLE_STEPS, WHOLE_SIDES = 100, (LEAST_SIDE, 96)
"""A search is whole from so many steps of ascent on, on sides from the first number to the second, inside of [0, 1] and
outside of it, at both ends of the range of noise. Without one that finds nothing, nothing is said to be measured."""

ROUNDING = 1e-6
"""By how much a quotient may exceed 1 without refuting anything."""

_MOST = 1e300
"""Of a quotient: there are whole numbers in JSON that no float can hold."""

_KINDS: dict[str, tuple[type, ...]] = {
    "noise": (int, float), "side": (int,), "inside": (bool,), "steps": (int,), "starts": (int,), "value": (int, float),
    "how": (str,),
}  # fmt: skip
"""What the entry of a search holds."""


@final
@dataclass(frozen=True)
class SearchRecord:
    """A search for violations of a network on images of one size.

    Attributes:
        noise: The level that the network was told; of one that is told none, that for which it is made.
        side: Height and width of the images.
        inside: Whether they stayed in [0, 1].
        steps: Of gradient ascent from each starting image.
        starts: How many starting images.
        value: The largest Lipschitz quotient of Q that was found.
        how: How.
    """

    noise: float
    side: int
    inside: bool
    steps: int
    starts: int
    value: float
    how: str

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    @property
    def place(self) -> tuple[float, int, bool]:
        """The parts of two searches that must be the same for one to take the place of the other."""
        return (self.noise, self.side, self.inside)


@final
@dataclass(frozen=True)
class Claim:
    """The claim of a card about a network.

    Attributes:
        value: The largest Lipschitz quotient of Q that a search found, or what is assumed of all of them.
        least_side: Height and width of the smallest image of which that is said.
        smaller: The largest that searches of smaller images found; ``None`` where there were none.
        evidence: Measured or assumed.
        how: Why it is assumed.
    """

    value: float
    least_side: int
    smaller: float | None = None
    evidence: Evidence = Evidence.MEASURED
    how: str = ""

    def on(self, image_shape: tuple[int, ...] | None) -> Measured | Assumed:
        """Return what is known of Q on images of that size, whatever is before it; ``None``: of the claimed ones."""
        if image_shape is not None and min(image_shape[-2:]) < self.least_side:
            height, width = image_shape[-2:]
            known = "no search is on it" if self.smaller is None else f"its searches found {self.smaller:.4g}"
            return Assumed(
                max(1.0, self.value, self.smaller or 0.0),
                f"the card of the network speaks of sides of {self.least_side} pixels and more, and not of "
                f"{height} x {width}; of smaller ones {known}",
            )
        if self.evidence is Evidence.ASSUMED:
            return Assumed(max(1.0, self.value), f"the card of the network says: {self.how}")
        return Measured(
            self.value, f"the card of the network, on sides of {self.least_side} pixels and more: a lower bound"
        )


def claim_of(folder: Path) -> Claim | None:
    """Return what the card in a folder says of Q; ``None`` where there is no card, or it says that Q has a proof.

    Raises:
        InputError: The card cannot be read, is of another network, or does not say what a card says.
    """
    if not (folder / CARD).is_file():
        return None
    card = read_card(folder)
    stated = card.get("lipschitz_Q")
    known = stated if isinstance(stated, dict) else {}
    if known.get("evidence") == Evidence.PROVED:
        return None
    value, least = known.get("value"), known.get("least_side", LEAST_SIDE)
    fits = isinstance(least, int) and 1 <= least <= LARGEST_SIDE  # images of that side are searched
    if not isinstance(value, int | float) or not 0 < value < _MOST or not fits:
        raise InputError(
            f"{folder / CARD}: lipschitz_Q = {stated!r}; expected a positive value in it and, as least_side, 1 to "
            f"{LARGEST_SIDE} pixels, as recon train and recon certify prior write it."
        )
    measured = known.get("evidence") == Evidence.MEASURED or value > 1 + ROUNDING  # a counterexample is one
    evidence, how = (Evidence.MEASURED, "") if measured else (Evidence.ASSUMED, str(known.get("how", "")))
    return Claim(float(value), least, _found_below(least, card.get("searches")), evidence, how)


def _found_below(least: int, searches: object) -> float | None:
    """The largest quotient among the searches of smaller images; what is no search is none."""
    found = [each for each in searches if isinstance(each, dict)] if isinstance(searches, list) else []
    pairs = [(each.get("side"), each.get("value")) for each in found]
    small = [v for side, v in pairs if isinstance(side, int) and side < least and isinstance(v, int | float)]
    return max((float(value) for value in small if 0 < value < _MOST), default=None)


def keep_searches(
    folder: Path, sha256: str, searches: Sequence[SearchRecord], noise_range: tuple[float, float]
) -> dict[str, Any]:
    """Write what searches found into the card of a folder, beside what earlier ones found of the same weights.

    Args:
        folder: Of the network.
        sha256: Of the weights and the architecture that were searched.
        searches: Each on one size.
        noise_range: The lowest and the highest level at which the network differs.

    Returns:
        What the card says of Q now.

    Raises:
        InputError: The card is of another network, or the network in the folder is another one by now.
        OutputError: The card cannot be written.
    """
    from recon.io.atomic import replacing  # noqa: PLC0415  the readers of images are not needed to read a card

    if identity_of(folder) != sha256:
        raise InputError(f"{folder}: the network was changed while it was searched, so nothing is kept of the search.")
    card = read_card(folder) if (folder / CARD).is_file() else {}
    every = _merged([*_read(card.get("searches")), *searches])
    known = stands(every, noise_range)
    before = card.get("lipschitz_Q")
    if isinstance(before, dict) and known["value"] < _refuted(before):  # what was found once is not taken back
        known = before
    card |= {"sha256": sha256, "lipschitz_Q": known, "searches": [each.to_json() for each in every]}
    with replacing(folder / CARD, overwrite=True) as temporary:
        temporary.write_text(json.dumps(card, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    return known


def _refuted(known: dict[str, Any]) -> float:
    """The value of a counterexample; 0 where there is none."""
    value = known.get("value")
    return float(value) if isinstance(value, int | float) and 1 + ROUNDING < value < _MOST else 0.0


def _read(searches: object) -> list[SearchRecord]:
    """The searches on a card that say all that one says."""
    listed = searches if isinstance(searches, list) else []
    return [SearchRecord(**each) for each in listed if isinstance(each, dict) and _is_record(each)]


def _is_record(each: dict[str, Any]) -> bool:
    """Return whether plain values are those of a search."""
    if each.keys() != _KINDS.keys() or not all(isinstance(each[name], kind) for name, kind in _KINDS.items()):
        return False
    return bool(0 < each["value"] < _MOST and 0 <= each["noise"] < _MOST)


def _merged(searches: Iterable[SearchRecord]) -> list[SearchRecord]:
    """Of those at the same place the one that found most, and of these the one that looked longest."""
    best: dict[tuple[float, int, bool], SearchRecord] = {}
    for each in searches:
        other = best.get(each.place)
        if other is None or (each.value, each.steps) >= (other.value, other.steps):
            best[each.place] = each
    return [best[place] for place in sorted(best)]


def stands(searches: Sequence[SearchRecord], noise_range: tuple[float, float]) -> dict[str, Any]:
    """Return what searches say of Q on sides of 32 pixels and more, as the ``lipschitz_Q`` of a card.

    A quotient above 1 is measured, whoever found it. One of at most 1 is after a whole search only; see
    :data:`WHOLE_STEPS`.
    """
    large = [each for each in searches if each.side >= LEAST_SIDE]
    hardest = max(large, key=lambda each: each.value, default=None)
    if hardest is not None and (hardest.value > 1 + ROUNDING or is_whole(large, noise_range)):
        known = {"value": hardest.value, "evidence": Evidence.MEASURED.value, "how": hardest.how}
    else:
        found = "nothing" if hardest is None else f"{hardest.value:.6g}"
        how = f"no whole search was made; a part of one found {found}, and can only refute"
        known = {"value": 1.0, "evidence": Evidence.ASSUMED.value, "how": how}
    return known | {"least_side": LEAST_SIDE}


def is_whole(searches: Sequence[SearchRecord], noise_range: tuple[float, float]) -> bool:
    """Return whether searches are together as much as a claim needs; see :data:`WHOLE_STEPS`."""
    long = [each for each in searches if each.steps >= WHOLE_STEPS]
    done = {(level, each.side, each.inside) for each in long for level in noise_range if _same(each.noise, level)}
    return done >= set(itertools.product(noise_range, WHOLE_SIDES, (True, False)))


def _same(level: float, other: float) -> bool:
    """Return whether two levels are one, to the digits that a record keeps."""
    return abs(level - other) <= 0.01 * other


def measured_on_card(folder: Path, image_shape: tuple[int, ...] | None = None) -> Measured | Assumed | None:
    """Return what a network's card says is known of Q, as :func:`recon.priors.networks.learned_resolvent` takes it.

    Args:
        folder: Of the network, as in :func:`recon.catalogue.folders`.
        image_shape: (height, width), with whatever before it: what was measured on large images is only *assumed* of
            smaller ones than the card speaks of.

    Raises:
        InputError: The card cannot be read, is of another network, or does not say what a card says.
    """
    claim = claim_of(folder)
    return None if claim is None else claim.on(image_shape)
