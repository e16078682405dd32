"""What every network promises: J = (Id + Q)/2, any size, its derivative, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from network_cases import CASES, LEVELS, SMALL_RIDGE, Case, images, jacobian, network_of

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.priors.networks import Config, ConvexRidge, DnCNN, DnCNNConfig, InnerSolver, LipschitzConfig, make

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 5), (12, 12)], ids=str)
def test_q_is_twice_j_less_the_identity_at_every_size(case: Case, size: tuple[int, int]) -> None:
    network, x = network_of(case), images(case, 2, *size)
    j, q = network(x, case.level), network.Q(x, case.level)
    assert j.shape == x.shape
    assert torch.allclose(2 * j - x, q, atol=1e-9)


@every_case
def test_the_derivative_is_that_of_q(case: Case) -> None:
    network, x = network_of(case), images(case, 1, 4, 5)
    matrix, derivative = jacobian(lambda x: network.Q(x, case.level), x), network.derivative(x, case.level)
    v = images(case, 1, 4, 5, seed=1)
    assert torch.allclose(matrix @ v.flatten(), derivative.forward(v).flatten(), atol=1e-8)
    assert torch.allclose(matrix.T @ v.flatten(), derivative.transpose(v).flatten(), atol=1e-8)


@every_case
def test_single_precision_and_training_mode_agree_with_the_frozen_network(case: Case) -> None:
    torch.manual_seed(0)
    live = make(case.config)
    x = images(case, 2, 9, 10).float()
    if live.iterates:
        live.solver = InnerSolver(accuracy=1e-5)
    for precise in (live.frozen(), live.frozen(torch.float32)):
        found = precise(x.to(next(precise.parameters()).dtype), case.level)
        assert torch.allclose(found.float(), live(x, case.level), atol=3e-5)
    assert next(live.parameters()).requires_grad
    assert not any(parameter.requires_grad for parameter in precise.parameters())


@every_case
def test_every_parameter_is_trained(case: Case) -> None:
    network = make(case.config)
    if isinstance(network, ConvexRidge):
        network.solver = InnerSolver(accuracy=1e-3)
    x = 0.1 * images(case, 4, 12, 12).float()
    network(x, case.level).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_the_reference_network_has_its_665921_parameters() -> None:
    assert sum(parameter.numel() for parameter in DnCNN().parameters()) == 665_921
    claim = DnCNN(DnCNNConfig(features=2, depth=2)).lipschitz_Q()
    assert claim.evidence is Evidence.ASSUMED


def test_the_masked_passes_can_be_differentiated_by_the_kernels() -> None:
    """What a penalty needs: the gradient of ||Q'(x) v||^2 against that through autograd's own derivative."""
    case = CASES[0]
    network = network_of(case).requires_grad_()
    x, v = images(case, 1, 5, 5), images(case, 1, 5, 5, seed=1)
    masked = network.derivative(x).forward(v).square().sum()
    (_, pushed) = torch.autograd.functional.jvp(network.Q, x, v, create_graph=True)
    assert torch.allclose(masked, pushed.square().sum())
    kernels = list(network.kernels)
    ours = torch.autograd.grad(masked, kernels)
    theirs = torch.autograd.grad(pushed.square().sum(), kernels)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other)


def test_a_colour_image_and_a_missing_noise_level_are_refused() -> None:
    grey, conditioned = make(DnCNNConfig(features=2, depth=2)), make(CASES[1].config)
    with pytest.raises(UsageError, match=r"shape \(1, 3, 8, 8\).*expected \(batch, 1, height, width\).*grey images"):
        grey(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match="no noise level was given"):
        conditioned(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"noise_level=0\.1 for a network made for one level"):
        grey(torch.zeros(1, 1, 8, 8), 0.1)
    ridge = make(replace(SMALL_RIDGE, levels=2, noise_range=LEVELS))
    with pytest.raises(UsageError, match="noise_level=0; expected a positive"):
        ridge(torch.zeros(1, 1, 8, 8), 0)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DnCNNConfig(padding="reflect"), "'reflect' is not covered by any bound; expected 'zero' or 'circular'"),
        (LipschitzConfig(padding="replicate"), "'replicate' is not covered"),
        (replace(SMALL_RIDGE, padding="reflect"), "expected 'zero' or 'circular' or 'valid'"),
        (DnCNNConfig(depth=1), "depth=1"),
        (LipschitzConfig(layers="bcop"), "layers='bcop' is unknown"),
        (LipschitzConfig(activation="gelu"), "'gelu' is not the proximity operator"),
        (LipschitzConfig(activation="abs"), "'abs' is not the proximity operator"),
        (LipschitzConfig(layers="aol", features=5, activation="maxmin"), "5 channels; expected an even number"),
        (LipschitzConfig(layers="abba", features=5), "features=5"),
        (LipschitzConfig(layers="abba", features=4, activation="maxmin"), "expected an even number and a pointwise"),
        (LipschitzConfig(contraction=1.1), "contraction=1.1"),
        (LipschitzConfig(channels=3, features=2), "3 features"),
        (replace(SMALL_RIDGE, group=3), "group=3 for 4 filters"),
        (replace(SMALL_RIDGE, size=4), "size=4"),
        (replace(SMALL_RIDGE, levels=2), "levels=2"),
        (replace(SMALL_RIDGE, noise_range=(0.0, 0.0)), "expected positive levels"),
        (replace(SMALL_RIDGE, noise_range=(0.2, 0.1)), "lowest first"),
        (replace(SMALL_RIDGE, profile="cubic"), "'cubic' is unknown"),
        (DnCNNConfig(channels=0), "channels=0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_architecture_without_a_proof_is_refused(config: Config, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        make(config)
