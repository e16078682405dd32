"""What `solve` adds to a loop written by hand with the same maps, 512 x 512, one image, float32.

The map takes about a millisecond: the gradient of a circular blur, then a projection. Target: at most 2 % more than the
loop. The peer is deepinv's PGD for the same problem, as it is and without its evaluation of the objective.
"""

import warnings

import torch
from timing import compare, report

from recon.operators import Blur, LeastSquares, box_psf
from recon.priors import box, identity
from recon.solvers import forward_backward, solve

SIZE, STEPS, STEPSIZE, ROUNDS = 512, 100, 1.0, 61


def run() -> dict[str, dict]:
    import deepinv  # noqa: PLC0415

    psf = box_psf(9)
    operator = Blur(psf, (SIZE, SIZE))
    y = operator.A(torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    physics = deepinv.physics.BlurFFT((1, SIZE, SIZE), filter=psf.float()[None, None])
    gradient = LeastSquares(operator, y)
    clip, keep = box(0, 1), identity()

    def by_hand(resolvent) -> torch.Tensor:
        x = y
        with torch.no_grad():
            for _ in range(STEPS):
                x = resolvent(torch.add(x, gradient(x), alpha=-STEPSIZE))
        return x

    def by_solve(resolvent) -> torch.Tensor:
        return solve(forward_backward(gradient, resolvent, STEPSIZE), y, tolerance=0, max_steps=STEPS).x

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

    require_agreement("the loop", by_solve(clip), by_hand(clip))
    require_agreement("deepinv", by_solve(keep), by_deepinv(cost=False))
    return {
        "solve against a loop by hand": compare(
            {"ours": lambda: by_solve(clip), "loop by hand": lambda: by_hand(clip)},
            ROUNDS,
            targets={"loop by hand": 1.02},
        ),
        "solve against deepinv, no prior": compare(
            {
                "ours": lambda: by_solve(keep),
                "deepinv PGD": lambda: by_deepinv(cost=True),
                "deepinv PGD without the objective": lambda: by_deepinv(cost=False),
            },
            ROUNDS,
            targets={"deepinv PGD without the objective": 1.0},
        ),
    }


def require_agreement(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """A time means something only if the results are the same."""
    error = float((ours - theirs).abs().max())
    if not error < 1e-3:
        raise SystemExit(f"driver: ours and {what} differ by {error:.2g}; expected at most 1e-3.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
