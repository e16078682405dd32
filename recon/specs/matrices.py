"""Shapes of the images and measurements of a matrix that a specification names."""

import math
import re
from dataclasses import dataclass

from recon.errors import ConsistencyError, UsageError
from recon.specs.grammar import Spec

Shape = tuple[int, ...]
_SIDES = re.compile(r"([0-9]{1,9})x([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class MatrixShapes:
    """How the flattened images and measurements of a matrix lie in two dimensions.

    Attributes:
        spec: Where the matrix comes from.
        rows: Numbers measured.
        columns: Pixels of an image.
        stated: (height, width) of the measurement where the specification says it.
    """

    spec: Spec
    rows: int
    columns: int
    stated: Shape | None

    @property
    def square(self) -> Shape | None:
        """(height, width) of a square image, if there is one of so many pixels."""
        side = math.isqrt(self.columns)
        return (side, side) if side * side == self.columns else None

    def measured(self, image: Shape) -> Shape:
        """The measurement's shape for an image: as stated, the image's own if the numbers allow it, else one row.

        Raises:
            ConsistencyError: The image has another number of pixels than the matrix has columns.
        """
        if math.prod(image) != self.columns:
            raise ConsistencyError(
                f"{self.spec}: the matrix has {self.columns} columns and the image {_words(image)} = "
                f"{math.prod(image)} pixels; expected {self.columns} of them (--shape H,W)."
            )
        return self.stated or (image if self.rows == self.columns else (1, self.rows))

    def image(self, measured: Shape) -> Shape:
        """The image's shape for a measurement: its own if the numbers allow it, else a square.

        Raises:
            ConsistencyError: The measurement has another number of values than the matrix has rows, or the shape is not
                known.
        """
        if math.prod(measured) != self.rows:
            raise ConsistencyError(
                f"{self.spec}: the matrix has {self.rows} rows and the measurement {_words(measured)} = "
                f"{math.prod(measured)} values; expected {self.rows} of them."
            )
        if self.rows == self.columns and 1 not in measured and self.stated is None:
            return measured
        if self.square is None:
            raise ConsistencyError(
                f"{self.spec}: {self.columns} pixels are no square image; expected --shape H,W with so many pixels."
            )
        return self.square


def matrix_shapes(spec: Spec, rows: int, columns: int) -> MatrixShapes:
    """Read the option ``measured=HxW``.

    Raises:
        UsageError: It is no shape, or has another number of values than the matrix has rows.
    """
    text = spec.options.get("measured")
    if text is None:
        return MatrixShapes(spec, rows, columns, None)
    match = _SIDES.fullmatch(text)
    if match is None or int(match[1]) * int(match[2]) != rows:
        raise UsageError(f"{spec}: measured is {text!r}; expected HxW with {rows} values, the rows of the matrix.")
    return MatrixShapes(spec, rows, columns, (int(match[1]), int(match[2])))


def _words(shape: Shape) -> str:
    return " x ".join(map(str, shape))
