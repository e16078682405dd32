"""Threads that wait for each other sleep, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest
from recon.cli.threads import sleep_while_waiting

POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PROBE = """
import os, sys
from recon.cli.main import main
assert "torch" not in sys.modules
try:
    main(["certify", "operator", "identity"])
finally:
    assert "torch" in sys.modules
    print([os.environ.get(name) for name in %r])
"""


def probe(**given: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in POLICY}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **given}
    code = PROBE % (POLICY,)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


@pytest.mark.slow
def test_the_runtime_that_torch_loads_is_told_to_let_threads_sleep() -> None:
    done = probe()
    assert done.stdout.splitlines()[-1] == "['PASSIVE', '1000', None]"
    if "OPENMP DISPLAY ENVIRONMENT" not in done.stderr:
        pytest.skip("torch has no OpenMP runtime that shows its settings")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.slow
def test_the_runtime_hears_what_the_user_says() -> None:
    done = probe(OMP_WAIT_POLICY="ACTIVE")
    assert done.stdout.splitlines()[-1] == "['ACTIVE', None, None]"
    if "OPENMP DISPLAY ENVIRONMENT" in done.stderr:
        assert "OMP_WAIT_POLICY = 'ACTIVE'" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7"), ("KMP_BLOCKTIME", "1")]
)
def test_what_the_user_says_of_waiting_stays_and_nothing_is_added(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with monkeypatch.context() as patch:
        for each in POLICY:
            patch.delenv(each, raising=False)
        patch.setenv(name, value)
        sleep_while_waiting()
        assert {each: os.environ[each] for each in POLICY if each in os.environ} == {name: value}
