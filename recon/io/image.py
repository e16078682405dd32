"""An image: pixels with units, the range that maps them to [0, 1], and what is needed to write them back."""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recon.errors import UsageError

Array = NDArray[Any]

AXES = "(frames, channels, height, width)"
LUMA: Final = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey, by the recommendation BT.601, as in the published grey versions of colour sets."""

HOUNSFIELD_RANGE = (-1024.0, 3071.0)
ROBUST_PERCENTILES = (0.1, 99.9)
_LARGEST_EXACT_INTEGER = 2**53  # of float64, in which grey values are rounded


@dataclass(frozen=True)
class ValueRange:
    """The affine map that takes ``low`` to 0 and ``high`` to 1; it scales and never clips.

    Attributes:
        low: The value that becomes 0, in ``units``.
        high: The value that becomes 1, in ``units``.
        units: ``"HU"``, ``"BQML"``, ``"GY"``, or ``""`` where none are known.
    """

    low: float
    high: float
    units: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"range {self.low:g}:{self.high:g}: expected two finite numbers, the lower one first, "
                "because they become black and white."
            )

    @property
    def width(self) -> float:
        """How many units make 1."""
        return self.high - self.low

    @classmethod
    def parse(cls, text: str, units: str = "") -> "ValueRange":
        """Read ``LO:HI``, as in ``-1024:3071``."""
        low, colon, high = text.partition(":")
        try:
            if not colon:
                raise ValueError
            return cls(float(low), float(high), units)
        except ValueError:  # UsageError is one
            raise UsageError(f"range '{text}': expected LO:HI, two finite numbers with LO < HI.") from None


@dataclass(frozen=True)
class Grid:
    """The values that a file of integers can hold: ``slope * k + intercept`` for whole ``k`` in ``low..high``.

    Attributes:
        low: The smallest stored integer.
        high: The largest stored integer.
        slope: One number for all frames, or one a frame; negative where the file stores the inverse.
        intercept: As ``slope``.
    """

    low: int
    high: int
    slope: tuple[float, ...] = (1.0,)
    intercept: tuple[float, ...] = (0.0,)

    @property
    def is_plain(self) -> bool:
        """Whether the stored integers are the values."""
        return set(self.slope) == {1.0} and set(self.intercept) == {0.0}

    def of_frame(self, number: int) -> "Grid":
        """The grid of one frame."""
        if len(self.slope) == 1:
            return self
        return Grid(self.low, self.high, self.slope[number : number + 1], self.intercept[number : number + 1])

    def values(self, stored: Array) -> Array:
        """The values of stored integers, shape (frames, channels, height, width); integers where all of them are."""
        if self.is_plain:
            return stored
        values = stored.astype(np.float64) * _per_frame(self.slope) + _per_frame(self.intercept)
        if all(number.is_integer() for number in self.slope + self.intercept) and np.abs(values).max() < 2**31:
            return values.astype(np.int32)
        return values

    def stored(self, values: Array) -> tuple[Array, int]:
        """The nearest stored integers, and how many of them had to be clipped to ``low..high``."""
        k = np.rint((values.astype(np.float64) - _per_frame(self.intercept)) / _per_frame(self.slope))
        clipped = int(np.count_nonzero((k < self.low) | (k > self.high)))
        return np.clip(k, self.low, self.high).astype(np.int64), clipped


def _per_frame(numbers: tuple[float, ...]) -> Array:
    return np.asarray(numbers, dtype=np.float64).reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class Source:
    """The values that a writer needs to make the same kind of file again; opaque, and silent about its content.

    Attributes:
        format: ``"png"``, ``"jpeg"``, ``"tiff"``, ``"npy"``, ``"dicom"`` or ``"memory"``.
        layout: The axes of the file's array, of ``F`` frames, ``C`` channels, ``H`` height, ``W`` width.
        dtype: The file's own type of number, in the machine's byte order.
        profile: The ICC colour profile.
        header: The DICOM data set without its pixels. It holds patient data: never printed.
        associated: Whether colours are multiplied by the opacity, as in TIFF with associated alpha.
        stack: What the frames of a TIFF are, with their metadata: :class:`recon.io.formats.tiff_stack.Stack`.
    """

    format: str = "memory"
    layout: str = "HW"
    dtype: str = "float32"
    profile: bytes | None = field(default=None, repr=False)
    header: Any = field(default=None, repr=False)
    associated: bool = False
    stack: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Slices:
    """Positions of the frames of a reconstruction in their scan: x points right, y up, and z along the frames.

    The coordinates are right-handed: to who looks down from +z, x points right and y up.

    Attributes:
        pitch: The distance from one frame to the next in mm; ``None`` where it is unknown, or there is one frame.
        centre: The coordinates (x, y, z) of the middle of the stack, in mm.
    """

    pitch: float | None = None
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.pitch is not None and not (math.isfinite(self.pitch) and self.pitch > 0):
            raise UsageError(f"Slices: the pitch is {self.pitch!r}; expected a positive number, a length in mm.")
        if len(self.centre) != 3 or not all(map(math.isfinite, self.centre)):
            raise UsageError(f"Slices: the centre is {self.centre!r}; expected three finite numbers, in mm.")


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels in natural units with what they mean.

    Attributes:
        pixels: Shape (frames, channels, height, width), read-only, in units; channels is 1, or 3 for RGB.
        value_range: The map to [0, 1] on which solvers work.
        grid: The values that the file's integers can hold; ``None`` for floating point.
        alpha: The opacity, shape (frames, 1, height, width), kept aside and put back.
        spacing: The distance of rows and of columns in mm.
        padding: Where the file says that there is no image, shape as ``pixels``: for solvers black of the default
            range, put back after.
        weights: How much each pixel of a measurement counts, shape as ``pixels``; ``None`` where all count alike.
        notes: What a reader had to say about the file, a sentence each; no patient data.
        clipped: How many values :func:`recon.io.with_tensor` had to clip to what the file can hold.
        source: What the writer of the same format needs.
        slices: Where the frames are in the scan that they were reconstructed from.
    """

    pixels: Array
    value_range: ValueRange
    grid: Grid | None = None
    alpha: Array | None = None
    spacing: tuple[float, float] | None = None
    padding: Array | None = None
    weights: Array | None = None
    notes: tuple[str, ...] = ()
    clipped: int = 0
    source: Source = Source()
    slices: Slices | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4:
            raise UsageError(f"Image: the pixels have shape {self.pixels.shape}; expected four axes: {AXES}.")
        pixels = self.pixels.view()
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    def __repr__(self) -> str:
        frames, channels, height, width = self.pixels.shape
        low, high, units = self.value_range.low, self.value_range.high, self.units or "no units"
        return (
            f"Image({self.source.format}, {frames} x {channels} x {height} x {width}, {self.pixels.dtype}, "
            f"{low:g}..{high:g}, {units})"
        )

    @property
    def units(self) -> str:
        """The units of the pixels, ``""`` where none are known."""
        return self.value_range.units

    @property
    def frames(self) -> int:
        """The number of frames: 1 for a single image."""
        return int(self.pixels.shape[0])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """The number of rows."""
        return int(self.pixels.shape[2])

    @property
    def width(self) -> int:
        """The number of columns."""
        return int(self.pixels.shape[3])


def from_array(
    pixels: Array,
    *,
    units: str = "",
    value_range: ValueRange | None = None,
    spacing: tuple[float, float] | None = None,
    slices: Slices | None = None,
) -> Image:
    """An image of an array of shape (height, width) or (frames, channels, height, width), in the given units."""
    array = np.asarray(pixels)
    layout = "HW" if array.ndim == 2 else "FCHW"
    array = array[None, None] if array.ndim == 2 else array
    return Image(
        array,
        value_range or default_range(array, units),
        integer_grid(array.dtype),
        spacing=spacing,
        source=Source("memory", layout, str(array.dtype)),
        slices=slices,
    )


def integer_grid(dtype: np.dtype[Any]) -> Grid | None:
    """All integers of a type; ``None`` for floating and complex numbers."""
    if dtype.kind == "b":
        return Grid(0, 1)
    if dtype.kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    return Grid(max(int(limits.min), -_LARGEST_EXACT_INTEGER), min(int(limits.max), _LARGEST_EXACT_INTEGER))


def default_range(pixels: Array, units: str = "") -> ValueRange:
    """The range for pixels of which no more is known than their type and units.

    HU: -1024..3071. Unsigned 8 and 16 bit: all integers of the type. Floating point that lies about
    [0, 1] (the robust percentiles in [-0.25, 1.25], the upper one from 0.25): [0, 1], so that a
    simulated measurement keeps the scale of its noise. Complex: [0, 1], which changes nothing. All
    else: the percentiles 0.1 and 99.9.
    """
    if units == "HU":
        return ValueRange(*HOUNSFIELD_RANGE, units)
    if pixels.dtype.kind in {"b", "c"}:
        return ValueRange(0.0, 1.0, units)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return ValueRange(0.0, float(np.iinfo(pixels.dtype).max), units)
    return robust_range(pixels, units)


def robust_range(pixels: Array, units: str = "", about_one: bool = True) -> ValueRange:
    """The percentiles 0.1 and 99.9, or with ``about_one`` [0, 1] for floating point that lies about it."""
    low, high = (float(number) for number in np.percentile(pixels.astype(np.float64), ROBUST_PERCENTILES))
    if about_one and pixels.dtype.kind == "f" and not units and low >= -0.25 and 0.25 <= high <= 1.25:
        return ValueRange(0.0, 1.0, units)
    if not low < high:
        low, high = float(pixels.min()), float(pixels.max())
    if not low < high:
        high = low + max(1.0, abs(low))
    return ValueRange(low, high, units)
