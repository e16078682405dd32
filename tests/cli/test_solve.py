"""recon solve: what is written, what is not, and what is said."""

import json
import re
import signal
import time
from pathlib import Path

import forks
import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from recon import io
from recon.certificates.lipschitz_search import LipschitzLowerBound
from recon.evidence import Measured
from recon.methods import network_search
from recon.priors.networks import ConvexRidgeConfig, make, save
from recon.reconstruction import run as chain

BLUR = ("--operator", "blur:psf=kernel.npy", "--noise", "0.01", "--device", "cpu")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_image_is_restored_and_its_run_recorded(run, photo: Path, measured: Path) -> None:
    outcome = run("solve", measured, "-o", "sharp.png", *BLUR)
    assert outcome.code == 0, outcome.err
    assert "sharp.png: converged after" in outcome.out
    assert re.search(r"method: \w+, prior: model:guided-gray.*weight=", outcome.out)
    assert "Proved, given the guide" in outcome.out
    assert "not claimed: " in outcome.out
    clean, blurred, sharp = (np.asarray(Image.open(p), float) for p in (photo, measured, "sharp.png"))
    assert np.linalg.norm(sharp - clean) < 0.7 * np.linalg.norm(blurred - clean)

    record = json.loads(Path("sharp.png.run.json").read_text())
    assert record["status"] == "converged"
    assert record["steps"] > 1
    assert record["certificate"]["holds"] is True
    assert record["config"]["operator"] == "blur:psf=kernel.npy"
    assert record["plan"]["prior"].startswith("model:guided-gray,weight=")
    assert {"recon", "torch", "python"} <= record["versions"].keys()
    assert [entry["role"] for entry in record["inputs"]] == ["measurement", "operator", "prior", "prior"]
    assert all(len(entry["sha256"]) == 64 for entry in record["inputs"])
    assert record["seconds"] >= 0
    assert record["peak_bytes"] > 10**6
    assert record["history"][-1]["step"] == record["steps"]


def test_the_default_prior_has_the_certificate_that_is_required(run, measured: Path) -> None:
    plain = run("solve", measured, "-o", "sharp.png", *BLUR, "--require-certificate")
    assert plain.code == 0, plain.err
    given = json.loads(Path("sharp.png.run.json").read_text())["certificate"]["given"]
    assert given["what"] == "the guide"
    assert "need not be nonexpansive" in given["not_claimed"]
    bound = run("solve", measured, "-o", "again.png", *BLUR, "--require-certificate", "--prior", "model:proved-gray")
    assert bound.code == 0, bound.err
    assert json.loads(Path("again.png.run.json").read_text())["certificate"].get("given") is None


def test_json_is_the_record_and_nothing_else_is_on_stdout(run, measured: Path) -> None:
    outcome = run("solve", measured, "-o", "sharp.png", *BLUR, "--json")
    assert json.loads(outcome.out)["status"] == json.loads(Path("sharp.png.run.json").read_text())["status"]


def test_quiet_says_nothing_and_verbose_says_more(run, measured: Path) -> None:
    quiet = run("solve", measured, "-o", "a.png", *BLUR, "-q", "--device", "auto")
    loud = run("solve", measured, "-o", "b.png", *BLUR, "-v")
    assert quiet.err == ""
    assert "condat_vu" in loud.err


def test_no_progress_is_drawn_without_a_terminal(run, measured: Path) -> None:
    assert "\r" not in run("solve", measured, "-o", "a.png", *BLUR).err


def test_a_dry_run_prints_the_plan_and_writes_nothing(run, folder: Path, measured: Path) -> None:
    before = files(folder)
    outcome = run("solve", measured, "-o", "sharp.png", *BLUR, "--dry-run", "--figure", "f.png")
    assert outcome.code == 0
    for word in ("operator", "adjoint", "step size", "memory", "sharp.png.run.json", "f.png", "Proved"):
        assert word in outcome.out
    assert files(folder) == before
    plan = json.loads(run("solve", measured, *BLUR, "--dry-run", "--json").out)
    assert plan["method"] == "condat_vu"
    assert plan["certificate"]["holds"] is True


def test_a_figure_is_drawn(run, measured: Path) -> None:
    assert run("solve", measured, "-o", "sharp.png", *BLUR, "--figure", "f.png").code == 0
    with Image.open("f.png") as figure:
        assert figure.size[0] > 500


@pytest.mark.parametrize("existing", ["sharp.png", "sharp.png.run.json", "f.png"])
def test_nothing_is_overwritten_unasked(run, folder: Path, measured: Path, existing: str) -> None:
    Path(existing).write_bytes(b"precious")
    before = files(folder)
    arguments = ("solve", measured, "-o", "sharp.png", *BLUR, "--figure", "f.png")
    outcome = run(*arguments)
    assert outcome.code == 7
    assert existing in outcome.err
    assert Path(existing).read_bytes() == b"precious"
    assert files(folder) == before
    assert run(*arguments, "--overwrite").code == 0
    assert Path(existing).read_bytes() != b"precious"


def no_solve(*_: object) -> None:
    raise AssertionError("the solver ran")


@pytest.mark.parametrize(
    ("figure", "fragment"),
    [
        ("sharp.png", "the figure and the result have one name"),
        ("./sharp.png", "the figure and the result have one name"),
        ("link.png", "the figure and the result have one name"),
        ("sharp.png.run.json", "no format of a figure"),
        ("measured.png", "one of the inputs"),
        ("psf.png", "one of the inputs"),
    ],
)
def test_a_figure_takes_no_other_files_place(
    run, measured: Path, monkeypatch: pytest.MonkeyPatch, figure: str, fragment: str
) -> None:
    folder = measured.parent
    Image.fromarray(np.full((3, 3), 200, np.uint8)).save("psf.png")
    Path("link.png").symlink_to("sharp.png")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()}
    monkeypatch.setattr(chain, "execute", no_solve)
    options = ("--operator", "blur:psf=psf.png", "--noise", "0.01", "--figure", figure)
    outcome = run("solve", measured, "-o", "sharp.png", *options, "--overwrite")
    assert outcome.code == 7
    assert fragment in outcome.err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()} == before


def test_a_figure_takes_no_frames_place(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite("stack.tif", np.zeros((3, 24, 20), np.uint8), photometric="minisblack")
    monkeypatch.setattr(chain, "execute", no_solve)
    options = ("--operator", "identity", "--noise", "0.01", "--figure", "x_0002.png", "--overwrite")
    outcome = run("solve", "stack.tif", "-o", "x.png", *options)
    assert outcome.code == 7, outcome.err
    assert "the figure and the result have one name" in outcome.err
    assert files(folder) == {"stack.tif"}


def test_an_existing_figure_is_refused_before_the_solve(run, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("f.png").write_bytes(b"precious")
    monkeypatch.setattr(chain, "execute", no_solve)
    outcome = run("solve", measured, "-o", "sharp.png", *BLUR, "--figure", "f.png")
    assert outcome.code == 7
    assert "f.png: the file exists" in outcome.err


@pytest.mark.parametrize("output", ["measured.png", "./measured.png", "kernel.npy"])
def test_an_input_is_never_replaced(run, measured: Path, output: str) -> None:
    before = Path(output).read_bytes()
    outcome = run("solve", measured, "-o", output, *BLUR, "--overwrite")
    assert outcome.code == 7
    assert Path(output).read_bytes() == before


@pytest.mark.parametrize(
    ("output", "fragment"),
    [("nowhere/x.png", "no folder"), ("x.gif", "names no format"), ("x.dcm", "DICOM CT holds HU"), ("x", "suffix")],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    run, folder: Path, measured: Path, output: str, fragment: str
) -> None:
    before = files(folder)
    outcome = run("solve", measured, "-o", output, *BLUR)
    assert outcome.code == 7
    assert fragment in outcome.err
    assert files(folder) == before


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nnonsense", b"GIF89a", None])
def test_an_input_that_is_none_exits_with_3(run, folder: Path, content: bytes | None) -> None:
    if content is not None:
        Path("bad.png").write_bytes(content)
    outcome = run("solve", "bad.png", "-o", "x.png", "--operator", "identity")
    assert outcome.code == 3
    assert "bad.png" in outcome.err
    assert "x.png" not in files(folder)


def test_a_mask_of_another_size_exits_with_4(run, measured: Path) -> None:
    np.save("mask.npy", np.ones((9, 9)))
    outcome = run("solve", measured, "-o", "x.png", "--operator", "inpaint:mask=mask.npy", "--noise", "0.01")
    assert outcome.code == 4
    assert "mask.npy: the mask is 9 x 9" in outcome.err


def test_a_divergence_exits_with_5_and_writes_nothing(run, folder: Path, measured: Path) -> None:
    before = files(folder)
    options = ("--prior", "none", "--method", "forward_backward", "--stepsize", "9")
    outcome = run("solve", measured, "-o", "x.png", *BLUR, *options)
    assert outcome.code == 5
    assert "diverged" in outcome.err
    assert files(folder) == before
    required = run("solve", measured, "-o", "x.png", *BLUR, *options, "--require-certificate")
    assert required.code == 5
    assert "step size" in required.err


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--stepsize", "1e9"), 2, "--stepsize is 1e9 with method 'condat_vu'; expected a number from "),
        (
            ("--stepsize", "1e9", "--method", "forward_backward", "--prior", "box"),
            5,
            "ended as diverged after 1000 steps",
        ),
        (("--stepsize", "abc"), 2, "stepsize is 'abc'; expected a number, as in 0.5 or 1e-3. See"),
        (("--iterations", "1.5"), 2, "iterations is '1.5'; expected a whole number, as in 500. See"),
        (
            ("--operator", "blur:gaussian=nan"),
            2,
            "gaussian is 'nan'; expected a finite number above 0 and at most 100.",
        ),
    ],
)
def test_a_number_that_is_none_or_far_off_is_refused(
    run, measured: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    before = files(measured.parent)
    outcome = run("solve", measured, "-o", "x.png", *BLUR, *options)
    assert outcome.code == code
    assert sentence in outcome.err
    assert files(measured.parent) == before


def test_a_series_is_numbered_by_the_places_of_its_slices(run, folder: Path) -> None:
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    Path("series").mkdir()
    for name, place in (("a", 8.0), ("b", -4.0), ("c", 2.0)):
        data.ImagePositionPatient = [0.0, 0.0, place]
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.save_as(f"series/{name}.dcm")
    outcome = run("solve", "series", "-o", "out", "--operator", "identity", "--prior", "none", "--iterations", 1)
    assert outcome.code == 0, outcome.err
    (made,) = (path for path in Path("out").iterdir() if path.is_dir())
    written = [pydicom.dcmread(path) for path in sorted(made.glob("*.dcm"))]
    assert [float(one.ImagePositionPatient[2]) for one in written] == [-4.0, 2.0, 8.0]


def test_a_device_that_is_absent_exits_with_6(run, measured: Path) -> None:
    outcome = run("solve", measured, "-o", "x.png", *BLUR, "--device", "cuda:99")
    assert outcome.code == 6
    assert "--device cuda:99" in outcome.err


def test_a_run_out_of_steps_is_written_and_says_so(run, measured: Path) -> None:
    outcome = run("solve", measured, "-o", "x.png", *BLUR, "--iterations", "3")
    assert outcome.code == 0
    assert "out of steps after 3 steps" in outcome.out
    record = json.loads(Path("x.png.run.json").read_text())
    assert record["status"] == "out of steps"
    assert record["distance"] == {"value": None, "relative": None, "evidence": "measured"} | {
        "how": "the run ended before it could be estimated"
    }
    advice = "ran out before the distance to the limit was within 0.002 of the image (not known); --iterations gives"
    assert outcome.err.count(advice) == 1
    assert advice not in run("solve", measured, "-o", "x.png", *BLUR, "--overwrite").err


def test_quiet_leaves_results_and_errors(run, measured: Path) -> None:
    outcome = run("solve", measured, "-o", "x.png", *BLUR, "--iterations", "3", "-q")
    assert "out of steps" in outcome.out
    assert not outcome.err
    assert "Print results and errors only." in " ".join(run("solve", "--help").out.split())


@pytest.mark.parametrize("stepsize", ["3", "2.1"])
def test_a_step_size_that_leaves_no_dual_step_is_named(run, folder: Path, measured: Path, stepsize: str) -> None:
    before = files(folder)
    options = ("--operator", "blur:box=3,boundary=valid", "--noise", "0.01", "--prior", "tv", "--stepsize", stepsize)
    outcome = run("solve", measured, "-o", "x.png", *options)
    assert outcome.code == 2
    assert f"stepsize is {stepsize} with method 'condat_vu'; expected a number in (0, " in outcome.err
    assert "dual_stepsize" not in outcome.err
    assert files(folder) == before


def test_a_batch_writes_what_it_can_and_exits_with_8(run, folder: Path, measured: Path) -> None:
    (folder / "in").mkdir()
    measured.rename(folder / "in" / "a.png")
    Path("in/b.png").write_bytes(b"nonsense")
    Path("in/notes.txt").write_text("not an image")
    outcome = run("solve", "in", "-o", "out", *BLUR)
    assert outcome.code == 8
    assert files(folder / "out") == {"a.png", "a.png.run.json", "batch.json"}
    table = outcome.out.splitlines()
    assert table[0].split()[:2] == ["input", "status"]
    assert [line.split()[1] for line in table[1:3]] == ["converged", "failed"]
    assert "1 of 2 inputs failed" in outcome.err
    again = run("solve", "in/*.png", "-o", "out", *BLUR, "--json", "--overwrite")
    assert [entry["status"] for entry in json.loads(again.out)] == ["converged", "failed"]


def test_a_batch_that_wrote_nothing_says_so(run, folder: Path) -> None:
    (folder / "in").mkdir()
    for name in ("a.png", "b.png"):
        Path("in", name).write_bytes(b"nonsense")
    outcome = run("solve", "in", "-o", "out", "--operator", "identity")
    assert outcome.code == 8
    assert "all 2 inputs failed and nothing is written" in outcome.err
    assert "the others" not in outcome.err


@pytest.mark.parametrize("given", ["in", "in/*.png"])
def test_a_folder_of_one_image_becomes_a_folder(run, folder: Path, measured: Path, given: str) -> None:
    (folder / "in").mkdir()
    measured.rename(folder / "in" / "a.png")
    options = ("--operator", "identity", "--prior", "none", "--device", "cpu")
    assert "would write: out" in run("solve", given, "-o", "out", *options, "--dry-run").out
    assert "out" not in files(folder)
    outcome = run("solve", given, "-o", "out", *options)
    assert outcome.code == 0, outcome.err
    assert files(folder / "out") == {"a.png", "a.png.run.json", "batch.json"}
    assert run("solve", given, "-o", "b.png", *options).code == 0
    assert Path("b.png").is_file()
    assert run("simulate", given, "-o", "made", "--operator", "identity", "--noise", "0.1").code == 0
    assert "a.png" in files(folder / "made")


def test_several_inputs_do_not_make_a_folder_named_like_an_image(run, folder: Path, measured: Path) -> None:
    (folder / "other.png").write_bytes(measured.read_bytes())
    before = files(folder)
    for command in ("solve", "simulate"):
        outcome = run(command, measured, "other.png", "-o", "out.png", "--operator", "identity", "--noise", "0.1")
        assert outcome.code == 2
        assert "out.png: 2 inputs are given and the output is named like one image" in outcome.err
    assert files(folder) == before


def test_several_inputs_of_one_name_are_refused(run, folder: Path, measured: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "measured.png").write_bytes(measured.read_bytes())
    outcome = run("solve", measured, "in/measured.png", "-o", "out", *BLUR)
    assert outcome.code == 7
    assert "would all be written to measured.png" in outcome.err


def test_a_configuration_file_is_used_and_recorded(run, measured: Path) -> None:
    Path("run.toml").write_text('operator = "blur:psf=kernel.npy"\nnoise = 0.01\niterations = 4\nprior = "none"\n')
    assert run("solve", measured, "-o", "x.png", "--config", "run.toml", "--iterations", "5").code == 0
    recorded = json.loads(Path("x.png.run.json").read_text())
    assert (recorded["config"]["iterations"], recorded["config"]["prior"]) == (5, "none")


def test_sixteen_bits_and_colours_come_back_as_they_were(run, folder: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (24, 20, 3)).astype(np.uint8)).save("rgb.png")
    Image.fromarray(rng.integers(0, 65535, (24, 20)).astype(np.uint16)).save("deep.png")
    np.save("float.npy", rng.random((24, 20)).astype(np.float32))
    for name in ("rgb.png", "deep.png", "float.npy"):
        assert run("solve", name, "-o", f"out-{name}", "--operator", "identity", "--prior", "none").code == 0
    for name in ("rgb.png", "deep.png"):
        np.testing.assert_array_equal(np.asarray(Image.open(name)), np.asarray(Image.open(f"out-{name}")))
    np.testing.assert_allclose(np.load("float.npy"), np.load("out-float.npy"), atol=1e-6)


def test_a_sidecar_speaks_for_the_operator_and_the_noise(run, photo: Path) -> None:
    run("simulate", photo, "-o", "y.png", "--operator", "blur:box=3", "--noise", "0.02")
    outcome = run("solve", "y.png", "-o", "x.png")
    assert outcome.code == 0, outcome.err
    assert "taken from y.png.simulate.json: operator blur:box=3, noise 0.02" in outcome.err
    stated = ("solve", "y.png", "-o", "x.png", "--operator", "blur:box=3", "--overwrite", "--dry-run")
    assert "y.png.simulate.json states the noise of the simulation, and is not read" in run(*stated).err
    assert "y.png.simulate.json" not in run(*stated, "--noise", "0.02").err


def test_a_sidecar_of_another_file_is_not_believed(run, photo: Path) -> None:
    for name, width in (("y.png", 3), ("z.png", 5)):
        run("simulate", photo, "-o", name, "--operator", f"blur:box={width}", "--noise", "0.02")
    Path("y.png").write_bytes(Path("z.png").read_bytes())
    refused = run("solve", "y.png", "-o", "x.png")
    assert refused.code == 4
    assert "y.png: its SHA-256 is " in refused.err
    assert "expected the file that was simulated, or --operator" in refused.err
    assert not Path("x.png").exists()
    told = run("solve", "y.png", "-o", "x.png", "--operator", "blur:box=5", "--noise", "0.02")
    assert told.code == 0, told.err


def test_a_measurement_may_be_renamed_with_its_sidecar(run, photo: Path) -> None:
    run("simulate", photo, "-o", "y.png", "--operator", "blur:box=3", "--noise", "0.02")
    Path("y.png").rename("w.png")
    Path("y.png.simulate.json").rename("w.png.simulate.json")
    assert run("solve", "w.png", "-o", "x.png").code == 0


def test_an_operator_whose_file_has_changed_is_not_taken_from_a_sidecar(run, photo: Path, kernel: Path) -> None:
    run("simulate", photo, "-o", "y.png", "--operator", "blur:psf=kernel.npy", "--noise", "0.02")
    np.save(kernel, np.ones((3, 3)))
    refused = run("solve", "y.png", "-o", "x.png")
    assert refused.code == 4
    assert "kernel.npy: the operator's file has changed since y.png.simulate.json was written" in refused.err


@pytest.mark.parametrize("change", [{"outputs": None}, {"outputs": [{}]}, {"outputs": []}, {"operator_files": [3]}])
def test_a_sidecar_without_a_hash_is_not_believed(run, photo: Path, change: dict[str, object]) -> None:
    run("simulate", photo, "-o", "y.png", "--operator", "blur:box=3", "--noise", "0.02")
    sidecar = Path("y.png.simulate.json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | change))
    refused = run("solve", "y.png", "-o", "x.png")
    assert refused.code in {3, 4}
    assert refused.err.count("\n") == 1


def test_a_surrogate_is_certified_only_with_its_shift(run, photo: Path) -> None:
    run("simulate", photo, "-o", "y.png", "--operator", "blur:box=5", "--noise", "0.001")
    pair = ("solve", "y.png", "-o", "x.png", "--operator", "blur:box=5", "--surrogate", "blur:box=9")
    options = ("--prior", "tikhonov:weight=0.01", "--require-certificate")
    refused = run(*pair, *options)
    assert refused.code == 5
    assert "cocoercive" in refused.err
    allowed = run(*pair, *options, "--shift", "auto")
    assert allowed.code == 0, allowed.err
    assert "Proved" in allowed.out


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(folder: Path, measured: Path) -> None:
    before = files(folder)
    command = ["solve", measured, "-o", "x.png", *BLUR, "--iterations", "100000000", "--tolerance", "0", "-v"]
    out, err, code = _interrupted([str(each) for each in command])
    assert code == 130
    assert out == ""
    assert "recon: interrupted" in err
    assert "Traceback" not in err
    assert files(folder) == before


def test_ctrl_c_keeps_the_last_iterate_on_request(run, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = chain.execute

    def interrupted(plan, watch, *more):
        def stop(step: int, steps: int, residual: float) -> None:
            raise KeyboardInterrupt

        return original(plan, stop, *more)

    monkeypatch.setattr(chain, "execute", interrupted)
    outcome = run("solve", measured, "-o", "x.png", *BLUR, "--keep-interrupted")
    assert outcome.code == 130
    assert "the last iterate is in x.png" in outcome.err
    assert json.loads(Path("x.png.run.json").read_text())["status"] == "interrupted"


def _interrupted(command: list[str]) -> tuple[str, str, int | None]:
    """Run a command that has no end, and press Ctrl-C once its plan is made."""
    with forks.Fork(forks.command, command) as job:
        while "condat_vu" not in job.said():  # said when the plan is made
            assert job.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=60)
    return out, err, job.returncode


@pytest.mark.parametrize(("prior", "inexact"), [("tv:weight=0.01", True), ("l1:weight=0.01", False)])
def test_a_backward_error_is_printed_and_recorded(run, measured: Path, prior: str, inexact: bool) -> None:
    given = ("--prior", prior, "--method", "forward_backward", "--iterations", 20)
    outcome = run("solve", measured, "-o", "out.png", *BLUR, *given)
    assert outcome.code == 0, outcome.err
    record = json.loads(Path("out.png.run.json").read_text())
    assert ("backward error, on the 0..1 scale: within" in outcome.out) == inexact
    assert ("weaker: " in outcome.out) == inexact
    assert len(record["backward_errors"]) == inexact
    assert (record["certificate"]["weaker"] is not None) == inexact
    assert all(0 < error["inner"] < error["distance"] < 1 for error in record["backward_errors"])
    table = run("certify", "operator", "identity", "--shape", "16,16", "--prior", prior)
    weaker = r"forward_backward  proved    .*; forward-backward splitting with errors of a fixed relative size"
    assert bool(re.search(weaker, table.out)) == inexact
    assert ("not established: the prior is evaluated exactly" in table.out) == inexact


LEVELS = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.02, 0.2), levels=3)


@pytest.mark.parametrize(("sigma", "outside"), [("0.4", True), ("0.1", False)])
def test_a_level_that_a_network_was_not_made_for_is_warned_of_and_recorded(
    run, photo: Path, sigma: str, outside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = torch.zeros(1, 1, 8, 8)
    found = LipschitzLowerBound(Measured(0.9, "a search that takes seconds"), small, small, "planted")
    monkeypatch.setattr(network_search, "hardest_of_network", lambda *_, **__: found)
    torch.manual_seed(0)
    save(make(LEVELS), "net")
    given = ("solve", photo, "--operator", "identity", "--prior", "./net", "--noise", sigma, "--device", "cpu")
    planned = run(*given, "--dry-run")
    assert planned.code == 0, planned.err
    solved = run(*given, "-o", "out.png")
    assert solved.code == 0, solved.err
    certified = run("certify", "prior", f"folder:net,sigma={sigma}")
    remarks = json.loads(Path("out.png.run.json").read_text())["certificate"]["remarks"]
    assert json.loads(run(*given, "--dry-run", "--json").out)["certificate"]["remarks"] == remarks
    assert json.loads(run("certify", "prior", f"folder:net,sigma={sigma}", "--json").out)["remarks"] == remarks
    said = "the noise level of the prior 0.4 is outside of the range 0.02 to 0.2"
    for text in (planned.out, solved.out, solved.err, certified.out):
        assert (said in text) == outside
    assert [(remark["value"], remark["low"], remark["high"]) for remark in remarks] == [(0.4, 0.02, 0.2)] * outside


@pytest.mark.parametrize("range_option", [(), ("--range", "0:255")], ids=["no range", "range"])
def test_a_complex_result_has_the_same_modulus_in_every_format(run, photo, range_option) -> None:
    """The grey values of a modulus that was scaled twice were 255 times too large in PNG and TIFF."""
    mask = np.zeros((40, 32), dtype=bool)
    mask[::2] = mask[14:26] = True
    np.save("lines.npy", mask)
    assert run("simulate", photo, "-o", "k.npy", "--operator", "mri:mask=lines.npy", "--noise", 0.01).code == 0
    (photo.parent / "k.npy.simulate.json").unlink()
    options = ("--operator", "mri:mask=lines.npy", "--noise", 0.01, "--prior", "tv", *range_option)
    found = {}
    for suffix in ("npy", "tif", "png"):
        outcome = run("solve", "k.npy", "-o", f"out.{suffix}", *options)
        assert outcome.code == 0, outcome.err
        if suffix == "png":
            black, white = re.search(r"Black is (\S+) and white is ([^ \n]+)\.", outcome.err).groups()
            grey = np.asarray(Image.open("out.png"), dtype=float) / 65535
            found[suffix] = float(black) + grey * (float(white) - float(black))
        else:
            found[suffix] = abs(io.read(photo.parent / f"out.{suffix}").pixels[0, 0])
    np.testing.assert_allclose(found["tif"], found["npy"], rtol=1e-6)
    clipped = np.clip(found["npy"], float(black), float(white))
    np.testing.assert_allclose(found["png"], clipped, atol=1e-4 * (float(white) - float(black)))
    assert abs(found["npy"].mean() - 100) < 30
