"""What constraints add to a training step: batch 4 of 64 x 64, one thread.

The penalty: the DnCNN of the reference work, 665,921 parameters. The peers are our own plain step, of which a penalised
one may take at most 5, and the plain loss with deepinv's JacobianSpectralNorm of as many steps. `seen` is the part of
the converged norm, the mean over the patches, that our steps see from the vectors of another batch, beside ten power
steps from a random vector, at random weights far from nonexpansive: it should be no less. The memory is what a step
adds to a fresh process, of which a penalised one may take 1.3 times as much as a plain one.

Networks that are nonexpansive by construction: a step of each kind of layer, beside the same network applying its raw
parameters, with nothing derived from them; at most 1.5.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from timing import compare, report
from tomography import peak_mb

from recon.priors.networks import Config, DnCNNConfig, LipschitzConfig
from recon.priors.networks.layers.nonexpansive import Layer, OrthogonalLayer, ResidualLayer
from recon.training import DataConfig, Patches, PenaltyConfig, Recipe, Trainer, TrainingConfig, steepest

BATCH, SIDE, ROUNDS = 4, 64, 2
APPLICATIONS = PenaltyConfig().applications
FREE = DnCNNConfig(features=64, depth=20, noise_range=(0.01, 0.01))
LAYERS = ("sll", "aol", "orthogonal")
MEMORY = 1.3
"""Of a penalised step, relative to a plain one."""


def run() -> dict[str, dict]:
    torch.set_num_threads(1)
    return {
        f"a step with {APPLICATIONS} steps of Golub and Kahan": penalised(),
        **{f"a step of {kind} layers": constructed(kind) for kind in LAYERS},
    }


def penalised() -> dict[str, object]:
    plain, ours = trainer(FREE), trainer(FREE, 1e-5)
    case = compare(
        {"ours": ours.advance, "plain step": plain.advance, "deepinv's penalty": lambda: by_deepinv(plain)},
        ROUNDS,
        warm_up=1,
        targets={"plain step": 5.0, "deepinv's penalty": 1.0},
    )
    found, power = seen(ours)
    print(f"seen of the converged norm: ours {found:.3f}, ten cold power steps {power:.3f}", file=sys.stderr)
    memory = {"ours": memory_mb(1e-5), "plain": memory_mb(0.0)}
    print(f"memory of a plain step: {memory['plain']:.0f} MB", file=sys.stderr)
    return {
        **case,
        "seen": {"ours": found, "ten power steps": power},
        "memory_mb": {**memory, "limit": MEMORY * memory["plain"]},
    }


def constructed(kind: str) -> dict[str, object]:
    config = LipschitzConfig(layers=kind, features=64, depth=10, noise_range=(0.01, 0.01))
    ours, raw = trainer(config), trainer(config)
    for module in raw.network.modules():
        if isinstance(module, Layer):
            module.derive = lambda layer=module: underived(layer)
    return compare(
        {"ours": ours.advance, "nothing derived": raw.advance}, ROUNDS + 1, 1, targets={"nothing derived": 1.5}
    )


def underived(layer: Layer) -> tuple[torch.Tensor, ...]:
    if isinstance(layer, ResidualLayer):
        return layer.kernel, 0.1 * layer.log_q.exp()
    return ((layer.generator if isinstance(layer, OrthogonalLayer) else layer.kernel),)


def trainer(network: Config, weight: float = 0.0, device: str = "cpu") -> Trainer:
    made = Recipe(
        network,
        DataConfig(patch=SIDE),
        TrainingConfig(noise=(0.01, 0.01), batch=BATCH, learning_rate=1e-4),
        PenaltyConfig(weight=weight, applications=APPLICATIONS),
    )
    return Trainer(made, images(), device)


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
    """Of the norms at new points: by steps that begin with the vectors of other points, and by cold power steps."""
    network, generator = made.network, torch.Generator().manual_seed(1)
    network.kernels[-1].mul_(30)
    x, other = made.patches.draw(4, torch.Generator().manual_seed(9))[0].split(2)
    cold = torch.randn(x.shape, generator=generator)
    exact = steepest(network, x, None, cold, 30).norms
    warm = steepest(network, other, None, torch.randn(x.shape, generator=generator), APPLICATIONS).vectors
    ours = steepest(network, x, None, warm, APPLICATIONS).norms
    derivative, v = network.derivative(x), cold
    for _ in range(10):
        v = derivative.transpose(derivative.forward(v))
        v = v / v.square().sum((1, 2, 3), keepdim=True).sqrt()
    power = derivative.forward(v).square().sum((1, 2, 3)).sqrt()
    return float((ours / exact).mean()), float((power / exact).mean())


def memory_mb(weight: float) -> float:
    """What two steps add to the peak of a fresh process, beside the imports, the weights and the images."""
    program = f"import training_step; training_step.print_growth({weight!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def print_growth(weight: float) -> None:
    torch.set_num_threads(1)
    made = trainer(FREE, weight)
    before = peak_mb()
    for _ in range(2):
        made.advance()
    print(peak_mb() - before)


if __name__ == "__main__":
    torch.manual_seed(0)
    report(run, __doc__)
