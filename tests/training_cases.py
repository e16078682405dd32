"""Small recipes and images for tests of the training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recon.priors.networks import ConvexRidgeConfig, DnCNNConfig
from recon.training import DataConfig, Patches, PenaltyConfig, Recipe, TrainingConfig, ValidationConfig

NOISE = (0.1, 0.1)
RIDGE = ConvexRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=NOISE)
FREE = DnCNNConfig(features=6, depth=3)

TOML = """
[network]
family = "DnCNN"
features = 4
depth = 3
[data]
patch = 12
[training]
noise = 0.1
batch = 4
steps = 12
learning_rate = 0.005
[penalty]
weight = 0.01
start = 3
applications = 2
[validation]
every = 100
images = 2
crop = 24
"""


def recipe(network=FREE, steps=12, penalty=0.0, **training):
    settings = {"noise": NOISE, "batch": 4, "steps": steps, "learning_rate": 5e-3, "ema": 0.9, **training}
    return Recipe(
        network,
        DataConfig(patch=12),
        TrainingConfig(**settings),
        PenaltyConfig(weight=penalty, start=2, applications=3),
        ValidationConfig(every=8, images=2, crop=24),
    )


def scene(seed=0, side=40):
    """Piecewise constant, as photographs are in the small: a few rectangles, uint8."""
    draw = np.random.default_rng(seed)
    pixels = np.full((side, side), 100, np.uint8)
    for _ in range(8):
        top, left = draw.integers(0, side - 8, 2)
        pixels[top : top + draw.integers(6, 20), left : left + draw.integers(6, 20)] = draw.integers(20, 235)
    return pixels


def patches(count=4, side=12):
    return Patches(tuple(scene(seed)[None, None] for seed in range(count)), side, augment=True)


def write_scenes(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir()
    for seed in range(first, first + count):
        Image.fromarray(scene(seed)).save(folder / f"{seed:03}.png")
    return folder


def with_data(given: Recipe, **values) -> Recipe:
    return replace(given, data=replace(given.data, **values))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
