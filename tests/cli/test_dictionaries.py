"""recon train --from, recon models --figure: dictionaries from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from training_cases import write_scenes

from recon.catalogue import folders
from recon.priors.networks import ConvexRidgeConfig, ConvolutionalSparseCodingConfig, make, save
from recon.priors.networks.architectures import ridge_prox

SMALL = ConvolutionalSparseCodingConfig(atoms=4, size=3, stride=3, shifts=1, noise_range=(0.1, 0.1))


@pytest.fixture
def start(folder: Path) -> Path:
    write_scenes(folder / "images", 1)
    torch.manual_seed(0)
    save(make(SMALL), folder / "start")
    return folder / "start"


def test_a_network_is_adapted_to_an_image_and_its_atoms_are_drawn(run, start) -> None:
    image = str(next(Path("images").iterdir()))
    outcome = run("train", "--from", "start", "--data", image, "--noise", "0.1", "-o", "runs/own", "--steps", 2)
    assert outcome.code == 0, outcome.err
    assert "going on from start with noise of 0.1 in the images" in outcome.err
    assert "proved" in outcome.out
    card = json.loads(Path("runs/own/card.json").read_text())
    assert card["recipe"]["training"]["loss"] == "sure"
    drawn = run("models", "runs/own", "--figure", "atoms.png")
    assert drawn.code == 0, drawn.err
    assert drawn.out.strip() == "atoms.png"
    assert Path("atoms.png").stat().st_size > 1000
    solved = run(
        "solve", image, "-o", "out.png", "--operator", "identity", "--noise", "0.1", "--prior", "folder:runs/own",
        "--method", "forward_backward", "--iterations", 1, "--json",
    )  # fmt: skip
    assert json.loads(solved.out)["certificate"]["evidence"] == "proved", solved.err


def test_the_coefficients_of_a_dictionary_are_the_unknowns_and_end_with_a_gap(run, start) -> None:
    image = str(next(Path("images").iterdir()))
    given = ("--operator", "blur:gaussian=0.8", "--noise", "0.1", "--prior", "folder:start,synthesis=true")
    solved = run("solve", image, "-o", "out.png", *given, "--method", "oista", "--iterations", 3, "--json")
    record = json.loads(solved.out)
    assert (record["duality_gap"]["evidence"], record["certificate"]["evidence"]) == ("proved", "proved"), solved.err
    assert record["duality_gap"]["distance"] > 0
    assert "sigma=0.1,weight=0.35,lattices=1" in Path("out.png.run.json").read_text()
    assert run("replay", "out.png.run.json", "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    for prior, method, said in (
        ("folder:start,synthesis=true", "condat_vu", "expected ista, fista, oista or slista"),
        ("folder:start,synthesis=true,low=0", "ista", "low with synthesis=true"),
        ("model:proved-gray,synthesis=true", "ista", "expected a ConvolutionalSparseCoding"),
    ):
        refused = run("solve", image, "-o", "no.png", *given[:-1], prior, "--method", method)
        assert refused.code == 2, refused.err
        assert said in refused.err
        assert not Path("no.png").exists()


def test_coefficients_are_the_unknowns_where_pixels_are_mixed_and_nothing_else_is_said(run, start) -> None:
    """On all lattices of the network; where the pixels are measured, or by another method, it is the denoiser."""
    save(make(replace(SMALL, shifts=3)), "start", overwrite=True)
    image = str(next(Path("images").iterdir()))
    blur = ("--operator", "blur:gaussian=0.8")
    with Image.open(image) as opened:
        Image.new("L", opened.size, 255).save("mask.png")
    for given, lattices in (
        (blur, 9),
        ((*blur, "--method", "ista"), 9),
        (("--operator", "inpaint:mask=mask.png"), 9),
        (("--operator", "identity"), 0),
        ((*blur, "--method", "forward_backward"), 0),
    ):
        told = run("solve", image, "-o", "out.png", *given, "--noise", "0.1", "--prior", "folder:start",
                   "--dry-run", "--json")  # fmt: skip
        assert told.code == 0, told.err
        plan = json.loads(told.out)
        assert (f"lattices={lattices}" in plan["prior"]) is bool(lattices), plan["prior"]
    for options, said in (
        ("synthesis=true,lattices=10", "lattices=10; expected 1 to 9"),
        ("synthesis=true,lattices=0", "lattices"),
        ("synthesis=false,lattices=1", "lattices without synthesis=true"),
    ):
        refused = run("solve", image, "-o", "no.png", *blur, "--noise", "0.1", "--prior", f"folder:start,{options}")
        assert refused.code == 2, refused.err
        assert said in refused.err
        assert not Path("no.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "start", "--config", "x.toml"], "--from start with --config; expected one of them"),
        (["--from", "start", "--resume"], "--from start with --resume; expected one of them"),
        (["--from", "start", "--operator", "identity"], "--from start with --operator; expected one of them"),
        (["--from", "start", "--sweep", "widths=4,8"], "--from start with --sweep; expected one of them"),
        (["--from", "model:other"], "--from = 'model:other'; expected one of"),
        (["--from", "start", "--loss", "l1"], "--loss is 'l1' with --from; expected sure or r2r"),
        (["--from", "start", "--noise", "two"], "'two'; expected a number"),
        (["--from", "start", "--noise", "-1"], "--noise is -1; expected a standard deviation above 0"),
        (["--loss", "sure"], "--loss without --from"),
        ([], "Missing option '--config'"),
    ],
)
def test_what_does_not_go_together_is_refused(run, start, arguments, said) -> None:
    Path("x.toml").write_text("")
    outcome = run("train", *arguments, "--data", "images", "-o", "runs/no")
    assert outcome.code == 2, outcome.err
    assert said in outcome.err
    assert not Path("runs/no").exists()


def test_only_a_dictionary_has_atoms_to_draw(run, start) -> None:
    assert "expected both" in run("models", "--figure", "a.png").err
    assert "did you mean" in run("models", f"{next(iter(folders()))}x", "--figure", "a.png").err
    assert "'.txt' is no format of a figure" in run("models", "start", "--figure", "a.txt").err
    save(make(ConvexRidgeConfig(widths=(2, 2), size=3, noise_range=(0.1, 0.1))), "ridge")
    assert "ridge is a ConvexRidge network" in run("models", "ridge", "--figure", "a.png").err
    assert not Path("a.png").exists()


def test_the_look_at_a_dictionary_is_short_and_its_coefficients_have_methods(run, start, monkeypatch) -> None:
    """A search as of a potential would solve ten times as many linear systems of a large condition number."""
    solved = []
    count = ridge_prox.solve_curved
    monkeypatch.setattr(
        "recon.priors.networks.architectures.convolutional_sparse_coding.solve_curved",
        lambda *given: solved.append(1) or count(*given),
    )
    told = run("certify", "prior", "folder:start,synthesis=true", "--json")
    assert told.code == 0, told.err
    methods = {each["method"]: each for each in json.loads(told.out)["guarantees"]}
    assert {name for name, each in methods.items() if each["evidence"] == "proved"} == {"ista", "fista", "oista"}
    assert 0 < len(solved) < 200


def test_one_network_is_listed_with_what_its_card_says(run, folder) -> None:
    shown = run("models", "proved-ct")
    assert shown.code == 0, shown.err
    assert [line.split(":")[0] for line in shown.out.splitlines()[2:]] == ["title", "data", "limits", "licence", "use"]
    assert shown.out.endswith("use: --prior model:proved-ct\n")
    assert run("models", "critic-ct").out.endswith("use: --alarm critic-ct\n")
    (entry,) = json.loads(run("models", "proved-ct", "--json").out)
    assert entry["name"] == "proved-ct"
    assert "did you mean 'proved-ct'" in run("models", "prved-ct").err


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("checkpoint.json", "half: its training has not written a network yet"),
        ("steps.json", "--method slista:folder=half takes it"),
        ("notes.txt", "half: no network.toml is in it"),
    ],
)
@pytest.mark.parametrize("command", [["models", "half"], ["certify", "prior", "folder:half"]])
def test_a_folder_without_a_network_is_said_to_be_one(run, folder, command, file, said) -> None:
    Path("half").mkdir()
    Path("half", file).touch()
    outcome = run(*command)
    assert outcome.code == 3
    assert said in outcome.err
