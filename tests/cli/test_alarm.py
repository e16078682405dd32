"""recon solve --alarm: the verdict, its record, its map, and what is refused before anything is written."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import heaps
import numpy as np
import pytest
import torch
from critic_cases import CRITIC, write_blobs
from PIL import Image

from recon import catalogue
from recon.priors.networks import load_critic
from recon.training import Images, parse_recipe, prepare, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A critic of a few steps, for grey 8-bit images, with these."""
    root = tmp_path_factory.mktemp("critic")
    training, validation = write_blobs(root / "training", 2), write_blobs(root / "validation", 3, first=50)
    recipe = parse_recipe(CRITIC, "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=2))
    files = Images(sorted(training.iterdir()), sorted(validation.iterdir()))
    train(prepare(root / "critic", recipe, False), files, root / "critic", torch.device("cpu"))
    return root


@pytest.fixture
def critic(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder / "critic"


def test_training_says_what_was_told_apart_and_what_is_proved(run, critic) -> None:
    Path("critic.toml").write_text(CRITIC)
    options = ("--config", "critic.toml", "--data", "training", "--validation", "validation", "-o", "new")
    outcome = run("train", *options, "--steps", 1, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "streaks" in outcome.out
    assert "25 % are expected to be false alarms" in outcome.out
    assert "(proved: the product of the bounds of 2 layers" in outcome.out


def test_a_critic_learns_from_reconstructions_that_are_given(run, critic) -> None:
    Path("critic.toml").write_text(CRITIC.replace('["streaks", "rings"]', '["rings", "reconstructions"]'))
    write_blobs(Path("bad"), 2, first=70)
    write_blobs(Path("held-out"), 2, first=80)
    options = ("--config", "critic.toml", "--data", "training", "--validation", "validation", "-o", "new")
    short = ("--steps", 1, "--device", "cpu")
    given = ("--artefacts", "bad", "--validation-artefacts", "held-out")
    outcome = run("train", *options, *short, *given)
    assert outcome.code == 0, outcome.err
    assert "reconstructions" in outcome.out
    again = run("train", *options[:-1], "again", *short)
    assert (again.code, "expected all three or none" in again.err) == (2, True), again.err
    absent = run("train", *options[:-1], "again", *short, "--artefacts", "none", *given[2:])
    assert absent.code == 3, absent.err
    same = run("train", *options[:-1], "again", *short, *given[:3], "bad")
    assert (same.code, "for training and for validation" in same.err) == (2, True), same.err
    Path("critic.toml").write_text('[network]\nfamily = "DnCNN"\nnoise_range = [0.1, 0.1]\n')
    other = run("train", *options[:-1], "again", *short, *given)
    assert (other.code, "only a Critic learns from images with artefacts" in other.err) == (2, True), other.err
    assert not Path("again").exists()


SOLVE = ("solve", "training/000.png", "--operator", "identity", "--prior", "none", "--method", "forward_backward")


def threshold(critic: Path, value: float) -> None:
    card = json.loads((critic / "card.json").read_text())
    card["alarm"]["threshold"] = value
    (critic / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(("limit", "verdict"), [(-100.0, True), (100.0, False)])
def test_a_result_is_judged_and_the_record_says_how(run, critic, limit, verdict) -> None:
    threshold(critic, limit)
    outcome = run(*SOLVE, "-o", "out.npy", "--alarm", "critic", "--alarm-map", "map.npy")
    assert outcome.code == 0, outcome.err
    assert ("alarm: ALARM" if verdict else "alarm: no alarm") in outcome.out
    assert "(proved)" in outcome.out
    assert "false alarms: 25 % (assumed: " in outcome.out
    alarm = json.loads(Path("out.npy.run.json").read_text())["alarm"]
    assert alarm["alarm"] is verdict
    said = re.search(r"less than (\S+) in the Euclidean norm of all pixels: .* or of each by (\S+) ", outcome.out)
    assert said is not None
    assert float(said[2]) == pytest.approx(float(said[1]) / np.load("out.npy").size ** 0.5, rel=0.1)
    assert alarm["lipschitz"]["evidence"] == "proved"
    assert alarm["radius"] == pytest.approx(abs(alarm["score"] - limit) * 255, rel=1e-4)
    assert alarm["sha256"] == catalogue.identity_of(critic)
    seen = np.load("map.npy")
    assert seen.shape == np.load("out.npy").shape
    assert float(seen.max()) == pytest.approx(alarm["score"] - limit, abs=1e-3)
    page = run("report", "out.npy.run.json", "-o", "page.html")
    assert page.code == 0, page.err
    text = Path("page.html").read_text()
    assert "certified radius" in text
    assert ("The critic gave alarm" in text) == verdict


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--alarm", "nothing"), 2, "--alarm nothing: no such critic"),
        (("--alarm", "training/000.png"), 2, "it is a file"),
        (("--alarm", "training"), 3, "network.toml"),
        (("--alarm-map", "map.npy"), 2, "--alarm-map without --alarm"),
        (("--alarm", "critic", "--alarm-map", "map.png"), 7, "no format of a map"),
        (("--alarm", "critic", "--alarm-map", "out.npy"), 7, "the map and the result have one name"),
    ],
)
def test_what_is_no_alarm_is_refused_and_nothing_is_written(run, critic, arguments, code, message) -> None:
    outcome = run(*SOLVE, "-o", "out.npy", *arguments)
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert not list(Path().glob("out.npy*"))
    assert not list(Path().glob("map*"))


def test_images_of_another_size_or_unit_are_refused_before_the_run(run, critic, bundled_data) -> None:
    Image.fromarray(np.full((14, 60), 90, np.uint8)).save("thin.png")
    thin = run("solve", "thin.png", *SOLVE[2:], "-o", "out.npy", "--alarm", "critic")
    assert (thin.code, "14 x 60 pixels; expected at least 20" in thin.err) == (2, True), thin.err
    slice_ = run("solve", bundled_data / "ct" / "tcga_60-2715.dcm", *SOLVE[2:], "-o", "out.npy", "--alarm", "critic")
    assert (slice_.code, "1 channels in HU; expected 1 in no units" in slice_.err) == (2, True), slice_.err
    assert not list(Path().glob("out.npy*"))


def test_a_colour_photograph_is_judged_by_its_grey_version(run, critic) -> None:
    threshold(critic, -100.0)
    draw = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(draw).save("colour.png")
    outcome = run("solve", "colour.png", *SOLVE[2:], "-o", "out.png", "--alarm", "critic", "--alarm-map", "map.npy")
    assert outcome.code == 0, outcome.err
    record = json.loads(Path("out.png.run.json").read_text())["alarm"]
    assert record["alarm"] is True
    assert record["lipschitz"]["value"] == pytest.approx(0.6686, abs=1e-3)
    assert "red, green and blue" in record["lipschitz"]["how"]
    assert record["radius"] == pytest.approx((record["score"] + 100) * 255 / 0.6686, rel=1e-3)
    grey = (np.asarray(Image.open("out.png")) @ [0.299, 0.587, 0.114])[None, None] / 255
    score = load_critic(critic).frozen(torch.float64)(torch.from_numpy(grey))
    assert record["score"] == pytest.approx(float(score), abs=0.02)  # but for the rounding of the file
    assert np.load("map.npy").shape == (40, 40)


def test_each_result_of_a_folder_is_judged_and_the_table_says_so(run, critic) -> None:
    threshold(critic, -100.0)
    shutil.copytree("validation", "in")
    command = ("solve", "in", "-o", "out", *SOLVE[2:], "--alarm", "critic")
    outcome = run(*command, "--report", "page.html")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("ALARM") == 3
    assert "alarm" in outcome.out.splitlines()[0].split()
    page = Path("page.html").read_text("utf-8")
    assert "ALARM of the critic, 3 of 3 runs" in page
    records = [json.loads(path.read_text()) for path in sorted(Path("out").glob("*.run.json"))]
    assert [record["alarm"]["alarm"] for record in records] == [True] * 3
    again = run(*command)  # what was done before has its verdict too
    assert (again.code, again.out.count("ALARM"), again.out.count("done before")) == (0, 3, 3), again.err
    plain = run("solve", "in", "-o", "plain", *SOLVE[2:])
    assert "alarm" not in plain.out.lower()
    other = run("solve", "in", "-o", "plain", *SOLVE[2:], "--alarm", "critic")
    assert (other.code, "not what this run would make" in other.err) == (7, True)


def test_the_critic_of_each_input_is_looked_up_once(run, critic, monkeypatch: pytest.MonkeyPatch) -> None:
    from recon.reconstruction import run as one_run  # noqa: PLC0415  brings torch

    asked: list[str] = []
    find = one_run.find_alarm
    monkeypatch.setattr(one_run, "find_alarm", lambda *about: (asked.append(about[0]), find(*about))[1])
    outcome = run("solve", "validation", "-o", "out", *SOLVE[2:], "--alarm", "critic")
    assert (outcome.code, asked) == (0, ["critic"] * 3), outcome.err


@pytest.mark.usefixtures("critic")
def test_a_plan_of_a_volume_refuses_the_critic_that_its_run_refuses(run) -> None:
    heaps.save(heaps.slices(heaps.ct(), [0, 5, 10]), Path("in"))
    command = ("solve", "in", "-o", "out", "--operator", "identity", "--prior", "tv", "--volume", "--alarm", "critic")
    for more in (("--dry-run",), ()):
        outcome = run(*command, *more)
        assert "1 channels in HU; expected 1 in no units" in outcome.out + outcome.err
        assert outcome.code == (2 if more else 8)
        assert not list(Path().glob("out/**/*.dcm"))


@pytest.mark.usefixtures("folder")
def test_slices_of_a_series_are_counted(run, bundled_data) -> None:
    Path("in").mkdir()
    for name in ("tcga_60-2695.dcm", "tcga_60-2715.dcm"):
        shutil.copy(bundled_data / "ct" / name, "in")
    outcome = run("solve", "in", "-o", "out", "--operator", "identity", "--prior", "tikhonov:weight=1e-3", "--alarm")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert "alarm" in rows[0]
    assert all("of 1" in " ".join(row) for row in rows[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--alarm", "critic-xt"), "no such critic"), (("--alarm", "critic", "--alarm-map", "map.npy"), "of one result")],
)
def test_what_cannot_judge_a_folder_is_refused_before_the_first_run(run, critic, options, message) -> None:
    outcome = run("solve", "validation", "-o", "out", *SOLVE[2:], *options)
    assert (outcome.code, message in outcome.err, Path("out").exists()) == (2, True, False), outcome.err
