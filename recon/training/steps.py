"""The training of step sizes on the energy itself, without clean images: SLISTA, and the folder that it leaves.

The folder holds ``steps.safetensors`` and ``steps.json``, as :func:`recon.specs.learned_steps.read_steps` reads them;
``config.toml``, the recipe with every value; ``log.csv``; ``checkpoint.json`` and the state that it names.
"""

import csv
import io as text_io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from recon.certificates import duality_gap
from recon.errors import InputError, UsageError
from recon.io import replacing
from recon.operators import Composition, LeastSquares, compose, operator_properties
from recon.operators.adjoint import check_adjoint
from recon.operators.composition import CharacterisedOperator
from recon.priors import Prior, SparseTerm
from recon.priors.networks import ConvolutionalDictionary
from recon.solvers import Algorithm, fista, forward_backward, learned_ista, solve
from recon.specs.grammar import Spec, parse_spec
from recon.specs.learned_steps import MOST_FACTOR, StepsCard, described, write_steps
from recon.specs.operators import OperatorFactory, read_operator
from recon.specs.priors import prior_from_spec
from recon.training.checkpoint import NAME, Progress, load_checkpoint, load_progress, owned, save_checkpoint
from recon.training.data import Source, read_patches, read_validation
from recon.training.loop import CONFIG, Listeners
from recon.training.run import Images, claim
from recon.training.steps_recipe import StepsRecipe, parse_steps_recipe, steps_difference, steps_to_toml
from recon.types import LinearOperator

SOLVED = 300
"""Steps of FISTA whose energy stands for the least one of a problem of the training."""

NOTHING_LEFT = 1e-9
"""Of an energy: what ISTA leaves is taken as at least as much, as less is rounding."""

SAVE_SECONDS = 30.0
"""Between two checkpoints at most: what a hard kill can cost."""

LONG_RUN = 1000
"""Steps of FISTA whose energy stands for the least one."""

_WEIGHTS = 3
"""Weights of the range at which the steps are judged."""


@final
@dataclass(frozen=True)
class StepsNow:
    """The progress of a training of step sizes: steps done and wanted, the loss, and the seconds left."""

    step: int
    steps: int
    loss: float
    seconds_left: float


@final
@dataclass(frozen=True)
class StepsFigure:
    """The gaps that T steps leave on the validation images, in the mean over them, at one weight.

    Attributes:
        weight: w.
        ista: (F(x_T) - min F) / F(x_T) of ISTA; min F is that of a long run.
        fista: Of FISTA.
        learned: Of the learned steps.
        duality_gap: Of the learned steps, as computed without the long run, over F(x_T).
        curvature: L_S / ||A||^2 on the supports after T steps, the largest of the images.
        refused: Learned steps that were replaced, in the mean.
    """

    weight: float
    ista: float
    fista: float
    learned: float
    duality_gap: float
    curvature: float
    refused: float

    @property
    def ratio(self) -> float:
        """The gap of the learned steps over that of ISTA."""
        return self.learned / self.ista if self.ista else math.nan


@final
@dataclass(frozen=True)
class StepsOutcome:
    """The end of a training of step sizes.

    Attributes:
        step: Steps done.
        steps: Steps wanted.
        factors: The step sizes times ||A||^2.
        figures: On the validation images, if it went to the end.
        seconds: Spent on all steps.
    """

    step: int
    steps: int
    factors: tuple[float, ...]
    figures: tuple[StepsFigure, ...]
    seconds: float


def prepare_steps(folder: Path, recipe: StepsRecipe | None, resume: bool, steps: int | None = None) -> StepsRecipe:
    """See that a run may use a folder, and which recipe it follows; makes the folder if it is new.

    Raises:
        OutputError, InputError, UsageError: As of :func:`recon.training.run.prepare`.
    """
    kept = _kept(folder) if resume else None
    if kept is not None and recipe is not None and (key := steps_difference(recipe, kept)) is not None:
        raise UsageError(
            f"{folder}: the run was begun with another {key} than the configuration has; expected the same, "
            "because what the run went through belongs to it (only the number of steps may differ)."
        )
    wanted = recipe or kept
    if wanted is None:
        raise UsageError(f"{folder}: no configuration was given; expected one, unless a run goes on.")
    wanted = wanted if steps is None else replace(wanted, training=replace(wanted.training, steps=steps))
    if kept is None:
        claim(folder)
    return wanted


def is_run_of_steps(folder: Path) -> bool:
    """Return whether there is a run of this kind in a folder, which may go on."""
    progress = load_progress(folder) if (folder / NAME).exists() else None
    return progress is not None and "[steps]" in progress.recipe


def _kept(folder: Path) -> StepsRecipe:
    progress = load_progress(folder)
    if progress is None:
        raise InputError(f"{folder}: there is no run to go on with ({NAME}: no such file).")
    return parse_steps_recipe(progress.recipe, str(folder / NAME), InputError)


def train_steps(  # noqa: PLR0913, PLR0917  what, from what, where to, and who hears of it
    recipe: StepsRecipe,
    images: Images,
    folder: Path,
    device: torch.device,
    say: Callable[[str], None] = lambda line: None,
    watch: Callable[[StepsNow], None] = lambda now: None,
    stopping: Callable[[], bool] = lambda: False,
) -> StepsOutcome:
    """Learn step sizes on files, from the checkpoint in the folder if there is one; see :func:`prepare_steps`.

    Raises:
        InputError: Images or the checkpoint cannot be read.
        UsageError: The operator takes no images of the size of a patch, or gives measurements of another kind.
        OutputError: Something cannot be written; the last checkpoint is whole.
    """
    patches = read_patches(images.training, recipe.data, 1, recipe.training.seed, say)
    held_out = read_validation(images.validation, recipe.data, 1, 12, recipe.data.patch, say, patches.units)
    side = recipe.data.patch
    held_out = [image for image in held_out if image.shape[-2:] == (side, side)]
    if not held_out:
        raise InputError(
            f"no validation image is large enough; expected at least {side} pixels along each axis, as data.patch says."
        )
    problems = Problems(recipe, patches, device)
    with owned(folder):
        return _Run(recipe, problems, held_out, folder, Listeners(say=say, stopping=stopping), watch).go()


@dataclass(frozen=True)
class Solved:
    """Problems with where they begin, their least energies, and what ISTA leaves of them."""

    y: Tensor
    start: Tensor
    term: SparseTerm
    least: Tensor
    left: Tensor


class Problems:
    """Draws problems, and knows the constants of their operator.

    Attributes:
        of_images: A.
        operator: A, or A D where the unknowns are the coefficients of a dictionary D.
        squared_norm: Of the operator, from above.
        term: The penalty of the unknowns, with the weight 1.
    """

    def __init__(self, recipe: StepsRecipe, patches: Source, device: torch.device) -> None:
        self.recipe, self.patches, self.device = recipe, patches, device
        self.spec = parse_spec(recipe.steps.operator, "steps.operator")
        self.family: OperatorFactory = read_operator(self.spec)
        if self.family.is_complex:
            raise UsageError(
                f"steps.operator = {recipe.steps.operator!r}; expected an operator of real images, because files of "
                "images are such."
            )
        side = recipe.data.patch
        self.of_images = self.family.on((side, side))
        check_adjoint(self.of_images, torch.zeros(1, 1, side, side))
        self.operator = in_unknowns(self.of_images, self.prior(1.0), (side, side))
        known = operator_properties(self.operator, torch.zeros(1, 1, side, side)).norm
        self.squared_norm = (known.value + known.error) ** 2
        self.term = term_of(recipe.steps.prior_spec)
        if recipe.steps.measured and self.of_images.A(torch.zeros(1, 1, side, side)).shape[-2:] != (side, side):
            raise UsageError(
                f"steps.measured = true with steps.operator = {recipe.steps.operator!r}; expected an operator whose "
                "measurements have the size of the images, because patches of them are measurements of patches."
            )

    @torch.no_grad()
    def batch(self, number: int) -> Solved:
        """The problems of a batch in double precision, which is the same for the same number."""
        training, safe = self.recipe.training, 1 / self.squared_norm
        generator = torch.Generator().manual_seed(training.seed * 1_000_003 + number)
        images = self.patches.draw(training.batch, generator)[0]
        y, weights = self.measure(images.double(), generator), self._weights(generator).double()
        start = start_of(self.operator, y)
        term = replace(self.term, weight=_each(weights, self.term.analyse(start)))
        steps = torch.full((self.recipe.steps.count,), safe).to(y)
        plain = unrolled(self.operator, term, y, start, steps, safe)
        least = torch.minimum(plain, _least(self.operator, term, y, start, safe))
        return Solved(y, start, term, least, (plain - least).clamp(min=NOTHING_LEFT * plain))

    def prior(self, weight: float) -> Prior:
        """The prior with a weight."""
        return with_weight(self.recipe.steps.prior_spec, weight)

    def measure(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Measurements of images, or the images where they are measurements."""
        if self.recipe.steps.measured:
            return images.to(self.device)
        low, high = self.recipe.training.noise
        level = low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)
        y = self.of_images.A(images.to(self.device))
        return y + (level * torch.randn(y.shape, generator=generator)).to(y)

    def _weights(self, generator: torch.Generator) -> Tensor:
        low, high = self.recipe.steps.weights
        count = self.recipe.training.batch
        return (low * (high / low) ** torch.rand(count, generator=generator)).to(self.device)


def with_weight(spec: Spec, weight: float) -> Prior:
    """The prior of a specification that states no weight, with one."""
    return prior_from_spec(replace(spec, options={**spec.options, "weight": repr(weight)}))


def in_unknowns(operator: LinearOperator, prior: Prior, shape: tuple[int, int]) -> LinearOperator:
    """A, or A D where the prior is a penalty of the coefficients of a dictionary D.

    Raises:
        UsageError: There is a dictionary, and A does not know its norm.
    """
    if prior.synthesis is None:
        return operator
    if not isinstance(operator, CharacterisedOperator):
        raise UsageError(
            f"the operator is a {type(operator).__name__} and the prior a penalty of coefficients; expected an "
            "operator that knows its spaces and its norm."
        )
    return compose(operator, prior.synthesis.alone(shape))


def of_unknowns(spec: Spec, weight: float) -> Prior:
    """The prior of the unknowns: of images, or of coefficients."""
    prior = with_weight(spec, weight)
    return prior if prior.synthesis is None else prior.synthesis.codes


def term_of(spec: Spec) -> SparseTerm:
    """The sparse term of a prior that states no weight, with the weight 1."""
    prior = of_unknowns(spec, 1.0)
    assert prior.sparse is not None  # noqa: S101  the recipe sees to it
    return prior.sparse


def start_of(operator: LinearOperator, y: Tensor) -> Tensor:
    """Where a run begins: the back-projection, scaled so that it measures nearest to y; coefficients begin at 0."""
    if isinstance(operator, Composition) and isinstance(operator.inner, ConvolutionalDictionary):
        return torch.zeros_like(operator.A_adjoint(y))
    back = operator.A_adjoint(y)
    image = operator.A(back).flatten(1)
    scale = (image * y.flatten(1)).sum(1) / image.square().sum(1).clamp(min=1e-30)
    return back * scale.view(-1, 1, 1, 1)


def unrolled(  # noqa: PLR0913, PLR0917  a problem, where it begins, and its steps
    operator: LinearOperator, term: SparseTerm, y: Tensor, start: Tensor, stepsizes: Tensor, safe: float
) -> Tensor:
    """The energies after the steps, of each item, differentiable in the step sizes; those that do not fall replaced.

    Args:
        operator: A.
        term: The penalty, its weight one for each item, of as many axes as the coefficients.
        y: Measurements.
        start: Images.
        stepsizes: One a step.
        safe: The step size of ISTA.
    """
    shape = start.shape
    z, rest = term.analyse(start), operator.A(start) - y
    energy = _energy(term, z, rest, shape)
    for s in stepsizes:
        gradient = term.analyse(operator.A_adjoint(rest))
        found, left, after = _stepped(operator, term, z, y, gradient, s, shape)
        falls = after.detach() <= energy.detach()
        if not bool(falls.all()):
            short, its, there = _stepped(operator, term, z, y, gradient, torch.tensor(safe).to(z), shape)
            found = torch.where(_each(falls, found), found, short)
            left = torch.where(_each(falls, left), left, its)
            after = torch.where(falls, after, there)
        z, rest, energy = found, left, after
    return energy


def _least(operator: LinearOperator, term: SparseTerm, y: Tensor, start: Tensor, s: float) -> Tensor:
    """The energies that a long run of FISTA reaches; its weights differ from item to item."""
    shape = start.shape
    z = point = term.analyse(start)
    for k in range(SOLVED):
        force = term.analyse(operator.A_adjoint(operator.A(term.synthesise(point, shape)) - y))
        after = term.shrink(point - s * force, s, shape)
        z, point = after, after + k / (k + 3) * (after - z)
    return _energy(term, z, operator.A(term.synthesise(z, shape)) - y, shape)


def _each(value: Tensor, like: Tensor) -> Tensor:
    """A value for each item, shaped to go with images or coefficients."""
    return value.view(-1, *[1] * (like.ndim - 1))


def _stepped(  # noqa: PLR0913, PLR0917  one step and what it is made of
    operator: LinearOperator, term: SparseTerm, z: Tensor, y: Tensor, gradient: Tensor, s: Tensor, shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor]:
    found = term.shrink(z - s * gradient, s, shape)
    rest = operator.A(term.synthesise(found, shape)) - y
    return found, rest, _energy(term, found, rest, shape)


def _energy(term: SparseTerm, z: Tensor, rest: Tensor, shape: torch.Size) -> Tensor:
    return rest.flatten(1).square().sum(1) / 2 + term.value(z, shape)


class _Run:
    """The loop, and the files that it writes."""

    def __init__(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
        self,
        recipe: StepsRecipe,
        problems: Problems,
        held_out: list[Tensor],
        folder: Path,
        listeners: Listeners,
        watch: Callable[[StepsNow], None],
    ) -> None:
        self.recipe, self.problems, self.held_out, self.folder = recipe, problems, held_out, folder
        self.listeners, self.watch = listeners, watch
        self.fingerprint = problems.patches.fingerprint()
        begin = torch.linspace(1.0, 1.9, recipe.steps.count, dtype=torch.float64)  # equal ones would stay equal
        self.logarithms = begin.log().requires_grad_()
        self.solved: list[Solved] = []
        self.optimiser = torch.optim.Adam([self.logarithms], recipe.training.learning_rate)
        self.step, self.seconds = 0, 0.0
        self.rows: list[tuple[int, float]] = []

    @property
    def factors(self) -> Tensor:
        """The step sizes times ||A||^2."""
        return self.logarithms.clamp(max=math.log(MOST_FACTOR)).exp()

    def go(self) -> StepsOutcome:
        """Begin, or go on, until the end or until somebody says stop."""
        self._restore()
        with replacing(self.folder / CONFIG, overwrite=True) as temporary:
            temporary.write_text(steps_to_toml(self.recipe), encoding="utf-8")
        if self.step < self.recipe.training.steps:
            self._solve()
        wanted, before, first = self.recipe.training.steps, self.seconds, self.step
        began = saved = time.monotonic()
        self._save()
        while self.step < wanted:
            if len(self.solved) < self.recipe.training.pool // self.recipe.training.batch:
                return self._outcome(())  # stopped while the pool was solved
            loss = self._advance()
            self.rows.append((self.step, loss))
            self.seconds = before + time.monotonic() - began
            left = (time.monotonic() - began) / (self.step - first) * (wanted - self.step)
            self.watch(StepsNow(self.step, wanted, loss, left))
            if self.listeners.stopping():
                self._save()
                return self._outcome(())
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        self._save()
        figures = judge_steps(self.problems, self._known, self.held_out)
        self._publish(figures)
        return self._outcome(figures)

    def _solve(self) -> None:
        """Solve the problems of the pool."""
        training = self.recipe.training
        count = training.pool // training.batch
        self.listeners.say(f"solving the {training.pool} problems of the pool, {SOLVED} steps of FISTA each")
        for number in range(count):
            if self.listeners.stopping():
                break
            self.solved.append(self.problems.batch(number))

    def _outcome(self, figures: tuple[StepsFigure, ...]) -> StepsOutcome:
        return StepsOutcome(self.step, self.recipe.training.steps, self._known, figures, self.seconds)

    @property
    def _known(self) -> tuple[float, ...]:
        return tuple(self.factors.detach().double().tolist())

    def _advance(self) -> float:
        """One step of Adam on what is left of the energy after T steps, over what T steps of ISTA leave."""
        self.step += 1
        training = self.recipe.training
        rate = training.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * self.step / training.steps)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch, safe = self.solved[self.step % len(self.solved)], 1 / self.problems.squared_norm
        energy = unrolled(
            self.problems.operator, batch.term, batch.y, batch.start, self.factors.to(batch.y) * safe, safe
        )
        loss = ((energy - batch.least) / batch.left).mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())

    def _save(self) -> None:
        state = {"logarithms": self.logarithms.detach()}
        adam = self.optimiser.state_dict()["state"].get(0, {})
        state |= {name: torch.as_tensor(value) for name, value in adam.items()}
        progress = Progress(self.step, self.seconds, self.fingerprint, steps_to_toml(self.recipe))
        table = text_io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("step", "loss"), *self.rows])
        with replacing(self.folder / "log.csv", overwrite=True) as temporary:
            temporary.write_text(table.getvalue(), encoding="utf-8")
        save_checkpoint(self.folder, state, progress)

    def _restore(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            InputError: It is of other images, or of another number of steps.
        """
        if not (self.folder / NAME).exists():
            return
        state, progress = load_checkpoint(self.folder)
        if progress.data != self.fingerprint:
            raise InputError(
                f"{self.folder}: the run was begun with other images; expected the same, because it goes on as if it "
                "had never stopped."
            )
        if state.get("logarithms", torch.empty(0)).shape != self.logarithms.shape:
            raise InputError(f"{self.folder / NAME}: the state is not of {self.recipe.steps.count} step sizes.")
        with torch.no_grad():
            self.logarithms.copy_(state.pop("logarithms"))
        if state:
            whole = self.optimiser.state_dict()
            whole["state"] = {0: state}
            self.optimiser.load_state_dict(whole)
        self.step, self.seconds = progress.step, progress.seconds
        self.rows = [row for row in _logged(self.folder / "log.csv") if row[0] <= self.step]

    def _publish(self, figures: tuple[StepsFigure, ...]) -> None:
        recipe = self.recipe
        card = StepsCard(
            self.folder, self._known, described(self.problems.spec), described(recipe.steps.prior_spec),
            recipe.steps.weights,
        )  # fmt: skip
        known: dict[str, Any] = {
            "what": "step sizes that accelerate the same estimate; none after which the energy rises is taken",
            "trained_steps": self.step,
            "images": self.fingerprint,
            "factors": list(self._known),
            "figures": [_plain(figure) for figure in figures],
            "title": recipe.about.title,
            "data": recipe.about.data,
            "licence": recipe.about.licence,
            "limits": recipe.about.limits,
        }
        write_steps(card, known)


def _plain(figure: StepsFigure) -> dict[str, float | None]:
    """A figure as JSON can hold it."""
    names = ("weight", "ista", "fista", "learned", "ratio", "duality_gap", "curvature", "refused")
    values = {name: getattr(figure, name) for name in names}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _logged(path: Path) -> list[tuple[int, float]]:
    """The rows of a log; of one that was damaged none, as it is written anew."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@torch.no_grad()
def judge_steps(problems: Problems, factors: tuple[float, ...], images: list[Tensor]) -> tuple[StepsFigure, ...]:
    """The gaps that as many steps of ISTA, of FISTA and of the learned lengths leave on images."""
    generator = torch.Generator().manual_seed(problems.recipe.training.seed)
    low, high = problems.recipe.steps.weights
    weights = [low * (high / low) ** (i / (_WEIGHTS - 1)) for i in range(_WEIGHTS)] if low < high else [low]
    y = problems.measure(torch.cat([image[:1] for image in images]), generator)
    return tuple(figure_of(problems.operator, problems.recipe.steps.prior_spec, w, factors, y) for w in weights)


@torch.no_grad()
def figure_of(
    operator: LinearOperator, prior: Spec, weight: float, factors: tuple[float, ...], y: Tensor
) -> StepsFigure:
    """The gaps on measurements, in the mean, at one weight."""
    wanted = of_unknowns(prior, weight)
    y = y.double()
    data, start, count = LeastSquares(operator, y), start_of(operator, y), len(factors)
    known = operator_properties(operator, start[:1])
    s = 1 / (known.norm.value + known.norm.error) ** 2
    one = wanted.resolvent(s)

    def energy(x: Tensor) -> Tensor:
        assert wanted.value is not None  # noqa: S101  sparse terms have one
        return data.value(x) + wanted.value(x)

    runs: dict[str, Algorithm[Any]] = {
        "ista": forward_backward(data, one, s),
        "fista": fista(data, one, s),
        "learned": learned_ista(data, wanted, tuple(factor * s for factor in factors), s),
    }
    ended = {name: solve(each, start, tolerance=0, max_steps=count) for name, each in runs.items()}
    least = energy(solve(runs["fista"], start, tolerance=0, max_steps=LONG_RUN).x)
    left = {name: float(((energy(run.x) - least) / energy(run.x)).mean()) for name, run in ended.items()}
    x = ended["learned"].x
    gaps = duality_gap(data, wanted, x, known)
    return StepsFigure(
        weight, left["ista"], left["fista"], left["learned"],
        sum(gap.relative for gap in gaps) / len(gaps),
        s * curvature_on_support(operator, wanted, x),
        float(ended["learned"].state.refused.double().mean()),
    )  # fmt: skip


@torch.no_grad()
def curvature_on_support(operator: LinearOperator, prior: Prior, x: Tensor, applications: int = 30) -> float:
    """L_S = ||A W_S^T||^2 on the supports of images, the largest of them, by power iteration: from below."""
    term = prior.sparse
    assert term is not None  # noqa: S101  the callers see to it
    shape, z = x.shape, term.analyse(x)
    support = z.abs() > 1e-9 * z.abs().amax()
    support[..., : term.free(shape)] = True
    q, value = support.to(z), torch.zeros(len(z)).to(z)
    for _ in range(applications):
        v = support * term.analyse(operator.A_adjoint(operator.A(term.synthesise(q, shape))))
        value = v.flatten(1).norm(dim=1) / q.flatten(1).norm(dim=1).clamp(min=1e-30)
        q = v / v.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, *[1] * (v.ndim - 1))
    return float(value.max())
