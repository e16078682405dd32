"""Inputs of one plan share its network and its operator, and each comes out as if it had been solved alone."""

import json
from pathlib import Path

import heaps
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from recon.batch import executors, work
from recon.errors import ReconError
from recon.priors.networks import ConvexRidgeConfig, DnCNNConfig, make, save
from recon.specs import networks, priors
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec, parse_spec

OF_THE_MOMENT = ("seconds", "peak_bytes", "ended")
TIMES = [f"{what}{kind}" for what in ("InstanceCreation", "Series", "Content") for kind in ("Date", "Time")]
POTENTIAL = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.02, 0.2), levels=3)
SINGLE = DnCNNConfig(features=4, depth=3, noise_range=(0.02, 0.2), conditioned=True)
CASES = {
    "total variation": (),
    "blur": ("--operator", "blur:gaussian=1"),
    "potential": ("--prior", "potential", "--operator", "blur:gaussian=1"),
    "single resolvent": ("--prior", "single", "--operator", "blur:gaussian=1"),
    "no prior": ("--prior", "none", "--method", "sirt", "--operator", "blur:gaussian=1"),
}

MARKS = {"single resolvent": pytest.mark.slow}  # each search for violations of it takes a second


@pytest.fixture
def inputs(folder: Path) -> Path:
    """A series of slices that differ in contrast, one of which is blank, and other files of three kinds and two sizes.

    The blank one has another spread than the others, on which step sizes depend.
    """
    torch.manual_seed(0)
    save(make(SINGLE), folder / "single")
    save(make(POTENTIAL), folder / "potential")
    made = heaps.slices(heaps.ct(), range(3))
    for k, factor in ((1, 0.0), (2, 0.25)):
        made[k].PixelData = (factor * made[k].pixel_array).astype(made[k].pixel_array.dtype).tobytes()
    heaps.save(made, folder / "in")
    draw = np.random.default_rng(0)
    for name, shape in {"a": (24, 24), "b": (24, 26), "c": (24, 24, 3)}.items():
        Image.fromarray(draw.integers(0, 255, shape, np.uint8)).save(folder / "in" / f"{name}.png")
    return folder / "in"


def results(out: Path) -> dict[str, object]:
    """What a batch wrote, but for what depends on the moment."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*.run.json")):
        document = json.loads(path.read_text())
        for key in OF_THE_MOMENT:
            del document[key]
        (document["first"] or {}).pop("seconds", None)  # the run for a guide
        if path.name.endswith(".dcm.run.json"):  # of a file with the time in it
            document["outputs"] = [entry["path"] for entry in document["outputs"]]
        found[str(path.relative_to(out))] = document
    for path in sorted(out.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        for keyword in TIMES:
            dataset.pop(keyword, None)
        found[str(path.relative_to(out))] = dataset
    return found


@pytest.mark.parametrize(
    "options", [pytest.param(each, id=name, marks=MARKS.get(name, ())) for name, each in CASES.items()]
)
def test_each_input_comes_out_as_if_it_were_alone(run, inputs: Path, monkeypatch, options) -> None:
    given = (*heaps.QUICK, "--noise", "0.03", "--iterations", 5, *options)
    work._shared.cache_clear()
    assert run("solve", inputs, "-o", "together", *given).code in (0, 8)
    together = work.do_task

    def alone(task, watch=None):
        work._shared.cache_clear()
        return together(task, watch)

    monkeypatch.setattr(work, "do_task", alone)
    assert run("solve", inputs, "-o", "alone", *given).code in (0, 8)
    found = results(Path("together"))
    assert len(found) >= 7
    assert found == results(Path("alone"))


def test_a_network_is_loaded_once_for_all_slices(run, inputs: Path, monkeypatch) -> None:
    loaded = []
    load = networks.load
    monkeypatch.setattr(networks, "load", lambda folder: loaded.append(folder) or load(folder))
    for file in inputs.glob("*.png"):
        file.unlink()
    work._shared.cache_clear()
    given = (*heaps.QUICK, "--prior", "single", "--noise", "0.03", "--iterations", 3)
    assert run("solve", inputs, "-o", "out", *given).code == 0
    assert len(loaded) == 2  # for the strength of the series, and for its slices


@pytest.fixture
def read() -> priors.PriorReader:
    return priors.PriorReader()


def test_a_network_is_kept_for_one_context(read, tmp_path: Path) -> None:
    save(make(POTENTIAL), tmp_path / "net")
    spec = Spec("folder", value=str(tmp_path / "net"))
    first = read(spec, PriorContext(0.05))
    assert read(Spec("folder", value=str(tmp_path / "net")), PriorContext(0.05)) is first
    other = read(spec, PriorContext(0.1))
    assert other.spec != first.spec
    assert read(spec, PriorContext(0.05)).spec == first.spec


def test_a_network_that_has_changed_is_loaded_again(read, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save(make(SINGLE), tmp_path / "net")
    spec, context, x = Spec("folder", value=str(tmp_path / "net")), PriorContext(0.05), torch.rand(1, 1, 12, 12)
    before = read(spec, context).prior.resolvent(1.0)(x)
    save(make(SINGLE), tmp_path / "net", overwrite=True)
    after = read(spec, context).prior.resolvent(1.0)(x)
    assert not torch.equal(before, after)
    assert torch.equal(after, priors.read_prior(spec, context).prior.resolvent(1.0)(x))
    for path in (tmp_path / "net").iterdir():
        path.unlink()
    (tmp_path / "net").rmdir()
    with pytest.raises(ReconError):
        read(spec, context)


def test_a_prior_of_the_user_is_made_anew_for_each_image(read, tmp_path: Path) -> None:
    """It may remember what it saw."""
    (tmp_path / "own.py").write_text(
        "def make():\n    seen = []\n    return lambda x: seen.append(x) or x / len(seen)\n"
    )
    spec = parse_spec(f"python:{tmp_path}/own.py:make", "prior")
    x = torch.ones(1, 1, 4, 4)
    for _ in range(3):
        assert torch.equal(read(spec, PriorContext(0.05)).prior.resolvent(1.0)(x), x)


def test_workers_that_have_nothing_to_do_are_ended(monkeypatch) -> None:
    ended = []
    end = executors._end
    monkeypatch.setattr(executors, "_end", lambda pool: ended.append(len(pool._processes)) or end(pool))
    assert list(executors.in_processes(iter(()), 3, count=2)) == []
    assert ended == [2]  # no more were started than there are tasks
