"""What `solve` adds to a loop written by hand with the same maps, one image, float32.

The maps take about a millisecond: the gradient of a blur, then a projection; 256 x 256 with a valid boundary (two pairs
of transforms) and 512 x 512 with a circular one (one pair: the least work that an image of this size can be given).
Target: at most 2 % more than the loop. The peer is deepinv's PGD for the same problem, as it is and without its
evaluation of the objective.
"""

import warnings

import torch
from timing import compare, report

from recon.operators import Blur, LeastSquares, box_psf
from recon.priors import box, identity
from recon.solvers import forward_backward, solve

SIZE, SMALL_SIZE, STEPS, STEPSIZE, ROUNDS = 512, 256, 100, 1.0, 61


def run() -> dict[str, dict]:
    import deepinv  # noqa: PLC0415

    psf = box_psf(9)
    operator = Blur(psf, (SIZE, SIZE))
    y = operator.A(torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    physics = deepinv.physics.BlurFFT((1, SIZE, SIZE), filter=psf.float()[None, None])
    gradient, keep = LeastSquares(operator, y), identity()

    def by_solve() -> torch.Tensor:
        return solve(forward_backward(gradient, keep, STEPSIZE), y, tolerance=0, max_steps=STEPS).x

    def by_deepinv(cost: bool) -> torch.Tensor:
        prior = deepinv.optim.ZeroPrior()
        prior.explicit_prior = cost
        model = deepinv.optim.PGD(
            data_fidelity=deepinv.optim.L2(),
            prior=prior,
            stepsize=STEPSIZE,
            max_iter=STEPS,
            custom_init=lambda y, physics: {"est": (y,)},
        )
        return model(y, physics)

    require_agreement("deepinv", by_solve(), by_deepinv(cost=False))
    return {
        "solve against a loop by hand, 256 x 256, valid": against_a_loop(Blur(psf, (SMALL_SIZE, SMALL_SIZE), "valid")),
        "solve against a loop by hand, 512 x 512, circular": against_a_loop(operator),
        "solve against deepinv, no prior": compare(
            {
                "ours": by_solve,
                "deepinv PGD": lambda: by_deepinv(cost=True),
                "deepinv PGD without the objective": lambda: by_deepinv(cost=False),
            },
            ROUNDS,
            targets={"deepinv PGD without the objective": 1.0},
        ),
    }


def against_a_loop(operator) -> dict:
    truth = torch.rand(1, 1, *operator.image_shape, generator=torch.Generator().manual_seed(0))
    gradient, clip = LeastSquares(operator, operator.A(truth)), box(0, 1)
    start = torch.zeros_like(truth)

    def by_hand() -> torch.Tensor:
        x = start
        with torch.no_grad():
            for _ in range(STEPS):
                x = clip(torch.add(x, gradient(x), alpha=-STEPSIZE))
        return x

    def by_solve() -> torch.Tensor:
        return solve(forward_backward(gradient, clip, STEPSIZE), start, tolerance=0, max_steps=STEPS).x

    require_agreement("the loop", by_solve(), by_hand())
    return compare({"ours": by_solve, "loop by hand": by_hand}, ROUNDS, targets={"loop by hand": 1.02})


def require_agreement(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """A time means something only if the results are the same."""
    error = float((ours - theirs).abs().max())
    if not error < 1e-3:
        raise SystemExit(f"driver: ours and {what} differ by {error:.2g}; expected at most 1e-3.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
