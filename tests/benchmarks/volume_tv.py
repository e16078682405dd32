"""Denoising a volume by 3-D total variation: time to one objective beside scikit-image, peak memory, and out of core.

All minimise ``||x - y||^2 / 2 + w TV(x)`` with isotropic differences. The objective to reach is that of the solution by
the package at its default tolerance; scikit-image takes as many steps as it needs, found by doubling. SimpleITK
has no total variation (ITK's is a remote module that its wheels leave out); a peer that is absent is left out.

Memory is that of a process of its own, its peak less what it had when all was imported and before the volume was made.
"""

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from skimage.restoration import denoise_tv_chambolle
from timing import report

from recon.priors.total_variation import VariationTerm, total_variation_value
from recon.solvers import DirectRun, denoise_volumes

SHAPE = (200, 512, 512)
SMALL = (40, 256, 256)
"""On which the peers are compared: of the large one scikit-image holds 20 volumes."""

WEIGHT, NOISE, TOLERANCE = 0.05, 0.05, 5e-3
MEMORY_LIMIT = 8.0
"""Volumes in single precision, at most."""

OUT_OF_CORE = 1.5
"""Times longer, at most, with half of the state in memory."""

PEER_SECONDS = 60.0


def volume(shape: tuple[int, int, int]) -> np.ndarray:
    """Ellipsoids of different brightness with noise, float32."""
    rng = np.random.default_rng(0)
    out = np.zeros(shape, np.float32)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    for _ in range(12):
        centre, radius, value = rng.uniform(-0.6, 0.6, 3), rng.uniform(0.1, 0.5, 3), rng.uniform(-0.3, 0.5)
        square = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radius, strict=True))
        out += value * (square < 1)
    for number in range(len(out)):
        out[number] += NOISE * rng.standard_normal(shape[1:], np.float32)
    return out


def ours(y: np.ndarray, memory: int | None = None):
    items = torch.from_numpy(y)[None, None]
    term = VariationTerm(WEIGHT, True, (1.0, 1.0, 1.0))
    scale = [float(torch.linalg.vector_norm(items))]
    return denoise_volumes(items, term, DirectRun(TOLERANCE, 2000, scale, memory=memory))


def objective(x: np.ndarray, y: np.ndarray) -> float:
    misfit = 0.5 * float(np.square((x - y).astype(np.float64)).sum())
    values = torch.from_numpy(np.ascontiguousarray(x, np.float64))[None, None]
    return misfit + WEIGHT * float(total_variation_value(values, spacing=(1.0, 1.0, 1.0)))


def _peer_steps(y: np.ndarray, wanted: float) -> tuple[int, float]:
    """The steps, doubled, with which scikit-image reaches an objective, and the seconds that they took."""
    steps, began = 10, time.perf_counter()
    while True:
        start = time.perf_counter()
        x = denoise_tv_chambolle(y, weight=WEIGHT, eps=0, max_num_iter=steps)
        took = time.perf_counter() - start
        if objective(x, y) <= wanted:
            return steps, took
        if time.perf_counter() - began > PEER_SECONDS:
            return steps, float("inf")
        steps *= 2


def compared(shape: tuple[int, int, int]) -> dict:
    y = volume(shape)
    ours(y[:4, :32, :32].copy())  # compiles
    start = time.perf_counter()
    solution = ours(y)
    took = time.perf_counter() - start
    wanted = objective(solution.x[0, 0].numpy(), y) * (1 + 1e-6)
    steps, seconds = _peer_steps(y, wanted)
    case = {
        "ours_s": took,
        "peers": {},
        "ratio": {},
        "targets": {"scikit-image": 1.0},
        "steps": {"ours": solution.steps[0]},
    }
    if seconds < float("inf"):
        case["peers"]["scikit-image"], case["ratio"]["scikit-image"] = seconds, took / seconds
        case["steps"]["scikit-image"] = steps
    else:
        case["not_reached"] = {"scikit-image": PEER_SECONDS}
    return case


def alone(shape: tuple[int, int, int], share: float | None) -> dict:
    """Seconds, and the peak of a process of its own in volumes."""
    command = [sys.executable, __file__, "--child", json.dumps([shape, share])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    return json.loads(done.stdout.splitlines()[-1])


def _child(shape: tuple[int, int, int], share: float | None) -> dict:
    ours(volume((4, 32, 32)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    y = volume(shape)
    size = y.nbytes
    start = time.perf_counter()
    solution = ours(y, None if share is None else int(share * 5 * size))
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "seconds": took,
        "volumes": peak / size,
        "steps": solution.steps[0],
        "distance": solution.distance[0].relative,
    }


def run(small: tuple[int, int, int] | None = None, large: tuple[int, int, int] | None = None) -> dict[str, dict]:
    small, large = small or SMALL, large or SHAPE
    cases = {f"{' x '.join(map(str, small))} to one objective": compared(small)}
    core, file = alone(large, None), alone(large, 0.5)
    size = 4 * np.prod(large) / 1e6
    cases[f"{' x '.join(map(str, large))} in memory"] = {
        "ours_s": core["seconds"],
        "peers": {},
        "ratio": {},
        "targets": {},
        "steps": {"ours": core["steps"]},
        "memory_mb": {"ours": core["volumes"] * size, "limit": MEMORY_LIMIT * size},
    }
    cases[f"{' x '.join(map(str, large))} with half of the state in a file"] = {
        "ours_s": file["seconds"],
        "peers": {"in memory": core["seconds"]},
        "ratio": {"in memory": file["seconds"] / core["seconds"]},
        "targets": {"in memory": OUT_OF_CORE},
        "steps": {"ours": file["steps"]},
        "memory_mb": {"ours": file["volumes"] * size, "limit": MEMORY_LIMIT * size},
    }
    return cases


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(json.dumps(_child(*json.loads(sys.argv[-1]))))
    else:
        report(run, __doc__)
