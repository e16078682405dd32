"""recon certify prior --groups: the table, the JSON document, the star, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from recon.priors.networks import LipschitzConfig, make, save


@pytest.fixture
def network(folder: Path) -> str:
    torch.manual_seed(0)
    save(make(LipschitzConfig(channels=3, features=6, depth=2, noise_range=(0.05, 0.05))), folder / "net")
    return str(folder / "net")


@pytest.mark.parametrize(("groups", "count"), [("blocks:8x16", 8), ("channels", 3)])
def test_arms_of_a_network(run, network: str, folder: Path, groups: str, count: int) -> None:
    options = ("certify", "prior", network, "--groups", groups, "--quick", "--side", "32")
    outcome = run(*options, "--json", "-o", "star.png")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert {"subject", "constants", "guarantees", "groups", "map"} <= document.keys()
    assert document["map"] == "J"
    assert len(document["groups"]) == count
    for group in document["groups"]:
        assert 0 < group["attacked"] <= group["certified"] <= 1
        assert group["evidence"] == {"certified": "proved", "attacked": "measured"}
    with Image.open(folder / "star.png") as star:
        assert star.size[0] == 1500
    table = run(*options).out.splitlines()
    header = next(line for line in table if line.split() == ["group", "certified", "attacked"])
    assert table.index(header) > 0
    assert any(line.startswith("certified: proved") for line in table)


@pytest.mark.parametrize(
    ("prior", "options", "code", "words"),
    [
        ("net", ("--groups", "views"), 2, "groups is 'views' for a prior; expected blocks:HxW or channels"),
        ("net", ("--groups", "blocks:5x8"), 4, "expected blocks that divide the 32 x 32 pixels of the image"),
        ("tv:weight=0.1", ("--groups", "blocks:8x8"), 2, "expected a network"),
        ("net", ("-o", "star.png"), 2, "a drawing without --groups"),
        ("net", ("--groups", "channels", "-o", "star.txt"), 7, "no format of a figure"),
    ],
)
@pytest.mark.usefixtures("network")
def test_what_is_refused(run, prior: str, options: tuple[str, ...], code: int, words: str) -> None:
    outcome = run("certify", "prior", prior, *options)
    assert outcome.code == code
    assert words in outcome.err


def test_channels_are_no_groups_of_a_measurement(run, photo: Path) -> None:
    outcome = run("sensitivity", photo, "--operator", "blur:gaussian=1", "--groups", "channels")
    assert outcome.code == 2
    assert "recon certify prior" in outcome.err
