"""How far a derivative is from symmetric: against dense matrices, for potentials and for what is none."""

import pytest
import torch
from network_cases import SMALL_RIDGE, Case, images, jacobian, network_of

from recon.certificates import asymmetry
from recon.evidence import Evidence
from recon.operators.spectral import Effort
from recon.priors.networks import Derivative, LipschitzConfig

EXACT = Effort(tolerance=1e-8, applications=400)
CHAIN = LipschitzConfig(layers="orthogonal_convolution", features=9, depth=2, activation="spline", padding="circular")


def of_matrix(matrix: torch.Tensor) -> float:
    x = torch.zeros(len(matrix)).double()
    return asymmetry(Derivative(lambda v: matrix @ v, lambda v: matrix.T @ v), x, EXACT).value


def test_known_matrices() -> None:
    torch.manual_seed(0)
    square = torch.randn(6, 6).double()
    assert of_matrix(square + square.T) == pytest.approx(0, abs=1e-10)
    assert of_matrix(square - square.T) == pytest.approx(2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    assert of_matrix(turn) == pytest.approx(1.6)
    assert of_matrix(torch.zeros(3, 3).double()) == 0
    wanted = torch.linalg.matrix_norm(square - square.T, 2) / torch.linalg.matrix_norm(square, 2)
    assert of_matrix(square) == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("config", "is_gradient"),
    [(CHAIN, False), (LipschitzConfig(features=6, depth=3), False), (LipschitzConfig(features=6, depth=1), False),
     (SMALL_RIDGE, True)],
)  # fmt: skip
def test_a_chain_of_layers_is_no_gradient_and_a_potential_is_one(config, is_gradient: bool) -> None:
    network, x = network_of(Case("any", config)), images(Case("any", config), 1, 6, 7)
    found = asymmetry(network.derivative(x), x, EXACT)
    matrix = jacobian(network.Q, x)
    wanted = torch.linalg.matrix_norm(matrix - matrix.T, 2) / torch.linalg.matrix_norm(matrix, 2)
    assert found.evidence is Evidence.MEASURED
    assert found.value == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)
    assert (found.value < 1e-6) == is_gradient
