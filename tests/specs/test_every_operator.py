"""What the command line needs of each operator besides the operator: a place in the help, and known files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recon.cli.solve import OPERATOR_HELP

from recon.errors import InputError, ReconError
from recon.factorization import factorise, write_factors
from recon.specs.grammar import Spec, parse_spec
from recon.specs.input_checks import look_at_operator
from recon.specs.operators import _READERS, read_operator
from recon.specs.solve_config import relocate

SCAN = """kind = "parallel"
angles = {start = 0, stop = 180, count = 5, endpoint = false}
[detector]
pixels = 9
pitch = 1.0
[volume]
pixels = [8, 6]
pitch = 1.0
"""
OWN = "class Same:\n    def A(self, x): return x\n    A_adjoint = A\ndef make(shape): return Same()\n"
SAMPLES = {
    "identity": "identity",
    "blur": "blur:psf=kernel.npy",
    "inpaint": "inpaint:mask=mask.npy",
    "downsample": "downsample:factor=2",
    "mri": "mri:mask=mask.npy",
    "ct": "ct:scan.toml",
    "matrix": "matrix:matrix.npy",
    "factors": "factors:factors.npz",
    "python": "python:own.py:make",
}
"""A specification for each name, with all the files that it may take."""


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files, which is the working one."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    np.save(folder / "kernel.npy", np.ones((2, 3)))
    np.save(folder / "mask.npy", np.eye(8, 6))
    np.save(folder / "matrix.npy", np.ones((3, 4)))
    write_factors(folder / "factors.npz", factorise(torch.ones(8, 8)), overwrite=False)
    (folder / "scan.toml").write_text(SCAN)
    (folder / "own.py").write_text(OWN)
    monkeypatch.chdir(folder)
    return folder


def test_every_operator_has_a_sample_and_stands_in_the_help() -> None:
    assert SAMPLES.keys() == _READERS.keys()
    assert [name for name in SAMPLES if name not in OPERATOR_HELP] == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_volume_is_no_image(name: str, samples: Path) -> None:
    """As a network of volumes meets them, whose operator is not the one that is stated."""
    with pytest.raises(ReconError):
        read_operator(parse_spec(SAMPLES[name])).on((8, 6, 4))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_record_in_another_folder_still_finds_the_files(
    name: str, samples: Path, tmp_path: Path, monkeypatch
) -> None:
    spec, elsewhere = parse_spec(SAMPLES[name]), tmp_path / "results"
    elsewhere.mkdir()
    files = [path.resolve() for path in read_operator(spec).files]
    moved = relocate(spec, elsewhere)
    monkeypatch.chdir("/")
    read_again = Spec(moved.name, moved.options, moved.value, str(elsewhere))
    assert [path.resolve() for path in read_operator(read_again).files] == files


@pytest.mark.parametrize("name", [name for name in SAMPLES if "." in SAMPLES[name] and name != "python"])
def test_a_file_that_is_missing_is_refused_before_anything_is_computed(name: str, samples: Path) -> None:
    for path in samples.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"(?i)no such file"):
        look_at_operator(parse_spec(SAMPLES[name]))
