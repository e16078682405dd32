"""recon report --layer, and the standard deviation that lies beside a result."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile


def layers_of(page: Path) -> list[list[dict]]:
    meta = json.loads(re.search(r'<script id="pictures-data"[^>]*>(.*?)</script>', page.read_text(), re.S)[1])
    return [each["layers"] for group in meta["groups"] for each in group["slices"]]


@pytest.fixture
def solved(run, measured) -> Path:
    outcome = run(
        "solve", "measured.png", "-o", "sharp.png", "--operator", "blur:psf=kernel.npy", "--noise", 0.01,
        "--prior", "tv", "--iterations", 5,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return measured.parent


def shape_of(folder: Path) -> list[int]:
    return json.loads((folder / "sharp.png.run.json").read_text())["plan"]["image_shape"]


def uncertain(folder: Path, **more: object) -> np.ndarray:
    """What recon uncertainty writes: the maps and their record."""
    std = np.random.default_rng(0).random(shape_of(folder), np.float32) + 1
    for name, map_ in (("mean.tif", np.zeros_like(std)), ("std.tif", std)):
        tifffile.imwrite(folder / name, map_)
    record = json.loads((folder / "sharp.png.run.json").read_text())
    names = ("mean.tif", "std.tif")
    record |= {
        "command": "uncertainty", "status": "mixed", "method": "kinetic", "units": "HU",
        "outputs": [{"path": n, "sha256": hashlib.sha256((folder / n).read_bytes()).hexdigest()} for n in names],
    } | more  # fmt: skip
    (folder / "mean.tif.run.json").write_text(json.dumps(record))
    return std


def test_maps_are_layers_with_a_scale_of_their_own(run, solved):
    shape = shape_of(solved)
    np.save(solved / "std.npy", np.linspace(3, 5, shape[0] * shape[1], dtype=np.float32).reshape(shape))
    np.save(solved / "worst.npy", np.linspace(-2, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape))
    outcome = run("report", "sharp.png", "-o", "p.html", "--layer", "std.npy:uncertainty", "--layer", "worst.npy")
    assert outcome.code == 0, outcome.err
    (layers,) = layers_of(solved / "p.html")
    first, second = layers[-2:]
    assert (first["title"], first["scale"], first["here"]) == ("uncertainty", "own", True)
    assert first["limits"] == pytest.approx([3.01, 4.99], abs=0.01)
    assert (second["title"], second["scale"]) == ("worst", "signed")
    assert second["limits"][0] == -second["limits"][1]
    text = re.sub(r"<[^>]+>", " ", (solved / "p.html").read_text())
    assert re.search(r"uncertainty +4 +4\.9 +5", text)


def test_the_standard_deviation_beside_a_result_is_found(run, solved):
    uncertain(solved)
    assert run("report", "sharp.png", "-o", "p.html").code == 0
    (layers,) = layers_of(solved / "p.html")
    assert [layers[-1][key] for key in ("name", "title", "unit")] == ["std", "uncertainty", "HU"]
    assert "kinetic: mixed" in layers[-1]["label"]
    assert run("report", ".", "-o", "folder.html").code == 0
    assert len(layers_of(solved / "folder.html")) == 1
    assert run("report", "mean.tif.run.json", "-o", "own.html").code == 0
    (layers,) = layers_of(solved / "own.html")
    assert [layer["name"] for layer in layers if layer["name"] in ("after", "std")] == ["after", "std"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": [{"sha256": "0"}]}, None),
        ({"outputs": [{"path": "mean.tif"}, {"path": "std.tif", "sha256": "0"}]}, "was altered since its run"),
        ({"outputs": [{"path": "mean.tif"}, {"path": "../std.tif", "sha256": "0"}]}, "outside of its folder"),
        ({"outputs": [{"path": "mean.tif"}, {"path": "gone.tif", "sha256": "0"}]}, "is not there any more"),
    ],
)
def test_another_or_an_altered_map_is_not_shown(run, solved, change, words):
    uncertain(solved, **change)
    assert run("report", "sharp.png", "-o", "p.html").code == 0
    assert "std" not in [layer["name"] for layer in layers_of(solved / "p.html")[0]]
    assert words is None or words in (solved / "p.html").read_text()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--layer", "gone.npy"), 3, "there is no such file"),
        (("--layer", "small.npy"), 4, "the map has 3 x 4 pixels and the result"),
        (("--layer", "stack.npy"), 4, "frame(s) and the result 1"),
        (("--layer", "std.npy:"), 2, "expected FILE or FILE:name"),
        (("--layer", "std.npy:a", "--layer", "small.npy:a"), 2, "two layers are called 'a'"),
        (("--layer", "sharp.png.run.json"), 3, "sharp.png.run.json"),
    ],
)
def test_what_is_no_map_of_the_result_is_refused(run, solved, options, code, words):
    shape = shape_of(solved)
    np.save(solved / "std.npy", np.ones(shape, np.float32))
    np.save(solved / "small.npy", np.ones((3, 4), np.float32))
    np.save(solved / "stack.npy", np.ones((2, *shape), np.float32))
    outcome = run("report", "sharp.png", "-o", "p.html", *options)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert not (solved / "p.html").exists()


def test_several_results_take_a_folder_of_maps(run, solved):
    options = ("--operator", "blur:psf=kernel.npy", "--noise", 0.01, "--prior", "tv", "--iterations", 3)
    (solved / "results").mkdir()
    (solved / "maps").mkdir()
    for name in ("a", "b"):
        assert run("solve", "measured.png", "-o", f"results/{name}.png", *options).code == 0
        np.save(solved / "maps" / f"{name}.npy", np.full(shape_of(solved), ord(name), np.float32))
    assert run("report", "results", "-o", "p.html", "--layer", "maps:level").code == 0
    assert [layers[-1]["title"] for layers in layers_of(solved / "p.html")] == ["level", "level"]
    text = re.sub(r"<[^>]+>", " ", (solved / "p.html").read_text())
    for row in (r"level +97 +97 +97", r"level +98 +98 +98"):
        assert re.search(row, text)
    assert run("report", "results", "-o", "q.html", "--layer", "maps/a.npy").code == 2
    (solved / "maps" / "b.npy").unlink()
    outcome = run("report", "results", "-o", "q.html", "--layer", "maps")
    assert outcome.code == 3
    assert "no file is named as the result b.png" in outcome.err
