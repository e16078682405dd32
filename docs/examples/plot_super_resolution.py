"""
Enlarge a small image
=====================

Averages over blocks of 3 x 3 pixels, enlarged by the operator ``downsample``, beside spline interpolation.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import zoom
from skimage import io

import recon
from recon.operators import Downsampling

photo = io.imread(Path("../../data/photographs/camera.png"))[48:240, 128:320].astype("float32") / 255
small = Downsampling(photo.shape, 3).A(torch.from_numpy(photo)[None, None])[0, 0].numpy()
small += 0.005 * np.random.default_rng(0).standard_normal(small.shape, dtype="float32")

# %%
# A specification names the operator, as on the command line.

run = recon.reconstruct(small, "downsample:factor=3", noise=0.005, range=(0, 1))
print(run)

# %%

pictures = {"measurement": small, "cubic spline": zoom(small, 3, order=3), "default prior": run.image, "truth": photo}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
for panel, (name, picture) in zip(axes, pictures.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    known = picture.shape == photo.shape and name != "truth"
    panel.set_title(f"{name}, {-10 * np.log10(np.mean((picture - photo) ** 2)):.1f} dB" if known else name)
    panel.axis("off")
plt.show()
