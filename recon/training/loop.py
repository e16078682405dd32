"""The loop of a training around its trainer, and the files that it writes.

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

from recon._version import __version__
from recon.errors import GuaranteeError, InputError, UsageError
from recon.io import replacing
from recon.priors.networks import (
    save,
)
from recon.report import image_sheet, training_curve
from recon.training.checkpoint import NAME, Progress, load_checkpoint, save_checkpoint
from recon.training.config import Recipe, to_json, to_toml
from recon.training.convex_critic import ConvexCriticResult, ConvexCriticTrainer
from recon.training.critic import CriticResult, CriticTrainer
from recon.training.data import Notify, Source
from recon.training.log import Log, Row
from recon.training.optimisation import Step
from recon.training.trainer import Trainer
from recon.training.unrolled import UnrolledResult, UnrolledTrainer
from recon.training.validation import ValidationResult

Look = ValidationResult | CriticResult | ConvexCriticResult | UnrolledResult
"""A look at the validation images."""

AnyTrainer = Trainer | CriticTrainer | ConvexCriticTrainer | UnrolledTrainer
"""What a loop is around."""

CONFIG, CARD, STATISTICS, ATOMS = "config.toml", "card.json", "statistics.png", "atoms.png"
NO_STATISTICS = (math.nan, math.nan)
NORM = "||Q'|| of batches; dots: validation"
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


NOBODY = Listeners()
"""Hears of nothing, and stops nothing."""


class Loop:
    """The loop, and the files that it writes; what is trained says how it is judged and what is known of it."""

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: Recipe,
        patches: Source,
        shown: list[Tensor],
        folder: Path,
        trainer: AnyTrainer,
        listeners: Listeners,
    ) -> None:
        self.recipe, self.patches, self.shown, self.folder = recipe, patches, shown, folder
        self.trainer: AnyTrainer = trainer
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
        training_curve(curves, self.folder / "curve.png", {NORM: [(row.step, row.lipschitz) for row in rows]})
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


def _since_best(judgements: Sequence[float]) -> int:
    """Looks since the best one; those that are not numbers are no better than any, and without one there is no best."""
    if not any(map(math.isfinite, judgements)):
        return 0
    best = max(range(len(judgements)), key=lambda index: _or_least(judgements[index]), default=0)
    return max(0, len(judgements) - 1 - best)


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def number_or_none(value: float) -> float | None:
    """A figure as a card keeps it; ``None`` where there is none."""
    return round(value, 4) if math.isfinite(value) else None
