"""A small critic: its recipe, the folders that it learns from, and the trained one."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CRITIC = """
[network]
family = "Critic"
features = 36
bands = 1
heads = 4
pieces = 2
window = 16
stride = 8
[data]
patch = 40
[artefacts]
kinds = ["streaks", "rings"]
strength = [0.1, 0.3]
margin = 0.05
weight = 20.0
[training]
batch = 6
steps = 60
learning_rate = 0.02
ema = 0.9
clip = 0.0
[validation]
every = 30
images = 9
crop = 48
"""


def write_blobs(folder: Path, count: int, first: int = 0, side: int = 56) -> Path:
    """Smooth images with a little noise, in which a thin line is nothing usual."""
    folder.mkdir(parents=True)
    for index in range(first, first + count):
        draw = np.random.default_rng(index)
        smooth = ndimage.gaussian_filter(draw.normal(size=(side, side)), 8, mode="wrap")
        pixels = 120 + 40 * smooth / np.abs(smooth).max() + draw.normal(size=(side, side))
        Image.fromarray(np.rint(pixels).astype(np.uint8)).save(folder / f"{index:03}.png")
    return folder
