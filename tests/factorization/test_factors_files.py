"""Factors in files: what was written comes back, and what is hostile is refused."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError, OutputError
from recon.factorization import factorise, read_factors, write_factors
from recon.io.arrays import read_arrays, read_matrix, write_arrays


@pytest.fixture
def written(tmp_path: Path) -> Path:
    matrix = torch.fft.fft(torch.eye(16, dtype=torch.complex128))
    write_factors(tmp_path / "f.npz", factorise(matrix), overwrite=False)
    return tmp_path / "f.npz"


@pytest.mark.parametrize("structure", ["butterfly", "low-rank", "hierarchical"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_what_was_written_comes_back(tmp_path: Path, structure: str, is_complex: bool):
    matrix = torch.ones(8, 8, dtype=torch.complex128 if is_complex else torch.float64)
    matrix = matrix * (1 + 2j) if is_complex else matrix
    found = factorise(matrix, structure)
    write_factors(tmp_path / "f.npz", found, overwrite=False)
    operator, header = read_factors(tmp_path / "f.npz")
    assert operator == found.operator
    assert header["structure"] == structure
    assert header["error"] == found.error.value
    write_factors(tmp_path / "g.npz", found, overwrite=False)
    assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "g.npz").read_bytes()


def test_nothing_is_replaced_unasked(written: Path):
    before = written.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_factors(written, factorise(torch.ones(4, 4)), overwrite=False)
    assert written.read_bytes() == before


def changed(path: Path, **arrays: np.ndarray | None) -> Path:
    kept = {**read_arrays(path), **arrays}
    write_arrays(path, {name: array for name, array in kept.items() if array is not None}, overwrite=True)
    return path


def header(**changes: object) -> np.ndarray:
    values = {"format": "recon-factors", "version": 1, "rows": 16, "columns": 16, **changes}
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"header": None}, "no header of recon factorize"),
        ({"header": np.frombuffer(b"[" * 100_000, np.uint8)}, "no header"),
        ({"header": header(version=2)}, "version 2; expected 1"),
        ({"header": header(rows=-1)}, "two positive whole numbers"),
        ({"header": header(rows=True)}, "two positive whole numbers"),
        ({"header": header(columns=10**9)}, "contradict each other"),
        ({"factor_1_blocks": None}, "a factor is missing"),
        ({"factor_1_blocks": np.ones((2, 2))}, r"shape \(2, 2\)"),
        ({"factor_1_blocks": np.full((2, 4, 2, 2), np.nan)}, "finite"),
        ({"factor_4_order": np.zeros(16, np.int64)}, "once"),
        ({"factor_4_order": np.zeros(16)}, "whole numbers"),
        ({"factor_1_row": np.zeros(3, np.int64)}, "contradict each other"),
        ({"script": np.zeros(3)}, "array 'script'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(written: Path, arrays: dict, message: str):
    with pytest.raises(InputError, match=message) as caught:
        read_factors(changed(written, **arrays))
    assert str(caught.value).startswith(str(written))


def test_every_cut_of_a_file_is_refused(written: Path):
    data = written.read_bytes()
    for end in range(0, len(data) - 1, 97):
        written.write_bytes(data[:end])
        with pytest.raises(InputError):
            read_factors(written)


def test_pickles_and_bombs_are_refused(tmp_path: Path):
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="array of object"):
        read_factors(tmp_path / "pickle.npz")
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(300):
            archive.writestr(f"a{number}.npy", b"")
    with pytest.raises(InputError, match="more than 256 arrays"):
        read_factors(tmp_path / "many.npz")
    with pytest.raises(InputError, match="No such file"):
        read_factors(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(5), r"shape \(5,\); expected a matrix"),
        (np.ones((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.array([[1, np.nan]]), "1 of its 2 entries are NaN"),
        (np.array([[1j * np.inf]]), "1 of its 1 entries are NaN"),
        (np.array([["a"]]), "plain numbers"),
        (np.ones((0, 4)), "at least one"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(InputError, match=message):
        read_matrix(tmp_path / "m.npy")
