"""What an unmatched back-projector does to a reconstruction, and what helps: the figure of docs/guides/unmatched.md.

A real CT slice, 128 x 128, 30 views of a fan, 0.5 % noise, double precision. The matched problem is
min ||A x - y||^2 / 2 + w ||x||^2 / 2, solved to rounding with the exact adjoint. Then A^T is replaced by the
pixel-driven back-projection K, as in practice, first as it is and then with each remedy. Run with ``make study``.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from recon import certificates, io, operators, priors, solvers
from recon.operators import Detector, Geometry, LeastSquares, Tomography, Volume, evenly_spaced
from recon.operators.tomography import Surrogate, surrogate
from recon.report._style import CURVES, GRID, INK, STYLE
from recon.solvers import Algorithm

ROOT = Path(__file__).parents[2]
SLICE = ROOT / "data/ct/tcga_60-2695.dcm"
SIZE, VIEWS, NOISE, STEPS = 128, 30, 0.005, 10_000
WEAK, STRONG = 1e-4, 4e-3
"""The weights w over ||A||^2: far less than what the surrogate lacks, and more."""


@dataclass(frozen=True)
class Scene:
    """The problem, the same for all."""

    A: Tomography
    K: Surrogate
    y: Tensor
    norm: float


@dataclass(frozen=True)
class Curve:
    """A run against the matched solution: steps, relative distances, the last image, and its certified bound."""

    name: str
    steps: list[int]
    distances: list[float]
    image: Tensor
    certified: str
    bound: float = math.inf


def scene() -> Scene:
    image = io.read(SLICE)
    truth = io.to_tensor(image, torch.float64)
    truth = torch.nn.functional.avg_pool2d(truth, truth.shape[-1] // SIZE).clamp(min=0)
    geometry = Geometry(
        "fan", evenly_spaced(0, 360, VIEWS), Detector(200, 2.0), Volume((SIZE, SIZE), 1.0),
        source_to_axis=240.0, source_to_detector=480.0,
    )  # fmt: skip
    A = Tomography(geometry)
    clean = A.A(truth)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = clean + NOISE * clean.square().mean().sqrt() * noise
    found = operators.spectral.norm(A, torch.zeros_like(truth))
    return Scene(A, surrogate("pixel-driven", A), y, found.value + found.error)


def matched_solution(s: Scene, weight: float) -> Tensor:
    """The solution of (A^T A + w) x = A^T y, by conjugate gradients."""
    x = torch.zeros_like(s.A.A_adjoint(s.y))
    rest = s.A.A_adjoint(s.y)
    direction, size = rest, rest.square().sum()
    for _ in range(4000):
        image = s.A.A_adjoint(s.A.A(direction)) + weight * direction
        step = size / (direction * image).sum()
        x, rest = x + step * direction, rest - step * image
        new = rest.square().sum()
        if new < 1e-26 * s.A.A_adjoint(s.y).square().sum():
            break
        direction, size = rest + new / size * direction, new
    return x


def follow(  # noqa: PLR0917  the parts of one curve
    name: str, algorithm: Algorithm, goal: Tensor, steps: int, certified: str, each: int = 1
) -> Curve:
    """Run an algorithm from zero; ``each`` step counts as that many back-projections."""
    size, counted, distances = goal.norm(), [], []

    def look(progress: solvers.Progress, x: Tensor) -> None:
        counted.append(progress.step * each)
        distances.append(float((x - goal).norm() / size))

    budget = max(steps // each, 1)
    every = 1 if each > 1 else 10
    done = solvers.solve(
        algorithm, torch.zeros_like(goal), tolerance=0, max_steps=budget, check_every=every, callback=look
    )
    print(f"  {name:<44} {done.status[0].value:<12} distance {distances[-1]:.3g}   {certified}")
    return Curve(name, counted, distances, done.x, certified)


def with_bound(curve: Curve, data: LeastSquares, resolvent: priors.Resolvent, stepsize: float, goal: Tensor) -> Curve:
    (bound,) = certificates.mismatch_error_bound(data, resolvent, curve.image, stepsize)
    relative = bound.value / float(goal.norm())
    print(f"  {'':<44} bound {relative:.3g} ({bound.evidence}), truth {curve.distances[-1]:.3g}")
    return Curve(curve.name, curve.steps, curve.distances, curve.image, curve.certified, relative)


def weakly_regularised(s: Scene, steps: int) -> tuple[list[Curve], Tensor]:
    """The problem that the surrogate spoils: K A + w is not monotone."""
    weight = WEAK * s.norm**2
    goal = matched_solution(s, weight)
    pair = operators.mismatch_of(s.A, s.K, torch.zeros_like(goal))
    print(f"pixel-driven: gap {pair.adjoint_gap.value:.3g}, mu {pair.symmetric_part_min.value / s.norm**2:.3g} ||A||^2")
    stepsize = 1.9 / s.norm**2
    resolvent = priors.tikhonov(stepsize * weight)
    exact = follow(
        "exact adjoint", solvers.forward_backward(LeastSquares(s.A, s.y), resolvent, stepsize), goal, steps, "proved"
    )
    naive = follow(
        "pixel-driven, as it is",
        solvers.forward_backward(LeastSquares(s.A, s.y, s.K), resolvent, stepsize),
        goal, steps, "no guarantee",
    )  # fmt: skip
    kappa = operators.shift_for(pair)
    shifted = operators.mismatch_of(s.A, s.K, torch.zeros_like(goal), shift=kappa)
    data = LeastSquares(s.A, s.y, s.K, kappa)
    step = 1.9 * shifted.cocoercivity.value
    shifted_resolvent = priors.tikhonov(step * weight)
    certificate = certificates.certify_mismatched_forward_backward(shifted, shifted_resolvent.properties, step)
    run = follow("pixel-driven, shifted", solvers.forward_backward(data, shifted_resolvent, step), goal, steps,
                 str(certificate.evidence) if certificate.holds else "no guarantee")  # fmt: skip
    run = with_bound(run, data, shifted_resolvent, step, goal)
    gmres = follow("pixel-driven, AB-GMRES (no prior)", solvers.ab_gmres(s.A, s.K, s.y, restart=20), goal,
                   min(steps, 400), "residual never grows", each=20)  # fmt: skip
    return [exact, naive, run, gmres], goal


def strongly_regularised(s: Scene, steps: int) -> tuple[list[Curve], Tensor]:
    """The problem whose prior contracts enough for the surrogate."""
    weight = STRONG * s.norm**2
    goal = matched_solution(s, weight)
    pair = operators.mismatch_of(s.A, s.K, torch.zeros_like(goal))
    stepsize = 1.0 / s.norm**2
    resolvent = priors.tikhonov(stepsize * weight)
    data = LeastSquares(s.A, s.y, s.K)
    residual = operators.residual_norm(s.A, s.K, stepsize, torch.zeros_like(goal))
    certificate = certificates.certify_contractive_forward_backward(
        pair, resolvent.properties, stepsize, residual=residual
    )
    holds = str(certificate.evidence) if certificate.holds else "no guarantee"
    exact = follow(
        "exact adjoint", solvers.forward_backward(LeastSquares(s.A, s.y), resolvent, stepsize), goal, steps, "proved"
    )
    run = follow(
        "pixel-driven, contracting prior", solvers.forward_backward(data, resolvent, stepsize), goal, steps, holds
    )
    run = with_bound(run, data, resolvent, stepsize, goal)
    return [exact, run], goal


def draw(path: Path, weak: list[Curve], goal: Tensor, strong: list[Curve]) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7.2), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.35))
        white = float(goal.max())
        shown = [("matched solution", goal), *((c.name, c.image) for c in weak[1:])]
        for axes, (name, image) in zip(top.subplots(1, len(shown)), shown, strict=True):
            axes.imshow(image[0, 0], cmap="gray", vmin=0, vmax=0.9 * white)
            axes.set_title(name, loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
        left, right = bottom.subplots(1, 2, sharey=True)
        plot(left, weak, f"weak prior: w = {WEAK:g} ||A||²")
        plot(right, strong, f"contracting prior: w = {STRONG:g} ||A||²")
        left.set_ylabel("distance to the matched solution, relative")
        figure.suptitle(
            f"{VIEWS} views of a fan, {SIZE} x {SIZE} pixels: an unmatched back-projector drifts, and what helps",
            x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def plot(axes, curves: list[Curve], title: str) -> None:
    for curve, (colour, dashes) in zip(curves, CURVES, strict=False):
        label = f"{curve.name}: {curve.certified}"
        axes.loglog(curve.steps, curve.distances, color=colour, linestyle=dashes, label=label)
        if math.isfinite(curve.bound):
            axes.axhline(curve.bound, color=colour, linestyle="-", linewidth=0.8)
            axes.annotate("certified bound", (curve.steps[0], curve.bound), color=colour, fontsize=8, va="bottom")
    axes.set_title(title, loc="left")
    axes.set_xlabel("back-projections")
    axes.set_ylim(1e-4, 1e2)
    axes.grid(True, which="major", linewidth=0.4, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", labelcolor=INK)


Study = Callable[[Scene, int], tuple[list[Curve], Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out/mismatch.png")
    given = parser.parse_args()
    s = scene()
    print("weak prior")
    weak, goal = weakly_regularised(s, given.steps)
    print("contracting prior")
    strong, _ = strongly_regularised(s, given.steps)
    draw(given.output, weak, goal, strong)
    print(f"figure: {given.output}")


if __name__ == "__main__":
    main()
