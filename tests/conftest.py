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

LONGEST = (
    "test_documentation", "test_first_and_later_runs", "test_teacher", "test_hostile_folders", "test_kills",
    "test_catalogue", "test_codec", "test_documents",
)  # fmt: skip
"""Modules with the longest of the long tests, longest first."""


@pytest.hookimpl(trylast=True)  # after those that are not asked for are left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of two workers, each begins with its share of the long tests: one that began last would run alone."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        order = dealt(items, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
        assert len(order) == len(items), "a test is lost"
        assert set(order) == set(items), "a test is lost"
        items[:] = order


def dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in another order, whose equal parts, one a worker, each begin with long tests."""
    long = [item for item in items if any(map(item.get_closest_marker, ("slow", "docs", "nightly")))]
    together: dict[object, list[pytest.Item]] = {}
    for item in sorted(long, key=lambda item: _place(item.path.stem)):
        together.setdefault(item.path if _shares_a_fixture(item) else item, []).append(item)
    groups, of_long = list(together.values()), set(long)
    short = [item for item in items if item not in of_long]
    size, found, begun = len(items) / workers, [], 0
    for worker in range(workers):
        share = [item for group in groups[worker::workers] for item in group]
        count = max(0, round(size * (worker + 1)) - len(found) - len(share))
        found += share + short[begun : begun + count]
        begun += count
    return found + short[begun:]


def _place(module: str) -> int:
    return LONGEST.index(module) if module in LONGEST else len(LONGEST)


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Whether a test needs something that is made once for its module."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    return any(each.scope == "module" for alike in fixtures for each in alike)


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
