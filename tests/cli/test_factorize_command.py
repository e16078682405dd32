"""The command ``recon factorize``, and solves with what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def matrices(folder: Path) -> Path:
    hadamard = np.ones((1, 1))
    while len(hadamard) < 64:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]]) / np.sqrt(2)
    rng = np.random.default_rng(0)
    np.save(folder / "hadamard.npy", hadamard)
    np.save(folder / "calibrated.npy", hadamard + 0.02 / 8 * rng.standard_normal((64, 64)))
    np.save(folder / "fourier.npy", np.fft.fft(np.eye(64), norm="ortho"))
    np.save(folder / "noise.npy", rng.standard_normal((60, 60)))
    np.save(folder / "nan.npy", np.full((4, 4), np.nan))
    np.save(folder / "scene.npy", rng.random((8, 8)))
    return folder


def test_the_factors_are_written_drawn_and_told(run, matrices: Path):
    outcome = run("factorize", "hadamard.npy", "-o", "h.npz", "--figure", "h.svg")
    assert outcome.code == 0, outcome.err
    assert "exact: the product is the matrix up to rounding" in outcome.out
    assert "proved" in outcome.out
    assert "6, 768 numbers, 5.3 times fewer" in outcome.out
    assert (matrices / "h.svg").stat().st_size > 1000
    document = json.loads(run("factorize", "fourier.npy", "-o", "f.npz", "--json", "-q").out)
    assert document["status"] == "exact"
    assert document["error"] < 1e-13
    assert document["error_evidence"] == "proved"
    assert document["order"] == "columns in bit-reversed order"
    assert document["factors"][0]["support"] == [1, 2, 2, 32]
    assert document["factors"][-1]["kind"] == "permutation"


def test_a_measurement_is_solved_with_the_factors(run, matrices: Path):
    assert run("factorize", "hadamard.npy", "-o", "h.npz", "-q").code == 0
    simulated = run("simulate", "scene.npy", "-o", "y.npy", "--operator", "factors:h.npz", "--noise", "1e-4", "-q")
    assert simulated.code == 0, simulated.err
    for operator in ("factors:h.npz", "matrix:hadamard.npy"):
        solved = run("solve", "y.npy", "-o", "x.npy", "--operator", operator, "--prior", "tikhonov:weight=1e-6",
                     "--noise", "1e-4", "--overwrite", "-q")  # fmt: skip
        assert solved.code == 0, solved.err
        np.testing.assert_allclose(np.load(matrices / "x.npy"), np.load(matrices / "scene.npy"), atol=2e-3)


def test_patterns_of_0_and_1_are_factors_and_solve_as_their_matrix_does(run, matrices: Path):
    np.save("binary.npy", (np.sign(np.load("hadamard.npy")) > 0).astype(np.uint8))
    outcome = run("factorize", "binary.npy", "-o", "b.npz", "--figure", "b.png")
    assert outcome.code == 0, outcome.err
    assert "the constant 0.5 in all entries by one factor more" in outcome.out
    simulated = run("simulate", "scene.npy", "-o", "y.npy", "--operator", "factors:b.npz", "--noise", "1e-4", "-q")
    assert simulated.code == 0, simulated.err
    for name, operator in (("fast", "factors:b.npz"), ("dense", "matrix:binary.npy")):
        solved = run("solve", "y.npy", "-o", f"{name}.npy", "--operator", operator, "--prior", "none", "-q")
        assert solved.code == 0, solved.err
    np.testing.assert_allclose(np.load("fast.npy"), np.load("dense.npy"), atol=1e-4)
    np.testing.assert_allclose(np.load("fast.npy"), np.load("scene.npy"), atol=0.05)


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_factors_as_a_surrogate_enter_the_certificate_and_its_bound_holds(run, matrices: Path, noise: float):
    rng = np.random.default_rng(1)
    exact = np.load("hadamard.npy")
    np.save("calibrated.npy", exact + noise / 8 * rng.standard_normal((64, 64)))
    operator = ("--operator", "matrix:calibrated.npy")
    assert run("factorize", "calibrated.npy", "-o", "c.npz", "--tolerance", "0.5", "-q").code == 0
    assert run("simulate", "scene.npy", "-o", "y.npy", *operator, "--noise", "0.01", "-q").code == 0
    options = ("--prior", "tikhonov:weight=0.1", "--noise", "0.01", "--tolerance", "1e-6", "--range", "0:8")
    images = {}
    for name, extra in (("exact", ()), ("fast", ("--surrogate", "factors:c.npz"))):
        solved = run("solve", "y.npy", "-o", f"{name}.npy", *operator, *extra, *options, "--require-certificate", "-q")
        assert solved.code == 0, solved.err
        images[name] = np.load(f"{name}.npy").astype(np.float64)
    record = json.loads(Path("fast.npy.run.json").read_text())
    assert record["certificate"]["evidence"] == "proved"
    assert "Chouzenoux" in record["certificate"]["theorem"]
    apart = float(np.linalg.norm(images["fast"] - images["exact"])) / 8
    assert 1e-4 < apart <= record["error_bounds"][0]["value"]
    assert [each["role"] for each in record["inputs"]] == ["measurement", "operator", "surrogate"]


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (["noise.npy", "-o", "o.npz"], 5, "refused"),
        (["noise.npy", "-o", "o.npz", "--structure", "hierarchical"], 4, "power of two"),
        (["nan.npy", "-o", "o.npz"], 3, "16 of its 16 entries are NaN"),
        (["none.npy", "-o", "o.npz"], 3, "No such file"),
        (["scene.npy", "-o", "o.npy"], 2, "ends in .npz"),
        (["scene.npy", "-o", "nowhere/o.npz"], 7, "no folder"),
        (["scene.npy", "-o", "o.npz", "--figure", "o.txt"], 2, "figure is 'o.txt'"),
        (["scene.npy", "-o", "o.npz", "--tolerance", "much"], 2, "tolerance is 'much'"),
        (["scene.npy", "-o", "o.npz", "--tolerance", "2"], 2, "tolerance is 2"),
        (["scene.npy", "-o", "o.npz", "--structure", "fast"], 2, "'fast'"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(run, matrices: Path, arguments, code: int, fragment: str):
    outcome = run("factorize", *arguments)
    assert outcome.code == code
    assert fragment in outcome.err
    assert "Traceback" not in outcome.err
    assert not (matrices / "o.npz").exists()


@pytest.mark.parametrize(
    ("operator", "code", "fragment"),
    [
        ("factors:h.npz,measured=8x9", 2, "measured is '8x9'"),
        ("factors:hadamard.npy", 3, "no NPZ file"),
        ("matrix:noise.npy", 4, "60 rows and the measurement 8 x 8"),
        ("matrix", 2, "needs MATRIX.npy"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(run, matrices: Path, operator: str, code: int, fragment: str):
    assert run("factorize", "hadamard.npy", "-o", "h.npz", "-q").code == 0
    outcome = run("solve", "scene.npy", "-o", "x.npy", "--operator", operator, "--noise", "0.01", "--prior", "tv")
    assert outcome.code == code
    assert fragment in outcome.err
