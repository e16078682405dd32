"""Groups of entries by their specification, such as ``views`` or ``blocks:8x8``; nothing here imports torch."""

import re
from dataclasses import dataclass
from typing import Literal

from recon.errors import UsageError

Kind = Literal["views", "detectors", "lines", "blocks", "channels"]

GROUPS_HELP = "views, detectors:N (N groups of neighbouring pixels), lines (of k-space), or blocks:HxW (of pixels)."
IMAGE_GROUPS_HELP = "blocks:HxW (of pixels), or channels."
_EXPECTED = (
    "expected views, detectors:N, lines or blocks:HxW, as in detectors:16 or blocks:8x8, or channels of the image of a "
    "prior"
)
_OF = {"views": ("ct",), "detectors": ("ct",), "lines": ("mri",)}
_WHAT = {"views": "views", "detectors": "detector pixels", "lines": "lines of k-space"}


@dataclass(frozen=True)
class GroupSpec:
    """Which entries are groups.

    Attributes:
        kind: ``views``, ``detectors``, ``lines`` or ``blocks``.
        size: Of detectors their number of groups, of blocks (height, width); else nothing.
    """

    kind: Kind
    size: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.kind + (":" + "x".join(map(str, self.size)) if self.size else "")


def parse_groups(text: str) -> GroupSpec:
    """The groups that a text names.

    Raises:
        UsageError: It names none.
    """
    kind, _, size = text.strip().partition(":")
    plain: dict[str, Kind] = {"views": "views", "lines": "lines", "channels": "channels"}
    if kind in plain and not _:
        return GroupSpec(plain[kind])
    pattern = {"detectors": r"[0-9]{1,6}", "blocks": r"[0-9]{1,6}x[0-9]{1,6}"}.get(kind)
    if pattern is None or not re.fullmatch(pattern, size):
        raise UsageError(f"groups is {text!r}; {_EXPECTED}.")
    numbers = tuple(int(number) for number in size.split("x"))
    if 0 in numbers:
        raise UsageError(f"groups is {text!r}; {_EXPECTED}, because a group of nothing cannot change.")
    return GroupSpec("detectors" if kind == "detectors" else "blocks", numbers)


def require_groups_of(groups: GroupSpec, operator: str) -> None:
    """Refuse groups that the measurement of an operator does not have.

    Raises:
        UsageError: It has none of the kind.
    """
    if groups.kind == "channels":
        raise UsageError(
            "groups is 'channels' for a measurement; expected views, detectors:N, lines or blocks:HxW, because the "
            "channels are groups of the image that a network takes: recon certify prior."
        )
    able = _OF.get(groups.kind)
    if able is not None and operator not in able:
        raise UsageError(
            f"groups is {str(groups)!r} with the operator {operator!r}; expected {able[0]}, because no other "
            f"measurement has {_WHAT[groups.kind]}: its pixels are blocks:HxW."
        )
    if groups.kind == "blocks" and operator in ("ct", "mri"):
        other = "views or detectors:N" if operator == "ct" else "lines"
        raise UsageError(
            f"groups is {str(groups)!r} with the operator {operator!r}; expected {other}, because blocks are of "
            "pixels of an image."
        )


def require_groups_of_image(groups: GroupSpec) -> None:
    """Refuse groups that the image that a network takes does not have.

    Raises:
        UsageError: They are of a measurement.
    """
    if groups.kind not in ("blocks", "channels"):
        raise UsageError(
            f"groups is {str(groups)!r} for a prior; expected blocks:HxW or channels, because a prior sees an image, "
            "and no measurement."
        )
