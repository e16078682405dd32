"""Projections in HDF5, as the Data Exchange format has them (De Carlo et al., J. Synchrotron Radiation 21, 2014)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recon.errors import ConsistencyError
from recon.io.decoded import RefusedError, check_size
from recon.io.image import Array
from recon.io.projections.arrays import Rows, Scan, check_rows

DATASET = "exchange/data"
_WORKER = Path(__file__).with_name("hdf5_worker.py")
_PATIENCE = 10  # seconds of computing, and for each so many bytes one more
_BYTES_PER_SECOND = 10**7
_LONGEST_ANSWER = 2**16


def read_hdf5(handle: BinaryIO, dataset: str | None, rows: Rows | None, limit: int) -> Scan:
    """The dataset (views, rows, columns) or (views, columns), with what stands beside it in its group.

    Beside it: ``data_white`` and ``data_dark``, flat and dark fields (frames, rows, columns), and ``theta`` (views,),
    in degrees or in the radians that its attribute ``units`` says. The HDF5 library runs in a process of its own.

    Args:
        handle: The file.
        dataset: Its path in the file; by default ``exchange/data``.
        rows: The rows of the detector that are wanted; by default all.
        limit: How many values an array may have.
    """
    seconds = _PATIENCE + os.fstat(handle.fileno()).st_size // _BYTES_PER_SECOND
    question = {"dataset": dataset or DATASET, "rows": rows, "limit": limit, "seconds": seconds}
    # -P: the script's folder must not become the first place where modules are looked for
    command = [sys.executable, "-P", str(_WORKER), json.dumps(question)]
    with subprocess.Popen(command, stdin=handle, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:  # noqa: S603
        try:
            assert worker.stdout is not None  # noqa: S101  (it was asked for)
            answer, arrays = _answer(worker.stdout, rows, limit)
        finally:
            worker.kill()
    angles, notes = arrays.get("theta"), tuple[str, ...]()
    if angles is not None and answer["radians"]:
        angles = np.rad2deg(angles)
        notes = ("The angles are in radians, as the file says, and were turned into degrees.",)
    return Scan(arrays["values"], answer["total"], arrays.get("data_white"), arrays.get("data_dark"), angles, notes)


def _answer(pipe: Any, rows: Rows | None, limit: int) -> tuple[dict[str, Any], dict[str, Array]]:
    line = pipe.readline(_LONGEST_ANSWER)
    if not line.endswith(b"\n"):
        raise RefusedError("the HDF5 file is cut off or damaged: the HDF5 library fails on it.")
    answer = json.loads(line)
    if "refused" in answer:
        kind, said = answer["refused"]
        _refuse(kind, said, rows)
    return answer, {name: _array(pipe, np.dtype(kind), tuple(shape), limit) for name, kind, shape in answer["arrays"]}


def _refuse(kind: str, said: str, rows: Rows | None) -> None:
    if kind == "missing":
        raise RefusedError(
            "it is an HDF5 file and h5py, which reads them, is not installed; install it by "
            "pip install 'recon-imaging[hdf5]'."
        )
    if kind == "rows":
        check_rows(rows, int(said))
    if kind == "consistency":
        raise ConsistencyError(said)
    raise RefusedError(said if kind == "input" else "the HDF5 file is cut off or damaged.")


def _array(pipe: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...], limit: int) -> Array:
    check_size(shape, limit)
    array = np.empty(shape, dtype)
    room = array.data.cast("B")
    while room:
        got = pipe.readinto(room)  # type: ignore[attr-defined]  # a pipe of subprocess is buffered
        if not got:
            raise RefusedError("the HDF5 file is cut off or damaged: the HDF5 library fails on it.")
        room = room[got:]
    return array
