"""
Denoise a CT slice in Hounsfield units
======================================

A DICOM slice goes in, and an image in Hounsfield units comes out. The prior of CT slices is a packaged network,
``proved-ct``.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import recon

DATA = Path("../../data")

image = recon.io.read(DATA / "ct/tcga_60-2715.dcm")
slice_ = image.pixels[0, 0, 130:386, 130:386].astype("float32")
print(image.value_range)

# %%
# The noise is stated in the units of the values. The range says what becomes 0 and 1 for the solver; the result is in
# Hounsfield units again.

result = recon.reconstruct(slice_, "identity", "model:proved-ct", noise=15 / 4095, range=(-1024, 3071))
print(result)

# %%
# In the window of soft tissue. What was taken away should look like noise.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for panel, picture, name in zip(axes, (slice_, result.image), ("measurement", "denoised")):
    drawn = panel.imshow(picture, cmap="gray", vmin=-160, vmax=240)
    panel.set_title(name)
figure.colorbar(drawn, ax=axes[1], label="HU", shrink=0.8)
difference = axes[2].imshow(slice_ - result.image, cmap="RdBu_r", vmin=-45, vmax=45)
axes[2].set_title("taken away")
figure.colorbar(difference, ax=axes[2], label="HU", shrink=0.8)
for panel in axes:
    panel.axis("off")
plt.show()
