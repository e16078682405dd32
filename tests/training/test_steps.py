"""Learned step sizes: that they help, go on to the bit after a kill, and are refused where nothing is known of them."""

import json
import shutil
import signal
import time
from pathlib import Path

import forks
import numpy as np
import pytest
import torch
from training_cases import write_scenes

from recon.errors import InputError, UsageError
from recon.io import ValueRange, from_array
from recon.reconstruction.run import solve_image
from recon.specs.grammar import parse_spec
from recon.specs.learned_steps import read_steps
from recon.specs.solve_config import Noise, SolveConfig, config_from, to_json
from recon.training import steps as learning
from recon.training.run import Images
from recon.training.steps import is_run_of_steps, prepare_steps, train_steps
from recon.training.steps_recipe import parse_steps_recipe, steps_to_toml

TOML = """
[steps]
operator = "blur:gaussian=0.7"
prior = "wavelet:levels=2,wavelet=haar"
weights = [0.02, 0.1]
count = 4
[data]
patch = 16
[training]
mode = "steps"
noise = 0.02
batch = 4
pool = 8
steps = 30
learning_rate = 0.1
"""
CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "docs" / "recipes" / "steps"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LONG_RUN", 200)
    monkeypatch.setattr(learning, "SOLVED", 100)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    write_scenes(tmp_path / "training", 3)
    write_scenes(tmp_path / "validation", 2, first=50)
    return Images(*(sorted((tmp_path / name).iterdir()) for name in ("training", "validation")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of steps that were learned."""
    place = tmp_path_factory.mktemp("steps")
    write_scenes(place / "training", 3)
    write_scenes(place / "validation", 2, first=50)
    files = Images(*(sorted((place / name).iterdir()) for name in ("training", "validation")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "LONG_RUN", 200)
        patch.setattr(learning, "SOLVED", 100)
        train_steps(prepare_steps(place / "run", parse_steps_recipe(TOML, "text"), False), files, place / "run", CPU)
    return place / "run"


def test_learned_steps_leave_less_than_ista(folder: Path) -> None:
    card = json.loads((folder / "steps.json").read_text())
    assert [figure["ratio"] < 0.6 for figure in card["figures"]] == [True] * 3
    assert all(figure["learned"] <= figure["duality_gap"] for figure in card["figures"])
    assert card["trained_steps"] == 30


def stopping_after(count: int):
    seen = []

    def stopping() -> bool:
        seen.append(None)
        return len(seen) > count

    return stopping


def test_a_run_that_was_stopped_goes_on_to_the_bit(folder: Path, images: Images, tmp_path: Path) -> None:
    recipe = parse_steps_recipe(TOML, "text")
    place = tmp_path / "run"
    outcome = train_steps(prepare_steps(place, recipe, False), images, place, CPU, stopping=stopping_after(12))
    assert 0 < outcome.step < 30
    assert not (place / "steps.json").exists()
    assert is_run_of_steps(place)
    rest = train_steps(prepare_steps(place, None, True), images, place, CPU)
    assert rest.step == 30
    assert rest.factors == read_steps(folder).factors
    assert (place / "log.csv").read_text() == (folder / "log.csv").read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_bit(folder: Path, images: Images, tmp_path: Path) -> None:
    code = (
        "import torch\nfrom pathlib import Path\nfrom recon.training import steps\n"
        "from recon.training.run import Images\nfrom recon.training.steps_recipe import parse_steps_recipe\n"
        "steps.LONG_RUN, steps.SOLVED, steps.SAVE_SECONDS = 200, 100, 0.0\n"
        f"recipe = parse_steps_recipe({TOML!r}, 'text')\nplace = Path({str(tmp_path / 'run')!r})\n"
        "files = [sorted((place.parent / name).iterdir()) for name in ('training', 'validation')]\n"
        "steps.train_steps(steps.prepare_steps(place, recipe, False), Images(*files), place, torch.device('cpu'))\n"
    )
    place = tmp_path / "run"
    process = forks.Fork(forks.text, code)
    while not list(place.glob("state-0000000[3-9].safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    rest = train_steps(prepare_steps(place, None, True), images, place, CPU)
    assert rest.factors == read_steps(folder).factors


def measured() -> np.ndarray:
    rows, columns = np.mgrid[:24, :20]
    pixels = 0.2 + 0.6 * ((rows > 6) & (rows < 17) & (columns > 9)).astype(float)
    return pixels + 0.02 * np.random.default_rng(0).standard_normal(pixels.shape)


def solved(folder: Path, said: list[str] | None = None, **options: object):
    stated = {
        "operator": parse_spec("blur:gaussian=0.7"),
        "prior": parse_spec("wavelet:levels=2,wavelet=haar,weight=0.05"),
        "method": f"slista:folder={folder}",
        "noise": Noise(0.02),
        "device": "cpu",
    }
    image = from_array(measured(), value_range=ValueRange(0, 1))
    return solve_image(SolveConfig(**{**stated, **options}), image, (said if said is not None else []).append)  # type: ignore[arg-type]


def test_a_solve_takes_the_learned_steps_and_ends_with_a_gap(folder: Path) -> None:
    said: list[str] = []
    result = solved(folder, said)
    assert (result.steps, result.status.value, result.refused_steps) == (4, "completed", 0)
    plain = solved(folder, method="ista", iterations=4, tolerance=0.0)
    assert result.gap is not None
    assert plain.gap is not None
    assert result.gap.objective < plain.gap.objective
    assert result.plan.method.certificate.holds
    assert not any(str(folder) in line for line in said)


def test_the_configuration_comes_back_from_a_record(folder: Path) -> None:
    config = SolveConfig(parse_spec("identity"), method=f"slista:folder={folder}")
    assert (config.method, config.method_folder) == ("slista", str(folder))
    assert config_from(to_json(config)) == config


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"operator": parse_spec("blur:gaussian=1.5")}, "may be worse than ISTA's"),
        ({"prior": parse_spec("wavelet:levels=3,wavelet=haar,weight=0.05")}, "may be worse"),
        ({"prior": parse_spec("wavelet:levels=2,wavelet=haar,weight=0.5")}, "outside of the range"),
        ({"iterations": 2}, "the first 2 of 4"),
    ],
)
def test_what_is_not_quite_what_was_learned_is_said_and_lowers_the_energy_all_the_same(folder, options, words) -> None:
    said: list[str] = []
    result = solved(folder, said, **options)
    assert any(words in line for line in said)
    least = solved(folder, method="ista", iterations=1, **{key: options[key] for key in options if key != "iterations"})
    assert result.gap is not None
    assert least.gap is not None
    assert result.gap.objective <= least.gap.objective
    if "outside" in words:
        assert result.plan.method.certificate.remarks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"operator": parse_spec("identity")}, "nothing is known of them for another kind"),
        ({"prior": parse_spec("l1:weight=0.1")}, "nothing is known of them for another kind"),
        ({"iterations": 5}, "has 4 learned steps; expected at most as many"),
        ({"method": "slista"}, "without learned steps"),
        ({"tolerance": 1e-3}, "expected none, as it takes the steps that were learned"),
        ({"prior": parse_spec("wavelet:levels=2,wavelet=haar,shifts=4,weight=0.05")}, "has no value"),
        ({"prior": parse_spec("tv:weight=0.05")}, "nothing is known of them for another kind"),
        ({"surrogate": parse_spec("blur:gaussian=0.8")}, "the others need the exact adjoint"),
        ({"method": "slista:steps=3"}, "expected NAME, or NAME:folder=DIR"),
        ({"method": "ista:folder=x"}, "no other method has a network"),
        ({"method": "fista", "method_folder": "x"}, "expected slista or unrolled"),
        ({"method": "slistaa:folder=x"}, "slista"),
    ],
)
def test_what_nothing_is_known_of_is_refused(folder: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        solved(folder, **options)


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no learned steps can be read"):
        solved(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    numbers = copy / "steps.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:-2] + b"\x01\x3f")
    with pytest.raises(InputError, match="was changed"):
        solved(copy)
    for text in ("[]", "{}", '{"kind": "steps"}', "\xff", '{"kind": "steps", "weights": [1, 0]}'):
        (copy / "steps.json").write_text(text)
        with pytest.raises(InputError, match="no learned steps can be read"):
            solved(copy)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("weights = [0.02, 0.1]", "weights = [0.1, 0.02]", "the lower one first"),
        ("count = 4", "count = 0", "expected 1 to 1000"),
        ("wavelet:levels=2,wavelet=haar", "tv", "expected wavelet or l1"),
        ("wavelet:levels=2,wavelet=haar", "wavelet:weight=0.1", "without a weight"),
        ("noise = 0.02", "noise = -1", "expected standard deviations"),
        ("batch = 4", "batch = 3", "expected a multiple"),
        ("steps = 30", "steps = 0", "at least 1"),
        ("learning_rate = 0.1", "learning_rate = 0", "at most 1"),
        ("[data]", "[network]", "no network is trained"),
        ("count = 4", "counts = 4", "counts"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(before: str, after: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_steps_recipe(TOML.replace(before, after), "recipe.toml")
    assert str(caught.value).startswith("recipe.toml: ")


def test_a_recipe_comes_back_from_its_text() -> None:
    recipe = parse_steps_recipe(TOML, "text")
    assert parse_steps_recipe(steps_to_toml(recipe), "text") == recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_committed_recipes_are_recipes_and_run(path: Path, images: Images, tmp_path: Path) -> None:
    text = path.read_text()
    recipe = parse_steps_recipe(text, str(path))
    assert all((recipe.about.title, recipe.about.data, recipe.about.licence, recipe.about.limits))
    short = {"patch = 64": "patch = 16", "steps = 400": "steps = 2", "batch = 8": "batch = 2\npool = 2"}
    for before, after in short.items():
        assert before in text
        text = text.replace(before, after)
    toy = parse_steps_recipe(text, str(path))
    outcome = train_steps(prepare_steps(tmp_path / "run", toy, False), images, tmp_path / "run", CPU)
    assert len(outcome.factors) == recipe.steps.count


def test_a_run_that_goes_on_has_the_same_recipe_and_images(folder: Path, images: Images) -> None:
    other = parse_steps_recipe(TOML.replace("count = 4", "count = 5"), "text")
    with pytest.raises(UsageError, match=r"another steps\.count"):
        prepare_steps(folder, other, True)
    with pytest.raises(InputError, match="other images"):
        train_steps(
            prepare_steps(folder, None, True, steps=31), Images(images.validation, images.training), folder, CPU
        )
    with pytest.raises(InputError, match="no run to go on with"):
        prepare_steps(folder.parent, None, True)


def test_images_too_small_are_named(images: Images, tmp_path: Path) -> None:
    recipe = parse_steps_recipe(TOML.replace("patch = 16", "patch = 64"), "text")
    with pytest.raises(InputError, match="64"):
        train_steps(prepare_steps(tmp_path / "run", recipe, False), images, tmp_path / "run", CPU)


def test_measurements_are_learned_on_as_they_are(images: Images, tmp_path: Path) -> None:
    recipe = parse_steps_recipe(TOML.replace("count = 4", "count = 4\nmeasured = true").replace("30", "2"), "text")
    assert train_steps(prepare_steps(tmp_path / "run", recipe, False), images, tmp_path / "run", CPU).step == 2
    half = TOML.replace("count = 4", "count = 4\nmeasured = true").replace("blur:gaussian=0.7", "downsample:factor=2")
    with pytest.raises(UsageError, match="measurements have the size of the images"):
        place = tmp_path / "other"
        train_steps(prepare_steps(place, parse_steps_recipe(half, "text"), False), images, place, CPU)
