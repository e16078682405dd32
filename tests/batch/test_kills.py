"""A batch that is killed loses nothing, and running it again ends as if it had never been killed."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import forks
import heaps
import pydicom
import pytest

from recon.batch.ledger import sole_writer
from recon.errors import OutputError

SLICES = 8
IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "PixelData")


def command(folder: Path, *more: object, out: str = "out") -> list[str]:
    return [str(each) for each in ("solve", folder / "in", "-o", folder / out, *heaps.QUICK, "-q", *more)]


def run(arguments: list[str]) -> None:
    done = forks.run(forks.command, arguments)
    assert done.returncode == 0, done.stderr


def identities(out: Path) -> dict[str, tuple[object, ...]]:
    made = {path: pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))}
    return {path.name: tuple(one[keyword].value for keyword in IDENTITY) for path, one in made.items()}


def check_that_nothing_is_half_written(out: Path) -> None:
    """Whatever has the name of a result is whole: the file, and the record beside it."""
    for path in out.rglob("*"):
        if path.suffix == ".dcm":
            assert pydicom.dcmread(path).pixel_array.shape == (32, 32)
        elif path.suffix == ".json":
            json.loads(path.read_text())


def state(out: Path) -> set[tuple[str, int]]:
    """What is in a folder, and since when."""
    found = set()
    for folder, _, names in os.walk(out):
        for name in names:
            with contextlib.suppress(OSError):
                found.add((name, Path(folder, name).stat().st_mtime_ns))
    return found


def kill_and_go_on(folder: Path, kills: int, jobs: int) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(SLICES)), folder / "in")
    run(command(folder, out="reference"))
    expected, chance, out = identities(folder / "reference"), random.Random(0), folder / "out"
    more = ("--jobs", jobs) if jobs > 1 else ()
    for _ in range(kills):
        before = state(out)
        with forks.Fork(forks.command, command(folder, *more), start_new_session=True) as job:
            while state(out) == before and job.poll() is None:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.2))
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(job.pid, signal.SIGKILL)
        assert job.returncode in (0, -signal.SIGKILL)
        if out.exists():
            check_that_nothing_is_half_written(out)
            if len(identities(out)) == SLICES:
                for path in list(out.rglob("0*"))[:: chance.randint(1, 4)]:
                    path.unlink()  # so that there is something to do
    run(command(folder, *more))
    assert identities(out) == expected
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".dcm", ".json"}
    assert not list(out.rglob(".recon-*"))
    assert len(list(out.rglob("*.run.json"))) == SLICES
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    run(command(folder, *more))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.slow
def test_a_slice_that_is_made_again_is_the_same_file(tmp_path: Path) -> None:
    """A run that is killed between a slice and its record leaves the record of the slice that it replaced."""
    heaps.save(heaps.slices(heaps.ct(), range(2)), tmp_path / "in")
    run(command(tmp_path))
    slices = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    records = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.run.json")}
    for path in slices:
        path.unlink()
    time.sleep(1.1)  # DICOM counts time in seconds
    run(command(tmp_path))
    assert {path: path.read_bytes() for path in slices} == slices
    for path, content in records.items():
        path.write_bytes(content)
    run(command(tmp_path))
    assert {path: path.read_bytes() for path in records} == records


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_few_kills(tmp_path: Path, jobs: int) -> None:
    kill_and_go_on(tmp_path, 3, jobs)


@pytest.mark.nightly
@pytest.mark.parametrize(("jobs", "kills"), [(1, 85), (2, 15)])
def test_a_hundred_kills(tmp_path: Path, jobs: int, kills: int) -> None:
    kill_and_go_on(tmp_path, kills, jobs)


@pytest.mark.slow
def test_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(12)), tmp_path / "in")
    with forks.Fork(forks.command, command(tmp_path, "--jobs", 2)) as job:
        while not list((tmp_path / "out").rglob("*.run.json")) and job.poll() is None:
            time.sleep(0.01)
        for child in children(job.pid):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                break
        assert job.wait(120) == 0
    assert len(identities(tmp_path / "out")) == 12
    assert len(list((tmp_path / "out").rglob("*.run.json"))) == 12


OPERATOR = """
import os
from pathlib import Path
calls = 0

class Watched:
    def A(self, x):
        global calls
        calls += 1
        if calls == 500:
            Path({folder!r}, str(os.getpid())).touch()
        return x

    A_adjoint = A

def watched(shape):
    return Watched()
"""
"""The identity; after calls that are those of a solve, it leaves the number of its process in a folder."""


def endless(folder: Path, jobs: int) -> list[str]:
    """A batch that does not end by itself, whose processes leave their numbers when they have begun to solve."""
    (folder / "solving").mkdir()
    (folder / "watched.py").write_text(OPERATOR.format(folder=str(folder / "solving")))
    operator = ("--operator", f"python:{folder / 'watched.py'}:watched", "--noise", 10)
    return command(folder, *operator, "--iterations", 10**8, "--tolerance", 0, "--jobs", jobs)


def wait_until_all_solve(folder: Path, jobs: int, job: forks.Fork) -> list[int]:
    """Return the processes that solve."""
    while len(found := list((folder / "solving").iterdir())) < jobs:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    return [int(path.name) for path in found]


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(6)), tmp_path / "in")
    with forks.Fork(forks.command, endless(tmp_path, 2)) as job:
        workers = wait_until_all_solve(tmp_path, 2, job)
        assert set(workers) <= set(children(job.pid))
        job.kill()
    for _ in range(100):
        if not any(is_running(pid) for pid in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker goes on")
    run(command(tmp_path, "--overwrite"))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_a_summary(tmp_path: Path, jobs: int) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(4)), tmp_path / "in")
    with forks.Fork(forks.command, endless(tmp_path, jobs), start_new_session=True) as job:
        wait_until_all_solve(tmp_path, jobs, job)
        os.killpg(job.pid, signal.SIGINT)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 130, err
    assert "with 0 of 4 done; the same command goes on from there" in err
    assert "4 not reached" in out or "1 interrupted, 3 not reached" in out
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["status"] == "interrupted"
    assert not list((tmp_path / "out").rglob(".recon-*"))


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path),
        pytest.raises(OutputError, match="another run is writing into this folder"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        pass
