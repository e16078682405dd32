"""The method that is chosen for each operator and prior, by planning a small run of each pair."""

import tempfile
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.front.arrays import as_image
from recon.io import Image, Projections
from recon.operators.tomography import read_geometry
from recon.priors.networks import LipschitzConfig, make, save
from recon.reconstruction.ct_input import checked_scan
from recon.reconstruction.plan import make_plan
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig

SIDE = 32

GEOMETRY = f"""
kind = "parallel"
angles = {{ start = 0, stop = 180, count = 12 }}
[detector]
pixels = 46
pitch = 1.0
[volume]
pixels = [{SIDE}, {SIDE}]
pitch = 1.0
"""

OPERATORS = {
    "`identity`": "identity",
    "`blur:...`": "blur:gaussian=1.6",
    "`blur:...,boundary=valid`": "blur:box=5,boundary=valid",
    "`downsample:...`": "downsample:factor=2",
    "`inpaint:...`": "inpaint:mask=mask.npy",
    "`mri:...`": "mri:mask=mask.npy",
    "`ct:...`": "ct:geometry.toml",
}

PRIORS = {
    "none stated": None,
    "`tv`": "tv",
    "`tv:low=0,high=1`": "tv:low=0,high=1",
    "`wavelet`": "wavelet",
    "`tikhonov:...`": "tikhonov:weight=0.01",
    "`model:...`": "model:proved-gray",
    "a network that is a single resolvent": "folder:network",
    "`python:...`": "python:mine.py:prior",
}

MINE = "import torch\ndef prior():\n    return lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1)\n"

NETWORK = LipschitzConfig(noise_range=(0.02, 0.1), features=4, depth=1)


def default_methods() -> str:
    """A table of Markdown: operators by priors, the default method in each cell."""
    lines = [["", *PRIORS], ["---"] * (len(PRIORS) + 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "geometry.toml").write_text(GEOMETRY, encoding="utf-8")
        (folder / "mine.py").write_text(MINE, encoding="utf-8")
        save(make(NETWORK), folder / "network")
        np.save(folder / "mask.npy", np.random.default_rng(0).random((SIDE, SIDE)) < 0.5)
        for label, operator in OPERATORS.items():
            lines.append([label, *(_method(operator, prior, folder) for prior in PRIORS.values())])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _method(operator: str, prior: str | None, folder: Path) -> str:
    """The name of the method, or a dash where the pair is refused."""
    config = SolveConfig(
        parse_spec(operator, "operator", str(folder)),
        None if prior is None else parse_spec(prior, "prior", str(folder)),
        noise=Noise(0.01),
        range=None if operator.startswith("ct") else (0.0, 1.0),
        device="cpu",
    )
    try:
        plan = make_plan(config, _measurement(operator), lambda line: None)
    except ReconError:
        return "-"
    return f"`{plan.method.name}`"


def _measurement(operator: str) -> Image:
    pixels = np.random.default_rng(1).random((SIDE, SIDE)).astype(np.float32)
    if operator.startswith("mri"):
        return as_image(pixels.astype(np.complex64), (0.0, 1.0), None)
    if operator.startswith("ct"):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(GEOMETRY)
            file.flush()
            geometry = read_geometry(Path(file.name))
        config = SolveConfig(parse_spec(operator, "operator"), noise=Noise(0.01))
        return checked_scan(Projections(np.ones((1, 12, 46), np.float32)), "a scan", config, geometry, lambda s: None)
    return as_image(pixels, (0.0, 1.0), None)
