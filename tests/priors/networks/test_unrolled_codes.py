"""Unrolled reconstructions of sparse codes: ISTA's form, lattices, memory, storing, and what is refused."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.operators import Blur, Identity, gaussian_psf
from recon.priors.networks import Unrolled, UnrolledConfig, load_unrolled, make_unrolled, save
from recon.priors.networks.architectures.unrolled_codes import SparseCoding, code_shape, coefficients_of, offsets_of
from recon.types import LinearOperator

SIZE = (13, 16)
CODES = UnrolledConfig(
    features=7, size=4, stride=2, steps=3, method="sparse-coding", momentum=0.0, shape=SIZE, noise_range=(0.1, 0.1)
)
BLUR = Blur(gaussian_psf(1.0), SIZE)


def made(config: UnrolledConfig = CODES, operator: LinearOperator = BLUR, moved: float = 0.05) -> Unrolled:
    torch.manual_seed(0)
    network = make_unrolled(config).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(moved * torch.randn_like(weight))
    network.settle(operator, 1.0)
    return network


def measured(batch: int = 2) -> Tensor:
    return BLUR.A(torch.rand(batch, 1, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


def dense(branch: SparseCoding, weights: Tensor, offset: tuple[int, int]) -> Tensor:
    """The dictionary as a matrix from the coefficients to the pixels, atom by atom drawn where it belongs."""
    count, side, stride = len(weights), weights.shape[-1], branch.stride
    rows, columns = code_shape(SIZE, side, stride)
    found = torch.zeros(count, rows, columns, *SIZE, dtype=torch.float64)
    reach = -(-side // stride) - 1
    for row in range(rows):
        for column in range(columns):
            top, left = ((at - reach) * stride - shift for at, shift in zip((row, column), offset, strict=True))
            for down in range(side):
                for right in range(side):
                    if 0 <= top + down < SIZE[0] and 0 <= left + right < SIZE[1]:
                        found[:, row, column, top + down, left + right] = weights[:, 0, down, right]
    return found.flatten(3).flatten(0, 2).T


@pytest.mark.parametrize("shifts", [1, 2])
def test_a_step_is_that_of_lista_written_out(shifts: int) -> None:
    """With dense matrices; a wrong sign, lattice, order or threshold breaks it."""
    network = made(replace(CODES, steps=1, shifts=shifts, unit=0.2))
    branch, y = network.branches[0], measured(1)
    assert isinstance(branch, SparseCoding)
    unrolled = network.unroll(y, BLUR)
    generator = torch.Generator().manual_seed(5)
    state = torch.randn(unrolled.start.shape, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        after = state + unrolled.branches[0](state)
    pixels = SIZE[0] * SIZE[1]
    x = state[0, :pixels]
    z = state[0, pixels:].view(shifts**2, -1)
    along = branch.log_step.exp() * BLUR.A_adjoint(BLUR.A(x.view(1, 1, *SIZE)) - y).flatten()
    threshold = 0.2 * branch.log_threshold.exp().repeat_interleave(z.shape[1] // CODES.features)
    images, codes = [], []
    for offset, code in zip(offsets_of(network.config), z, strict=True):
        synthesis, analysis = (dense(branch, each, offset) for each in (branch.atoms, branch.analysis))
        moved = code + analysis.T @ (x - along - synthesis @ code)
        codes.append(moved.sign() * (moved.abs() - threshold).clamp(min=0))
        images.append(synthesis @ codes[-1])
    assert torch.allclose(after[0, :pixels], torch.stack(images).mean(0))
    assert torch.allclose(after[0, pixels:], torch.cat(codes))


def test_tied_shared_steps_are_ista_and_its_energy_falls() -> None:
    """As training begins: 1/2 ||A D z - y||^2 + t |z| never rises, which a norm of D above 1 would break."""
    config = replace(CODES, steps=40, shared=True, features=16)
    network, y = made(config, moved=0.0), measured()
    branch = network.branches[0]
    assert isinstance(branch, SparseCoding)
    unrolled, before = network.unroll(y, BLUR), torch.full((2,), torch.inf, dtype=torch.float64)
    state, pixels = unrolled.start.clone(), SIZE[0] * SIZE[1]
    state[:, :pixels] = 0  # x = D z with z = 0
    threshold = branch.log_threshold.exp().repeat_interleave((state.shape[1] - pixels) // config.features)
    with torch.no_grad():
        for step in unrolled.branches:
            rest = BLUR.A(state[:, :pixels].view(2, 1, *SIZE)) - y
            energy = rest.square().flatten(1).sum(1) / 2 + (threshold * state[:, pixels:].abs()).sum(1)
            assert bool((energy <= before + 1e-12).all())
            before, state = energy, state + step(state)


@pytest.mark.parametrize("shared", [False, True])
def test_the_memory_changes_no_gradient(shared: bool) -> None:
    network, y = made(replace(CODES, steps=5, shared=shared, shifts=2, momentum=0.7)), measured()
    found = {}
    for memory in ("plain", "checkpoint", "momentum"):
        twin = copy.deepcopy(network)
        twin.memory = memory
        twin(y, BLUR).square().sum().backward()
        found[memory] = [weight.grad for weight in twin.parameters()]
    for memory in ("checkpoint", "momentum"):
        for one, other in zip(found[memory], found["plain"], strict=True):
            assert torch.allclose(one, other, rtol=1e-8, atol=1e-11)


def test_64_cosines_of_8_pixels_begin_as_a_tight_frame() -> None:
    """Then the first step without thresholds returns the image, at its border too, but for the bound of the norm."""
    network = make_unrolled(replace(CODES, features=64, size=8, stride=4, steps=1, unit=1e-9)).double()
    network.settle(Identity(SIZE), 1.0)
    y = measured()
    with torch.no_grad():
        ratio = network(y, Identity(SIZE)) / y
    assert 0.99 < ratio.mean() <= 1
    assert torch.allclose(ratio, ratio.mean(), atol=1e-5)


def test_it_takes_images_of_any_size_and_comes_back_from_a_folder(tmp_path) -> None:
    config = replace(CODES, stride=3, shifts=3, operator="blur:gaussian=1")
    network = made(config)
    save(network, tmp_path / "run")
    again = load_unrolled(tmp_path / "run").double()
    assert again.config == config
    for size in (SIZE, (5, 9)):
        operator = Blur(gaussian_psf(0.4), size)
        y = operator.A(torch.rand(1, 1, *size, dtype=torch.float64))
        start = network.unroll(y, operator).start
        assert start.shape[1] == size[0] * size[1] + coefficients_of(config, size)
        with torch.no_grad():
            assert torch.allclose(again(y, operator), network(y, operator), atol=1e-6)


def test_thresholds_follow_the_noise_level() -> None:
    network = made(replace(CODES, noise_range=(0.05, 0.1), unit=0.5))
    y = measured()
    with torch.no_grad():
        low, high = (network(y, BLUR, level) for level in (0.05, 0.1))
        mixed = network(y, BLUR, torch.tensor([0.05, 0.1]))
    assert not torch.allclose(low, high)
    assert torch.allclose(mixed, torch.stack([low[0], high[1]]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stride": 5}, "stride=5 with method='sparse-coding'; expected 1 to 1024 atoms"),
        ({"features": 0}, "features=0"),
        ({"size": 65}, "at most 64 x 64 pixels"),
        ({"shifts": 0}, "shifts=0 for stride=2; expected a divisor"),
        ({"stride": 4, "shifts": 3}, "shifts=3 for stride=4; expected a divisor"),
        ({"dimensions": 3}, "expected 2, because atoms are pictures"),
        ({"depth": 2}, "depth=2 with method='sparse-coding'; expected none"),
        ({"hidden": 1}, "hidden=1 with method='sparse-coding'; expected none"),
        ({"scales": 2}, "scales=2 with method='sparse-coding'; expected none"),
        ({"method": "forward-backward", "size": 3}, "stride=2, shifts=1 with method='forward-backward'; expected none"),
        ({"method": "lista", "size": 3}, "expected forward-backward, primal-dual or sparse-coding"),
    ],
)
def test_what_does_not_go_together_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_unrolled(replace(CODES, **changed))  # type: ignore[arg-type]
    assert said in str(refused.value)
