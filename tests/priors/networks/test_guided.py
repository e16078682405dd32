"""A masked potential is convex, its prox and its conjugate are exact, and a guide only ever decides its weights."""

from dataclasses import asdict, replace

import pytest
import torch
from network_cases import SMALL_RIDGE
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.priors.networks import (
    ConvexRidge,
    GuidedRidge,
    GuidedRidgeConfig,
    InnerSolver,
    guided_prior,
    learned_prior,
    load,
    resolvent,
    save,
)
from recon.priors.networks.architectures.ridge_prox import prox
from recon.priors.networks.layers import ridge_conjugate as conjugates
from recon.priors.networks.layers.masks import Mask
from recon.priors.networks.layers.profiles import Pieces
from recon.priors.networks.layers.ridge_conjugate import RidgeConjugate

PRECISE = InnerSolver(accuracy=1e-12, adjoint_accuracy=1e-12, max_steps=20_000)
GUIDED = GuidedRidgeConfig(**asdict(replace(SMALL_RIDGE, padding="zero")), mask_width=4, mask_bounds=(0.1, 3.0))
variants = pytest.mark.parametrize(
    "config",
    [
        GUIDED,
        replace(GUIDED, padding="valid", mask_width=0),
        replace(GUIDED, group=2, profile="huber", pieces=2),
        replace(GUIDED, levels=2, noise_range=(0.05, 0.2), channels=3),
    ],
    ids=["zero", "valid-law-alone", "groups", "colour-levels"],
)


def network_of(config: GuidedRidgeConfig, solver: InnerSolver = PRECISE) -> GuidedRidge:
    torch.manual_seed(1)
    network = GuidedRidge(config, solver).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def level_of(config: GuidedRidgeConfig) -> float | None:
    return 0.1 if config.levels > 1 else None


def images(config: GuidedRidgeConfig, *shape: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.2 * torch.randn(shape[0], config.channels, *shape[1:], generator=generator, dtype=torch.float64)


@variants
def test_the_gradient_and_the_curvature_are_those_of_the_value(config) -> None:
    network, x = network_of(config), images(config, 2, 11, 12).requires_grad_()
    ridge = network.guided(images(config, 2, 11, 12, seed=3), level_of(config))
    (by_value,) = torch.autograd.grad(ridge.value(x).sum(), x, create_graph=True)
    assert torch.allclose(by_value, ridge.gradient(x), atol=1e-10)
    v = images(config, 2, 11, 12, seed=4) - 0.5
    (pushed,) = torch.autograd.grad(ridge.gradient(x), x, v)
    assert torch.allclose(ridge.curvature(x.detach())(v), pushed, atol=1e-10)
    bent = (v * pushed).sum((1, 2, 3))
    assert bool((bent >= -1e-12).all())
    assert bool((bent <= ridge.smoothness.flatten() * v.square().sum((1, 2, 3)) * (1 + 1e-9)).all())


@variants
def test_strips_of_rows_take_their_own_part_of_the_mask(config, monkeypatch) -> None:
    from recon.priors.networks.architectures import ridge_potential  # noqa: PLC0415

    network, x = network_of(config), images(config, 1, 40, 9)
    ridge = network.guided(images(config, 1, 40, 9, seed=3), level_of(config))
    with torch.no_grad():
        whole = ridge.gradient(x)
        monkeypatch.setattr(ridge_potential, "STRIP", 1)
        assert torch.allclose(ridge.gradient(x), whole, atol=1e-12)


@variants
def test_the_prox_minimises(config) -> None:
    network, y = network_of(config), images(config, 1, 9, 9)
    with torch.no_grad():
        ridge = network.guided(images(config, 1, 9, 9, seed=3), level_of(config))
        p = prox(ridge, y, PRECISE)
        best = float((p - y).square().sum() / 2 + ridge.value(p))
        for seed in range(10):
            z = p + 0.01 * (images(config, 1, 9, 9, seed=seed) - 0.5)
            energy = float((z - y).square().sum() / 2 + ridge.value(z))
            assert energy >= best + float((z - p).square().sum()) / 2 - 1e-10


@variants
def test_the_gradients_of_the_mask_are_those_of_a_long_unrolling(config) -> None:
    y, guide, weights = images(config, 2, 10, 9), images(config, 2, 10, 9, seed=3), images(config, 2, 10, 9, seed=4)
    gradients = []
    for solver in (PRECISE, InnerSolver(steps=600)):
        network = network_of(config, solver)
        (network(y, level_of(config), guide) * weights).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert any(name.startswith("mask.") for name in gradients[0])
    for name, implicit in gradients[0].items():
        unrolled = gradients[1][name]
        assert float((implicit - unrolled).norm()) <= 1e-5 * float(unrolled.norm()) + 1e-10, name


@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("guide", ["constant", "tiny", "huge", "noise", "line"])
def test_every_guide_gives_weights_within_the_bounds(width: int, guide: str) -> None:
    network = network_of(replace(GUIDED, mask_width=width)).float()
    shape = (1, 1, 1, 16) if guide == "line" else (1, 1, 16, 16)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    image = {"constant": torch.ones(shape), "tiny": 1e-30 * noise, "huge": 1e30 * noise}.get(guide, noise)
    with torch.no_grad():
        mask = network.guided(image).mask
    low, high = GUIDED.mask_bounds
    assert float(mask.min()) >= low * (1 - 1e-6)
    assert float(mask.max()) <= high * (1 + 1e-6)


def test_the_untrained_mask_falls_with_the_response() -> None:
    mask = Mask(1, 0, (0.01, 10.0))
    at = [float(mask(torch.full((1, 1, 9, 9), t), torch.zeros(1)).mean().detach()) for t in (0.0, 0.5, 2.0, 20.0)]
    assert at == sorted(at, reverse=True)
    assert at[0] == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_masked_conjugate_solves_its_equation_in_every_layout(batch, layout, dtype) -> None:
    ridge = network_of(GUIDED).frozen().ridge()
    pieces = ridge.profile.pieces().scaled(ridge.scale.view(-1, 1))
    generator = torch.Generator().manual_seed(0)
    u = (8 * torch.randn(batch, 4, 7, 6, generator=generator, dtype=dtype)).contiguous(memory_format=layout)
    mask = 0.1 + torch.rand(batch, 4, 7, 6, generator=generator, dtype=dtype)
    weight, sigma = 20.0, 0.7
    conjugate = RidgeConjugate(pieces, torch.tensor(weight), sigma, mask)
    found = conjugate(u)
    x = (u - found) / sigma  # the prox of g / sigma at u / sigma: u - sigma x is w m psi'(x)
    influence = torch.where(x >= 0, 1.0, -1.0) * _influence(pieces, x.abs())
    assert torch.allclose(found, weight * mask * influence.to(dtype), rtol=1e-3, atol=1e-4)
    searched = conjugates.by_search(u, mask, weight, sigma, conjugate._like(u, last=False)[1])
    assert torch.allclose(found, searched, rtol=1e-4, atol=1e-6)
    assert torch.equal(conjugate.of_rows(3, u[:, :, 3:5]), found[:, :, 3:5])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layouts", ["planes", "pixels", "planes of pixels", "pixels of planes", "rows of an image"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_relaxed_step_in_one_pass_is_the_step_in_its_parts(masked, layouts, dtype) -> None:
    ridge = network_of(GUIDED).frozen().ridge()
    pieces = ridge.profile.pieces().scaled(ridge.scale.view(-1, 1))
    generator = torch.Generator().manual_seed(0)
    u, z = (8 * torch.randn(2, 4, 9, 6, generator=generator, dtype=dtype) for _ in range(2))
    u[0, 0, 0, 0], z[0, 1, 2, 3] = 0.0, -0.0
    mask = 0.1 + torch.rand(1, 4, 9, 6, generator=generator, dtype=dtype) if masked else None
    if layouts.startswith("pixels"):
        u = u.contiguous(memory_format=torch.channels_last)
    if layouts in ("pixels", "planes of pixels"):
        z = z.contiguous(memory_format=torch.channels_last)
    top, rows = (3, slice(3, 7)) if layouts == "rows of an image" else (0, slice(None))
    u, z = u[:, :, rows], z[:, :, rows]
    conjugate = RidgeConjugate(pieces, torch.tensor(2.0), 0.7, mask).times(1.5)
    parts = 1.5 * RidgeConjugate(pieces, torch.tensor(2.0), 0.7, mask).of_rows(top, (u + 0.3 * z) / 1.5)
    found = conjugate.relaxed(top, u, z, 0.3, 1.7)
    assert torch.allclose(found, torch.lerp(u, parts, 1.7), rtol=1e-5, atol=1e-5)
    with_graph = conjugate.relaxed(top, u.requires_grad_(), z, 0.3, 1.7)
    assert with_graph.requires_grad
    assert torch.allclose(found, with_graph.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [2, 4, 5, 6, 9, 10])
def test_any_number_of_pieces_is_gone_over(count, layout, masked) -> None:
    """The loops take them four at a time."""
    generator = torch.Generator().manual_seed(count)
    knots = functional.pad(0.2 * torch.rand(4, count - 1, generator=generator).cumsum(1), (1, 0))
    slopes = torch.rand(4, count, generator=generator)
    u, z = (2 * torch.randn(1, 4, 5, 7, generator=generator).contiguous(memory_format=layout) for _ in range(2))
    mask = 0.1 + torch.rand(1, 4, 5, 7, generator=generator) if masked else None
    conjugate = RidgeConjugate(Pieces(knots, slopes), torch.tensor(2.0), 0.7, mask)
    found = conjugate.relaxed(0, u, z, 0.3, 1.7)
    in_tensors = conjugate.relaxed(0, u.requires_grad_(), z, 0.3, 1.7).detach()
    assert torch.allclose(found, in_tensors, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_what_is_not_a_number_stays_so(masked) -> None:
    ridge = network_of(GUIDED).frozen().ridge()
    pieces = ridge.profile.pieces().scaled(ridge.scale.view(-1, 1))
    u = torch.ones(1, 4, 3, 3)
    u[0, 1, 1, 1] = torch.nan
    mask = torch.ones_like(u) if masked else None
    found = RidgeConjugate(pieces, torch.tensor(2.0), 0.7, mask).relaxed(0, u, torch.ones_like(u), 0.3, 1.7)
    assert torch.equal(found.isnan(), u.isnan())


def _influence(pieces, size: Tensor) -> Tensor:
    """psi' by interpolation of its knots, the last piece going on."""
    table = torch.zeros_like(size, dtype=torch.float64)
    for channel in range(size.shape[1]):
        knots, slopes = pieces.knots[channel].double(), pieces.slopes[channel].double()
        rises = torch.minimum(size[:, channel, ..., None].double(), torch.cat([knots[1:], torch.tensor([torch.inf])]))
        table[:, channel] = ((rises - knots).clamp(min=0) * slopes).sum(-1)
    return table


def test_a_mask_of_ones_is_the_unguided_conjugate() -> None:
    network = network_of(GUIDED).frozen()
    prior = guided_prior(network).unguided
    u = 5 * torch.randn(1, 4, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ridge = network.ridge()
    pieces = ridge.profile.pieces().scaled(ridge.scale.view(-1, 1))
    masked = RidgeConjugate(pieces, ridge.weight, 0.4, torch.ones_like(u))
    assert torch.allclose(masked(u), prior.split.conjugate_resolvent(0.4)(u), atol=1e-12)


@variants
def test_what_a_guide_gives_is_proved(config) -> None:
    network = network_of(config).frozen()
    guided = guided_prior(network, level_of(config), accuracy=1e-9)
    prior = guided.given(images(config, 1, 12, 11, seed=3))
    assert "given the guide" in prior.name
    assert prior.mask.bounds == config.mask_bounds
    assert config.mask_bounds[0] <= prior.mask.low <= prior.mask.mean <= prior.mask.high <= config.mask_bounds[1]
    assert prior.smooth.lipschitz.evidence is Evidence.PROVED
    j = prior.resolvent(0.6)
    assert j.properties.proximity.evidence is Evidence.PROVED
    for seed in range(4):
        x, y = images(config, 1, 12, 11, seed=seed), images(config, 1, 12, 11, seed=seed + 20)
        moved = j(x) - j(y)
        assert float((moved * (x - y)).sum()) >= float(moved.square().sum()) * (1 - 1e-6)
        steep = (prior.smooth.gradient(x) - prior.smooth.gradient(y)).norm()
        assert float(steep) <= prior.smooth.lipschitz.value * float((x - y).norm())


@variants
def test_the_splitting_the_gradient_and_the_prox_are_of_one_penalty(config) -> None:
    prior = guided_prior(network_of(config).frozen(), level_of(config), accuracy=1e-9).given(images(config, 1, 12, 11))
    y = images(config, 1, 12, 11, seed=5)
    p = prior.resolvent(1.0)(y)
    assert torch.allclose(p + prior.smooth.gradient(p), y, atol=1e-7)
    x, u = y, torch.zeros_like(prior.split.operator.A(y))  # Chambolle and Pock, a strongly convex data term
    dual, w = prior.split.conjugate_resolvent(1.9), x
    for _ in range(3000):
        u = dual(u + 1.9 * prior.split.operator.A(w))
        before, x = x, (x - 0.5 * prior.split.operator.A_adjoint(u) + 0.5 * y) / 1.5
        w = 2 * x - before
    assert torch.allclose(x, p, atol=1e-5)


def test_a_scaled_guided_prior_reads_its_guide_on_the_scale_of_the_image() -> None:
    guided = guided_prior(network_of(GUIDED).frozen(), accuracy=1e-9)
    guide, x = images(GUIDED, 1, 12, 11), images(GUIDED, 1, 12, 11, seed=5)
    scaled = guided.scaled(3.0).given(3 * guide)
    assert scaled.mask == guided.given(guide).mask
    assert torch.allclose(scaled.resolvent(1.0)(3 * x), 3 * guided.given(guide).resolvent(1.0)(x), atol=1e-6)


def test_a_guide_whose_responses_overflow_is_refused() -> None:
    guided = guided_prior(network_of(GUIDED), level_of(GUIDED))
    with pytest.raises(UsageError, match="the weights that the guide gives are not finite; expected a guide on"):
        guided.given(3e38 * images(GUIDED, 1, 24, 24).float())


def test_a_weighted_guided_prior_keeps_its_mask() -> None:
    guided = guided_prior(network_of(GUIDED).frozen(), accuracy=1e-9)
    guide, x = images(GUIDED, 1, 12, 11), images(GUIDED, 1, 12, 11, seed=5)
    weighted = guided.weighted(0.3).given(guide)
    assert weighted.mask == guided.given(guide).mask
    assert torch.allclose(weighted.resolvent(1.0)(x), guided.given(guide).resolvent(0.3)(x), atol=1e-7)


def test_a_network_that_takes_a_guide_is_no_single_resolvent() -> None:
    network = network_of(GUIDED)
    for wrong in (lambda: learned_prior(network), lambda: resolvent(network)):
        with pytest.raises(UsageError, match=r"takes a guide; expected guided_prior\(network, noise\)"):
            wrong()
    with pytest.raises(UsageError, match="the network is ConvexRidge; expected a GuidedRidge"):
        guided_prior(ConvexRidge(SMALL_RIDGE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_bounds": (0.0, 1.0)}, "expected two positive numbers"),
        ({"mask_bounds": (2.0, 1.0)}, "the lower one first"),
        ({"mask_width": -1}, "expected 0 to 1024"),
        ({"one_shot": True}, "expected false"),
    ],
)
def test_what_no_guided_network_can_have_is_refused(changes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(GUIDED, **changes).check()


def test_a_guided_network_is_saved_and_loaded(tmp_path) -> None:
    network = network_of(GUIDED)
    save(network, tmp_path / "net")
    found = load(tmp_path / "net")
    x = images(GUIDED, 1, 9, 8)
    with torch.no_grad():
        assert torch.allclose(found.double().guided(x).mask, network.guided(x).mask, rtol=1e-5)
