"""Training from Python: a dataset, a loss, a metric and an operator of one's own; an early end."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from recon.errors import GuaranteeError, InputError, UsageError
from recon.operators import Downsampling, Inpainting
from recon.priors.networks import LipschitzConfig, load
from recon.training import (
    DataConfig,
    EquilibriumConfig,
    Listeners,
    Own,
    Recipe,
    TrainingConfig,
    ValidationConfig,
    tensorboard,
    train_on,
)


class Scenes(Dataset):
    """Images with edges, each with a label, as datasets have it."""

    def __init__(self, count: int = 6, seed: int = 0) -> None:
        self.count, self.seed, self.asked = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.asked += 1
        generator = torch.Generator().manual_seed(self.seed + index)
        image = torch.full((1, 24, 28), 0.2)
        top, left = torch.randint(4, 14, (2,), generator=generator).tolist()
        image[:, top : top + 8, left : left + 9] = 0.8
        return image, index


RECIPE = Recipe(
    network=LipschitzConfig(1, features=4, depth=2),
    data=DataConfig(patch=16),
    training=TrainingConfig(noise=(0.1, 0.1), steps=8, batch=4, learning_rate=3e-3),
    validation=ValidationConfig(every=2, images=2, crop=16),
)
SOLVED = replace(
    RECIPE,
    training=replace(RECIPE.training, mode="equilibrium", steps=2),
    equilibrium=EquilibriumConfig(stepsize=1.0, accuracy=1e-3, max_steps=300),
)


def trained(folder: Path, recipe: Recipe = RECIPE, **options):
    return train_on(recipe, Scenes(), Scenes(2, seed=100), folder, **options)


def test_a_dataset_is_trained_on_as_files_are(tmp_path):
    scenes = Scenes()
    outcome = train_on(RECIPE, scenes, Scenes(2, seed=100), tmp_path / "run")
    assert outcome.step == 8
    assert not outcome.stopped_early
    assert scenes.asked > 8 * 4
    network = load(tmp_path / "run")
    x = torch.rand(1, 1, 20, 20)
    assert network(x).shape == x.shape
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"card.json", "log.csv", "checkpoint.json"}


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    trained(tmp_path / "whole")
    seen = []

    def stopping() -> bool:
        seen.append(1)
        return len(seen) == 3

    first = trained(tmp_path / "parts", listeners=Listeners(stopping=stopping))
    assert first.step == 3
    trained(tmp_path / "parts", resume=True)
    whole, parts = (load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_loss_of_ones_own_decides_what_is_learned(tmp_path):
    """That of the recipe, written by hand, gives its bits; another gives others."""
    trained(tmp_path / "mse")
    trained(tmp_path / "same", own=Own(loss=lambda found, clean: (found - clean).square().mean((1, 2, 3))))
    trained(tmp_path / "other", own=Own(loss=lambda found, clean: (found - clean).abs().mean((1, 2, 3))))
    mse, same, other = (load(tmp_path / name).state_dict() for name in ("mse", "same", "other"))
    assert all(torch.equal(mse[key], same[key]) for key in mse)
    assert any(not torch.equal(mse[key], other[key]) for key in mse)


def test_a_loss_of_another_shape_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"the loss gives \(\); expected a tensor of shape \(4,\)"):
        trained(tmp_path / "run", own=Own(loss=lambda found, clean: (found - clean).square().mean()))


def test_a_metric_of_ones_own_is_seen_and_logged(tmp_path):
    heard = []
    own = Own(metric=lambda found, clean: -float((found - clean).abs().max()))
    outcome = trained(tmp_path / "run", own=own, listeners=Listeners(watch=heard.append))
    assert outcome.look.metric < 0
    assert heard[-1].metric == outcome.look.metric
    with (tmp_path / "run/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["metric"]) == pytest.approx(outcome.look.metric, rel=1e-6)


def patient(patience: int) -> Recipe:
    return replace(
        RECIPE,
        training=replace(RECIPE.training, steps=40),
        validation=replace(RECIPE.validation, patience=patience),
    )


def test_the_training_ends_early_and_keeps_the_best(tmp_path):
    """The metric rises three times and then falls: two looks after the third it ends."""
    values = iter([1, 1, 2, 2, 3, 3, *range(2, -60, -1)])
    outcome = trained(tmp_path / "early", patient(2), own=Own(metric=lambda found, clean: float(next(values))))
    assert outcome.stopped_early
    assert outcome.step == 2 * 5
    assert outcome.look.metric == 3
    best = replace(patient(0), training=replace(patient(0).training, steps=40))
    stop = iter([False] * 5 + [True] * 9)
    trained(tmp_path / "best", best, listeners=Listeners(stopping=lambda: next(stop)))
    kept, wanted = (load(tmp_path / name).state_dict() for name in ("early", "best"))
    assert all(torch.equal(kept[key], wanted[key]) for key in kept)


def test_an_early_end_is_the_same_after_an_interruption(tmp_path):
    looks = []

    def metric(found: torch.Tensor, clean: torch.Tensor) -> float:
        looks.append(1)
        return -abs((len(looks) - 1) // 2 - 2)

    stop = iter([False] * 6 + [True])
    first = trained(
        tmp_path / "run", patient(2), own=Own(metric=metric), listeners=Listeners(stopping=lambda: next(stop))
    )
    assert not first.stopped_early
    assert first.step == 7
    last = trained(tmp_path / "run", patient(2), own=Own(metric=metric), resume=True)
    assert last.stopped_early
    assert last.step == 2 * 5


@pytest.mark.parametrize(
    "operator",
    [
        lambda size: Inpainting(torch.rand(size, generator=torch.Generator().manual_seed(0)) > 0.3),
        lambda size: Downsampling(size, 2),
    ],
    ids=["inpainting", "downsampling"],
)
def test_an_operator_of_ones_own_is_trained_through(tmp_path, operator):
    recipe = replace(SOLVED, network=LipschitzConfig(1, features=4, depth=2, contraction=0.9))
    outcome = trained(tmp_path / "run", recipe, own=Own(operator=operator))
    assert outcome.look.restored > 5
    with pytest.raises(InputError, match="another operator"):
        trained(tmp_path / "run", replace(recipe, training=replace(recipe.training, steps=4)), resume=True)


def test_a_recipe_names_an_operator(tmp_path):
    recipe = replace(
        SOLVED,
        network=LipschitzConfig(1, features=4, depth=2, contraction=0.9),
        equilibrium=replace(SOLVED.equilibrium, operator="blur:box=3,boundary=valid"),
    )
    assert trained(tmp_path / "run", recipe).look.restored > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": replace(RECIPE, training=replace(RECIPE.training, loss="r2r")), "own": Own(loss=min)}, "r2r"),
        ({"own": Own(operator=lambda size: None)}, "training.mode = 'denoise'"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        trained(tmp_path / "run", options.pop("recipe", RECIPE), **options)
    assert not (tmp_path / "run").exists()


class Odd(Scenes):
    def __init__(self, item) -> None:
        super().__init__()
        self.item = item

    def __getitem__(self, index):
        return self.item


@pytest.mark.parametrize(
    "item",
    [torch.zeros(24, 24), torch.zeros(3, 24, 24), torch.zeros(1, 24, 24, dtype=torch.uint8), torch.zeros(1, 9, 9)],
)
def test_an_item_that_is_no_image_is_refused(tmp_path, item):
    with pytest.raises(InputError, match="an item of the dataset is"):
        train_on(RECIPE, Odd(item), Scenes(2, seed=100), tmp_path / "run")


def test_an_empty_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        train_on(RECIPE, Scenes(0), Scenes(2), tmp_path / "run")
    with pytest.raises(UsageError, match="no images for validation"):
        train_on(RECIPE, Scenes(), Scenes(0), tmp_path / "other")


def test_without_tensorboard_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        tensorboard(tmp_path)


def test_curves_go_to_tensorboard(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "board")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, step))

        def flush(self) -> None:
            written.append(("flush", 0))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", type(sys)("tensorboard"))
    sys.modules["torch.utils.tensorboard"].SummaryWriter = Writer
    trained(tmp_path / "run", listeners=Listeners(watch=tensorboard(tmp_path / "board")))
    assert ("loss", 8) in written
    assert ("validation/psnr", 8) in written
    assert written[-1] == ("flush", 0)


def test_a_diverging_training_says_so(tmp_path):
    with pytest.raises(GuaranteeError, match="the training stopped"):
        trained(tmp_path / "run", own=Own(loss=lambda found, clean: found.mean((1, 2, 3)) * float("nan")))
