"""recon sensitivity: the table, the JSON document, the pictures, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BLUR = ("--operator", "blur:gaussian=1", "--prior", "tikhonov:weight=0.1", "--noise", "0.01")


def test_the_table_says_what_each_arm_is(run, photo: Path) -> None:
    outcome = run("sensitivity", photo, *BLUR, "--groups", "blocks:20x16")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["group", "certified", "local", "perturbed"]
    assert [line.split("  ")[0] for line in lines[1:5]] == ["block 0,0", "block 0,1", "block 1,0", "block 1,1"]
    assert any(line.startswith("certified: proved") for line in lines)
    assert (
        "an arm of 1 is a change of the image by 1 for a change of the group by 1, both in the Euclidean norm" in lines
    )
    assert any(line.startswith("longest local arm: block") for line in lines)


def test_the_document_and_the_pictures(run, photo: Path, folder: Path) -> None:
    outcome = run(
        "sensitivity", photo, *BLUR, "--groups", "blocks:20x16", "--json", "-o", "star.png", "--worst", "w.pdf"
    )
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert {"groups", "operator", "prior", "noise", "versions", "seed", "strong_monotonicity"} <= document.keys()
    for group in document["groups"]:
        assert {"name", "certified", "local", "perturbed"} <= group.keys()
        assert group["perturbed"] <= group["local"] * 1.015
        assert group["local"] <= group["certified"] * 1.01
        assert group["evidence"] == {"certified": "proved", "local": "measured", "perturbed": "measured"}
    with Image.open(folder / "star.png") as star:
        assert star.size[0] == 1500
    assert (folder / "w.pdf").read_bytes().startswith(b"%PDF")
    assert run("sensitivity", photo, *BLUR, "--groups", "blocks:20x16", "--json").out == outcome.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--groups", "views"), 2, "groups is 'views' with the operator 'blur'; expected ct"),
        (("--groups", "blocks:7x8"), 4, "expected blocks that divide the 40 x 32 pixels"),
        (("--groups", "rows"), 2, "groups is 'rows'; expected views, detectors:N, lines or blocks:HxW"),
        (("--groups", "blocks:8x8", "-o", "star.txt"), 7, "no format of a figure"),
        (("--groups", "blocks:8x8", "-o", "photo.png", "--overwrite"), 7, "photo.png"),
        (("--groups", "blocks:8x8", "-o", "a.png", "--worst", "a.png"), 7, "two figures have one name"),
        (("--groups", "blocks:8x8", "-o", "a.png", "--prior", "deepinv:MedianFilter,sigma=0.1"), 2, "no derivative"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(  # noqa: PLR0917  cases and fixtures
    options: tuple[str, ...], code: int, words: str, run, photo: Path, folder: Path
) -> None:
    before = sorted(folder.iterdir())
    outcome = run("sensitivity", photo, *BLUR, *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
def test_of_a_scan_and_of_lines(run, folder: Path) -> None:
    (folder / "scan.toml").write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 6, endpoint = false }\n'
        "[detector]\npixels = 24\npitch = 1.0\n[volume]\npixels = [16, 16]\npitch = 1.0\n"
    )
    x = np.zeros((16, 16), np.float32)
    x[4:12, 5:11] = 0.02
    np.save(folder / "x.npy", x)
    assert run("simulate", "x.npy", "-o", "y.npy", "--operator", "ct:scan.toml", "--noise", "0.001").code == 0
    options = ("--prior", "tikhonov:weight=1", "--json", "--groups")
    views = json.loads(run("sensitivity", "y.npy", *options, "views", "-o", "s.svg").out)["groups"]
    assert [group["position"] for group in views] == [[30.0 * k] for k in range(6)]
    assert len(json.loads(run("sensitivity", "y.npy", *options, "detectors:8").out)["groups"]) == 8
    refused = run("sensitivity", "y.npy", *options, "detectors:7")
    assert (refused.code, "a divisor of the 24 pixels of the detector" in refused.err) == (4, True)
    mask = np.zeros((16, 16), bool)
    mask[:, ::4] = True
    np.save(folder / "mask.npy", mask)
    assert run("simulate", "x.npy", "-o", "k.npy", "--operator", "mri:mask=mask.npy", "--noise", "0.001").code == 0
    lines = json.loads(run("sensitivity", "k.npy", *options, "lines").out)["groups"]
    assert [group["position"] for group in lines] == [[-8.0], [-4.0], [0.0], [4.0]]


def test_the_worst_change_as_a_map(run, photo: Path, folder: Path) -> None:
    outcome = run("sensitivity", photo, *BLUR, "--groups", "blocks:20x16", "--json", "--worst", "w.npy")
    assert outcome.code == 0, outcome.err
    change, document = np.load(folder / "w.npy").squeeze(), json.loads(outcome.out)
    assert change.shape == (40, 32)
    assert np.abs(change).max() == pytest.approx(document["worst"]["largest"] * 255, rel=1e-4)
    refused = run("sensitivity", photo, *BLUR, "--groups", "blocks:20x16", "--worst", "w.dcm")
    assert refused.code == 7
    assert "no DICOM has no patient" in refused.err
    assert not (folder / "w.dcm").exists()
