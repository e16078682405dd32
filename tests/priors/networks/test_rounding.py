"""Layers in bfloat16: the proof is the exact network's, and the distance from it is measured and said."""

from dataclasses import replace

import pytest
import torch
from network_cases import CASES, SMALL_RIDGE, Case, images, network_of

from recon.certificates import certify_forward_backward
from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators import Identity
from recon.priors import reweighted, scaled
from recon.priors.networks import DnCNNConfig, LipschitzConfig, Network, learned_prior, make, resolvent, rounding_error

BUILT = LipschitzConfig(features=6, depth=3)
CHAINS = [case for case in CASES if case.config.family not in ("ConvexRidge", "ConvolutionalSparseCoding")]


def built() -> Network:
    return network_of(Case("", BUILT))


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.name)
def test_the_distance_from_the_exact_network_is_the_one_that_is_said(case: Case) -> None:
    network, x = network_of(case), images(case, 2, 13, 11).float()
    known = resolvent(network, case.level, precision="bfloat16", example=x)
    found, exact = known(x), network.frozen(torch.float32)(x, case.level)
    assert found.dtype == torch.float32
    size = x.flatten(1).norm(dim=1)
    apart = float(((found - exact).flatten(1).norm(dim=1) / size).max())
    assert known.properties.error.evidence is Evidence.MEASURED
    assert known.properties.error.value == pytest.approx(apart, rel=1e-3)
    assert 1e-5 < apart < 0.1
    assert "a sample, no bound" in known.properties.error.how


def test_only_the_layers_are_rounded() -> None:
    """A network that takes next to nothing away returns the image itself, to single precision."""
    network = make(DnCNNConfig(features=4, depth=3))
    with torch.no_grad():
        for kernel in network.kernels:
            kernel.mul_(1e-3)
    x = torch.rand(1, 1, 9, 9)
    assert torch.allclose(resolvent(network, precision="bfloat16")(x), x, rtol=0, atol=1e-7)


def test_what_is_proved_is_proved_of_the_exact_network() -> None:
    rounded, exact = (resolvent(built(), precision=name).properties for name in ("bfloat16", "float32"))
    assert rounded.lipschitz_Q.value == exact.lipschitz_Q.value
    assert rounded.lipschitz_Q.evidence is Evidence.PROVED
    assert rounded.lipschitz_Q.how.endswith("; without rounding")
    assert exact.error.value == 0


def test_a_certificate_does_not_hold_for_what_is_rounded() -> None:
    operator, prior = Identity((8, 8)).properties, learned_prior(built(), precision="bfloat16")
    certificate = certify_forward_backward(operator, prior.resolvent(1.0).properties, 1.5)
    assert not certificate.holds
    (missing,) = [condition for condition in certificate.conditions if not condition.holds]
    assert missing.name == "the prior is evaluated exactly, relative error"
    assert missing.evidence is Evidence.MEASURED
    assert missing.value == prior.resolvent(1.0).properties.error.value > 0


def test_scaling_keeps_the_error_and_reweighting_refuses_it() -> None:
    rounded = resolvent(built(), precision="bfloat16")
    assert scaled(rounded, 2.0).properties.error == rounded.properties.error
    with pytest.raises(UsageError, match="evaluated with the error"):
        reweighted(rounded, 2.0)


def test_the_worst_image_counts() -> None:
    x = torch.rand(3, 1, 4, 4)
    off = torch.tensor([0.0, 0.02, 0.01]).view(3, 1, 1, 1)
    assert rounding_error(lambda z: z * (1 + off), lambda z: z, x).value == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize(
    ("network", "precision", "sentence"),
    [
        (make(SMALL_RIDGE), "bfloat16", "how near its inner iteration is would be rounded too"),
        (make(replace(SMALL_RIDGE, one_shot=True)), "bfloat16", "only chains of convolutions of many channels"),
        (make(BUILT), "float8", "precision is 'float8'; expected float32 or bfloat16"),
    ],
)
def test_what_has_no_half_precision_is_refused(network: Network, precision: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        learned_prior(network, precision=precision)
    assert str(caught.value).count(". ") == 0
