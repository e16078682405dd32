"""A single DICOM file to pixels in units: HU for CT, the rescale of PET and dose, RGB for colours.

What is meant by each attribute is in DICOM PS3.3, sections C.7.6.3 (pixels), C.7.6.16 (functional groups),
C.11.1 (modality LUT) and C.7.5.1.1.2 (padding).
"""

import io
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from recon.io.decoded import Decoded, RefusedError, check_size
from recon.io.dicom.coding import TOOLS, package_of, refuse_cut_off, undecodable, unfinished
from recon.io.dicom.frames import functional_group
from recon.io.image import HOUNSFIELD_RANGE, Array, Grid, Source, ValueRange, integer_grid, robust_range

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PHYSICAL_UNITS = ("HU", "BQML", "GY")
_FREQUENT = 0.01  # of the pixels
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LONGEST_INFLATED = 2**31
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}


def decode_dicom(data: bytes, limit: int) -> Decoded:
    """The frames of a DICOM file in units, MONOCHROME1 turned so that high is bright."""
    dataset = _parse(data)
    keyword = _refuse_what_is_no_image(dataset, data)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    check_size((frames, samples, int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)), limit)
    stored = _stored_pixels(dataset, frames, samples)
    syntax = dataset.file_meta.TransferSyntaxUID
    notes = unfinished(dataset, syntax.name) if syntax.is_transfer_syntax and syntax.is_encapsulated else ()
    if str(dataset.get("BurnedInAnnotation") or "") == "YES":
        notes = (*notes, "Text is burned into the pixels: it may name the patient, and a result or a figure shows it.")
    header, spacing = _header(dataset, keyword), _spacing(dataset)
    decoded = _decoded(dataset, keyword, stored, header, spacing)
    return replace(decoded, notes=(*notes, *decoded.notes))


def _decoded(dataset: Any, keyword: str, stored: Array, header: Any, spacing: tuple[float, float] | None) -> Decoded:
    if keyword != "PixelData":
        source = Source("dicom", "FHW", str(stored.dtype), header=header)
        return Decoded(stored, source, spacing=spacing)
    if stored.shape[1] == 3:
        high = float(
            np.iinfo(stored.dtype).max if dataset.PhotometricInterpretation == "PALETTE COLOR" else _ends(dataset)[1]
        )
        source = Source("dicom", "FHWC", str(stored.dtype), header=header)
        return Decoded(stored, source, Grid(0, int(high)), value_range=ValueRange(0.0, high), spacing=spacing)
    return _grey(dataset, stored, header, spacing)


def _grey(dataset: Any, stored: Array, header: Any, spacing: tuple[float, float] | None) -> Decoded:
    notes: list[str] = []
    padding = _padding(dataset, stored)
    if dataset.get("ModalityLUTSequence"):
        stored, grid, units = _looked_up(dataset, stored)
        notes.append("The modality LUT was applied; a file written from this holds its output.")
    else:
        slopes, intercepts, units = _rescale(dataset, len(stored))
        grid = Grid(*_limits(dataset, stored), slopes, intercepts)
        if str(dataset.get("Modality")) == "CT" and units != "HU":
            notes.append("This CT does not say that its values are HU: they are taken without units.")
    if dataset.PhotometricInterpretation == "MONOCHROME1" and units not in _PHYSICAL_UNITS:
        ends = grid.low + grid.high
        intercepts = tuple(b + m * ends for m, b in zip(grid.slope, grid.intercept, strict=True))
        grid = Grid(grid.low, grid.high, tuple(-m for m in grid.slope), intercepts)
        notes.append("MONOCHROME1: the values were inverted for processing.")
    values = grid.values(stored)
    if padding is not None:
        notes.append(f"{np.count_nonzero(padding)} padding pixels are kept aside and put back.")
    elif units == "HU" and (padding := _undeclared_padding(values)) is not None:
        notes.append(
            f"{np.count_nonzero(padding)} pixels have {float(values.min()):g} HU, less than air, and no padding is "
            "declared: they are taken for air, and put back."
        )
    return Decoded(
        values,
        Source("dicom", "FHW", str(stored.dtype), header=header),
        grid,
        value_range=_value_range(grid, values, units, padding),
        units=units,
        spacing=spacing,
        padding=padding,
        notes=tuple(notes),
    )


def _value_range(grid: Grid, values: Array, units: str, padding: Array | None) -> ValueRange | None:
    if units == "HU":
        return None
    if grid.high - grid.low <= 255 and not units:
        ends = grid.values(np.array([grid.low, grid.high]).reshape(1, 1, 1, 2)) if len(set(grid.slope)) == 1 else values
        return ValueRange(float(ends.min()), float(ends.max()), units)
    kept = values if padding is None else values[~padding]
    return robust_range((kept if kept.size else values).astype(np.float64), units, about_one=False)


def _parse(data: bytes) -> Any:
    import pydicom  # noqa: PLC0415 - takes time, and few need it

    with_preamble = data[128:132] == b"DICM"
    bound_inflation(data)
    dataset = pydicom.dcmread(io.BytesIO(data), force=not with_preamble)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
    return dataset


def bound_inflation(data: bytes) -> None:
    """Refuse a deflated file whose content would fill the memory."""
    if _DEFLATED not in data[:1024] or data[128:132] != b"DICM":
        return
    start = 144 + int.from_bytes(data[140:144], "little")  # the meta group says how long it is
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    stream.decompress(data[start:], _LONGEST_INFLATED)
    if stream.unconsumed_tail:
        raise RefusedError(f"its deflated content exceeds {_LONGEST_INFLATED} bytes, the bound of the memory.")


def _refuse_what_is_no_image(dataset: Any, data: bytes) -> str:
    from pydicom.uid import UID_dictionary  # noqa: PLC0415

    kind = str(dataset.get("SOPClassUID") or "")
    # only a name out of the dictionary is printed: in a damaged file this may be any part of it
    name = UID_dictionary[kind][0] if kind in UID_dictionary else "object of no known kind"
    if kind in _SEGMENTATIONS or dataset.get("Modality") == "SEG" or dataset.get("BitsAllocated") == 1:
        raise RefusedError(f"it is a DICOM {name}, a mask of labels; expected an image.")
    present = [keyword for keyword in PIXEL_KEYWORDS if keyword in dataset]
    if not present:
        refuse_cut_off(dataset, data, name)
        raise RefusedError(f"it is a DICOM {name} without pixels; expected an image.")
    return present[0]


def _stored_pixels(dataset: Any, frames: int, samples: int) -> Array:
    from pydicom.pixels import get_decoder  # noqa: PLC0415
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415

    syntax = dataset.file_meta.TransferSyntaxUID
    name = syntax.name if syntax.is_transfer_syntax else "unknown"
    try:
        known = get_decoder(syntax)
    except NotImplementedError:
        raise RefusedError(f"its transfer syntax ({name}) is not supported; expected an uncompressed copy.") from None
    if syntax.is_compressed and not known.is_available:
        raise RefusedError(
            f"its {name} coding needs the package {package_of(name)}, which is not installed, or an uncompressed copy "
            f"made by {TOOLS}."
        )
    try:
        array = dataset.pixel_array
    except Exception as error:  # the decoders raise what they like
        if not syntax.is_encapsulated:
            raise
        raise undecodable(dataset, name, error) from None
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        array, samples = _narrow(apply_color_lut(array, dataset)[..., :3]), 3
    array = array.reshape((frames, dataset.Rows, dataset.Columns, samples)).transpose(0, 3, 1, 2)
    if array.shape[1] not in (1, 3):
        raise RefusedError(f"it has {samples} samples a pixel; expected 1 or 3.")
    return np.asarray(array.astype(array.dtype.newbyteorder("=")))


def _narrow(colours: Array) -> Array:
    """8 bits where a palette of 16 holds no more."""
    if colours.dtype == np.uint16:
        for divisor in (257, 256):
            if not np.any(colours % divisor):
                return (colours // divisor).astype(np.uint8)
    return colours


def _ends(dataset: Any) -> tuple[int, int]:
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _limits(dataset: Any, stored: Array) -> tuple[int, int]:
    low, high = _ends(dataset)
    if stored.min() < low or stored.max() > high:  # some files use more bits than they declare
        limits = np.iinfo(stored.dtype)
        return int(limits.min), int(limits.max)
    return low, high


def _rescale(dataset: Any, frames: int) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    if "DoseGridScaling" in dataset:
        return (*_checked((float(dataset.DoseGridScaling),), (0.0,)), _plain(dataset.get("DoseUnits")))
    groups = [functional_group(dataset, frame, "PixelValueTransformationSequence") for frame in range(frames)]
    places = [dataset if group is None else group for group in groups]
    known = all("RescaleSlope" in place for place in places)
    slopes = tuple(float(place.get("RescaleSlope", 1) or 0) for place in places)
    intercepts = tuple(float(place.get("RescaleIntercept", 0) or 0) for place in places)
    if len(set(slopes)) == 1 and len(set(intercepts)) == 1:
        slopes, intercepts = slopes[:1], intercepts[:1]
    return (*_checked(slopes, intercepts), units_of(dataset, places[0], known))


def _checked(slopes: tuple[float, ...], intercepts: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not np.all(np.isfinite(slopes + intercepts)) or 0.0 in slopes or max(map(abs, slopes + intercepts)) > 1e30:
        raise RefusedError(
            "its rescale slope or intercept is zero or not finite; expected finite numbers, the slope not 0."
        )
    return slopes, intercepts


def units_of(dataset: Any, rescale: Any, known: bool) -> str:
    """``"HU"``, the units of PET, or ``""`` where none are known.

    Args:
        dataset: The whole.
        rescale: Where the slope is.
        known: Whether there is one.
    """
    modality, kind = str(dataset.get("Modality", "")), str(rescale.get("RescaleType", "") or "HU")
    if modality == "CT":
        return "HU" if known and kind == "HU" else ""
    return _plain(dataset.get("Units")) if known and modality in ("PT", "NM") else ""


def _plain(units: Any) -> str:
    """Units as the standard spells them; in a damaged file, nothing."""
    text = str(units or "")
    return text if text.isascii() and text.isalnum() and len(text) <= 16 else ""


def _looked_up(dataset: Any, stored: Array) -> tuple[Array, Grid, str]:
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415

    values = np.asarray(apply_modality_lut(stored, dataset))
    values = values.astype(values.dtype.newbyteorder("="))
    kind = str(dataset.ModalityLUTSequence[0].get("ModalityLUTType", ""))
    return values, integer_grid(values.dtype) or Grid(0, 65535), "HU" if kind == "HU" else ""


def _padding(dataset: Any, stored: Array) -> Array | None:
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted(_as_stored(dataset, number) for number in (value, limit if isinstance(limit, int) else value))
    found = (stored >= low) & (stored <= high)
    return found if found.any() else None


def _undeclared_padding(values: Array) -> Array | None:
    """The pixels of the least value, where that is below air and so frequent that it is no noise."""
    least = values.min()
    found = values == least
    return found if least < HOUNSFIELD_RANGE[0] and np.count_nonzero(found) >= _FREQUENT * found.size else None


def _as_stored(dataset: Any, value: int) -> int:
    """A padding value with the sign of the pixels: files write -2000 as 63536."""
    size = 1 << int(dataset.BitsAllocated)
    value %= size
    return value - size if bool(dataset.PixelRepresentation) and value >= size // 2 else value


def _spacing(dataset: Any) -> tuple[float, float] | None:
    group = functional_group(dataset, 0, "PixelMeasuresSequence")
    place = dataset if group is None else group
    numbers = place.get("PixelSpacing") or place.get("ImagerPixelSpacing")
    if numbers is None or isinstance(numbers, str) or len(numbers) != 2:
        return None
    rows, columns = float(numbers[0]), float(numbers[1])
    return (rows, columns) if rows > 0 and columns > 0 else None


def _header(dataset: Any, keyword: str) -> Any:
    """The data set without its pixels, with what they say of lossy coding."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    coded = len(dataset[keyword].value or b"")
    del dataset[keyword]
    if syntax in _LOSSY_METHODS and "LossyImageCompression" not in dataset:
        raw = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
        raw *= int(dataset.BitsAllocated) // 8 * int(dataset.SamplesPerPixel)
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{raw / max(coded, 1):.4g}"
        dataset.LossyImageCompressionMethod = _LOSSY_METHODS[syntax]
    return dataset
