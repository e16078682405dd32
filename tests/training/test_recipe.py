"""Recipes: what is written is what is meant, and every mistake is one sentence."""

from pathlib import Path

import pytest
from training_cases import FREE, RIDGE, TOML, recipe

from recon.errors import UsageError
from recon.training import parse_recipe, read_recipe, to_toml


@pytest.mark.parametrize("given", [recipe(), recipe(RIDGE), recipe(FREE, penalty=0.5, loss="sure")])
def test_a_recipe_survives_its_own_text(given):
    assert parse_recipe(to_toml(given), "text") == given


def test_defaults_and_the_noise_of_the_network():
    found = parse_recipe('[network]\nfamily = "ConvexRidge"\nnoise_range = [0.1, 0.1]\n', "text")
    assert found.training.noise == (0.1, 0.1)
    assert found.levels == (0.1,)
    assert parse_recipe(TOML.replace("noise = 0.1", "noise = [0.01, 0.04]"), "text").levels == pytest.approx(
        (0.01, 0.02, 0.04)
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[data]", "[date]", "table 'date' is unknown; did you mean 'data'"),
        ("patch = 12", "patches = 12", r"\[data\]: the key 'patches' is unknown; did you mean 'patch'"),
        ("patch = 12", "patch = 12.5", "patch = 12.5; expected a whole number"),
        ("patch = 12", "patch = 2", "data.patch = 2; expected at least 4"),
        ("patch = 12", 'scale = "fill"', "data.scale = 'fill' is unknown; did you mean 'file'"),
        ("patch = 12", "range = [3, 1]", "expected two numbers, the lower one first"),
        ("patch = 12", 'scale = "attenuation"', "expected the attenuations in 1/mm"),
        ("noise = 0.1", "", "expected positive standard deviations"),
        ("noise = 0.1", "noise = [0.2, 0.1]", "expected positive standard deviations"),
        ("noise = 0.1", "noise = [0.1, 0.2, 0.3]", "noise = .* expected a list of 2 numbers"),
        ("noise = 0.1", "noise = nan", "noise = nan; expected a number"),
        ("noise = 0.1", 'noise = [0.1, 0.2]\nloss = "sure"', "expected one level"),
        ("batch = 4", "batch = 0", "training.batch = 0; expected at least 1"),
        ("batch = 4", "batch = true", "batch = true; expected a whole number"),
        ("batch = 4", 'loss = "mes"', "training.loss = 'mes' is unknown; did you mean 'mse'"),
        ("batch = 4", 'schedule = "cos"', "training.schedule = 'cos' is unknown"),
        ("batch = 4", 'precision = "half"', "training.precision = 'half' is unknown"),
        ("batch = 4", "ema = 1.0", "training.ema = 1.0; expected less than 1"),
        ("batch = 4", "inner_steps = 4", "has no inner iteration"),
        ("batch = 4", "learning_rate = 0.0", "Cannot overwrite a value"),
        ("learning_rate = 0.005", "learning_rate = 0.0", "expected positive numbers"),
        ("weight = 0.01", "weight = -0.01", "penalty.weight = -0.01; expected at least 0"),
        ("weight = 0.01", "target = 1.5", "penalty.target = 1.5; expected more than 0"),
        ("every = 100", "every = 0", "validation.every = 0; expected at least 1"),
        ("every = 100", "noise = [0.0]", "validation.noise = .* expected positive"),
        ('family = "DnCNN"', "", "network.family is None"),
        ('family = "DnCNN"', 'family = "DnCN"', "family 'DnCN' is unknown; did you mean 'DnCNN'"),
        ("depth = 3", "depth = 1", "expected at least 2 layers"),
        ("depth = 3", "deep = 3", "the key 'deep' is unknown; did you mean 'depth'"),
        ("depth = 3", "depth = 100000", "expected a whole number of at most 4096"),
        ("[network]", "data = 3\n[network]", "not valid TOML|Cannot"),
        ("[network]", "[network", "not valid TOML"),
    ],
)
def test_mistakes_are_one_sentence(before, after, message):
    assert before in TOML
    with pytest.raises(UsageError, match=message) as caught:
        parse_recipe(TOML.replace(before, after, 1), "text")
    assert str(caught.value).startswith("text")
    assert "\n" not in str(caught.value).strip()


def test_a_table_is_a_table():
    with pytest.raises(UsageError, match="text: network = 3; expected a table"):
        parse_recipe("network = 3", "text")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none.toml: the training file cannot be read"):
        read_recipe(tmp_path / "none.toml")


RECIPES = sorted(
    path
    for folder in ("models", "docs/recipes")
    for path in (Path(__file__).parents[2] / folder).glob("*/*.toml")
    if path.name not in ("network.toml", "scan.toml") and path.parent.name != "steps"  # those: test_steps.py
)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_the_recipes_beside_the_models_are_recipes(path):
    given = read_recipe(path)
    assert all((given.about.title, given.about.data, given.about.licence, given.about.limits))
    assert given.network.family in ("Critic", "ConvexCritic") or given.levels == given.validation.noise


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ('steps = "20"', 'steps = "20"; expected a whole number'),
        ("steps = [1979-05-27]", r'steps = \["1979-05-27"\]; expected a whole number'),
        ("loss = 3", "loss = 3; expected text in quotes"),
        (f"loss = {['x' * 50] * 3}", r"loss = .{60}\.\.; expected text in quotes"),
    ],
)
def test_a_value_of_another_type_is_shown_as_it_was_written(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_recipe(TOML.replace("steps = 12", given), "recipe.toml")
