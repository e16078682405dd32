"""Reads projections out of an HDF5 file, as a process of its own: the HDF5 library does not survive hostile files.

A few changed bytes make it crash or turn in circles; so :mod:`recon.io.projections.hdf5` runs this file as a
script that imports nothing of recon, with the HDF5 file as its standard input, in bounded memory and time. It writes
one line of JSON and then the arrays' bytes. Links and data that lead into other files are refused.
"""

import contextlib
import json
import math
import os
import sys
from typing import Any

import numpy as np

_MOST_CHUNKS = 2**20
_MOST_LINKS = 64
_MARGIN = 2**28  # bytes for the libraries' own needs


class RefusedError(Exception):
    """The end of the sentence that begins with the file's name; its first argument says of what kind it is."""


class Reader:
    """The arrays of an open HDF5 file.

    Attributes:
        file: Of h5py.
        limit: How many values an array may have.
    """

    def __init__(self, h5py: Any, file: Any, limit: int) -> None:
        self.h5py, self.file, self.limit = h5py, file, limit

    def find(self, path: str) -> Any:
        """The dataset under a path, or None; links are followed by hand, for those into other files must not be."""
        here, parts = self.file, _parts(path)
        for _ in range(_MOST_LINKS):
            if not parts:
                return here if isinstance(here, self.h5py.Dataset) else None
            if not isinstance(here, self.h5py.Group):
                return None
            name = parts.pop(0)
            link = here.get(name, getlink=True)
            if isinstance(link, self.h5py.SoftLink):
                here, parts = (self.file if link.path.startswith("/") else here), _parts(link.path) + parts
            elif isinstance(link, self.h5py.HardLink):
                here = here[name]
            elif link is None:
                return None
            else:
                raise RefusedError(
                    "input", f"'{_printable(name)}' is a link into another file; expected the data here."
                )
        raise RefusedError("input", f"its links to '{_printable(path)}' lead nowhere.")

    def array(self, dataset: Any, *selected: slice) -> Any:
        """The selected part of a dataset of plain real numbers, in the machine's byte order."""
        dtype = dataset.dtype
        if dtype.hasobject or dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise RefusedError("input", f"it holds a dataset of type {dtype}; expected plain real numbers.")
        selection = (*selected, *(slice(None),) * (dataset.ndim - len(selected)))
        shape = tuple(len(range(*part.indices(size))) for part, size in zip(selection, dataset.shape, strict=True))
        self._check_size(shape)
        self._check_storage(dataset)
        bound_memory(3 * dtype.itemsize * (math.prod(shape) + math.prod(dataset.chunks or ())))
        return np.asarray(dataset[selection]).astype(dtype.newbyteorder("="), copy=False)

    def projections(self, dataset: Any, rows: slice) -> Any:
        """(views, rows, columns) or (views, columns) as (rows, views, columns)."""
        if dataset.ndim == 2:
            return self.array(dataset)[None]
        return self.array(dataset, slice(None), rows).transpose(1, 0, 2)

    def frames(self, dataset: Any, data: Any, rows: slice) -> Any:
        """As :meth:`projections`, of a flat or dark field of the same detector; a single frame may lack its axis."""
        if dataset.ndim > data.ndim or dataset.ndim == 0 or dataset.shape[-(data.ndim - 1) :] != data.shape[1:]:
            name = dataset.name.rpartition("/")[2]
            raise RefusedError(
                "consistency",
                f"{_printable(name)} has shape {dataset.shape} and the data {data.shape}; expected the same rows and "
                "columns, because each pixel of the detector has its own.",
            )
        if dataset.ndim == data.ndim:
            return self.projections(dataset, rows)
        return self.array(dataset)[None, None] if dataset.ndim == 1 else self.array(dataset, rows)[:, None]

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if not 0 < math.prod(shape) <= self.limit:
            text = " x ".join(map(str, shape))
            raise RefusedError(
                "input",
                f"it declares {text} values; expected 1 to {self.limit}, to bound the memory: choose some slices.",
            )

    def _check_storage(self, dataset: Any) -> None:
        if dataset.is_virtual or dataset.external:
            raise RefusedError("input", "its data lie in another file; expected them in this one.")
        if dataset.id.get_storage_size() == 0:
            raise RefusedError("input", f"its dataset of shape {dataset.shape} is empty: nothing was written into it.")
        if dataset.chunks is None:
            return
        self._check_size(dataset.chunks)
        grid = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        if grid > _MOST_CHUNKS:
            raise RefusedError("input", f"its data are cut into {grid} chunks; expected at most {_MOST_CHUNKS}.")
        created = dataset.id.get_create_plist()
        for place in range(created.get_nfilters()):
            code, *_, name = created.get_filter(place)
            if not self._available(code):
                called = _printable(name.decode("ascii", "replace"))[:40] or f"filter {code}"
                raise RefusedError(
                    "input",
                    f"its data are packed by '{called}', which h5py cannot unpack without the package hdf5plugin.",
                )

    def _available(self, code: int) -> bool:
        if not self.h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401, PLC0415 - registers its filters
        return bool(self.h5py.h5z.filter_avail(code))


def read(h5py: Any, path: str, rows: tuple[int, int] | None, limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is said of the arrays, and the arrays."""
    with h5py.File(sys.stdin.buffer, "r") as file:
        reader = Reader(h5py, file, limit)
        data = reader.find(path)
        if data is None or data.ndim not in (2, 3):
            found = "no dataset" if data is None else f"one of shape {data.shape}"
            raise RefusedError(
                "input",
                f"it has {found} at '{_printable(path)}'; expected (views, rows, columns) or (views, columns) there, "
                "or where the argument dataset says.",
            )
        total = data.shape[1] if data.ndim == 3 else 1
        first, stop = rows or (0, total)
        if not 0 <= first < stop <= total:
            raise RefusedError("rows", str(total))
        beside = {
            name: reader.find(path[: path.rfind("/") + 1] + name) for name in ("data_white", "data_dark", "theta")
        }
        arrays = {"values": reader.projections(data, slice(first, stop))}
        for name in ("data_white", "data_dark"):
            if beside[name] is not None:
                arrays[name] = reader.frames(beside[name], data, slice(first, stop))
        theta, units = beside["theta"], b""
        if theta is not None:
            arrays["theta"], units = reader.array(theta), theta.attrs.get("units", b"")
        text = units.decode("ascii", "replace") if isinstance(units, bytes) else str(units)
        return {"total": total, "radians": text.lower().startswith("rad")}, arrays


def bound_memory(extra: int) -> None:
    """Let this process take no more than ``extra`` bytes, and a margin, above what it has: a chunk may swell."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not there on Windows

        with open("/proc/self/statm", "rb") as own:  # noqa: PTH123
            pages = int(own.read().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + extra + _MARGIN, hard))


def bound_time(seconds: int) -> None:
    """Let this process compute no longer than that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer the one question that is the argument."""
    question = json.loads(sys.argv[1])
    answer: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    try:
        import h5py  # noqa: PLC0415 - optional

        bound_time(question["seconds"])
        bound_memory(0)
        answer, arrays = read(h5py, question["dataset"], question["rows"], question["limit"])
    except ImportError:
        answer = {"refused": ["missing", ""]}
    except RefusedError as refusal:
        answer = {"refused": list(refusal.args)}
    except Exception:
        answer = {"refused": ["damaged", ""]}
    bound_memory(sum(array.nbytes for array in arrays.values()))  # copies, where the axes were exchanged
    answer["arrays"] = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    for array in arrays.values():
        sys.stdout.buffer.write(np.ascontiguousarray(array).data.cast("B"))
    sys.stdout.buffer.flush()


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


if __name__ == "__main__":
    main()
