"""Tensors in a file of the safetensors format: a JSON header and plain numbers, nothing that is ever executed.

The format: the length of the header (8 bytes, little-endian), the header in JSON, the numbers. The header gives for
each name its ``dtype``, ``shape`` and ``data_offsets`` (begin and end), and under ``__metadata__`` texts. The tensors
cover the numbers without gap or overlap.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError, UsageError

MOST_BYTES = 2**28
"""Of a file: 64 million numbers in single precision."""

MOST_HEADER = 2**20
_MOST_DIMENSIONS = 8

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a safetensors file.

    Raises:
        UsageError: A tensor has a type that the file cannot hold here, or a name that is reserved.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: list[bytes] = []
    start = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES or name == "__metadata__":
            raise UsageError(f"safetensors: {name!r} has type {tensor.dtype}; expected one of {', '.join(_TYPES)}.")
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + len(data)],
        }
        start += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def write_safetensors(path: str | Path, tensors: Mapping[str, Tensor], *, overwrite: bool = False) -> None:
    """Write tensors to a file, whole or not at all.

    Raises:
        OutputError: The file cannot, or must not, be written.
        UsageError: See :func:`encode`.
    """
    from recon.io.atomic import replacing  # noqa: PLC0415  the readers of images are not needed to read weights

    content = encode(tensors)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU.

    Raises:
        InputError: The file is missing, too large, truncated or not a safetensors file.
    """
    return decode(read_bytes(Path(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file of weights, if it is not too large to be one.

    Raises:
        InputError: It cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: the weights cannot be read ({reason}).") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: the file has more than {MOST_BYTES} bytes; expected the weights of a denoiser.")
    return content


def decode(content: bytes, origin: str) -> dict[str, Tensor]:
    """The tensors in the content of a safetensors file; an error begins with ``origin``.

    Raises:
        InputError: It is not one.
    """
    header, numbers = _header(content, origin)
    header.pop("__metadata__", None)
    tensors, reached = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        dtype, shape, begin, end = _entry(name, entry, origin)
        size = math.prod(shape) * dtype.itemsize
        if begin != reached or end - begin != size or end > len(numbers):
            raise InputError(
                f"{origin}: the tensor {name!r} is said to lie at {begin} to {end}; expected {reached} to "
                f"{reached + size}, within {len(numbers)} bytes: the file is truncated or damaged."
            )
        flat = torch.frombuffer(bytearray(numbers[begin:end]), dtype=dtype) if size else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape)
        reached = end
    if reached != len(numbers):
        raise InputError(f"{origin}: {len(numbers) - reached} bytes belong to no tensor; the file is damaged.")
    return tensors


def _header(content: bytes, origin: str) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MOST_HEADER, len(content) - 8):
        raise InputError(
            f"{origin}: the file has {len(content)} bytes and announces a header of {length}; expected a safetensors "
            "file."
        )
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: the header is not valid JSON ({error}); expected a safetensors file.") from error
    if not isinstance(header, dict):
        raise InputError(f"{origin}: the header is a {type(header).__name__}; expected a table of tensors.")
    return header, memoryview(content)[8 + length :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _begin(entry: object) -> int:
    """Return where a tensor begins, for sorting; what is malformed is refused later."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return offsets[0] if isinstance(offsets, list) and offsets and isinstance(offsets[0], int) else 0


def _entry(name: str, entry: object, origin: str) -> tuple[torch.dtype, list[int], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{origin}: the tensor {name!r} is not described by dtype, shape and data_offsets.")
    if entry["dtype"] not in _TYPES:
        raise InputError(f"{origin}: the tensor {name!r} has type {entry['dtype']!r}; known: {', '.join(_TYPES)}.")
    shape, offsets = _numbers(entry["shape"]), _numbers(entry["data_offsets"])
    if shape is None or len(shape) > _MOST_DIMENSIONS or offsets is None or len(offsets) != 2:
        raise InputError(
            f"{origin}: the tensor {name!r} has shape {entry['shape']!r} at {entry['data_offsets']!r}; expected whole "
            "numbers of at least 0, and two for its place."
        )
    return _TYPES[entry["dtype"]], shape, offsets[0], offsets[1]


def _numbers(value: object) -> list[int] | None:
    """A list of whole numbers from 0 to the largest file, or None."""
    if not isinstance(value, list) or not all(type(number) is int and 0 <= number <= MOST_BYTES for number in value):
        return None
    return value
