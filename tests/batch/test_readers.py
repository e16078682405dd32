"""What is written, as independent programs read it: dciodvfy, SimpleITK, and the DICOM server Orthanc on loopback."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import forks
import heaps
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from recon import io


@pytest.fixture
def solved(tmp_path: Path) -> Path:
    heaps.heap(tmp_path / "in")
    return solve(tmp_path, "out")


def solve(folder: Path, output: str, *options: object) -> Path:
    command = ["solve", folder / "in", "-o", folder / output, *heaps.QUICK, "-q", *options]
    done = forks.run(forks.command, [str(each) for each in command])
    assert done.returncode == 0, done.stderr
    return folder / output


def faults(path: Path) -> Counter[str]:
    """The errors that dciodvfy finds."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)  # noqa: S607
    return Counter(line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_no_fault_is_in_a_result_that_its_source_does_not_have(solved: Path) -> None:
    sources = {}
    for path in (solved.parent / "in").rglob("*"):
        with contextlib.suppress(Exception):
            sources[pydicom.dcmread(path).SOPInstanceUID] = path
    for path in solved.rglob("*.dcm"):
        source = sources[pydicom.dcmread(path).SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert not faults(path) - faults(source)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_deidentifying_adds_no_fault(solved: Path) -> None:
    pytest.importorskip("dicomanonymizer", reason="the package dicom-anonymizer is not installed")
    anonymous = solve(solved.parent, "anonymous", "--deidentify", "--secret", solved.parent / "secret")
    for path in anonymous.rglob("*.dcm"):
        number = path.parent.name.partition("_")[0]
        (twin,) = solved.glob(f"{number}_*/{path.name}")
        assert not faults(path) - faults(twin)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_a_fault_would_be_seen(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    before = heaps.save([dataset], tmp_path / "whole")[0]
    del dataset.SeriesInstanceUID
    assert faults(heaps.save([dataset], tmp_path / "broken")[0]) - faults(before)


@pytest.mark.slow
def test_simpleitk_reads_the_same_volumes(solved: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its wrapper
        sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    for folder in (path for path in solved.iterdir() if path.is_dir()):
        reader = sitk.ImageSeriesReader()
        (series,) = reader.GetGDCMSeriesIDs(str(folder))
        names = reader.GetGDCMSeriesFileNames(str(folder), series)
        assert [Path(name).name for name in names] == sorted(path.name for path in folder.glob("*.dcm"))
        reader.SetFileNames(names)
        volume = reader.Execute()
        ours = np.concatenate([io.read(path).pixels[:, 0] for path in sorted(folder.glob("*.dcm"))])
        assert np.array_equal(sitk.GetArrayFromImage(volume), ours)
        first = pydicom.dcmread(sorted(folder.glob("*.dcm"))[0])
        assert volume.GetOrigin() == pytest.approx([float(x) for x in first.ImagePositionPatient], abs=1e-5)
        assert volume.GetSpacing()[:2] == pytest.approx([float(x) for x in reversed(first.PixelSpacing)])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        pytest.skip("the DICOM server Orthanc is not installed")
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        http, dicom = one.getsockname()[1], other.getsockname()[1]
    settings = {
        "Name": "test", "StorageDirectory": str(tmp_path / "store"), "HttpPort": http, "DicomPort": dicom,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {"test": "test"}, "Plugins": [],
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        job = subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{http}"
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                call(f"{address}/system")
                break
            time.sleep(0.2)
        yield address
    finally:
        job.terminate()
        job.wait(30)


def call(address: str, data: bytes | None = None) -> object:
    secret = base64.b64encode(b"test:test").decode()
    request = urllib.request.Request(address, data, {"Authorization": f"Basic {secret}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.loads(answer.read())


@pytest.mark.slow
def test_a_server_shows_each_new_series_in_the_study_of_its_source(solved: Path, server: str) -> None:
    for path in (solved.parent / "in" / "DOE_JOHN").rglob("*"):
        if path.is_file():
            call(f"{server}/instances", path.read_bytes())
    studies = {
        call(f"{server}/studies/{one}")["MainDicomTags"]["StudyInstanceUID"] for one in call(f"{server}/studies")
    }
    for _ in range(2):  # sent twice, they are the same instances
        for path in [*solved.glob("6_*/*.dcm"), *solved.glob("401_*/*.dcm")]:
            call(f"{server}/instances", path.read_bytes())
    found = [call(f"{server}/studies/{one}") for one in call(f"{server}/studies")]
    assert {one["MainDicomTags"]["StudyInstanceUID"] for one in found} == studies
    for one in found:
        series = [call(f"{server}/series/{each}") for each in one["Series"]]
        assert len(series) == 2
        assert len({len(each["Instances"]) for each in series}) == 1
        told = [each["MainDicomTags"].get("SeriesDescription", "") for each in series]
        assert sum("not for diagnosis" in text for text in told) == 1
    assert len(call(f"{server}/instances")) == 14
