"""
Partly sampled k-space
======================

Two fifths of the lines of k-space of an MR slice. Priors of complex images are total variation and wavelets.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import recon
from recon.operators import CartesianMRI

image = recon.io.read(Path("../../data/mr/studyforrest_t1.dcm")).pixels[0, 0].astype("float32")
image /= image.max()
random = np.random.default_rng(0)
lines = random.random(image.shape[0]) < 0.35
middle = image.shape[0] // 2
lines[middle - 16 : middle + 16] = True
mask = np.repeat(lines[:, None], image.shape[1], axis=1)
print(f"{mask.mean():.0%} of k-space")

# %%

operator = CartesianMRI(torch.from_numpy(mask))
clean = operator.A(torch.from_numpy(image).to(torch.complex64)[None, None])[0, 0].numpy()
noise = 0.01 * (random.standard_normal(image.shape) + 1j * random.standard_normal(image.shape))
measured = np.where(mask, clean + noise, 0).astype("complex64")

# %%
# The noise is in the units of k-space, for the real and for the imaginary part.

results = {}
for prior in ("tv", "wavelet:shifts=4"):
    run = recon.reconstruct(measured, recon.mri(mask), prior, noise=0.01)
    results[prior] = np.abs(run.image)
    print(f"{prior}: {run.result.plan.method.name}, {run.status}, {run.steps} steps")
zero_filled = operator.A_adjoint(torch.from_numpy(measured)[None, None])[0, 0].abs().numpy()

# %%

figure, axes = plt.subplots(1, 4, figsize=(10, 3.1), layout="constrained")
axes[0].imshow(np.log10(np.abs(measured) + 1e-3), cmap="gray")
axes[0].set_title("k-space, logarithm")
for panel, (name, picture) in zip(axes[1:], {"zero-filled": zero_filled, **results}.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=0.9)
    panel.set_title(f"{name}, {-10 * np.log10(np.mean((picture - image) ** 2)):.1f} dB")
for panel in axes:
    panel.axis("off")
plt.show()
