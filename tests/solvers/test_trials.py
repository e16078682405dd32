"""Trials of norms: lower bounds whatever was tried, and exact where the whole space was."""

import itertools

import torch
from torch import Tensor

from recon.solvers.trials import Trials

MAPS = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXACT = torch.linalg.matrix_norm(MAPS, 2)


def tried(count: int, repeats: int = 1) -> Trials:
    found = Trials()
    for k in range(count):
        v = torch.randn(3, 5, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        for _ in range(repeats):
            found.add(v, image(v))
    return found


def image(v: Tensor) -> Tensor:
    return (MAPS @ v[:, :, None])[:, :, 0]


def test_more_trials_are_longer_and_none_is_too_long() -> None:
    lengths = []
    for count in range(1, 6):
        inputs, images = tried(count).longest()
        torch.testing.assert_close(images, image(inputs))
        torch.testing.assert_close(inputs.norm(dim=1), torch.ones(3, dtype=torch.float64))
        lengths.append(images.norm(dim=1))
    for shorter, longer in itertools.pairwise(lengths):
        assert bool((shorter <= longer * (1 + 1e-12)).all())
    torch.testing.assert_close(lengths[-1], EXACT)


def test_trials_that_say_nothing_new_change_nothing() -> None:
    once, again = tried(3).longest()[1], tried(3, repeats=2).longest()[1]
    torch.testing.assert_close(once.norm(dim=1), again.norm(dim=1))


def test_a_map_without_inputs_has_no_length() -> None:
    found = Trials()
    found.add(torch.zeros(3, 5), torch.zeros(3, 7))
    assert not found.longest()[1].any()


def test_the_nearest_is_a_projection() -> None:
    wanted = torch.randn(3, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    near, images = tried(3).nearest(wanted)
    torch.testing.assert_close(images, image(near))
    torch.testing.assert_close(tried(3).nearest(near)[0], near)
    assert bool(((wanted - near) * near).sum(1).abs().max() < 1e-9)
    torch.testing.assert_close(tried(5).nearest(wanted)[0], wanted)
    assert not Trials().nearest(wanted)[0].any()
