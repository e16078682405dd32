"""The command as it is installed, run in this process, and small inputs for it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    (script,) = entry_points(group="console_scripts", name="recon")
    main = script.load()

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call


Solve = Callable[..., str]


@pytest.fixture
def solve(run: Run) -> Solve:
    """``recon solve``, which ends with a code, and what it said."""

    def call(*arguments: object, code: int = 0) -> str:
        done = run("solve", *arguments)
        assert done.code == code, done.err
        return done.out + done.err

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo(folder: Path) -> Path:
    """A clean 8-bit image, 40 x 32."""
    rows, columns = np.mgrid[0:40, 0:32]
    pixels = 60 + 2 * rows + 40 * ((columns // 8) % 2)
    path = folder / "photo.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def kernel(folder: Path) -> Path:
    path = folder / "kernel.npy"
    np.save(path, np.outer([1.0, 2.0, 1.0], [1.0, 3.0, 1.0]))
    return path


@pytest.fixture
def measured(run: Run, photo: Path, kernel: Path) -> Path:
    """A blurred and noisy photo, without its sidecar."""
    outcome = run("simulate", photo, "-o", "measured.png", "--operator", "blur:psf=kernel.npy", "--noise", 0.01)
    assert outcome.code == 0, outcome.err
    (photo.parent / "measured.png.simulate.json").unlink()
    return photo.parent / "measured.png"
