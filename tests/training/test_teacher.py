"""Training after another network: what it sees as the target, what it comes to, and what is refused."""

from dataclasses import replace

import pytest
import torch
from training_cases import FREE, NOISE, RIDGE, patches, recipe, same, write_scenes

from recon.errors import GuaranteeError, InputError, UsageError
from recon.operators.symmetries import turned
from recon.priors.networks import load
from recon.training import Images, Listeners, prepare, train
from recon.training.group import Group
from recon.training.sample import Sample
from recon.training.teacher import Teacher
from recon.training.trainer import Trainer

CPU = torch.device("cpu")
STUDENT = replace(FREE, noise_range=NOISE)


@pytest.fixture
def images(tmp_path):
    training, validation = write_scenes(tmp_path / "training", 3), write_scenes(tmp_path / "validation", 2, first=90)
    return Images(sorted(training.iterdir()), sorted(validation.iterdir()))


@pytest.fixture
def teacher(tmp_path, images):
    run(tmp_path / "teacher", images, recipe(RIDGE, steps=4))
    return tmp_path / "teacher"


def run(folder, images, given, resume=False, **listeners):
    return train(prepare(folder, given, resume), images, folder, CPU, Listeners(**listeners))


@torch.no_grad()
def distance(network, other, count=8):
    x = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    return float((network(x) - other(x)).norm())


def test_the_target_is_what_the_teacher_makes_of_the_noisy_patch(teacher):
    noisy, clean = torch.rand(2, 3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    data = Sample(noisy, clean, torch.full((3,), 0.1), torch.zeros(3, 0), torch.zeros(3, 0))
    shown = Teacher.of(str(teacher), RIDGE, CPU).shown(data)
    wanted = load(teacher)(noisy)
    assert (shown.target - wanted).norm() <= 2.2e-3 * noisy.norm()  # the accuracy, and that of what it is held against
    assert not torch.allclose(shown.target, clean, atol=0.05)
    assert shown.noisy is noisy


@pytest.mark.nightly
def test_a_student_comes_nearer_to_its_teacher_than_one_that_learns_from_clean_images(teacher, images, tmp_path):
    for name, given in (("taught", {"teacher": str(teacher)}), ("free", {})):
        run(tmp_path / name, images, recipe(STUDENT, steps=150, learning_rate=3e-3, ema=0.0, **given))
    taught, free = (distance(load(tmp_path / name), load(teacher)) for name in ("taught", "free"))
    assert taught < 0.7 * free


def test_a_run_goes_on_to_the_bit_and_only_with_the_same_teacher(teacher, images, tmp_path):
    given = recipe(STUDENT, steps=6, teacher=str(teacher))
    run(tmp_path / "whole", images, given)
    count = iter(range(100))
    run(tmp_path / "half", images, given, stopping=lambda: next(count) == 2)
    run(tmp_path / "half", images, None, resume=True)
    assert same(load(tmp_path / "half").state_dict(), load(tmp_path / "whole").state_dict())
    run(tmp_path / "third", images, given, stopping=lambda: True)
    run(tmp_path / "other", images, recipe(RIDGE, steps=5))
    for file in ("network.toml", "weights.safetensors"):
        (teacher / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(InputError, match="other weights than at the beginning"):
        run(tmp_path / "third", images, None, resume=True)


def test_a_teacher_that_does_not_fit_is_one_sentence(teacher):
    with pytest.raises(UsageError, match=r"is for 1 channel.*expected 3"):
        Teacher.of(str(teacher), replace(STUDENT, channels=3), CPU)
    with pytest.raises(UsageError, match=r"noise of 0.1 to 0.1; expected 1 and at least 0.1 to 0.2"):
        Teacher.of(str(teacher), replace(STUDENT, noise_range=(0.1, 0.2), conditioned=True), CPU)
    with pytest.raises(UsageError, match=r"'model:nobody'; expected one of .*proved-gray"):
        Teacher.of("model:nobody", STUDENT, CPU)
    with pytest.raises(InputError, match="nowhere"):
        Teacher.of("nowhere", STUDENT, CPU)


@pytest.mark.parametrize("training", [{"loss": "sure"}, {"loss": "noise2noise"}, {"mode": "equilibrium"}])
def test_a_teacher_only_denoises_and_is_only_compared_with(training):
    with pytest.raises(UsageError, match=r"training.teacher = 'model:proved-gray' with"):
        recipe(STUDENT, teacher="model:proved-gray", **training).check()


def test_an_echo_shows_one_batch_every_way_before_the_next(teacher):
    shown = []

    class Seen(Teacher):
        def shown(self, data):
            shown.append(data)
            return super().shown(data)

    trainer = Trainer(recipe(STUDENT, steps=20, teacher=str(teacher), echo=8), patches())
    trainer.teacher = Seen(trainer.teacher.network)
    ways = []
    for step in range(8):
        trainer.step = step
        ways.append(trainer._batch(0, 4))
    assert len(shown) == 1
    back = [turned(way.noisy, index) for index, way in zip((0, 3, 2, 1, 4, 5, 6, 7), ways, strict=True)]
    assert all(torch.equal(each, shown[0].noisy) for each in back)
    assert len({way.target.numpy().tobytes() for way in ways}) == 8
    trainer.step = 8
    trainer._batch(0, 4)
    assert len(shown) == 2


def test_a_run_with_an_echo_goes_on_to_the_bit(teacher, images, tmp_path):
    given = recipe(STUDENT, steps=6, teacher=str(teacher), echo=4)
    run(tmp_path / "whole", images, given)
    count = iter(range(100))
    run(tmp_path / "half", images, given, stopping=lambda: next(count) == 2)
    run(tmp_path / "half", images, None, resume=True)
    assert same(load(tmp_path / "half").state_dict(), load(tmp_path / "whole").state_dict())


@pytest.mark.parametrize("training", [{"echo": 4}, {"echo": 9, "teacher": "x"}, {"echo": 0, "teacher": "x"}])
def test_an_echo_wants_a_teacher_and_at_most_the_eight_ways(training):
    with pytest.raises(UsageError, match=r"training.echo = \d.*expected 1 to 8"):
        recipe(STUDENT, **training).check()


def test_a_teacher_that_fails_in_one_process_ends_all(teacher, monkeypatch):
    trainer = Trainer(recipe(STUDENT, teacher=str(teacher)), patches())
    asked = []
    monkeypatch.setattr(Group, "any", lambda self, flag: asked.append(flag) or flag)

    def fail(self, data):
        raise GuaranteeError("the inner iteration is not solved")

    monkeypatch.setattr(Teacher, "shown", fail)
    with pytest.raises(GuaranteeError, match="at step 1 the inner iteration is not solved"):
        trainer.advance()
    assert asked == [True]
