"""
A measured scan: all views and few
==================================

Counts of a tooth with their flat and dark fields, parallel beams. Filtered back-projection beside total variation, from
all 181 views and from every 8th.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import recon
from recon.operators import read_geometry
from recon.reconstruction.ct_input import read_scan
from recon.specs.solve_config import config_from

TOOTH = Path("../../data/tooth")

# %%
# Line integrals of counts: ``-log((counts - dark) / (flat - dark))``. What the counts say of the noise goes along.

geometry = read_geometry(TOOTH / "geometry.toml")
config = config_from(
    {"operator": f"ct:{TOOTH / 'geometry.toml'}", "flat": str(TOOTH / "flat.tif"), "dark": str(TOOTH / "dark.tif")}
)
scan = read_scan(TOOTH / "counts.tif", config, geometry, print)
sinogram = np.asarray(scan.pixels[0, 0], dtype="float32")
print(sinogram.shape, "views x detector pixels")

# %%
# Every 8th view is a geometry with fewer angles.

views = {"181 views": slice(None), "23 views": slice(None, None, 8)}
images = {}
for name, some in views.items():
    part = replace(geometry, angles=geometry.angles[some])
    for method in ("fbp", None):
        run = recon.reconstruct(sinogram[some], recon.ct(part), method=method)
        label = "filtered back-projection" if method else "total variation"
        images[name, label] = run.image
        print(f"{name}, {label}: {run.status}, {run.steps} steps")

# %%

white = float(np.percentile(images["181 views", "total variation"], 99.9))
figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout="constrained")
for panel, ((name, label), picture) in zip(axes.T.flat, images.items()):
    panel.imshow(picture[136:406, 136:406], cmap="gray", vmin=0, vmax=white)
    panel.set_title(f"{label}, {name}")
    panel.axis("off")
plt.show()
