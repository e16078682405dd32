"""recon report and recon solve --report: what is shown, what is refused, and what is never shown."""

import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]


def meta_of(page):
    return json.loads(re.search(r'<script id="pictures-data"[^>]*>(.*?)</script>', page.read_text(), re.S)[1])


def slices_of(page):
    return [each for group in meta_of(page)["groups"] for each in group["slices"]]


def layers_of(page):
    return [[layer["name"] for layer in each["layers"]] for each in slices_of(page)]


@pytest.fixture
def solved(run, measured):
    outcome = run(
        "solve", "measured.png", "-o", "sharp.png", "--operator", "blur:psf=kernel.npy", "--noise", 0.01,
        "--prior", "tv", "--report", "page.html", "--iterations", 20,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return measured.parent


def test_a_solve_writes_its_page_and_the_record_gives_the_same(run, solved):
    assert layers_of(solved / "page.html") == [["before", "after", "residual", "change"]]
    outcome = run("report", "sharp.png.run.json", "-o", "again.html")
    assert (outcome.code, outcome.out) == (0, "again.html\n")
    assert (solved / "again.html").read_bytes() == (solved / "page.html").read_bytes()
    assert run("report", "sharp.png", "-o", "third.html").code == 0
    assert (solved / "third.html").read_bytes() == (solved / "page.html").read_bytes()
    text = (solved / "page.html").read_text()
    assert "recon replay sharp.png.run.json" in text
    assert "out of steps: not converged" in text


def test_an_altered_result_is_said_and_not_shown(run, solved):
    Image.fromarray(np.zeros((40, 32), np.uint8)).save(solved / "sharp.png")
    outcome = run("report", "sharp.png.run.json", "-o", "again.html")
    assert outcome.code == 0
    assert "sharp.png: the file was altered since the run" in outcome.err
    assert layers_of(solved / "again.html") == [["before"]]
    assert "the file was altered since the run" in (solved / "again.html").read_text()
    (solved / "sharp.png").unlink()
    outcome = run("report", "sharp.png.run.json", "-o", "gone.html")
    assert "sharp.png: the result is not there any more" in outcome.err
    assert "the result is not there any more" in (solved / "gone.html").read_text()


def test_a_store_is_shown_as_a_file_is_and_only_with_its_hash(run, folder):
    """The first page has the same layers as that of a TIFF; a chunk that was altered takes the picture away."""
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    noisy = (255 * np.random.default_rng(0).random((2, 24, 24))).astype(np.uint8)
    tifffile.imwrite("noisy.tif", noisy, photometric="minisblack")
    options = ("--operator", "identity", "--noise", 0.05, "--prior", "tv", "--iterations", 5)
    assert run("solve", "noisy.tif", "-o", "first.ome.zarr", *options).code == 0
    assert run("solve", "first.ome.zarr", "-o", "second.ome.zarr", *options, "--report", "page.html").code == 0
    assert [layers[:2] for layers in layers_of(folder / "page.html")] == [["before", "after"]] * 2
    chunk = next(path for path in sorted((folder / "second.ome.zarr" / "0").rglob("*")) if path.is_file())
    chunk.write_bytes(chunk.read_bytes() + b"x")
    outcome = run("report", "second.ome.zarr.run.json", "-o", "again.html")
    assert outcome.code == 0
    assert "second.ome.zarr: the file was altered since the run" in outcome.err
    assert not any("after" in layers for layers in layers_of(folder / "again.html"))


def test_an_altered_input_is_not_shown_as_the_measurement(run, solved):
    Image.fromarray(np.zeros((40, 32), np.uint8)).save(solved / "measured.png")
    assert run("report", "sharp.png.run.json", "-o", "again.html").code == 0
    assert layers_of(solved / "again.html") == [["after"]]
    assert "The measurement is not shown: no file with the recorded hash" in (solved / "again.html").read_text()


def test_another_kernel_gives_no_residual(run, solved):
    np.save(solved / "kernel.npy", np.eye(3))
    assert run("report", "sharp.png.run.json", "-o", "again.html").code == 0
    assert layers_of(solved / "again.html") == [["before", "after", "change"]]
    assert "files of the operator are not those of the run" in (solved / "again.html").read_text()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "nonsense", '{"schema": 9, "config": {}, "inputs": []}', "[" * 10**5]
)
def test_what_is_no_record_is_refused(run, folder, content):
    (folder / "x.run.json").write_text(content)
    outcome = run("report", "x.run.json", "-o", "page.html")
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1
    assert not (folder / "page.html").exists()


def test_other_arguments_are_refused_in_one_sentence(run, solved):
    (solved / "empty").mkdir()
    before = (solved / "page.html").read_bytes()
    cases = [
        (3, "report", "absent.run.json", "-o", "x.html"),
        (3, "report", "empty", "-o", "x.html"),
        (3, "report", "sharp.png.run.json", "-o", "x.html", "--inputs", "absent"),
        (7, "report", "sharp.png.run.json", "-o", "page.html"),
        (7, "report", "sharp.png.run.json", "-o", "x.png"),
        (7, "report", "sharp.png.run.json", "-o", "absent/x.html"),
        (7, "report", "sharp.png.run.json", "-o", "empty"),
        (2, "report", "sharp.png.run.json"),
        (7, "solve", "measured.png", "-o", "y.png", "--operator", "identity", "--report", "page.html"),
        (7, "solve", "measured.png", "-o", "y.png", "--operator", "identity", "--report", "y.pdf"),
    ]
    for code, *arguments in cases:
        outcome = run(*arguments)
        assert outcome.code == code, arguments
        assert outcome.err.count("\n") == 1
        assert not (solved / "x.html").exists()
        assert not (solved / "y.png").exists()
    assert (solved / "page.html").read_bytes() == before
    assert run("report", "sharp.png.run.json", "-o", "page.html", "--overwrite").code == 0


HOSTILE = (
    {"outputs": [{"path": "../sharp.png", "sha256": "0"}]},
    {"outputs": [{"path": "/etc/hostname", "sha256": "0"}, {"path": "a\0b", "sha256": None}, 7, {}]},
    {"outputs": "sharp.png"},
    {"inputs": []},
    {"inputs": [{"path": "/dev/zero", "sha256": "0" * 64, "bytes": 1e400}]},
    {"inputs": [{"path": "a\0b", "sha256": 4}]},
    {"inputs": "x", "plan": [], "certificate": 3, "history": {"a": 1}},
    {"config": {"operator": "blur:psf=absent.npy"}},
    {"config": {"operator": "identity", "prior": {"name": []}}},
    {"config": {"operator": "downsample:factor=64"}},
    {"config": {"operator": "mri:mask=kernel.npy"}},
    {"config": {"operator": "ct:absent.toml"}},
    {"config": {"operator": "identity", "range": [0, 1e400]}},
    {"config": None},
    {
        "config": {"operator": "identity"},
        "plan": {"range": {"low": 1, "high": 0}, "noise_in_units": -3, "image_shape": [1e9] * 3},
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("change", HOSTILE, ids=lambda each: json.dumps(each)[:40])
def test_a_hostile_record_gives_a_page_or_a_sentence(run, solved, change):
    record = json.loads((solved / "sharp.png.run.json").read_text()) | change
    (solved / "x.run.json").write_text(json.dumps(record))
    outcome = run("report", "x.run.json", "-o", "x.html")
    assert outcome.code == 0, outcome.err
    assert meta_of(solved / "x.html")["groups"]


def test_remarks_do_not_name_the_folder_of_a_record(run, solved):
    record = json.loads((solved / "sharp.png.run.json").read_text())
    for operator in ("blur:psf=absent.npy", "blur:psf=", "ct:absent.toml"):
        (solved / "x.run.json").write_text(json.dumps({**record, "config": {"operator": operator}}))
        assert run("report", solved / "x.run.json", "-o", "x.html", "--overwrite").code == 0
        assert str(solved) not in (solved / "x.html").read_text()


def test_code_that_a_record_names_is_not_run(run, solved):
    (solved / "evil.py").write_text("open('done', 'w')\n\ndef make(shape):\n    open('done', 'w')\n")
    record = json.loads((solved / "sharp.png.run.json").read_text())
    for key in ("operator", "prior", "surrogate"):
        changed = {**record, "config": {**record["config"], key: "python:evil.py:make"}}
        (solved / "x.run.json").write_text(json.dumps(changed))
        assert run("report", "x.run.json", "-o", "x.html", "--overwrite").code == 0
        assert not (solved / "done").exists()
    changed = {**record, "config": {**record["config"], "operator": "python:evil.py:make"}}
    (solved / "x.run.json").write_text(json.dumps(changed))
    run("report", "x.run.json", "-o", "x.html", "--overwrite")
    assert "which a report does not run" in (solved / "x.html").read_text()


def test_a_picture_in_other_units_is_shown_in_those_of_the_run(run, folder):
    """A PNG of floating-point values holds them as black to white."""
    values = np.random.default_rng(0).normal(500, 100, (40, 40)).astype("float32")
    np.save(folder / "y.npy", values)
    done = run("solve", "y.npy", "-o", "x.png", "--operator", "identity", "--noise", 1e-9,
               "--prior", "tv", "--range", "0:1000", "--iterations", 3, "--report", "page.html")  # fmt: skip
    assert done.code == 0, done.err
    (each,) = slices_of(folder / "page.html")
    for layer in each["layers"][:2]:
        assert layer["range"] == pytest.approx([values.min(), values.max()], abs=0.1)


# Series in DICOM


@pytest.fixture
def batch(run, folder, bundled_data):
    (folder / "DOE_JOHN").mkdir()
    for name in ("tcga_60-2695.dcm", "tcga_60-2715.dcm"):
        (folder / "DOE_JOHN" / f"DOE_{name}").write_bytes((bundled_data / "ct" / name).read_bytes())
    outcome = run("solve", "DOE_JOHN", "-o", "out", "--operator", "identity", "--prior", "tv", "--noise", "15HU",
                  "--iterations", 3, "--report", "page.html")  # fmt: skip
    assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.slow
def test_the_page_of_a_batch_has_its_series_and_no_name(run, batch):
    page = batch / "page.html"
    assert layers_of(page) == [["before", "after", "residual"]] * 2
    assert len(meta_of(page)["groups"]) == 2
    text = page.read_text()
    assert "DOE_" not in text  # of which no picture has the underscore
    assert not _names_in(text, batch)
    assert run("report", "out", "-o", "alone.html").code == 0
    assert layers_of(batch / "alone.html") == [["after"]] * 2
    assert "the record keeps its hash only" in (batch / "alone.html").read_text()
    assert run("report", "out", "-o", "again.html", "--inputs", "DOE_JOHN").code == 0
    assert (batch / "again.html").read_text() == text
    assert run("report", "out", "-o", "named.html", "--inputs", "DOE_JOHN", "--show-paths").code == 0
    assert "DOE_tcga_60-2695.dcm" in (batch / "named.html").read_text()


def _names_in(text, folder):
    """What of the header of an input, beyond plain words and numbers, is in a page."""
    found = []
    for path in (folder / "DOE_JOHN").iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in (
            "PatientName",
            "PatientID",
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "SOPInstanceUID",
            "AccessionNumber",
        ):
            value = str(header.get(keyword, ""))
            if len(value) > 3 and value in text:
                found.append((keyword, value))
    return found


@pytest.mark.slow
def test_a_folder_with_an_altered_slice_and_a_broken_record_is_reported(run, batch):
    first, second = sorted((batch / "out").glob("*/0001.dcm"))
    first.write_bytes(second.read_bytes())
    second.with_name("0001.dcm.run.json").write_text("{")
    outcome = run("report", "out", "-o", "again.html", "--inputs", "DOE_JOHN")
    assert outcome.code == 0
    assert "0001.dcm: the file was altered since the run" in outcome.err
    assert "A record is left out" in outcome.err
    text = (batch / "again.html").read_text()
    assert "A record is left out" in text
    assert layers_of(batch / "again.html") == [["before"]]


@pytest.mark.slow
def test_a_series_is_one_stack_of_slices(run, folder, bundled_data):
    (folder / "scan").mkdir()
    base = pydicom.dcmread(bundled_data / "ct" / "tcga_60-2695.dcm")
    for number in range(3):
        base.InstanceNumber = number + 1
        base.SOPInstanceUID = base.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        base.ImagePositionPatient = [0, 0, 5 * number]
        base.save_as(folder / "scan" / f"{number}.dcm")
    outcome = run(
        "solve", "scan", "-o", "out", "--operator", "identity", "--prior", "tv", "--noise", "15HU", "--iterations", 2
    )
    assert outcome.code == 0, outcome.err
    for place in ("out", next((folder / "out").glob("*_*"))):
        assert run("report", place, "-o", "page.html", "--inputs", "scan", "--overwrite").code == 0
        (group,) = meta_of(folder / "page.html")["groups"]
        assert [each["name"] for each in group["slices"]] == ["0001.dcm", "0002.dcm", "0003.dcm"]
        assert "3 slices of 512 x 512 pixels" in (folder / "page.html").read_text()


# Measurements that are no images


@pytest.mark.slow
def test_projections_are_compared_with_their_filtered_back_projection(run, folder, bundled_data):
    geometry = bundled_data / "ct" / "small.toml"
    side = [int(each) for each in re.search(r"pixels = \[(\d+), (\d+)\]", geometry.read_text()).groups()]
    phantom = np.zeros(side, "float32")
    phantom[20:44, 24:40] = 0.02
    np.save(folder / "phantom.npy", phantom)
    made = run("simulate", "phantom.npy", "-o", "y.npy", "--operator", f"ct:{geometry}", "--noise", 0.01)
    assert made.code == 0, made.err
    done = run("solve", "y.npy", "-o", "x.tif", "--iterations", 5, "--prior", "tv", "--report", "page.html")
    assert done.code == 0, done.err
    (each,) = slices_of(folder / "page.html")
    names = {layer["name"]: layer for layer in each["layers"]}
    assert list(names) == ["before", "after", "measurement", "residual", "change"]
    assert names["before"]["label"] == "filtered back-projection of the same projections"
    assert names["before"]["unit"] == names["after"]["unit"] == "1/mm"
    assert (
        run("solve", "y.npy", "-o", "fbp.tif", "--method", "fbp", "--prior", "none", "--report", "fbp.html").code == 0
    )
    assert layers_of(folder / "fbp.html") == [["after", "measurement", "residual"]]
    assert "computed in closed form" in (folder / "fbp.html").read_text()
