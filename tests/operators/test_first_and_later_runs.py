"""The run that compiles the loops and those that find them in the cache give the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import hashlib
import numba
import torch
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced, inverse
numba.set_num_threads(1)
plane, turn, fan = Volume((80, 76), 1.0, (1.0, -2.0)), evenly_spaced(0, 360, 90), (150.0, 300.0)
upright = Volume((20, 19), 4.0, (1.0, -2.0), AlongAxis(8, 4.0))
SCANS = {
    "parallel": Geometry("parallel", turn, Detector(118, 1.0), plane),
    "flat": Geometry("fan", turn, Detector(140, 2.0), plane, *fan),
    "arc": Geometry("fan", turn, Detector(140, 2.0, 0.0, "arc"), plane, *fan),
    "cone": Geometry("cone", turn, Detector(35, 8.0, rows=AlongAxis(9, 8.0)), upright, *fan),
}
for name, scan in SCANS.items():
    projector, generator = Tomography(scan), torch.Generator().manual_seed(0)
    for batch in (1, 8):
        x, y = (space.random(batch, 1, generator=generator) for space in (projector.domain, projector.range))
        for made in (projector.A(x), projector.A_adjoint(y), inverse(scan)(y)):
            print(name, batch, hashlib.sha256(made.numpy().tobytes()).hexdigest())
"""


@pytest.mark.nightly
def test_what_is_compiled_and_what_is_cached_give_the_same_bits(tmp_path: Path) -> None:
    def run() -> str:
        where = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False, env=where)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    assert any(tmp_path.rglob("*.nbi"))
    assert run() == first
