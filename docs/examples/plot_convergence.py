"""
When a run has converged
========================

The distance of an image to the limit of its iteration, as it is estimated while the run goes on, beside the true one
and beside the length of a step. A short step says nothing of the distance.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from skimage import io

from recon.operators import Blur, LeastSquares, gaussian_psf
from recon.priors import wavelet_shrinkage
from recon.solvers import Progress, forward_backward, solve

photo = io.imread(Path("../../data/photographs/camera.png"))[64:192, 160:288] / 255
photo = torch.from_numpy(photo)[None, None]
blur = Blur(gaussian_psf(0.8), image_shape=(128, 128))
y = blur.A(photo) + 0.01 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0), dtype=photo.dtype)

# %%
# The limit, from five times as many steps.

stepsize, weight = 1.9, 5e-3
algorithm = forward_backward(LeastSquares(blur, y), wavelet_shrinkage(stepsize * weight), stepsize)
limit = solve(algorithm, y, tolerance=0, max_steps=1500).x

# %%
# The callback sees the progress and the image. The distance is estimated at steps in the ratio of the square root of 2.

steps, true, lengths, estimates = [], [], [], {}


def look(progress: Progress, x: torch.Tensor) -> None:
    steps.append(progress.step)
    true.append(float((x - limit).norm() / limit.norm()))
    lengths.append(progress.residuals[0])
    if 0 < progress.distances[0] < 1 and progress.distances[0] not in estimates.values():
        estimates[progress.step] = progress.distances[0]


solution = solve(algorithm, y, tolerance=0, max_steps=300, check_every=1, callback=look)
print(solution.sentence())

# %%

figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
axes.loglog(steps, true, label="distance to the limit")
axes.loglog(steps, lengths, label="length of a step")
axes.loglog(list(estimates), list(estimates.values()), "o", markersize=4, label="estimated distance")
axes.set_xlabel("step")
axes.set_ylabel("relative to the image")
axes.legend(frameon=False)
plt.show()
