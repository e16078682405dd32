"""deepinv's own tests of a physics, run over our operators.

The functions are those of the installed package; only the list of operators and the factory that they read are ours.
"""

import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from cases import OPERATORS

from recon.operators import to_deepinv

SUITE = [
    "test_operators_adjointness",
    "test_operators_norm",
    "test_pseudo_inverse",
    "test_operators_differentiability",
    "test_physics_state_dict",
    "test_adjoint_autograd",
    "test_concatenation",
]
# deepinv exempts from its norm test whatever has "valid" in its name: ours need no exemption
FACTORIES = {case.name.replace("valid", "cropped"): case.make for case in OPERATORS}
NOTHING = {"inpainting-nothing"}  # the suite divides by ||A^T A x||


@pytest.fixture(scope="module")
def physics_tests():
    """deepinv's test module with its operators replaced by ours."""
    deepinv = pytest.importorskip("deepinv")
    folder = Path(deepinv.__file__).parent / "tests"
    if not (folder / "test_physics.py").is_file():
        pytest.skip(f"this deepinv was installed without its tests: {folder}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("deepinv.tests.test_physics")
    theirs, find = list(module.OPERATORS), module.find_operator
    module.OPERATORS[:] = list(FACTORIES)
    module.find_operator = find_ours
    yield module
    module.OPERATORS[:], module.find_operator = theirs, find


def find_ours(name, device, imsize=None, get_physics_param=False):
    operator = FACTORIES[name]()
    image_shape = (2 if operator.domain.is_complex else 3, *operator.domain.shape)
    physics = to_deepinv(operator, image_shape)
    # deepinv calls the square of the norm the norm
    found = physics, image_shape, reference_norm(physics, image_shape), torch.float
    return (*found, []) if get_physics_param else found


def reference_norm(physics, image_shape) -> float:
    """||A||^2 from the dense matrix: an operator may know only a bound."""
    units = torch.eye(torch.Size(image_shape).numel()).reshape(-1, *image_shape)
    return float(torch.linalg.matrix_norm(physics.A(units).flatten(1), 2)) ** 2


def parameters(function, name: str) -> list[dict]:
    """Every combination of a test function's own parameters, the operator's name aside."""
    combinations: list[dict] = [{"name": name}]
    for mark in getattr(function, "pytestmark", []):
        argument, values = mark.args
        if argument != "name":
            combinations = [{**known, argument: value} for known in combinations for value in values]
    return combinations


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name in FACTORIES if name not in NOTHING])
@pytest.mark.parametrize("test", SUITE)
def test_deepinvs_own_test_passes(physics_tests, test, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one of them writes to the current folder
    function = getattr(physics_tests, test)
    assert set(physics_tests.OPERATORS) == set(FACTORIES)
    fixtures = {"device": torch.device("cpu"), "rng": torch.Generator().manual_seed(0)}
    needed = {key: value for key, value in fixtures.items() if key in inspect.signature(function).parameters}
    for combination in parameters(function, name):
        torch.manual_seed(0)
        function(**combination, **needed)


def test_a_wrong_adjoint_fails_deepinvs_own_test(physics_tests, monkeypatch):
    """The suite is alive: it catches a planted fault."""

    class Wrong:
        def A(self, x):
            return x.roll(1, dims=-1)

        A_adjoint = A

    physics = to_deepinv(Wrong(), (1, 6, 7))
    monkeypatch.setattr(physics_tests, "find_operator", lambda name, device: (physics, (1, 6, 7), 1.0, torch.float))
    with pytest.raises(AssertionError):
        physics_tests.test_operators_adjointness("wrong", torch.device("cpu"), torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_recon_itself_imports_no_deepinv():

    code = "import sys, recon.operators; sys.exit('deepinv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
