"""recon solve of folders: series, what is set aside, what is done already, and what is said of it."""

import errno
import json
import re
import zipfile
from pathlib import Path

import heaps
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from recon import io
from recon.batch import work
from recon.io import atomic

QUICK = heaps.QUICK


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.fixture
def heap(folder: Path) -> Path:
    return heaps.heap(folder / "heap")


def test_a_heap_becomes_a_series_for_each_of_its_series(run, heap: Path) -> None:
    outcome = run("solve", "heap", "-o", "out", *QUICK)
    assert outcome.code == 0, outcome.err
    report = "DICOM object without pixels (Comprehensive SR Storage)"
    for reason in ("derived image", "duplicate", "localiser", report, "no image", "hidden file"):
        assert f"1 x {reason}" in outcome.err
    assert "9 of 9" in outcome.err
    folders = sorted(path.name for path in Path("out").iterdir() if path.is_dir())
    assert [name.split("_")[0] for name in folders] == ["1", "401", "6"]
    assert all(re.fullmatch(r"\d+_[0-9a-f]{8}", name) for name in folders)
    sources = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, Path("heap/DOE_JOHN").rglob("*[0-9A]"))}
    for name in folders:
        made = written(Path("out") / name)
        assert len({one.SeriesInstanceUID for one in made}) == 1
        assert len({(one.SeriesDate, one.SeriesTime, one.SeriesNumber, one.SeriesDescription) for one in made}) == 1
        assert len({one.SOPInstanceUID for one in made}) == len(made)
        normal = np.cross(made[0].ImageOrientationPatient[:3], made[0].ImageOrientationPatient[3:])
        heights = [float(np.array(one.ImagePositionPatient) @ normal) for one in made]
        assert heights == sorted(heights)
        for one in made:
            source = sources.get(one.SourceImageSequence[0].ReferencedSOPInstanceUID)
            if source is not None:
                assert one.ImagePositionPatient == source.ImagePositionPatient
                assert one.InstanceNumber == source.InstanceNumber
                assert one.StudyInstanceUID == source.StudyInstanceUID
    ledger = json.loads(Path("out/batch.json").read_text())
    assert ledger["status"] == "done"
    assert ledger["set_aside"]["derived image"] == 1
    assert [len(group["items"]) for group in ledger["groups"]] == [2, 3, 4]


def test_that_no_gpu_is_there_is_said_once(run, heap: Path) -> None:
    outcome = run("solve", "heap", "-o", "out", *QUICK, "--device", "auto")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("no CUDA device is there") == (not torch.cuda.is_available())


def test_a_series_has_one_strength(run, folder: Path) -> None:
    made = heaps.slices(heaps.mr(), [0, 0.7, 1.4, 2.1])
    blank = made[2]
    blank.PixelData = np.full((32, 32), 7, np.int16).tobytes()
    bright = made[3]
    bright.PixelData = (3 * bright.pixel_array).tobytes()
    heaps.save(made, folder / "in")
    outcome = run("solve", "in", "-o", "out", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("noise level estimated") == 1
    records = [json.loads(path.read_text()) for path in sorted(Path("out").rglob("*.run.json"))]
    assert len(records) == 4
    for key in ("noise", "range", "prior"):
        assert len({json.dumps(record["config"][key]) for record in records}) == 1
        assert records[0]["config"][key] is not None
    assert len({record["plan"]["prior"] for record in records}) == 1


def test_a_slice_is_replayed_from_its_record_to_the_bit(run, heap: Path) -> None:
    assert run("solve", "heap", "-o", "out", *QUICK, "-q").code == 0
    for record in sorted(Path("out").rglob("0002.dcm.run.json")):
        again = run("replay", record, "heap/DOE_JOHN/ct", "heap/DOE_JOHN/mr", "heap/other")
        assert again.code == 0, again.err
        assert "identical to the recorded result" in again.out


def test_running_again_writes_nothing(run, heap: Path) -> None:
    first = run("solve", "heap", "-o", "out", *QUICK)
    before = contents(Path("out"))
    again = run("solve", "heap", "-o", "out", *QUICK, "--json")
    assert (first.code, again.code) == (0, 0)
    assert contents(Path("out")) == before
    assert [entry["status"] for entry in json.loads(again.out)] == ["converged"] * 9


@pytest.mark.parametrize("lost", ["0002.dcm", "0002.dcm.run.json", "both"])
def test_what_is_missing_is_made_again_with_the_same_identity(run, heap: Path, lost: str) -> None:
    run("solve", "heap", "-o", "out", *QUICK)
    before = {path: pydicom.dcmread(path) for path in Path("out").rglob("*.dcm")}
    (series,) = Path("out").glob("6_*")
    for name in ("0002.dcm", "0002.dcm.run.json") if lost == "both" else (lost,):
        (series / name).unlink()
    outcome = run("solve", "heap", "-o", "out", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "3 done before, 1 converged" in outcome.out
    for path, known in before.items():
        again = pydicom.dcmread(path)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesTime", "SeriesNumber", "PixelData"):
            assert again[keyword].value == known[keyword].value
    assert json.loads(Path("out/batch.json").read_text())["status"] == "done"


def test_a_result_that_was_changed_is_not_replaced_unasked(run, heap: Path) -> None:
    run("solve", "heap", "-o", "out", *QUICK)
    (changed,) = Path("out").glob("6_*/0002.dcm")
    changed.write_bytes(changed.read_bytes() + b"\0\0")
    before = contents(Path("out"))
    refused = run("solve", "heap", "-o", "out", *QUICK)
    assert refused.code == 7
    assert "changed since" in refused.err
    assert contents(Path("out")) == before
    assert run("solve", "heap", "-o", "out", *QUICK, "--overwrite").code == 0


def test_another_strength_in_one_folder_is_refused_and_in_another_told_apart(run, heap: Path) -> None:
    run("solve", "heap", "-o", "out", *QUICK)
    before = contents(Path("out"))
    assert run("solve", "heap", "-o", "out", *QUICK, "--noise", "0.02").code == 7
    assert contents(Path("out")) == before
    assert run("solve", "heap", "-o", "other", *QUICK, "--noise", "0.02").code == 0
    for one, other in zip(written(Path("out")), written(Path("other")), strict=True):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
            assert one[keyword].value != other[keyword].value, keyword
        assert "noise 0.02" in other.DerivationDescription
        assert other.DerivationCodeSequence[-1].CodeValue == "113087"


@pytest.mark.slow
def test_identities_follow_from_the_source_and_the_configuration_alone(run, heap: Path) -> None:
    assert run("solve", "heap", "-o", "out", *QUICK).code == 0
    heap.rename("elsewhere")
    assert run("solve", "elsewhere", "-o", "again", *QUICK, "--jobs", 2).code == 0
    first, second = written(Path("out")), written(Path("again"))
    assert [one.SOPInstanceUID for one in first] == [one.SOPInstanceUID for one in second]
    assert [one.PixelData for one in first] == [one.PixelData for one in second]
    assert all(re.fullmatch(r"2\.25\.\d{1,39}", one.SOPInstanceUID) for one in first)


def test_a_slice_that_arrives_later_takes_nobodys_place(run, folder: Path) -> None:
    made = heaps.slices(heaps.ct(), [0, 1, 2], numbers=[1, 2, 3])
    heaps.save([made[0], made[2]], folder / "in")
    stated = (*QUICK[:2], "--prior", "tv:weight=0.001", "--noise", "10HU", "--device", "cpu")
    assert run("solve", "in", "-o", "out", *stated).code == 0
    before = {one.SOPInstanceUID for one in written(Path("out"))}
    made[1].save_as("in/late.dcm")
    outcome = run("solve", "in", "-o", "out", *stated)
    assert outcome.code == 0, outcome.err
    assert "2 done before, 1 converged" in outcome.out
    after = written(Path("out"))
    assert before < {one.SOPInstanceUID for one in after}
    sources = {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in after}
    assert sources == {one.SOPInstanceUID for one in made}


@pytest.mark.parametrize("verbose", [(), ("-v",), ("--json", "-v")])
def test_no_name_of_a_patient_or_an_input_is_said(run, heap: Path, verbose: tuple[str, ...]) -> None:
    cut_off = heap / "DOE_JOHN" / "half_of_john_doe"
    cut_off.write_bytes(next((heap / "DOE_JOHN" / "ct").iterdir()).read_bytes()[:-500])
    outcome = run("solve", "heap", "-o", "out", *QUICK, *verbose)
    assert outcome.code in (4, 8)
    for text in (outcome.out, outcome.err, *(p.read_text() for p in Path("out").rglob("*.json"))):
        assert not re.search(r"doe|john|secret123|heap/", text, re.IGNORECASE)
    assert not re.search("doe|john", " ".join(map(str, Path("out").rglob("*"))), re.IGNORECASE)
    shown = run("solve", "heap", "-o", "out", *QUICK, "--show-paths")
    assert "DOE_JOHN" in shown.out + shown.err


@pytest.mark.parametrize(
    ("series", "code", "said"),
    [
        (([0, 5, 10, 20, 25], None, 0.0), 0, "1 gap between its slices, as if 1 were missing"),
        (([0, 5, 11, 16], None, 0.0), 0, "1 of its slices are not 5 mm"),
        (([0, 5, 10], None, 0.2), 0, "its slices are tilted by 11.3 degrees"),
        (([0, 5, 5, 10], None, 0.0), 4, "1 of its slices are where another one is"),
        (([None, None, None], None, 0.0), 0, "they are in the order of their numbers"),
        (([None, None, None], [1, 1, 2], 0.0), 4, "neither say where they are nor have numbers"),
    ],
)
def test_what_is_odd_about_a_series_is_named(run, folder: Path, series, code: int, said: str) -> None:
    heaps.save(heaps.slices(heaps.ct(), *series), folder / "in")
    outcome = run("solve", "in", "-o", "out", *QUICK)
    assert (outcome.code, said in outcome.err) == (code, True), outcome.err
    assert bool(written(Path("out"))) == (code == 0)
    if code:
        assert run("solve", "in", "-o", "out", *QUICK, "--allow-unordered").code == 0
        assert len(written(Path("out"))) == len(series[0])


def test_a_series_in_doubt_does_not_keep_the_others(run, folder: Path) -> None:
    heaps.save(heaps.slices(heaps.ct(), [0, 0, 2]), folder / "in" / "a")
    heaps.save(heaps.slices(heaps.mr(), [0, 1]), folder / "in" / "b")
    outcome = run("solve", "in", "-o", "out", *QUICK)
    assert outcome.code == 4
    assert "1 of 2 series was refused; the others are written" in outcome.err
    assert len(written(Path("out"))) == 2


def test_one_identifier_with_two_contents_is_refused(run, folder: Path) -> None:
    made = heaps.slices(heaps.ct(), [0, 2])
    heaps.save(made, folder / "in")
    made[0].PixelData = made[1].PixelData
    made[0].save_as("in/other.dcm")
    outcome = run("solve", "in", "-o", "out", *QUICK)
    assert outcome.code == 4
    assert "the SOPInstanceUID of another with other content" in outcome.err


def test_one_series_identifier_in_two_studies_is_two_series(run, folder: Path) -> None:
    made = heaps.slices(heaps.ct(), [0, 2])
    made[1].StudyInstanceUID = pydicom.uid.generate_uid()
    heaps.save(made, folder / "in")
    assert run("solve", "in", "-o", "out", *QUICK).code == 0
    one, other = written(Path("out"))
    assert one.StudyInstanceUID != other.StudyInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID


def test_echoes_at_one_place_are_told_apart(run, folder: Path) -> None:
    made = heaps.slices(heaps.mr(), [0, 0, 1, 1], numbers=[1, 2, 3, 4])
    for k, one in enumerate(made):
        one.EchoTime = [2.5, 5.0][k % 2]
    heaps.save(made, folder / "in")
    outcome = run("solve", "in", "-o", "out", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "its 4 slices are at 2 places" in outcome.err
    assert len(written(Path("out"))) == 4


def test_results_are_no_inputs(run, heap: Path, photo: Path) -> None:
    (heap / "photo.png").write_bytes(photo.read_bytes())
    assert run("solve", "heap", "-o", "heap/out", *QUICK).code == 0
    again = run("solve", "heap", "-o", "heap/out", *QUICK)
    assert again.code == 0
    assert "1 x the folder of the results" in again.err
    elsewhere = run("solve", "heap", "-o", "elsewhere", *QUICK)
    assert elsewhere.code == 0
    assert "10 x result of recon" in elsewhere.err
    assert len(written(Path("elsewhere"))) == 9


def test_a_folder_of_derived_images_alone_says_what_would_take_them(run, folder: Path) -> None:
    made = heaps.slices(heaps.ct(), [0, 2])
    for one in made:
        one.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    heaps.save(made, folder / "in")
    refused = run("solve", "in", "-o", "out", *QUICK)
    assert refused.code == 3
    assert "2 x derived image" in refused.err
    assert "--allow-derived" in refused.err
    assert run("solve", "in", "-o", "out", *QUICK, "--allow-derived").code == 0


@pytest.mark.parametrize("name", ["vol.nrrd", "results.zip", "a.h5"])
def test_an_output_named_like_a_foreign_file_is_refused(run, heap: Path, name: str) -> None:
    outcome = run("solve", "heap", "-o", name, *QUICK)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(f"recon: {name}: the output is named like a file of a format")
    assert not Path(name).exists()
    assert run("solve", "heap", "-o", "v1.2", *QUICK, "-q").code == 0


def test_other_files_keep_their_relative_names(run, folder: Path, photo: Path) -> None:
    for name in ("in/a/x.png", "in/b/x.png", "in/b/y"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(photo.read_bytes())
    Image.open(photo).save("in/z.jpg")
    assert run("solve", "in", "-o", "out", *QUICK).code == 0
    made = {str(path.relative_to("out")) for path in Path("out").rglob("*.png")}
    assert made == {"a/x.png", "b/x.png", "b/y.png", "z.png"}
    assert "4 done" not in run("solve", "in", "-o", "out", *QUICK).err


def test_an_archive_is_the_folder_that_was_packed(run, heap: Path) -> None:
    with zipfile.ZipFile("heap.zip", "w") as archive:
        for path in sorted(heap.rglob("*")):
            archive.write(path, path.relative_to(heap))
    assert run("solve", "heap.zip", "-o", "packed", *QUICK).code == 0
    assert run("solve", "heap", "-o", "plain", *QUICK).code == 0
    assert [one.SOPInstanceUID for one in written(Path("packed"))] == [
        one.SOPInstanceUID for one in written(Path("plain"))
    ]
    assert not list(Path().glob("*.part"))


def bad_archive(kind: str) -> bytes:
    Path("z.zip").unlink(missing_ok=True)
    with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        name = {"climbs": "../../x.png", "absolute": "/x.png", "drive": "C:/x.png"}.get(kind, "x.png")
        archive.writestr(name, b"\x89PNG\r\n\x1a\n" + bytes(2**25 if kind == "bomb" else 100))
        if kind == "several":
            archive.writestr("notes.txt", "text")
    data = Path("z.zip").read_bytes()
    return data[: len(data) // 2] if kind == "cut" else data


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("climbs", "leads out of its folder"),
        ("absolute", "leads out of its folder"),
        ("drive", "leads out of its folder"),
        ("bomb", "made to fill the memory"),
        ("cut", "cut off or damaged"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted_is_refused(run, folder: Path, kind: str, said: str) -> None:
    Path("z.zip").write_bytes(bad_archive(kind))
    before = contents(folder)
    outcome = run("solve", "z.zip", "-o", "out", *QUICK)
    assert outcome.code == 3
    assert said in outcome.err
    assert {name: data for name, data in contents(folder).items() if not name.startswith("out")} == before
    assert not Path("../../x.png").exists()


def test_a_medium_is_read_by_its_directory_and_what_is_missing_is_named(run, folder: Path) -> None:
    medium = FileSet()
    for one in heaps.slices(heaps.ct(), [0, 2, 4]):
        one.StudyID = "1"
        medium.add(one)
    medium.write(folder / "disc")
    medium._stage["t"].cleanup()  # else it warns when the tests end
    assert run("solve", "disc/DICOMDIR", "-o", "out", *QUICK).code == 0
    assert len(written(Path("out"))) == 3
    whole = run("solve", "disc", "-o", "whole", *QUICK)
    assert whole.code == 0
    assert "1 x directory of a medium" in whole.err
    next(path for path in Path("disc").rglob("IM*") if path.is_file()).unlink()
    outcome = run("solve", "disc/DICOMDIR", "-o", "part", *QUICK)
    assert outcome.code == 8
    assert "the DICOMDIR names it, and it is not there" in outcome.err
    assert len(written(Path("part"))) == 2


def test_frames_and_files_of_one_series_have_distinct_numbers(run, folder: Path) -> None:
    source = pydicom.dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm")))
    source.decompress()
    source.ImageType = ["ORIGINAL", "PRIMARY"]
    source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
    heaps.save([heaps.anew(source), heaps.anew(source)], folder / "in")
    outcome = run("solve", "in", "-o", "out", *QUICK, "--iterations", 5, "--allow-unordered")
    assert outcome.code == 0, outcome.err
    made = written(Path("out"))
    assert sorted(int(one.InstanceNumber) for one in made) == [1, 2, 3, 4]
    assert len({one.SOPInstanceUID for one in made}) == 4
    again = run("solve", "in", "-o", "out", *QUICK, "--iterations", 5, "--allow-unordered")
    assert "2 done before" in again.out


def test_padding_is_not_counted_as_clipped(run, folder: Path) -> None:
    one = heaps.ct()
    pixels = one.pixel_array.copy()
    pixels[:4] = 0  # which a solver takes for air, 24 HU below what the file can hold
    one.RescaleIntercept = -1000
    one.add_new("PixelPaddingValue", "US", 0)
    one.PixelData = pixels.tobytes()
    one.save_as("padded.dcm")
    assert io.read("padded.dcm").padding.sum() == 4 * 32
    outcome = run("solve", "padded.dcm", "-o", "out.dcm", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "clipped" not in outcome.err
    assert np.array_equal(pydicom.dcmread("out.dcm").pixel_array[:4], pixels[:4])


def test_a_plan_of_a_folder_writes_nothing(run, heap: Path) -> None:
    before = contents(heap.parent)
    outcome = run("solve", "heap", "-o", "out", *QUICK, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("would write: out/") == 3
    assert contents(heap.parent) == before
    plans = json.loads(run("solve", "heap", "-o", "out", *QUICK, "--dry-run", "--json").out)
    assert [len(plan["outputs"]) for plan in plans] == [4, 8, 6]


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--jobs", "0"), "--jobs is 0"), (("--jobs", "2", "--scheduler", "tcp://a:1"), "expected one")],
)
def test_workers_that_cannot_be_are_refused(run, heap: Path, options: tuple[str, ...], said: str) -> None:
    outcome = run("solve", "heap", "-o", "out", *QUICK, *options)
    assert outcome.code == 2
    assert said in outcome.err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_a_batch_and_keeps_what_is_done(run, heap: Path, monkeypatch, code: int) -> None:
    original, calls = atomic._flush, []

    def flush(path: Path) -> None:
        calls.append(path)
        if len(calls) > 12:
            raise OSError(code, "planted")
        original(path)

    with monkeypatch.context() as planted:
        planted.setattr(atomic, "_flush", flush)
        stopped = run("solve", "heap", "-o", "out", *QUICK)
    assert stopped.code == 7, stopped.err
    assert "The rest was not tried; what is done is kept." in stopped.err
    assert not list(Path("out").rglob(".recon-*"))
    before = contents(Path("out"))
    again = run("solve", "heap", "-o", "out", *QUICK)
    assert again.code == 0, again.err
    assert "done before" in again.out
    after = contents(Path("out"))
    assert all(after[name] == data for name, data in before.items() if name != "batch.json")


def test_text_in_the_pixels_is_pointed_out(run, folder: Path) -> None:
    one = heaps.ct()
    one.BurnedInAnnotation = "YES"
    heaps.save([one], folder / "in")
    assert "Text is burned into the pixels" in run("solve", "in", "-o", "out", *QUICK).err


def test_what_ctrl_c_kept_is_made_again(run, heap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan, watch):
        def stop(step: int, steps: int, residual: float) -> None:
            raise KeyboardInterrupt

        return original(plan, stop)

    original = work.execute
    with monkeypatch.context() as planted:
        planted.setattr(work, "execute", interrupted)
        outcome = run("solve", "heap", "-o", "out", *QUICK, "--keep-interrupted")
    assert outcome.code == 130
    assert "1 of 9 done" in outcome.err or "0 of 9 done" in outcome.err
    again = run("solve", "heap", "-o", "out", *QUICK)
    assert again.code == 0, again.err
    assert "interrupted" not in {json.loads(path.read_text())["status"] for path in Path("out").rglob("*.run.json")}
    assert json.loads(Path("out/batch.json").read_text())["totals"]["done"] == 9


def test_a_pattern_reaches_into_folders(run, heap: Path) -> None:
    assert run("solve", "heap/DOE*", "-o", "out", *QUICK).code == 0
    assert len(written(Path("out"))) == 7
