"""recon pack and recon unpack: what they print, what they refuse, and their exit codes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture
def images(folder):
    rng = np.random.default_rng(0)
    (folder / "scan").mkdir()
    ramp = np.add.outer(np.arange(60), np.arange(50))
    for number in range(3):
        np.save(folder / "scan" / f"{number}.npy", (ramp + rng.integers(0, 4, ramp.shape)).astype(np.int16))
    tifffile.imwrite(folder / "scan" / "float.tif", (ramp / 7 + rng.normal(size=ramp.shape)).astype(np.float32))
    (folder / "scan" / "notes.txt").write_text("measured on a Monday")
    return folder / "scan"


def test_there_and_back(run, folder, images):
    packed = run("pack", "scan", "-o", "scan.rpk")
    assert packed.code == 0
    assert "scan.rpk: 5 files" in packed.out
    assert "bits a grey value" in packed.out
    assert (folder / "scan.rpk").stat().st_size < 0.6 * sum(path.stat().st_size for path in images.iterdir())
    listed = run("unpack", "scan.rpk", "--list")
    assert [line.split()[1] for line in listed.out.splitlines()] == [f"scan/{p.name}" for p in sorted(images.iterdir())]
    assert run("unpack", "scan.rpk", "--verify").out.startswith("scan.rpk: 5 files compared")
    restored = run("unpack", "scan.rpk", "-o", "back")
    assert restored.code == 0, restored.err
    for path in images.iterdir():
        assert (folder / "back" / "scan" / path.name).read_bytes() == path.read_bytes()


def test_json(run, images):
    document = json.loads(run("pack", "scan", "-o", "scan.rpk", "--json").out)
    assert [file["name"] for file in document["files"]][:2] == ["scan/0.npy", "scan/1.npy"]
    assert document["files"][0]["how"] == "pixels"
    assert json.loads(run("unpack", "scan.rpk", "--list", "--json").out)[0]["name"] == "scan/0.npy"
    assert not any(file["lost"] for file in json.loads(run("unpack", "scan.rpk", "--verify", "--json").out))


def test_one_file_and_one_frame(run, folder, images):
    stack = np.arange(3 * 40 * 30, dtype=np.uint16).reshape(3, 40, 30)
    np.save(folder / "stack.npy", stack)
    assert run("pack", "stack.npy", "scan", "-o", "all.rpk").code == 0
    assert run("unpack", "all.rpk", "-o", "one", "--only", "scan/1.npy").code == 0
    assert [path.name for path in (folder / "one").rglob("*.npy")] == ["1.npy"]
    assert run("unpack", "all.rpk", "--only", "stack.npy", "--frame", "2", "-o", "frame.npy").code == 0
    assert np.array_equal(np.load(folder / "frame.npy"), stack[2])


def test_lossy(run, folder, images):
    outcome = run("pack", "scan", "-o", "scan.rpk", "--lossy", "2")
    assert "no grey value is more than 2 off" in outcome.out
    restored = run("unpack", "scan.rpk", "-o", "back")
    assert "lossy: grey values are at most" in restored.err
    for path in images.glob("*.npy"):
        found = np.load(folder / "back" / "scan" / path.name).astype(int)
        assert 0 < abs(found - np.load(path)).max() <= 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pack", "none", "-o", "a.rpk"], 3, "no such file"),
        (["pack", "scan", "-o", "scan/0.npy", "--overwrite"], 7, "one of the inputs"),
        (["pack", "scan", "-o", "none/a.rpk"], 7, "no folder"),
        (["pack", "scan", "scan", "-o", "a.rpk"], 2, "two inputs have this name"),
        (["pack", "scan", "-o", "a.rpk", "--lossy", "-1"], 2, "tolerance is -1"),
        (["pack", "scan", "-o", "a.rpk", "--lossy", "nan"], 2, "tolerance is nan"),
        (["pack", "scan", "-o", "a.rpk", "--lossy", "much"], 2, "is 'much'"),
        (["pack", "scan", "-o", "a.rpk", "--group", "0"], 2, "0"),
        (["pack", "scan"], 2, "Missing option '-o'"),
        (["unpack", "none.rpk"], 3, "cannot be opened"),
        (["unpack", "scan"], 3, "folder"),
        (["unpack", "scan/0.npy"], 3, "no archive of recon pack"),
        (["unpack", "scan.rpk", "--only", "x"], 3, "holds no file 'x'"),
        (["unpack", "scan.rpk", "--list", "--verify"], 2, "at most one"),
        (["unpack", "scan.rpk", "--list", "-o", "x"], 2, "write nothing"),
        (["unpack", "scan.rpk", "--frame", "0"], 2, "--frame needs"),
        (["unpack", "scan.rpk", "--only", "scan/0.npy", "--frame", "7", "-o", "f.npy"], 2, "expected one of 0 to 0"),
        (["unpack", "scan.rpk", "--only", "scan/notes.txt", "--frame", "0", "-o", "f.npy"], 3, "whole file"),
        (["unpack", "scan.rpk"], 7, "exists"),
    ],
)
@pytest.mark.usefixtures("images")
def test_bad_input_is_one_sentence(run, folder, arguments, code, words):
    assert run("pack", "scan", "-o", "scan.rpk").code == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = run(*arguments)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_lost_is_named_and_the_others_are_restored(run, folder, images):
    run("pack", "scan", "-o", "scan.rpk")
    data = bytearray((folder / "scan.rpk").read_bytes())
    data[len(data) // 4] ^= 1
    (folder / "scan.rpk").write_bytes(data)
    outcome = run("unpack", "scan.rpk", "-o", "back")
    assert outcome.code == 8
    assert "lost, because" in outcome.err
    assert "1 of 5 files are lost; the others are whole" in outcome.err
    assert len([path for path in (folder / "back").rglob("*") if path.is_file()]) == 4
    assert run("unpack", "scan.rpk", "--verify").code == 8


@pytest.mark.usefixtures("folder")
def test_a_name_that_is_too_long_is_reported_in_a_line(run):
    from recon.packing.container import Writer  # noqa: PLC0415

    with Path("bad.rpk").open("wb") as handle:
        writer = Writer(handle)
        for number, name in enumerate(["n" * 4000, "b"]):
            facts = {"mode": "raw", "name": name, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
            writer.entry(number, facts, b"", [b"x"])
        writer.finish()
    outcome = run("unpack", "bad.rpk", "-o", "out")
    assert outcome.code == 8
    (line,) = (line for line in outcome.err.splitlines() if "too long" in line)
    assert len(line) < 400
    assert "1 of 2 files are lost" in outcome.err
    assert [path.name for path in Path("out").iterdir()] == ["b"]
