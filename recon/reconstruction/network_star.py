"""The Lipschitz star of a network: the partial constants of its J for groups of the image that it takes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.certificates.partial_lipschitz import SEARCH, Arm, Region, attacked_arm, partial_bound, reconciled
from recon.errors import UsageError
from recon.evidence import Constant, finite_or_none
from recon.reconstruction.certify import prior_at
from recon.reconstruction.groups import Groups, groups_of_image
from recon.report import StarFigure, star_figure
from recon.specs.grammar import Spec
from recon.specs.groups import GroupSpec

SIDE = 32
"""Height and width of the image where none is stated."""

_LATER_STEPS = 3
"""Of the ascent of a potential from there."""

_BEFORE = "the image of the longest arm before, moved"

Seen = Callable[[int, int], None]
"""Is told how many groups are done, and of how many."""


@dataclass(frozen=True)
class NetworkStar:
    """The partial Lipschitz constants of a network's J.

    Attributes:
        prior: The specification, with the noise level.
        groups: The groups of the image.
        arms: One for each.
        side: Height and width of the image.
        given: What the bounds are conditional on, or nothing.
        seed: Of the search.
    """

    prior: str
    groups: Groups
    arms: tuple[Arm, ...]
    side: int
    given: str
    seed: int

    @property
    def weakest(self) -> int:
        """The index of the group with the longest attacked arm."""
        return max(range(len(self.arms)), key=lambda k: self.arms[k].attacked.value)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, an infinite bound as null with its reason."""
        return {
            "groups": [
                {
                    "name": group.name,
                    "certified": finite_or_none(arm.certified.value),
                    "attacked": arm.attacked.value,
                    "evidence": {
                        **({"certified": arm.certified.evidence.value} if _is_bounded(arm) else {}),
                        "attacked": arm.attacked.evidence.value,
                    },
                    "how": {"certified": arm.certified.how, "attacked": arm.attacked.how},
                    "position": list(group.position),
                    "reason": None if _is_bounded(arm) else arm.certified.how,
                }
                for group, arm in zip(self.groups.members, self.arms, strict=True)
            ],
            "grouping": str(self.groups.spec),
            "map": "J",
            "image": [self.side, self.side],
            "given": self.given or None,
            "seed": self.seed,
        }


def _is_bounded(arm: Arm) -> bool:
    return math.isfinite(arm.certified.value)


def network_star(  # noqa: PLR0913  each is an independent choice of the caller
    prior: Spec,
    groups: GroupSpec,
    *,
    noise: float | None = None,
    images: Mapping[str, Tensor] | None = None,
    side: int | None = None,
    seed: int = 0,
    quick: bool = False,
    seen: Seen = lambda done, count: None,
) -> NetworkStar:
    """The partial Lipschitz constants of the network of a prior.

    Args:
        prior: The prior.
        groups: Of the image.
        noise: The level that it is matched to; ``None``: the middle of its range.
        images: What the search begins with besides, the middle of each.
        side: Height and width of the image; 32 where none is stated.
        seed: Of what is random.
        quick: Whether the search is shorter; the bounds are the same.
        seen: Sees the groups.

    Raises:
        UsageError: The prior is no network, or an image is none that it takes.
        ConsistencyError: The groups do not divide the image.
    """
    size = side or SIDE
    chosen = prior_at(prior, noise, size)
    model = chosen.model
    if model is None:
        raise UsageError(
            f"{chosen.spec}: groups of a prior that is no network; expected a network, such as model:proved-gray, "
            "because partial constants follow from its layers."
        )
    network, channels = model.network, model.network.config.channels
    found = groups_of_image(groups, channels, size)
    starts = {name: _middle(name, image, channels, size) for name, image in (images or {}).items()}
    search = replace(SEARCH, seed=seed)
    if quick:
        search = replace(search, starts=1, steps=8)
    bounds: dict[Region, Constant] = {}
    arms: list[Arm] = []
    for done, group in enumerate(found.members, start=1):
        region = Region((done - 1,)) if groups.kind == "channels" else Region(None, (groups.size[0], groups.size[1]))
        if region not in bounds:
            bounds[region] = partial_bound(network, region, size, model.level, model.share)
        mask = torch.zeros(1, channels, size, size)
        mask[0][(slice(None),) * (3 - len(group.place)) + group.place] = 1
        begin, extent = starts, search
        if network.iterates and groups.kind == "blocks" and arms:
            begin, extent = {_BEFORE: _moved(arms, found, done - 1)}, replace(search, starts=0, steps=_LATER_STEPS)
        attacked = attacked_arm(network, mask, model.level, begin, model.share, extent)
        arms.append(reconciled(bounds[region], attacked))
        seen(done, len(found.members))
    given = "the guide is kept as it is" if chosen.guides_itself else ""
    return NetworkStar(str(chosen.spec), found, tuple(arms), size, given, seed)


def _moved(arms: list[Arm], groups: Groups, index: int) -> Tensor:
    """The image of the longest arm so far, moved with its group to another; it comes in again at the other end.

    A potential looks alike everywhere but at the border: what is hard for one group is so for the next.
    """
    longest = max(range(len(arms)), key=lambda k: arms[k].attacked.value)
    by = [
        there.start - here.start
        for here, there in zip(groups.members[longest].place, groups.members[index].place, strict=True)
    ]
    return arms[longest].image.roll(by[-2:], (-2, -1))


def _middle(name: str, image: Tensor, channels: int, side: int) -> Tensor:
    if image.shape[1] != channels or image.is_complex() or min(image.shape[-2:]) < side:
        raise UsageError(
            f"{name} has {image.shape[1]} channel(s) of {image.shape[-2]} x {image.shape[-1]} pixels; expected "
            f"{channels} of at least {side} x {side}, as the network and the groups."
        )
    top, left = ((size - side) // 2 for size in image.shape[-2:])
    return image[:1, :, top : top + side, left : left + side].double()


def draw_network_star(star: NetworkStar, path: Path, overwrite: bool) -> None:
    """Draw the arms, beside the image at which the longest was found.

    Raises:
        OutputError: The file cannot be written.
    """
    kind = star.groups.spec.kind
    weakest = star.arms[star.weakest]
    x = weakest.image[0].float().clamp(0, 1).cpu()
    picture = np.asarray(x.permute(1, 2, 0) if len(x) == 3 else x.mean(0), np.float64)
    bounded = [arm for arm in star.arms if _is_bounded(arm)]
    said = f"{bounded[0].certified.evidence.value}, for every image and every change" if bounded else "none"
    given = f", {star.given}" if star.given else ""
    certified = np.array([arm.certified.value for arm in star.arms], np.float64)
    figure = StarFigure(
        kind,
        [group.position for group in star.groups.members],
        np.where(np.isfinite(certified), certified, np.nan),
        np.array([arm.attacked.value for arm in star.arms], np.float64),
        np.full(len(star.arms), np.nan),
        None,
        star.groups.axes,
        f"Partial Lipschitz constants of J for {star.groups.spec}: {star.prior}",
        f"certified: {said}{given}. attacked: the largest that a search found, a lower bound; on "
        f"{star.side} x {star.side} pixels.",
        picture,
        (0.0, 1.0),
        ("attacked", f"image of the longest arm ({star.groups.members[star.weakest].name})", "image"),
    )
    star_figure(path, figure, overwrite=overwrite)
