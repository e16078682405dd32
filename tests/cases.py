"""The cases that parametrise the tests of laws: add one line, meet every test."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch

from recon.operators import (
    Blocks,
    Blur,
    CartesianMRI,
    Downsampling,
    Entries,
    Factorised,
    Identity,
    Inpainting,
    Matrix,
    Permutation,
    Space,
    box_psf,
    compose,
    gaussian_psf,
    motion_psf,
    scale,
    stack,
)
from recon.operators.composition import CharacterisedOperator
from recon.operators.tomography import (
    AlongAxis,
    Detector,
    Geometry,
    Tomography,
    Volume,
    WeightedTomography,
    evenly_spaced,
)
from recon.priors import (
    Prior,
    Resolvent,
    box,
    box_prior,
    conjugate,
    guided_total_variation_prior,
    identity,
    l1_prior,
    l2_ball,
    no_prior,
    reweighted,
    scaled,
    smoothed_total_variation_prior,
    soft_threshold,
    tikhonov,
    tikhonov_prior,
    total_variation,
    total_variation_prior,
    wavelet_prior,
    wavelet_shrinkage,
)
from recon.priors.networks import (
    Config,
    ConvexCriticConfig,
    ConvexRidgeConfig,
    LipschitzConfig,
    critic_prior,
    make,
    make_convex_critic,
    resolvent,
)

PRIOR_IMAGE = (2, 7, 10)
"""Channels, height and width of the images that every resolvent of PRIORS takes."""


@dataclass(frozen=True)
class ResolventCase:
    """A resolvent under a name.

    ``differentiable`` says that autograd passes through it, ``symmetric`` that it is a proximity operator.
    """

    name: str
    make: Callable[[], Resolvent]
    differentiable: bool = True
    symmetric: bool = True


@cache
def untrained(config: Config) -> Resolvent:
    """A network of two channels with the weights that training starts from."""
    torch.manual_seed(0)
    return resolvent(make(config), accuracy=1e-7)


RIDGE = ConvexRidgeConfig(channels=2, widths=(2, 4), size=3, noise_range=(0.5, 0.5))

GUIDE = torch.rand(1, *PRIOR_IMAGE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def convex_critic() -> Prior:
    """A penalty with the weights that training starts from."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        critic = make_convex_critic(ConvexCriticConfig(2, features=5, size=3, hidden=3, noise_range=(0.1, 0.1)))
    return critic_prior(critic, 0.3, accuracy=1e-8)


def guided_tv(isotropic: bool = True, joint: bool = False) -> Prior:
    return guided_total_variation_prior(0.3, isotropic, joint, smoothing=0, accuracy=1e-6).given(GUIDE)


PRIORS = [
    ResolventCase("identity", identity),
    ResolventCase("box", lambda: box(-0.5, 0.5)),
    ResolventCase("half-line", lambda: box(0, float("inf"))),
    ResolventCase("tikhonov", lambda: tikhonov(0.3)),
    ResolventCase("tikhonov-zero", lambda: tikhonov(0)),
    ResolventCase("tikhonov-strong", lambda: tikhonov(5)),
    ResolventCase("soft-threshold", lambda: soft_threshold(0.4)),
    ResolventCase("l2-ball", lambda: l2_ball(torch.full((1, *PRIOR_IMAGE), 0.25), 3.0)),
    ResolventCase("wavelet-haar", lambda: wavelet_shrinkage(0.3, "haar", levels=2)),
    ResolventCase("wavelet-db4", lambda: wavelet_shrinkage(0.3)),
    ResolventCase("wavelet-cycle-spinning", lambda: wavelet_shrinkage(0.3, "db2", shifts=3)),
    ResolventCase("tv", lambda: total_variation(0.3, accuracy=1e-6), differentiable=False),
    ResolventCase("tv-anisotropic", lambda: total_variation(0.3, isotropic=False, accuracy=1e-6), differentiable=False),
    ResolventCase("tv-joint", lambda: total_variation(0.3, joint=True, accuracy=1e-6), differentiable=False),
    ResolventCase("tv-guided", lambda: guided_tv().resolvent(1.0), differentiable=False),
    ResolventCase("tv-guided-anisotropic", lambda: guided_tv(isotropic=False).resolvent(1.0), differentiable=False),
    ResolventCase(
        "tv-smoothed",
        lambda: smoothed_total_variation_prior(0.3, 0.1, accuracy=1e-8).resolvent(1.0),
        differentiable=False,
    ),
    ResolventCase("conjugate-of-box", lambda: conjugate(box(-0.5, 0.5), 0.7)),
    ResolventCase("conjugate-of-wavelet", lambda: conjugate(wavelet_shrinkage(0.3), 2.0)),
    ResolventCase("scaled", lambda: scaled(soft_threshold(0.4), 0.5)),
    ResolventCase(
        "reweighted", lambda: reweighted(soft_threshold(0.4), 0.3, accuracy=1e-10), differentiable=False
    ),  # it is, to the accuracy of its inner iteration
    ResolventCase("network-ridge", lambda: untrained(RIDGE), differentiable=False),
    ResolventCase(
        "network-ridge-groups",
        lambda: untrained(replace(RIDGE, group=2, profile="huber", pieces=2)),
        differentiable=False,  # it is, to the accuracy of its inner iteration
    ),
    ResolventCase("network-one-shot", lambda: untrained(replace(RIDGE, one_shot=True, padding="zero"))),
    ResolventCase("network-sll", lambda: untrained(LipschitzConfig(2, features=4, depth=2)), symmetric=False),
    ResolventCase(
        "network-aol",
        lambda: untrained(LipschitzConfig(2, layers="aol", features=4, depth=2, activation="maxmin")),
        symmetric=False,
    ),
    ResolventCase(
        "network-orthogonal",
        lambda: untrained(LipschitzConfig(2, layers="orthogonal", features=6, depth=2, activation="spline")),
        symmetric=False,
    ),
]

ENERGIES: dict[str, Prior] = {
    "none": no_prior(),
    "box": box_prior(-0.5, 0.5),
    "tikhonov": tikhonov_prior(0.3),
    "l1": l1_prior(0.3),
    "wavelet": wavelet_prior(0.3),
    "tv": total_variation_prior(0.3, accuracy=1e-6),
    "tv-anisotropic": total_variation_prior(0.3, isotropic=False, accuracy=1e-6),
    "tv-smoothed": smoothed_total_variation_prior(0.3, 0.1, accuracy=1e-8),
    "tv-smoothed-joint": smoothed_total_variation_prior(0.3, 0.1, isotropic=False, joint=True, accuracy=1e-8),
    "tv-joint": total_variation_prior(0.3, accuracy=1e-6, joint=True),
    "tv-guided": guided_tv(),
    "tv-guided-anisotropic": guided_tv(isotropic=False),
    "tv-guided-joint": guided_tv(joint=True),
    "convex-critic": convex_critic(),
}
"""The priors that have a value, whose resolvents must minimise it."""


@dataclass(frozen=True)
class OperatorCase:
    """An operator on small images under a name."""

    name: str
    make: Callable[[], CharacterisedOperator]


def random_psf(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A kernel without any symmetry: it tells convolution from correlation."""
    psf = torch.rand(height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return psf / psf.sum()


def random_mask(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) > 0.4


def weighted(projector: Tomography) -> WeightedTomography:
    """Weights between 0 and 1, some of them 0."""
    root = torch.rand(projector.range.shape, generator=torch.Generator().manual_seed(3)).sub(0.2).clamp(min=0)
    return WeightedTomography(projector, root)


def scan(kind: str, **distances: float) -> Geometry:
    """A small scan, off centre, with a detector that is finer than the pixels."""
    return Geometry(
        kind, evenly_spaced(10, 190, 5), Detector(9, 0.8, 0.3), Volume((5, 6), 1.0, (0.2, -0.4)), **distances
    )


def cone_scan() -> Geometry:
    """A small scan of a volume, off centre in all directions."""
    return Geometry(
        "cone",
        evenly_spaced(10, 370, 3),
        Detector(5, 1.6, 0.3, rows=AlongAxis(4, 1.5, -0.5)),
        Volume((4, 5), 1.0, (0.2, -0.4), AlongAxis(3, 0.9, 0.3)),
        source_to_axis=12.0,
        source_to_detector=20.0,
    )


def random_matrix(rows: int, columns: int, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.complex128)


def random_blocks(is_complex: bool) -> tuple[Blocks | Permutation, ...]:
    """Factors of a butterfly of 12 = 2 x 3 x 2 between two permutations."""
    generator = torch.Generator().manual_seed(6)
    kind = torch.complex128 if is_complex else torch.float64
    shapes = ((1, 6, 2, 2), (2, 2, 3, 3), (6, 1, 2, 2))
    blocks = [Blocks(torch.randn(shape, generator=generator, dtype=kind)) for shape in shapes]
    orders = [Permutation(torch.randperm(12, generator=generator)) for _ in range(2)]
    return (orders[0], *blocks, orders[1])


def random_entries() -> tuple[Entries, Entries]:
    generator = torch.Generator().manual_seed(7)

    def entries(rows: int, columns: int) -> Entries:
        picked = torch.randperm(rows * columns, generator=generator)[: rows * columns // 3]
        values = torch.randn(len(picked), generator=generator, dtype=torch.float64)
        return Entries((rows, columns), picked // columns, picked % columns, values)

    return entries(6, 5), entries(5, 8)


OPERATORS = [
    OperatorCase("identity", lambda: Identity((6, 7))),
    OperatorCase("blur-gaussian", lambda: Blur(gaussian_psf(0.6), (8, 9))),
    OperatorCase("blur-odd", lambda: Blur(random_psf(3, 5), (8, 7))),
    OperatorCase("blur-even", lambda: Blur(random_psf(4, 2), (6, 9))),
    OperatorCase("blur-whole-image", lambda: Blur(random_psf(5, 6), (5, 6))),
    OperatorCase("blur-signed", lambda: Blur(random_psf(3, 4) - 0.05, (7, 8))),
    OperatorCase("blur-valid-odd", lambda: Blur(random_psf(3, 5), (8, 9), "valid")),
    OperatorCase("blur-valid-even", lambda: Blur(random_psf(4, 2), (7, 11), "valid")),
    OperatorCase("inpainting", lambda: Inpainting(random_mask(6, 5))),
    OperatorCase("inpainting-nothing", lambda: Inpainting(torch.zeros(4, 5, dtype=torch.bool))),
    OperatorCase("inpainting-everything", lambda: Inpainting(torch.ones(4, 5, dtype=torch.bool))),
    OperatorCase("tomography-parallel", lambda: Tomography(scan("parallel"))),
    OperatorCase("tomography-fan", lambda: Tomography(scan("fan", source_to_axis=9.0, source_to_detector=20.0))),
    OperatorCase("tomography-weighted", lambda: weighted(Tomography(scan("parallel")))),
    OperatorCase("tomography-cone", lambda: Tomography(cone_scan())),
    OperatorCase("matrix", lambda: Matrix(random_psf(7, 12) - 0.01, Space((3, 4)), Space((7,)))),
    OperatorCase("matrix-complex", lambda: Matrix(random_matrix(7, 12), Space((3, 4), True), Space((7,), True))),
    OperatorCase("factors-blocks", lambda: Factorised(random_blocks(False), Space((3, 4)), Space((2, 6)))),
    OperatorCase("factors-complex", lambda: Factorised(random_blocks(True), Space((3, 4), True), Space((2, 6), True))),
    OperatorCase("factors-padded", lambda: Factorised(random_blocks(False), Space((5, 2)), Space((11,)))),
    OperatorCase("factors-entries", lambda: Factorised(random_entries(), Space((2, 4)), Space((6,)))),
    OperatorCase("downsampling-1", lambda: Downsampling((6, 7), 1)),
    OperatorCase("downsampling-2", lambda: Downsampling((12, 8), 2)),
    OperatorCase("downsampling-3", lambda: Downsampling((12, 15), 3)),
    OperatorCase("downsampling-box", lambda: Downsampling((8, 12), 4, "box")),
    OperatorCase("downsampling-bicubic", lambda: Downsampling((10, 8), 2, "bicubic")),
    OperatorCase("mri", lambda: CartesianMRI(random_mask(6, 7))),
    OperatorCase("scaled", lambda: scale(Blur(random_psf(3, 3), (6, 7)), -2.5)),
    OperatorCase("scaled-valid", lambda: scale(Blur(random_psf(3, 3), (6, 7), "valid"), 0.3)),
    OperatorCase("scaled-mri", lambda: scale(CartesianMRI(random_mask(5, 6)), 1.5)),
    OperatorCase("masked-blur", lambda: compose(Inpainting(random_mask(7, 8)), Blur(motion_psf(3, 30), (7, 8)))),
    OperatorCase("blur-twice", lambda: compose(Blur(box_psf(2), (6, 7), "valid"), Blur(random_psf(3, 2), (6, 7)))),
    OperatorCase("two-views", lambda: stack(Blur(random_psf(3, 2), (6, 7)), Blur(box_psf(2), (6, 7), "valid"))),
    OperatorCase("two-scans", lambda: stack(CartesianMRI(random_mask(4, 5)), CartesianMRI(random_mask(4, 5, seed=1)))),
    OperatorCase("stack-of-one", lambda: stack(Inpainting(random_mask(5, 4)))),
]
