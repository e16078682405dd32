"""
A volume from a cone beam
=========================

Forty views of a small phantom with the noise of counting: the method of Feldkamp, Davis and Kress (FDK), and total
variation in three dimensions.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import recon
from recon.operators import Tomography, read_geometry

CONE = Path("../../data/cone")
PHOTONS = 1e4

geometry = read_geometry(CONE / "geometry.toml")
phantom = np.load(CONE / "phantom.npy").astype("float32")
lines = Tomography(geometry).A(torch.from_numpy(phantom)[None, None])[0, 0].numpy()
counts = np.random.default_rng(0).poisson(PHOTONS * np.exp(-lines))
projections = -np.log(np.maximum(counts, 1) / PHOTONS).astype("float32")
print(projections.shape)

# %%
# A stack of views, (views, rows, columns).

views = projections if projections.shape[0] == len(geometry.angles) else projections.swapaxes(0, 1)
runs = {
    "FDK": recon.reconstruct(views, recon.ct(geometry), method="fbp"),
    "total variation": recon.reconstruct(views, recon.ct(geometry), photons=PHOTONS),
}
for name, run in runs.items():
    print(f"{name}: {run.status}, {run.steps} steps, volume {np.shape(run.image)}")

# %%

volumes = {"phantom": phantom, **{name: np.squeeze(run.image) for name, run in runs.items()}}
figure, axes = plt.subplots(2, 3, figsize=(8, 5), layout="constrained")
for column, (name, volume) in zip(axes.T, volumes.items()):
    column[0].imshow(volume[volume.shape[0] // 2], cmap="gray", vmin=0, vmax=phantom.max())
    column[0].set_title(name)
    column[1].imshow(volume[::-1, volume.shape[1] // 2], cmap="gray", vmin=0, vmax=phantom.max())
for panel in axes.flat:
    panel.axis("off")
plt.show()
