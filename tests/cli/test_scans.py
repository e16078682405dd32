"""From an attenuation to a sinogram and back, by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

GEOMETRY = """
kind = "parallel"
angles = {{ start = 0, stop = 180, count = {views}, endpoint = false }}
[detector]
pixels = {pixels}
pitch = 0.5
[volume]
pixels = [32, 32]
pitch = 0.5
"""
CT = ("--operator", "ct:scan.toml", "--device", "cpu")


@pytest.fixture
def scan(folder: Path) -> Path:
    path = folder / "scan.toml"
    path.write_text(GEOMETRY.format(views=36, pixels=48))
    return path


@pytest.fixture
def disc(scan: Path) -> np.ndarray:
    """The attenuation of a cylinder of water with a denser one in it, in 1/mm."""
    y, x = np.mgrid[-15.5:16:1, -15.5:16:1]
    attenuation = 0.02 * (np.hypot(x, y) < 12) + 0.02 * (np.hypot(x - 4, y + 3) < 4)
    np.save(scan.parent / "disc.npy", attenuation.astype(np.float32))
    return attenuation


@pytest.fixture
def sinogram(run, disc: np.ndarray) -> Path:
    outcome = run("simulate", "disc.npy", "-o", "sino.npy", "--operator", "ct:scan.toml", "--photons", "1e6")
    assert outcome.code == 0, outcome.err
    return Path("sino.npy")


def error_of(name: str, truth: np.ndarray) -> float:
    found = tifffile.imread(name)
    assert found.shape == truth.shape
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def roughness(name: str) -> float:
    return float(np.abs(np.diff(tifffile.imread(name), axis=1)).mean())


@pytest.mark.slow
def test_a_simulated_scan_is_reconstructed_in_attenuation(run, sinogram: Path, disc: np.ndarray) -> None:
    outcome = run("solve", sinogram, "-o", "slice.tif", "--figure", "slice.png", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.05
    assert tifffile.imread("slice.tif").min() >= 0
    assert Path("slice.png").stat().st_size > 10_000
    record = json.loads(Path("slice.tif.run.json").read_text())
    assert record["plan"]["method"] == "condat_vu"
    assert record["plan"]["range"]["units"] == "1/mm"
    assert record["certificate"]["holds"] is True
    assert record["config"]["photons"] == 1e6


def test_a_filtered_back_projection_is_the_quick_look_and_promises_nothing(run, sinogram: Path, disc) -> None:
    outcome = run("solve", sinogram, "-o", "slice.tif", "--method", "fbp", *CT)
    assert outcome.code == 0, outcome.err
    assert "No guarantee" in outcome.out
    assert "slice.tif: computed in closed form, " in outcome.out
    assert error_of("slice.tif", disc) < 0.3
    assert run("solve", sinogram, "-o", "sharp.tif", "--method", "fbp", "--window", "ram-lak", *CT).code == 0
    assert roughness("sharp.tif") > 1.1 * roughness("slice.tif")
    refused = run("solve", sinogram, "-o", "other.tif", "--method", "fbp", "--require-certificate", *CT)
    assert refused.code == 5


def test_water_makes_hounsfield_units(run, sinogram: Path, disc: np.ndarray) -> None:
    outcome = run("solve", sinogram, "-o", "slice.tif", "--water", "0.02", "--method", "fbp", *CT)
    assert outcome.code == 0, outcome.err
    hu = tifffile.imread("slice.tif")
    assert hu[14:18, 6:10].mean() == pytest.approx(0, abs=60)
    assert hu[:3, :3].mean() == pytest.approx(-1000, abs=60)


@pytest.mark.slow
def test_a_stack_of_slices_is_solved_in_one_call(run, sinogram: Path, disc: np.ndarray) -> None:
    one = np.load(sinogram).reshape(36, 48)
    tifffile.imwrite(
        "stack.tif", np.stack([one, 0.5 * one, 0 * one + 1e-3]).astype(np.float32), photometric="minisblack"
    )
    outcome = run("solve", "stack.tif", "-o", "slices.tif", "--prior", "tv:weight=0.02,low=0", *CT)
    assert outcome.code == 0, outcome.err
    slices = tifffile.imread("slices.tif")
    assert slices.shape == (3, 32, 32)
    assert np.linalg.norm(slices[0] - disc) < 0.1 * np.linalg.norm(disc)
    assert slices[1].max() == pytest.approx(0.5 * slices[0].max(), rel=0.2)


def test_counts_need_their_flat_field_and_dead_columns_do_not_count(run, disc: np.ndarray) -> None:
    run("simulate", "disc.npy", "-o", "clean.npy", "--operator", "ct:scan.toml", "--noise", "0")
    counts = 100 + 20_000 * np.exp(-np.load("clean.npy").reshape(36, 48))
    counts[:, 20] = 100
    flat, dark = np.full(48, 20_100.0), np.full(48, 100.0)
    flat[20] = 100
    for name, array in (("counts", counts), ("flat", flat[None]), ("dark", dark[None])):
        np.save(f"{name}.npy", np.rint(array).astype(np.uint16))
    refused = run("solve", "counts.npy", "-o", "slice.tif", *CT)
    assert refused.code in (3, 4)
    assert "flat" in refused.err
    outcome = run("solve", "counts.npy", "-o", "slice.tif", "--flat", "flat.npy", "--dark", "dark.npy", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.08
    roles = [entry["role"] for entry in json.loads(Path("slice.tif.run.json").read_text())["inputs"]]
    assert {"flat field", "dark field"} <= set(roles)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((35, 48), ("35", "36")), ((36, 50), ("50", "48")), ((48, 36), ("transposed",))],
)
def test_a_sinogram_that_does_not_fit_its_geometry_is_refused(run, sinogram, scan, shape, words) -> None:
    scan.write_text(GEOMETRY.format(views=shape[0], pixels=shape[1]))
    outcome = run("solve", sinogram, "-o", "slice.tif", *CT)
    assert outcome.code == 4
    assert all(word in outcome.err for word in words)
    assert not Path("slice.tif").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--water", "-1"), 2, ("water", "positive")),
        (("--range", "0.1:0.2"), 2, ("range", "air")),
        (("--method", "fbp", "--prior", "tv:weight=1"), 2, ("fbp", "no prior")),
        (("--method", "fbp", "--window", "han"), 2, ("'han'", "hann")),
        (("--method", "sirt", "--window", "hann"), 2, ("'hann'", "sirt", "fbp")),
        (("--method", "fbp", "--tolerance", "1e-3"), 2, ("1e-3", "fbp", "closed form")),
        (("--method", "cgls", "--stepsize", "0.5"), 2, ("0.5", "cgls", "takes none")),
        (("--method", "fista", "--prior", "tv:weight=1,low=0"), 2, ("fista", "bounds")),
        (("--noise", "3HU",), 2, ("line integrals",)),
        (("--surrogate", "pixeldriven"), 2, ("pixel-driven",)),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_sentence(run, sinogram: Path, options, code: int, words) -> None:
    outcome = run("solve", sinogram, "-o", "slice.tif", *CT, *options)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words)


def test_water_belongs_to_projections(run, photo: Path) -> None:
    outcome = run("solve", photo, "-o", "a.png", "--operator", "identity", "--noise", "0.1", "--water", "0.02")
    assert outcome.code == 2
    assert "ct:" in outcome.err


@pytest.mark.slow
def test_a_surrogate_is_certified_by_name(run, scan: Path) -> None:
    outcome = run("certify", "operator", "ct:scan.toml", "--surrogate", "pixel-driven", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    constants = {each["name"]: each["value"] for each in report["constants"]}
    assert 0.01 < constants["adjoint_gap"] < 0.3
    assert constants["symmetric_part_min"] < 0
    assert not any(each["holds"] for each in report["guarantees"])
    shifted = run("certify", "operator", "ct:scan.toml", "--surrogate", "pixel-driven", "--shift", "auto", "--json")
    holding = {each["method"] for each in json.loads(shifted.out)["guarantees"] if each["holds"]}
    assert {"forward_backward", "tseng"} <= holding


def test_the_scan_is_drawn(run, scan: Path) -> None:
    outcome = run("certify", "operator", "ct:scan.toml", "--figure", "scan.png")
    assert outcome.code == 0, outcome.err
    assert Path("scan.png").stat().st_size > 10_000
    again = run("certify", "operator", "ct:scan.toml", "--figure", "scan.png")
    assert again.code == 7
    refused = run("certify", "operator", "identity", "--figure", "other.png")
    assert refused.code == 2
    assert "ct:" in refused.err


def test_a_run_of_projections_is_replayed_to_the_bit(run, sinogram: Path) -> None:
    run("solve", sinogram, "-o", "slice.tif", "--prior", "tv:weight=0.02", "--iterations", 20, *CT)
    outcome = run("replay", "slice.tif.run.json")
    assert outcome.code == 0, outcome.err
    assert "identical" in outcome.out


@pytest.mark.parametrize("method", ["sirt", "cgls"])
def test_the_baselines_run_without_a_prior(run, sinogram: Path, disc: np.ndarray, method: str) -> None:
    outcome = run("solve", sinogram, "-o", "slice.tif", "--method", method, "--iterations", 30, *CT)
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.3


def test_sirt_takes_the_relaxation_it_is_told(run, sinogram: Path) -> None:
    for given, expected in (((), 1.0), (("--stepsize", "0.5"), 0.5)):
        outcome = run("solve", sinogram, "--dry-run", "--json", "--method", "sirt", *given, *CT)
        assert json.loads(outcome.out)["stepsize"] == expected


def test_sirt_keeps_to_a_box(run, sinogram: Path, disc: np.ndarray) -> None:
    steps = ("--method", "sirt", "--iterations", 30, *CT)
    assert run("solve", sinogram, "-o", "free.tif", *steps).code == 0
    outcome = run("solve", sinogram, "-o", "box.tif", "--prior", "box", *steps)
    assert outcome.code == 0, outcome.err
    assert tifffile.imread("free.tif").min() < 0 <= tifffile.imread("box.tif").min()
    assert error_of("box.tif", disc) < error_of("free.tif", disc)


def test_a_scan_ends_by_the_default_tolerance_unless_another_is_asked_for(run, sinogram: Path) -> None:
    for given, expected in (
        ((), 2e-3),
        (("--tolerance", "0.01"), 0.01),
        (("--method", "fista", "--prior", "tv"), 2e-3),
    ):
        outcome = run("solve", sinogram, "--dry-run", "--json", *given, *CT)
        assert json.loads(outcome.out)["tolerance"] == expected, outcome.err
    assert run("solve", sinogram, "-o", "slice.tif", *CT).code == 0
    record = json.loads(Path("slice.tif.run.json").read_text())
    assert record["status"] == "converged"
    assert 0 < record["distance"]["relative"] <= 2e-3
    assert run("replay", "slice.tif.run.json").code == 0


def test_a_surrogate_is_solved_with_its_certificate_and_a_bound(run, sinogram: Path, disc: np.ndarray) -> None:
    given = ("--surrogate", "pixel-driven", "--shift", "auto", "--prior", "tikhonov:weight=1")
    outcome = run("solve", sinogram, "-o", "slice.tif", *given, *CT)
    assert outcome.code == 0, outcome.err
    assert "distance to the matched solution" in outcome.out
    record = json.loads(Path("slice.tif.run.json").read_text())
    assert record["certificate"]["holds"] is True
    (bound,) = record["error_bounds"]
    exact = run("solve", sinogram, "-o", "exact.tif", "--prior", "tikhonov:weight=1", *CT, "--tolerance", "1e-7")
    assert exact.code == 0, exact.err
    width = record["plan"]["range"]["high"]
    apart = np.linalg.norm(tifffile.imread("slice.tif").astype(float) - tifffile.imread("exact.tif")) / width
    assert 0 < apart <= bound["value"] * 1.01
    assert bound["evidence"] in ("proved", "measured")


@pytest.mark.parametrize("method", ["ab_gmres", "ba_gmres"])
def test_krylov_methods_take_a_surrogate_and_need_one(run, sinogram: Path, disc: np.ndarray, method: str) -> None:
    given = ("--method", method, "--iterations", 1)
    outcome = run("solve", sinogram, "-o", "slice.tif", *given, "--surrogate", "pixel-driven", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.5
    assert run("solve", sinogram, "-o", "other.tif", *given, *CT).code == 2


def test_a_scan_is_evaluated_on_clean_images(run, disc: np.ndarray) -> None:
    Path("clean").mkdir()
    np.save("clean/disc.npy", (25 * disc).astype(np.float32))
    given = ("--data", "clean", "--noise", "0.01", "--prior", "tv:weight=0.005,low=0", "--iterations", 100)
    outcome = run("evaluate", *given, "--operator", "ct:scan.toml", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    (score,) = json.loads(outcome.out)["images"]
    assert score["psnr"] > score["psnr_input"] + 3


def test_a_surrogate_runs_with_the_prior_by_default(run, sinogram: Path) -> None:
    outcome = run("solve", sinogram, "-o", "a.tif", "--surrogate", "pixel-driven", "--iterations", "20", *CT)
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("a.tif.run.json").read_text())["plan"]["method"] == "forward_backward"


@pytest.mark.parametrize("method", ["ab_gmres", "ba_gmres"])
def test_a_method_that_needs_no_certificate_is_not_told_how_to_get_one(run, sinogram: Path, method: str) -> None:
    outcome = run("solve", sinogram, "-o", "a.tif", "--surrogate", "pixel-driven", "--method", method, *CT)
    assert outcome.code == 0, outcome.err
    assert "without a guarantee" not in outcome.err
    record = json.loads(Path("a.tif.run.json").read_text())
    assert record["status"] == "stopped early"
    assert record["plan"]["early_residual"] == 1e-3


def test_projections_of_the_wrong_sign_are_refused(run, sinogram: Path) -> None:
    np.save("wrong.npy", -np.load(sinogram))
    outcome = run("solve", "wrong.npy", "-o", "a.tif", *CT)
    assert outcome.code == 4
    assert "the sign of the logarithm" in outcome.err
    assert not Path("a.tif").exists()


def test_water_in_another_unit_is_noticed(run, sinogram: Path) -> None:
    outcome = run("solve", sinogram, "-o", "a.tif", "--water", "0.2", "--method", "fbp", *CT)
    assert "it is meant in 1/mm" in outcome.err


def test_an_image_that_does_not_fit_into_memory_is_refused_at_once(run, sinogram: Path) -> None:
    text = Path("scan.toml").read_text().replace("[32, 32]\npitch = 0.5", "[60000, 60000]\npitch = 0.0005")
    Path("huge.toml").write_text(text)
    outcome = run("solve", sinogram, "-o", "a.tif", "--operator", "ct:huge.toml", "--method", "fbp")
    assert outcome.code == 2
    assert "an image of 60000 x 60000 pixels" in outcome.err


def test_a_slice_whose_pixels_have_another_size_than_the_geometry_s_is_noticed(run, scan: Path, bundled_data) -> None:
    scan.write_text(scan.read_text().replace("[32, 32]", "[512, 512]").replace("pixels = 48", "pixels = 725"))
    clean = bundled_data / "ct" / "tcga_60-2695.dcm"
    outcome = run("simulate", clean, "-o", "s.npy", "--water", "0.02", "--photons", "1e5", "--operator", "ct:scan.toml")
    assert outcome.code == 0, outcome.err
    assert "the rows are 0.546875 mm apart in the image and 0.5 in the geometry" in outcome.err


def test_lengths_in_another_unit_that_leave_nothing_to_see_are_refused(run, sinogram: Path) -> None:
    Path("um.toml").write_text(
        Path("scan.toml")
        .read_text()
        .replace("[detector]\npixels = 48\npitch = 0.5", "[detector]\npixels = 48\npitch = 500")
    )
    outcome = run("solve", sinogram, "-o", "a.tif", "--operator", "ct:um.toml", "--method", "fbp")
    assert outcome.code == 4
    assert "lengths may be in different units" in outcome.err


def test_a_shape_beside_a_geometry_is_refused(run, sinogram: Path) -> None:
    outcome = run("solve", sinogram, "-o", "a.tif", "--shape", "16,16", *CT)
    assert outcome.code == 2
    assert "expected no shape, because the geometry states it" in outcome.err


def test_evaluate_does_not_take_photons_for_noise(run, scan: Path, bundled_data) -> None:
    clean = bundled_data / "ct" / "tcga_60-2695.dcm"
    outcome = run("evaluate", "--data", clean, "--water", "0.02", "--photons", "1e5", "--noise", "0.01", *CT)
    assert outcome.code == 2
    assert "recon simulate counts photons" in outcome.err


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The projectors whose norm was computed."""
    from recon.operators import nonnegative, spectral  # noqa: PLC0415
    from recon.operators.tomography.projectors import projector, weighted  # noqa: PLC0415

    seen: list[object] = []

    def counted(plain):
        return lambda operator, *rest, **options: (seen.append(operator), plain(operator, *rest, **options))[1]

    for module in (projector, weighted):
        monkeypatch.setattr(module, "norm_of_nonnegative", counted(nonnegative.norm_of_nonnegative))
    monkeypatch.setattr(spectral, "norm", counted(spectral.norm))
    return seen


@pytest.mark.parametrize("method", ["fbp", "sirt", "cgls"])
def test_a_method_that_needs_no_norm_computes_none(run, sinogram: Path, norms: list[object], method: str) -> None:
    asked = ("--method", method, "--iterations", 4, *CT)
    assert run("solve", sinogram, "-o", "slice.tif", *asked).code == 0
    assert json.loads(Path("slice.tif.run.json").read_text())["plan"]["operator_norm"] is None
    planned = run("solve", sinogram, "--dry-run", *asked)
    assert planned.code == 0, planned.err
    assert "not needed" in planned.out
    assert run("replay", "slice.tif.run.json").code == 0
    scored = run("evaluate", "--data", "disc.npy", "--noise", "0.01", *asked)
    assert scored.code == 0, scored.err
    assert norms == []


def test_a_method_whose_step_rests_on_the_norm_computes_it_once(run, sinogram: Path, norms: list[object]) -> None:
    asked = ("--method", "fista", "--prior", "tv:weight=0.01", "--iterations", 4, *CT)
    assert run("solve", sinogram, "-o", "slice.tif", *asked).code == 0
    assert json.loads(Path("slice.tif.run.json").read_text())["plan"]["operator_norm"] > 0
    assert len(norms) == 1


def test_a_filtered_back_projection_filters_once(run, sinogram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recon.operators.tomography import FilteredBackProjection  # noqa: PLC0415

    calls: list[int] = []
    plain = FilteredBackProjection.__call__
    monkeypatch.setattr(FilteredBackProjection, "__call__", lambda self, y: (calls.append(1), plain(self, y))[1])
    known = ("--water", "0.02")  # else one more finds the range of attenuations
    assert run("solve", sinogram, "-o", "slice.tif", "--method", "fbp", *known, *CT).code == 0
    assert len(calls) == 1


@pytest.fixture
def counted(run, disc: np.ndarray) -> np.ndarray:
    """Counts of the disc, with a flat field of 20000."""
    run("simulate", "disc.npy", "-o", "clean.npy", "--operator", "ct:scan.toml", "--noise", "0")
    lines = np.load("clean.npy").reshape(36, 48)
    return np.random.default_rng(0).poisson(20_000 * np.exp(-lines)).astype(np.uint16)


@pytest.mark.parametrize("where", [np.s_[11, :], np.s_[:, 20], np.s_[11, 5:30]], ids=["view", "column", "part"])
def test_saturated_counts_are_said_and_do_not_reach_the_image(run, counted: np.ndarray, disc, where) -> None:
    counted[where] = 65535
    np.save("counts.npy", counted)
    outcome = run("solve", "counts.npy", "-o", "slice.tif", "--flat", "20000", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.09
    assert "weight 0" in outcome.err


def test_too_bright_line_integrals_do_not_count(run, sinogram: Path, disc: np.ndarray) -> None:
    lines = np.load(sinogram)
    lines[..., 11, :] = -2.0
    np.save(sinogram, lines)
    outcome = run("solve", sinogram, "-o", "slice.tif", "--photons", "1e6", *CT)
    assert outcome.code == 0, outcome.err
    assert error_of("slice.tif", disc) < 0.06
    assert "times the photons that were sent, among them view 11 (counted from 0)" in outcome.err


def test_a_flat_field_is_a_number_or_a_file_and_of_both_the_file(run, counted: np.ndarray, disc) -> None:
    np.save("counts.npy", 100 + counted)
    field = ("--dark", "100", "--method", "fbp", *CT)
    assert run("solve", "counts.npy", "-o", "number.tif", "--flat", "20100", *field).code == 0
    record = json.loads(Path("number.tif.run.json").read_text())
    assert (record["config"]["flat"], record["config"]["dark"]) == (20100.0, 100.0)
    assert not any("field" in entry["role"] for entry in record["inputs"])
    assert "identical" in run("replay", "number.tif.run.json").out
    np.save("field.npy", np.full((1, 48), 20_100, np.uint16))
    assert run("solve", "counts.npy", "-o", "file.tif", "--flat", "field.npy", *field).code == 0
    np.testing.assert_allclose(tifffile.imread("file.tif"), tifffile.imread("number.tif"), rtol=1e-5, atol=1e-7)
    Path("field.npy").rename("20100")
    outcome = run("solve", "counts.npy", "-o", "both.tif", "--flat", "20100", *field)
    assert outcome.code == 0, outcome.err
    assert "--flat 20100 is the file of that name here, not the number" in outcome.err
    Path("scan.conf.toml").write_text("operator = 'ct:scan.toml'\nflat = 20100\ndark = 100\nmethod = 'fbp'\n")
    assert run("solve", "counts.npy", "-o", "toml.tif", "--config", "scan.conf.toml").code == 0
    np.testing.assert_array_equal(tifffile.imread("toml.tif"), tifffile.imread("number.tif"))


@pytest.mark.parametrize(("option", "value"), [("--flat", "0"), ("--flat", "-3"), ("--flat", "nan"), ("--dark", "inf")])
def test_a_field_that_is_no_count_is_refused(run, counted: np.ndarray, option: str, value: str) -> None:
    np.save("counts.npy", counted)
    outcome = run("solve", "counts.npy", "-o", "slice.tif", *CT, *(("--flat", "20000") if option == "--dark" else ()),
                  option, value)  # fmt: skip
    assert outcome.code == 2
    assert "expected a positive finite number" in outcome.err


def test_a_pixel_that_responds_by_a_wrong_factor_is_named(run, counted: np.ndarray, scan: Path) -> None:
    counted[:, 17] = (0.6 * counted[:, 17]).astype(np.uint16)
    np.save("counts.npy", counted)
    outcome = run("solve", "counts.npy", "-o", "slice.tif", "--flat", "20000", "--method", "fbp", *CT)
    assert outcome.code == 0, outcome.err
    assert "column 17 (about 0.6 times)" in outcome.err


@pytest.mark.parametrize("noise", ["0", "0.01"])
def test_half_a_turn_declared_as_a_turn_is_noticed(run, disc: np.ndarray, scan: Path, noise: str) -> None:
    sinogram = Path("sino.npy")
    run("simulate", "disc.npy", "-o", sinogram, "--operator", "ct:scan.toml", "--noise", noise)
    sound = run("solve", sinogram, "-o", "sound.tif", "--method", "fbp", *CT)
    assert "Opposite rays" not in sound.err
    scan.write_text(scan.read_text().replace("stop = 180", "stop = 360"))
    outcome = run("solve", sinogram, "-o", "slice.tif", "--method", "fbp", *CT)
    assert "Opposite rays disagree with angles from 0 to 350 degrees" in outcome.err


def test_an_array_in_hounsfield_units_is_no_attenuation(run, disc: np.ndarray) -> None:
    np.save("hu.npy", (1000 * (disc / 0.02 - 1)).astype(np.float32))
    silent = run("simulate", "hu.npy", "-o", "a.npy", "--operator", "ct:scan.toml", "--photons", "1e6")
    assert silent.code == 0
    assert "down to -1000 and is taken for attenuation in 1/mm" in silent.err
    assert "if it is in HU, --water MU says so" in silent.err
    told = run("simulate", "hu.npy", "-o", "b.npy", "--operator", "ct:scan.toml", "--photons", "1e6", "--water", "0.02")
    assert told.code == 0
    assert "attenuation" not in told.err
    plain = run("simulate", "disc.npy", "-o", "c.npy", "--operator", "ct:scan.toml", "--photons", "1e6")
    assert "attenuation" not in plain.err
    np.testing.assert_allclose(np.load("b.npy"), np.load("c.npy"), atol=0.02)


def test_an_attenuation_has_no_water(run, disc: np.ndarray) -> None:
    outcome = run("simulate", "disc.npy", "-o", "a.npy", "--water", "0.02", *CT[:2], "--photons", "1e6")
    assert outcome.code == 2
    assert "water is 0.02, and the image has values as of attenuation in 1/mm" in outcome.err
