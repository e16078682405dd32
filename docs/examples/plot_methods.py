"""
One problem by several methods
==============================

Deblurring by total variation: every method finds the same minimiser, in a different number of steps.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import io

import recon

photo = io.imread(Path("../../data/photographs/camera.png"))[64:160, 160:256].astype("float32") / 255
psf = recon.operators.gaussian_psf(1.2).numpy()
measured = recon.blur(psf).on(photo.shape).A(torch.from_numpy(photo)[None, None])[0, 0].numpy()
measured += 0.02 * np.random.default_rng(0).standard_normal(photo.shape, dtype="float32")

# %%
# Each run has a certificate of its own theorem.

runs = {}
for method in ("condat_vu", "douglas_rachford", "fista", "forward_backward", "tseng"):
    run = recon.reconstruct(measured, recon.blur(psf), "tv", noise=0.02, method=method, range=(0, 1))
    runs[method] = run
    print(f"{method:<18} {run.steps:>4} steps  {run.certificate.evidence}: {run.certificate.theorem}")

# %%

best = runs["condat_vu"].image
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
names = list(runs)
left.barh(names, [run.steps for run in runs.values()])
left.set_xlabel("steps")
left.invert_yaxis()
right.barh(names, [np.linalg.norm(run.image - best) / np.linalg.norm(best) for run in runs.values()])
right.set_xlabel("distance to the image of condat_vu, relative")
right.set_yticklabels([])
right.invert_yaxis()
plt.show()
