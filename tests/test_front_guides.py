"""Guides by the front door: arrays, files, guided priors as objects, denoisers that follow or hold a guide."""

import pickle

import numpy as np
import pytest
import torch

import recon
from recon.errors import UsageError
from recon.evidence import Evidence
from recon.priors import guided_total_variation_prior
from recon.priors.networks import GuidedRidgeConfig, guided_prior, make, save

RIDGE = GuidedRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=(0.05, 0.2), levels=2, mask_width=0)


def scene(seed: int = 0) -> np.ndarray:
    x = np.full((28, 24), 0.2)
    x[6:16, 5:14] = 0.8
    return (x + 0.08 * np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make(RIDGE).eval()


def test_a_guide_is_an_array_or_its_file(tmp_path) -> None:
    guide = scene(1)
    np.save(tmp_path / "guide.npy", guide)
    by_array = recon.reconstruct(scene(), prior="tv", noise=0.08, guide=guide, range=(0, 1))
    by_file = recon.reconstruct(scene(), prior="tv", noise=0.08, guide=tmp_path / "guide.npy", range=(0, 1))
    plain = recon.reconstruct(scene(), prior="tv", noise=0.08, range=(0, 1))
    assert np.array_equal(by_array.image, by_file.image)
    assert not np.allclose(by_array.image, plain.image, atol=1e-3)
    assert by_array.certificate.given is not None
    assert plain.certificate.given is None


def test_a_guided_prior_may_be_an_object(network) -> None:
    found = recon.reconstruct(scene(), prior=guided_prior(network, 0.08), noise=0.08, range=(0, 1))
    assert found.result.first is not None
    assert found.certificate.sentence.startswith("Proved, given the guide")
    assert pickle.loads(pickle.dumps(found)).image.shape == scene().shape  # noqa: S301  our own


def test_a_guided_total_variation_object_guides_itself() -> None:
    found = recon.reconstruct(scene(), prior=guided_total_variation_prior(0.1), noise=0.08, range=(0, 1))
    assert found.result.first is not None
    assert found.certificate.given is not None


def test_the_gradient_takes_the_guide_for_a_constant_and_says_so(network) -> None:
    y = torch.from_numpy(scene())[None, None].requires_grad_()
    found = recon.reconstruct(
        y, prior=guided_prior(network, 0.08), noise=0.08, range=(0, 1), tolerance=1e-5, differentiable=True
    )
    assert any("gradient does not flow through it" in line for line in found.remarks)
    weights = torch.from_numpy(scene(3))[None, None]
    (slope,) = torch.autograd.grad((found.image * weights).sum(), y)
    guide = found.result.plan.guide
    held = guided_prior(network, 0.08, accuracy=1e-7).given(guide).resolvent(1.0)
    direction, h = torch.from_numpy(scene(4))[None, None], 1e-2
    with torch.no_grad():
        ahead, behind = (held(y.detach().double() + sign * h * direction.double()) for sign in (1, -1))
    expected = float(((ahead - behind) / (2 * h) * weights.double()).sum())
    assert float((slope * direction).sum()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("guide", [3.0, [[1.0]], True])
def test_a_guide_of_another_kind_is_refused(guide) -> None:
    with pytest.raises(UsageError, match=r"guide=.*expected an image of the size"):
        recon.reconstruct(scene(), prior="tv", noise=0.08, guide=guide)


def test_a_guided_denoiser_claims_nothing_until_its_guide_is_held(network, tmp_path) -> None:
    save(network, tmp_path / "net")
    denoise = recon.denoiser(str(tmp_path / "net"), 0.08)
    assert denoise.properties.lipschitz_Q.evidence is Evidence.ASSUMED
    assert denoise.properties.lipschitz_Q.value == np.inf
    y = torch.from_numpy(scene())[None, None]
    held = denoise.given(y)
    assert held.properties.lipschitz_Q.evidence is Evidence.PROVED
    by_hand = guided_prior(network, 0.08)
    first = guided_prior(network, 0.08, accuracy=1e-3).unguided.resolvent(1.0)(y)  # to a tenth of the accuracy
    assert torch.allclose(denoise(y), by_hand.given(first).resolvent(1.0)(y), atol=1e-6)
    finer = by_hand.given(by_hand.unguided.resolvent(1.0)(y)).resolvent(1.0)(y)
    assert torch.linalg.vector_norm(denoise(y) - finer) <= 2e-3 * torch.linalg.vector_norm(finer)


def test_a_denoiser_without_a_guide_takes_none() -> None:
    with pytest.raises(UsageError, match="takes no guide"):
        recon.denoiser("proved-gray", 0.05).given(scene())
