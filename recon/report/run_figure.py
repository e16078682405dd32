"""The values of a run that its figure shows."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from recon.io.image import ValueRange

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class RunFigure:
    """The values that a figure of a run shows.

    Attributes:
        measurement: On the [0, 1] scale.
        result: Likewise, of its own size.
        residual: ``A x - y``, as ``measurement``; drawn on a scale symmetric about zero, in units.
        history: Pairs of a step and its relative residual.
        title: One line above all.
        value_range: What 0 and 1 mean, in units.
        certificate_sentence: One sentence below all.
        measured_range: What 0 and 1 mean in the measurement; ``None``: as in the result.
        distances: Pairs of a step and the estimated distance to the limit, over the same scale as the history.
        window: What is shown as black and as white, in the units of ``value_range``; ``None``: all values but the
            outermost. Colours have none.
    """

    measurement: "Tensor"
    result: "Tensor"
    residual: "Tensor"
    history: Sequence[tuple[int, float]]
    _: KW_ONLY
    title: str
    value_range: ValueRange
    certificate_sentence: str
    measured_range: ValueRange | None = None
    distances: Sequence[tuple[int, float]] = ()
    window: tuple[float, float] | None = None

    @property
    def range_of_measurement(self) -> ValueRange:
        """The values of 0 and 1 in the measurement and in the residual."""
        return self.measured_range or self.value_range
