"""The star of a CT slice: the time of all arms, and how far the certified are above the local ones.

    python tests/benchmarks/sensitivity.py [--json]

Two cases of 256 x 256 pixels and 60 parallel views: a disc with a Tikhonov prior, whose arms have bounds, and a real
slice with total variation and weighted rays, as `recon sensitivity` has them by default, whose systems are badly
conditioned. The peer is what one would do without: solve the problem again for a change of each view, one view after
the other, which gives one random direction of each and no bound. The target is three minutes on two cores, and
certified arms at most 1.5 times the local ones on the average. `cpu_s` is the time of all cores, which other jobs on
them disturb less, and `peak_mb` the largest memory so far, the program's included.
"""

import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from timing import report

from recon.io import ValueRange, from_array, read
from recon.operators import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.problem import Objects
from recon.reconstruction.record import peak_bytes
from recon.reconstruction.run import execute, read_image
from recon.reconstruction.sensitivity import find_groups, sensitivity
from recon.specs.grammar import Spec, parse_spec
from recon.specs.groups import parse_groups
from recon.specs.operators import OperatorFactory
from recon.specs.solve_config import Noise, SolveConfig

SIDE, VIEWS, WEIGHT = 256, 60, 100.0
MEASURED = 3
"""Views for which the peer is timed."""

CASES = ("tikhonov", "tv")

SLICE = Path(__file__).parents[2] / "data" / "ct" / "tcga_60-2715.dcm"
WATER, PHOTONS = 0.02, 1e5
"""The attenuation of water in 1/mm, and the photons of a ray without an object."""


def run() -> dict[str, dict[str, object]]:
    size = f"{VIEWS} views, {SIDE} x {SIDE}"
    plans = {"tikhonov": of_disc, "tv": of_slice}
    return {f"{size}, {name}": timed(plans[name]()) for name in CASES}


def timed(plan: Plan) -> dict[str, object]:
    by_name = plan.problem.family.geometry is not None
    wanted = "views" if by_name else f"blocks:1x{plan.problem.measurement.shape[-1]}"
    groups = find_groups(parse_groups(wanted), plan)
    began, cpu = time.perf_counter(), time.process_time()
    star = sensitivity(plan, groups)
    ours, cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    for _ in range(MEASURED):
        execute(plan)
    again = (time.perf_counter() - began) / MEASURED * VIEWS
    ratios = [arm.certified.value / arm.local.value for arm in star.arms]
    found = {
        "ours_s": ours,
        "peers": {"a solve for each view": again},
        "ratio": {"a solve for each view": ours / again},
        "targets": {},
        "cpu_s": cpu,
        "peak_mb": peak_bytes() / 1e6,
        "perturbed_over_local": max(arm.perturbed.value / arm.local.value for arm in star.arms),
    }
    return found | ({"certified_over_local": float(np.mean(ratios))} if math.isfinite(max(ratios)) else {})


def of_disc() -> Plan:
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    disc = 0.5 * (rows**2 + columns**2 < 0.7) + 0.3 * ((rows - 0.2) ** 2 + columns**2 < 0.1)
    y = Tomography(scan(1.0)).A(torch.from_numpy(disc).float()[None, None])[0, 0].numpy()
    spec = Spec("python", value="a scan")
    family = OperatorFactory(spec, lambda shape: Tomography(scan(1.0)), lambda measured: (SIDE, SIDE))
    prior = parse_spec(f"tikhonov:weight={WEIGHT}")
    config = SolveConfig(spec, prior, noise=Noise(0.5), device="cpu", shape=(SIDE, SIDE))
    image = from_array(y, value_range=ValueRange(0.0, 1.0))
    return make_plan(config, image, lambda line: None, given=Objects(operator=family))


def of_slice() -> Plan:
    image = read(SLICE)
    hounsfield = np.asarray(image.pixels, np.float64).reshape(512, 512).clip(-1000)
    factor = 512 // SIDE
    mean = hounsfield.reshape(SIDE, factor, SIDE, factor).mean((1, 3))
    pitch = 0.546875 * factor
    rays = Tomography(scan(pitch)).A(torch.from_numpy(WATER * (1 + mean / 1000)).float()[None, None])[0, 0].numpy()
    counts = np.random.default_rng(0).poisson(PHOTONS * np.exp(-rays.astype(np.float64))).clip(1)
    with TemporaryDirectory() as folder:
        file = Path(folder, "scan.toml")
        file.write_text(
            f'kind = "parallel"\nangles = {{ start = 0, stop = 180, count = {VIEWS}, endpoint = false }}\n'
            f"[detector]\npixels = {math.ceil(1.42 * SIDE)}\npitch = {pitch}\n"
            f"[volume]\npixels = [{SIDE}, {SIDE}]\npitch = {pitch}\n",
        )
        measured = Path(folder, "sinogram.npy")
        np.save(measured, -np.log(counts / PHOTONS).astype(np.float32))
        config = SolveConfig(parse_spec(f"ct:{file}"), parse_spec("tv"), device="cpu", photons=PHOTONS, water=WATER)
        return make_plan(config, read_image(measured, config, lambda line: None), lambda line: None)


def scan(pitch: float) -> Geometry:
    pixels = math.ceil(1.42 * SIDE)
    return Geometry("parallel", evenly_spaced(0.0, 180.0, VIEWS), Detector(pixels, pitch), Volume((SIDE, SIDE), pitch))


if __name__ == "__main__":
    report(run, __doc__)
