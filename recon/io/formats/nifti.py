"""NIfTI-1 and NIfTI-2 by nibabel: volumes and series of them, with orientation, units and scaling kept to the byte.

The array of a file has the axes x, y, z and t, the first the fastest. Rows of a frame are along x and columns along y;
frames are slices along z, and of several times one volume after the other. Nothing is turned: the affine says where
voxels are, and is kept as it was read.
"""

import gzip
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recon.io.content import GZIP
from recon.io.decoded import Decoded, RefusedError, check_size
from recon.io.image import Array, Grid, Slices, Source, integer_grid

INSTALL = "pip install 'recon-imaging[nifti]'"

_MOST_AXES = 4
_LENGTHS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""Millimetres of NIFTI_UNITS: unknown (taken for mm, as every reader does), m, mm and um."""

_LEAST_MM, _MOST_MM = 1e-6, 1e4
_APART = 0.1
"""Of the smallest voxel side, how far two affines may move a corner against each other."""

_UNLIKE = 0.01
"""How much the sides of a voxel may differ by two affines of different spaces."""

_LONGEST_AXIS = 2**15 - 1
_FIRST_VOXEL = 352
"""After a NIfTI-1 header of 348 bytes and the four that say that no extension follows."""

_KINDS = "iuf"
_SPARE = 1 << 16
_LARGEST_RATIO = 1100
"""By which deflate packs at most."""


@dataclass(frozen=True)
class NiftiStack:
    """What the frames of a NIfTI file are, and the file's own header and extensions, to be written again as they are.

    Attributes:
        axes: ``"Z"`` or ``"TZ"``.
        sizes: The length of each.
        sides: (height, width).
        prefix: The bytes before the voxels; they may hold what identifies a patient, and are never printed.
        dtype: Of the voxels, in the file's byte order.
    """

    axes: str
    sizes: tuple[int, ...]
    sides: tuple[int, int]
    prefix: bytes = field(repr=False)
    dtype: str = "<f4"

    def fits(self, frames: int) -> bool:
        """Return whether an image of so many frames has these axes."""
        return math.prod(self.sizes) == frames


def decode_nifti(data: bytes, limit: int) -> Decoded:
    """A single file (``.nii``, ``.nii.gz``) of real numbers with up to four axes and one orientation."""
    nibabel = _nibabel("reading")
    packed = data.startswith(GZIP)
    head = _unpacked(data, 1 << 16) if packed else data
    header = _header(nibabel, head)
    shape = _shape(header, limit)
    dtype = _dtype(header)
    affine = _affine(header)
    start = int(header["vox_offset"])
    end = start + math.prod(shape) * dtype.itemsize
    if not len(header.binaryblock) <= start <= end:
        raise RefusedError(f"its voxels begin at byte {start}; expected them after the header.")
    whole = _unpacked(data, end, whole=True) if packed else data
    if len(whole) < end:
        raise RefusedError(f"it ends after {len(whole)} bytes of {end}: the file is cut off.")
    stored = np.frombuffer(whole, dtype, math.prod(shape), start).reshape(shape[::-1])  # t, z, y, x
    stored = stored.reshape(-1, 1, *stored.shape[-2:])
    grid = _grid(header, dtype)
    native = stored.astype(dtype.newbyteorder("="))
    pixels = _scaled(native, header) if grid is None else grid.values(native)
    times = shape[3] if len(shape) > 3 else 1
    axes, sizes = ("TZ", (times, shape[2])) if times > 1 else ("Z", (shape[2],))
    stack = NiftiStack(axes, sizes, (shape[1], shape[0]), bytes(whole[:start]), dtype.str)
    columns, rows, pitch = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    known = all(_LEAST_MM <= length <= _MOST_MM for length in (columns, rows, pitch))
    return Decoded(
        pixels,
        Source("nifti", "FHW", str(dtype.newbyteorder("=")), stack=stack),
        grid,
        spacing=(rows, columns) if known else None,
        notes=_notes(header),
        slices=Slices(pitch) if known else None,
    )


def encode_nifti(path: Path, stack: NiftiStack, pixels: Array, grid: Grid | None, packed: bool) -> None:
    """Write pixels (frames, 1, height, width) behind the header and extensions of the file that they came from."""
    dtype = np.dtype(stack.dtype)
    stored = _unscaled(pixels, stack) if grid is None else pixels if grid.is_plain else grid.stored(pixels)[0]
    voxels = np.ascontiguousarray(stored.astype(dtype)).tobytes()
    content = stack.prefix + voxels
    path.write_bytes(gzip.compress(content, 6, mtime=0) if packed else content)


def new_stack(affine: Array, slices: int, sides: tuple[int, int], dtype: str, grid: Grid | None = None) -> NiftiStack:
    """The header of a new NIfTI-1 file, with nothing in it but sizes, orientation, units and scaling.

    Args:
        affine: Shape (4, 4), from (column, row, slice) to millimetres in RAS.
        slices: How many there are.
        sides: (height, width).
        dtype: Of the voxels.
        grid: How stored integers become values; ``None``: they are the values.

    Raises:
        RefusedError: nibabel is not installed, or the volume is too large for NIfTI-1.
    """
    nibabel = _nibabel("writing")
    shape = (sides[1], sides[0], slices)
    if max(shape) > _LONGEST_AXIS:
        raise RefusedError(
            f"a side of {max(shape)} voxels does not fit into NIfTI-1; expected {_LONGEST_AXIS} at most."
        )
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner", strip_shears=True)
    header["vox_offset"] = _FIRST_VOXEL
    header["magic"] = b"n+1"
    if grid is not None and not grid.is_plain:
        header["scl_slope"], header["scl_inter"] = grid.slope[0], grid.intercept[0]
    prefix = bytes(header.binaryblock) + bytes(_FIRST_VOXEL - len(header.binaryblock))
    return NiftiStack("Z", (slices,), sides, prefix, np.dtype(dtype).newbyteorder("<").str)


def _nibabel(what: str) -> Any:
    try:
        import nibabel  # noqa: PLC0415  an optional extra
    except ImportError:
        raise RefusedError(f"{what} NIfTI needs the package nibabel, which is not installed: {INSTALL}.") from None
    return nibabel


def _unpacked(data: bytes, most: int, whole: bool = False) -> bytes:
    """At most so many bytes of what gzip packed, whose end is looked at where the ``whole`` is wanted."""
    if most > _LARGEST_RATIO * len(data) + (1 << 16):
        raise RefusedError("it declares more voxels than so few bytes can be unpacked to: it is damaged.")
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(data, most)
        rest = stream.unconsumed_tail
        while whole and not stream.eof and rest and stream.decompress(rest, _SPARE):
            rest = stream.unconsumed_tail
    except zlib.error:
        raise RefusedError("what gzip packed is cut off or damaged.") from None
    if whole and not stream.eof:
        raise RefusedError("what gzip packed is cut off: its end is missing.")
    return found


def _header(nibabel: Any, head: bytes) -> Any:
    second = head[4:7] == b"n+2"
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    size = 540 if second else 348
    if len(head) < size:
        raise RefusedError("the NIfTI header is cut off.")
    magic = head[4:7] if second else head[344:347]
    if magic == b"ni1":
        raise RefusedError("it is the header of a pair (.hdr and .img); expected a single file, .nii or .nii.gz.")
    if magic not in (b"n+1", b"n+2"):
        raise RefusedError("it is an ANALYZE file, which does not say where its voxels are; expected NIfTI.")
    try:
        return kind(head[:size], check=False)
    except Exception:  # whatever a hostile header does to nibabel
        raise RefusedError("the NIfTI header is damaged.") from None


def _shape(header: Any, limit: int) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise RefusedError(f"its header declares {axes} axes; expected 2 to {_MOST_AXES}.")
    shape = [int(length) for length in header["dim"][1 : axes + 1]]
    while len(shape) > _MOST_AXES and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= _MOST_AXES:
        raise RefusedError(
            f"it declares {' x '.join(map(str, shape))} voxels; expected 2 to {_MOST_AXES} axes: x, y, z  and time, "
            "because vectors and other quantities are no grey values."
        )
    shape += [1] * (3 - len(shape))
    check_size(tuple(shape), limit)
    return tuple(shape)


def _dtype(header: Any) -> "np.dtype[Any]":
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except Exception:
        raise RefusedError(f"its voxels are of the type {int(header['datatype'])}; expected numbers.") from None
    if dtype.kind not in _KINDS or dtype == np.longdouble or dtype.itemsize > 8:
        raise RefusedError(f"its voxels are of type {dtype.name}; expected real numbers of up to 64 bits.")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise RefusedError(f"its voxels have {int(header['bitpix'])} bits and the type {dtype.name}; expected one.")
    return dtype


def _affine(header: Any) -> Array:
    """The one orientation that a file states, in millimetres."""
    found = {}
    for name in ("qform", "sform"):
        code = int(header[f"{name}_code"])
        if code > 0:
            found[name] = (code, _checked(getattr(header, f"get_{name}"), name))
    if not found:
        raise RefusedError(
            "it has no orientation (qform_code and sform_code are 0); expected one, because left "
            "and right cannot be told."
        )
    if len(found) == 2:
        _require_alike(header, *found.values())
    affine = found.get("sform", found.get("qform"))
    assert affine is not None  # noqa: S101  one was found
    size = _LENGTHS.get(int(header["xyzt_units"]) & 7)
    if size is None:
        raise RefusedError(f"its lengths have the unit {int(header['xyzt_units']) & 7}; expected m, mm or um.")
    scaled = affine[1].copy()
    scaled[:3] *= size
    return scaled


def _checked(read: Any, name: str) -> Array:
    try:
        affine = np.asarray(read(), np.float64)
    except Exception:  # a quaternion that is none, for example
        raise RefusedError(f"its {name} is damaged; expected an affine map.") from None
    if not np.isfinite(affine).all():
        raise RefusedError(f"its {name} has numbers that are NaN or infinite; expected an affine map.")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-18 * max(1.0, float(np.abs(affine[:3, :3]).max())) ** 3:
        raise RefusedError(f"its {name} maps the volume to a plane; expected voxels with three sides.")
    return affine


def _require_alike(header: Any, first: tuple[int, Array], second: tuple[int, Array]) -> None:
    """Refuse two orientations that contradict each other.

    Two codes of one space say where each voxel is, twice. Those of two spaces, such as scanner and template, may differ
    by a motion, but not in what is left and right, nor in the size of a voxel.
    """
    (code, q), (other, s) = first, second
    sides = [np.linalg.norm(each[:3, :3], axis=0) for each in (q, s)]
    least = float(min(side.min() for side in sides))
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
    corners[:, :3] *= [max(int(length) - 1, 1) for length in header["dim"][1:4]]
    apart = float(np.abs((corners @ (q - s).T)[:, :3]).max())
    alike = bool(np.abs(sides[0] - sides[1]).max() <= _UNLIKE * float(sides[1].max()))
    turned = bool(np.sign(np.linalg.det(q[:3, :3])) != np.sign(np.linalg.det(s[:3, :3]))) or _letters(q) != _letters(s)
    if (code == other and apart > _APART * least) or turned or not alike:
        ways = (_letters(q), _letters(s))
        directions = f"the axes of the voxels point to {ways[0]} by the one and to {ways[1]} by the other, and "
        raise RefusedError(
            f"its qform and its sform contradict each other: {directions if ways[0] != ways[1] else ''}the corners lie "
            f"up to {apart:.4g} apart, in the unit of the voxels; expected one orientation."
        )


def _letters(affine: Array) -> str:
    import nibabel  # noqa: PLC0415  an optional extra, which is there

    return "".join(str(letter) for letter in nibabel.aff2axcodes(affine))


def _slope(header: Any) -> tuple[float, float]:
    """The scaling of a file; a slope of zero, or one that is no number, is none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise RefusedError(f"its scaling adds {intercept}; expected a finite number.")
    return slope, intercept


def _grid(header: Any, dtype: "np.dtype[Any]") -> Grid | None:
    plain = integer_grid(dtype.newbyteorder("="))
    if plain is None:
        return None
    slope, intercept = _slope(header)
    return Grid(plain.low, plain.high, (slope,), (intercept,))


def _scaled(pixels: Array, header: Any) -> Array:
    slope, intercept = _slope(header)
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    return (pixels.astype(np.float64) * slope + intercept).astype(pixels.dtype)


def _unscaled(pixels: Array, stack: NiftiStack) -> Array:
    """Floating-point values as a file stores them."""
    header = _header(_nibabel("writing"), stack.prefix)
    slope, intercept = _slope(header)
    return pixels if (slope, intercept) == (1.0, 0.0) else (pixels.astype(np.float64) - intercept) / slope


def _notes(header: Any) -> tuple[str, ...]:
    if int(header["xyzt_units"]) & 7:
        return ()
    return ("The file does not say the unit of its lengths: they were taken to be millimetres.",)
