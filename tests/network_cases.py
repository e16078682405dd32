"""Small networks of every family, with weights far from those that training starts from."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.priors.networks import (
    Config,
    ConvexRidgeConfig,
    ConvolutionalSparseCodingConfig,
    DnCNNConfig,
    InnerSolver,
    LipschitzConfig,
    Network,
    make,
)

LEVELS = (0.05, 0.2)
SMALL_RIDGE = ConvexRidgeConfig(padding="valid", widths=(2, 4), size=3, pieces=5, noise_range=(0.1, 0.1))


@dataclass(frozen=True)
class Case:
    name: str
    config: Config
    level: float | None = None


SMALL_CODING = ConvolutionalSparseCodingConfig(atoms=4, size=3, stride=2, noise_range=(0.1, 0.1))

CASES = [
    Case("dncnn", DnCNNConfig(features=4, depth=4)),
    Case("dncnn-colour-conditioned", DnCNNConfig(channels=3, features=4, depth=3, conditioned=True), 0.1),
    Case("dncnn-circular", DnCNNConfig(features=4, depth=3, padding="circular")),
    Case("dncnn-details", DnCNNConfig(features=4, depth=3, coarse=2.0)),
    Case("dncnn-details-clipped", DnCNNConfig(features=4, depth=3, coarse=2.0, clip=0.3)),
    Case(
        "dncnn-details-divided",
        DnCNNConfig(channels=3, features=4, depth=3, conditioned=True, coarse=1.5, divisor=1.25, clip=0.3),
        0.1,
    ),
    Case("sll", LipschitzConfig(features=6, depth=3)),
    Case("sll-wide-spline", LipschitzConfig(features=4, hidden=7, depth=2, activation="spline", padding="circular")),
    Case("sll-colour-conditioned", LipschitzConfig(channels=3, features=5, depth=2, conditioned=True), 0.1),
    Case("aol-maxmin", LipschitzConfig(layers="aol", features=6, depth=3, activation="maxmin")),
    Case("aol-spline", LipschitzConfig(layers="aol", features=4, depth=2, activation="spline", padding="circular")),
    Case("orthogonal-abs", LipschitzConfig(layers="orthogonal", features=6, depth=3, activation="abs")),
    Case("orthogonal-few", LipschitzConfig(layers="orthogonal", features=3, depth=2, padding="circular")),
    Case(
        "orthogonal-convolution",
        LipschitzConfig(layers="orthogonal_convolution", features=5, depth=2, activation="abs"),
    ),
    Case(
        "orthogonal-convolution-cosines",
        LipschitzConfig(
            layers="orthogonal_convolution",
            size=5,
            features=9,
            depth=2,
            activation="spline",
            padding="circular",
            conditioned=True,
            rescaled=True,
            noise_range=LEVELS,
        ),
        0.1,
    ),
    Case("sll-sizes", LipschitzConfig(features=4, depth=2, size=1, ends=5)),
    Case("sll-squash", LipschitzConfig(features=4, hidden=6, depth=2, activation="squash", group=3)),
    Case("aol-softmax", LipschitzConfig(layers="aol", features=4, depth=2, activation="softmax", group=2)),
    Case(
        "orthogonal-convolution-squash",
        LipschitzConfig(layers="orthogonal_convolution", features=4, depth=2, activation="squash"),
    ),
    Case("abba", LipschitzConfig(layers="abba", features=6, depth=3)),
    Case("abba-spline", LipschitzConfig(layers="abba", features=4, depth=2, activation="spline", padding="circular")),
    Case("contraction", LipschitzConfig(features=4, depth=2, contraction=0.8)),
    Case("ridge", SMALL_RIDGE),
    Case("ridge-zero", replace(SMALL_RIDGE, padding="zero", profile="huber", pieces=3)),
    Case("ridge-circular", replace(SMALL_RIDGE, padding="circular")),
    Case("ridge-groups", replace(SMALL_RIDGE, group=2)),
    Case("ridge-huber-groups", replace(SMALL_RIDGE, group=4, profile="huber", pieces=2)),
    Case("ridge-colour", replace(SMALL_RIDGE, channels=3)),
    Case("ridge-levels", replace(SMALL_RIDGE, levels=3, noise_range=LEVELS), 0.1),
    Case("ridge-lifting", ConvexRidgeConfig(widths=(6,), size=3, lifting=2, pieces=5, noise_range=(0.1, 0.1))),
    Case("coding", SMALL_CODING),
    Case("coding-colour-dense", replace(SMALL_CODING, channels=3, size=2, stride=1)),
    Case("coding-levels", replace(SMALL_CODING, size=4, shifts=1, levels=3, noise_range=LEVELS), 0.1),
    Case("coding-layers", replace(SMALL_CODING, atoms=3, shifts=1, layers=2)),
    Case("one-shot", replace(SMALL_RIDGE, one_shot=True)),
    Case("one-shot-groups", replace(SMALL_RIDGE, one_shot=True, group=2, padding="zero")),
]


def network_of(case: Case, seed: int = 0, strength: float = 0.3) -> Network:
    """With weights far from those that training starts from, in double precision."""
    torch.manual_seed(seed)
    network = make(case.config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    if network.iterates:
        network.solver = InnerSolver(accuracy=1e-11, adjoint_accuracy=1e-11, max_steps=5000)
    return network.frozen()


def images(case: Case, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], case.config.channels, *shape[1:], generator=generator, dtype=torch.float64)


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
