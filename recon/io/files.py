"""Files to images and back; the format is what the content says, not the name."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from recon.errors import OutputError
from recon.io.atomic import STORE, check_output, is_store, replacing, replacing_folder
from recon.io.content import LONGEST_MARK, content, damage, foreign, kind_of, opened, printable, refusals, silence
from recon.io.decoded import MAX_PIXELS, Decoded, RefusedError, check_finite
from recon.io.dicom import new_series, reader, writer
from recon.io.dicom.derivation import Derivation
from recon.io.dicom.parametric_map import Quantity, parametric_map
from recon.io.formats import nifti, npy, raster, tiff, zarr_store
from recon.io.image import Array, Image, ValueRange, default_range

KNOWN = "PNG, JPEG, TIFF, NPY, NIfTI, OME-Zarr or DICOM"
_SUFFIXES = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    STORE: "zarr",
}
_DECODERS = {
    "png": raster.decode_png,
    "jpeg": raster.decode_jpeg,
    "tiff": tiff.decode_tiff,
    "npy": npy.decode_npy,
    "dicom": reader.decode_dicom,
    "nifti": nifti.decode_nifti,
}


@dataclass(frozen=True)
class Written:
    """The files that were written.

    Attributes:
        paths: The files: one, or one a frame.
        clipped: How many values did not fit into the file's range and were clipped, those of ``image`` included.
        notes: What a reader of the files must know, a sentence each.
    """

    paths: tuple[Path, ...]
    clipped: int = 0
    notes: tuple[str, ...] = ()


def read(
    path: str | Path, *, value_range: ValueRange | tuple[float, float] | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """The image in a PNG, JPEG, TIFF, NPY or single DICOM file.

    Args:
        path: The file; its content decides the format.
        value_range: What becomes [0, 1], in the file's units; by default as in
            :func:`recon.io.image.default_range`.
        max_pixels: How many values the file may declare.

    Raises:
        InputError: whatever is wrong with the file, in one sentence.
    """
    name = Path(path)
    if is_store(name):
        with refusals(name), silence(), damage("OME-Zarr"):
            decoded = zarr_store.decode_zarr(name, max_pixels)
            check_finite(decoded.pixels)
        return _image(decoded, decoded.notes, value_range)
    with refusals(name), opened(name, KNOWN) as handle:
        data = content(handle)
    return decode(data, name, value_range=value_range, max_pixels=max_pixels)


def decode(
    data: bytes,
    name: Path,
    *,
    value_range: ValueRange | tuple[float, float] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """The image in the content of a file; see :func:`read`.

    Args:
        data: The content.
        name: What errors call it; its suffix is compared with the content.
        value_range: As of :func:`read`.
        max_pixels: As of :func:`read`.
    """
    with refusals(name):
        kind = _kind(data)
        with silence(), damage(kind):
            decoded = _DECODERS[kind](data, max_pixels)
            check_finite(decoded.pixels)
    notes = decoded.notes
    expected = _SUFFIXES.get(suffix_of(name))
    if expected not in (None, kind):
        notes = (
            f"The name ends in {suffix_of(name)}, the content is {kind.upper()}: it was read as {kind.upper()}.",
            *notes,
        )
    return _image(decoded, notes, value_range)


def _image(decoded: Decoded, notes: tuple[str, ...], value_range: ValueRange | tuple[float, float] | None) -> Image:
    return Image(
        np.ascontiguousarray(decoded.pixels),
        _range_of(decoded, value_range),
        decoded.grid,
        decoded.alpha,
        decoded.spacing,
        decoded.padding,
        notes=notes,
        source=decoded.source,
        slices=decoded.slices,
    )


def check_kind(path: str | Path) -> None:
    """See that a file is there and of a kind that is read, by its beginning.

    Raises:
        InputError: It is not, in one sentence.
    """
    name = Path(path)
    if is_store(name):
        return
    with refusals(name), opened(name, KNOWN) as handle:
        _kind(handle.read(LONGEST_MARK))


def write(  # noqa: PLR0913  each is an independent choice of the caller
    image: Image,
    path: str | Path,
    *,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
    series_uid: str | None = None,
    derivation: Derivation | None = None,
) -> Written:
    """Write an image in the format that the suffix of ``path`` names, each file whole or not at all.

    TIFF and NPY hold the values in units. PNG and JPEG hold them as they are where they are 8- or 16-bit
    integers, else ``value_range`` mapped to black and white. DICOM is written as a derived image of the
    DICOM file that the pixels came from; an image in HU that came from none is taken to be reconstructed
    from projections, and becomes new CT slices (:mod:`recon.io.dicom.new_series`). Where a file holds one
    frame only (PNG, JPEG, DICOM), several frames become ``NAME_0001.png`` and so on.

    Args:
        image: What to write; unchanged, its pixels come back identical to the bit (but for JPEG).
        path: The file to make.
        overwrite: Whether existing files may be replaced.
        inputs: Files that are never replaced.
        series_uid: For DICOM that is derived, the SeriesInstanceUID that the images of several files share
            (:func:`new_series_uid`); by default each call makes a series of its own, and with new slices always,
            because how they lie to those of another call is not known.
        derivation: For DICOM that is derived, what tells the run apart from others of the same source: with it, the
            same source and run have the same UIDs wherever and whenever they are written.

    Raises:
        OutputError: it cannot be written there, or not in that format, in one sentence.
    """
    name = Path(path)
    kind = _SUFFIXES.get(suffix_of(name), image.source.format if not name.suffix else "")
    encode = _ENCODERS.get(kind)
    if encode is None:
        raise OutputError(f"{printable(name)}: the suffix '{name.suffix}' names no format; expected {KNOWN}.")
    paths = output_paths(image, name)
    held = tuple(inputs)
    for target in paths:
        check_output(target, overwrite=overwrite, inputs=held)
    with silence():
        try:
            clipped, notes = encode(image, paths, _Guard(overwrite, held, series_uid, derivation))
        except RefusedError as refusal:
            raise OutputError(f"{printable(name)}: {refusal}") from None
    return Written(paths, image.clipped + clipped, notes)


def write_map(  # noqa: PLR0913  each is an independent choice of the caller
    image: Image,
    path: str | Path,
    quantity: Quantity,
    *,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
    derivation: Derivation | None = None,
) -> Written:
    """Write a map of floating-point numbers that belongs to an image, such as its standard deviation.

    TIFF, NPY, NIfTI and Zarr hold it as :func:`write` does. DICOM is one Parametric Map with the numbers themselves,
    beside the DICOM image that the map belongs to (:mod:`recon.io.dicom.parametric_map`).

    Args:
        image: The map, in units, with the source of the image that it belongs to.
        path: The file to make.
        quantity: What the map is of.
        overwrite: Whether existing files may be replaced.
        inputs: Files that are never replaced.
        derivation: As of :func:`write`.

    Raises:
        OutputError: It cannot be written there, or not in that format, in one sentence.
    """
    name = Path(path)
    kind = _SUFFIXES.get(suffix_of(name))
    if kind in ("png", "jpeg"):
        raise OutputError(
            f"{printable(name)}: the suffix {name.suffix!r} is no format of maps; expected TIFF, NPY, NIfTI, Zarr or "
            "DICOM, which hold floating-point numbers."
        )
    if kind != "dicom":
        return write(image, name, overwrite=overwrite, inputs=inputs)
    held = tuple(inputs)
    check_output(name, overwrite=overwrite, inputs=held)
    with silence():
        try:
            data = parametric_map(image, quantity, derivation)
        except RefusedError as refusal:
            raise OutputError(f"{printable(name)}: {refusal}") from None
        with replacing(name, overwrite=overwrite, inputs=held) as temporary:
            temporary.write_bytes(data)
    return Written((name,), 0, ())


def output_paths(image: Image, path: str | Path) -> tuple[Path, ...]:
    """The files that :func:`write` would make for ``path``."""
    name = Path(path)
    kind = _SUFFIXES.get(suffix_of(name), image.source.format)
    if image.frames == 1 or kind in ("tiff", "npy", "nifti", "zarr"):
        return (name,)
    digits = max(4, len(str(image.frames)))
    return tuple(
        name.with_name(f"{name.stem}_{number:0{digits}}{name.suffix}") for number in range(1, image.frames + 1)
    )


def suffix_of(path: PurePath) -> str:
    """The suffix that names a format, in small letters: the last, but ``.nii.gz``."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def check_units(image: Image, path: str | Path) -> None:
    """See that the format which ``path`` names can hold an image's units and place, before any work is done.

    Raises:
        OutputError: ``path`` is DICOM, and the image neither came from DICOM nor is in HU; or it is NIfTI, and where
            the image lies is not known.
    """
    kind = _SUFFIXES.get(suffix_of(Path(path)))
    try:
        if kind == "nifti":
            nifti_of(image)
        if kind == "dicom" and image.source.format != "dicom":
            new_series.refuse_other_units(image)
    except RefusedError as refusal:
        raise OutputError(f"{path}: {refusal}") from None


@dataclass(frozen=True)
class _Guard:
    """The way in which each file of one call is put in its place."""

    overwrite: bool
    inputs: tuple[str | Path, ...]
    series_uid: str | None
    derivation: Derivation | None

    def __call__(self, path: Path) -> contextlib.AbstractContextManager[Path]:
        return replacing(path, overwrite=self.overwrite, inputs=self.inputs)


def _kind(data: bytes) -> str:
    kind = kind_of(data)
    if kind not in _DECODERS:
        raise foreign(data, KNOWN)
    return kind


def _range_of(decoded: Decoded, wanted: ValueRange | tuple[float, float] | None) -> ValueRange:
    if isinstance(wanted, ValueRange):
        return ValueRange(wanted.low, wanted.high, wanted.units or decoded.units)
    if wanted is not None:
        return ValueRange(*wanted, decoded.units)
    return decoded.value_range or default_range(decoded.pixels, decoded.units)


def _encode_raster(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    if image.pixels.dtype.kind == "c" or image.channels not in (1, 3):
        raise RefusedError(
            f"{image.channels} channels of {image.pixels.dtype} do not fit; expected grey or RGB numbers."
        )
    jpeg = _SUFFIXES.get(paths[0].suffix.lower(), image.source.format) == "jpeg"
    largest = 255 if jpeg else 65535
    pixels, clipped = image.pixels, 0
    notes: tuple[str, ...] = ()
    if pixels.dtype != np.uint8 and (jpeg or pixels.dtype != np.uint16):
        unit = (pixels.astype(np.float64) - image.value_range.low) / image.value_range.width
        clipped = int(np.count_nonzero((unit < 0) | (unit > 1)))
        pixels = np.rint(np.clip(unit, 0, 1) * largest).astype(np.uint8 if jpeg else np.uint16)
        low, high, units = image.value_range.low, image.value_range.high, image.units
        notes = (f"Black is {low:g} {units}".rstrip() + f" and white is {high:g} {units}".rstrip() + ".",)
    if jpeg:
        left_out = ("The opacity does not fit into JPEG and was left out.",) if image.alpha is not None else ()
        notes = (*notes, *left_out, "JPEG keeps an approximation of the pixels.")
    elif image.alpha is not None:
        alpha = _opacity(image, pixels.dtype)
        pixels = np.concatenate([_divided(pixels, alpha) if image.source.associated else pixels, alpha], axis=1)
    encode = raster.encode_jpeg if jpeg else raster.encode_png
    for frame, path in zip(pixels, paths, strict=True):
        with guard(path) as temporary:
            encode(temporary, np.ascontiguousarray(frame.transpose(1, 2, 0)), image.source.profile)
    return clipped, notes


def _opacity(image: Image, dtype: "np.dtype[np.unsignedinteger]") -> Array:
    """The opacity in the type of the file's pixels, of which the largest number is opaque."""
    assert image.alpha is not None  # noqa: S101  (the caller saw to it)
    if image.alpha.dtype == dtype:
        return image.alpha
    opaque = np.iinfo(image.alpha.dtype).max if image.alpha.dtype.kind in "iu" else 1.0
    return np.rint(np.clip(image.alpha / opaque, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def _divided(pixels: Array, alpha: Array) -> Array:
    """Colours that were multiplied by the opacity, as PNG has them."""
    opaque = np.iinfo(pixels.dtype).max
    share = pixels.astype(np.float64) * opaque / np.maximum(alpha, 1)
    return np.rint(np.clip(share, 0, opaque)).astype(pixels.dtype)


def _encode_tiff(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    inverted = image.source.format == "tiff" and image.grid is not None and image.grid.slope == (-1.0,)
    pixels = _compact(image)
    if inverted and image.grid is not None:
        pixels = image.grid.stored(pixels)[0].astype(pixels.dtype)
    opacity = ""
    if image.alpha is not None:
        pixels = np.concatenate([pixels, image.alpha.astype(pixels.dtype)], axis=1)
        opacity = "assocalpha" if image.source.associated else "unassalpha"
    with guard(paths[0]) as temporary:
        array = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        ome = paths[0].name.lower().endswith((".ome.tif", ".ome.tiff"))
        stack = tiff.stack_of(image.source.stack, image, ome)
        notes = tiff.encode_tiff(temporary, array, inverted, opacity, image.source.profile, image.spacing, stack)
    return 0, notes


def _encode_npy(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    own = image.source.format in ("npy", "memory")
    layout, pixels = image.source.layout if own else "HW", _compact(image)
    notes: tuple[str, ...] = ()
    if image.alpha is not None and own and pixels.dtype.kind == image.alpha.dtype.kind:
        pixels = np.concatenate([pixels, image.alpha.astype(pixels.dtype)], axis=1)
    elif image.alpha is not None:
        notes = ("The opacity does not fit into NPY and was left out.",)
    with guard(paths[0]) as temporary:
        npy.encode_npy(temporary, pixels, layout)
    return 0, notes


def _encode_nifti(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    stack = nifti_of(image)
    with guard(paths[0]) as temporary:
        nifti.encode_nifti(temporary, stack, image.pixels, image.grid, suffix_of(paths[0]) == ".nii.gz")
    notes = ("The opacity does not fit into NIfTI and was left out.",) if image.alpha is not None else ()
    return 0, notes


def _encode_zarr(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    zarr_store.stack_of(image)
    with replacing_folder(paths[0], overwrite=guard.overwrite, inputs=guard.inputs) as temporary:
        notes = zarr_store.encode_zarr(temporary, image)
    return 0, notes


def nifti_of(image: Image) -> nifti.NiftiStack:
    """The header under which an image is written to NIfTI: that of its source.

    Raises:
        RefusedError: It has colours, or complex numbers, or where it lies is not known.
    """
    if image.channels != 1 or image.pixels.dtype.kind == "c":
        raise RefusedError(f"{image.channels} channels of {image.pixels.dtype} do not fit; expected grey real numbers.")
    stack = image.source.stack
    if isinstance(stack, nifti.NiftiStack):
        if stack.fits(image.frames) and stack.sides == (image.height, image.width):
            return stack
        raise RefusedError(
            f"the result has {image.frames} frames of {image.height} x {image.width} and its NIfTI source another "
            "size, so its affine would be wrong; expected TIFF or NPY."
        )
    raise RefusedError(
        "a NIfTI file states where its voxels lie, and the input, which is no NIfTI, does not say it in these terms; "
        "expected TIFF or NPY."
    )


def _encode_dicom(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    if image.source.format != "dicom":
        return _encode_new_dicom(image, paths, guard)
    for path, data in zip(paths, writer.derived(image, guard.series_uid, guard.derivation), strict=True):
        with guard(path) as temporary:
            temporary.write_bytes(data)
    return 0, writer.notes(image)


def _encode_new_dicom(image: Image, paths: tuple[Path, ...], guard: _Guard) -> tuple[int, tuple[str, ...]]:
    total = 0
    for path, (data, clipped) in zip(paths, new_series.ct_slices(image), strict=True):
        with guard(path) as temporary:
            temporary.write_bytes(data)
        total += clipped
    return total, new_series.notes(image)


def _compact(image: Image) -> Array:
    """Rescaled DICOM integers as 16 bit where the file's whole range fits."""
    grid, pixels = image.grid, image.pixels
    if grid is None or grid.is_plain or pixels.dtype != np.int32:
        return pixels
    ends = grid.values(np.array([grid.low, grid.high]).reshape(2, 1, 1, 1)) if len(grid.slope) == 1 else pixels
    return pixels.astype(np.int16) if ends.min() >= -(2**15) and ends.max() < 2**15 else pixels


_ENCODERS = {
    "png": _encode_raster,
    "jpeg": _encode_raster,
    "tiff": _encode_tiff,
    "npy": _encode_npy,
    "dicom": _encode_dicom,
    "nifti": _encode_nifti,
    "zarr": _encode_zarr,
}
