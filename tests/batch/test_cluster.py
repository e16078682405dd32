"""A batch on a Dask cluster: a scheduler and two workers as processes of this machine."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import forks
import heaps
import pydicom
import pytest

pytest.importorskip("distributed", reason="the packages dask and distributed are not installed")
pytestmark = pytest.mark.slow

LONG = ("--tolerance", "0", "--iterations", "2000")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(folder: Path, module: str, *arguments: object) -> forks.Fork:
    return forks.Fork(forks.module, [f"distributed.cli.{module}", "--no-dashboard", *map(str, arguments)], cwd=folder)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[forks.Fork]]]:
    """The address, and the processes: the scheduler first, then the workers, who work in another folder."""
    port, elsewhere = free_port(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    address = f"tcp://127.0.0.1:{port}"
    jobs = [start(elsewhere, "dask_scheduler", "--host", "127.0.0.1", "--port", port, "--dashboard-address", ":0")]
    jobs += [start(elsewhere, "dask_worker", address, "--nthreads", 1, "--no-nanny") for _ in range(2)]
    try:
        yield address, jobs
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def solve(folder: Path, output: str, *options: str) -> forks.Fork:
    return forks.Fork(forks.command, ["solve", "in", "-o", output, *heaps.QUICK, *options], cwd=folder)


def solve_when_ready(folder: Path, output: str, *options: str) -> forks.Fork:
    """Begin again while the workers are still starting; return when the first slice is done."""
    for _ in range(150):
        job = solve(folder, output, *options)
        while job.poll() is None and not list((folder / output).rglob("*.run.json")):
            time.sleep(0.02)
        if job.returncode != 6:
            return job
        job.communicate()
        time.sleep(0.2)
    raise TimeoutError


def identities(folder: Path) -> list[tuple[str, bytes]]:
    return [(str(one.SOPInstanceUID), one.PixelData) for one in map(pydicom.dcmread, sorted(folder.rglob("*.dcm")))]


def test_a_cluster_makes_what_one_process_makes(tmp_path: Path, cluster) -> None:
    heaps.heap(tmp_path / "in")
    job = solve_when_ready(tmp_path, "out", "--scheduler", cluster[0])
    _, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    solve(tmp_path, "here").communicate(timeout=120)
    assert identities(tmp_path / "out") == identities(tmp_path / "here")
    assert solve(tmp_path, "out").communicate(timeout=60)[0].count("done before") == 3


@pytest.mark.parametrize("victim", ["worker", "scheduler"])
def test_what_is_killed_loses_nothing(tmp_path: Path, cluster, victim: str) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(10)), tmp_path / "in")
    job = solve_when_ready(tmp_path, "out", "--scheduler", cluster[0], *LONG)
    cluster[1][1 if victim == "worker" else 0].kill()
    _, err = job.communicate(timeout=180)
    assert "Traceback" not in err
    if victim == "scheduler":
        assert job.returncode == 6, err
        assert "the connection to the cluster was lost; what is done is kept" in err
        assert json.loads((tmp_path / "out" / "batch.json").read_text())["status"] == "incomplete"
        job = solve(tmp_path, "out", *LONG)
        job.communicate(timeout=120)
    assert job.returncode == 0
    assert len(identities(tmp_path / "out")) == 10
    assert not list((tmp_path / "out").rglob(".recon-*"))


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(2)), tmp_path / "in")
    job = solve(tmp_path, "out", "--scheduler", f"tcp://127.0.0.1:{free_port()}")
    _, err = job.communicate(timeout=60)
    assert job.returncode == 6
    assert "no Dask scheduler answers there" in err
    assert "Traceback" not in err
