"""A run: what it leaves behind, and that nothing that happens to it changes the result."""

import csv
import json
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import forks
import pytest
import torch
from training_cases import FREE, RIDGE, TOML, recipe, same, write_scenes

from recon.certificates import orthogonality
from recon.errors import GuaranteeError, InputError, OutputError, UsageError
from recon.priors.networks import load
from recon.training import Images, Listeners, load_checkpoint, parse_recipe, prepare, train
from recon.training.checkpoint import owned


def folders(tmp_path, count=4):
    training = write_scenes(tmp_path / "training", count)
    validation = write_scenes(tmp_path / "validation", 2, first=90)
    return Images(sorted(training.iterdir()), sorted(validation.iterdir()))


def run(folder, images, given, resume=False, **listeners):
    wanted = prepare(folder, given, resume)
    return train(wanted, images, folder, torch.device("cpu"), Listeners(**listeners))


def test_a_run_leaves_a_network_with_what_is_known_of_it(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "runs" / "first"
    seen = []
    outcome = run(folder, images, recipe(RIDGE), watch=seen.append)
    assert (outcome.step, len(seen)) == (12, 12)
    network, card = load(folder), json.loads((folder / "card.json").read_text())
    assert network(torch.rand(1, 1, 20, 30)).shape == (1, 1, 20, 30)
    assert card["lipschitz_Q"]["evidence"] == "proved"
    assert card["figures"][0]["psnr"] == pytest.approx(outcome.look.figures[0].psnr, abs=1e-3)
    assert (card["data"]["images"], card["data"]["validation_images"], card["training"]["step"]) == (4, 2, 12)
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert [row["step"] for row in rows if row["psnr"]] == ["8", "12"]
    assert (folder / "curve.png").stat().st_size > 1000
    assert (folder / "validation.png").stat().st_size > 1000


def test_a_free_network_is_measured_not_proved(tmp_path):
    outcome = run(tmp_path / "run", folders(tmp_path), recipe(penalty=0.1))
    known = json.loads((tmp_path / "run" / "card.json").read_text())["lipschitz_Q"]
    refuted = outcome.look.lipschitz.value > 1
    assert (known["evidence"], "can only refute" in known["how"]) == (("assumed", True), ("measured", False))[refuted]
    assert 0.1 < outcome.look.lipschitz.value < 10


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_how_far_the_convolutions_are_from_isometries_is_in_the_log_and_on_the_card(tmp_path, weight):
    given = recipe(FREE)
    given = replace(given, penalty=replace(given.penalty, orthogonality=weight))
    run(tmp_path / "run", folders(tmp_path), given)
    known = orthogonality(load(tmp_path / "run"))
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["orthogonality"]["value"] == pytest.approx(known.value, rel=1e-6)
    assert "of 3 convolutions as applied" in card["orthogonality"]["how"]
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    found = [row["step"] for row in rows if row["orthogonality"]]
    assert found == ([str(step) for step in range(1, 13)] if weight else ["8", "12"])


@pytest.mark.slow
def test_stopping_and_going_on_is_the_same_to_the_bit(tmp_path):
    images = folders(tmp_path)
    run(tmp_path / "whole", images, recipe(penalty=0.1))
    count = iter(range(100))
    stopped = run(tmp_path / "half", images, recipe(penalty=0.1), stopping=lambda: next(count) == 6)
    assert (stopped.step, stopped.look) == (7, None)
    run(tmp_path / "half", images, None, resume=True)
    assert same(load_checkpoint(tmp_path / "half")[0], load_checkpoint(tmp_path / "whole")[0])
    assert same(load(tmp_path / "half").state_dict(), load(tmp_path / "whole").state_dict())
    steps = [row["step"] for row in csv.DictReader((tmp_path / "half" / "log.csv").read_text().splitlines())]
    assert steps == [str(step) for step in range(1, 13)]


KILLED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from recon.training import Images, loop, parse_recipe, prepare, train
loop.SAVE_SECONDS = 0.0
folder, images = Path(sys.argv[1]), sys.argv[2:]
recipe = prepare(folder, parse_recipe(Path("recipe.toml").read_text(), "r"), folder.exists(), 30)
files = Images(sorted(Path(images[0]).iterdir()), sorted(Path(images[1]).iterdir()))
train(recipe, files, folder, torch.device("cpu"))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_bit(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    (tmp_path / "recipe.toml").write_text(TOML)
    arguments = [str(tmp_path / name) for name in ("run", "training", "validation")]
    process = forks.Fork(forks.text, f"import sys\nsys.argv[1:] = {arguments}\n{KILLED}", cwd=tmp_path)
    log = folder / "log.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 5):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    given = parse_recipe(TOML, "recipe")
    given = replace(given, training=replace(given.training, steps=30))
    assert 0 < load_checkpoint(folder)[1].step < 30
    run(folder, images, given, resume=True)
    run(tmp_path / "whole", images, given)
    assert same(load_checkpoint(folder)[0], load_checkpoint(tmp_path / "whole")[0])


def test_what_a_kill_leaves_half_written_is_of_no_account(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    count = iter(range(100))
    run(folder, images, recipe(), stopping=lambda: next(count) == 3)
    (folder / "state-00000009.safetensors").write_bytes(b"cut off")
    (folder / ".recon-0123.safetensors").write_bytes(b"")
    with (folder / "log.csv").open("a") as log:
        log.write("5,0.1,0.2,,1.5,,\n6,0.")
    assert run(folder, images, None, resume=True).step == 12
    assert len(list(folder.glob("state-*"))) == 1
    assert not list(folder.glob(".recon-*"))
    assert [line.split(",")[0] for line in (folder / "log.csv").read_text().splitlines()[1:]] == list(
        map(str, range(1, 13))
    )


@pytest.mark.slow
def test_a_run_is_never_overwritten_and_never_shared(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    run(folder, images, recipe())
    with pytest.raises(OutputError, match="a run is in it"):
        prepare(folder, recipe(), resume=False)
    with pytest.raises(OutputError, match="it is not empty"):
        prepare(tmp_path, recipe(), resume=False)
    with pytest.raises(UsageError, match=r"training\.batch is 5 in the configuration, and the run was begun with 4"):
        prepare(folder, recipe(batch=5), resume=True)
    with pytest.raises(InputError, match="no run to go on with"):
        prepare(tmp_path / "none", recipe(), resume=True)
    more = prepare(folder, recipe(), resume=True, steps=14)
    with owned(folder), pytest.raises(OutputError, match="another process"):
        train(more, images, folder, torch.device("cpu"))
    assert train(more, images, folder, torch.device("cpu")).step == 14
    assert prepare(folder, None, resume=True).training.steps == 14


EDITS = [
    ("batch = 4", "batch = 8", "training.batch"),
    ("patch = 12", "patch = 13", "data.patch"),
    ("features = 6", "features = 7", "network.features"),
    ('padding = "zero"', 'padding = "circular"', "network.padding"),
    ("learning_rate = 0.005", "learning_rate = 0.5", "training.learning_rate"),
    ("seed = 0", "seed = 1", "training.seed"),
]


@pytest.mark.parametrize(("before", "after", "key"), EDITS, ids=[key for _, _, key in EDITS])
def test_an_edited_configuration_in_the_folder_is_refused_by_its_key(tmp_path, before, after, key):
    images, folder = folders(tmp_path), tmp_path / "run"
    run(folder, images, recipe(steps=2))
    config = folder / "config.toml"
    text = config.read_text()
    assert text.count(before) >= 1
    config.write_text(text.replace(before, after, 1))
    value, begun = after.split(" = ")[1], before.split(" = ")[1]
    said = f"{key} is {value} in {config}, and the run was begun with {begun}; expected the same"
    with pytest.raises(UsageError, match=re.escape(said)):
        prepare(folder, None, resume=True)
    assert run(folder, images, recipe(steps=3), resume=True).step == 3  # what it was begun with, stated again
    assert before in config.read_text()


def test_the_number_of_steps_and_what_the_run_is_about_may_be_edited(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    run(folder, images, recipe(steps=2))
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("steps = 2\n", "steps = 3\n", 1))
    assert run(folder, images, None, resume=True).step == 3


def test_a_checkpoint_of_an_earlier_release_goes_on_with_the_configuration_beside_it(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    run(folder, images, recipe(steps=2))
    stated = json.loads((folder / "checkpoint.json").read_text())
    del stated["recipe"]
    (folder / "checkpoint.json").write_text(json.dumps(stated))
    assert run(folder, images, recipe(steps=3), resume=True).step == 3


def test_other_images_and_a_changed_checkpoint_are_refused(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    run(folder, images, recipe())
    fewer = replace(images, training=images.training[1:])
    with pytest.raises(InputError, match="begun with other images"):
        train(prepare(folder, None, resume=True, steps=99), fewer, folder, torch.device("cpu"))
    with pytest.raises(UsageError, match="steps = 5, and the run has done 12"):
        train(prepare(folder, None, resume=True, steps=5), images, folder, torch.device("cpu"))
    assert prepare(folder, None, resume=True).training.steps == 12  # what is refused changes nothing
    (state,) = folder.glob("state-*")
    state.write_bytes(state.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match="it was changed"):
        run(folder, images, None, resume=True)
    for text in ("", "[]", '{"step": 1}', '{"step": 1, "seconds": 1, "data": "", "state": "../x", "sha256": ""}'):
        (folder / "checkpoint.json").write_text(text)
        with pytest.raises(InputError, match="the checkpoint cannot be read"):
            load_checkpoint(folder)


def test_a_loss_that_is_no_number_keeps_the_state_before(tmp_path):
    images, folder = folders(tmp_path), tmp_path / "run"
    given = recipe(learning_rate=1e19, clip=0, schedule="constant")
    with pytest.raises(GuaranteeError, match=r"weights of step \d+ are kept.* at step \d+; expected finite"):
        run(folder, images, given)
    state, progress = load_checkpoint(folder)
    assert progress.step >= 1
    assert all(tensor.isfinite().all() for name, tensor in state.items() if name.startswith("network."))


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    images, folder = folders(tmp_path), tmp_path / "run"
    calls = iter(range(100))

    def full(path, data):
        if path.suffix == ".safetensors" and next(calls) >= 2:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="no space left on device"):
        run(folder, images, recipe())
    monkeypatch.undo()
    assert run(folder, images, None, resume=True).step == 12


def test_the_same_file_is_not_for_training_and_for_validation(tmp_path):
    images = folders(tmp_path)
    with pytest.raises(UsageError, match="for training and for validation"):
        replace(images, validation=images.training[:1])
    with pytest.raises(UsageError, match="no images for validation"):
        replace(images, validation=[])
