"""What the penalty adds to a training step, and what it sees; the DnCNN of the reference work, batch 4 of 64 x 64.

The peers are our own plain step, of which a penalised one may take at most 5, and the plain loss with deepinv's
JacobianSpectralNorm of the same number of steps. `seen` is the part of the converged norm, the mean over the patches,
that the warm Lanczos steps see, beside ten cold power steps: it should be no less.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from timing import compare, report

from recon.priors.networks import DnCNNConfig
from recon.training import DataConfig, Patches, PenaltyConfig, Recipe, Trainer, TrainingConfig, steepest

BATCH, SIDE, ROUNDS, APPLICATIONS = 4, 64, 5, 5
CONFIG = DnCNNConfig(features=64, depth=20, noise_range=(0.01, 0.01))


def run() -> dict[str, dict]:
    plain, penalised = trainer(0.0), trainer(1e-5)
    case = compare(
        {"ours": penalised.advance, "plain step": plain.advance, "deepinv's penalty": lambda: by_deepinv(plain)},
        ROUNDS,
        warm_up=1,
        targets={"plain step": 5.0, "deepinv's penalty": 1.0},
    )
    ours, power = seen(penalised)
    print(f"seen of the converged norm: ours {ours:.4f}, ten cold power steps {power:.4f}", file=sys.stderr)
    return {f"a step with {APPLICATIONS} Lanczos steps": case | {"seen": {"ours": ours, "ten power steps": power}}}


def trainer(weight: float) -> Trainer:
    made = Recipe(
        CONFIG,
        DataConfig(patch=SIDE),
        TrainingConfig(noise=(0.01, 0.01), batch=BATCH, learning_rate=1e-4),
        PenaltyConfig(weight=weight, applications=APPLICATIONS),
    )
    return Trainer(made, images())


def images() -> Patches:
    from recon.training import read_patches  # noqa: PLC0415

    photograph = Path(__file__).resolve().parents[2] / "data" / "photographs" / "camera.png"
    return replace(read_patches([photograph], DataConfig(patch=SIDE), 1, 0, print), patch=SIDE)


def by_deepinv(made: Trainer) -> None:
    import deepinv  # noqa: PLC0415

    x = made.patches.draw(BATCH, torch.Generator().manual_seed(0))[0]
    y = x + 0.01 * torch.randn(x.shape)
    norm = deepinv.loss.JacobianSpectralNorm(max_iter=APPLICATIONS, tol=0.0)
    made.optimizer.zero_grad()
    loss = (made.network(y) - x).square().mean()
    point = y.clone().requires_grad_()
    (loss + 1e-5 * norm(made.network.Q(point), point)).backward()


@torch.no_grad()
def seen(made: Trainer) -> tuple[float, float]:
    """Of the norms at the points of a new batch: by warm Lanczos steps, and by cold power steps."""
    x = made.patches.draw(BATCH, torch.Generator().manual_seed(9))[0]
    exact = steepest(made.network, x, None, made.directions, 40).norms
    ours = steepest(made.network, x, None, made.directions, APPLICATIONS).norms
    derivative, v = made.network.derivative(x), torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for _ in range(10):
        v = derivative.transpose(derivative.forward(v))
        v = v / v.square().sum((1, 2, 3), keepdim=True).sqrt()
    power = derivative.forward(v).square().sum((1, 2, 3)).sqrt()
    return float((ours / exact).mean()), float((power / exact).mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    report(run, __doc__)
