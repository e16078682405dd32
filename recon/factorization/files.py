"""Factors in a file: an NPZ of plain arrays with a header of JSON text."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.errors import InputError, ReconError
from recon.factorization.result import Factorisation
from recon.io.arrays import read_arrays, write_arrays
from recon.io.image import Array
from recon.operators import Space
from recon.operators.factorised import Blocks, Entries, Factor, Factorised, Permutation

_FORMAT, _VERSION = "recon-factors", 1
_NAME = re.compile(r"factor_(\d{1,4})_(blocks|order|row|column|values|shape)")
_LONGEST_HEADER = 2**20


def write_factors(path: Path, found: Factorisation, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Write a factorisation; :func:`read_factors` reads the operator of it.

    Raises:
        OutputError: The file cannot be written.
    """
    header = {"format": _FORMAT, "version": _VERSION, **found.to_json()}
    arrays: dict[str, Array] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for number, factor in enumerate(found.operator.factors):
        arrays |= {f"factor_{number}_{name}": array for name, array in _arrays(factor).items()}
    write_arrays(path, arrays, overwrite=overwrite, inputs=inputs)


def read_factors(path: Path) -> tuple[Factorised, dict[str, Any]]:
    """The operator on vectors in a file, and its header.

    Raises:
        InputError: The file is not one of :func:`write_factors`, or its parts contradict each other.
    """
    arrays = read_arrays(path)
    header = _header(path, arrays.pop("header", None))
    grouped: dict[int, dict[str, Array]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{path}: it holds an array {name!r}; expected the factors of recon factorize alone.")
        grouped.setdefault(int(match[1]), {})[match[2]] = array
    if not grouped or set(grouped) != set(range(len(grouped))):
        raise InputError(f"{path}: a factor is missing; expected each of them, from 0.")
    try:
        factors = tuple(_factor(grouped[number]) for number in range(len(grouped)))
        is_complex = any(array.dtype.kind == "c" for array in arrays.values())
        columns, rows = Space((header["columns"],), is_complex), Space((header["rows"],), is_complex)
        return Factorised(factors, columns, rows), header
    except (ReconError, KeyError, IndexError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: the factors contradict each other ({error}).") from None


def _header(path: Path, array: Array | None) -> dict[str, Any]:
    header: Any = None
    if array is not None and array.dtype == np.uint8 and array.ndim == 1 and array.size <= _LONGEST_HEADER:
        try:
            header = json.loads(array.tobytes())
        except (ValueError, RecursionError):
            header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise InputError(f"{path}: it has no header of recon factorize; expected a file that it wrote.")
    if header.get("version") != _VERSION:
        raise InputError(f"{path}: it is of version {header.get('version')!r}; expected {_VERSION}.")
    sides = (header.get("rows"), header.get("columns"))
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**31 for side in sides):
        raise InputError(f"{path}: its header says {sides} rows and columns; expected two positive whole numbers.")
    return header


def _arrays(factor: Factor) -> dict[str, Array]:
    if isinstance(factor, Blocks):
        return {"blocks": factor.blocks.numpy()}
    if isinstance(factor, Permutation):
        return {"order": factor.order.numpy()}
    parts = {"row": factor.row, "column": factor.column, "values": factor.values}
    return {"shape": np.array(factor.shape), **{name: part.numpy() for name, part in parts.items()}}


def _factor(arrays: dict[str, Array]) -> Factor:
    if set(arrays) == {"blocks"}:
        return Blocks(_numbers(arrays["blocks"]))
    if set(arrays) == {"order"}:
        return Permutation(_indices(arrays["order"]))
    rows, columns = (int(side) for side in arrays["shape"])
    return Entries((rows, columns), _indices(arrays["row"]), _indices(arrays["column"]), _numbers(arrays["values"]))


def _numbers(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))


def _indices(array: Array) -> Tensor:
    if array.dtype.kind not in "iu":
        raise ValueError("indices are not whole numbers")
    return torch.from_numpy(array.astype(np.int64))
