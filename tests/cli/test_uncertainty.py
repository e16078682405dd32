"""recon uncertainty, recon calibrate and recon evaluate --uncertainty."""

import json
from pathlib import Path

import heaps
import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image

from recon.errors import OutputError
from recon.evaluation import evaluate
from recon.evaluation.simulate import measure
from recon.priors.networks import BatchEnsemble, BatchEnsembleConfig, save

FAST = ("--operator", "identity", "--prior", "tikhonov:weight=0.2", "--noise", "0.05", "--samples", "4")
KEYS = {
    "command", "status", "sentence", "method", "settings", "seed", "details", "units", "solution", "calibration",
    "guide", "seconds", "ended", "certificate", "config", "priors", "plan", "versions", "inputs", "outputs", "schema",
}  # fmt: skip


def test_a_network_with_members_stands_for_them(run, noisy) -> None:
    network = BatchEnsemble(BatchEnsembleConfig(members=3, features=4, depth=3))
    torch.nn.init.normal_(network.kernels[-1], std=0.05)
    save(network, "net")
    fast = ("--operator", "identity", "--noise", "0.05", "--iterations", "3")
    done = run("uncertainty", noisy, "-o", "mean.tif", "--std", "std.tif", *fast, "--prior", "net", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["method"] == "ensemble"
    assert [name.split(",")[1] for name in document["priors"]] == ["member=1", "member=2", "member=3"]
    assert tifffile.imread("std.tif").max() > 0
    Path("member.toml").write_text('name = "folder"\nvalue = "net"\nmember = 4\n')
    done = run("solve", noisy, "-o", "a.tif", *fast, "--prior", "member.toml")
    assert done.code == 2
    assert "member" in done.err


@pytest.fixture
def noisy(folder: Path) -> Path:
    path = folder / "noisy.png"
    Image.fromarray(scene(0, 24)).save(path)
    return path


@pytest.fixture
def clean(folder: Path) -> Path:
    """A folder of twelve clean images of one kind."""
    images = folder / "clean"
    images.mkdir()
    for number in range(12):
        Image.fromarray(scene(number, 24)).save(images / f"{number:02}.png")
    return images


def scene(number: int, side: int) -> np.ndarray:
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0:side, 0:side]
    shade = 128 + 60 * np.sin(rows * random.uniform(0.1, 0.5)) + 30 * (columns > random.integers(4, side - 4))
    return shade.clip(0, 255).astype(np.uint8)


def test_maps_are_in_the_units_of_the_file_and_the_record_says_how_they_were_had(run, noisy) -> None:
    done = run("uncertainty", noisy, "-o", "mean.tif", "--std", "std.npy", *FAST, "--figure", "maps.png", "--seed", 3)
    assert done.code == 0, done.err
    mean, std = tifffile.imread("mean.tif"), np.load("std.npy")
    assert mean.dtype == np.float32
    assert abs(mean.mean() - scene(0, 24).mean() / 1.2) < 3  # a ridge penalty shrinks by 1 / (1 + w)
    assert 3 < std.mean() < 60  # of 255
    document = json.loads(Path("mean.tif.run.json").read_text())
    assert document.keys() >= KEYS
    assert document["status"] == "done"
    assert document["settings"] == {"method": "bootstrap", "samples": 4, "transforms": True}
    assert document["seed"] == 3
    assert {each["path"] for each in document["outputs"]} == {"mean.tif", "std.npy"}
    assert Path("maps.png").stat().st_size > 1000
    again = run("uncertainty", noisy, "-o", "again.tif", *FAST, "--seed", 3, "--json")
    assert json.loads(again.out)["std_sha256"] == document["std_sha256"]


def test_calibrated_intervals_cover_images_of_the_kind(run, noisy, clean) -> None:
    made = run("calibrate", "--data", clean, *FAST, "-o", "cal.json")
    assert made.code == 0, made.err
    assert "at most 0.1 of the pixels" in made.out
    document = json.loads(Path("cal.json").read_text())
    assert document["images"] == 12
    assert document["pixel_factor"] > 0
    done = run(
        "uncertainty", noisy, "-o", "mean.tif", *FAST, "--calibrate", "cal.json", "--interval", "low.tif,high.tif"
    )
    assert done.code == 0, done.err
    low, mean, high = (tifffile.imread(f"{name}.tif") for name in ("low", "mean", "high"))
    assert (low < mean).all()
    assert (mean < high).all()
    assert np.allclose(high - mean, mean - low, atol=1e-3)
    assert json.loads(Path("mean.tif.run.json").read_text())["calibration"]["images"] == 12
    seen = run("evaluate", "--data", clean, *FAST, "--uncertainty", "--calibrate", "cal.json", "--json")
    assert seen.code == 0, seen.err
    (found,) = json.loads(seen.out)["uncertainty"]
    assert found["calibrated"] is True
    assert found["pixels"] >= 0.9  # of the very images of the calibration
    assert seen.err.count("the calibration has seen this image") == 12
    assert found["regions"] >= 0.9
    keys = {"name", "status", "pixels", "regions", "width", "region_width", "rank_correlation", "block_correlation"}
    assert all(image.keys() == keys for image in found["images"])
    table = run("evaluate", "--data", clean / "00.png", *FAST, "--uncertainty")
    assert "no coverage is claimed" in table.out


def test_maps_of_dicom_are_parametric_maps(run, folder) -> None:
    heaps.save(heaps.slices(heaps.ct(), range(1)), folder / "in")
    (path,) = (folder / "in").iterdir()
    options = ("--operator", "identity", "--prior", "tikhonov:weight=0.2", "--noise", "12HU", "--samples", "2")
    done = run("uncertainty", path, "-o", "mean.dcm", "--std", "std.dcm", *options)
    assert done.code == 0, done.err
    again = run("uncertainty", path, "-o", "mean.npy", "--std", "std.npy", *options)
    assert again.code == 0, again.err
    source = pydicom.dcmread(path)
    for name, label in (("mean", "MEAN"), ("std", "STD")):
        made = pydicom.dcmread(f"{name}.dcm")
        assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
        assert label in made.ImageType or label in str(made)
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert np.allclose(np.squeeze(made.pixel_array), np.squeeze(np.load(f"{name}.npy")), atol=1e-3)


@pytest.mark.parametrize("failing", ["std.tif", "maps.png", "mean.tif.run.json"])
def test_maps_of_which_one_cannot_be_written_are_not_there(run, noisy, monkeypatch, failing) -> None:
    from recon.uncertainty import writing  # noqa: PLC0415

    def broken(place: str):
        original = getattr(writing, place)

        def write(*args: object, **more: object) -> object:
            if any(str(each).endswith(failing) for each in args):
                raise OutputError(f"{failing}: the output could not be written (no space left on device).")
            return original(*args, **more)

        return write

    for place in ("write_record", "_draw"):
        monkeypatch.setattr(writing, place, broken(place))
    original = writing.io.write_map

    def write_map(image, path, *args: object, **more: object):
        if path.name == failing:
            raise OutputError(f"{failing}: the output could not be written (no space left on device).")
        return original(image, path, *args, **more)

    monkeypatch.setattr(writing.io, "write_map", write_map)
    before = set(Path().iterdir())
    done = run("uncertainty", noisy, "-o", "mean.tif", "--std", "std.tif", "--figure", "maps.png", *FAST)
    assert done.code == 7
    assert set(Path().iterdir()) == before


def test_maps_of_what_is_no_dicom_are_no_dicom(run, noisy) -> None:
    done = run("uncertainty", noisy, "-o", "mean.dcm", *FAST)
    assert done.code == 7
    assert "no DICOM" in done.err
    assert not Path("mean.dcm").exists()


def test_a_page_of_maps_says_what_they_are(run, noisy) -> None:
    assert run("uncertainty", noisy, "-o", "mean.tif", "--std", "std.tif", *FAST).code == 0
    assert run("report", "mean.tif.run.json", "-o", "page.html").code == 0
    page = Path("page.html").read_text()
    assert "mean and standard deviation: done" in page
    assert "no coverage is claimed" in page
    assert "recon replay" not in page
    assert "convergence proved" not in page


def test_a_folder_calibrates_in_one_go(run, noisy, clean) -> None:
    wanted = ("--calibrate", clean, "--interval", "low.npy,high.npy", "--level", 0.8)
    done = run("uncertainty", noisy, "-o", "mean.tif", *FAST, *wanted)
    assert done.code == 0, done.err
    assert "at most 0.2 of the pixels" in done.out
    assert np.load("low.npy").shape == (24, 24)


SCAN = """kind = "parallel"
angles = { start = 0, stop = 180, count = 12 }
[detector]
pixels = 24
pitch = 5.0
[volume]
pixels = [16, 16]
pitch = 5.0
"""
OF_SCAN = ("--operator", "ct:scan.toml", "--prior", "tv", "--noise", "0.02", "--samples", "4")


@pytest.fixture
def scanned(folder: Path, run) -> Path:
    """A scan, and a folder of ten objects of its kind, as attenuation in 1/mm."""
    Path("scan.toml").write_text(SCAN)
    objects = folder / "objects"
    objects.mkdir()
    for number in range(11):
        x = (0.02 + 0.01 * (scene(number, 16) > 140)).astype(np.float32)
        np.save(folder / "truth.npy" if number == 10 else objects / f"{number:02}.npy", x)
    assert run("simulate", "truth.npy", "-o", "scan.npy", *OF_SCAN[:2], "--noise", "0.02").code == 0
    return objects


@pytest.mark.parametrize("scale", [("--water", "0.02"), ("--range", "0:0.04")], ids=["HU", "1/mm"])
def test_a_calibration_of_attenuations_is_of_the_scale_of_the_scan(run, scanned, scale) -> None:
    made = run("calibrate", "--data", scanned, *OF_SCAN, *scale, "-o", "cal.json")
    assert made.code == 0, made.err
    wanted = (*OF_SCAN, *scale, "--interval", "low.npy,high.npy")
    done = run("uncertainty", "scan.npy", "-o", "mean.npy", *wanted, "--calibrate", "cal.json")
    assert done.code == 0, done.err
    truth = np.load("truth.npy")
    truth = 1000 * (truth / 0.02 - 1) if scale[0] == "--water" else truth
    inside = (np.load("low.npy") <= truth) & (truth <= np.load("high.npy"))
    assert inside.mean() > 0.75
    at_once = run("uncertainty", "scan.npy", "-o", "mean2.npy", *wanted, "--calibrate", scanned, "--overwrite")
    assert at_once.code == 0, at_once.err
    assert np.allclose(np.load("mean2.npy"), np.load("mean.npy"))
    other = run("uncertainty", "scan.npy", "-o", "mean3.npy", *OF_SCAN, "--water", "0.03", "--calibrate", "cal.json")
    assert other.code == 4
    assert "noise" in other.err


def test_a_scan_without_a_scale_is_not_calibrated_by_a_folder(run, scanned) -> None:
    done = run("uncertainty", "scan.npy", "-o", "mean.npy", *OF_SCAN, "--calibrate", scanned)
    assert done.code == 2
    assert "--water" in done.err
    assert not Path("mean.npy").exists()


def test_copies_of_an_image_are_no_calibration(run, clean) -> None:
    (clean / "03.png").write_bytes((clean / "00.png").read_bytes())
    done = run("calibrate", "--data", clean, *FAST, "-o", "cal.json")
    assert done.code == 4
    assert "03.png: it has the pixels of 00.png" in done.err
    assert not Path("cal.json").exists()


def test_a_scale_that_follows_from_the_pixels_is_not_calibrated(run, clean, folder) -> None:
    """Percentiles of the measurement are no rule that was fixed before it was seen."""
    images = folder / "counts"
    images.mkdir()
    for number in range(10):
        np.save(images / f"{number}.npy", 15.0 * scene(number, 24).astype(np.float32))
    np.save("counts.npy", 15.0 * scene(11, 24).astype(np.float32))
    done = run("calibrate", "--data", images, *FAST, "-o", "cal.json")
    assert (done.code, "--range" in done.err) == (4, True), done.err
    assert run("calibrate", "--data", clean, *FAST, "-o", "cal.json").code == 0
    wanted = ("-o", "mean.npy", *FAST, "--interval", "low.npy,high.npy")
    for calibration in ("cal.json", images):
        done = run("uncertainty", "counts.npy", *wanted, "--calibrate", calibration)
        assert (done.code, "--range" in done.err) == (2, True), done.err
    done = run("uncertainty", "counts.npy", *wanted, "--range", "0:3825", "--calibrate", images)
    assert done.code == 0, done.err
    inside = (np.load("low.npy") <= np.load("counts.npy")) & (np.load("counts.npy") <= np.load("high.npy"))
    assert inside.mean() > 0.75


def test_chains_that_do_not_mix_are_written_with_that_status_and_code_5(run, noisy) -> None:
    options = ("-o", "mean.tif", *FAST[:-2], "--method", "ula", "--steps", 200)
    done = run("uncertainty", noisy, *options)
    assert done.code == 5
    assert "not mixed" in done.err
    assert json.loads(Path("mean.tif.run.json").read_text())["status"] == "not mixed"
    assert Path("mean.tif").exists()
    allowed = run("uncertainty", noisy, *options, "--allow-unmixed", "--overwrite")
    assert allowed.code == 0
    assert "not mixed" in allowed.err


def test_an_ensemble_takes_several_priors(run, noisy) -> None:
    options = ("--operator", "identity", "--noise", "0.05", "--prior", "tikhonov:weight=0.1")
    done = run("uncertainty", noisy, "-o", "mean.tif", *options, "--prior", "tikhonov:weight=0.4")
    assert done.code == 0, done.err
    document = json.loads(Path("mean.tif.run.json").read_text())
    assert document["method"] == "ensemble"
    assert len(document["priors"]) == 2
    alone = run("uncertainty", noisy, "-o", "other.tif", *options, "--method", "ensemble")
    assert alone.code == 2
    assert "at least two" in alone.err


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--method", "hmc"), 2, "hmc"),
        (("--method", "kinetic", "--prior", "model:proved-monotone-gray"), 2, "--method ensemble"),
        (("--chains", "1", "--method", "ula"), 2, "chains is 1"),
        (("--temperature", "0"), 2, "--temperature is 0;"),
        (("--interval", "low.tif,high.tif"), 2, "--calibrate"),
        (("--interval", "low.tif", "--calibrate", "cal.json"), 2, "two files"),
        (("--level", "1.5"), 2, "level is 1.5"),
        (("--calibrate", "absent.json"), 3, "absent.json"),
        (("--calibrate", "few"), 4, "at least 9"),
        (("--calibrate", "cal.json"), 4, "the calibration is of"),
        (("--std", "std.png"), 7, "std.png"),
        (("--std", "mean.tif"), 7, "two outputs"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(run, noisy, clean, more, code, words) -> None:  # noqa: PLR0917
    few = clean.parent / "few"
    few.mkdir()
    for name in ("01.png", "02.png"):
        (few / name).write_bytes((clean / name).read_bytes())
    if "cal.json" in more:
        made = run("calibrate", "--data", clean, *FAST[:-2], "--samples", 3, "-o", "cal.json")
        assert made.code == 0, made.err
    before = sorted(clean.parent.iterdir())
    done = run("uncertainty", noisy, "-o", "mean.tif", *FAST, *more)
    assert done.code == code, done.err
    assert words in done.err
    assert done.err.count("\n") <= 3
    assert sorted(clean.parent.iterdir()) == before


def test_no_noise_of_a_calibration_is_that_of_an_evaluation(run, clean, monkeypatch) -> None:
    """With the same images and the same noise twice, coverage would look better than it is."""
    noise: list[np.ndarray] = []

    def measured(operator, x, *rest):
        y = measure(operator, x, *rest)
        noise.append((y - operator.A(x)).numpy())
        return y

    monkeypatch.setattr(evaluate, "measure", measured)
    rule = (*FAST[:-1], 2)
    made = run("calibrate", "--data", clean, *rule, "-o", "cal.json", "--seed", 5)
    assert made.code == 0, made.err
    of_calibration = list(noise)
    for seed in (4, 5):  # image k of the one is image k + 1 of the other
        done = run("evaluate", "--data", clean, *rule, "--uncertainty", "--calibrate", "cal.json", "--seed", seed)
        assert done.code == 0, done.err
    assert (len(of_calibration), len(noise)) == (12, 36)
    alike = [np.abs(one - other).max() < 1e-6 for one in of_calibration for other in noise[12:]]
    assert not any(alike)
    assert np.abs(noise[13] - noise[24]).max() < 1e-6  # the comparison finds what is alike


def test_images_of_another_kind_do_not_calibrate(run, noisy, clean, folder) -> None:
    colours = folder / "colours"
    colours.mkdir()
    for number in range(9):
        Image.fromarray(np.repeat(scene(number, 24)[..., None], 3, 2)).save(colours / f"{number}.png")
    done = run("uncertainty", noisy, "-o", "mean.tif", *FAST, "--calibrate", colours)
    assert done.code == 4
    assert "channels 3" in done.err
    assert not Path("mean.tif").exists()
    few = run("calibrate", "--data", clean / "00.png", *FAST, "-o", "cal.json")
    assert few.code == 4
    assert "1 calibration image(s) at level 0.9; expected at least 9" in few.err
    assert not Path("cal.json").exists()


def test_a_calibration_needs_a_noise_that_is_stated(run, noisy, clean) -> None:
    done = run("uncertainty", noisy, "-o", "mean.tif", *FAST[:4], "--calibrate", clean)
    assert done.code == 2
    assert "fixed beforehand" in done.err
    assert not Path("mean.tif").exists()


@pytest.mark.parametrize("level", ["0", "1", "1.5", "-0.5", "nan"])
def test_a_level_that_is_none_is_refused_by_every_command(run, noisy, clean, level) -> None:
    for words in (
        ("uncertainty", noisy, "-o", "mean.tif", *FAST),
        ("calibrate", "--data", clean, "-o", "cal.json", *FAST),
        ("evaluate", "--data", clean, "--uncertainty", *FAST),
    ):
        done = run(*words, "--level", level)
        assert done.code == 2, (words, done.err)
        assert "level" in done.err
    assert not Path("mean.tif").exists()


def test_options_of_uncertainty_without_it_are_refused(run, clean) -> None:
    done = run("evaluate", "--data", clean, *FAST)
    assert done.code == 2
    assert "--samples is given without --uncertainty" in done.err


def test_a_record_of_uncertainty_is_not_replayed_as_a_solve(run, noisy) -> None:
    assert run("uncertainty", noisy, "-o", "mean.tif", *FAST).code == 0
    done = run("replay", "mean.tif.run.json")
    assert done.code == 2
    assert "recon uncertainty" in done.err
