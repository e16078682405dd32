"""
An unmatched back-projector
===========================

What happens when the adjoint of a projector is replaced by the pixel-driven back-projection of fast pipelines, and what
helps. A small version of ``make study``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from recon import certificates, io, operators, priors, solvers
from recon.operators import Detector, Geometry, LeastSquares, Tomography, Volume, evenly_spaced
from recon.operators.tomography import surrogate

SLICE = Path("../../data/ct/tcga_60-2695.dcm")
SIZE, STEPS = 64, 2000

# %%
# Thirty views of a fan, 0.5 % noise, double precision.

truth = torch.nn.functional.avg_pool2d(io.to_tensor(io.read(SLICE), torch.float64), 512 // SIZE).clamp(min=0)
geometry = Geometry(
    "fan",
    evenly_spaced(0, 360, 30),
    Detector(100, 4.0),
    Volume((SIZE, SIZE), 2.0),
    source_to_axis=240.0,
    source_to_detector=480.0,
)
A = Tomography(geometry)
K = surrogate("pixel-driven", A)
clean = A.A(truth)
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = clean + 0.005 * clean.square().mean().sqrt() * noise
norm = operators.spectral.norm(A, torch.zeros_like(truth)).value

# %%
# The constants of the pair. The smallest eigenvalue of the symmetric part is negative: the map is not monotone.

pair = operators.mismatch_of(A, K, torch.zeros_like(truth))
lowest = pair.symmetric_part_min.value / norm**2
print(f"adjoint gap {pair.adjoint_gap.value:.3f}, smallest eigenvalue {lowest:.1e} ||A||^2")


# %%
# The matched solution, to rounding, and the distance of each iteration to it.


def matched(weight: float) -> torch.Tensor:
    """Minimise ||A x - y||^2 / 2 + weight ||x||^2 / 2 by conjugate gradients."""
    x = torch.zeros_like(truth)
    rest = A.A_adjoint(y)
    direction, size = rest, rest.square().sum()
    for _ in range(500):
        image = A.A_adjoint(A.A(direction)) + weight * direction
        step = size / (direction * image).sum()
        x, rest = x + step * direction, rest - step * image
        direction, size = rest + rest.square().sum() / size * direction, rest.square().sum()
    return x


def follow(data: LeastSquares, weight: float, stepsize: float, goal: torch.Tensor) -> tuple[list[int], list[float]]:
    steps, distances = [], []

    def look(progress: solvers.Progress, x: torch.Tensor) -> None:
        steps.append(progress.step)
        distances.append(float((x - goal).norm() / goal.norm()))

    algorithm = solvers.forward_backward(data, priors.tikhonov(stepsize * weight), stepsize)
    solvers.solve(algorithm, torch.zeros_like(goal), tolerance=0, max_steps=STEPS, check_every=5, callback=look)
    return steps, distances


weak, strong = 1e-4 * norm**2, 4e-3 * norm**2
kappa = operators.shift_for(pair)
shifted = operators.mismatch_of(A, K, torch.zeros_like(truth), shift=kappa)
goal = matched(weak)
curves = {
    "exact adjoint": follow(LeastSquares(A, y), weak, 1.9 / norm**2, goal),
    "pixel-driven": follow(LeastSquares(A, y, K), weak, 1.9 / norm**2, goal),
    "pixel-driven, shifted": follow(LeastSquares(A, y, K, kappa), weak, 1.9 * shifted.cocoercivity.value, goal),
}

# %%
# With a prior that contracts more than the surrogate lacks, plain forward-backward is certified, and the distance of
# its limit to the matched solution has a bound.

stepsize, goal = 1.0 / norm**2, matched(strong)
resolvent = priors.tikhonov(stepsize * strong)
residual = operators.residual_norm(A, K, stepsize, torch.zeros_like(truth))
print(certificates.certify_contractive_forward_backward(pair, resolvent.properties, stepsize, residual=residual))
strong_curves = {
    "exact adjoint": follow(LeastSquares(A, y), strong, stepsize, goal),
    "pixel-driven": follow(LeastSquares(A, y, K), strong, stepsize, goal),
}
data = LeastSquares(A, y, K)
limit = solvers.solve(
    solvers.forward_backward(data, resolvent, stepsize), torch.zeros_like(goal), tolerance=0, max_steps=STEPS
).x
(bound,) = certificates.mismatch_error_bound(data, resolvent, limit, stepsize)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for panel, lines, title in ((left, curves, "weak prior"), (right, strong_curves, "contracting prior")):
    for name, (steps, distances) in lines.items():
        panel.loglog(steps, distances, label=name)
    panel.set_title(title)
    panel.set_xlabel("steps")
right.axhline(bound.value / float(goal.norm()), color="0.4", linestyle=":", label="certified bound")
left.set_ylabel("distance to the matched solution")
left.set_ylim(1e-4, 2)
for panel in (left, right):
    panel.legend(frameon=False)
plt.show()
