"""Axes and metadata of TIFF hyperstacks: time, depth and channel of ImageJ and OME files.

Solvers see one axis of frames. What its frames were, and what the file says of them, is kept in a :class:`Stack` and
written back in the same dialect; what that dialect does not hold is written as a plain TIFF whose description names the
axes, and a note says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recon.io.decoded import RefusedError
from recon.io.formats.orientation import swaps
from recon.io.image import Array

_STRUCTURE = ("ImageJ", "images", "channels", "slices", "frames", "SCIFIO")
"""Of ImageJ's description, what follows from the array and its axes."""

_LATERAL = ("PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeY", "PhysicalSizeYUnit")
_IMAGEJ_LATERAL = ("unit", "spacing", "xorigin", "yorigin", "zorigin", "ROI", "Overlays")
"""What belongs to the sides of ImageJ's pictures: without its one unit, distances are in pixels."""

_OME_PIXELS = ("PhysicalSizeZ", "PhysicalSizeZUnit", "TimeIncrement", "TimeIncrementUnit", *_LATERAL)
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_LARGEST_CLASSIC = 2**32 - 2**25
_MILLIMETRES = {"nm": 1e-6, "µm": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3}
_MICROMETRE = "µm"
"""The unit of OME where none is named."""


@dataclass(frozen=True)
class Stack:
    """The meaning of the frames of a TIFF.

    Attributes:
        dialect: ``"imagej"``, ``"ome"`` or ``"shaped"``, as tifffile calls them.
        axes: A letter for each axis of frames, the slowest first: T time, Z depth, C channel, others as in tifffile.
        sizes: The length of each.
        sides: (height, width), to which lateral distances belong.
        metadata: What tifffile writes into such a file beside the axes.
        resolution: Of ImageJ, pixels a unit along x and y.
    """

    dialect: str
    axes: str
    sizes: tuple[int, ...]
    sides: tuple[int, int]
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resolution: tuple[float, float] | None = None

    def fits(self, frames: int) -> bool:
        """Return whether an image of so many frames has these axes."""
        return int(np.prod(self.sizes)) == frames


def read_stack(opened: Any, series: Any, axes: str, orientation: int) -> Stack | None:
    """Return what a TIFF file says of its frames; ``None`` where they are plain pages.

    Args:
        opened: The file, as tifffile opened it.
        series: The series that is read.
        axes: Its axes, without those of a page.
        orientation: Of the stored rows and columns; the stack is that of the upright picture.
    """
    page, turn = series.keyframe, swaps(orientation)
    sides = (int(page.imagelength), int(page.imagewidth))
    sides = sides[::-1] if turn else sides
    sizes = tuple(int(length) for axis, length in zip(series.axes, series.shape, strict=True) if axis in axes)
    if series.kind == "imagej":
        metadata = {k: v for k, v in (opened.imagej_metadata or {}).items() if k not in _STRUCTURE}
        return Stack("imagej", axes, sizes, sides, metadata, _resolution(page, turn))
    if series.kind == "ome":
        return Stack("ome", axes, sizes, sides, _ome_metadata(opened, turn))
    return Stack("shaped", axes, sizes, sides) if axes.strip("QI") or len(axes) > 1 else None


def check_ome(opened: Any, series: Any) -> None:
    """Refuse OME-XML that contradicts the pixels of its file.

    Raises:
        RefusedError: It does.
    """
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    try:
        found = tifffile.xml2dict(opened.ome_metadata or "")["OME"]["Image"]
        images = found if isinstance(found, list) else [found]
        pixels = [image["Pixels"] for image in images]
        first = pixels[0]
        sides, dtype = (int(first["SizeY"]), int(first["SizeX"])), str(first["Type"])
        samples = series.keyframe.samplesperpixel
        planes = sum(int(each["SizeZ"]) * int(each["SizeC"]) * int(each["SizeT"]) for each in pixels) / samples
    except (KeyError, TypeError, ValueError, IndexError):
        raise RefusedError("its OME metadata are damaged or incomplete; expected the sizes of its pixels.") from None
    page = series.keyframe
    if sides != (page.imagelength, page.imagewidth):
        raise RefusedError(
            f"its OME metadata speak of {sides[0]} x {sides[1]} pixels, and its pages have {page.imagelength} x "
            f"{page.imagewidth}; expected the same."
        )
    if page.dtype is not None and _OME_TYPES.get(dtype, dtype) != page.dtype.name:
        raise RefusedError(
            f"its OME metadata speak of pixels of type {dtype}, and its pages have {page.dtype.name}; "
            "expected the same."
        )
    if planes != len(opened.pages):
        raise RefusedError(
            f"its OME metadata speak of {planes:g} planes, and it has {len(opened.pages)}; expected as many, "
            "because which "
            "plane is which cannot be told."
        )


_OME_TYPES = {"float": "float32", "double": "float64", "complex": "complex64", "double-complex": "complex128"}
_OME_TYPES["bit"] = "bool"


def pitch_of(stack: Stack | None) -> float | None:
    """The distance of two slices in mm, where OME's or ImageJ's metadata state it."""
    if stack is None or stack.dialect not in ("ome", "imagej"):
        return None
    ome = stack.dialect == "ome"
    number = stack.metadata.get("PhysicalSizeZ" if ome else "spacing")
    unit = str(stack.metadata.get("PhysicalSizeZUnit", _MICROMETRE) if ome else stack.metadata.get("unit", ""))
    size = _MILLIMETRES.get({"micron": _MICROMETRE, "um": _MICROMETRE, "\\u00B5m": _MICROMETRE}.get(unit, unit))
    if not isinstance(number, int | float) or size is None or not 0 < number * size < math.inf:
        return None
    return float(number) * size


def spacing_of(stack: Stack | None) -> tuple[float, float] | None:
    """The distances of rows and of columns in mm, where OME's metadata state them."""
    if stack is None or stack.dialect != "ome":
        return None
    lengths = []
    for axis in "YX":
        number = stack.metadata.get(f"PhysicalSize{axis}")
        unit = str(stack.metadata.get(f"PhysicalSize{axis}Unit", _MICROMETRE))
        if not isinstance(number, int | float) or unit not in _MILLIMETRES:
            return None
        lengths.append(float(number) * _MILLIMETRES[unit])
    return lengths[0], lengths[1]


def stack_of(stack: Any, image: Any, ome: bool) -> Stack | None:
    """What the frames of an image are, as TIFF says it; of an image that was read from another format by its axes.

    Args:
        stack: Of the image's source: its axes and their sizes, or ``None``.
        image: The image, with the distances of rows, columns and slices in mm where they are known.
        ome: Whether OME's dialect is asked for.
    """
    if isinstance(stack, Stack) and (stack.dialect == "ome" or not ome):
        return stack
    if stack is None and not ome:
        return None
    frames, sides = image.frames, (image.height, image.width)
    known = stack is not None and stack.fits(frames)
    axes, sizes = (stack.axes, stack.sizes) if known else ("Z", (frames,))
    axes = axes if set(axes) <= set("TCZ") else axes.translate(str.maketrans("IQ", "ZZ"))
    metadata = dict(getattr(stack, "ome", {})) if known else {}
    pitch = None if image.slices is None else image.slices.pitch
    lengths = (*(image.spacing or (None, None)), pitch)
    for axis, length in zip("YXZ", lengths, strict=True):
        if length is not None:
            metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "mm"}
    if ome:
        return Stack("ome", axes, sizes, sides, metadata)
    return Stack("shaped", axes, sizes, sides)


def arguments(stack: Stack, array: Array, colours: bool, special: str) -> tuple[dict[str, Any], str]:
    """Return what tifffile's ``imwrite`` is told of an array's axes, and the sentence of what could not be kept.

    Args:
        stack: What the frames are.
        array: Of the axes of ``stack``, height and width, and of colours where there are any.
        colours: Whether the last axis is that of colours.
        special: What the file holds that ImageJ does not know; empty: nothing.
    """
    axes = f"{stack.axes}YX{'S' if colours else ''}"
    same = array.shape[len(stack.axes) : len(stack.axes) + 2] == stack.sides
    plain = {"metadata": {"axes": axes} if stack.axes else None}
    if stack.dialect == "imagej":
        special = special or _not_imagej(array, axes)
        if special:
            return plain, f"ImageJ's TIFF does not hold {special}: its metadata were left out, its axes are kept."
        kept = {k: v for k, v in stack.metadata.items() if same or k not in _IMAGEJ_LATERAL}
        resolution = stack.resolution if same else None
        return {"imagej": True, "metadata": {**kept, "axes": axes}, "resolution": resolution}, ""
    if stack.dialect == "ome":
        metadata = {k: v for k, v in stack.metadata.items() if same or k not in _LATERAL}
        return {"ome": True, "metadata": {**metadata, "axes": axes}}, ""
    return plain, ""


def _not_imagej(array: Array, axes: str) -> str:
    if array.dtype.name not in _IMAGEJ_TYPES:
        return f"numbers of type {array.dtype.name}"
    if array.nbytes > _LARGEST_CLASSIC:
        return "more than 4 GiB"
    known = iter("TZCYXS")
    return "" if all(axis in known for axis in axes) else f"axes in the order {axes}"


def _resolution(page: Any, turn: bool) -> tuple[float, float] | None:
    found = []
    for name in ("XResolution", "YResolution"):
        try:
            pixels, units = page.tags[name].value
            found.append(float(pixels / units))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return None
    return (found[1], found[0]) if turn else (found[0], found[1])


def _ome_metadata(opened: Any, turn: bool) -> dict[str, Any]:
    """Sizes, names and colours out of the file's OME-XML."""
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    image = tifffile.xml2dict(opened.ome_metadata or "")["OME"]["Image"]
    image = image[0] if isinstance(image, list) else image
    pixels = image["Pixels"]
    kept = {_swapped(key) if turn else key: pixels[key] for key in _OME_PIXELS if key in pixels}
    kept |= {key: image[key] for key in ("Name", "Description", "AcquisitionDate") if isinstance(image.get(key), str)}
    channels = pixels.get("Channel")
    listed = channels if isinstance(channels, list) else [channels] if isinstance(channels, dict) else []
    named = {
        key: [str(channel[key]) for channel in listed]
        for key in ("Name", "Color", "Fluor", "EmissionWavelength", "ExcitationWavelength")
        if listed and all(key in channel for channel in listed)
    }
    return {**kept, "Channel": named} if named else kept


def _swapped(key: str) -> str:
    """The key of the other lateral axis, for a picture whose rows become columns."""
    other = {"PhysicalSizeX": "PhysicalSizeY", "PhysicalSizeY": "PhysicalSizeX"}
    name, unit = key.removesuffix("Unit"), "Unit" if key.endswith("Unit") else ""
    return other.get(name, name) + unit
