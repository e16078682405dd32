"""Ten thousand steps of the default solver with every packaged potential, in double precision: no drift.

    python tests/benchmarks/drift.py [STEPS]

Condat-Vu is a nonexpansive map T in the metric ``|(x, u)|^2 = |x|^2 / s - 2 <L x, u> + |u|^2 / t``, so that the length
of its steps never grows there (Condat 2013). Printed are the step at which it is 1e-6 of the iterate, the largest ratio
of a length to the one before, rounding aside, and how far the image moves in the second half of the run.
"""

import math
import sys

import torch
from torch import Tensor

from recon import catalogue
from recon.operators import Blur, gaussian_psf
from recon.pipeline.method import choose_method, examine
from recon.priors import Prior, weighted_prior
from recon.priors.networks import ConvexRidge, learned_prior, load
from recon.solvers.condat_vu import PrimalDual

SIDE, NOISE, WEIGHT = 48, 0.01, 0.3
ROUNDING = 1e-13
"""Of the iterate: steps below that are noise of the arithmetic."""


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for name, folder in catalogue.folders().items():
        network = load(folder)
        if isinstance(network, ConvexRidge):
            print(f"{name}: {drift(network, steps)}", flush=True)


@torch.no_grad()
def drift(network: ConvexRidge, steps: int) -> str:
    channels, low = network.config.channels, network.config.noise_range[0]
    prior = weighted_prior(learned_prior(network, low if network.conditioned else None), WEIGHT)
    operator = Blur(gaussian_psf(1.6), (SIDE, SIDE))
    y = operator.A(squares(channels))
    y = y + NOISE * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    method = choose_method(examine(operator, None, y[:1, :1]), prior, "condat_vu")
    algorithm = method.algorithm(y)
    state, before, reached, worst, half = algorithm.init(y), math.inf, None, 0.0, y
    for step in range(1, steps + 1):
        after = algorithm.step(state)
        moved = PrimalDual(after.x - state.x, after.u - state.u)
        length, size = (norm(prior, part, method.stepsize, method.dual_stepsize) for part in (moved, after))
        if reached is None and length < 1e-6 * size:
            reached = step
        if length > ROUNDING * size:
            worst = max(worst, length / before)
        before, state = length, after
        half = state.x if step == steps // 2 else half
    far = float((state.x - half).norm() / half.norm())
    return (f"steps of 1e-6 from step {reached}, no longer than {worst:.12f} times the one before; "
            f"{far:.1e} from step {steps // 2} to {steps}")  # fmt: skip


def norm(prior: Prior, z: PrimalDual, s: float | None, t: float | None) -> float:
    """In the metric of the method."""
    assert prior.split is not None and s is not None and t is not None
    across = float((prior.split.operator.A(z.x) * z.u).sum())
    return math.sqrt(max(float(z.x.square().sum()) / s - 2 * across + float(z.u.square().sum()) / t, 0.0))


def squares(channels: int) -> Tensor:
    """Two squares on a ramp."""
    image = torch.linspace(0.2, 0.6, SIDE, dtype=torch.float64).repeat(1, channels, SIDE, 1)
    image[..., 8:28, 10:30] = 0.9
    image[..., 24:40, 24:44] = 0.1
    return image


if __name__ == "__main__":
    main()
