"""recon train with mode = "steps", and recon solve --method slista:folder=DIR: what they print and what they refuse."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from recon.cli.training_steps import ratio_in_words
from training_cases import write_scenes

from recon.priors.networks import ConvolutionalSparseCodingConfig, make, save
from recon.training import steps as learning

TOML = """
[steps]
operator = "blur:gaussian=0.7"
prior = "wavelet:levels=2,wavelet=haar"
weights = [0.02, 0.1]
count = 3
[data]
patch = 16
[training]
mode = "steps"
noise = 0.02
batch = 2
pool = 2
steps = 3
"""


@pytest.fixture
def inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(learning, "LONG_RUN", 50)
    monkeypatch.setattr(learning, "SOLVED", 20)
    (folder / "recipe.toml").write_text(TOML)
    write_scenes(folder / "training", 2)
    write_scenes(folder / "validation", 1, first=50)
    return ["train", "--data", "training", "--validation", "validation", "--device", "cpu"]


def test_steps_are_learned_for_the_coefficients_of_a_dictionary(run, inputs) -> None:
    torch.manual_seed(0)
    save(make(ConvolutionalSparseCodingConfig(atoms=4, size=3, stride=3, noise_range=(0.1, 0.1))), "own")
    prior = "folder:own,sigma=0.1,synthesis=true"
    stated = TOML.replace("wavelet:levels=2,wavelet=haar", prior).replace("[0.02, 0.1]", "[0.3, 2.0]")
    Path("recipe.toml").write_text(stated)
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "runs/steps", "--json")
    assert outcome.code == 0, outcome.err
    assert all(figure["ista"] > 0 for figure in json.loads(outcome.out)["figures"])
    (image,) = Path("validation").iterdir()
    asked = [
        "solve",
        image,
        "--operator",
        "blur:gaussian=0.7",
        "--method",
        "slista:folder=runs/steps",
        "--device",
        "cpu",
    ]
    outcome = run(*asked, "--prior", f"{prior},weight=0.5", "-o", "x.tif", "--json")
    assert outcome.code == 0, outcome.err
    assert "may be worse" not in outcome.err
    assert json.loads(outcome.out)["duality_gap"]["evidence"] == "proved"
    save(make(ConvolutionalSparseCodingConfig(atoms=5, size=3, stride=3, noise_range=(0.1, 0.1))), "other")
    assert "may be worse" in run(*asked, "--prior", f"{prior.replace('own', 'other')},weight=0.5", "-o", "y.tif").err
    Path("recipe.toml").write_text(stated.replace("sigma=0.1,", ""))
    refused = run(*inputs, "--config", "recipe.toml", "-o", "runs/no")
    assert refused.code == 2
    assert "or folder:DIR,sigma=S,synthesis=true without a weight" in refused.err


def test_steps_are_learned_and_solve(run, inputs) -> None:
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "runs/steps")
    assert outcome.code == 0, outcome.err
    assert "step sizes times ||A||^2:" in outcome.out
    assert "learned / ISTA" in outcome.out
    again = run(*inputs, "--resume", "-o", "runs/steps", "--steps", 4, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["trained_steps"] == 4
    (image,) = Path("validation").iterdir()
    asked = ["solve", image, "--operator", "blur:gaussian=0.7", "--prior", "wavelet:weight=0.05,levels=2,wavelet=haar"]
    asked += ["--method", "slista:folder=runs/steps", "--device", "cpu"]
    outcome = run(*asked, "-o", "x.tif")
    assert outcome.code == 0, outcome.err
    assert "completed after 3 steps" in outcome.out
    assert "duality gap, on the 0..1 scale: at most" in outcome.out
    record = json.loads(Path("x.tif.run.json").read_text())
    assert record["duality_gap"]["value"] > 0
    assert (record["config"]["method"], record["config"]["method_folder"]) == ("slista", "runs/steps")
    assert [entry["role"] for entry in record["inputs"]].count("method") == 2
    assert run("replay", "x.tif.run.json").code == 0
    refused = run(*asked, "-o", "z.tif", "--iterations", 9)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert not Path("z.tif").exists()


@pytest.mark.parametrize(("left", "said"), [(1e-3, "0.250"), (5.76e-16, "rounding")])
def test_a_ratio_of_rounding_errors_is_no_figure(left: float, said: str) -> None:
    assert ratio_in_words(SimpleNamespace(ista=left, ratio=0.25)) == said


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--processes", "2"], 2, "--processes with mode"),
        (["--noise", "0.1"], 2, "--noise with mode"),
        (["--search"], 2, "--search with mode"),
        (["--tensorboard", "board"], 2, "--tensorboard with mode"),
        (["--steps", "0"], 2, "expected at least 1"),
    ],
)
def test_options_of_networks_are_refused(run, inputs, options, code, words) -> None:
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "x", *options)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("x").exists()
