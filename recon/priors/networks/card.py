"""What the card beside a network says of it, as evidence."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from recon.catalogue import CARD, read_card
from recon.errors import InputError
from recon.evidence import Assumed, Evidence, Measured

LEAST_SIDE = 32
"""Height and width of the smallest image for which what a card says was measured stands, where it does not say itself:
smaller ones are borders all over, where searches find ||Q'|| above 1 of networks in which they find no violation
otherwise."""

LARGEST_SIDE = 512
"""Of the images of which a claim may begin."""

_MOST = 1e300
"""Of a quotient: there are whole numbers in JSON that no float can hold."""


@final
@dataclass(frozen=True)
class Claim:
    """What a card says was measured of a network.

    Attributes:
        value: The largest Lipschitz quotient of Q that a search found.
        least_side: Height and width of the smallest image of which that is said.
        smaller: The largest that searches of smaller images found; ``None`` where there were none.
    """

    value: float
    least_side: int
    smaller: float | None = None

    def on(self, image_shape: tuple[int, ...] | None) -> Measured | Assumed:
        """What is known of Q on images of a (height, width), with whatever before it; ``None``: of the claimed ones."""
        if image_shape is not None and min(image_shape[-2:]) < self.least_side:
            height, width = image_shape[-2:]
            known = "no search is on it" if self.smaller is None else f"its searches found {self.smaller:.4g}"
            return Assumed(
                max(1.0, self.value, self.smaller or 0.0),
                f"the card of the network speaks of sides of {self.least_side} pixels and more, and not of "
                f"{height} x {width}; of smaller ones {known}",
            )
        return Measured(
            self.value, f"the card of the network, on sides of {self.least_side} pixels and more: a lower bound"
        )


def claim_of(folder: Path) -> Claim | None:
    """What the card in a folder says was measured; ``None`` where there is no card, or it says that Q has a proof.

    Raises:
        InputError: The card cannot be read, or does not say what a card says.
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
            f"{LARGEST_SIDE} pixels, as recon train and models/package.py write it."
        )
    return Claim(float(value), least, _found_below(least, card.get("searches")))


def _found_below(least: int, searches: object) -> float | None:
    """The largest quotient among the searches of smaller images; what is no search is none."""
    found = [each for each in searches if isinstance(each, dict)] if isinstance(searches, list) else []
    pairs = [(each.get("side"), each.get("value")) for each in found]
    small = [v for side, v in pairs if isinstance(side, int) and side < least and isinstance(v, int | float)]
    return max((float(value) for value in small if 0 < value < _MOST), default=None)


def measured_on_card(folder: Path, image_shape: tuple[int, ...] | None = None) -> Measured | Assumed | None:
    """What a network's card says is known of Q, as :func:`recon.priors.networks.learned_prior` takes it.

    Args:
        folder: Of the network, as in :func:`recon.catalogue.folders`.
        image_shape: (height, width), with whatever before it: what was measured on large images is only *assumed* of
            smaller ones than the card speaks of.

    Raises:
        InputError: The card cannot be read, or does not say what a card says.
    """
    claim = claim_of(folder)
    return None if claim is None else claim.on(image_shape)
