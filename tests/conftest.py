"""Strict numerics for every test: one thread, no shared random state, warnings are errors."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start: threads of several would wait for cores

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("untimed", deadline=None)  # on a busy machine an example takes long
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> None:
    torch.set_num_threads(1)  # FFT tests on two cores take seconds with torch's default threads
    if "numba" in sys.modules:  # two processes with two threads each on two cores take five times as long
        sys.modules["numba"].set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The large data folder beside the checkout, which only some machines have."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the large test data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def bundled_data() -> Path:
    """The small real inputs of the repository."""
    return REPOSITORY / "data"
