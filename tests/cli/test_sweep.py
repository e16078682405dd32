"""A sweep over the size of a network: its table and figure, that it goes on, and what is refused."""

import csv
import json
from pathlib import Path

import pytest
from training_cases import FREE, RIDGE, TOML, recipe, write_scenes

from recon.errors import UsageError
from recon.priors.networks import CriticConfig, load
from recon.training import parse_sweep


@pytest.fixture
def inputs(folder: Path) -> list[str]:
    (folder / "recipe.toml").write_text(TOML)
    write_scenes(folder / "training", 2)
    write_scenes(folder / "validation", 1, first=50)
    return ["train", "--config", "recipe.toml", "--data", "training", "--validation", "validation", "--device", "cpu"]


def test_a_list_is_swept_by_its_last_number() -> None:
    sweep = parse_sweep("widths=4, 16", recipe(RIDGE))
    assert [sweep.recipe(recipe(RIDGE), value).network.widths for value in sweep.values] == [(2, 4), (8, 16)]
    assert parse_sweep("slope=0.1,0.2", recipe(FREE)).recipe(recipe(FREE), "0.2").network.slope == 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widths", "expected two different values or more"),
        ("widths=4", "expected two different values or more, each once"),
        ("widths=4,4.0", "expected two different values"),
        ("widths=4,8,4", "each once"),
        ("widths=4,many", "'many' is no number"),
        ("widths=4,nan", "'nan' is no number"),
        ("width=4,8", "'width' is no number of a ConvexRidge network; did you mean 'widths'"),
        ("noise_range=0.1,0.2", "'noise_range' is no number"),
        ("channels=1,3", "'channels' is no number"),
        ("padding=1,2", "'padding' is no number"),
        ("one_shot=0,1", "'one_shot' is no number"),
        ("widths=4,8.5", "--sweep widths=8.5: expected a whole number"),
        ("widths=4,-8", "--sweep widths=-8: "),
        ("widths=0,8", "--sweep widths=0: "),
        ("", "'' is no number"),
    ],
)
def test_no_sweep_is_one_sentence(text, message) -> None:
    with pytest.raises(UsageError, match=message):
        parse_sweep(text, recipe(RIDGE))


def test_a_table_a_figure_and_a_run_for_each_value(run, inputs) -> None:
    outcome = run(*inputs, "-o", "sweep", "--sweep", "features=2,6", "--steps", 4)
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader(Path("sweep/sweep.csv").read_text().splitlines()))
    assert [row["features"] for row in rows] == ["2", "6"]
    for row in rows:
        network = load(Path("sweep") / f"features={row['features']}")
        assert network.config.features == int(row["features"])
        assert int(row["parameters"]) == sum(each.numel() for each in network.parameters())
        card = json.loads((Path("sweep") / f"features={row['features']}" / "card.json").read_text())
        assert float(row["psnr"]) == pytest.approx(card["figures"][0]["psnr"], rel=1e-4)
        assert float(row["test_error"]) == pytest.approx(10 ** (-float(row["psnr"]) / 10), rel=1e-3)
        assert row["psnr"][:4] in outcome.out
    assert Path("sweep/sweep.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was(run, inputs) -> None:
    assert run(*inputs, "-o", "sweep", "--sweep", "features=2,4", "--steps", 3).code == 0
    before = Path("sweep/features=2/state-00000003.safetensors").stat().st_mtime_ns
    assert run(*inputs, "-o", "sweep", "--sweep", "features=2,4", "--steps", 3).code == 7
    outcome = run(*inputs, "-o", "sweep", "--sweep", "features=2,4,3", "--steps", 3, "--resume", "--json")
    assert outcome.code == 0, outcome.err
    assert [each["value"] for each in json.loads(outcome.out)] == [2, 4, 3]
    assert Path("sweep/features=2/state-00000003.safetensors").stat().st_mtime_ns == before
    assert run(*inputs, "-o", "sweep", "--sweep", "features=2,4", "--steps", 4, "--resume").code == 0
    assert json.loads(Path("sweep/features=2/card.json").read_text())["training"]["step"] == 4


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "x", "--sweep", "features=2,4", "--search"], 2, "--search with --sweep"),
        (["-o", "training", "--sweep", "features=2,4"], 7, "it is not empty"),
        (["-o", "x", "--sweep", "features"], 2, "expected two different values"),
        (["-o", "recipe.toml/x", "--sweep", "features=2,4"], 7, "cannot be made"),
    ],
)
def test_bad_sweeps_leave_nothing_behind(run, inputs, options, code, message) -> None:
    outcome = run(*inputs, *options)
    assert (outcome.code, outcome.err.count("\n")) == (code, 1), outcome.err
    assert message in outcome.err
    assert not Path("x").exists()


def test_a_critic_has_no_error_to_sweep() -> None:

    given = recipe(FREE)
    critic = CriticConfig()
    key = next(name for name in ("features", "depth", "widths") if hasattr(critic, name))
    object.__setattr__(given, "network", critic)
    with pytest.raises(UsageError, match="with a Critic"):
        parse_sweep(f"{key}=4,8", given)
