"""
Train a small denoiser
======================

A proximity operator of a learned convex potential, trained for a few seconds on one photograph. It is a resolvent by
construction, so the proof does not depend on the training.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import io

import recon
from recon.priors.networks import load
from recon.training import Images, parse_recipe, prepare, train

PHOTOGRAPHS = Path("../../data/photographs")

recipe = parse_recipe(
    """
    [network]
    family = "ConvexRidge"
    widths = [4, 8]
    size = 5
    noise_range = [0.1, 0.1]

    [training]
    steps = 60
    learning_rate = 0.02

    [validation]
    every = 20
    images = 1
    crop = 96
    """,
    "this example",
)

# %%
# The folder holds the network, its card, the log and the figures.

folder = Path(tempfile.mkdtemp()) / "run"
images = Images([PHOTOGRAPHS / "astronaut.png"], [PHOTOGRAPHS / "camera.png"])
outcome = train(prepare(folder, recipe, False, None), images, folder, torch.device("cpu"))
print(f"{outcome.step} steps, {outcome.seconds:.1f} s")
print(load(folder).lipschitz_Q(0.1))

# %%

photo = io.imread(PHOTOGRAPHS / "camera.png")[48:208, 144:304].astype("float32") / 255
noisy = photo + 0.1 * np.random.default_rng(0).standard_normal(photo.shape, dtype="float32")
pictures = {"noisy": noisy, "denoised": recon.denoiser(str(folder), noise=0.1)(noisy), "truth": photo}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for panel, (name, picture) in zip(axes, pictures.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    error = "" if name == "truth" else f", {-10 * np.log10(np.mean((picture - photo) ** 2)):.1f} dB"
    panel.set_title(name + error)
    panel.axis("off")
plt.show()
