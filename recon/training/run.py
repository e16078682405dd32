"""The run of a training, from images to a folder with a network: the loop around :class:`Trainer` and its files.

The folder holds ``network.toml`` and ``weights.safetensors``, as :func:`recon.priors.networks.load` reads them;
``card.json``, what is known of the network; ``config.toml``, the recipe with every value; ``log.csv``, ``curve.png``
and ``validation.png``; ``statistics.png``, where there are descriptive statistics; ``atoms.png`` of a dictionary;
``checkpoint.json`` and the state that it names.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from recon._toml import MOST_BYTES
from recon._version import __version__
from recon.certificates import orthogonality
from recon.errors import GuaranteeError, InputError, OutputError, UsageError
from recon.io import replacing
from recon.priors.networks import (
    ConvolutionalSparseCoding,
    CriticConfig,
    UnrolledConfig,
    load,
    load_critic,
    load_unrolled,
    save,
)
from recon.report import atoms_sheet, image_sheet, training_curve
from recon.training.adapt import folder_of
from recon.training.checkpoint import NAME, Progress, load_checkpoint, load_progress, owned, save_checkpoint
from recon.training.config import Recipe, difference, parse_recipe, to_json, to_toml
from recon.training.critic import CriticResult, CriticTrainer, judge
from recon.training.data import Notify, Pixels, Source, read_patches, read_validation
from recon.training.dictionary import DictionaryUse, pictures_of, use_of
from recon.training.equilibrium import tightened
from recon.training.group import ALONE, Group
from recon.training.log import Log, Row
from recon.training.measurements import held_out_measurements, read_measurements
from recon.training.optimisation import Step
from recon.training.own import NOTHING_OWN, Dataset, DatasetPatches, Own, validation_images
from recon.training.statistics import effective_rate, gradient_tail_index
from recon.training.tables import WITHOUT_CLEAN
from recon.training.trainer import Trainer, as_kept
from recon.training.unrolled import Measuring, UnrolledResult, UnrolledTrainer, described, measuring, try_out
from recon.training.unrolled_memory import backward_bytes, in_words
from recon.training.validation import ValidationResult, held_out, look_at_measurements, validate
from recon.training.volumes import block_of, read_volumes

Look = ValidationResult | CriticResult | UnrolledResult
"""A look at the validation images."""

CONFIG, CARD, STATISTICS, ATOMS = "config.toml", "card.json", "statistics.png", "atoms.png"
NO_STATISTICS = (math.nan, math.nan)
_NORM = "||Q'|| of batches; dots: validation"
SAVE_SECONDS = 60.0
"""Between two checkpoints at most: what a hard kill can cost."""


@final
@dataclass(frozen=True)
class Now:
    """The progress of a training.

    Attributes:
        step: What the last step saw.
        steps: How many there will be.
        psnr: Of the validation images when they were last looked at, in dB; NaN before.
        metric: The user's own metric then; NaN without one.
        seconds_left: An estimate.
        auroc: Of a critic, then, the mean over the kinds of artefacts; NaN of a denoiser.
    """

    step: Step
    steps: int
    psnr: float
    seconds_left: float
    metric: float = math.nan
    auroc: float = math.nan


@final
@dataclass(frozen=True)
class Outcome:
    """The end of a training.

    Attributes:
        step: Steps done.
        steps: Steps wanted.
        look: At the validation images, if it went to the end; of a training that ended early, the best.
        stopped_early: Whether the validation had not improved for as long as the recipe waits.
        seconds: Spent on all steps, those before a resumption included.
    """

    step: int
    steps: int
    look: Look | None
    seconds: float
    stopped_early: bool = False


@final
@dataclass(frozen=True)
class Images:
    """The files of a training.

    Attributes:
        training: PNG, JPEG, TIFF, NPY or DICOM.
        validation: Likewise; none of those for training.
        without_clean: Whether the loss needs no clean images: validation then has no figures, and may be shown the
            images of the training.
    """

    training: Sequence[Path]
    validation: Sequence[Path]
    without_clean: bool = False

    def __post_init__(self) -> None:
        for what, files in (("training", self.training), ("validation", self.validation)):
            if not files:
                raise UsageError(f"no images for {what} were given; expected a folder of them.")
        both = {file.resolve() for file in self.training} & {file.resolve() for file in self.validation}
        if both and not self.without_clean:
            raise UsageError(
                f"{min(both)}: the file is for training and for validation; expected it in one of them, because "
                "figures on what was learnt by heart say nothing."
            )


@final
@dataclass(frozen=True)
class Listeners:
    """Functions that are called during a training.

    Attributes:
        say: Where remarks go.
        watch: Called after every step.
        stopping: Asked after every step; True saves and ends.
    """

    say: Notify = lambda line: None
    watch: Callable[[Now], None] = lambda now: None
    stopping: Callable[[], bool] = lambda: False


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
    listeners: Listeners = Listeners(),
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
        least = recipe.network.least_side
        if min(side for image in shown for side in image.shape[-2:]) < least:
            raise InputError(f"a validation image is too small; expected at least {least} pixels along each axis.")
        return _go(_CriticRun(recipe, patches, shown, folder, CriticTrainer(recipe, patches, device, group), listeners))
    return _go(_Run(recipe, patches, shown, folder, Trainer(recipe, patches, device, group), listeners))


def train_on(  # noqa: PLR0913  what, from what, where to, and who hears of it
    recipe: Recipe,
    training: Dataset,
    validation: Dataset | Sequence[Tensor],
    folder: str | Path,
    *,
    own: Own = NOTHING_OWN,
    device: torch.device | str = "cpu",
    resume: bool = False,
    listeners: Listeners = Listeners(),
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
    if isinstance(recipe.network, CriticConfig) or recipe.unrolls:
        what = "an unrolled network" if recipe.unrolls else "a Critic"
        raise UsageError(f"train_on: {what} learns from files alone; expected a denoiser, or recon train.")
    place, channels = Path(folder), recipe.network.channels
    wanted = prepare(place, recipe, resume)
    patches = DatasetPatches(training, recipe.data.patch, channels, recipe.data.augment)
    frames = 2 if recipe.training.loss == "noise2noise" and not recipe.shows_clean else 1
    shown = validation_images(validation, channels, recipe.validation.images, recipe.validation.crop, frames)
    trainer = Trainer(wanted, patches, device, own=own)
    return _go(_Run(wanted, patches, shown, place, trainer, listeners))


def _unrolled_run(  # noqa: PLR0913, PLR0917  as train
    recipe: Recipe, images: Images, folder: Path, device: torch.device, listeners: Listeners, group: Group
) -> "_UnrolledRun":
    """The run of an unrolled network, whose images, or volumes, have the size that its operator takes."""
    say = listeners.say if group.first else lambda line: None
    by, data, training = measuring(recipe), recipe.data, recipe.training
    patches: Source
    if len(by.shape) == 3:
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
    return _UnrolledRun(recipe, patches, shown, folder, UnrolledTrainer(recipe, patches, device, group), listeners)


def _kept(recipe: Recipe, shape: tuple[int, ...], by: Measuring) -> str:
    assert isinstance(recipe.network, UnrolledConfig)  # noqa: S101  as recipes check
    numbers = by.measure(torch.zeros(1, 1, *shape)).numel()
    return in_words(backward_bytes(recipe.network, shape, numbers, recipe.training.batch, recipe.unrolled.memory))


def _middle(volume: Pixels, shape: tuple[int, int, int]) -> Tensor:
    """The middle block of a volume, (1, 1, slices, height, width)."""
    sides = (volume.shape[0], *volume.shape[2:])
    return block_of(volume, [(have - want) // 2 for have, want in zip(sides, shape, strict=True)], shape)[None]


def _go(run: "_Loop") -> Outcome:
    start, folder = run.recipe.training.start, run.folder
    if start and not (folder / NAME).exists():
        run.begin_with(start)
    if not run.group.first:
        return run.go()
    with owned(folder):
        if (folder / CONFIG).exists():
            _require_same(folder, run.recipe, "the configuration")
        return run.go()


class _Loop:
    """The loop, and the files that it writes; what is trained says how it is judged and what is known of it."""

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: Recipe,
        patches: Source,
        shown: list[Tensor],
        folder: Path,
        trainer: Trainer | CriticTrainer | UnrolledTrainer,
        listeners: Listeners,
    ) -> None:
        self.recipe, self.patches, self.shown, self.folder = recipe, patches, shown, folder
        self.trainer: Trainer | CriticTrainer | UnrolledTrainer = trainer
        self.listeners, self.group = listeners, trainer.group
        self.fingerprint = patches.fingerprint()
        self.seconds, self.psnr, self.metric, self.auroc = 0.0, math.nan, math.nan, math.nan
        self.best: Look | None = None
        self.log: Log | None = None

    def begin_with(self, start: str) -> None:
        """Take the weights of another network over."""
        raise NotImplementedError

    def _look(self) -> Look | None:
        """Judge the network on the validation images."""
        raise NotImplementedError

    def _seen(self, row: Row, seen: Look) -> Row:
        """The row of a step at whose end there was a look."""
        raise NotImplementedError

    def _judgements(self) -> list[float]:
        """What each look said, the larger the better."""
        raise NotImplementedError

    def _curves(self, rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
        """The curves of the figure besides the loss."""
        raise NotImplementedError

    def _known(self, seen: Look) -> dict[str, object]:
        """What a card says of the network beyond what it says of every one."""
        raise NotImplementedError

    def go(self) -> Outcome:
        """Begin, or go on, until the end or until somebody says stop."""
        self._restore()
        self.group.any(False)  # all have read the checkpoint before one replaces it
        if self.group.first:
            with replacing(self.folder / CONFIG, overwrite=True) as temporary:  # not before all that may be refused
                temporary.write_text(to_toml(self.recipe), encoding="utf-8")
            self.log = Log(self.folder, self.trainer.step)
            self.psnr = next((row.psnr for row in reversed(self.log.rows) if math.isfinite(row.psnr)), math.nan)
        steps, every = self.recipe.training.steps, self.recipe.validation.every
        self._save()
        began, saved, before, first = time.monotonic(), time.monotonic(), self.seconds, self.trainer.step
        seen: Look | None = None
        while self.trainer.step < steps:
            step = self._advance()
            self.seconds = before + time.monotonic() - began
            looks = step.number % every == 0 or step.number == steps
            seen = self._look() if looks else None
            self._record(step, seen, self._statistics(step) if looks else NO_STATISTICS)
            left = (time.monotonic() - began) / (step.number - first) * (steps - step.number)
            self.listeners.watch(Now(step, steps, self.psnr, left, self.metric, self.auroc))
            early = self.group.any(seen is not None and self._is_done())
            stop = self.group.any(self.listeners.stopping()) or early
            late = self.group.any(self.group.first and time.monotonic() - saved > SAVE_SECONDS)
            if looks or stop or late:
                if seen is not None and self._is_best(seen):
                    self._publish(seen)
                self._save()
                saved = time.monotonic()
            if early:
                return Outcome(self.trainer.step, steps, self.best or seen, self.seconds, stopped_early=True)
            if stop:
                break
        return Outcome(self.trainer.step, steps, seen, self.seconds)

    def _is_best(self, seen: Look) -> bool:
        """Return whether the network is to be kept: always, but where the training waits for a better one."""
        if not self.recipe.validation.patience or not _since_best(self._judgements()):
            self.best = seen
            return True
        return False

    def _is_done(self) -> bool:
        """Return whether the validation has not improved for as long as the recipe waits."""
        patience = self.recipe.validation.patience
        return bool(patience) and _since_best(self._judgements()) >= patience

    def _restore(self) -> None:
        if not (self.folder / NAME).exists():
            return
        state, progress = load_checkpoint(self.folder)
        if progress.data != self.fingerprint:
            raise InputError(
                f"{self.folder}: the run was begun with other images than these {self.patches.count}; expected "
                "the same, because the random choice of patches goes on among them."
            )
        self.trainer.restore(state)
        steps = self.recipe.training.steps
        if steps < self.trainer.step:
            raise UsageError(
                f"{self.folder}: steps = {steps}, and the run has done {self.trainer.step}; expected at least as many, "
                "because no step can be taken back."
            )
        self.seconds = progress.seconds

    def _advance(self) -> Step:
        try:
            return self.trainer.advance()
        except GuaranteeError as error:
            if not self.trainer.is_finite:
                kept = "the last checkpoint is kept"
            else:
                self._save()
                kept = f"the weights of step {self.trainer.step} are kept"
            raise GuaranteeError(f"{self.folder}: the training stopped, and {kept}: {error}") from error

    def _statistics(self, step: Step) -> tuple[float, float]:  # noqa: ARG002, RUF100  for those that have some
        """Return the tail index of the gradient noise and the effective rate; of every process of the group."""
        return NO_STATISTICS

    def _record(self, step: Step, seen: Look | None, statistics: tuple[float, float]) -> None:
        if self.log is None:
            return
        row = Row(step.number, step.loss, step.rate, step.constraint, self.seconds, orthogonality=step.orthogonality)
        row = replace(row, tail_index=statistics[0], effective_rate=statistics[1])
        self.log.add(row if seen is None else self._seen(row, seen))

    def _save(self) -> None:
        state = self.trainer.state()
        if self.log is not None:
            self.log.flush()
            progress = Progress(self.trainer.step, self.seconds, self.fingerprint, to_toml(self.recipe))
            save_checkpoint(self.folder, state, progress)

    def _publish(self, seen: Look) -> None:
        """The network as it is now, what is known of it, and the figures."""
        (self.folder / CARD).unlink(missing_ok=True)  # whatever happens, a card is never beside other weights
        sha256 = save(self.trainer.average, self.folder, overwrite=True)
        with replacing(self.folder / CARD, overwrite=True) as temporary:
            text = json.dumps({"sha256": sha256} | self._card(seen), indent=2, allow_nan=False, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        assert self.log is not None  # noqa: S101  only the process that writes publishes
        rows = self.log.rows
        curves = {"loss of a batch": [(row.step, row.loss) for row in rows], **self._curves(rows)}
        training_curve(curves, self.folder / "curve.png", {_NORM: [(row.step, row.lipschitz) for row in rows]})
        self._draw_statistics(rows)
        image_sheet(seen.sheet, self.folder / "validation.png")
        self._draw()

    def _draw(self) -> None:
        """Draw what else there is."""

    def _draw_statistics(self, rows: Sequence[Row]) -> None:
        curves = {
            "tail index of gradient noise (descriptive)": [(row.step, row.tail_index) for row in rows],
            "rate / ||w||² of scale-invariant weights": [(row.step, row.effective_rate) for row in rows],
        }
        known = {title: points for title, points in curves.items() if any(math.isfinite(value) for _, value in points)}
        if known:
            training_curve(known, self.folder / STATISTICS)

    def _card(self, seen: Look) -> dict[str, object]:
        network = self.recipe.network
        return {
            "about": asdict(self.recipe.about),
            "family": network.family,
            "channels": network.channels,
            "noise_range": list(self.recipe.training.noise),
            "parameters": sum(parameter.numel() for parameter in self.trainer.network.parameters()),
            **self._known(seen),
            "data": {
                "images": self.patches.count,
                "pixels": self.patches.pixels,
                "fingerprint": self.fingerprint,
                "validation_images": len(self.shown),
            },
            "training": {
                "step": self.trainer.step,
                "seconds": round(self.seconds, 1),
                "processes": self.group.size,
                "device": str(self.trainer.device),
            },
            "recipe": to_json(self.recipe),
            "versions": {"recon": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }


class _Run(_Loop):
    """The loop of a denoiser."""

    trainer: Trainer
    use: DictionaryUse | None = None

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: Recipe,
        patches: Source,
        shown: list[Tensor],
        folder: Path,
        trainer: Trainer,
        listeners: Listeners,
    ) -> None:
        super().__init__(recipe, patches, shown, folder, trainer, listeners)
        if trainer.restoration is not None and recipe.shows_clean:
            for image in shown:  # a kernel that is larger than an image is refused now, not at the first look
                trainer.restoration.at((image.shape[-2], image.shape[-1]))

    def begin_with(self, start: str) -> None:
        self.trainer.begin_with(load(folder_of(start, "training.start")))

    def _draw(self) -> None:
        network = self.trainer.average
        if isinstance(network, ConvolutionalSparseCoding):
            atoms_sheet(pictures_of(network, self.use), self.folder / ATOMS)

    def _judgements(self) -> list[float]:
        """Return what each look said, by the user's metric, the reconstructions, or the denoised images."""
        if self.log is None:
            return []
        looks = [row for row in self.log.rows if math.isfinite(row.lipschitz)]
        if self.trainer.own.metric is not None:
            return [row.metric for row in looks]
        if not self.recipe.shows_clean:
            return [-row.held_out for row in looks]
        return [row.restored if self.recipe.solves else row.psnr for row in looks]

    def _look(self) -> ValidationResult | None:
        if self.trainer.sparsity is not None:
            self.trainer.sparsity.look()
        if not self.group.first:
            return None
        network, problem = as_kept(self.trainer.average), self.trainer.restoration
        if problem is not None and not problem.ways.single:
            tightened(network, problem.config)
        clean, metric, config = self.recipe.shows_clean, self.trainer.own.metric, self.recipe.training
        if problem is not None and not clean:
            seen = look_at_measurements(network, self.shown, config.noise[1], problem)
        else:
            seen = validate(network, self.shown, self.recipe.levels, clean, config.seed, problem, metric)
        return seen if clean else replace(seen, held_out=held_out(network, self.shown, config, problem))

    def _statistics(self, step: Step) -> tuple[float, float]:
        names, generator = self.trainer.invariant_weights(), torch.Generator().manual_seed(step.number)
        rate = effective_rate(self.trainer.network, names, step.rate)
        return gradient_tail_index(self.trainer, generator), rate

    def _seen(self, row: Row, seen: Look) -> Row:
        assert isinstance(seen, ValidationResult)  # noqa: S101  what _look gives
        self.psnr, self.metric = seen.psnr, seen.metric
        row = replace(row, psnr=seen.psnr, lipschitz=seen.lipschitz.value, restored=seen.restored, metric=seen.metric)
        self.use = use_of(self.trainer.average, self.shown, self.recipe.levels, self.recipe.training.seed)
        row = replace(row, held_out=seen.held_out)
        if self.use is not None:
            row = replace(row, nonzero=self.use.nonzero, atoms=self.use.used)
        chain = orthogonality(self.trainer.average)
        if chain is not None and not self.recipe.penalty.orthogonality:
            row = replace(row, orthogonality=chain.value)
        return row

    def _curves(self, rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
        curves = {}
        if self.recipe.shows_clean:
            curves["validation, PSNR in dB"] = [(row.step, row.psnr) for row in rows]
        else:
            curves["loss on validation images"] = [(row.step, row.held_out) for row in rows]
        if any(math.isfinite(row.nonzero) for row in rows):
            curves["nonzero coefficients, %"] = [(row.step, 100 * row.nonzero) for row in rows]
            curves["atoms used"] = [(row.step, row.atoms) for row in rows]
        if self.recipe.solves and self.recipe.shows_clean:
            curves["reconstruction, PSNR in dB"] = [(row.step, row.restored) for row in rows]
        if self.recipe.penalty.orthogonality:
            curves["L_orth"] = [(row.step, row.orthogonality) for row in rows]
        if self.recipe.penalty.weight:
            curves[_NORM] = [(row.step, row.constraint) for row in rows]
        return curves

    def _known(self, seen: Look) -> dict[str, object]:
        assert isinstance(seen, ValidationResult)  # noqa: S101  what _look gives
        known, chain = seen.claim, orthogonality(self.trainer.average)
        return {
            "lipschitz_Q": {"value": known.value, "evidence": str(known.evidence), "how": known.how},
            **({} if self.trainer.sparsity is None else {"sparsity": self.trainer.sparsity.to_json()}),
            **({} if chain is None else {"orthogonality": {"value": chain.value, "how": chain.how}}),
            **self._reconstruction(),
            **({} if self.recipe.shows_clean else {"held_out": _significant(seen.held_out)}),
            **({} if self.use is None else {"dictionary": self.use.to_json()}),
            "figures": [
                {"noise": each.noise, "psnr": _number(each.psnr), "psnr_noisy": _number(each.noisy)}
                | ({"psnr_restored": _number(each.restored)} if self.recipe.solves else {})
                for each in seen.figures
            ],
        }

    def _reconstruction(self) -> dict[str, object]:
        problem, stated = self.trainer.restoration, self.recipe.equilibrium.operator
        if problem is None or not stated:
            return {}
        step = None if problem.ways.single else float(f"{problem.stepsize:.6g}")
        return {"reconstruction": {"mode": self.recipe.training.mode, "operator": stated, "stepsize": step}}


class _CriticRun(_Loop):
    """The loop of a critic."""

    trainer: CriticTrainer

    def begin_with(self, start: str) -> None:
        self.trainer.begin_with(load_critic(start))

    def _look(self) -> CriticResult | None:
        return judge(self.trainer.average, self.shown, self.recipe) if self.group.first else None

    def _seen(self, row: Row, seen: Look) -> Row:
        assert isinstance(seen, CriticResult)  # noqa: S101  what _look gives
        self.auroc = seen.auroc
        return replace(row, lipschitz=seen.lipschitz.value, auroc=seen.auroc)

    def _judgements(self) -> list[float]:
        return [] if self.log is None else [row.auroc for row in self.log.rows if math.isfinite(row.lipschitz)]

    def _curves(self, rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
        return {"validation, AUROC": [(row.step, row.auroc) for row in rows]}

    def _known(self, seen: Look) -> dict[str, object]:
        assert isinstance(seen, CriticResult)  # noqa: S101  what _look gives
        return seen.to_json(self.patches.units)


class _UnrolledRun(_Loop):
    """The loop of an unrolled reconstruction."""

    trainer: UnrolledTrainer

    def begin_with(self, start: str) -> None:
        self.trainer.begin_with(load_unrolled(start))

    def _look(self) -> UnrolledResult | None:
        if not self.group.first:
            return None
        trainer = self.trainer
        return try_out(trainer.average, self.shown, self.recipe, trainer.measuring)

    def _seen(self, row: Row, seen: Look) -> Row:
        assert isinstance(seen, UnrolledResult)  # noqa: S101  what _look gives
        self.psnr = seen.psnr
        return replace(row, psnr=seen.psnr)

    def _judgements(self) -> list[float]:
        return [] if self.log is None else [row.psnr for row in self.log.rows if math.isfinite(row.psnr)]

    def _curves(self, rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
        return {"validation, PSNR in dB": [(row.step, row.psnr) for row in rows]}

    def _known(self, seen: Look) -> dict[str, object]:
        assert isinstance(seen, UnrolledResult)  # noqa: S101  what _look gives
        return described(self.trainer, seen)


def _since_best(judgements: Sequence[float]) -> int:
    """Looks since the best one; those that are not numbers are no better than any, and without one there is no best."""
    if not any(map(math.isfinite, judgements)):
        return 0
    best = max(range(len(judgements)), key=lambda index: _or_least(judgements[index]), default=0)
    return max(0, len(judgements) - 1 - best)


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _significant(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


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
