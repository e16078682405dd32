"""recon train: what it prints, how it stops, and what it refuses."""

import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import forks
import pytest
import torch
from training_cases import TOML, write_scenes

from recon.catalogue import identity_of
from recon.certificates.ascent import Search
from recon.certificates.lipschitz_search import LipschitzLowerBound
from recon.evidence import Measured
from recon.methods import network_search
from recon.methods.network_search import Extent
from recon.priors.networks import load
from recon.priors.networks.files import card
from recon.training import validation


@pytest.fixture
def inputs(folder: Path) -> list[str]:
    (folder / "recipe.toml").write_text(TOML)
    write_scenes(folder / "training", 3)
    write_scenes(folder / "validation", 1, first=50)
    return ["train", "--data", "training", "--validation", "validation", "--device", "cpu"]


@pytest.mark.parametrize("found", [0.97, 1.2])
def test_a_network_with_its_figures(run, inputs, monkeypatch, found) -> None:
    """What a short look at the derivative finds refutes, or says nothing."""
    monkeypatch.setattr(validation, "_lipschitz", lambda *_: Measured(found, "a look"))
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "runs/first", "--steps", 4)
    assert outcome.code == 0, outcome.err
    assert "runs/first: 4 steps" in outcome.out
    stands = found < 1
    assert ("Lip(Q) <= 1 (assumed: " in outcome.out) == stands
    assert ("a short one found 0.97, and can only refute" in outcome.out) == stands
    assert ("recon certify prior runs/first searches for violations" in outcome.out) == stands
    assert ("Lip(Q) >= 1.2 (measured: " in outcome.out) == (not stands)
    assert load("runs/first")(torch.zeros(1, 1, 9, 9)).shape == (1, 1, 9, 9)
    again = run(*inputs, "--resume", "-o", "runs/first", "--steps", 5, "--json")
    assert again.code == 0, again.err
    card = json.loads(again.out)
    assert (card["family"], card["training"]["step"]) == ("DnCNN", 5)


@pytest.mark.parametrize(("whole", "evidence"), [((32, 96), "assumed"), ((32, 40), "measured")])
def test_a_search_at_the_end_is_kept_in_the_card(run, inputs, monkeypatch, whole, evidence) -> None:
    """And measures what it does not refute only if it is whole."""
    nothing = LipschitzLowerBound(
        Measured(0.9, "a search"), torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), "planted"
    )
    monkeypatch.setattr(network_search, "hardest_of_network", lambda *_, **__: nothing)
    monkeypatch.setattr(validation, "_lipschitz", lambda *_: Measured(0.97, "a look"))
    monkeypatch.setattr(network_search, "WHOLE", Extent((32, 40), Search(steps=3, starts=2)))
    monkeypatch.setattr(card, "WHOLE_STEPS", 3)
    monkeypatch.setattr(card, "WHOLE_SIDES", whole)
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "first", "--steps", 2, "--search", "--json")
    assert outcome.code == 0, outcome.err
    kept = json.loads(outcome.out)
    assert kept["lipschitz_Q"]["evidence"] == evidence
    assert {(each["side"], each["inside"]) for each in kept["searches"]} == {
        (side, inside) for side in (32, 40) for inside in (True, False)
    }
    assert kept["sha256"] == identity_of(Path("first"))


@pytest.mark.slow
def test_fine_tuning_through_the_solver_begins_with_a_trained_network(run, inputs) -> None:
    assert run(*inputs, "--config", "recipe.toml", "-o", "first", "--steps", 2).code == 0
    tuned = TOML.replace("[training]", '[training]\nmode = "equilibrium"\nstart = "first"')
    Path("tuned.toml").write_text(tuned + "[equilibrium]\nblur = 0.45\naccuracy = 2e-3\n")
    outcome = run(*inputs, "--config", "tuned.toml", "-o", "second", "--steps", 3)
    assert outcome.code == 0, outcome.err
    assert "PSNR restored" in outcome.out
    shutil.rmtree("first")
    again = run(*inputs, "--resume", "-o", "second", "--steps", 4, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["figures"][0]["psnr_restored"] > 10
    lost = run(*inputs, "--config", "tuned.toml", "-o", "third")
    assert lost.code == 3
    assert lost.err.count("\n") == 1


def test_a_run_is_not_overwritten(run, inputs) -> None:
    assert run(*inputs, "--config", "recipe.toml", "-o", "first", "--steps", 1).code == 0
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "first")
    assert outcome.code == 7
    assert "--resume goes on with it" in outcome.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "x"], 2, "Missing option '--config'"),
        (["-o", "x", "--resume"], 3, "no run to go on with"),
        (["-o", "x", "--config", "none.toml"], 2, "cannot be read"),
        (["-o", "x", "--config", "recipe.toml", "--processes", "0"], 2, "expected at least 1"),
        (["-o", "x", "--config", "recipe.toml", "--steps", "0"], 2, "training.steps = 0"),
        (["-o", "x", "--config", "recipe.toml", "--steps", "few"], 2, "expected a whole number"),
        (["-o", "x", "--config", "recipe.toml", "--device", "cuda:7"], 6, "expected a CUDA device"),
        (["-o", "training", "--config", "recipe.toml"], 7, "it is not empty"),
        (["-o", "recipe.toml/x", "--config", "recipe.toml"], 7, "cannot be made"),
        (["-o", "x", "--config", "recipe.toml", "--data", "validation"], 2, "for training and for validation"),
        (["-o", "x", "--config", "recipe.toml", "--data", "nothing"], 3, "nothing"),
    ],
)
def test_bad_input_is_one_sentence(run, inputs, options, code, message) -> None:
    outcome = run(*inputs, *options)
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_damaged_image_leaves_no_run_behind_that_is_in_the_way(run, inputs) -> None:
    Path("training/zzz.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    outcome = run(*inputs, "--config", "recipe.toml", "-o", "first")
    assert outcome.code == 3
    assert "zzz.png" in outcome.err
    assert not Path("first").exists()
    Path("mine").mkdir()
    assert run(*inputs, "--config", "recipe.toml", "-o", "mine").code == 3
    assert Path("mine").is_dir()
    Path("training/zzz.png").unlink()
    assert run(*inputs, "--config", "recipe.toml", "-o", "first", "--steps", 1).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(run, inputs, number, code) -> None:
    command = [*map(str, inputs), "--config", "recipe.toml", "-o", "first", "--steps", "100000"]
    process = forks.Fork(forks.command, command)
    while process.poll() is None and not Path("first/checkpoint.json").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert (
        "the state is saved, and recon train --resume -o first, with the same --data and --validation, goes on" in err
    )
    steps = json.loads(Path("first/checkpoint.json").read_text())["step"]
    outcome = run(*inputs, "--resume", "-o", "first", "--steps", steps + 1)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "penalty"), [("mse", "hunt = 3\nwild = 0.5"), ("sure", ""), ("r2r", "")])
def test_two_processes_are_one_to_rounding(run, inputs, monkeypatch, loss, penalty) -> None:
    if not penalty:  # once as it is
        monkeypatch.setattr(multiprocessing, "get_context", lambda _: forks.CONTEXT)
    recipe = TOML.replace("[training]", f'[training]\nloss = "{loss}"').replace("[penalty]", f"[penalty]\n{penalty}")
    assert penalty in recipe
    Path("recipe.toml").write_text(recipe)
    for name, count in (("one", 1), ("two", 2)):
        outcome = run(*inputs, "--config", "recipe.toml", "-o", name, "--steps", 6, "--processes", count)
        assert outcome.code == 0, outcome.err
    one, two = (load(name).state_dict() for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(two[name], tensor, rtol=1e-4, atol=1e-6), name
    assert json.loads(Path("two/card.json").read_text())["training"]["processes"] == 2
    more = run(*inputs, "--resume", "-o", "two", "--processes", 5)
    assert more.code == 2
    assert "expected at most as many" in more.err


def test_a_missing_folder_of_images_is_named(run, inputs) -> None:
    outcome = run(*inputs, "--data", "nowhere", "--config", "recipe.toml", "-o", "new")
    assert outcome.code == 3
    assert "nowhere: there is no such file or folder" in outcome.err
