"""How denoisers, critics and unrolled reconstructions are judged in the loop, and what is known of each."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from recon.certificates import orthogonality
from recon.priors.networks import (
    ConvolutionalSparseCoding,
    load,
    load_convex_critic,
    load_critic,
    load_unrolled,
)
from recon.report import atoms_sheet
from recon.training.adapt import folder_of
from recon.training.config import Recipe
from recon.training.convex_critic import ConvexCriticResult, ConvexCriticTrainer, Validation
from recon.training.critic import CriticResult, CriticTrainer, judge
from recon.training.data import Source
from recon.training.dictionary import DictionaryUse, pictures_of, use_of
from recon.training.equilibrium import tightened
from recon.training.log import Row
from recon.training.loop import ATOMS, NORM, Listeners, Look, Loop, number_or_none
from recon.training.optimisation import Step
from recon.training.statistics import effective_rate, gradient_tail_index
from recon.training.trainer import Trainer, as_kept
from recon.training.unrolled import UnrolledResult, UnrolledTrainer, described, try_out
from recon.training.validation import ValidationResult, held_out, look_at_measurements, validate


class DenoiserLoop(Loop):
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
            curves[NORM] = [(row.step, row.constraint) for row in rows]
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
                {"noise": each.noise, "psnr": number_or_none(each.psnr), "psnr_noisy": number_or_none(each.noisy)}
                | ({"psnr_restored": number_or_none(each.restored)} if self.recipe.solves else {})
                for each in seen.figures
            ],
        }

    def _reconstruction(self) -> dict[str, object]:
        problem, stated = self.trainer.restoration, self.recipe.equilibrium.operator
        if problem is None or not stated:
            return {}
        step = None if problem.ways.single else float(f"{problem.stepsize:.6g}")
        return {"reconstruction": {"mode": self.recipe.training.mode, "operator": stated, "stepsize": step}}


class CriticLoop(Loop):
    """The loop of a critic."""

    trainer: CriticTrainer

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: Recipe,
        patches: Source,
        shown: list[Tensor],
        folder: Path,
        trainer: CriticTrainer,
        listeners: Listeners,
        held_out: Sequence[Tensor] = (),
    ) -> None:
        super().__init__(recipe, patches, shown, folder, trainer, listeners)
        self.held_out = held_out
        if trainer.reconstructions is not None:
            both = self.fingerprint + trainer.reconstructions.fingerprint()
            self.fingerprint = hashlib.sha256(both.encode()).hexdigest()

    def begin_with(self, start: str) -> None:
        self.trainer.begin_with(load_critic(start))

    def _look(self) -> CriticResult | None:
        if not self.group.first:
            return None
        return judge(self.trainer.average, self.shown, self.recipe, reconstructions=self.held_out)

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


class ConvexCriticLoop(Loop):
    """The loop of a convex critic."""

    trainer: ConvexCriticTrainer

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: Recipe,
        patches: Source,
        shown: list[Tensor],
        folder: Path,
        trainer: ConvexCriticTrainer,
        listeners: Listeners,
    ) -> None:
        super().__init__(recipe, patches, shown, folder, trainer, listeners)
        for image in shown:  # an image that the operator does not take is refused now, not at the first look
            trainer.restoration.at((image.shape[-2], image.shape[-1]))
        self.validation = Validation(shown, recipe, trainer.restoration)

    def begin_with(self, start: str) -> None:
        self.trainer.begin_with(load_convex_critic(start))

    def _look(self) -> ConvexCriticResult | None:
        if not self.group.first:
            return None
        seen = self.validation.judge(self.trainer.average)
        self.trainer.weigh_by(seen.factor)
        return seen

    def _seen(self, row: Row, seen: Look) -> Row:
        assert isinstance(seen, ConvexCriticResult)  # noqa: S101  what _look gives
        self.psnr = seen.psnr
        return replace(row, psnr=seen.psnr, lipschitz=seen.lipschitz.value)

    def _judgements(self) -> list[float]:
        return [] if self.log is None else [row.psnr for row in self.log.rows if math.isfinite(row.psnr)]

    def _curves(self, rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
        return {"reconstruction, PSNR in dB": [(row.step, row.psnr) for row in rows]}

    def _known(self, seen: Look) -> dict[str, object]:
        assert isinstance(seen, ConvexCriticResult)  # noqa: S101  what _look gives
        return seen.to_json()


class UnrolledLoop(Loop):
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


def _significant(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
