"""
Deblur a photograph
===================

A photograph blurred by a measured camera shake, restored by total variation and by the default prior, a packaged
network that is proved to be a proximity operator.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import io

import recon

DATA = Path("../../data")

photo = io.imread(DATA / "photographs/camera.png")[32:224, 128:320].astype("float32") / 255
psf = np.load(DATA / "kernels/levin09_1.npy")
blurred = recon.blur(psf).on(photo.shape).A(torch.from_numpy(photo)[None, None])[0, 0].numpy()
measured = blurred + 0.01 * np.random.default_rng(0).standard_normal(photo.shape, dtype="float32")

# %%
# The operator is the blur; prior, weight, method and step size follow from it and from the noise.

results = {
    "total variation": recon.reconstruct(measured, recon.blur(psf), "tv", noise=0.01, range=(0, 1)),
    "default prior": recon.reconstruct(measured, recon.blur(psf), noise=0.01, range=(0, 1)),
}
for name, result in results.items():
    print(f"{name}: {result.status}, {result.steps} steps, distance to the limit {result.distance.relative:.1e}")

# %%
# The certificate of the second run names the theorem, and the evidence of each of its conditions.

print(results["default prior"].certificate)

# %%


def psnr(image: np.ndarray) -> float:
    return -10 * np.log10(np.mean((image - photo) ** 2))


pictures = {"measurement": measured, **{name: result.image for name, result in results.items()}, "truth": photo}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
for panel, (name, picture) in zip(axes, pictures.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    panel.set_title(name if name == "truth" else f"{name}, {psnr(picture):.1f} dB")
    panel.axis("off")
plt.show()
