"""
Your own operator, and a wrong adjoint
======================================

An operator is two functions. Before the first step the second is checked to be the adjoint of the first, and a wrong
one is refused.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import io

import recon

photo = io.imread(Path("../../data/photographs/camera.png"))[64:192, 160:288].astype("float32") / 255

# %%
# A shutter that was open twice: the image and a copy 9 pixels to the right, half as bright.


def A(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.5 * x.roll(9, -1)) / 1.5


def A_adjoint(y: torch.Tensor) -> torch.Tensor:
    return (y + 0.5 * y.roll(-9, -1)) / 1.5


double = recon.operator(A, A_adjoint)
measured = A(torch.from_numpy(photo)[None, None])[0, 0].numpy()
measured = measured + 0.02 * np.random.default_rng(0).standard_normal(photo.shape, dtype="float32")
run = recon.reconstruct(measured, double, "tv", noise=0.02, range=(0, 1))
print(run)

# %%
# The copy to the wrong side is no adjoint.

wrong = recon.operator(A, lambda y: (y + 0.5 * y.roll(9, -1)) / 1.5)
try:
    recon.reconstruct(measured, wrong, "tv", noise=0.02, range=(0, 1))
except recon.errors.ReconError as error:
    print(error)

# %%

figure, axes = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained")
for panel, (name, picture) in zip(axes, {"measurement": measured, "restored": run.image, "truth": photo}.items()):
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    panel.set_title(name)
    panel.axis("off")
plt.show()
