"""The compiled loops of projectors share their work among threads, and the results stay the same to the bit."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import numba, torch
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume
from recon.operators.tomography import evenly_spaced, fbp, fdk, surrogate

assert numba.config.NUMBA_NUM_THREADS == 2
planar = Volume((37, 41), 1.0)
VOLUME = Volume((17, 15), 1.0, slices=AlongAxis(13, 1.0))
fan = {"source_to_axis": 90.0, "source_to_detector": 170.0}
SCANS = {
    "parallel": Geometry("parallel", evenly_spaced(0, 180, 23), Detector(61, 1.0), planar),
    "flat": Geometry("fan", evenly_spaced(0, 360, 23), Detector(67, 2.0), planar, **fan),
    "arc": Geometry("fan", evenly_spaced(0, 360, 23), Detector(67, 2.0, shape="arc"), planar, **fan),
    "cone": Geometry("cone", evenly_spaced(0, 360, 9), Detector(31, 2.0, rows=AlongAxis(19, 2.0)), VOLUME, **fan),
}
found = {}


def compare(name, run):
    numba.set_num_threads(1)
    alone = run()
    numba.set_num_threads(2)
    for _ in range(3):
        assert torch.equal(run(), alone), name
    assert alone.abs().max() > 0, name


for name, geometry in SCANS.items():
    operator = Tomography(geometry)
    for dtype in (torch.float32, torch.float64):
        for batch in (1, 8):
            image = torch.rand(batch, 1, *geometry.image_shape, dtype=dtype)
            sinogram = torch.rand(batch, 1, *geometry.sinogram_shape, dtype=dtype)
            compare((name, "A"), lambda: operator.A(image))
            compare((name, "A_adjoint"), lambda: operator.A_adjoint(sinogram))
    compare((name, "filtered"), lambda: (fdk if name == "cone" else fbp)(geometry)(sinogram))
    if name != "cone":
        K = surrogate("pixel-driven", operator)
        compare((name, "K"), lambda: K(sinogram))
        compare((name, "its transpose"), lambda: K.A(image))
print("the same")
"""


@pytest.mark.slow
def test_two_threads_compute_what_one_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same\n"
