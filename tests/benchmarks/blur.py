"""The data term of a circular blur, 512 x 512, PSF 25 x 25, batch 8, float32: ours against deepinv's.

Targets: at most 0.6 of the time of BlurFFT and 1/15 of that of Blur(padding="circular").
"""

import warnings

import torch
from timing import compare, report

from recon.operators import Blur

SIZE, KERNEL, BATCH, STEP, ROUNDS = 512, 25, 8, 0.9, 15


def run() -> dict[str, dict]:
    import deepinv  # noqa: PLC0415

    torch.manual_seed(0)
    psf = torch.rand(KERNEL, KERNEL, dtype=torch.float64)
    psf /= psf.sum()
    x = torch.rand(BATCH, 1, SIZE, SIZE)
    ours = Blur(psf, (SIZE, SIZE))
    y = torch.rand_like(x)  # unrelated to x: a gradient near zero would hide what cancels
    kernel = psf.float()[None, None]
    by_fft = deepinv.physics.BlurFFT((1, SIZE, SIZE), filter=kernel)
    by_convolution = deepinv.physics.Blur(filter=kernel, padding="circular")
    data_term = deepinv.optim.data_fidelity.L2()
    gradient, resolvent = ours.data_gradient(y), ours.data_resolvent(y, STEP)

    require_agreement("gradient", gradient(x), data_term.grad(x, y, by_fft))
    require_agreement("gradient", gradient(x), data_term.grad(x, y, by_convolution))
    require_agreement("resolvent", resolvent(x), data_term.prox(x, y, by_fft, gamma=STEP))
    with torch.no_grad():
        return {
            "gradient": compare(
                {
                    "ours": lambda: gradient(x),
                    "deepinv L2.grad, BlurFFT": lambda: data_term.grad(x, y, by_fft),
                    "deepinv L2.grad, Blur(circular)": lambda: data_term.grad(x, y, by_convolution),
                },
                ROUNDS,
                targets={"deepinv L2.grad, BlurFFT": 0.6, "deepinv L2.grad, Blur(circular)": 1 / 15},
            ),
            "resolvent": compare(
                {
                    "ours": lambda: resolvent(x),
                    "deepinv L2.prox, BlurFFT": lambda: data_term.prox(x, y, by_fft, gamma=STEP),
                    "deepinv prox_l2, Blur(circular), CG": lambda: by_convolution.prox_l2(
                        x, y, STEP, solver="CG", max_iter=50, tol=1e-4
                    ),
                },
                ROUNDS,
                warm_up=1,
                targets={"deepinv L2.prox, BlurFFT": 0.6},
            ),
        }


def require_agreement(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """A time means something only if the results are the same."""
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    if error > 1e-4:
        raise SystemExit(f"{what}: ours and deepinv's differ by {error:.2g} of the maximum; expected at most 1e-4.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
