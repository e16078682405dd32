"""One strength for a series: its range, its noise level and the weight of its prior, estimated from slices of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon.batch.series import Series
from recon.device import Notify, choose_device
from recon.errors import ReconError
from recon.io import Image, Slices, ValueRange, decode
from recon.io.image import robust_range
from recon.reconstruction.problem import Problem, build_problem
from recon.specs.operators import read_operator
from recon.specs.priors import has_weight
from recon.specs.solve_config import Noise, SolveConfig

SAMPLED = 12
"""Slices from which the estimates are made."""


def resolve_series(config: SolveConfig, series: Series, say: Notify) -> tuple[SolveConfig, bool]:
    """The configuration with which all slices of a series are solved, and whether anything in it was estimated.

    Raises:
        ReconError: What does not fit, as of a single run.
    """
    if read_operator(config.operator, lambda line: None).is_complex:
        return config, False  # of which each has its own scale
    images = _sampled(config, series)
    if not images:
        return config, False
    stack = _stack(images)
    if config.volume and series.pitch is not None:
        stack = replace(stack, slices=Slices(series.pitch))
    device = choose_device(config.device, lambda line: None)  # the plan says what it is
    problem = build_problem(replace(config, device=str(device)), stack, say)
    found = resolved(config, problem)
    stated = config.prior is not None and "weight" in config.prior.options
    matched = has_weight(problem.prior.spec) and not stated
    return found, matched or (found.noise, found.range) != (config.noise, config.range)


def resolved(config: SolveConfig, problem: Problem) -> SolveConfig:
    """The configuration with the noise level, the range and the prior that a problem found, on the user's scale.

    The range of an image in HU follows from its units, and is left out.
    """
    if problem.family.is_complex or problem.family.geometry is not None:
        return config
    inverse, shown = problem.scale.inverse, problem.shown
    if config.noise is None and problem.noise is not None:
        config = replace(config, noise=_rounded(problem))
    if config.range is None and shown is not None and problem.image.units != "HU":
        config = replace(config, range=(float(f"{shown.low:.7g}"), float(f"{shown.high:.7g}")))
    return replace(config, prior=inverse.of_spec(problem.prior.spec)) if config.takes_prior else config


def _rounded(problem: Problem) -> Noise:
    """The noise level in the units of the image, to digits on which all machines agree."""
    width, units = problem.image.value_range.width, problem.image.units
    sigma = problem.noise or 0.0
    return Noise(float(f"{sigma * width:.4g}"), units) if units else Noise(float(f"{sigma / problem.scale.factor:.4g}"))


def _sampled(config: SolveConfig, series: Series) -> list[Image]:
    """Evenly spaced slices of the first stack; those that cannot be read are named when they are solved."""
    stack = series.slices[: series.stacks[0]]
    chosen = sorted({round(k) for k in np.linspace(0, len(stack) - 1, min(len(stack), SAMPLED))})
    images = []
    for k in chosen:
        try:
            image = decode(stack[k].source.content(), series_label(series), value_range=config.range)
            images.append(_thinned(image, SAMPLED // len(chosen)))
        except ReconError:
            continue
    return [image for image in images if image.pixels.shape[1:] == images[0].pixels.shape[1:]]


def _thinned(image: Image, frames: int) -> Image:
    """Some of the frames of an image, evenly spaced."""
    if image.frames <= frames:
        return image
    kept = sorted({round(k) for k in np.linspace(0, image.frames - 1, frames)})
    return replace(image, pixels=image.pixels[kept], padding=None if image.padding is None else image.padding[kept])


def series_label(series: Series) -> Path:
    """Return what errors call a slice of the series."""
    return Path(f"{series.folder}.dcm")


def _stack(images: Sequence[Image]) -> Image:
    """The frames of images as one, in the range of all."""
    first = images[0]
    pixels = np.concatenate([image.pixels for image in images])
    padding = None
    if any(image.padding is not None for image in images):
        masks = [np.zeros(image.pixels.shape, np.bool_) if image.padding is None else image.padding for image in images]
        padding = np.concatenate(masks)
    found = replace(first, pixels=pixels, padding=padding, alpha=None, notes=(), value_range=first.value_range)
    ranges = {(image.value_range.low, image.value_range.high) for image in images}
    return found if len(ranges) == 1 else replace(found, value_range=_common_range(found))


def _common_range(stack: Image) -> ValueRange:
    """The percentiles of all, as of an image that does not state its range."""
    kept = stack.pixels if stack.padding is None else stack.pixels[~stack.padding]
    return robust_range((kept if kept.size else stack.pixels).astype(np.float64), stack.units, about_one=False)
