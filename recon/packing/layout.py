"""Place and type of the pixels in the bytes of a file: DICOM, NPY, TIFF and NIfTI whose pixels are not compressed."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.io.content import kind_of, silence

MOST_SAMPLES = 4
_MOST_FRAMES = 2**20
_UNCOMPRESSED_SYNTAXES = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.2": ">",
}
_PIXELS = {"PixelData": "u", "FloatPixelData": "f", "DoubleFloatPixelData": "f"}


@dataclass(frozen=True)
class Layout:
    """Pixels of a file as one array.

    Attributes:
        ranges: (first byte, number of bytes) of each piece, ascending; the pieces together are the array.
        dtype: As numpy writes it, with the order of bytes.
        shape: (frames, rows, columns, samples).
        series: Which files belong together, and the place of this one among them; ``()`` where that is not known.
    """

    ranges: tuple[tuple[int, int], ...]
    dtype: str
    shape: tuple[int, int, int, int]
    series: tuple[Any, ...] = ()

    def is_sound(self, size: int) -> bool:
        """Return whether the pieces are in order, inside a file of ``size`` bytes, and as long as the array."""
        at = 0
        for start, length in self.ranges:
            if start < at or length <= 0:
                return False
            at = start + length
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype.hasobject or dtype.shape or len(self.shape) != 4:
            return False
        frames, _, _, samples = self.shape
        if min(self.shape) < 1 or samples > MOST_SAMPLES or frames > _MOST_FRAMES:
            return False
        return at <= size and sum(length for _, length in self.ranges) == math.prod(self.shape) * dtype.itemsize

    def rest(self, data: bytes) -> bytes:
        """The bytes of a file that are no pixels."""
        parts, at = [], 0
        for start, length in self.ranges:
            parts.append(data[at:start])
            at = start + length
        return b"".join([*parts, data[at:]])

    def pixels(self, data: bytes) -> np.ndarray[Any, Any]:
        """The array of a file, of shape (frames, rows, columns, samples)."""
        joined = b"".join(data[start : start + length] for start, length in self.ranges)
        return np.frombuffer(joined, np.dtype(self.dtype)).reshape(self.shape)


def find_layout(data: bytes) -> Layout | None:
    """The pixels of a file; ``None`` where they are compressed, or where the file is of another kind or damaged."""
    find = _FINDERS.get(kind_of(data[:1024]))
    if find is None:
        return None
    try:
        with silence():
            found = find(data)
    except Exception:  # a damaged file raises anything, and is then packed as it is
        return None
    return found if found is not None and found.is_sound(len(data)) else None


def _dicom(data: bytes) -> Layout | None:
    import pydicom  # noqa: PLC0415  takes time, and few files need it

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    order = _UNCOMPRESSED_SYNTAXES.get(str(getattr(dataset.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2")))
    keyword = next((name for name in _PIXELS if name in dataset), None)
    if order is None or keyword is None:
        return None
    element = dataset.get_item(keyword)
    start = getattr(element, "value_tell", None)
    if start is None or element.value is None or data[start : start + len(element.value)] != element.value:
        return None
    kind = "i" if dataset.get("PixelRepresentation") == 1 and keyword == "PixelData" else _PIXELS[keyword]
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.BitsAllocated)
    if bits not in (8, 16, 32, 64):
        return None
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    shape = (frames, rows, columns, samples)
    if samples > 1 and dataset.get("PlanarConfiguration") == 1:
        shape = (frames * samples, rows, columns, 1)
    length = math.prod(shape) * bits // 8
    if length > len(element.value):
        return None
    return Layout(((start, length),), f"{order}{kind}{bits // 8}", shape, _place(dataset))


def _place(dataset: Any) -> tuple[Any, ...]:
    """The series of a slice, and where it lies along the normal of the slices."""
    series = str(dataset.get("SeriesInstanceUID") or "")
    try:
        orientation = [float(value) for value in dataset.ImageOrientationPatient]
        normal = np.cross(orientation[:3], orientation[3:])
        height = float(np.dot(normal, [float(value) for value in dataset.ImagePositionPatient]))
    except Exception:  # not every image has a place
        height = 0.0
    return (series, height, int(dataset.get("InstanceNumber") or 0)) if series and math.isfinite(height) else ()


def _npy(data: bytes) -> Layout | None:
    from recon.io.formats.npy import LONGEST_HEADER, read_header  # noqa: PLC0415

    header = read_header(data[:LONGEST_HEADER])
    shape = header.shape[::-1] if header.fortran else header.shape
    length = header.end - header.start
    if header.dtype.kind == "b":
        return Layout(((header.start, length),), "|u1", _planes(shape))
    if header.dtype.kind == "c":
        dtype = f"{header.dtype.str[0]}f{header.dtype.itemsize // 2}"
        return Layout(((header.start, length),), dtype, _planes((*shape, 2)))
    return Layout(((header.start, length),), header.dtype.str, _planes(shape))


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(frames, rows, columns, samples) of an array; a last axis of 2 to 4 are samples."""
    samples = shape[-1] if len(shape) > 2 and 1 < shape[-1] <= MOST_SAMPLES else 1
    space = shape[:-1] if samples > 1 else shape
    if len(space) < 2:
        return (1, 1, math.prod(space), samples)
    return (math.prod(space[:-2]), space[-2], space[-1], samples)


def _tiff(data: bytes) -> Layout | None:
    import tifffile  # noqa: PLC0415

    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        pages = list(opened.pages)
        first = pages[0].aspage()
        ranges: list[tuple[int, int]] = []
        for page in pages:
            whole = page.aspage()
            if whole.compression != 1 or whole.is_tiled or whole.shape != first.shape or whole.dtype != first.dtype:
                return None
            ranges += zip(whole.dataoffsets, whole.databytecounts, strict=True)
        planar = first.samplesperpixel > 1 and int(first.planarconfig) == 2
        samples = 1 if planar else first.samplesperpixel
        frames = len(pages) * (first.samplesperpixel if planar else 1)
        shape = (frames, first.imagelength, first.imagewidth, samples)
        dtype = np.dtype(first.dtype).newbyteorder(opened.byteorder).str
        return Layout(_merged(ranges), dtype, shape)


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for start, length in ranges:
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((int(start), int(length)))
    return tuple(found)


def _nifti(data: bytes) -> Layout | None:
    import nibabel  # noqa: PLC0415  an extra

    header_type = nibabel.Nifti1Header if data[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") else nibabel.Nifti2Header
    header = header_type.from_fileobj(io.BytesIO(data), check=False)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        return None
    shape = tuple(int(length) for length in header.get_data_shape())[::-1]
    start = int(header["vox_offset"])
    space = (math.prod(shape[:-2]), shape[-2], shape[-1], 1) if len(shape) > 1 else (1, 1, math.prod(shape), 1)
    return Layout(((start, math.prod(shape) * dtype.itemsize),), dtype.str, space)


_FINDERS: dict[str, Callable[[bytes], Layout | None]] = {"dicom": _dicom, "npy": _npy, "tiff": _tiff, "nifti": _nifti}
