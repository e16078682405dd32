"""Maps of mean and standard deviation, whatever they come from."""

from dataclasses import dataclass, field

from torch import Tensor

DONE, MIXED, NOT_MIXED = "done", "mixed", "not mixed"
"""How a run may end."""


@dataclass(frozen=True)
class Maps:
    """Mean and standard deviation of images on the scale of the problem.

    Attributes:
        mean: The centre of intervals, (frames, channels, height, width).
        std: Of the pixels.
        block_std: Of the means of regions, (frames, channels, rows, columns).
        status: ``done``, ``mixed`` or ``not mixed``.
        sentence: What was seen, for a person.
        details: The same as plain values.
    """

    mean: Tensor
    std: Tensor
    block_std: Tensor
    status: str
    sentence: str
    details: dict[str, object] = field(default_factory=dict)
