"""The steps of the optimisation; everything that determines the next one is in a state that can be saved."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from torch import Tensor

from recon._toml import write_value
from recon.errors import GuaranteeError, InputError, UsageError
from recon.priors.networks import BatchEnsemble, ConvolutionalSparseCoding, GuidedRidge, InnerSolver, Network, make
from recon.training.config import Recipe
from recon.training.data import Source
from recon.training.equilibrium import Restoration, Ways, restoration, tightened
from recon.training.group import ALONE, Group
from recon.training.guides import guided_groups, inherits, with_guides
from recon.training.losses import fidelity, sample
from recon.training.measurements import Measurements
from recon.training.optimisation import Optimisation, Step, under
from recon.training.own import NOTHING_OWN, Own
from recon.training.penalty import AdversarialPoint, between, excess, residual_of_orthogonality, steepest, without_data
from recon.training.sample import Sample
from recon.training.sparsity import sparsity_of
from recon.training.statistics import scale_invariant
from recon.training.tables import PenaltyConfig, TrainingConfig
from recon.training.teacher import Teacher

_ADJOINT = 10.0
"""How much coarser the linear solve of a backward pass may be than the inner iteration: an error in the gradient only
turns the step, while one in J biases the loss."""

_FREE = {"coarse", "divisor", "clip"}
"""Of the architecture, what may differ from that of the network that a training starts from."""

_OF_STEPS = ("steps", "metric")
"""Of the architecture of a sparse coding, what may differ where the code that a training starts from was solved for."""

_FIRST_WEIGHT = 0.01
"""Of the penalty at the beginning of its ramp, relative to the last."""

_TRIED = 16
"""Height and width of the image on which weights are tried."""

_SEEN = 1e-3
"""The bound of the error of J(y) relative to ||y|| while images are looked at: an eighth of a grey level at most."""


class Trainer(Optimisation):
    """A network in training.

    Args:
        recipe: What to do.
        patches: What to train on.
        device: Where to compute.
        group: The processes that share the work.
        own: The user's own loss and operator.
    """

    network: Network
    average: Network

    def __init__(
        self,
        recipe: Recipe,
        patches: Source,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
        own: Own = NOTHING_OWN,
    ) -> None:
        self.own = own
        self.recipe, self.patches, self.device, self.group = recipe, patches, torch.device(device), group
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.training.seed)
            self.network = make(recipe.network).to(self.device).train()
        if self.network.iterates:
            self.network.solver = _inner(recipe.training)
        self.teacher = None
        if recipe.training.teacher:
            self.teacher = Teacher.of(recipe.training.teacher, recipe.network, self.device)
        self.restoration: Restoration | None = None
        if recipe.solves:
            measured = patches if isinstance(patches, Measurements) else None
            size = (recipe.data.patch, recipe.data.patch) if measured is None else measured.image_size
            ways = Ways(recipe.training.mode == "single", recipe.training.noise[1] ** 2, recipe.measurements)
            self.restoration = restoration(recipe.equilibrium, size, own.operator, ways)
            if not ways.single:
                tightened(self.network, recipe.equilibrium)
        self._begin(recipe.training.learning_rate, guided_groups(self.network, recipe))
        self.sparsity = sparsity_of(recipe.sparsity, self.network)
        self.held: tuple[int, Sample] | None = None
        batch, penalty = recipe.training.batch, recipe.penalty
        count = min(penalty.samples or batch, batch)
        self.looked_at = [index * batch // count for index in range(count)] if penalty.weight else []
        self.directions = torch.zeros(0)
        if penalty.weight:
            side = recipe.data.patch
            sides = patches.image_size if isinstance(patches, Measurements) else (side, side)
            shape = (batch, recipe.network.channels, *sides)
            self.directions = torch.randn(shape, generator=self._generator("directions")).to(self.device)
        self.quarry: AdversarialPoint | None = None
        self._invariant: list[str] | None = None

    def advance(self) -> Step:
        """Do one step.

        Raises:
            GuaranteeError: The loss or its gradient is not finite; the weights are those before the step.
        """
        config = self.recipe.training
        begin, end = self.group.share(config.batch)
        data = self._batch(begin, end)
        self.optimizer.zero_grad(set_to_none=True)
        values, denoised = self._differentiate(data)
        constraint = self._penalise(data, denoised, begin)
        orthogonality = self._orthogonalise()
        loss = sum(self.group.gather(float(values.detach().sum()) / config.batch))
        rate = self._descend(loss)
        if self.sparsity is not None:
            self.sparsity.shrink(self.optimizer, self.step - 1)
            self.sparsity.keep_zeros(self.network, self.average)
            shares = (data.level / config.noise[1]) ** -config.balance
            self.sparsity.note(sum(self.group.gather(float((shares * values.detach()).sum()) / config.batch)))
        return Step(self.step, loss, constraint, rate, orthogonality)

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next step, by name; to be called by every process of the group."""
        found = self._optimizer_state()
        if self.directions.numel():
            begin, end = self.group.share(len(self.directions))
            mine = torch.zeros_like(self.directions)
            mine[begin:end] = self.directions[begin:end]
            self.group.sum_([mine])
            found["directions"] = mine
        if self.quarry is not None:
            found |= {f"quarry.{name}": tensor for name, tensor in vars(self.quarry).items()}
        if self.restoration is not None:
            found["kernel"] = self.restoration.fingerprint()
        if self.teacher is not None:
            found["teacher"] = self.teacher.fingerprint()
        if self.sparsity is not None:
            found |= self.sparsity.state()
        found["step"] = torch.tensor([self.step])
        return found

    def begin_with(self, network: Network) -> None:
        """Take the weights of another network over, before the first step.

        What a DnCNN leaves as it is may be another part of the image then: its layers serve all the same.

        Raises:
            UsageError: Its architecture is another one.
        """
        wanted, given = asdict(self.recipe.network), asdict(network.config)
        if inherits(self.network, network):
            given = {**wanted, **given}
        elif self.recipe.network.family != network.config.family:
            raise UsageError(
                f"training.start = {self.recipe.training.start!r} is a {network.config.family} network; expected a "
                f"{self.recipe.network.family} network, as the recipe says."
            )
        elif isinstance(network, ConvolutionalSparseCoding) and network.iterates:  # steps may begin with its dictionary
            given |= {name: wanted.get(name, given[name]) for name in _OF_STEPS}
        for name in sorted(wanted.keys() - _FREE):
            if wanted[name] != given[name]:
                raise UsageError(
                    f"training.start = {self.recipe.training.start!r} has {name} = {write_value(given[name])}; "
                    f"expected {write_value(wanted[name])}, as the recipe says."
                )
        for own in (self.network, self.average):
            own.load_state_dict({**own.state_dict(), **network.state_dict()})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            InputError: It is not one of this recipe.
        """
        try:
            self._restore_optimizer(state)
            if self.directions.numel():
                self.directions.copy_(state["directions"])
            if self.sparsity is not None:
                self.sparsity.restore(state)
            if "quarry.x" in state:
                self.quarry = AdversarialPoint(
                    **{name: part.to(self.device) for name, part in under("quarry.", state).items()}
                )
            if self.restoration is not None and not torch.equal(state["kernel"], self.restoration.fingerprint()):
                named = self.recipe.equilibrium.kernel or self.recipe.equilibrium.operator
                raise InputError(
                    f"equilibrium: {named or 'the operator'!r} is another operator than at the beginning; expected the "
                    "same, because the training goes on."
                )
            if self.teacher is not None and not torch.equal(state["teacher"], self.teacher.fingerprint()):
                raise InputError(
                    f"training.teacher = {self.recipe.training.teacher!r} has other weights than at the beginning; "
                    "expected the same, because the training goes on."
                )
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the state of the training is not one of a {self.recipe.network.family} network as configured; "
                "expected the checkpoint of the same configuration."
            ) from error

    def _batch(self, begin: int, end: int) -> Sample:
        """This process's part of the batch; with an echo, that of the steps before seen another way."""
        config = self.recipe.training
        first, way = self.step - self.step % config.echo, self.step % config.echo
        if self.held is None or self.held[0] != first:
            generator = self._generator("batch", first)
            frames = self.patches.draw(config.batch, generator, 2 if config.loss == "noise2noise" else 1)
            data = sample(frames, config, generator, self.restoration).part(begin, end).to(self.device)
            if self.teacher is not None:
                with self._together():
                    data = self.teacher.shown(data)
            if isinstance(self.network, GuidedRidge):
                with self._together():
                    data = with_guides(self.network, data, self.recipe, self._generator("guide", first), begin)
            self.held = (first, data)
        return self.held[1].turned(way)

    def upcoming(self, begin: int, end: int) -> Sample:
        """A part of the batch of the next step, which this step is then spared to draw; of every process of the group.

        Args:
            begin: The first patch of this process.
            end: The one after its last.
        """
        return self._batch(begin, end)

    def invariant_weights(self) -> list[str]:
        """The names of weights whose scale the network does not depend on, found once by a trial."""
        if self._invariant is None:
            size, level = (1, self.recipe.network.channels, _TRIED, _TRIED), self.recipe.training.noise[1]
            image = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(self.device)
            told = level if self.network.conditioned else None
            self._invariant = scale_invariant(self.network, lambda network: network(image, told))
        return self._invariant

    def _differentiate(self, data: Sample) -> tuple[Tensor, Tensor]:
        """As :func:`fidelity`, with the gradient left in the parameters."""
        config = self.recipe.training
        shares = (data.level / config.noise[1]) ** -config.balance
        network = self.network
        if isinstance(network, BatchEnsemble):
            network.draw(self._generator("latent"))
        with self._together():
            values, denoised = fidelity(network, data, config, self.restoration, self.own.loss)
            loss = (shares * values).sum() / config.batch
            if isinstance(network, BatchEnsemble):
                loss = loss + len(values) / config.batch * network.prior_loss()
            loss.backward()  # type: ignore[no-untyped-call]
        return values, denoised

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """End all processes where one does not solve its part, for which the others would wait."""
        failure = None
        try:
            yield
        except GuaranteeError as error:
            failure = error
        if self.group.any(failure is not None):
            what = "a patch of another process is not solved" if failure is None else str(failure)
            raise GuaranteeError(f"at step {self.step + 1} {what}") from failure

    def _penalise(self, data: Sample, denoised: Tensor, begin: int) -> float:
        """Add the gradient of the penalty to those of the loss; the largest norm over all processes, or NaN."""
        penalty, network = self.recipe.penalty, self.network
        if not self.looked_at or self.step < penalty.start:
            return math.nan
        mine = [index - begin for index in self.looked_at if 0 <= index - begin < len(data.noisy)]
        norms, found = torch.full((1,), -math.inf), None
        points, levels = (part[mine] for part in self._points(self._truth(data, denoised), denoised, data.level, begin))
        if penalty.hunt and begin == 0:
            self.quarry = self._hunted(points[:1], levels[:1])
            self.directions[:1] = self.quarry.h
            points = torch.cat([self.quarry.x, points[1:]])
            levels = torch.cat([self.quarry.level, levels[1:]])
        level = levels if network.conditioned else None
        if mine:
            places = [begin + index for index in mine]
            found = steepest(network, points, level, self.directions[places], penalty.applications)
            self.directions[places] = found.vectors
            norms = found.norms
        worst = self.group.gather(float(norms.max()))
        if found is not None and worst.index(max(worst)) == self.group.rank:
            k = found.worst
            one = None if level is None else level[k : k + 1]
            value = excess(network, points[k : k + 1], one, found.vectors[k : k + 1], penalty.target)
            (penalty_weight(penalty, self.step) * value).backward()  # type: ignore[no-untyped-call]
        return max(worst)

    def _truth(self, data: Sample, denoised: Tensor) -> Tensor:
        """The images between which and those found the penalty looks; of measurements those found are all there is."""
        return denoised if self.recipe.measured else data.target

    def _orthogonalise(self) -> float:
        """Add the gradient of the penalty of the kernels, which no image decides: once, whatever the processes."""
        weight = self.recipe.penalty.orthogonality
        if not weight:
            return math.nan
        value = residual_of_orthogonality(self.network)
        if self.group.first:
            (weight * value).backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    def _hunted(self, x: Tensor, level: Tensor) -> AdversarialPoint:
        """The quarry a step further, or a new one."""
        age = self.step - self.recipe.penalty.start
        if self.quarry is None or age % self.recipe.penalty.hunt == 0:
            self.quarry = AdversarialPoint(x, self.directions[:1], level)
        return self.quarry.hunted(self.network)

    def _points(self, clean: Tensor, denoised: Tensor, level: Tensor, begin: int) -> tuple[Tensor, Tensor]:
        """Return points at which the derivative is looked at, for this process's part of the batch, and their levels.

        Of those without data a third each are at the lowest level, at the highest, and at that of the patch.
        """
        penalty, batch = self.recipe.penalty, self.recipe.training.batch
        generator, mine = self._generator("points"), slice(begin, begin + len(clean))
        points = between(clean, denoised, torch.rand(batch, generator=generator)[mine])
        if not penalty.wild:
            return points, level
        images = without_data((batch, *clean.shape[1:]), generator)[mine].to(points)
        chosen, share, end = torch.rand((3, batch), generator=generator)[:, mine].to(level)
        is_wild = chosen < penalty.wild  # drawn: of few patches a rounded share would be none
        low, high = self.recipe.training.noise
        level = torch.where(is_wild & (end < 1 / 3), low, torch.where(is_wild & (end > 2 / 3), high, level))
        return between(points, images, torch.where(is_wild, (2 * share).clamp(max=1), 0.0)), level


def penalty_weight(config: PenaltyConfig, step: int) -> float:
    """The weight of the penalty at a step."""
    share = min(1.0, (step - config.start) / config.ramp) if config.ramp else 1.0
    return float(config.weight * _FIRST_WEIGHT ** (1 - share))


def as_kept(network: Network) -> Network:
    """The network as it is used after training: an inner iteration is run until it is seen no more in the figures."""
    twin = network.frozen(torch.float32, next(network.parameters()).device)
    if twin.iterates:
        twin.solver = InnerSolver(accuracy=_SEEN)
    return twin


def _inner(config: TrainingConfig) -> InnerSolver:
    accuracy = config.inner_accuracy
    solver = InnerSolver(accuracy=accuracy, adjoint_accuracy=min(_ADJOINT * accuracy, 0.5))
    return replace(solver, steps=config.inner_steps or None)
