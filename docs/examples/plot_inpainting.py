"""
Fill in missing pixels
======================

Two fifths of the pixels of a photograph, with noise; total variation, wavelets and the default prior fill in the rest.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import io

import recon

image = io.imread(Path("../../data/photographs/camera.png"))[48:208, 144:304].astype("float32") / 255
random = np.random.default_rng(0)
mask = random.random(image.shape) < 0.4
measured = np.where(mask, image + 0.01 * random.standard_normal(image.shape, dtype="float32"), 0).astype("float32")

# %%
# The data term has a resolvent in closed form here, so any step size converges.

results = {}
for prior in ("tv", "wavelet:shifts=4", None):
    run = recon.reconstruct(measured, recon.inpaint(mask), prior, noise=0.01, range=(0, 1))
    results[prior or "default prior"] = run
    print(f"{prior or 'default prior'}: {run.result.plan.method.name}, {run.status}, {run.steps} steps")

# %%

pictures = {"measurement": measured, **{name: run.image for name, run in results.items()}}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
for panel, (name, picture) in zip(axes, pictures.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    error = -10 * np.log10(np.mean((picture - image) ** 2))
    panel.set_title(f"{name}, {error:.1f} dB")
    panel.axis("off")
plt.show()
