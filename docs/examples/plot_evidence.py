"""
Is this denoiser a resolvent?
=============================

A denoiser J is a resolvent exactly if Q = 2J - Id does not expand. A proof holds for every pair of images; a search
gives a lower bound, which can refute and never prove.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import recon
from recon.priors import box, resolvent_properties, soft_threshold

# %%
# Two proximity operators, a mean filter, a median filter, and a packaged network.


def mean(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


def median(x: torch.Tensor) -> torch.Tensor:
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values


denoisers = {
    "box": box(0, 1),
    "soft threshold": soft_threshold(0.1),
    "3 x 3 mean": mean,
    "3 x 3 median": median,
    "proved-gray": recon.denoiser("proved-gray", noise=0.1),
}

# %%
# The largest quotient ||Q x - Q x'|| / ||x - x'|| over random pairs, and what is known without looking.

generator = torch.Generator().manual_seed(0)
largest = {}
for name, denoise in denoisers.items():
    quotients = []
    for _ in range(30):
        x = torch.rand(1, 1, 16, 16, generator=generator)
        step = 10 ** float(4 * torch.rand((), generator=generator) - 4)
        other = x + step * torch.randn(x.shape, generator=generator)
        moved = 2 * (denoise(x) - denoise(other)) - (x - other)
        quotients.append(float(moved.norm() / (x - other).norm()))
    largest[name] = max(quotients)
    known = denoise.properties if hasattr(denoise, "properties") else resolvent_properties(denoise)
    print(f"{name:<15} seen {max(quotients):.3f}   known {known.lipschitz_Q}")

# %%
# Above 1, the denoiser is no resolvent, and no theorem covers a solver that uses it. A search misses much: the mean
# filter damps the checkerboard by the factor 1/9 and turns the sign of some stripes, so that Lip(Q) is 5/3, of which
# random pairs see little.

figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
axes.barh(list(largest), list(largest.values()))
axes.axvline(1, color="0.3", linestyle="--", linewidth=1)
axes.set_xlabel("largest quotient of Q that was seen")
axes.invert_yaxis()
axes.set_xlim(0, max(1.2, 1.05 * max(np.array(list(largest.values())))))
plt.show()
