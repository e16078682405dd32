"""Ten thousand steps with every packaged network, in double precision: no drift.

    python tests/benchmarks/drift.py [STEPS]

Condat-Vu is a nonexpansive map T in the metric ``|(x, u)|^2 = |x|^2 / s - 2 <L x, u> + |u|^2 / t``, so that the length
of its steps never grows there (Condat 2013). A network that is a single resolvent runs by forward-backward, which is
nonexpansive as it is, if the network is what it was trained to be. Printed are the step at which the length is 1e-6 of
the iterate, the largest ratio of a length to the one before, rounding aside, and how far the image moves in the second
half of the run.
"""

import math
import sys
from typing import Any

import torch
from torch import Tensor

from recon import catalogue
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.methods.setting import Method
from recon.operators import Blur, gaussian_psf
from recon.priors import Prior, weighted_prior
from recon.priors.networks import ConvexRidge, GuidedRidge, Network, guided_prior, learned_prior, load
from recon.solvers.condat_vu import PrimalDual

SIDE, NOISE, WEIGHT = 48, 0.01, 0.3
ROUNDING = 1e-13
"""Of the iterate: steps below that are noise of the arithmetic."""


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for name, folder in catalogue.folders().items():
        print(f"{name}: {drift(load(folder), steps)}", flush=True)


@torch.no_grad()
def drift(network: Network, steps: int) -> str:
    channels, (low, high) = network.config.channels, network.config.noise_range
    potential = isinstance(network, ConvexRidge)
    level = (low if potential else high) if network.conditioned else None
    guided = isinstance(network, GuidedRidge)
    prior = guided_prior(network, level).given(squares(channels).float()) if guided else learned_prior(network, level)
    operator = Blur(gaussian_psf(1.6), (SIDE, SIDE))
    y = operator.A(squares(channels))
    y = y + NOISE * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    pair = analyse_operator(operator, None, y[:1, :1])
    if potential:
        prior = weighted_prior(prior, WEIGHT)
        method = choose_method(pair, prior, "condat_vu")
    else:
        method = choose_method(pair, prior, "forward_backward")
    algorithm = method.algorithm(y)
    state, before, reached, worst, half = algorithm.init(y), math.inf, None, 0.0, y
    for step in range(1, steps + 1):
        after = algorithm.step(state)
        moved = type(after)(*(None if new is None else new - old for new, old in zip(after, state, strict=True)))
        length, size = (norm(prior, part, method) for part in (moved, after))
        if reached is None and length < 1e-6 * size:
            reached = step
        if length > ROUNDING * size:
            worst = max(worst, length / before)
        before, state = length, after
        half = state.x if step == steps // 2 else half
    far = float((state.x - half).norm() / half.norm())
    return (f"{method.name}, steps of 1e-6 from step {reached}, no longer than {worst:.12f} times the one before; "
            f"{far:.1e} from step {steps // 2} to {steps}")  # fmt: skip


def norm(prior: Prior, z: Any, method: Method) -> float:
    """In the metric of the method."""
    if not isinstance(z, PrimalDual):
        return float(z.x.norm())
    assert prior.split is not None and method.stepsize is not None and method.dual_stepsize is not None
    across = float((prior.split.operator.A(z.x) * z.u).sum())
    square = float(z.x.square().sum()) / method.stepsize - 2 * across + float(z.u.square().sum()) / method.dual_stepsize
    return math.sqrt(max(square, 0.0))


def squares(channels: int) -> Tensor:
    """Two squares on a ramp."""
    image = torch.linspace(0.2, 0.6, SIDE, dtype=torch.float64).repeat(1, channels, SIDE, 1)
    image[..., 8:28, 10:30] = 0.9
    image[..., 24:40, 24:44] = 0.1
    return image


if __name__ == "__main__":
    main()
