"""The time of a learned prior over that of total variation, to the same distance from the limit of each.

    python tests/benchmarks/learned_time.py [--side 512] [--distance 1e-3] [--json]

A camera shake with noise of 0.01 and a scan of 60 views, as in ``stopping.py``. Each is solved as ``recon solve``
solves it, on one thread: first for as many steps as it takes to have a limit, then from the start again until the
image is within the distance of it, relative to its norm, which is timed in CPU time. Beside them stands deepinv's
DRUNet, with random weights, as nothing is downloaded: plug-and-play with it has no limit that one could be near to, so
what is printed is the time of one of its steps (a gradient of the data term and the network), and how many of them fit
in our time to the distance.
"""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import deepinv
import numba
import torch
from stopping import SHAKE, Case, problem
from torch import Tensor

from recon import solvers
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.run import starting_image

CASES = {
    "a camera shake": (
        Case("tv", SHAKE, 0.01, "tv"),
        Case("proved-gray", SHAKE, 0.01, "model:proved-gray"),
    ),
    "60 views": (Case("tv", "ct:60", 0.01, "tv:low=0"), Case("proved-ct", "ct:60", 0.01, "model:proved-ct,low=0")),
}
TARGETS = {"a camera shake": 2.5, "60 views": 1.2}
LIMIT_TIMES = 6
"""The limit is an image after so many times the steps of an earlier one, from which it moved by less than a tenth of
the distance."""
NETWORK_CALLS = 3


def planned(case: Case, side: int, folder: Path) -> Plan:
    config, image, _ = problem(case, side, folder)
    return make_plan(config, image, lambda _: None)


def states(plan: Plan) -> Iterator[Tensor]:
    """The images of a run, one after the other."""
    start = starting_image(plan.problem, plan.pair)
    for state in solvers.iterate(plan.method.algorithm(plan.problem.measurement), start):
        yield state.x


def limit_of(plan: Plan, distance: float) -> Tensor:
    """An image that moved by less than a tenth of the distance while the steps grew to ``LIMIT_TIMES`` as many."""
    mark, at = None, 0
    for step, x in zip(count(), states(plan)):
        if mark is None or (step >= LIMIT_TIMES * at and float((x - mark).norm()) > distance / 10 * float(x.norm())):
            mark, at = x.clone(), max(step, 16)
        elif step >= LIMIT_TIMES * at:
            return x
    raise AssertionError


def time_to(plan: Plan, limit: Tensor, distance: float) -> tuple[int, float]:
    """Steps and CPU seconds until the image is within the distance of its limit; the looks are not counted."""
    spent, steps, run = 0.0, 0, states(plan)
    while True:
        began = time.process_time()
        x = next(run)
        spent += time.process_time() - began
        if float((x - limit).norm()) <= distance * float(limit.norm()):
            return steps, spent
        steps += 1


def network_step(plan: Plan, x: Tensor) -> float:
    """CPU seconds of one step of plug-and-play with DRUNet."""
    torch.manual_seed(0)
    network = deepinv.models.DRUNet(in_channels=1, out_channels=1, pretrained=None).eval()
    operator, y, seconds = plan.pair.operator, plan.problem.measurement, []
    with torch.no_grad():
        for _ in range(NETWORK_CALLS):
            began = time.process_time()
            network(x - operator.A_adjoint(operator.A(x) - y), 0.05)
            seconds.append(time.process_time() - began)
    return median(seconds)


def measure(side: int, distance: float) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        for name, (peer, ours) in CASES.items():
            seconds, steps = {}, {}
            for case in (peer, ours):
                plan = planned(case, side, Path(folder))
                limit = limit_of(plan, distance)
                steps[case.name], seconds[case.name] = time_to(plan, limit, distance)
            one = network_step(plan, limit)
            mine = seconds[ours.name]
            found[name] = {
                "ours_s": mine, "ours_steps": steps[ours.name], "tv_s": seconds["tv"], "tv_steps": steps["tv"],
                "ratio": mine / seconds["tv"], "target": TARGETS[name], "drunet_step_s": one,
                "drunet_steps": mine / one,
            }  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--distance", type=float, default=1e-3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    found = measure(options.side, options.distance)
    if options.json:
        print(json.dumps(found))
        return found
    for name, row in found.items():
        print(
            f"{name}: {row['ours_steps']} steps in {row['ours_s']:.2f} s, tv {row['tv_steps']} in {row['tv_s']:.2f} s: "
            f"{row['ratio']:.2f} (at most {row['target']:g} is wanted); a step with DRUNet takes "
            f"{row['drunet_step_s']:.2f} s, so that {row['drunet_steps']:.1f} of them fit in"
        )
    return found


if __name__ == "__main__":
    main()
