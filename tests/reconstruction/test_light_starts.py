"""A solve starts without the compiler of torch, which takes a second to import and does nothing here."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
import torch
from network_cases import CASES, Case
from recon.operators import CircularBlur, Identity, adjoint_gap, gaussian_psf
from recon.priors.networks import GuidedRidgeConfig, make
from recon.priors.networks.files.store import with_weights

def heavy(what):
    found = [name for name in ("sympy", "torch._dynamo", "torch._inductor") if name in sys.modules]
    assert not found, f"{what} imports {found}"

heavy("torch, or recon,")
for case in (*CASES, Case("guided", GuidedRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1), mask_width=4))):
    network = with_weights(case.config, make(case.config).state_dict(), "here")
    heavy(case.name)
for operator in (Identity((16, 15)), CircularBlur(gaussian_psf(1.0), (16, 15))):
    adjoint_gap(operator)
    heavy(repr(operator))
"""


def test_networks_and_adjoints_import_no_compiler() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=FOLDER, check=True)
