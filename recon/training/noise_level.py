"""The noise level of images that a network learns from without clean ones, estimated from these images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from recon.errors import InputError, UsageError
from recon.io.noise_estimate import estimate_noise
from recon.training.config import Recipe
from recon.training.data import Notify, Pixels, read_patches, unit
from recon.training.measurements import read_measurements
from recon.training.tables import WITHOUT_CLEAN

ESTIMATE = "estimate"
"""In place of a number: the level that the images tell."""


@final
@dataclass(frozen=True)
class EstimatedNoise:
    """The standard deviation of the noise of a set of images on the scale of the training.

    Attributes:
        level: The median over the images.
        lowest: The least of any.
        highest: The largest of any.
        count: How many images told one.
    """

    level: float
    lowest: float
    highest: float
    count: int

    def __str__(self) -> str:
        among = "1 image" if self.count == 1 else f"{self.count} images ({self.lowest:.3g} to {self.highest:.3g})"
        return f"a noise level of {self.level:.4g}, the median of the estimates of {among}"


def estimated(images: Sequence[Pixels]) -> EstimatedNoise:
    """The noise level of images by :func:`recon.io.noise_estimate.estimate_noise`, for white noise.

    Args:
        images: Each (frames, channels, height, width), as training images are stored.

    Raises:
        InputError: None of them tells it.
    """
    found = []
    for image in images:
        planes = unit(image).astype(np.float64).reshape(-1, *image.shape[-2:])
        found.append(estimate_noise(planes))
    known = [level for level in found if math.isfinite(level) and level > 0]
    if not known:
        raise InputError(
            f"the noise of {len(images)} images cannot be estimated, because none has detail above noise of 0 in at "
            "least 8 x 8 pixels; expected a level that is stated, as in --noise 0.1."
        )
    level = float(f"{float(np.median(known)):.4g}")  # as it is said, and written into the configuration
    return EstimatedNoise(level, min(known), max(known), len(known))


def noise_stated(text: str, recipe: Recipe, files: Sequence[Path], say: Notify) -> Recipe:
    """The recipe for the noise level that a user states, or asks to be estimated from the training images.

    Args:
        text: A number on the scale of the images, or :data:`ESTIMATE`.
        recipe: What to do.
        files: The training images.
        say: Hears what was estimated.

    Raises:
        UsageError: It is neither, or images that are clean are to tell it.
        InputError: The images cannot be read, or do not tell it.
    """
    if text != ESTIMATE:
        return with_noise(recipe, _number(text))
    if recipe.training.loss not in WITHOUT_CLEAN:
        raise UsageError(
            f"noise is {text!r} with training.loss = {recipe.training.loss!r}; expected a number, because the images "
            "are clean, and their noise is that of the training."
        )
    if recipe.measured:
        found = estimated([item.numpy() for item in read_measurements(files, recipe, lambda line: None).items])
    else:
        patches = read_patches(files, recipe.data, recipe.network.channels, recipe.training.seed, lambda line: None)
        found = estimated(patches.images)
    say(str(found))
    return with_noise(recipe, found.level)


def _number(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not 0 < level < math.inf:
        raise UsageError(
            f"noise is {text!r}; expected a positive standard deviation on the scale of the images, as 0.1, or "
            f"{ESTIMATE!r}."
        )
    return level


def with_noise(recipe: Recipe, level: float) -> Recipe:
    """The recipe for noise of one level; a denoiser is then one for that level."""
    training = replace(recipe.training, noise=(level, level))
    if recipe.solves:
        return replace(recipe, training=training)
    return replace(recipe, training=training, network=replace(recipe.network, noise_range=(level, level)))
