"""A training that goes on from a network, on the images at hand: its recipe without a configuration file."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from recon import catalogue
from recon.errors import UsageError
from recon.io.noise_estimate import estimate_noise
from recon.priors.networks import Config, ConvexCriticConfig, CriticConfig
from recon.priors.networks.files.store import DESCRIPTION, read_config
from recon.training.config import Recipe
from recon.training.data import read_validation
from recon.training.tables import AboutConfig, DataConfig, TrainingConfig, ValidationConfig

PACKAGED = "model:"

LOSSES = ("sure", "r2r")
"""Of one noisy image."""

_PATCH, _STEPS, _RATE, _BATCH = 64, 200, 1e-3, 4
_ACCURACY = 1e-3
"""Of an inner iteration: SURE takes a difference quotient, which a coarse one would blur."""

_CROP, _SHOWN = 256, 2


def folder_of(where: str, what: str) -> Path:
    """The folder of a network: ``model:NAME`` or a path.

    Args:
        where: What the user wrote.
        what: The option or key, for an error.

    Raises:
        UsageError: No network of that name is packaged.
    """
    packaged = catalogue.folders()
    name = where.removeprefix(PACKAGED)
    if where.startswith(PACKAGED) and name not in packaged:
        raise UsageError(f"{what} = {where!r}; expected one of {', '.join(sorted(packaged))}, or a folder.")
    return packaged[name] if where.startswith(PACKAGED) else Path(where)


def adapting_recipe(start: str, files: Sequence[Path], loss: str, noise: float | None = None) -> Recipe:
    """The recipe that goes on from a network on noisy images, without clean ones.

    Args:
        start: ``model:NAME`` or a folder.
        files: The noisy images, whose scale is that of their files.
        loss: ``"sure"`` or ``"r2r"``.
        noise: The standard deviation of the noise on [0, 1]; ``None``: it is estimated.

    Raises:
        UsageError: There is no such network, or it is a critic; or the loss needs clean images; or the noise cannot be
            estimated, or is none.
        InputError: The network or an image cannot be read, or an image has other channels than the network.
    """
    if loss not in LOSSES:
        raise UsageError(f"--loss is {loss!r} with --from; expected {' or '.join(LOSSES)}, which need one noisy image.")
    path = folder_of(start, "--from")
    config = read_config(catalogue.read_description(path), str(path / DESCRIPTION))
    if isinstance(config, CriticConfig | ConvexCriticConfig):
        raise UsageError(f"--from is {start!r}, a critic, which denoises nothing; expected a denoiser.")
    level = _noise(files, config) if noise is None else noise
    if not 0 < level <= 1:
        raise UsageError(f"--noise is {level:g}; expected a standard deviation above 0 and at most 1, on [0, 1].")
    return Recipe(
        config,
        data=DataConfig(patch=_patch(files, config)),
        training=TrainingConfig(
            start=start, loss=loss, noise=(level, level), steps=_STEPS, learning_rate=_RATE, batch=_BATCH,
            inner_accuracy=_ACCURACY, ema=0.98,
        ),
        validation=ValidationConfig(every=_STEPS // 2, images=_SHOWN, crop=_CROP),
        about=AboutConfig(title=f"{start} on images at hand", limits="Adapted to the images that it was trained on."),
    )  # fmt: skip


def _patch(files: Sequence[Path], config: Config) -> int:
    """The side of the patches: that of the smallest image where it is smaller than usual."""
    shown = read_validation(files, DataConfig(), config.channels, len(files), 2 * _PATCH, lambda line: None)
    return min(_PATCH, *(min(image.shape[-2:]) for image in shown))


def _noise(files: Sequence[Path], config: Config) -> float:
    shown = read_validation(files, DataConfig(), config.channels, len(files), 4096, lambda line: None)
    found = [estimate_noise([plane.double().numpy() for plane in image[0]]) for image in shown]
    known = [level for level in found if level > 0]
    if not known:
        raise UsageError("the noise of the images cannot be estimated; expected --noise SIGMA, on [0, 1].")
    return float(f"{statistics.median(known):.3g}")
