"""Training of unrolled reconstructions, from images and from volumes, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import FREE, recipe, same, write_scenes

from recon.errors import InputError, UsageError
from recon.operators import Identity
from recon.priors.networks import UnrolledConfig, load_unrolled, make_unrolled
from recon.specs.grammar import parse_spec
from recon.specs.operators import read_operator
from recon.training import Images, Listeners, Recipe, parse_recipe, prepare, read_recipe, to_toml, train, train_on
from recon.training.data import read_patches
from recon.training.unrolled import UnrolledResult, UnrolledTrainer, units_of
from recon.training.unrolled_config import UnrolledTrainingConfig
from recon.training.unrolled_memory import backward_bytes

SMALL = UnrolledConfig(features=4, depth=2)
SILENT = Listeners()
ROOT = Path(__file__).resolve().parents[2]
CONE = """
kind = "cone"
angles = { start = 0, stop = 360, count = 6, endpoint = false }
source_to_axis = 40.0
source_to_detector = 60.0
[detector]
pixels = [10, 12]
pitch = 2.0
[volume]
pixels = [6, 8, 8]
pitch = 1.0
"""


FAN = """
kind = "fan"
angles = { start = 0, stop = 360, count = 16, endpoint = false }
source_to_axis = 100.0
source_to_detector = 150.0
[detector]
pixels = 40
pitch = 1.5
[volume]
pixels = [24, 24]
pitch = 1.0
"""


def unrolled(
    operator: str = "blur:gaussian=1", memory: str = "checkpoint", steps: int = 12, unit: float = 0.0, **training
) -> Recipe:
    given = recipe(FREE, steps=steps, **training)
    table = UnrolledTrainingConfig(operator, 3, memory=memory, unit=unit)
    return replace(given, network=SMALL, training=replace(given.training, mode="unrolled"), unrolled=table)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    folders = [write_scenes(tmp_path / name, 3, first) for name, first in (("training", 0), ("validation", 9))]
    return Images(*(sorted(folder.iterdir()) for folder in folders))


def go(given: Recipe, images: Images, folder: Path, resume: bool = False, listeners: Listeners = SILENT):
    return train(prepare(folder, given, resume), images, folder, torch.device("cpu"), listeners)


@pytest.mark.parametrize("memory", ["checkpoint", "momentum"])
def test_a_run_leaves_a_network_that_knows_its_operator(images: Images, tmp_path: Path, memory: str) -> None:
    outcome = go(unrolled(memory=memory), images, tmp_path / "run")
    assert isinstance(outcome.look, UnrolledResult)
    network, card = load_unrolled(tmp_path / "run"), json.loads((tmp_path / "run" / "card.json").read_text())
    known = {"operator": "blur:gaussian=1", "shape": (12, 12), "noise_range": (0.1, 0.1), "unit": network.config.unit}
    assert network.config == replace(SMALL, steps=3, **known)
    assert card["operator"] == {"spec": "blur:gaussian=1", "shape": [12, 12], "geometry_sha256": None,
                                "norm": pytest.approx(1, abs=1e-6)}  # fmt: skip
    assert card["guarantee"] is None
    (figure,) = card["figures"]
    assert figure.keys() == {"noise", "psnr", "psnr_start", "residual_over_noise"}
    assert {"curve.png", "validation.png", "log.csv"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_it_learns(images: Images, tmp_path: Path) -> None:
    before = go(unrolled(steps=1), images, tmp_path / "before").look
    after = go(unrolled(steps=50, learning_rate=0.01), images, tmp_path / "after").look
    assert after.psnr > before.psnr + 1


def coded(steps: int, **training) -> Recipe:
    given = unrolled(steps=steps, **training)
    network = UnrolledConfig(features=9, size=3, stride=3, shifts=3, shared=True)
    return replace(given, network=network, unrolled=replace(given.unrolled, method="sparse-coding", steps=4))


def test_sparse_codes_learn_and_know_their_lattices(images: Images, tmp_path: Path) -> None:
    before = go(coded(1), images, tmp_path / "before").look
    after = go(coded(40, learning_rate=0.02), images, tmp_path / "after").look
    assert after.psnr > before.psnr + 0.5
    known = load_unrolled(tmp_path / "after").config
    assert (known.method, known.stride, known.shifts, known.steps) == ("sparse-coding", 3, 3, 4)
    longer = coded(1, start=str(tmp_path / "after"))
    with pytest.raises(UsageError, match="is of another architecture"):
        go(replace(longer, network=replace(longer.network, shifts=1)), images, tmp_path / "other")


def test_a_denoiser_is_not_unrolled_and_the_sentence_says_what_is() -> None:
    text = """
    network = { family = "ConvolutionalSparseCoding", noise_range = [0.1, 0.1] }
    training = { mode = "unrolled" }
    unrolled = { operator = "identity" }
    """
    with pytest.raises(UsageError, match="expected network") as refused:
        parse_recipe(text, "recipe")
    assert 'network.family = "Unrolled" with unrolled.method = "sparse-coding"' in str(refused.value)


def test_an_interrupted_run_goes_on_to_the_bit(images: Images, tmp_path: Path) -> None:
    """The weights that are kept are the running average, and patches are rotated and scaled."""
    given = unrolled(ema=0.9)
    given = replace(given, data=replace(given.data, rotation=20.0, zoom=1.2))
    go(given, images, tmp_path / "whole")
    left = iter([False] * 4 + [True])
    go(given, images, tmp_path / "parts", listeners=Listeners(stopping=lambda: next(left)))
    go(given, images, tmp_path / "parts", resume=True)
    whole, parts = (load_unrolled(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert same(whole, parts)


def test_another_network_lends_its_weights_to_another_operator(images: Images, tmp_path: Path) -> None:
    go(unrolled(), images, tmp_path / "first")
    other = unrolled("blur:gaussian=0.7", start=str(tmp_path / "first"), steps=1, learning_rate=1e-12)
    go(other, images, tmp_path / "second")
    first, second = (load_unrolled(tmp_path / name) for name in ("first", "second"))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.probe, second.probe)
    with pytest.raises(UsageError, match=r"is of another architecture.*or one of fewer"):
        wider = replace(other, network=replace(SMALL, features=5))
        go(wider, images, tmp_path / "third")


def test_steps_are_added_to_a_network_of_fewer(images: Images, tmp_path: Path) -> None:
    """With learned steps that do nothing at first, so that the longer one begins where the shorter one ended."""
    first = unrolled(unit=0.3)
    go(first, images, tmp_path / "first")
    more = unrolled(start=str(tmp_path / "first"), steps=1, learning_rate=1e-12)
    more = replace(more, unrolled=replace(more.unrolled, steps=5))
    go(more, images, tmp_path / "second")
    short, long = (load_unrolled(tmp_path / name) for name in ("first", "second"))
    assert (short.config.steps, long.config.steps, short.config.unit, long.config.unit) == (3, 5, 0.3, 0.3)
    given = dict(short.named_parameters())
    assert all(
        torch.allclose(weight, given[name], atol=1e-6) for name, weight in long.named_parameters() if name in given
    )
    back = unrolled(start=str(tmp_path / "second"), steps=1)
    with pytest.raises(UsageError, match="expected an unrolled network as the recipe has it, or one of fewer steps"):
        go(back, images, tmp_path / "third")


def test_the_unit_is_the_error_of_the_start_and_belongs_to_the_weights(images: Images, tmp_path: Path) -> None:
    look = go(unrolled(steps=1), images, tmp_path / "run").look
    unit = load_unrolled(tmp_path / "run").config.unit
    assert unit == pytest.approx(10 ** (-look.figures[0].start / 20), rel=0.3)  # of other images
    go(unrolled(steps=2), images, tmp_path / "run", resume=True)
    assert load_unrolled(tmp_path / "run").config.unit == unit


def test_a_checkpoint_of_version_0_7_goes_on_with_its_unit(images: Images) -> None:
    trainer = UnrolledTrainer(unrolled(), read_patches(images.training, unrolled().data, 1, 0, lambda line: None))
    assert trainer.network.config.unit != 1
    trainer.restore({name: value for name, value in trainer.state().items() if name != "unit"})
    assert (trainer.network.config.unit, trainer.average.config.unit) == (1, 1)


def test_filtered_steps_of_a_scan_learn(tmp_path: Path) -> None:
    (tmp_path / "fan.toml").write_text(FAN)
    generator, files = np.random.default_rng(0), []
    for name in ("a", "b"):
        image = np.zeros((24, 24), np.float32)
        for _ in range(5):
            row, column = generator.integers(4, 16, 2)
            image[row : row + 4, column : column + 4] += 0.2
        np.save(tmp_path / f"{name}.npy", image)
        files.append(tmp_path / f"{name}.npy")
    given = unrolled(f"ct:{tmp_path / 'fan.toml'}", steps=20, batch=1, learning_rate=0.02)
    given = replace(
        given,
        network=replace(SMALL, hidden=2, scales=2),
        data=replace(given.data, patch=24, range=(0.0, 1.0)),
        unrolled=replace(given.unrolled, steps=2, gradient="filtered", momentum=0.0),
    )
    (figure,) = go(given, Images(files[:1], files[1:]), tmp_path / "run").look.figures
    assert figure.psnr > figure.start + 1
    network = load_unrolled(tmp_path / "run")
    assert (network.config.gradient, network.config.hidden) == ("filtered", 2)


@pytest.mark.slow
def test_volumes_of_a_cone(tmp_path: Path) -> None:
    """At toy size: 6 x 8 x 8 voxels. The same with 64 x 64 x 64 is in the guide."""
    (tmp_path / "cone.toml").write_text(CONE)
    generator, files = np.random.default_rng(0), []
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", generator.random((9, 10, 11), dtype=np.float32))
        files.append(tmp_path / f"{name}.npy")
    given = unrolled(f"ct:{tmp_path / 'cone.toml'}", "momentum", steps=3, batch=2)
    given = replace(given, data=replace(given.data, patch=8, range=(0.0, 1.0)))
    outcome = go(given, Images(files[:1], files[1:]), tmp_path / "run")
    assert outcome.look.psnr > 0
    config = load_unrolled(tmp_path / "run").config
    assert (config.dimensions, config.shape) == (3, (6, 8, 8))
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert len(card["operator"]["geometry_sha256"]) == 64


def test_a_volume_that_is_too_small(tmp_path: Path) -> None:
    (tmp_path / "cone.toml").write_text(CONE)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.zeros((9, 6, 11), np.float32))
    given = unrolled(f"ct:{tmp_path / 'cone.toml'}")
    given = replace(given, data=replace(given.data, patch=8, range=(0.0, 1.0)))
    with pytest.raises(InputError, match="expected at least one of 6 x 8 x 8 voxels"):
        go(given, Images([tmp_path / "a.npy"], [tmp_path / "b.npy"]), tmp_path / "run")
    rotated = replace(given, data=replace(given.data, rotation=5.0))
    with pytest.raises(UsageError, match=r"data\.rotation = 5 and zoom = 1 with volumes; expected 0 and 1"):
        go(rotated, Images([tmp_path / "a.npy"], [tmp_path / "b.npy"]), tmp_path / "rotated")


def test_a_recipe_goes_through_toml() -> None:
    given = unrolled(memory="momentum")
    assert parse_recipe(to_toml(given), "text") == given


@pytest.mark.parametrize("name", ["first", "second", "third", "fourth", "fifth", "sixth"])
def test_the_recipes_of_the_documentation(name: str) -> None:
    given = read_recipe(ROOT / "docs" / "recipes" / "unrolled-ct" / f"{name}.toml")
    assert (given.unrolled.gradient, given.network.gradient) == ("filtered", "filtered")


TEXT = """
[network]
family = "{family}"
{network}
noise_range = [0.1, 0.1]
[training]
mode = "{mode}"
{training}
[unrolled]
{unrolled}
"""
BLUR = 'operator = "blur:gaussian=1"'


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mode": "denoise"}, "mode = 'denoise' and network.family = 'Unrolled'; expected mode = 'unrolled'"),
        ({"family": "ConvexRidge"}, "mode = 'unrolled' and network.family = 'ConvexRidge'; expected"),
        ({"family": "ConvexRidge", "mode": "denoise"}, r"the table \[unrolled\] with training.mode = 'denoise'"),
        ({"unrolled": ""}, "unrolled.operator is missing"),
        ({"unrolled": f'{BLUR}\nmomentum = 0\nmemory = "momentum"'}, "expected a momentum above 0, or memory"),
        ({"unrolled": f'{BLUR}\nmomentum = 0.5\nsteps = 60\nmemory = "momentum"'}, "let rounding grow to about 2.6e"),
        ({"unrolled": f'{BLUR}\nmemory = "disk"'}, "memory = 'disk'; expected checkpoint, momentum, plain"),
        ({"unrolled": f"{BLUR}\nsteps = 0"}, "steps=0; expected 1 to 1000"),
        ({"unrolled": f'{BLUR}\nmethod = "fista"'}, "expected forward-backward, primal-dual or sparse-coding"),
        ({"unrolled": f"{BLUR}\nstep = 3"}, "the key 'step' is unknown"),
        ({"network": "steps = 5"}, r"network.steps = 5 and unrolled.steps = 8; expected it in \[unrolled\] alone"),
        ({"network": 'operator = "identity"'}, "network.operator = 'identity'; expected none"),
        ({"network": "unit = 0.5"}, "network.unit = 0.5; expected none"),
        ({"network": "hidden = -1"}, "hidden=-1, scales=1; expected 0 to 1024 channels and 1 to 6 resolutions"),
        ({"network": "scales = 7"}, "hidden=0, scales=7; expected"),
        ({"network": "scales = 2\ndepth = 1"}, "scales=2 with depth=1; expected a depth of 2 or more"),
        ({"network": 'gradient = "filtered"'}, r"unrolled.gradient = 'adjoint'; expected it in \[unrolled\] alone"),
        ({"unrolled": f'{BLUR}\ngradient = "ramp"'}, "gradient='ramp'; expected adjoint or filtered"),
        ({"unrolled": f"{BLUR}\nunit = -1"}, "unrolled.unit = -1.0; expected a positive number, or 0"),
        ({"training": 'loss = "sure"'}, "loss = 'sure'.*expected 'mse' or 'l1'"),
        ({"training": "inner_steps = 2"}, "inner_steps = 2 with mode = 'unrolled'"),
    ],
)
def test_bad_recipes(parts: dict[str, str], message: str) -> None:
    defaults = {"family": "Unrolled", "network": "", "mode": "unrolled", "training": "", "unrolled": BLUR}
    with pytest.raises(UsageError, match=message):
        parse_recipe(TEXT.format(**(defaults | parts)), "text")


def test_the_penalty_is_refused() -> None:
    given = unrolled()
    with pytest.raises(UsageError, match=r"\[penalty\] with mode = 'unrolled'"):
        replace(given, penalty=replace(given.penalty, weight=0.1))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("nothing", "nothing"),
        ("mri:mask=MASK", "expected an operator of real images"),
        ("inpaint:mask=MASK", "takes images of 16 x 16 pixels and data.patch is 12"),
    ],
)
def test_operators_that_do_not_fit(images: Images, tmp_path: Path, operator: str, message: str) -> None:
    np.save(tmp_path / "mask.npy", np.ones((16, 16), np.float32))
    given = unrolled(operator.replace("MASK", str(tmp_path / "mask.npy")))
    with pytest.raises(UsageError, match=message):
        go(given, images, tmp_path / "run")


def test_volumes_need_an_operator_of_volumes(images: Images, tmp_path: Path) -> None:
    """What is stated of the network is not dropped in silence."""
    given = unrolled()
    given = replace(given, network=replace(given.network, dimensions=3))
    with pytest.raises(UsageError, match=r"dimensions = 3 with .*'blur:gaussian=1', which takes images; expected"):
        go(given, images, tmp_path / "run")


def test_filtered_steps_need_a_scan(images: Images, tmp_path: Path) -> None:
    given = unrolled()
    given = replace(given, unrolled=replace(given.unrolled, gradient="filtered"))
    with pytest.raises(UsageError, match="gradient = 'filtered' with 'blur:gaussian=1'; expected a scan, ct:GEOMETRY"):
        go(given, images, tmp_path / "run")


def test_a_validation_image_that_is_too_small(images: Images, tmp_path: Path) -> None:
    given = unrolled()
    with pytest.raises(InputError, match="no image for training"):
        go(replace(given, data=replace(given.data, patch=64)), images, tmp_path / "run")


def test_the_scale_of_projections_begins_with_air(tmp_path: Path) -> None:
    (tmp_path / "cone.toml").write_text(CONE)
    scan, data = read_operator(parse_spec(f"ct:{tmp_path / 'cone.toml'}")), unrolled().data
    by_attenuation = replace(data, scale="attenuation", range=(0.0, 0.08142), water=0.02)
    assert units_of(by_attenuation, "HU", scan) == "-1000:3071 HU"
    assert units_of(data, "HU", read_operator(parse_spec("identity"))) == "-1024:3071 HU"
    assert not units_of(data, "no units", scan)
    assert not units_of(replace(data, range=(0.0, 1.0)), "no units", scan)
    with pytest.raises(UsageError, match="with a scale on which 0 is -1024 HU; expected -1000 HU"):
        units_of(data, "HU", scan)


def test_datasets_of_ones_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an unrolled network learns from files alone"):
        train_on(unrolled(), [], [], tmp_path / "run")


@pytest.mark.parametrize(
    "changed",
    [
        *({"method": method, "steps": steps, "hidden": hidden, "scales": scales}
          for method in ("forward-backward", "primal-dual")
          for steps, hidden, scales in ((4, 0, 1), (16, 0, 1), (4, 3, 1), (4, 3, 3))),
        {"method": "sparse-coding", "steps": 4, "size": 5, "stride": 2},
        {"method": "sparse-coding", "steps": 9, "size": 6, "stride": 4, "shifts": 2},
    ],
)  # fmt: skip
def test_the_memory_is_that_of_the_formula(changed: dict[str, object]) -> None:
    """Of everything, and of one step, as saved-tensor hooks see them."""
    operator = Identity((32, 32))  # which keeps nothing itself
    config = UnrolledConfig(features=6, depth=3, shape=(32, 32), noise_range=(0.1, 0.1))
    config = replace(config, **changed)  # type: ignore[arg-type]
    network = make_unrolled(config)
    network.settle(operator, 1.0)
    network.memory = "plain"
    y, seen = operator.A(torch.rand(2, 1, 32, 32)), {}
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = network(y, operator)
    assert found.requires_grad
    plain = backward_bytes(config, (32, 32), 32 * 32, 2, "plain")
    assert sum(seen.values()) == pytest.approx(plain, rel=0.1)
    momentum = backward_bytes(config, (32, 32), 32 * 32, 2, "momentum")
    assert momentum == backward_bytes(replace(config, steps=100), (32, 32), 32 * 32, 2, "momentum")
    assert momentum < backward_bytes(config, (32, 32), 32 * 32, 2, "checkpoint") < plain
