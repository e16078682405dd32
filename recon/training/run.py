"""A training from images to a folder with a network: what is trained on what, and how a run goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from recon._toml import MOST_BYTES
from recon.errors import InputError, OutputError, UsageError
from recon.priors.networks import (
    ConvexCriticConfig,
    CriticConfig,
    UnrolledConfig,
)
from recon.training.artefacts import RECONSTRUCTIONS
from recon.training.checkpoint import NAME, load_progress, owned
from recon.training.config import Recipe, difference, parse_recipe
from recon.training.convex_critic import ConvexCriticTrainer
from recon.training.critic import CriticTrainer
from recon.training.data import Pixels, Source, read_patches, read_validation
from recon.training.group import ALONE, Group
from recon.training.loop import CONFIG, NOBODY, Listeners, Loop, Outcome
from recon.training.loops import ConvexCriticLoop, CriticLoop, DenoiserLoop, UnrolledLoop
from recon.training.measurements import held_out_measurements, read_measurements
from recon.training.own import NOTHING_OWN, Dataset, DatasetPatches, Own, validation_images
from recon.training.tables import WITHOUT_CLEAN
from recon.training.trainer import Trainer
from recon.training.unrolled import Measuring, UnrolledTrainer, measuring
from recon.training.unrolled_memory import backward_bytes, in_words
from recon.training.volumes import block_of, read_volumes


@final
@dataclass(frozen=True)
class Images:
    """The files of a training.

    Attributes:
        training: PNG, JPEG, TIFF, NPY or DICOM.
        validation: Likewise; none of those for training.
        without_clean: Whether the loss needs no clean images: validation then has no figures, and may be shown the
            images of the training.
        artefacts: With artefacts of their own, for a critic that learns from such.
        held_out: Likewise, for its validation; none of those for training.
    """

    training: Sequence[Path]
    validation: Sequence[Path]
    without_clean: bool = False
    artefacts: Sequence[Path] = ()
    held_out: Sequence[Path] = ()

    def __post_init__(self) -> None:
        for what, files in (("training", self.training), ("validation", self.validation)):
            if not files:
                raise UsageError(f"no images for {what} were given; expected a folder of them.")
        contrary = {file.resolve() for file in self.training} & {file.resolve() for file in self.artefacts}
        if contrary:
            raise UsageError(
                f"{min(contrary)}: the file is among --data and --artefacts; expected it in one of them, because "
                "an image has artefacts or has none."
            )
        learnt, shown = ((*self.training, *self.artefacts), (*self.validation, *self.held_out))
        both = {file.resolve() for file in learnt} & {file.resolve() for file in shown}
        if both and not self.without_clean:
            raise UsageError(
                f"{min(both)}: the file is for training and for validation; expected it in one of them, because "
                "figures on what was learnt by heart say nothing."
            )


def prepare(folder: Path, recipe: Recipe | None, resume: bool, steps: int | None = None) -> Recipe:
    """See that a run may use a folder, and which recipe it follows; makes the folder if it is new.

    Args:
        folder: Of the run.
        recipe: What is wanted; ``None``: what the folder says.
        resume: Whether a run in the folder is to go on.
        steps: Instead of the recipe's own.

    Raises:
        OutputError: There is a run, or something else, in the folder, and it is not to go on; or it cannot be made.
        InputError: There is no run to go on with.
        UsageError: The recipe is another one than that of the run.
    """
    if not resume:
        if recipe is None:
            raise UsageError(f"{folder}: no configuration was given; expected one, unless a run goes on.")
        claim(folder)
        return _with_steps(recipe, steps)
    wanted = _with_steps(_read_kept(folder / CONFIG) if recipe is None else recipe, steps)
    _require_same(folder, wanted, str(folder / CONFIG) if recipe is None else "the configuration")
    return wanted


def train(  # noqa: PLR0913, PLR0917  what, from what, where to, and who hears of it
    recipe: Recipe,
    images: Images,
    folder: Path,
    device: torch.device,
    listeners: Listeners = NOBODY,
    group: Group = ALONE,
) -> Outcome:
    """Train on files, from the checkpoint in the folder if there is one; see :func:`prepare`.

    Args:
        recipe: What to do.
        images: The files.
        folder: Prepared by :func:`prepare`.
        device: Where to compute.
        listeners: Who hears of it.
        group: The processes that share the work.

    Raises:
        InputError: Images or the checkpoint cannot be read.
        OutputError: Something cannot be written; the last checkpoint is whole.
        GuaranteeError: The loss is not finite any more; the state before that is kept.
    """
    data, training = recipe.data, recipe.training
    if (images.artefacts or images.held_out) and not isinstance(recipe.network, CriticConfig):
        raise UsageError(
            f"--artefacts or --validation-artefacts with a {recipe.network.family} network; expected neither, because "
            "only a Critic learns from images with artefacts."
        )
    if recipe.unrolls:
        return _go(_unrolled_run(recipe, images, folder, device, listeners, group))
    frames = 2 if training.loss == "noise2noise" else 1
    say = listeners.say if group.first else lambda line: None
    channels = recipe.network.channels
    patches: Source
    if recipe.measured:
        patches = read_measurements(images.training, recipe, say)
    else:
        patches = read_patches(images.training, data, channels, training.seed, say, frames)
    count, crop = recipe.validation.images, recipe.validation.crop
    if recipe.measured and not recipe.shows_clean:
        shown = held_out_measurements(images.validation, recipe, patches)
    else:
        units = "" if recipe.measured else patches.units
        shown = read_validation(
            images.validation, data, channels, count, crop, say, units, 1 if recipe.shows_clean else frames
        )
    if isinstance(recipe.network, CriticConfig):
        bad, held_out = _with_artefacts(recipe, images, patches.units, say)
        least = recipe.network.least_side
        if min(side for image in (*shown, *held_out) for side in image.shape[-2:]) < least:
            raise InputError(f"a validation image is too small; expected at least {least} pixels along each axis.")
        trainer = CriticTrainer(recipe, patches, device, group, bad)
        return _go(CriticLoop(recipe, patches, shown, folder, trainer, listeners, held_out))
    if isinstance(recipe.network, ConvexCriticConfig):
        least = recipe.network.least_side
        if min(side for image in shown for side in image.shape[-2:]) < least:
            raise InputError(f"a validation image is too small; expected at least {least} pixels along each axis.")
        convex = ConvexCriticTrainer(recipe, patches, device, group)
        return _go(ConvexCriticLoop(recipe, patches, shown, folder, convex, listeners))
    return _go(DenoiserLoop(recipe, patches, shown, folder, Trainer(recipe, patches, device, group), listeners))


def train_on(  # noqa: PLR0913  what, from what, where to, and who hears of it
    recipe: Recipe,
    training: Dataset,
    validation: Dataset | Sequence[Tensor],
    folder: str | Path,
    *,
    own: Own = NOTHING_OWN,
    device: torch.device | str = "cpu",
    resume: bool = False,
    listeners: Listeners = NOBODY,
) -> Outcome:
    """Train on datasets of one's own, with one's own loss, metric and operator, as ``recon train`` does on files.

    The folder then holds what :func:`train` leaves there; a run that was interrupted goes on with ``resume``, to the
    bit if the dataset gives the same item for the same index.

    Args:
        recipe: What to do; :func:`read_recipe` reads one, and ``Recipe(network, ...)`` makes one.
        training: Images (channels, height, width) on [0, 1], or tuples that begin with one.
        validation: Others.
        folder: A new one, or one with a run that is to go on.
        own: Loss, metric and operator in place of what the recipe names.
        device: Where to compute.
        resume: Whether a run in the folder goes on.
        listeners: Who hears of it.

    Raises:
        UsageError, InputError, OutputError, GuaranteeError: As of :func:`prepare` and :func:`train`; or the loss or
            the operator does not fit the recipe.
    """
    if own.loss is not None and recipe.training.loss in WITHOUT_CLEAN:
        raise UsageError(
            f"a loss of one's own with training.loss = {recipe.training.loss!r}; expected 'mse' or 'l1' there, because "
            "the loss compares with clean images."
        )
    if own.operator is not None and not recipe.solves:
        raise UsageError(
            f"an operator of one's own with training.mode = {recipe.training.mode!r}; expected 'equilibrium', in which "
            "the loss compares reconstructions."
        )
    if recipe.measured:
        raise UsageError(
            f"train_on: training.loss = {recipe.training.loss!r} with mode = {recipe.training.mode!r} learns from "
            "files of measurements alone; expected recon train, or recon.training.train."
        )
    if isinstance(recipe.network, CriticConfig | ConvexCriticConfig) or recipe.unrolls:
        what = "an unrolled network" if recipe.unrolls else f"a {recipe.network.family}"
        raise UsageError(f"train_on: {what} learns from files alone; expected a denoiser, or recon train.")
    place, channels = Path(folder), recipe.network.channels
    if recipe.data.warps:
        raise UsageError(
            f"train_on: {recipe.data.stated_warp} with a dataset of one's own; expected 0 and 1, because it gives "
            "images as they are trained on."
        )
    wanted = prepare(place, recipe, resume)
    patches = DatasetPatches(training, recipe.data.patch, channels, recipe.data.augment)
    frames = 2 if recipe.training.loss == "noise2noise" and not recipe.shows_clean else 1
    shown = validation_images(validation, channels, recipe.validation.images, recipe.validation.crop, frames)
    trainer = Trainer(wanted, patches, device, own=own)
    return _go(DenoiserLoop(wanted, patches, shown, place, trainer, listeners))


def _unrolled_run(  # noqa: PLR0913, PLR0917  as train
    recipe: Recipe, images: Images, folder: Path, device: torch.device, listeners: Listeners, group: Group
) -> "UnrolledLoop":
    """The run of an unrolled network, whose images, or volumes, have the size that its operator takes."""
    say = listeners.say if group.first else lambda line: None
    by, data, training = measuring(recipe), recipe.data, recipe.training
    patches: Source
    if len(by.shape) == 3:
        if data.warps:
            raise UsageError(
                f"{data.stated_warp} with volumes; expected 0 and 1, because images alone are rotated and scaled."
            )
        shape = (by.shape[0], by.shape[1], by.shape[2])
        patches = read_volumes(images.training, data, shape, data.augment, say)
        held = read_volumes(images.validation, data, shape, False, say, patches.units)
        shown = [_middle(volume, shape) for volume in held.volumes[: recipe.validation.images]]
        say(f"memory = {recipe.unrolled.memory!r} keeps about {_kept(recipe, shape, by)} for the backward pass")
    else:
        channels, side = recipe.network.channels, data.patch
        patches = read_patches(images.training, data, channels, training.seed, say)
        count = recipe.validation.images
        shown = read_validation(images.validation, data, channels, count, side, say, patches.units)
        if min(length for image in shown for length in image.shape[-2:]) < side:
            raise InputError(f"a validation image is too small; expected at least {side} x {side} pixels, data.patch.")
    return UnrolledLoop(recipe, patches, shown, folder, UnrolledTrainer(recipe, patches, device, group), listeners)


def _kept(recipe: Recipe, shape: tuple[int, ...], by: Measuring) -> str:
    assert isinstance(recipe.network, UnrolledConfig)  # noqa: S101  as recipes check
    numbers = by.measure(torch.zeros(1, 1, *shape)).numel()
    return in_words(backward_bytes(recipe.network, shape, numbers, recipe.training.batch, recipe.unrolled.memory))


def _with_artefacts(
    recipe: Recipe, images: Images, units: str, say: Callable[[str], None]
) -> tuple[Source | None, list[Tensor]]:
    """The images that have artefacts of their own: those to learn from, and those of the validation."""
    wanted, given = RECONSTRUCTIONS in recipe.artefacts.kinds, bool(images.artefacts and images.held_out)
    if wanted != given or bool(images.artefacts) != bool(images.held_out):
        has = f"artefacts.kinds = {list(recipe.artefacts.kinds)!r}"
        raise UsageError(
            f"{has}, {len(images.artefacts)} images of --artefacts and {len(images.held_out)} of "
            f"--validation-artefacts; expected all three or none: {RECONSTRUCTIONS!r} among the kinds, images with "
            "artefacts to learn from, and others to be judged by."
        )
    if not wanted:
        return None, []
    data, channels, crop = recipe.data, recipe.network.channels, recipe.validation.crop
    patches = read_patches(images.artefacts, data, channels, recipe.training.seed, say)
    if patches.units != units:
        raise InputError(f"--artefacts: the values are in {patches.units}; expected {units}, as those of --data are.")
    held_out = read_validation(images.held_out, data, channels, len(images.held_out), crop, say, units)
    return patches, held_out


def _middle(volume: Pixels, shape: tuple[int, int, int]) -> Tensor:
    """The middle block of a volume, (1, 1, slices, height, width)."""
    sides = (volume.shape[0], *volume.shape[2:])
    return block_of(volume, [(have - want) // 2 for have, want in zip(sides, shape, strict=True)], shape)[None]


def _go(run: "Loop") -> Outcome:
    start, folder = run.recipe.training.start, run.folder
    if start and not (folder / NAME).exists():
        run.begin_with(start)
    if not run.group.first:
        return run.go()
    with owned(folder):
        if (folder / CONFIG).exists():
            _require_same(folder, run.recipe, "the configuration")
        return run.go()


def _with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    if steps is None:
        return recipe
    return replace(recipe, training=replace(recipe.training, steps=steps))


def _require_same(folder: Path, recipe: Recipe, origin: str) -> None:
    """Refuse another recipe than that of the run in a folder; its number of steps and what it is about may differ."""
    begun = _begun(folder)
    found = difference(replace(_with_steps(recipe, begun.training.steps), about=begun.about), begun)
    if found is not None:
        key, value, before = found
        raise UsageError(
            f"{folder}: {key} is {value} in {origin}, and the run was begun with {before}; expected the same "
            "configuration, because what the run went through belongs to it (only the number of steps may differ)."
        )


def _begun(folder: Path) -> Recipe:
    """The recipe that a run was begun with: of its checkpoint, because the file beside it may have been edited."""
    progress = load_progress(folder)
    if progress is None or not progress.recipe:
        return _read_kept(folder / CONFIG)
    return parse_recipe(progress.recipe, str(folder / NAME), InputError)


def claim(folder: Path) -> None:
    """Make the folder of a new run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise OutputError(f"{folder}: the folder of the run cannot be made ({reason}).") from error
    if taken:
        what = "a run is in it (--resume goes on with it)" if (folder / CONFIG).exists() else "it is not empty"
        raise OutputError(f"{folder}: {what}; expected a new or an empty folder, because runs are never overwritten.")


def _read_kept(path: Path) -> Recipe:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path.parent}: there is no run to go on with ({CONFIG}: {reason}).") from error
    return parse_recipe(text, str(path))
