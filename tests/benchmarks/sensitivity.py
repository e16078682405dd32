"""The star of a CT slice: the time of all arms, and how far the certified are above the local ones.

    python tests/benchmarks/sensitivity.py [--json]

A disc of 256 x 256 pixels from 60 parallel views, with a Tikhonov prior. The peer is what one would do without: solve
the problem again for a change of each view, one view after the other, which gives one random direction of each and no
bound. The target is three minutes on two cores, and certified arms at most 1.5 times the local ones on the average.
"""

import math
import time

import numpy as np
import torch
from timing import report

from recon.io import ValueRange, from_array
from recon.operators import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import Objects
from recon.reconstruction.run import execute
from recon.reconstruction.sensitivity import find_groups, sensitivity
from recon.specs.grammar import Spec, parse_spec
from recon.specs.groups import parse_groups
from recon.specs.operators import OperatorFactory
from recon.specs.solve_config import Noise, SolveConfig

SIDE, VIEWS, WEIGHT = 256, 60, 100.0
MEASURED = 3
"""Views for which the peer is timed."""


def run() -> dict[str, dict[str, object]]:
    pixels = math.ceil(1.42 * SIDE)
    scan = Geometry("parallel", evenly_spaced(0.0, 180.0, VIEWS), Detector(pixels, 1.0), Volume((SIDE, SIDE), 1.0))
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    disc = 0.5 * (rows**2 + columns**2 < 0.7) + 0.3 * ((rows - 0.2) ** 2 + columns**2 < 0.1)
    y = Tomography(scan).A(torch.from_numpy(disc).float()[None, None])[0, 0].numpy()
    spec = Spec("python", value="a scan")
    family = OperatorFactory(spec, lambda shape: Tomography(scan), lambda measured: (SIDE, SIDE))
    config = SolveConfig(
        spec, parse_spec(f"tikhonov:weight={WEIGHT}"), noise=Noise(0.5), device="cpu", shape=(SIDE, SIDE)
    )
    plan = make_plan(
        config, from_array(y, value_range=ValueRange(0.0, 1.0)), lambda line: None, given=Objects(operator=family)
    )
    began = time.perf_counter()
    star = sensitivity(plan, find_groups(parse_groups(f"blocks:1x{pixels}"), plan))
    ours = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(MEASURED):
        execute(plan)
    again = (time.perf_counter() - began) / MEASURED * VIEWS
    ratios = [arm.certified.value / arm.local.value for arm in star.arms]
    worst = max(arm.perturbed.value / arm.local.value for arm in star.arms)
    return {
        f"{VIEWS} views, {SIDE} x {SIDE}": {
            "ours_s": ours,
            "peers": {"a solve for each view": again},
            "ratio": {"a solve for each view": ours / again},
            "targets": {},
            "certified_over_local": float(np.mean(ratios)),
            "perturbed_over_local": worst,
        }
    }


if __name__ == "__main__":
    report(run, __doc__)
