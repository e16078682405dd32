"""Bounds of the Lipschitz constants of dense feed-forward networks against those of eclipse-nn, at equal time.

    python tests/benchmarks/feedforward_bounds.py [--json]

Networks with random weights, Gaussian or uniform, of 3 to 10 layers of 20 to 100 rectifiers. ECLipsE-Fast is compared
with our bound without an improvement of its multipliers, ECLipsE, which solves a semidefinite programme a layer, with
the improved one. The ratios are of times; ``bounds`` has each bound, with the largest derivative at random points,
which none may be below.
"""

import contextlib
import io
import itertools
import sys
import time
from collections.abc import Callable

import torch
from timing import report
from torch import Tensor

from recon.certificates.feedforward_bounds import layered_bound

CASES = (("gaussian", 20, 3), ("gaussian", 80, 5), ("gaussian", 100, 10), ("uniform", 40, 4))
POINTS = 200


def run() -> dict[str, dict[str, object]]:
    try:
        from eclipse_nn.LipConstEstimator import LipConstEstimator  # noqa: PLC0415  where it is installed
    except ImportError:
        print("skipped: eclipse-nn is not installed (pip install eclipse-nn)", file=sys.stderr)
        raise SystemExit(0) from None
    cases: dict[str, dict[str, object]] = {}
    for kind, width, depth in CASES:
        layers = network(kind, width, depth)
        attack = largest_derivative(layers)
        for method, iterations in (("ECLipsE_Fast", 0), ("ECLipsE", 40)):
            ours, ours_s = _timed(lambda count=iterations, of=layers: layered_bound(of, iterations=count).value)
            peer, peer_s = _timed(lambda name=method, of=layers: float(LipConstEstimator(weights=of).estimate(name)))
            cases[f"{kind}, {depth} layers of {width}, {method}"] = {
                "ours_s": ours_s, "peers": {"eclipse-nn": peer_s}, "ratio": {"eclipse-nn": ours_s / peer_s},
                "targets": {},
                "bounds": {"ours": ours, "eclipse-nn": peer, "attack": attack},
            }  # fmt: skip
    return cases


def network(kind: str, width: int, depth: int) -> list[Tensor]:
    """The matrices of a network with ten outputs."""
    generator = torch.Generator().manual_seed(depth)
    draw = torch.randn if kind == "gaussian" else torch.rand
    sizes = [width] * depth + [10]
    return [
        draw(after, before, generator=generator, dtype=torch.float64) / before**0.5
        for before, after in itertools.pairwise(sizes)
    ]


def largest_derivative(layers: list[Tensor]) -> float:
    """At random points: a lower bound of the Lipschitz constant."""
    generator, largest = torch.Generator().manual_seed(1), 0.0
    for _ in range(POINTS):
        total, z = layers[0], layers[0] @ torch.randn(layers[0].shape[1], generator=generator, dtype=torch.float64)
        for layer in layers[1:]:
            total, z = layer @ ((z > 0).double()[:, None] * total), layer @ z.clamp(min=0)
        largest = max(largest, float(torch.linalg.matrix_norm(total, 2)))
    return largest


def _timed(bound: Callable[[], float]) -> tuple[float, float]:
    """The bound, and the less of two times; what the peer prints is left out."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            value = bound()
        times.append(time.perf_counter() - began)
    return value, min(times)


if __name__ == "__main__":
    report(run, __doc__)
