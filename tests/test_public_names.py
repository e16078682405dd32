"""The names that people build on: they are there, they say what they are, and none goes away unnoticed."""

import importlib
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import recon

PUBLIC = {
    "recon": ["blur", "ct", "denoiser", "inpaint", "mri", "operator", "reconstruct"],
    "recon.front": ["Denoiser", "Picture", "Reconstruction"],
    "recon.operators": [
        "Blur", "CartesianMRI", "Detector", "Downsampling", "Geometry", "Identity", "Inpainting", "LeastSquares",
        "Matrix", "Tomography", "Volume", "check_adjoint", "compose", "evenly_spaced", "gaussian_psf", "read_geometry",
        "scale", "stack", "to_deepinv",
    ],
    "recon.priors": [
        "Prior", "Resolvent", "box", "conjugate", "l1_prior", "smoothed_total_variation_prior", "soft_threshold",
        "tikhonov_prior", "total_variation_prior", "wavelet_prior",
    ],
    "recon.priors.networks": ["learned_prior", "load"],
    "recon.solvers": [
        "Solution", "Status", "certify", "condat_vu", "douglas_rachford", "fista", "forward_backward", "implicit",
        "kinetic", "langevin", "sample", "sk_rock", "solve", "tseng",
    ],
    "recon.certificates": ["Certificate", "interval_factor", "mixing"],
    "recon.training": ["Own", "Recipe", "train", "train_on"],
    "recon.errors": ["ReconError"],
}  # fmt: skip
"""By module. A name leaves this list with a line in the CHANGELOG only."""

NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]
SCREEN = 60
"""Lines."""

SCRIPT = Path(__file__).with_name("user_script.py")


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_there_and_says_what_it_is(module, name):
    found = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(found)
    assert text
    assert text != inspect.getdoc(object)
    if inspect.isfunction(found) and len(inspect.signature(found).parameters) > 1:
        assert "Args:" in text


@pytest.mark.parametrize("module", sorted(PUBLIC.keys() - {"recon", "recon.errors"}))
def test_public_names_are_exported(module):
    exported = importlib.import_module(module).__all__
    assert set(PUBLIC[module]) <= set(exported)
    for name in exported:
        assert getattr(importlib.import_module(module), name) is not None


def test_the_front_door_is_found_by_completion():
    assert set(PUBLIC["recon"]) <= set(dir(recon))


def test_help_fits_on_a_screen():
    text = pydoc.plain(pydoc.render_doc(recon))
    assert len(text.splitlines()) <= SCREEN
    for name in PUBLIC["recon"]:
        assert name in text


@pytest.mark.slow
def test_types_hold_in_a_script_of_a_user():
    """mypy, strict, on fifty lines that use the front door, a solver, a scan and a gradient.

    It takes what `make lint` has learned of recon from the cache of the checkout.
    """
    pytest.importorskip("mypy")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(SCRIPT)],
        cwd=SCRIPT.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
