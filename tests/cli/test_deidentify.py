"""recon solve --deidentify: nothing of the patient is in a result, and what belongs together stays together."""

import json
import re
import shutil
import stat
from pathlib import Path

import heaps
import pydicom
import pytest
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid

pytest.importorskip("dicomanonymizer", reason="the package dicom-anonymizer is not installed")

QUICK = (*heaps.QUICK[:2], "--prior", "tv:weight=0.001", "--noise", "10HU", "--device", "cpu")
NAMES = ("DOE", "SECRET", "PLANTED", "19770707", "070707")


@pytest.fixture
def scans(folder: Path) -> Path:
    """Two series of one patient with names, dates and identifiers wherever they may be, in sequences too."""
    study, number = generate_uid(), 0
    for name in ("a", "b"):
        made = heaps.slices(heaps.ct(), [0, 2])
        for one in made:
            number += 1
            one.StudyInstanceUID = study
            for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate"):
                setattr(one, keyword, "19770707")
            for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
                setattr(one, keyword, "070707")
            for keyword in ("AccessionNumber", "StudyID", "StationName", "DeviceSerialNumber", "PatientComments"):
                setattr(one, keyword, "PLANTED")
            for keyword in (
                "StudyDescription",
                "SeriesDescription",
                "ProtocolName",
                "InstitutionName",
                "ImageComments",
            ):
                setattr(one, keyword, "PLANTED")
            for keyword in ("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName"):
                setattr(one, keyword, "PLANTED^BY")
            one.DerivationDescription = "PLANTED"
            request = pydicom.Dataset()
            request.ScheduledProcedureStepDescription, request.RequestedProcedureID = "PLANTED", "PLANTED"
            one.RequestAttributesSequence = Items([request])
            code = pydicom.Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "DCM", "a code"
            code.ReferringPhysicianName = "PLANTED^NESTED"  # where no standard would look for it
            one.ProcedureCodeSequence = Items([code])
            one.private_block(0x0041, "PLANTED", create=True).add_new(1, "LO", "PLANTED")
        heaps.save(made, folder / "in" / name)
    return folder / "in"


def results(folder: str) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(Path(folder).rglob("*.dcm"))]


def test_nothing_of_the_patient_is_in_a_result(run, scans: Path) -> None:
    outcome = run("solve", "in", "-o", "out", *QUICK, "--deidentify", "--secret", "mine")
    assert outcome.code == 0, outcome.err
    originals = [pydicom.dcmread(path) for path in scans.rglob("*.dcm")]
    uids = {str(one[keyword].value) for one in originals for keyword in ("SOPInstanceUID", "SeriesInstanceUID")}
    uids |= {str(one.StudyInstanceUID) for one in originals} | {str(one.FrameOfReferenceUID) for one in originals}
    for path in Path("out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for text in (*NAMES, *uids):
                assert text.encode() not in content, (path.name, text)
    (secret,) = [path for path in Path().iterdir() if path.name == "mine"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(results("out")) == 4
    for folder in (path.name for path in Path("out").iterdir() if path.is_dir()):
        assert f"{folder}: CT, 2 slices" in outcome.err
    for one in results("out"):
        assert one.PatientIdentityRemoved == "YES"
        assert one.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert one.LongitudinalTemporalInformationModified == "REMOVED"
        assert "tv:weight=0.001" in one.DerivationDescription
        assert one.pixel_array.shape == (32, 32)
        assert one.ImagePositionPatient
        assert re.fullmatch("[0-9A-F]{16}", str(one.PatientName))


def test_what_belongs_together_stays_together(run, scans: Path) -> None:
    assert run("solve", "in", "-o", "out", *QUICK, "--deidentify", "--secret", "mine").code == 0
    assert run("solve", "in/a", "-o", "again", *QUICK, "--deidentify", "--secret", "mine").code == 0
    assert run("solve", "in/a", "-o", "other", *QUICK, "--deidentify", "--secret", "another").code == 0
    made, again, other = results("out"), results("again"), results("other")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({one[keyword].value for one in [*made, *again]}) == 1, keyword
        assert made[0][keyword].value != other[0][keyword].value, keyword
    assert len({one.SeriesInstanceUID for one in made}) == 2
    assert {one.SOPInstanceUID for one in again} < {one.SOPInstanceUID for one in made}
    assert not {one.SOPInstanceUID for one in other} & {one.SOPInstanceUID for one in made}
    names = [{path.name for path in Path(folder).iterdir() if path.is_dir()} for folder in ("again", "other")]
    assert not names[0] & names[1]


def test_a_single_file_and_a_resumed_batch(run, scans: Path) -> None:
    options = (*QUICK, "--deidentify", "--secret", "mine")
    assert run("solve", "in/a/0.dcm", "-o", "one.dcm", *options).code == 0
    assert run("solve", "in", "-o", "out", *options).code == 0
    assert pydicom.dcmread("one.dcm").SOPInstanceUID in {one.SOPInstanceUID for one in results("out")}
    assert "2 done before" in run("solve", "in", "-o", "out", *options).out
    assert run("solve", "in", "-o", "out", *QUICK).code == 0  # the folders of the two differ: the hash is a secret's
    assert len(results("out")) == 8
    assert "mine" not in json.dumps(json.loads(Path("out/batch.json").read_text()))


def test_pixels_with_text_are_refused(run, folder: Path) -> None:
    one = heaps.ct()
    one.BurnedInAnnotation = "YES"
    heaps.save([one], folder / "in")
    outcome = run("solve", "in", "-o", "out", *QUICK, "--deidentify", "--secret", "mine")
    assert outcome.code == 7
    assert "text burned in" in outcome.err
    assert not results("out")


@pytest.mark.parametrize(("content", "code", "said"), [(b"short", 3, "which nobody can guess"), (None, 7, "cannot be")])
def test_a_secret_that_is_none_is_refused(run, scans: Path, content: bytes | None, code: int, said: str) -> None:
    name = "mine" if content else "nowhere/mine"
    if content:
        Path("mine").write_bytes(content)
    outcome = run("solve", "in", "-o", "out", *QUICK, "--deidentify", "--secret", name)
    assert (outcome.code, said in outcome.err) == (code, True), outcome.err
    assert not Path("out").exists()
    assert run("solve", "in", "-o", "out", *QUICK, "--secret", "x").code == 2


def test_the_secret_of_no_name_is_kept_for_the_next_time(run, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(Path("data").absolute()))
    assert run("solve", "in", "-o", "out", *QUICK, "--deidentify").code == 0
    shutil.rmtree("out/" + next(path.name for path in Path("out").iterdir() if path.is_dir()))
    assert run("solve", "in", "-o", "out", *QUICK, "--deidentify").code == 0
    assert Path("data/recon/secret").stat().st_size == 32
    assert len({one.PatientID for one in results("out")}) == 1
