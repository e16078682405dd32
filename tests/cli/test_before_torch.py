"""What cannot be read is refused before anything heavy is imported."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

HEAVY = ("torch", "numba", "matplotlib", "deepinv", "skimage", "pywt")
PROGRAM = f"""
import sys
from recon.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print("heavy:", *(name for name in {HEAVY!r} if name in sys.modules))
    raise
"""


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "hello")
    return buffer.getvalue()


def huge_png() -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + zlib.crc32(body).to_bytes(4, "big")


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def cut_off() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ones((64, 64), np.uint16))
    return buffer.getvalue()[:-1000]


BAD = {"zip": zipped, "huge": huge_png, "pickle": pickled, "cut": cut_off, "text": lambda: b"hello", "empty": bytes}


@pytest.fixture
def bad(folder: Path) -> Path:
    for name, make in BAD.items():
        (folder / name).write_bytes(make())
    (folder / "geometry.toml").write_text("kind = 'fan'")
    (folder / "many").mkdir()
    for name in ("zip", "huge"):
        (folder / "many" / f"{name}.png").write_bytes(BAD[name]())
    np.save(folder / "good.npy", np.full((8, 8), 0.5))
    os.mkfifo(folder / "pipe")
    return folder


def ended(*arguments: str) -> tuple[int, str, list[str]]:
    """The exit code, what was said, and what heavy was imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=100
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("heavy:"))
    return done.returncode, done.stderr, line.split()[1:]


@pytest.mark.parametrize("name", [*BAD, "absent", "pipe", "many"])
def test_solve(bad: Path, name: str) -> None:
    code, said, heavy = ended("solve", name, "-o", "x.png", "--operator", "identity")
    assert heavy == []
    assert code == (2 if name == "many" else 3)
    assert said.count("\n") == 1


CASES = [
    (3, "solve zip -o x.png --operator identity --dry-run"),
    (8, "solve many/zip.png many/huge.png -o results --operator identity"),
    (3, "solve good.npy -o x.png --operator blur:psf=zip"),
    (3, "solve good.npy -o x.png --operator inpaint:mask=absent.png"),
    (3, "solve good.npy -o x.png --operator blur:gaussian=1 --surrogate blur:psf=zip"),
    (3, "solve zip -o x.tif --operator ct:geometry.toml"),
    (3, "solve absent -o x.tif --operator ct:geometry.toml"),
    (3, "solve good.npy -o x.tif --operator ct:absent.toml"),
    (3, "solve good.npy -o x.tif --operator ct:geometry.toml --flat zip"),
    (3, "simulate zip -o y.png --operator identity --noise 0.1"),
    (3, "simulate good.npy zip -o results --operator identity --noise 0.1"),
    (3, "simulate good.npy -o y.png --operator blur:psf=huge --noise 0.1"),
    (8, "evaluate --data many --operator identity --noise 0.1"),
    (3, "evaluate --data absent --operator identity --noise 0.1"),
    (3, "evaluate --data good.npy --operator mri:mask=zip --noise 0.1"),
    (3, "train --config absent.toml --data many --validation many -o run"),
    (3, "certify operator blur:psf=zip"),
    (3, "certify operator blur:box=3 --surrogate blur:psf=absent"),
    (3, "certify prior tv:weight=0.1 --image zip"),
    (3, "replay zip"),
    (3, "replay absent"),
    (3, "report zip -o page.html"),
    (3, "report many -o page.html"),
    (7, "report zip -o page.png"),
]


@pytest.mark.parametrize(("code", "line"), CASES)
def test_every_command(bad: Path, code: int, line: str) -> None:
    found, said, heavy = ended(*line.split())
    assert heavy == []
    assert found == code, said
    assert "Traceback" not in said
    assert not (bad / "x.png").exists()
    assert not (bad / "y.png").exists()


@pytest.mark.slow
def test_that_torch_was_imported_would_be_seen(bad: Path) -> None:
    code, said, heavy = ended("certify", "prior", "box")
    assert code == 0, said
    assert "torch" in heavy
