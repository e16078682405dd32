"""Every benchmark runs, at a toy size: its figures are worth nothing here, its comparisons of results are."""

import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import forks
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from recon.operators import Detector, Geometry, Volume, evenly_spaced
from recon.operators.tomography import Tomography, read_geometry
from recon.priors.networks import (
    ConvexCriticConfig,
    ConvexRidgeConfig,
    DnCNNConfig,
    GuidedRidgeConfig,
    LipschitzConfig,
    UnrolledConfig,
    make,
    make_convex_critic,
    make_unrolled,
    save,
)
from recon.training import read_recipe

FOLDER = Path(__file__).resolve().parent / "benchmarks"
ROOT = FOLDER.parents[1]
HELPERS = {"timing", "peers", "lifting"}
KEPT = {"deblurring, tv", "deblurring, wavelets", "denoising, tv", "60 views, tv"}

Load = Callable[..., ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """A benchmark by name, with other values of its constants; none is left loaded."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def loaded(name: str, **constants: object) -> ModuleType:
        module = __import__(name)
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        return module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers, as in the benchmarks themselves
        yield loaded
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def compared(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, dict]:
    """What a comparison with peers prints with ``--json``, and that it prints a table without."""
    found: list[dict] = []
    monkeypatch.setattr(sys, "argv", [module.__name__, "--json"])
    module.report(lambda: found.append(module.run()) or found[0], module.__doc__)
    assert json.loads(capsys.readouterr().out) == found[0]
    monkeypatch.setattr(sys, "argv", [module.__name__])
    module.report(lambda: found[0], module.__doc__)
    table = capsys.readouterr().out
    for name, case in found[0].items():
        assert name in table
        assert case["ours_s"] > 0 or "beyond torch" in name  # a difference of two times
        assert case["peers"]
        assert case["ratio"].keys() == case["peers"].keys()
    return found[0]


def test_every_benchmark_is_tried_here() -> None:
    text = Path(__file__).read_text()
    tried = set(re.findall(r'load\(\s*"(\w+)"', text))
    assert {path.stem for path in FOLDER.glob("*.py")} == tried | HELPERS


@pytest.mark.slow
def test_where_runs_stop_is_near_their_limit(load: Load, monkeypatch, capsys) -> None:
    stopping = load("stopping")
    monkeypatch.setattr(stopping, "CASES", tuple(case for case in stopping.CASES if case.name in KEPT))
    rows = stopping.main(["--side", "32", "--least", "300", "--json"])
    assert {row["case"] for row in rows} == KEPT
    assert capsys.readouterr().out.startswith("[")
    for row in rows:
        assert row["status"] == "converged"
        assert row["true"] <= 2e-3
        assert abs(row.get("db", 0.0)) <= 0.05
        assert row.get("hu", 0.0) <= 1.0
        assert row["case"] in stopping.line(row)


@pytest.mark.slow
def test_sensitivity(load: Load, monkeypatch, capsys) -> None:
    small = load("sensitivity", SIDE=32, VIEWS=6, WEIGHT=1.0, MEASURED=1, CASES=("tikhonov",))
    (case,) = compared(small, monkeypatch, capsys).values()
    assert case["perturbed_over_local"] <= 1.015
    assert case["certified_over_local"] >= 1 / 1.015
    monkeypatch.setattr(small, "VIEWS", 16)  # fewer have no noise level; the arms of total variation take long
    plan = small.of_slice()
    assert plan.problem.measurement.shape[-2] == 16
    assert plan.problem.weighted


def test_feedforward_bounds(load: Load, monkeypatch, capsys) -> None:
    pytest.importorskip("eclipse_nn", reason="the peer is not installed: pip install eclipse-nn")
    small = load("feedforward_bounds", CASES=(("gaussian", 10, 3),), POINTS=20)
    for case in compared(small, monkeypatch, capsys).values():
        bounds = case["bounds"]
        assert bounds["attack"] <= bounds["ours"] <= bounds["eclipse-nn"] * (1 + 1e-6)


def test_factorization(load: Load, monkeypatch, capsys) -> None:
    small = load("factorization", SIZE=16, LARGE=64, BATCH=2, ROUNDS=1, NOISY=16, ADAM_STEPS=5)
    monkeypatch.setattr(small.importlib.util, "find_spec", lambda name: None)  # which take seconds to import
    cases = compared(small, monkeypatch, capsys)
    assert len(cases) == 5
    assert sum("Adam" in case["peers"] for case in cases.values()) == 1


def test_archive(load: Load, capsys) -> None:
    """Ours codes an image of the repository in fewer bits than the peers that are installed."""
    (case,) = load("archive", SETS={"CT": ("ct",)}).main(["--most", "1", "--json"]).values()
    assert json.loads(capsys.readouterr().out)["CT"] == case
    ours = case["codecs"].pop("ours")
    assert all(ours["bits"] < peer["bits"] for peer in case["codecs"].values())


def test_blur(load: Load, monkeypatch, capsys) -> None:
    cases = compared(load("blur", SIZE=32, KERNEL=5, BATCH=2, ROUNDS=1), monkeypatch, capsys)
    assert cases.keys() == {"gradient", "resolvent"}


def test_driver(load: Load, monkeypatch, capsys) -> None:
    cases = compared(load("driver", SIZE=32, SMALL_SIZE=24, STEPS=10, ROUNDS=1), monkeypatch, capsys)
    assert len(cases) == 3


@pytest.mark.slow
def test_total_variation(load: Load, monkeypatch, capsys) -> None:
    """The two references agree to 1e-7 here too."""
    small = load("total_variation", SHAPE=(48, 48), LEVEL=1e-2, ROUNDS=1, BUDGET=60, REFERENCE_STEPS=(8000, 2000))
    (case,) = compared(small, monkeypatch, capsys).values()
    assert case["steps"]["ours"]
    assert {"deepinv PDCP, L12Prior", "deepinv FISTA, TVPrior"} <= case["steps"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_tomography(kind: str, load: Load, monkeypatch, capsys) -> None:
    """64 pixels are too few for an agreement within 2 % with a peer who samples otherwise."""
    volume = Volume((64, 64), 1.0)
    scan = {
        "parallel": Geometry("parallel", evenly_spaced(0, 180, 20), Detector(91, 1.0), volume),
        "fan": Geometry("fan", evenly_spaced(0, 360, 20), Detector(96, 2.0), volume, 125.0, 250.0),
    }[kind]
    small = load(
        "tomography", SIZE=64, VOLUME=volume, GEOMETRIES={kind: scan}, ROUNDS=1, SLOW_ROUNDS=1, TURN_S=0.0, BATCH=8,
        DEEPINV_TOLERANCE=0.1,
    )  # fmt: skip
    monkeypatch.setattr(small, "working_memory", lambda kind: 1.0)  # in a fresh process, of the whole size: below
    cases = compared(small, monkeypatch, capsys)
    assert set(cases) == {f"{kind}, {what}" for what in ("projection", "back-projection", "both", "a slice of 8")}
    assert all("deepinv Tomography" in case["peers"] for name, case in cases.items() if "a slice" not in name)


@pytest.mark.slow
def test_the_memory_of_tomography(load: Load) -> None:
    assert 0 <= load("tomography").working_memory("parallel") <= 150


@pytest.mark.slow
def test_ct_task(load: Load, monkeypatch, capsys) -> None:
    small = load(
        "ct_task", SIZE=64, VIEWS=40, PIXELS=91, LEVELS=(10.0, 15.0), ROUNDS=2,
        OUR_BUDGET_S=0.3, BUDGET_S=0.3, LONG_BUDGET_S=0.5, TARGETS={},
    )  # fmt: skip
    _tolerate(small, monkeypatch, 0.2)
    cases = compared(small, monkeypatch, capsys)
    assert cases.keys() >= {"to 10 dB", "the best image"}
    assert math.isfinite(cases["the best image"]["psnr_db"]["deepinv FISTA, TVPrior"])


def _tolerate(module: ModuleType, monkeypatch: pytest.MonkeyPatch, least: float) -> None:
    """Pixels of a few hundredths of the image are projected a little differently by everybody."""
    require = module.require_agreement
    monkeypatch.setattr(
        module,
        "require_agreement",
        lambda what, theirs, ours, at_most: require(what, theirs, ours, max(at_most, least)),
    )


@pytest.mark.slow
def test_training_step(load: Load, monkeypatch, capsys) -> None:
    small = load(
        "training_step", BATCH=2, SIDE=16, ROUNDS=1, LAYERS=("sll", "orthogonal"),
        FREE=DnCNNConfig(features=8, depth=4, noise_range=(0.01, 0.01)),
    )  # fmt: skip
    monkeypatch.setattr(small, "memory_mb", lambda weight: 1 + weight)  # in a fresh process, of the whole size: below
    cases = compared(small, monkeypatch, capsys)
    (penalised,) = (case for name, case in cases.items() if "Golub" in name)
    assert 0 < penalised["seen"]["ours"] <= 1.001
    assert penalised["memory_mb"].keys() == {"ours", "plain", "limit"}


def test_momentum(load: Load, monkeypatch, capsys) -> None:
    small = load("momentum", LAYERS=8, FEATURES=4, SIDE=16, ROUNDS=1)
    (case,) = compared(small, monkeypatch, capsys).values()
    assert case["kept_bytes"]["momentum"] < case["kept_bytes"]["checkpoint"] < case["kept_bytes"]["plain"]


@pytest.mark.slow
def test_the_memory_of_a_training_step(load: Load) -> None:
    assert load("training_step").memory_mb(0.0) > 0


def test_inference(load: Load, monkeypatch, capsys) -> None:
    small = load("inference", SIDE=40, ROUNDS=1)
    assert compared(small, monkeypatch, capsys).keys() == small.FAMILIES.keys()


@pytest.mark.slow
def test_dataloader(load: Load, monkeypatch, capsys) -> None:
    cases = compared(load("dataloader", IMAGES=3, SIDE=32, ROUNDS=1, CONTEXT=forks.CONTEXT), monkeypatch, capsys)
    (case,) = cases.values()
    assert case["difference"]["one worker"] == 0


@pytest.mark.slow
def test_startup(load: Load, monkeypatch, capsys) -> None:
    cases = compared(load("startup", ROUNDS=1, WARM_UP=0), monkeypatch, capsys)
    assert cases["recon --help"]["ours_s"] < cases["recon --help"]["peers"]["import deepinv"]


@pytest.mark.slow
def test_batch_overhead(load: Load, monkeypatch, capsys) -> None:
    small = load("batch_overhead", SLICES=3, SIDE=24, ROUNDS=1)
    cases = small.run()
    assert cases.keys() == {"imports", "one job", "2 jobs"}
    for name in ("one job", "2 jobs"):
        case = cases[name]
        assert 0 < case["solver_s"] < case["wall_s"]
        assert case["share"] == pytest.approx(1 - case["solver_s"] / case["wall_s"])
        assert case["cpu_s"] > cases["imports"]["cpu_s"] > 0
    assert cases["2 jobs"]["cpu_ratio"] > 1  # each process imports torch
    small.show(cases)
    table = capsys.readouterr().out
    assert "3 slices of 24 x 24" in table
    assert table.count("target") == 4
    monkeypatch.setattr(small, "run", lambda: cases)
    monkeypatch.setattr(sys, "argv", ["batch_overhead", "--json"])
    small.main()
    assert json.loads(capsys.readouterr().out) == cases


def test_tomography_gpu(load: Load, monkeypatch, capsys) -> None:
    """Without a GPU nothing is timed, and what no GPU is needed for is counted."""
    volume = Volume((32, 32), 1.0)
    scan = Geometry("parallel", evenly_spaced(0, 180, 12), Detector(47, 1.0), volume)
    small = load("tomography_gpu", SIZE=32, VOLUME=volume, VIEWS=12, BATCHES=(1,), ROUNDS=1, SCANS={"parallel": scan})
    looked_at = 32 * 32 * 12
    assert 2 * looked_at <= small.load_count(scan) <= 8 * looked_at
    assert small.phantom(2).shape == (2, 32, 32)
    if torch.cuda.is_available():
        assert set(compared(small, monkeypatch, capsys)) == {"parallel, batch 1"}
    else:
        assert small.run() == {}
        assert "CUDA" in capsys.readouterr().err


def test_inference_gpu(load: Load, capsys) -> None:
    """On the CPU, whose convolutions in bfloat16 some families refuse."""
    families = {
        "free": DnCNNConfig(features=4, depth=3),
        "layers": LipschitzConfig(features=4, depth=2),
        "potential": ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1)),
    }
    small = load("inference_gpu", SIDE=24, BATCHES=(1, 2), ROUNDS=1, PRODUCT=32, FAMILIES=families)
    cases = small.run("cpu")
    assert len(cases) == 1 + 2 * len(families)
    for name in families:
        assert cases[f"{name}, batch 2"]["float32"]["error"] <= 1e-6
    small.show(cases)
    assert "product of matrices" in capsys.readouterr().out


def test_gpu(load: Load, capsys, tmp_path: Path) -> None:
    """On the CPU, against itself in double precision; the training goes on from its checkpoint."""
    families = {"free": DnCNNConfig(features=4, depth=3), "layers": LipschitzConfig(features=4, depth=2)}
    load("inference_gpu", SIDE=24, ROUNDS=1, PRODUCT=32, FAMILIES=families)
    load("training_step", SIDE=16, BATCH=2)
    ridge = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.05, 0.05))
    small = load(
        "gpu", SIDE=32, VIEWS=20, BATCH=2, STEPS=10, NETWORKS=tuple(families), FAMILIES=families, RIDGE=ridge,
        PENALISED=DnCNNConfig(features=4, depth=3, noise_range=(0.01, 0.01)), RECIPE=tmp_path / "config.toml",
        WIDE={"mask_width": 6}, MINUTES=30.0,
    )  # fmt: skip
    (tmp_path / "config.toml").write_text(
        '[network]\nfamily = "GuidedRidge"\nwidths = [2, 4]\nsize = 3\nnoise_range = [0.05, 0.1]\nlevels = 2\n'
        "[data]\npatch = 16\n[training]\nbatch = 1\nsteps = 2\n[validation]\nimages = 1\ncrop = 24\n"
    )
    for name in ("training", "validation"):
        (tmp_path / name).mkdir()
        photograph = np.random.default_rng(len(name)).integers(0, 255, (40, 40), np.uint8)
        Image.fromarray(photograph).save(tmp_path / name / "a.png")
    options = ["--out", tmp_path / "out", "--data", tmp_path / "training", "--validation", tmp_path / "validation"]
    found = small.main([*map(str, options), "--json"])
    assert len(found["equality"]) == 4 + len(families) + 6
    assert all(0 <= value <= small.CLOSE for value in found["equality"].values())
    assert found["training"]["steps"] == 2
    assert found["speed"]["a training step"]["ratio"] > 0
    assert "CPU" in capsys.readouterr().err


def test_guided(load: Load, capsys, tmp_path: Path) -> None:
    small = load("guided", LEVELS=(25, 90), NOISES=(0.02,), FACTORS=(1.0, 2.0))
    torch.manual_seed(0)
    shared = {"widths": (2, 4), "size": 3, "noise_range": (0.05, 0.2), "levels": 2}
    save(make(GuidedRidgeConfig(mask_width=0, **shared)), tmp_path / "guided")
    save(make(ConvexRidgeConfig(**shared)), tmp_path / "plain")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 255, (40, 40, 3), np.uint8)).save(
            tmp_path / "data" / f"{name}.png"
        )
    folders = ["--model", str(tmp_path / "guided"), "--beside", str(tmp_path / "plain")]
    small.main([str(tmp_path / "data"), *folders, "--images", "2", "--side", "32"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["denoising, 25 on 255", "deblurring, noise 0.02"]


@pytest.mark.slow
def test_large_image(load: Load, capsys) -> None:
    """The mosaic is solved in tiles in a process of its own, whose memory and time are those that are printed."""
    toy = load("large_image", TILE=64)
    free = "from recon.reconstruction import memory; from recon.reconstruction.tiles import plan; "
    toy.SOLVE = f"{free}memory.PROGRAM = plan.PROGRAM = plan._STRIP_BYTES = 0; {toy.SOLVE}"
    arguments = ["--side", "150", "--noise", "8", "--memory", "1.2MiB", "--prior", "tv:weight=0.4,smoothing=0.05"]
    found = toy.main(arguments)
    assert found["tiles"] > 1
    assert found["seams"]["pairs"] >= found["tiles"] - 1
    assert found["cpu_s"] > 0.1
    assert 2**26 < found["peak_bytes"] < 2**34
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["tiles", "memory", "CPU", "seams"]
    assert "MISSES" in lines[1]  # nobody solves an image in 1.2 MiB, the program among it
    with pytest.raises(SystemExit, match="left with the code 2"):
        toy.main(["--side", "64", "--memory", "1GiB", "--prior", "nothing"])


def test_guided_time(load: Load, capsys, tmp_path: Path) -> None:
    small = load(
        "guided_time", PROBLEMS={"denoising": (("identity", 0.1),), "inpainting": (("inpaint:mask=half.npy", 0.1),)}
    )
    torch.manual_seed(0)
    shared = {"widths": (2, 4), "size": 3, "noise_range": (0.05, 0.2), "levels": 2}
    save(make(GuidedRidgeConfig(mask_width=0, **shared)), tmp_path / "guided")
    save(make(ConvexRidgeConfig(**shared)), tmp_path / "plain")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kind = f"{tmp_path / 'guided'},{tmp_path / 'plain'}"
    small.main([str(tmp_path / "a.png"), "--kind", kind, "--side", "24", "--reference"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["denoising, noise 0.1000", "inpainting, noise 0.1000"]
    assert all("CPU time" in line for line in lines)
    small.main([str(tmp_path / "a.png"), "--kind", kind, "--side", "24", "--only", "inpaint"], standalone_mode=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(r"steps \d+, (\d+) \(\1 to \1\) and \d+, CPU time", line), line
    assert all(float(line.partition("lost ")[2].partition(" dB")[0]) < 0.1 for line in lines)
    assert torch.equal(small.mirrored(torch.arange(6.0).view(1, 1, 2, 3), 4)[0, 0, 0], torch.tensor([0.0, 1, 2, 2]))


def test_learned_time(load: Load, capsys) -> None:
    toy = load("learned_time", NETWORK_CALLS=1)
    toy.CASES = {"a camera shake": tuple(replace(case, prior="tv") for case in toy.CASES["a camera shake"])}
    toy.deepinv = SimpleNamespace(models=SimpleNamespace(DRUNet=lambda **options: _Nothing()))
    found = toy.main(["--side", "24", "--distance", "0.01"])["a camera shake"]
    assert found["ours_steps"] == found["tv_steps"] > 1
    assert 0 < found["ratio"] < 100
    assert "steps in" in capsys.readouterr().out


class _Nothing(torch.nn.Module):
    """A network that takes nothing away."""

    def forward(self, x: torch.Tensor, noise: float) -> torch.Tensor:
        return x


@pytest.mark.slow
def test_interval_coverage(load: Load, capsys, tmp_path: Path) -> None:
    small = load("interval_coverage", SIDE=32, MOST=(10, 2))
    random = np.random.default_rng(0)
    for name in ("known", "other"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = random.integers(0, 255, (40, 40), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    small.main(
        ["--photographs", str(tmp_path / "known"), str(tmp_path / "other"), "--samples", "4"], standalone_mode=False
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["deblurring, noise 0.02", "half of the pixels"]
    assert all("10 calibrate, 2 tested; pixels " in line for line in lines)


def test_stepsizes(load: Load, capsys, tmp_path: Path) -> None:
    small = load("stepsizes", PROBLEMS={"identity": (0.05,)}, FACTORS=(1.0, 2.0), RELAXATIONS=(1.8,), LIMIT=60, MOST=40)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "a.png")
    small.main([str(tmp_path), "--prior", "tv", "--side", "24"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("tv, identity, noise 0.05: r 1.8 x1: ")
    near = [torch.ones(1), 2 * torch.ones(1), torch.ones(1), torch.ones(1)]
    assert small.steps_until_near(iter(near), torch.ones(1)) == 2
    assert small.steps_until_near(iter(near[2:]), torch.ones(1)) == 0


def test_volume_tv(load: Load, monkeypatch) -> None:
    small = load("volume_tv", PEER_SECONDS=5.0)
    assert small.compared((6, 16, 16))["ratio"]["scikit-image"] > 0
    inside, outside = (small._child((24, 16, 16), share) for share in (None, 0.5))
    assert inside["steps"] == outside["steps"]
    assert inside["distance"] == pytest.approx(outside["distance"])


@pytest.mark.slow
def test_uncertainty(load: Load, monkeypatch, capsys) -> None:
    small = load("uncertainty", SIDE=24, GRADIENTS={"blur": 40, "ct": 40}, OUR_BUDGET=200)
    cases = compared(small, monkeypatch, capsys)
    assert cases.keys() == {"blur", "ct"}
    for case in cases.values():
        assert case["peers"].keys() == {"deepinv ULA", "deepinv SK-ROCK"}
        assert all(0 <= share <= 1 for share in case["coverage"].values())


@pytest.mark.slow
def test_measurement_only(load: Load, capsys) -> None:
    """Trained for a few steps, with every loss, in half a minute: what is compared is another network each time."""
    short = load("measurement_only", NETWORK=DnCNNConfig(features=4, depth=3), BATCH=2, CT_BATCH=2, STRIDE=96)
    found = short.main(["--steps", "2", "--json"])
    assert json.loads(capsys.readouterr().out) == found
    denoising, tomography = found.values()
    assert denoising.keys() == set(short.DENOISING)
    assert tomography.keys() == set(short.TOMOGRAPHY)
    assert len(set(denoising.values())) == len(denoising)
    assert len(set(tomography.values())) == len(tomography)


def test_drift(load: Load, monkeypatch, capsys) -> None:
    drift = load("drift", SIDE=16)
    monkeypatch.setattr(sys, "argv", ["drift", "6"])
    drift.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(drift.catalogue.folders())
    assert all("from step 3 to 6" in line for line in lines)


@pytest.mark.slow
def test_measured(load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    """With the tooth seen in 7 views, and a sinogram made up in place of the challenge's."""
    small = load("measured", TOLERANCE=0.05, Volume=lambda pixels, pitch: Volume((64, 64), 8 * pitch))
    tooth = small.tooth()
    tooth = replace(tooth, geometry=replace(tooth.geometry, volume=Volume((64, 64), 8.0)), shown=None)
    few = {"all views": range(0, 181, 30), "every 8th": range(0, 181, 60)}
    monkeypatch.setattr(small, "tooth", lambda: replace(tooth, parts=few))
    monkeypatch.setattr(sys, "argv", ["measured", "--shared", str(tmp_path), "-o", str(tmp_path / "figure.png")])
    small.main()
    assert "HTC 2022: skipped" in capsys.readouterr().out
    (tmp_path / "htc2022_tb").mkdir()
    u = np.linspace(-1, 1, 560, dtype=np.float32)
    disc = np.sqrt(np.clip(0.25 - u**2, 0, None)) * np.ones((48, 1), np.float32)
    np.savez(tmp_path / "htc2022_tb" / "sinogram.npz", sinogram=disc, angles_deg=np.arange(0, 360, 7.5))
    small.main()
    out = capsys.readouterr().out
    assert all(f"  {part:<12} {method:<7}" in out for part in ("every 6th", "90 degrees") for method in ("FBP", "TV"))
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.slow
def test_mismatch_study(load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    small = load("mismatch_study", SIZE=16, VIEWS=8)
    monkeypatch.setattr(sys, "argv", ["mismatch_study", "--steps", "20", "-o", str(tmp_path / "figure.png")])
    small.main()
    assert "certified" not in capsys.readouterr().err
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.slow
def test_tables(load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "natural" / "tiny").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(tmp_path / "natural" / "tiny" / "one.png")
    cache, text = tmp_path / "tables.json", tmp_path / "TABLES.md"
    cache.write_text(json.dumps({"sparse-ct": {"60 1e5": {"a": {"FBP": 1.0, "TV": 9}, "b": {"FBP": 3.0}}}}))
    tables = load("tables", CACHE=cache, TEXT=text)
    monkeypatch.setattr(tables, "TABLES", {"tiny": lambda: tables.denoising(("natural/tiny",), (25,), 1)})
    monkeypatch.setattr(tables, "PLAIN", {1: ()})
    monkeypatch.setattr(sys, "argv", ["tables", str(tmp_path)])
    tables.main()
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    assert "| b | 3.0 | - |\n| mean | 2.0 | - |" in text.read_text()
    tables.main()
    assert capsys.readouterr().out == ""  # what is known is not done again


def test_compression(load: Load, capsys, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(make(DnCNNConfig(features=4, depth=3, noise_range=(0.1, 0.1))), tmp_path / "dense")
    small = load("compression", COUNT=2, PATCH=24, IMAGES=1, CROP=24)
    photo = str(ROOT / "data" / "photographs" / "camera.png")
    given = [str(tmp_path / "dense"), "--data", photo, "--validation", photo, "--sparsity", "0.5"]
    small.main.main(given, standalone_mode=False)
    assert "0.5: psnr" in capsys.readouterr().out
    small.main.main([*given, "--structured", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"dense", "0.5"}
    assert found["0.5"]["times_faster"] > 0


@pytest.mark.slow
def test_unrolled_ct(load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    module = load("unrolled_ct", METHODS={"FBP": {"method": "fbp"}})
    operator = Tomography(read_geometry(module.GEOMETRY))
    network = make_unrolled(UnrolledConfig(features=2, depth=2, steps=2, shape=(128, 128), noise_range=(0.2, 0.2)))
    network.settle(operator, float(operator.properties.norm.value))
    save(network, tmp_path / "run")
    slices = [str(ROOT / "data" / "ct" / "tcga_60-2715.dcm")]
    monkeypatch.setattr(sys, "argv", ["unrolled_ct", str(tmp_path / "run"), *slices])
    module.main()
    table = capsys.readouterr().out
    assert "FBP" in table
    assert "one polishing step of forward-backward with tv:low=0,weight=" in table
    assert "the mean of images that lie" in table


def test_unrolled_codes(load: Load, capsys, tmp_path: Path) -> None:
    """From a blur; the run is trained in no steps worth the name."""
    from recon.training import Images, prepare, read_recipe, train  # noqa: PLC0415  only here

    given = read_recipe(ROOT / "docs" / "recipes" / "unrolled-codes" / "deblurring.toml")
    network = replace(given.network, features=4, size=4)
    small = replace(
        given, network=network, data=replace(given.data, patch=24), training=replace(given.training, steps=1),
        unrolled=replace(given.unrolled, operator="blur:gaussian=1", steps=2),
        validation=replace(given.validation, images=1, crop=24),
    )  # fmt: skip
    image = ROOT / "data" / "photographs" / "camera.png"
    run = tmp_path / "run"
    other = image.with_name("cell.png")
    train(prepare(run, small, False), Images([other], [image]), run, torch.device("cpu"))
    load("unrolled_codes", FACTORS=(1.0,)).command.main([str(run), str(image)], standalone_mode=False)
    rows = [line.rsplit(maxsplit=4) for line in capsys.readouterr().out.splitlines()]
    found = {name: float(psnr) for name, psnr, *_ in rows}
    assert found.keys() == {"unrolled", "tv", "tv:weight * 1"}
    assert found["tv"] == pytest.approx(found["tv:weight * 1"], abs=0.2)
    assert 15 < found["unrolled"] < 40


@pytest.mark.slow
def test_sparse_ct(load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    """A slice of a quarter of the side, by the fast prior alone."""
    slice_ = pydicom.dcmread(ROOT / "data" / "ct" / "tcga_60-2695.dcm")
    slice_.PixelData = slice_.pixel_array[::4, ::4].tobytes()
    slice_.Rows = slice_.Columns = 128
    slice_.PixelSpacing = [2.2, 2.2]
    slice_.save_as(tmp_path / "small.dcm")
    cache = tmp_path / "tables.json"
    cache.write_text("{}")
    small = Path("data/ct/small.toml")
    sparse = load("sparse_ct", GEOMETRY=small, CACHE=cache, PRIORS={"FBP": ("--method", "fbp")})
    given = [str(tmp_path / "small.dcm"), "--views", "40"]
    sparse.main.main(given, standalone_mode=False)
    error = json.loads(cache.read_text())["sparse-ct"]["40 1e5"]["small"]["FBP"]
    assert 10 < error < 300
    assert f"{error:.1f} HU" in capsys.readouterr().out
    sparse.main.main(given, standalone_mode=False)
    assert capsys.readouterr().out == ""  # what is known is not done again


@pytest.mark.slow
@pytest.mark.parametrize("study", ["below", "step", "tseng", "contrast", "codes"])
def test_calibration(study: str, load: Load, monkeypatch, capsys, tmp_path: Path) -> None:
    few = {"NOISES": (0.02,), "FACTORS": (1.0,), "SHARES": (0.5,), "EXPONENTS": (1.5,), "RATIOS": (0.5,)}
    calibration = load("calibration", STEPS=3, CODED_STEPS=3, CODED_NOISES=(0.02,), CODED_PARTS=(1.0,), **few)
    monkeypatch.setattr(calibration, "PARTS", (calibration.INSIDE_TSENG,))
    save(make(DnCNNConfig(features=4, depth=3, noise_range=(0.02, 0.1))), tmp_path / "single")
    model = ["--model", str(tmp_path / "single")] if study in ("step", "tseng") else []
    calibration.command.main(
        [study, str(ROOT / "data" / "photographs" / "camera.png"), *model, "--images", "1", "--side", "32"],
        standalone_mode=False,
    )
    assert capsys.readouterr().out.count("*") >= 1  # what recon does by itself is among what is tried


@pytest.mark.slow
def test_lifting_prior(load: Load, capsys, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    study = load("lifting_prior", SIDE=32, LEVELS=(25,), WEIGHTS=(0.8,), WAVELETS=("haar",))
    study.main(str(tmp_path))
    head, names, row, last = capsys.readouterr().out.splitlines()
    assert float(last.removeprefix("CPU time of lifting over proved-gray: ")) > 0
    assert head == "1 crops of 32 x 32"
    assert names.split() == ["noise", "noisy", "wavelets", "tv", "lifting", "proved-gray"]
    level, noisy, *found = (float(each) for each in row.split())
    assert (level, round(noisy)) == (25, 20)
    assert all(5 < each < 25 for each in found)


def test_learned_steps(load: Load, monkeypatch, capsys) -> None:
    from recon.training import steps  # noqa: PLC0415  only here

    monkeypatch.setattr(steps, "LONG_RUN", 200)
    monkeypatch.setattr(steps, "SOLVED", 60)
    toy = {"PATCH": 16, "POOL": 2, "BATCH": 2, "STEPS": 4, "HELD_OUT": 1, "LAYERS": 2, "LISTA_STEPS": 2, "COUNTS": (3,)}
    toy |= {"LONG_RUN": 200, "METRIC": (3, 6), "METRIC_PATCH": 20, "METRIC_LEARNING": 8}
    small = load("learned_steps", **toy)
    monkeypatch.setattr(sys, "argv", ["learned_steps", "--json"])
    small.main()
    found = json.loads(capsys.readouterr().out)
    assert len(found["T = 3"]["factors"]) == 3
    assert len(found["lista"]["layers"]) == 2
    assert found["metric"]["diagonal, 3"] < found["metric"]["ISTA, 3"]
    if found["celer"] is not None:
        for case in found["celer"].values():
            assert case["ours"] == pytest.approx(case["celer"], rel=1e-6)
    monkeypatch.setattr(small, "run", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["learned_steps"])
    small.main()
    assert "worst ratio" in capsys.readouterr().out


@pytest.mark.slow
def test_critic(load: Load, monkeypatch, capsys) -> None:
    """Also without the peer, which is said."""
    small = load("critic", STEPS=3, BATCH=3, HELD_OUT=12, POINTS=30, ASCENT=2)
    monkeypatch.setattr(sys, "argv", ["critic", "--json"])
    small.main()
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert ("without the peer" in printed.err) == (small.PEER not in found)
    for each in found.values():
        assert 0 < each["largest_gradient"] <= 1 + 1e-4
        assert each["auroc"].keys() == {"stripes", "noise", "ripples"}
    assert found["ours"]["largest_gradient"] <= found["ours"]["proved_norm"] <= 1
    monkeypatch.setattr(small, "run", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["critic"])
    small.main()
    assert "proved at most 0.99999" in capsys.readouterr().out


@pytest.mark.slow
def test_convex_critic(load: Load, tmp_path, monkeypatch, capsys) -> None:
    """With a critic as training begins with, and total variation beside it."""
    geometry = tmp_path / "scan.toml"
    geometry.write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 8, endpoint = false }\n'
        "[detector]\npixels = 24\npitch = 17.6\n[volume]\npixels = [16, 16]\npitch = 17.6\n"
    )
    (tmp_path / "config.toml").write_text(
        '[network]\nfamily = "ConvexCritic"\nfeatures = 8\nsize = 3\nhidden = 2\n'
        '[data]\npatch = 16\nshrink = 32\nscale = "attenuation"\nrange = [0, 0.08142]\n[validation]\ncrop = 16\n'
        f'[equilibrium]\noperator = "ct:{geometry}"\n[training]\nmode = "single"\nnoise = 0.2456\n'
    )
    network = read_recipe(tmp_path / "config.toml").network
    assert isinstance(network, ConvexCriticConfig)
    save(make_convex_critic(network), tmp_path)
    small = load("convex_critic", ITERATIONS=10, PRIORS={"TV": "tv:low=0", "convex critic": "folder:{critic}"})
    monkeypatch.setattr(sys, "argv", ["convex_critic", str(tmp_path), "--json", "--tuned", "1", "--images", "2"])
    small.main()
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["FBP", "TV, rule", "TV, tuned", "convex critic, rule", "convex critic, tuned"]
    assert all(0 < each["psnr"] < 60 and each["hu"] > 0 for each in found.values())
    monkeypatch.setattr(small, "run", lambda *_: found.items())
    monkeypatch.setattr(sys, "argv", ["convex_critic", str(tmp_path)])
    small.main()
    assert "weight times" in capsys.readouterr().out
