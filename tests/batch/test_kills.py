"""A batch that is killed loses nothing, and running it again ends as if it had never been killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import heaps
import pydicom
import pytest

from recon.batch.ledger import sole_writer
from recon.errors import OutputError

SCRIPT = Path(sys.executable).with_name("recon")
SLICES = 8
IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "PixelData")


def command(folder: Path, *more: object) -> list[str]:
    return [str(each) for each in (SCRIPT, "solve", folder / "in", "-o", folder / "out", *heaps.QUICK, "-q", *more)]


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
    reference = folder / "reference"
    subprocess.run([*command(folder)[:4], str(reference), *command(folder)[5:]], check=True)
    expected, chance, out = identities(reference), random.Random(0), folder / "out"
    more = ("--jobs", jobs) if jobs > 1 else ()
    for _ in range(kills):
        with subprocess.Popen(command(folder, *more), start_new_session=True) as job:
            before = state(out)
            while state(out) == before and job.poll() is None:  # results are written when torch is loaded
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
    subprocess.run(command(folder, *more), check=True)
    assert identities(out) == expected
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".dcm", ".json"}
    assert not list(out.rglob(".recon-*"))
    assert len(list(out.rglob("*.run.json"))) == SLICES
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    subprocess.run(command(folder, *more), check=True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.slow
def test_a_slice_that_is_made_again_is_the_same_file(tmp_path: Path) -> None:
    """A run that is killed between a slice and its record leaves the record of the slice that it replaced."""
    heaps.save(heaps.slices(heaps.ct(), range(2)), tmp_path / "in")
    subprocess.run(command(tmp_path), check=True)
    slices = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    records = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.run.json")}
    for path in slices:
        path.unlink()
    time.sleep(1.1)  # DICOM counts time in seconds
    subprocess.run(command(tmp_path), check=True)
    assert {path: path.read_bytes() for path in slices} == slices
    for path, content in records.items():
        path.write_bytes(content)
    subprocess.run(command(tmp_path), check=True)
    assert {path: path.read_bytes() for path in records} == records


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_few_kills(tmp_path: Path, jobs: int) -> None:
    kill_and_go_on(tmp_path, 3, jobs)


@pytest.mark.nightly
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_hundred_kills(tmp_path: Path, jobs: int) -> None:
    kill_and_go_on(tmp_path, 50, jobs)


@pytest.mark.slow
def test_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(12)), tmp_path / "in")
    with subprocess.Popen(command(tmp_path, "--jobs", 2)) as job:
        while not list((tmp_path / "out").rglob("*.run.json")) and job.poll() is None:
            time.sleep(0.01)
        for child in children(job.pid):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                break
        assert job.wait(120) == 0
    assert len(identities(tmp_path / "out")) == 12
    assert len(list((tmp_path / "out").rglob("*.run.json"))) == 12


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(6)), tmp_path / "in")
    endless = ("--iterations", 10**8, "--tolerance", 0, "--jobs", 2)
    with subprocess.Popen(command(tmp_path, *endless)) as job:
        workers: list[int] = []
        while len(workers) < 2 and job.poll() is None:
            time.sleep(0.05)
            workers = [pid for pid in children(job.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        time.sleep(6)
        job.kill()
    for _ in range(100):
        if not any(is_running(pid) for pid in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker goes on")
    subprocess.run(command(tmp_path, "--overwrite"), check=True)


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
    endless = ("--iterations", 10**8, "--tolerance", 0, "--jobs", jobs)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(tmp_path, *endless), **pipes, start_new_session=True) as job:
        signal.signal(signal.SIGINT, inherited)
        while not (tmp_path / "out" / "batch.json").exists() and job.poll() is None:
            time.sleep(0.05)
        time.sleep(4 if jobs > 1 else 1)
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
