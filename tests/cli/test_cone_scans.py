"""From a volume to the projections of a cone and back, by the command line."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile

GEOMETRY = """
kind = "cone"
angles = {{ start = 0, stop = 360, count = {views} }}
source_to_axis = 100.0
source_to_detector = 200.0
[detector]
pixels = [{rows}, {columns}]
pitch = 2.0
[volume]
pixels = [16, 22, 20]
pitch = [{pitch}, 1.0]
offset = [0.0, 0.5, {height}]
"""
CT = ("--operator", "ct:scan.toml", "--device", "cpu")
ROUGH = ("--tolerance", "2e-3")


def geometry(views: int = 30, rows: int = 24, columns: int = 30, pitch: float = 1.0, height: float = -0.5) -> None:
    Path("scan.toml").write_text(
        GEOMETRY.format(views=views, rows=rows, columns=columns, pitch=pitch, height=height), encoding="utf-8"
    )


@pytest.fixture
def body(folder: Path) -> np.ndarray:
    """The attenuation of a ball of water and a denser one in it, neither in the middle, in 1/mm."""
    geometry()
    z, y, x = np.mgrid[-7.5:8:1, 10.5:-11:-1, -9.5:10:1]
    attenuation = 0.02 * (np.sqrt((x - 1) ** 2 + y**2 + z**2) < 7)
    attenuation += 0.02 * (np.sqrt((x - 3) ** 2 + (y + 2) ** 2 + (z - 3) ** 2) < 2.5)
    np.save("body.npy", attenuation.astype(np.float32))
    return attenuation


@pytest.fixture
def projections(run, body: np.ndarray) -> Path:
    outcome = run("simulate", "body.npy", "-o", "seen.npy", "--operator", "ct:scan.toml", "--photons", "1e5")
    assert outcome.code == 0, outcome.err
    assert np.load("seen.npy").shape == (30, 24, 30)
    return Path("seen.npy")


def error_of(found: np.ndarray, truth: np.ndarray) -> float:
    assert found.shape == truth.shape
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


@pytest.mark.slow
def test_a_volume_is_reconstructed_and_replayed_to_the_bit(run, projections: Path, body: np.ndarray) -> None:
    outcome = run("solve", projections, "-o", "volume.tif", "--figure", "volume.png", *ROUGH)
    assert outcome.code == 0, outcome.err
    found = tifffile.imread("volume.tif")
    assert error_of(found, body) < 0.15
    assert found.min() >= 0
    assert Path("volume.png").stat().st_size > 10_000
    record = json.loads(Path("volume.tif.run.json").read_text())
    assert record["plan"]["method"] == "condat_vu"
    assert record["plan"]["image_shape"] == [16, 22, 20]
    assert record["plan"]["measurement_shape"] == [1, 1, 30, 24, 30]
    assert record["certificate"]["holds"] is True
    replayed = run("replay", "volume.tif.run.json")
    assert replayed.code == 0, replayed.err
    assert "identical" in replayed.out + replayed.err


@pytest.mark.parametrize(("method", "bound"), [("fbp", 0.6), ("sirt", 0.5), ("cgls", 0.45)])
def test_the_methods_without_a_prior(run, projections: Path, body: np.ndarray, method: str, bound: float) -> None:
    outcome = run("solve", projections, "-o", "volume.npy", "--method", method, "--iterations", "40", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of(np.load("volume.npy"), body) < bound
    name = json.loads(Path("volume.npy.run.json").read_text())["plan"]["method"]
    assert name == {"fbp": "FDK"}.get(method, method)
    if method == "fbp":
        assert "Feldkamp" in outcome.out


def test_a_series_has_its_places_and_is_read_as_the_same_volume(run, projections: Path, body: np.ndarray) -> None:
    """HU in DICOM, one file a slice, whatever their names say; what is simulated of the folder is what was stored."""
    Path("series").mkdir()
    water = ("--water", "0.02")
    outcome = run("solve", projections, "-o", "series/v.dcm", "--prior", "tv:weight=0.1,low=0", *water, *ROUGH, *CT)
    assert outcome.code == 0, outcome.err
    slices = [pydicom.dcmread(path) for path in sorted(Path("series").glob("*.dcm"))]
    assert len(slices) == 16
    assert len({each.SeriesInstanceUID for each in slices}) == 1
    heights = [-float(each.ImagePositionPatient[2]) for each in slices]
    assert heights == pytest.approx(np.arange(16) - 7.5 - 0.5)
    assert [float(length) for length in slices[0].PixelSpacing] == [1.0, 1.0]
    hu = np.stack([each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept) for each in slices])
    assert error_of(0.02 * (1 + hu / 1000), body) < 0.2
    for path in Path("series").glob("*.json"):
        path.unlink()
    for number, path in enumerate(sorted(Path("series").glob("*.dcm"))):
        path.rename(f"series/{(7 * number) % 16:02}.dcm")
    again = run("simulate", "series", "-o", "again.tif", "--operator", "ct:scan.toml", *water, "--noise", "0")
    assert again.code == 0, again.err
    np.save("stored.npy", (0.02 * (1 + hu / 1000)).clip(min=0).astype(np.float32))
    run("simulate", "stored.npy", "-o", "once.npy", "--operator", "ct:scan.toml", "--noise", "0")
    assert np.abs(tifffile.imread("again.tif") - np.load("once.npy")).max() < 1e-5
    Path("series/03.dcm").unlink()
    refused = run("simulate", "series", "-o", "other.tif", "--operator", "ct:scan.toml", *water, "--noise", "0")
    assert refused.code == 4
    assert "is one missing, or there twice?" in refused.err


def test_counts_become_line_integrals_row_by_row(run, body: np.ndarray) -> None:
    run("simulate", "body.npy", "-o", "clean.npy", "--operator", "ct:scan.toml", "--noise", "0")
    flat = np.linspace(15_000, 25_000, 24)[:, None] * np.linspace(0.9, 1.1, 30)
    counts = 100 + flat * np.exp(-np.load("clean.npy"))
    counts[:, 11, 14] = 100
    flat[11, 14] = 0
    tifffile.imwrite("counts.tif", np.rint(counts).astype(np.uint16), photometric="minisblack")
    np.save("flat.npy", np.rint(100 + flat).astype(np.uint16))
    np.save("dark.npy", np.full((2, 24, 30), 100, np.uint16))
    fields = ("--flat", "flat.npy", "--dark", "dark.npy")
    outcome = run("solve", "counts.tif", "-o", "volume.npy", "--prior", "tv:weight=0.1,low=0", *fields, *ROUGH, *CT)
    assert outcome.code == 0, outcome.err
    assert "column 14 of row 11" in outcome.err
    assert error_of(np.load("volume.npy"), body) < 0.15


@pytest.mark.slow
def test_slices_farther_apart_than_their_pixels(run, body: np.ndarray) -> None:
    """Total variation divides by the distance, and the slices lie where the geometry says."""
    geometry(pitch=2.0, height=0.0, rows=40)
    run("simulate", "body.npy", "-o", "seen.npy", "--operator", "ct:scan.toml", "--photons", "1e5")
    outcome = run("solve", "seen.npy", "-o", "volume.npy", "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    outcome = run("solve", "seen.npy", "-o", "volume.npy", *ROUGH)
    assert outcome.code == 0, outcome.err
    assert error_of(np.load("volume.npy"), body) < 0.15


@pytest.mark.parametrize("prior", ["wavelet:weight=0.1", "tikhonov:weight=1", "box"])
def test_a_prior_of_images_goes_slice_by_slice(run, projections: Path, body: np.ndarray, prior: str) -> None:
    outcome = run("solve", projections, "-o", "volume.npy", "--prior", prior, "--iterations", "30", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of(np.load("volume.npy"), body) < 0.5


def test_certify_knows_the_volume(run, body: np.ndarray) -> None:
    outcome = run("certify", "operator", "ct:scan.toml", "--prior", "tv:weight=0.1", "--figure", "scan.png", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["setting"] == "images of 16 x 22 x 20, prior tv"
    assert {constant["name"]: constant["evidence"] for constant in report["constants"]}["operator_norm"] == "proved"
    assert Path("scan.png").is_file()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--surrogate", "pixel-driven"), 4, ("'pixel-driven'", "'cone'", "one slice")),
        (("--surrogate", "coarse:factor=2"), 4, ("'coarse'", "one slice")),
        (("--device", "cuda"), 6, ("cone", "CPU")),
        (("--method", "fbp", "--prior", "tv:weight=1"), 2, ("no prior",)),
    ],
)  # fmt: skip
def test_what_a_cone_has_not_is_refused_in_a_sentence(run, projections: Path, options, code: int, words) -> None:
    outcome = run("solve", projections, "-o", "volume.npy", "--operator", "ct:scan.toml", *options)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words)
    assert not Path("volume.npy").exists()


@pytest.mark.slow
def test_surrogates_that_a_volume_has(run, body: np.ndarray) -> None:
    geometry(views=6)
    run("simulate", "body.npy", "-o", "few.npy", "--operator", "ct:scan.toml", "--noise", "0")
    given = ("--surrogate", "views:every=2", "--prior", "tikhonov:weight=1", "--iterations", "15")
    outcome = run("solve", "few.npy", "-o", "volume.npy", *given, *CT)
    assert outcome.code == 0, outcome.err
    assert "at most" in outcome.out


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"views": 31}, ("30 projections", "31 angles")),
        ({"rows": 30, "columns": 24}, ("rows and columns are exchanged",)),
        ({"rows": 20}, ("24 rows", "20")),
    ],
)
def test_projections_that_do_not_fit_are_refused(run, projections: Path, sizes, words) -> None:
    geometry(**sizes)
    outcome = run("solve", projections, "-o", "volume.npy", *CT)
    assert outcome.code == 4
    assert all(word in outcome.err for word in words)


def test_a_volume_of_another_size_and_a_score_of_slices_are_refused(run, body: np.ndarray) -> None:
    np.save("low.npy", body[:12])
    refused = run("simulate", "low.npy", "-o", "seen.npy", "--operator", "ct:scan.toml", "--noise", "0")
    assert refused.code == 4
    assert "16 x 22 x 20" in refused.err and "12 x 22 x 20" in refused.err
    scored = run("evaluate", "--data", "body.npy", "--operator", "ct:scan.toml", "--noise", "0.01")
    assert scored.code == 2
    assert "one by one" in scored.err


def test_a_volume_that_does_not_fit_into_memory_is_refused_before_anything_is_taken(
    run, projections, monkeypatch
) -> None:
    from recon.reconstruction import memory  # noqa: PLC0415

    monkeypatch.setattr(memory, "free_bytes", lambda: 10**6)
    outcome = run("solve", projections, "-o", "volume.npy", *CT)
    assert outcome.code == 2
    assert "16 x 22 x 20 voxels" in outcome.err and "GiB are free" in outcome.err
