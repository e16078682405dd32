"""What `recon solve FOLDER` takes beside its solver: a DICOM series by total variation, one thread a job.

Every figure is the least of several runs, because other programs only add to it. Wall time has the waits for the disk
and for a busy core in it, processor time (user and system, of all processes) has not. Solver time is what the run
records state, a wall time. Imports are those of a process that loads what a task needs, and does nothing.

Targets: all but the solver takes under 5 % of the wall time and 10 ms a slice; two jobs are 1.8 times as fast as one;
the memory beyond the imports stays under 1.5 volumes in single precision, and one batch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SLICES, SIDE, ROUNDS, JOBS = 200, 512, 3, 2
OPTIONS = ("--operator", "identity", "--noise", "20HU", "--prior", "tv", "--device", "cpu", "-q")
IMPORTS = "import pydicom, recon.batch.work, recon.batch.strength"
TARGETS = {"share": 0.05, "beyond_ms": 10.0, "speedup": 1.8, "volumes": 1.5}


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock and of the processors, and the largest resident memory of one process in bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int

    @staticmethod
    def least(costs: list["Cost"]) -> "Cost":
        """The least of each."""
        return Cost(*(min(getattr(cost, name) for cost in costs) for name in ("wall_s", "cpu_s", "peak_bytes")))


def run() -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder / "in")
        runs: dict[int, list[Cost]] = {1: [], JOBS: []}
        solver: dict[int, list[float]] = {1: [], JOBS: []}
        imports = []
        for _ in range(ROUNDS):
            imports.append(cost(sys.executable, "-c", IMPORTS))
            for jobs, costs in runs.items():
                out = folder / f"{jobs}"
                costs.append(cost(*command(folder / "in", out, jobs)))
                solver[jobs].append(solver_seconds(out))
    start = Cost.least(imports)
    alone, together = (figures(Cost.least(runs[jobs]), min(solver[jobs]), start) for jobs in (1, JOBS))
    together["speedup"] = alone["wall_s"] / together["wall_s"]
    together["cpu_ratio"] = together["cpu_s"] / alone["cpu_s"]
    return {"imports": vars(start), "one job": alone, f"{JOBS} jobs": together}


def figures(least: Cost, solver_s: float, start: Cost) -> dict[str, float]:
    volume = 4 * SLICES * SIDE**2
    return {
        "wall_s": least.wall_s,
        "cpu_s": least.cpu_s,
        "solver_s": solver_s,
        "share": 1 - solver_s / least.wall_s,
        "beyond_ms": 1e3 * (least.wall_s - start.wall_s - solver_s) / SLICES,
        "beyond_cpu_ms": 1e3 * (least.cpu_s - start.cpu_s - solver_s) / SLICES,
        "volumes": (least.peak_bytes - start.peak_bytes) / volume,
    }


def command(folder: Path, out: Path, jobs: int) -> tuple[str, ...]:
    script = str(Path(sys.executable).with_name("recon"))
    return (script, "solve", str(folder), "-o", str(out), *OPTIONS, "--jobs", str(jobs), "--overwrite")


def cost(*program: str) -> Cost:
    """The cost of a program and of the processes that it waits for, with one thread each."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with subprocess.Popen(program, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        _, status, own = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(program)} ended with exit code {process.returncode}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s, own.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def solver_seconds(out: Path) -> float:
    """The sum over all slices."""
    return sum(json.loads(path.read_text())["seconds"] for path in out.rglob("*.run.json"))


def write_series(folder: Path) -> None:
    """Slices of smooth discs on air that move from slice to slice, in HU, with white noise of 20 HU."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    for number in range(1, SLICES + 1):
        image = np.full((SIDE, SIDE), -1000.0)
        for turn, radius, value in ((0.0, 0.85, 1040.0), (0.3, 0.2, 600.0), (1.3, 0.3, -700.0), (2.5, 0.15, 200.0)):
            angle, away = 2 * np.pi * (turn + number / SLICES), 0.0 if radius > 0.5 else 0.4
            apart = np.hypot(rows - away * np.sin(angle), columns - away * np.cos(angle))
            image += value / (1 + np.exp((apart - radius) * 100))
        _slice(image + 20 * draw.standard_normal(image.shape), number).save_as(
            folder / f"{number:04}.dcm", enforce_file_format=True
        )


def _slice(image: "np.ndarray", number: int) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.1.{number}"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "2.25.2", "2.25.3", "2.25.4"
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Nobody", "0"
    dataset.ImageType, dataset.SeriesNumber, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, number
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = np.rint(image).astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def show(cases: dict[str, dict[str, float]]) -> None:
    start = cases["imports"]
    print(f"{SLICES} slices of {SIDE} x {SIDE}, least of {ROUNDS} runs")
    print(f"imports: {start['wall_s']:.2f} s, processors {start['cpu_s']:.2f} s, {start['peak_bytes'] / 1e6:.0f} MB")
    for name, case in cases.items():
        if name == "imports":
            continue
        print(f"{name}: wall {case['wall_s']:.2f} s, processors {case['cpu_s']:.2f} s, solver {case['solver_s']:.2f} s")
        if "speedup" in case:
            print(f"  as fast as one job   {_judged(case, 'speedup', '{:6.2f} times')}")
            print(f"  processor time       {case['cpu_ratio']:6.2f} times that of one job")
            continue
        print(f"  all but the solver   {_judged(case, 'share', '{:6.1%} of the wall time')}")
        print(f"  beyond solver, imports {_judged(case, 'beyond_ms', '{:4.1f} ms a slice by the clock')}")
        print(f"                       {case['beyond_cpu_ms']:6.1f} ms a slice of the processors")
        print(f"  memory past imports  {_judged(case, 'volumes', '{:6.2f} volumes')}")


def _judged(case: dict[str, float], name: str, text: str) -> str:
    value, target = case[name], TARGETS[name]
    met = value >= target if name == "speedup" else value <= target
    return f"{text.format(value)} ({'target' if met else 'MISSES the target'} {target:g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    cases = run()
    if as_json:
        print(json.dumps(cases, indent=2))
        return
    show(cases)


if __name__ == "__main__":
    main()
