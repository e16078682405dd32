"""The same prior, t times as strong: against closed forms, and against its equation."""

from functools import partial

import pytest
import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.evidence import Assumed, Evidence, Proved
from recon.priors import (
    Resolvent,
    ResolventProperties,
    reweighted,
    soft_threshold,
    tikhonov,
    total_variation,
    wavelet_shrinkage,
)


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.01, 0.3, 0.5, 1.0, 2.5, 40.0])
@pytest.mark.parametrize("make", [soft_threshold, tikhonov, partial(wavelet_shrinkage, wavelet="haar", levels=1)])
def test_a_penalty_is_multiplied(make, weight: float) -> None:
    x, base = images(2, 1, 8, 8), 0.2
    found, expected = reweighted(make(base), weight, accuracy=1e-10, max_steps=20_000), make(weight * base)
    assert torch.allclose(found(x), expected(x), atol=1e-9)
    assert found.properties.lipschitz_Q.value >= expected.properties.lipschitz_Q.value - 1e-12


def rotation(x: Tensor) -> Tensor:
    """(Id + R)^-1 for R a quarter turn: a resolvent that is no proximity operator."""
    return (x - torch.stack([-x[:, 1], x[:, 0]], 1)) / 2


@pytest.mark.parametrize("weight", [0.2, 3.0])
def test_a_rotation_is_multiplied(weight: float) -> None:
    turned = Resolvent(rotation, ResolventProperties(Proved(1.0, "a rotation is monotone")), "rotation")
    x = images(1, 2, 1, 1)
    z = reweighted(turned, weight, accuracy=1e-12)(x)
    assert torch.allclose(z + weight * torch.stack([-z[:, 1], z[:, 0]], 1), x)


@pytest.mark.parametrize("t", [0.3, 1.0, 4.0])
def test_the_lipschitz_constant_is_attained(t: float) -> None:
    """For Q = q R with R a rotation by any angle, the new constant is at most the stated one, and met at +-q."""
    q = 0.8
    stated = reweighted(
        Resolvent(lambda x: (1 + q) / 2 * x, ResolventProperties(Proved(q, "")), "gain"), t
    ).properties.lipschitz_Q.value
    angles = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    z = q * torch.exp(1j * angles)
    found = (((1 + t) * z + 1 - t) / (1 + t + (1 - t) * z)).abs().max()
    assert stated == pytest.approx(float(found), rel=1e-9)
    contracted = tikhonov(0.2)  # Q = 2/3 Id, which knows its constant but not its sign
    assert reweighted(contracted, 0.5).properties.lipschitz_Q.value == pytest.approx(0.9 / 1.1)


@pytest.mark.parametrize("accuracy", [1e-2, 1e-5])
def test_the_accuracy_is_kept(accuracy: float) -> None:
    x = images(3, 1, 8, 8)
    truth = soft_threshold(8.0)(x)
    found = reweighted(soft_threshold(0.4), 20.0, accuracy)
    assert found.properties.error.value == accuracy
    assert found.properties.error.evidence is Evidence.PROVED
    assert bool(((found(x) - truth).flatten(1).norm(dim=1) <= accuracy * x.flatten(1).norm(dim=1)).all())


def test_what_has_no_solution_or_no_bound_is_refused() -> None:
    expansive = Resolvent(lambda x: 2 * x, ResolventProperties(Assumed(3.0, "")), "twice")
    with pytest.raises(UsageError, match="Lip\\(Q\\) of twice is 3"):
        reweighted(expansive, 2.0)
    with pytest.raises(UsageError, match=r"evaluated with the error 0\.0001"):
        reweighted(total_variation(0.1), 2.0)
    with pytest.raises(UsageError, match="weight=0"):
        reweighted(soft_threshold(0.1), 0)
    with pytest.raises(UsageError, match="accuracy=2"):
        reweighted(soft_threshold(0.1), 2.0, accuracy=2)
    with pytest.raises(GuaranteeError, match="after 3 steps"):
        reweighted(soft_threshold(0.1), 50.0, max_steps=3)(images(1, 1, 8, 8))
