"""OME-Zarr (NGFF 0.4 and 0.5) by zarr: the full resolution of an image with its axes, pixel sizes and channels.

A store is a folder. Of a pyramid the first level is read, and the others are left out of a result, because they would
show the measurement. A chunk that is missing is refused: the format would read it as a constant.
"""

import copy
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recon.io.decoded import Decoded, RefusedError, check_size
from recon.io.image import Image, Slices, Source, integer_grid

INSTALL = "pip install 'recon-imaging[zarr]'"
_LETTERS = {"t": "T", "c": "C", "z": "Z"}
_MILLIMETRES = {"nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3}
_LONGEST = 2**22
"""Bytes of a file of metadata."""

_OF_OBJECTS = ("pickle", "json2", "msgpack2", "categorize", "vlen-array", "vlen-bytes", "vlen-utf8")
"""Codecs of objects, which no image needs."""

_LEVEL = "0"
_CHUNK = 256


@dataclass(frozen=True)
class ZarrStack:
    """What the frames of an OME-Zarr image are, and its metadata.

    Attributes:
        axes: A letter for each axis of frames, the slowest first: T time, C channel, Z depth.
        sizes: The length of each.
        sides: (height, width).
        version: Of NGFF, ``"0.4"`` or ``"0.5"``.
        metadata: Of the image: ``multiscales`` with its first level only, ``omero`` and others.
        chunks: Of the first level.
    """

    axes: str
    sizes: tuple[int, ...]
    sides: tuple[int, int]
    version: str = "0.4"
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    chunks: tuple[int, ...] | None = None

    def fits(self, frames: int) -> bool:
        """Return whether an image of so many frames has these axes."""
        return math.prod(self.sizes) == frames

    @property
    def ome(self) -> dict[str, Any]:
        """The names of the channels as OME-TIFF has them."""
        channels = self.metadata.get("omero", {}).get("channels", []) if "C" in self.axes else []
        names = [str(each.get("label", "")) for each in channels if isinstance(each, Mapping)]
        known = len(names) == self.sizes[self.axes.index("C")] if names else False
        return {"Channel": {"Name": names}} if known else {}


def decode_zarr(path: Path, limit: int) -> Decoded:
    """The first image of a store, at full resolution.

    Args:
        path: The folder.
        limit: How many values it may declare.
    """
    zarr = _zarr("reading")
    for name in ("zarr.json", ".zattrs", ".zgroup"):
        if (path / name).is_file() and (path / name).stat().st_size > _LONGEST:
            raise RefusedError(f"its {name} has more than {_LONGEST} bytes; expected metadata.")
    try:
        group = zarr.open_group(str(path), mode="r")
        attributes = json.loads(json.dumps(dict(group.attrs)))
    except Exception:
        raise RefusedError("it is no Zarr group with metadata that can be read; expected OME-Zarr.") from None
    inner = attributes.get("ome", attributes)
    scales = inner.get("multiscales") if isinstance(inner, dict) else None
    if not (isinstance(scales, list) and scales and isinstance(scales[0], dict)):
        raise RefusedError("it has no multiscales metadata; expected an OME-Zarr image.")
    first = scales[0]
    array, level = _level(group, first)
    names = _axes(first, array)
    check_size(array.shape, limit)
    check_size(tuple(array.chunks), limit)
    _require_chunks(path / level, array)
    stored = np.asarray(array[...])
    frames = stored.reshape(-1, 1, *stored.shape[-2:])
    axes = "".join(_LETTERS[name] for name in names[:-2])
    version = "0.5" if "ome" in attributes else "0.4"
    metadata = copy.deepcopy(inner)
    metadata["multiscales"] = [{**first, "datasets": first["datasets"][:1]}]
    _check_channels(metadata, names, array.shape)
    stack = ZarrStack(
        axes, tuple(array.shape[:-2]), (array.shape[-2], array.shape[-1]), version, metadata, tuple(array.chunks)
    )
    rows, columns, pitch = (_length(first, names, axis) for axis in ("y", "x", "z"))
    notes = []
    if len(first["datasets"]) > 1:
        notes.append("The lower resolutions of the pyramid are not read, and a result has none.")
    if len(scales) > 1:
        notes.append("The store holds several images: the first was read.")
    native = frames.astype(frames.dtype.newbyteorder("="))
    return Decoded(
        native,
        Source("zarr", "FHW", str(native.dtype), stack=stack),
        integer_grid(native.dtype),
        spacing=None if rows is None or columns is None else (rows, columns),
        notes=tuple(notes),
        slices=None if pitch is None else Slices(pitch),
    )


def encode_zarr(path: Path, image: Image) -> tuple[str, ...]:
    """Write an image of grey frames to a new folder; notes of what could not be kept.

    Args:
        path: The folder, which is not there or empty.
        image: The image; its source says what the frames are.
    """
    zarr = _zarr("writing")
    if image.channels != 1 or image.pixels.dtype.kind == "c":
        raise RefusedError(
            f"{image.channels} colours of {image.pixels.dtype} do not fit; expected grey real numbers, because "
            "channels of "
            "OME-Zarr are images of their own."
        )
    stack = stack_of(image)
    same = stack.sides == (image.height, image.width)
    pixels = image.pixels.reshape(*stack.sizes, image.height, image.width)
    names = [*stack.axes.lower(), "y", "x"]
    metadata = copy.deepcopy(dict(stack.metadata)) or _metadata(image, stack, names)
    if not same:
        _drop_lateral(metadata, names)
    metadata["multiscales"][0]["datasets"][0]["path"] = _LEVEL
    metadata["multiscales"][0].pop("type", None)
    chunks = stack.chunks if same and stack.chunks else (1,) * len(stack.sizes) + (_CHUNK, _CHUNK)
    chunks = tuple(min(chunk, length) for chunk, length in zip(chunks, pixels.shape, strict=True))
    fifth = stack.version == "0.5"
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if fifth else 2)
    separator = {"name": "default" if fifth else "v2", "separator": "/"}
    array = group.create_array(
        _LEVEL, shape=pixels.shape, dtype=pixels.dtype, chunks=chunks, chunk_key_encoding=separator,
        fill_value=0, config={"write_empty_chunks": True},
        **({"dimension_names": names} if fifth else {}),
    )  # fmt: skip
    array[...] = pixels
    if fifth:
        metadata["version"] = "0.5"
        group.attrs["ome"] = metadata
    else:
        group.attrs.update(metadata)
    lost = [] if same else ["The size of the pixels changed, and their lengths were left out."]
    if image.alpha is not None:
        lost.append("The opacity does not fit into OME-Zarr and was left out.")
    return tuple(lost)


def stack_of(image: Image) -> ZarrStack:
    """What the frames of an image are, as OME-Zarr says it."""
    stack = image.source.stack
    if isinstance(stack, ZarrStack) and stack.fits(image.frames):
        return stack
    sides = (image.height, image.width)
    if stack is None or not stack.fits(image.frames) or not stack.axes:
        return ZarrStack("Z" if image.frames > 1 else "", (image.frames,) if image.frames > 1 else (), sides)
    axes = stack.axes.translate(str.maketrans("IQ", "ZZ"))
    if list(axes) != [letter for letter in "TCZ" if letter in axes]:
        raise RefusedError(
            f"its frames have the axes {stack.axes}; expected time, channel and depth in this order, as "
            "OME-Zarr has them."
        )
    return ZarrStack(axes, tuple(stack.sizes), sides)


def _metadata(image: Image, stack: ZarrStack, names: Sequence[str]) -> dict[str, Any]:
    """NGFF's metadata of an image from another format."""
    lengths: dict[str, float | None] = dict(zip("yx", image.spacing or (None, None), strict=True))
    lengths["z"] = None if image.slices is None else image.slices.pitch
    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, str]] = []
    for name in names:
        axis = {"name": name, "type": kinds.get(name, "space")}
        if lengths.get(name) is not None:
            axis["unit"] = "millimeter"
        axes.append(axis)
    scale = [float(lengths.get(name) or 1.0) for name in names]
    first = {
        "version": "0.4",
        "axes": axes,
        "datasets": [{"path": _LEVEL, "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    labels = getattr(image.source.stack, "metadata", {}).get("Channel", {}).get("Name")
    metadata: dict[str, Any] = {"multiscales": [first]}
    if labels and "c" in names:
        metadata["omero"] = {"channels": [{"label": str(label), "active": True} for label in labels]}
    return metadata


def _drop_lateral(metadata: dict[str, Any], names: Sequence[str]) -> None:
    """Take out the lengths of pixels, which are others now."""
    first = metadata["multiscales"][0]
    first.pop("coordinateTransformations", None)
    for axis in first["axes"]:
        if axis["name"] in ("y", "x"):
            axis.pop("unit", None)
    for each in first["datasets"][0].get("coordinateTransformations", []):
        if each.get("type") == "scale":
            each["scale"] = [1.0 if name in ("y", "x") else s for name, s in zip(names, each["scale"], strict=True)]


def _zarr(what: str) -> Any:
    try:
        import zarr  # noqa: PLC0415  an optional extra
    except ImportError:
        raise RefusedError(f"{what} OME-Zarr needs the package zarr, which is not installed: {INSTALL}.") from None
    return zarr


def _level(group: Any, first: Mapping[str, Any]) -> tuple[Any, str]:
    """The array of full resolution, and its path below the group."""
    try:
        level = str(first["datasets"][0]["path"])
        array = group[level]
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    except Exception:
        raise RefusedError("the array that its multiscales metadata name is missing or damaged.") from None
    if ".." in Path(level).parts or Path(level).is_absolute():
        raise RefusedError("its multiscales metadata name an array outside of the store.")
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not shape:
        raise RefusedError(f"its pixels are of type {dtype}; expected real numbers of up to 64 bits.")
    _check_codecs(array)
    return array, level


def _check_codecs(array: Any) -> None:
    """Refuse codecs of objects: one of them runs what it reads as a program."""
    metadata = array.metadata
    codecs = [*(getattr(metadata, "filters", None) or ()), getattr(metadata, "compressor", None)]
    codecs += getattr(metadata, "codecs", ())
    for codec in codecs:
        name = str(getattr(codec, "codec_id", getattr(codec, "codec_name", ""))).removeprefix("numcodecs.")
        if name in _OF_OBJECTS:
            raise RefusedError(f"its chunks are packed by {name!r}; expected a codec of numbers.")


def _axes(first: Mapping[str, Any], array: Any) -> list[str]:
    try:
        names = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in first["axes"]]
        scale = _scale(first)
    except (KeyError, TypeError, IndexError):
        raise RefusedError("its multiscales metadata name no axes; expected those of NGFF 0.4 or 0.5.") from None
    known = [name for name in "tczyx" if name in names]
    if names != known or names[-2:] != ["y", "x"]:
        raise RefusedError(
            f"its axes are {', '.join(names)}; expected y and x, and t, c and z before them in this order."
        )
    if len(names) != len(array.shape):
        raise RefusedError(
            f"its metadata name the {len(names)} axes {', '.join(names)}, and its pixels have {len(array.shape)}; "
            "expected the same number."
        )
    if scale is not None and (len(scale) != len(names) or not all(0 < s < math.inf for s in scale)):
        raise RefusedError(f"its scale is {scale}; expected a positive number for each of the axes {', '.join(names)}.")
    return names


def _scale(first: Mapping[str, Any]) -> list[float] | None:
    """The scale of the first level, times that of all."""
    found: list[float] | None = None
    for part in (first["datasets"][0], first):
        for each in part.get("coordinateTransformations", []):
            if each.get("type") == "scale":
                own = [float(number) for number in each["scale"]]
                found = own if found is None else [a * b for a, b in zip(found, own, strict=False)]
    return found


def _length(first: Mapping[str, Any], names: Sequence[str], axis: str) -> float | None:
    """The distance of two neighbours along an axis in mm, where it is stated."""
    scale = _scale(first)
    if axis not in names or scale is None:
        return None
    found = first["axes"][names.index(axis)]
    size = _MILLIMETRES.get(found.get("unit", "")) if isinstance(found, dict) else None
    return None if size is None else scale[names.index(axis)] * size


def _check_channels(metadata: Mapping[str, Any], names: Sequence[str], shape: Sequence[int]) -> None:
    """Refuse names of channels that are not as many as there are."""
    omero = metadata.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    count = shape[names.index("c")] if "c" in names else 1
    if isinstance(channels, list) and channels and len(channels) != count:
        raise RefusedError(
            f"its metadata name {len(channels)} channels, and its pixels have {count}; expected as many."
        )


def _require_chunks(folder: Path, array: Any) -> None:
    """Refuse an array of which a chunk is not there."""
    sizes = array.shards or array.chunks
    counts = [-(-length // size) for length, size in zip(array.shape, sizes, strict=True)]
    total = math.prod(counts)
    there = sum(len(names) for _, _, names in os.walk(folder))
    missing = max(total - there, 0)  # at least; a few bytes of metadata may declare millions
    for place in itertools.product(*map(range, counts)) if not missing else ():
        missing += not (folder / array.metadata.encode_chunk_key(place)).is_file()
    if missing:
        raise RefusedError(
            f"{missing} of its {total} chunks are missing; expected all, because what is missing would be read as a "
            "constant."
        )
