"""recon simulate, certify, evaluate and replay."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import write_card
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from recon.certificates.ascent import Search
from recon.evaluation.evaluate import figures
from recon.methods import network_search
from recon.methods.network_search import Extent
from recon.priors.networks import DnCNNConfig, make, save

BLUR = ("--operator", "blur:psf=kernel.npy", "--noise", "0.01")
CONSTANTS = {
    "operator_norm",
    "adjoint_gap",
    "adjoint_gap_upper",
    "surrogate_norm",
    "symmetric_part_min",
    "cocoercivity",
}


def test_a_simulation_is_the_operator_and_the_noise_and_says_so(run, photo: Path) -> None:
    outcome = run("simulate", photo, "-o", "y.npy", "--operator", "identity", "--noise", "0.02", "--seed", 3)
    assert outcome.code == 0
    clean = np.asarray(Image.open(photo), float)
    noise = np.load("y.npy").astype(float).reshape(clean.shape) - clean
    assert noise.std() / 255 == pytest.approx(0.02, rel=0.1)
    sidecar = json.loads(Path("y.npy.simulate.json").read_text())
    assert (sidecar["operator"], sidecar["noise"], sidecar["seed"]) == ("identity", "0.02", 3)
    assert len(sidecar["clean"]["sha256"]) == 64


def test_a_simulation_is_repeated_by_its_seed_only(run, photo: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        run("simulate", photo, "-o", name, "--operator", "identity", "--noise", "0.1", "--seed", seed)
    a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_what_a_mask_leaves_out_stays_zero(run, photo: Path) -> None:
    mask = np.arange(40 * 32).reshape(40, 32) % 2
    np.save("mask.npy", mask.astype(np.uint8))
    run("simulate", photo, "-o", "y.png", "--operator", "inpaint:mask=mask.npy", "--noise", "0.1")
    assert not np.asarray(Image.open("y.png"))[mask == 0].any()


def test_k_space_is_simulated_and_solved(run, photo: Path) -> None:
    mask = np.zeros((40, 32), np.uint8)
    mask[::2] = 1
    mask[:6] = mask[-6:] = 1
    np.save("mask.npy", mask)
    made = run("simulate", photo, "-o", "k.npy", "--operator", "mri:mask=mask.npy", "--noise", "0.001")
    assert made.code == 0, made.err
    assert np.iscomplexobj(np.load("k.npy"))
    solved = run("solve", "k.npy", "-o", "x.png", "--operator", "mri:mask=mask.npy", "--noise", "0.001")
    assert solved.code == 0, solved.err
    assert np.asarray(Image.open("x.png")).shape == (40, 32)
    for prior in ("model:proved-gray", "deepinv:MedianFilter"):
        for asked in (("solve", "k.npy", "-o", "y.png", "--noise", "0.001", "--operator"), ("certify", "operator")):
            refused = run(*asked, "mri:mask=mask.npy", "--prior", prior)
            assert refused.code == 2
            assert f"prior is {prior} and the operator mri:mask=mask.npy; expected a prior of complex" in refused.err
    assert not Path("y.png").exists()


def test_an_operators_constants_carry_their_evidence(run) -> None:
    document = json.loads(run("certify", "operator", "blur:gaussian=1.6", "--json").out)
    assert document["subject"] == "blur:gaussian=1.6"
    constants = {entry["name"]: entry for entry in document["constants"]}
    assert constants.keys() == CONSTANTS - {"surrogate_norm"}
    assert constants["operator_norm"]["value"] == pytest.approx(1.0)
    assert all(entry["evidence"] == "proved" and entry["how"] for entry in constants.values())
    guarantees = {entry["method"]: entry for entry in document["guarantees"]}
    assert guarantees["forward_backward"]["holds"] is True
    assert guarantees["forward_backward"]["stepsize"] == pytest.approx([0, 2])
    assert guarantees["fista"]["stepsize"] == pytest.approx([0, 1])
    assert guarantees["douglas_rachford"]["stepsize"] == [0, None]
    assert all(entry["missing"] == [] for entry in guarantees.values() if entry["holds"])


def test_a_surrogates_constants_refuse_and_a_shift_mends(run) -> None:
    pair = ("certify", "operator", "blur:box=5", "--surrogate", "blur:box=9", "--json")
    bare = json.loads(run(*pair).out)
    values = {entry["name"]: entry["value"] for entry in bare["constants"]}
    assert values.keys() == CONSTANTS
    assert values["symmetric_part_min"] < 0
    assert values["cocoercivity"] == 0
    assert not any(entry["holds"] for entry in bare["guarantees"])
    mended = json.loads(run(*pair, "--shift", "auto").out)
    holds = {entry["method"]: entry["holds"] for entry in mended["guarantees"]}
    assert holds["forward_backward"]
    assert holds["tseng"]
    assert not holds["fista"]


def test_methods_that_do_not_apply_are_named_together_and_the_others_stand_in_columns(run) -> None:
    lines = run("certify", "operator", "blur:box=3", "--surrogate", "blur:box=5", "--shape", "32,32").out.splitlines()
    (told,) = (line for line in lines if " do not apply: " in line)
    names, _, reason = told.partition(" do not apply: ")
    assert {"condat_vu", "davis_yin", "fista"} <= set(names.split(", "))
    assert reason.startswith("with a surrogate; expected forward_backward or tseng")
    rows = [line for line in lines if re.match(r"(forward_backward|tseng|mismatched_douglas_rachford) ", line)]
    assert len(rows) == 3
    assert len({re.search("(none|proved|measured) ", row).start() for row in rows}) == 1


def test_a_wrong_adjoint_is_reported_not_hidden(run, folder: Path) -> None:
    (folder / "wrong.py").write_text(
        "from recon import operators\nclass Wrong:\n"
        "    def __init__(self, shape):\n"
        "        self.a, self.b = (operators.Blur(operators.box_psf(n), shape) for n in (5, 9))\n"
        "    def A(self, x): return self.a.A(x)\n    def A_adjoint(self, y): return self.b.A_adjoint(y)\n"
    )
    document = json.loads(run("certify", "operator", "python:wrong.py:Wrong", "--shape", "32,32", "--json").out)
    gap = next(entry for entry in document["constants"] if entry["name"] == "adjoint_gap")
    assert gap["evidence"] == "measured"
    assert gap["value"] == pytest.approx(0.59, abs=0.02)
    assert not any(entry["holds"] for entry in document["guarantees"])


def test_a_fault_at_one_pixel_is_reported_by_the_estimate_from_above_and_refused(run, folder: Path) -> None:
    (folder / "pixel.py").write_text(
        "import numpy as np, torch\n"
        "def smooth(x):\n    x = x.numpy()\n    return (np.roll(x, 1, -1) + 2 * x + np.roll(x, -1, -1)) / 4\n"
        "class Pixel:\n    def __init__(self, shape): pass\n"
        "    def A(self, x): return torch.from_numpy(smooth(x))\n"
        "    def A_adjoint(self, y):\n        x = smooth(y)\n        x[..., 50, 60] -= 0.3 * y.numpy()[..., 50, 60]\n"
        "        return torch.from_numpy(x)\n"
    )
    asked = ("python:pixel.py:Pixel", "--shape", "128,128", "--json")
    document = json.loads(run("certify", "operator", *asked).out)
    values = {entry["name"]: entry for entry in document["constants"]}
    assert values["adjoint_gap_upper"]["evidence"] == "measured"
    assert values["adjoint_gap_upper"]["value"] > 0.3 > values["adjoint_gap"]["value"]
    assert not any(entry["holds"] for entry in document["guarantees"])
    np.save("y.npy", np.random.default_rng(0).random((128, 128)))
    refused = run("solve", "y.npy", "-o", "x.npy", "--operator", asked[0], "--prior", "tv:weight=0.01")
    assert refused.code == 5
    assert "Pixel: A_adjoint differs from the adjoint of A by" in refused.err
    assert not Path("x.npy").exists()


def test_a_priors_constants_are_attacked(run) -> None:
    document = json.loads(run("certify", "prior", "l1:weight=0.1", "--json").out)
    values = {entry["name"]: entry for entry in document["constants"]}
    assert values["lipschitz_Q"]["evidence"] == "proved"
    assert values["lipschitz_Q_attack"]["evidence"] == "measured"
    assert 0.9 < values["lipschitz_Q_attack"]["value"] <= 1 + 1e-9


def test_the_attack_finds_what_is_not_firm(run, folder: Path) -> None:
    (folder / "mine.py").write_text("def make():\n    return lambda x: 1.2 * x\n")
    document = json.loads(run("certify", "prior", "python:mine.py:make", "--json").out)
    values = {entry["name"]: entry["value"] for entry in document["constants"]}
    assert values["lipschitz_Q_attack"] == pytest.approx(1.4)
    assert document["guarantees"][0]["refuted"] == ["the prior is firmly nonexpansive, Lip(2J - Id)"]
    table = run("certify", "prior", "python:mine.py:make").out
    assert "refuted: the prior is firmly nonexpansive" in table
    assert "refuted: the prior is a proximity operator" in table


@pytest.fixture
def short(monkeypatch) -> None:
    """Searches of a few steps, on one size."""
    search = Search(steps=3, starts=6)
    monkeypatch.setattr(network_search, "WHOLE", Extent((32,), search, boxes=((0.0, 1.0),)))
    monkeypatch.setattr(network_search, "QUICK", Extent((32,), replace(search, starts=2), levels=2))


@pytest.mark.usefixtures("short")
def test_a_network_is_searched_from_an_image_at_a_level(run, folder: Path, photo: Path) -> None:
    save(make(DnCNNConfig(depth=2, features=2, conditioned=True, noise_range=(0.05, 0.1))), folder / "net")
    write_card(folder / "net", lipschitz_Q={"value": 1.0, "evidence": "measured", "least_side": 16})
    outcome = run("certify", "prior", "./net", "--noise", "0.07", "--image", photo)
    assert outcome.code == 0, outcome.err
    assert "sigma=0.07" in outcome.out
    assert "from 9 images" in outcome.out  # six of its own, and the photograph clean, noisy and denoised
    assert photo.name not in outcome.out
    assert "kept in net/card.json: Lip(Q) is" in outcome.err
    small = json.loads(run("certify", "prior", "./net", "--side", 12, "--json").out)
    assert {search["side"] for search in small["searches"]} == {12}
    chain = {each["name"]: each for each in small["constants"]}["orthogonality"]
    assert (chain["evidence"], "of 2 convolutions" in chain["how"]) == ("proved", True)
    assert all("12 x 12 pixels" in search["how"] for search in small["searches"])
    kept = json.loads((folder / "net" / "card.json").read_text())
    assert {search["side"] for search in kept["searches"]} == {12, 32}
    assert kept["sha256"] == small["sha256"]
    (folder / "net" / "card.json").unlink()
    write_card(folder / "net", lipschitz_Q={"value": 1.0, "evidence": "measured", "least_side": 16})
    small = json.loads(run("certify", "prior", "./net", "--side", 12, "--json").out)
    (remark,) = small["remarks"]
    assert (remark["value"], remark["low"], remark["high"]) == (12, 16, None)
    for noise in ("0", "-1", "nan"):
        assert run("certify", "prior", "./net", "--noise", noise).code == 2
    pointless = run("certify", "prior", "tv:weight=0.1", "--image", photo)
    assert pointless.code == 2
    assert "only networks are searched so" in pointless.err
    assert "12 pixels" in run("certify", "prior", "tv:weight=0.1", "--side", 12).err
    refused = run("certify", "prior", "./net", "--noise", "0.07", "--image", folder / "none.png")
    assert refused.code == 3
    assert "none.png" in refused.err


@pytest.mark.usefixtures("short")
def test_a_violation_that_a_search_found_refutes_a_solve_and_another_networks_card_is_refused(
    run, folder: Path, photo: Path
) -> None:
    network = make(DnCNNConfig(depth=2, features=2, noise_range=(0.05, 0.05)))
    with torch.no_grad():
        network.kernels[-1].mul_(300)
    save(network, folder / "net")
    solve = ("solve", photo, "--operator", "identity", "--prior", "./net", "--noise", "0.05", "--require-certificate")
    assert run("certify", "prior", "./net", "--quick").code == 0
    outcome = run(*solve, "-o", folder / "out.png")
    assert outcome.code == 5, outcome.err
    other = make(DnCNNConfig(depth=2, features=2, noise_range=(0.05, 0.05)))
    save(other, folder / "other")
    (folder / "other" / "card.json").write_bytes((folder / "net" / "card.json").read_bytes())
    for command in (("certify", "prior", "./other"), (*solve[:5], "./other", *solve[6:], "-o", folder / "out.png")):
        refused = run(*command)
        assert refused.code == 3, refused.err
        assert "card.json: the card is of the network" in refused.err
        assert len([line for line in refused.err.splitlines() if "no CUDA device" not in line]) == 1


def test_certificates_read_as_tables(run) -> None:
    outcome = run("certify", "operator", "identity")
    assert "operator_norm" in outcome.out
    assert "forward_backward  proved" in outcome.out


def test_an_evaluation_is_skimages(run, folder: Path, photo: Path) -> None:
    """With the identity and no noise the result is the measurement: both figures can be had by hand."""
    (folder / "clean").mkdir()
    photo.rename(folder / "clean" / "photo.png")
    outcome = run("evaluate", "--data", "clean", "--operator", "blur:box=3", "--noise", "0.03", "--json", "--seed", 5)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    (row,) = document["images"]
    assert row["name"] == "photo.png"
    assert row["status"] == "converged"
    assert document["mean"]["psnr"] == row["psnr"] > row["psnr_input"]
    assert 0 < document["mean"]["ssim"] == row["ssim"] <= 1

    run("simulate", "clean/photo.png", "-o", "y.npy", "--operator", "blur:box=3", "--noise", "0.03", "--seed", 5)
    clean = np.asarray(Image.open("clean/photo.png"), float) / 255
    y = np.clip(np.load("y.npy").reshape(clean.shape) / 255, 0, 1)
    # the file holds integers, the evaluation does not round: half a grey level apart
    assert row["psnr_input"] == pytest.approx(peak_signal_noise_ratio(clean, y, data_range=1), abs=0.05)


def test_figures_are_those_of_skimage() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.random((2, 1, 3, 20, 24))
    psnr, ssim = figures(found, truth)
    assert psnr == pytest.approx(peak_signal_noise_ratio(truth[0], found[0], data_range=1))
    assert ssim == pytest.approx(structural_similarity(truth[0], found[0], data_range=1, channel_axis=0))


def test_a_valid_measurement_is_compared_with_the_part_that_it_shows(run, photo: Path) -> None:
    """With a point at the centre of an even, non-square kernel the measurement is that part of the image."""
    point = np.zeros((4, 5))
    point[2, 2] = 1
    np.save("point.npy", point)
    spec = "blur:psf=point.npy,boundary=valid"
    outcome = run("evaluate", "--data", photo, "--operator", spec, "--noise", "0", "--prior", "none", "--json")
    (row,) = json.loads(outcome.out)["images"]
    assert row["psnr_input"] > 100
    assert row["psnr"] > 60


def test_several_operators_have_a_mean_each(run, photo: Path) -> None:
    specs = ("--operator", "blur:box=1", "--operator", "blur:box=4,boundary=valid")
    document = json.loads(run("evaluate", "--data", photo, *specs, "--noise", "0.01", "--json").out)
    assert [entry["operator"] for entry in document["operators"]] == [specs[1], specs[3]]
    assert [row["operator"] for row in document["images"]] == [specs[1], specs[3]]
    means = [entry["mean"]["psnr"] for entry in document["operators"]]
    assert document["mean"]["psnr"] == pytest.approx(sum(means) / 2)


def test_an_evaluation_goes_on_past_a_bad_file_and_exits_with_8(run, folder: Path, photo: Path) -> None:
    (folder / "bad.png").write_bytes(b"nonsense")
    outcome = run("evaluate", "--data", photo, "--data", "bad.png", "--operator", "identity", "--noise", "0.1")
    assert outcome.code == 8
    assert "1 of 2 images failed" in outcome.err
    assert "mean" in outcome.out


def test_a_replay_is_identical_and_knows_its_inputs(run, measured: Path) -> None:
    run("solve", measured, "-o", "sharp.png", *BLUR)
    outcome = run("replay", "sharp.png.run.json")
    assert outcome.code == 0, outcome.err
    assert "identical to the recorded result" in outcome.out
    again = json.loads(run("replay", "sharp.png.run.json", "-o", "again.png", "--json").out)
    assert again["identical"] is True
    assert Path("again.png").read_bytes() == Path("sharp.png").read_bytes()

    np.save("kernel.npy", np.eye(3))
    changed = run("replay", "sharp.png.run.json")
    assert changed.code == 4
    assert "the operator has changed since the run" in changed.err


@pytest.mark.slow
def test_an_altered_output_is_not_called_identical(run, measured: Path) -> None:
    """A pixel, the size, the bytes alone, the whole file, and no file."""
    run("solve", measured, "-o", "sharp.png", *BLUR)
    good = Path("sharp.png").read_bytes()
    pixels = np.asarray(Image.open("sharp.png")).copy()

    def replayed(said: str, state: str) -> None:
        text = run("replay", "sharp.png.run.json").out
        assert said in text
        found = json.loads(run("replay", "sharp.png.run.json", "--json").out)
        assert found["recorded_outputs"] == [{"path": "sharp.png", "state": state}]
        assert found["result_identical"] is True
        assert found["identical"] is (state not in ("other pixels", "unreadable"))
        assert ("but a recorded output was altered" in text) is not found["identical"]

    pixels[3, 4] ^= 1
    Image.fromarray(pixels).save("sharp.png")
    replayed("sharp.png: the recorded output was altered (SHA-256 ", "other pixels")
    assert f"1 of its {pixels.size} values differ" in run("replay", "sharp.png.run.json").out
    Image.fromarray(pixels[1:]).save("sharp.png")
    replayed(f"it has 1 x 1 x {pixels.shape[0] - 1} x {pixels.shape[1]} values", "other pixels")
    pixels[3, 4] ^= 1
    Image.fromarray(pixels).save("sharp.png", compress_level=0)
    replayed("but its pixels are those of the run", "same pixels")
    Path("sharp.png").write_bytes(good[:60])
    replayed("was altered and cannot be read", "unreadable")
    Path("sharp.png").unlink()
    replayed("the recorded output is not there, so it was not checked", "absent")


def test_of_several_frames_the_altered_one_is_named(run, folder: Path) -> None:
    frames = np.random.default_rng(0).random((3, 16, 20), dtype=np.float32)
    np.save("frames.npy", frames)
    solved = run("solve", "frames.npy", "-o", "out.png", "--operator", "identity", "--prior", "tv:weight=0.1")
    assert solved.code == 0, solved.err
    pixels = np.asarray(Image.open("out_0002.png")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save("out_0002.png")
    found = json.loads(run("replay", "out.png.run.json", "--json").out)
    assert [each["state"] for each in found["recorded_outputs"]] == ["unchanged", "other pixels", "unchanged"]


def test_a_record_may_be_moved_with_its_inputs(
    run, folder: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("solve", measured, "-o", "sharp.png", *BLUR)
    (folder / "elsewhere").mkdir()
    for name in ("measured.png", "kernel.npy", "sharp.png.run.json"):
        (folder / name).rename(folder / "elsewhere" / name)
    monkeypatch.chdir("/")
    assert "identical" in run("replay", folder / "elsewhere" / "sharp.png.run.json").out


def test_an_input_that_has_moved_is_found_by_its_hash(run, folder: Path, measured: Path) -> None:
    run("solve", measured, "-o", "sharp.png", *BLUR)
    (folder / "archive").mkdir()
    measured.rename(folder / "archive" / "other name.png")
    lost = run("replay", "sharp.png.run.json")
    assert lost.code == 3
    assert "recon replay RUN.json INPUT" in lost.err
    assert run("replay", "sharp.png.run.json", "archive").code == 0


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense", '{"schema": 99, "config": {}, "inputs": []}'])
def test_a_record_that_is_none_exits_with_3(run, folder: Path, content: str) -> None:
    Path("r.json").write_text(content)
    outcome = run("replay", "r.json")
    assert outcome.code == 3
    assert "r.json" in outcome.err


def test_an_evaluation_of_nothing_exits_with_3(run, folder: Path) -> None:
    outcome = run("evaluate", "--data", "nowhere", "--operator", "identity", "--noise", "0.01")
    assert outcome.code == 3
    assert "nowhere: there is no such file or folder" in outcome.err
    assert not outcome.out


def test_an_evaluation_in_which_all_failed_has_no_means(run, folder: Path) -> None:
    Path("bad.png").write_bytes(b"nonsense")
    outcome = run("evaluate", "--data", "bad.png", "--operator", "identity", "--noise", "0.01")
    assert outcome.code == 8
    assert "1 of 1 images failed, so there are no means" in outcome.err
