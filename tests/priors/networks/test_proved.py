"""What is proved of a network, against its Jacobians and its secants at several sizes."""

import pytest
import torch
from network_cases import CASES, Case, images, jacobian, network_of

from recon.evidence import Evidence
from recon.priors.networks import ConvexRidgeConfig, DnCNNConfig, LipschitzConfig

proved_cases = pytest.mark.parametrize(
    "case", [case for case in CASES if not isinstance(case.config, DnCNNConfig)], ids=lambda case: case.name
)


@proved_cases
@pytest.mark.parametrize("seed", range(3))
def test_what_is_proved_holds_for_arbitrary_weights_and_sizes(case: Case, seed: int) -> None:
    network = network_of(case, seed, strength=[0.03, 0.3, 1.5][seed])
    claim = network.lipschitz_Q(case.level)
    assert claim.evidence is Evidence.PROVED
    assert claim.value <= 1
    for size in [(3, 4), (5, 3)]:
        norm = torch.linalg.matrix_norm(jacobian(lambda x: network.Q(x, case.level), images(case, 1, *size)), 2)
        assert float(norm) <= claim.value + 1e-9
    x, y = images(case, 4, 9, 8), images(case, 4, 9, 8, seed=1)
    for scale in (1e-2, 1.0, 30.0):
        z = x + scale * y
        change = network.Q(z, case.level) - network.Q(x, case.level)
        assert bool((change.flatten(1).norm(dim=1) <= (claim.value + 1e-8) * scale * y.flatten(1).norm(dim=1)).all())


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case.config, ConvexRidgeConfig)], ids=lambda case: case.name
)
def test_the_prox_of_a_potential_is_symmetric_and_between_zero_and_one(case: Case) -> None:
    network = network_of(case)
    matrix = jacobian(lambda x: network(x, case.level), 0.1 * images(case, 1, 5, 6))
    assert torch.allclose(matrix, matrix.T, atol=1e-9)
    spectrum = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert float(spectrum.min()) > -1e-9
    assert float(spectrum.max()) < 1 + 1e-9
    assert float(spectrum.min()) < 0.95  # it does something


def test_the_other_networks_are_not_symmetric() -> None:
    case = Case("sll", LipschitzConfig(features=6, depth=3))
    matrix = jacobian(network_of(case), images(case, 1, 5, 6))
    assert not torch.allclose(matrix, matrix.T, atol=1e-4)
