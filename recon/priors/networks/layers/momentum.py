"""Residual networks in momentum form, whose backward pass rebuilds the states instead of keeping them.

A residual network ``x_{n+1} = x_n + f_n(x_n)`` becomes ``v_{n+1} = b v_n + f_n(x_n)``, ``x_{n+1} = x_n + v_{n+1}`` with
``v_0 = 0`` (Sander, Ablin, Blondel, Peyre 2021). Its inverse is ``x_n = x_{n+1} - v_{n+1}``, then ``v_n = (v_{n+1} -
f_n(x_n)) / b``: in this order, and for b other than 0. Rounding grows like ``eps b^-T`` over T layers, so states are
held in double precision whatever the branches compute in, and the backward pass compares the start that it arrives at
with the true one.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from recon.errors import GuaranteeError, UsageError

MEMORY = ("checkpoint", "momentum", "plain")
"""What is kept for the backward pass: every sqrt(T)-th state, the last one, or all that autograd needs."""

TOLERANCE = 1e-5
"""Of the start that a backward pass arrives at, the largest error relative to the norm of the start."""

_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)
_NORMALISED = (nn.modules.batchnorm._BatchNorm,)

Gradients = tuple[Tensor | None, ...]


@final
class MomentumForm(nn.Module):
    """Residual branches f_0 .. f_{T-1} as a network in momentum form, ``x_0 -> x_T``.

    Args:
        branches: Modules from ``(x, *context)`` to a tensor of the shape of x. One that occurs several times has the
            same weights each time.
        momentum: b, from 0 to below 1; with 0 it is the residual network itself.
        memory: One of :data:`MEMORY`. With ``"momentum"`` the backward pass keeps as much whatever the number of
            branches; what it computes beside is one evaluation of each. It takes no second derivative.
        state: The precision of x_n and v_n with ``"momentum"``; the others have that of the input.
        tolerance: The largest error, relative to the norm of x_0, of the start that the backward pass arrives at.
        fall_back: Whether a larger one makes it begin anew with states computed forwards and kept, with a warning;
            else it is refused.

    Attributes:
        error: That of the last backward pass; NaN before the first.

    Raises:
        UsageError: A value out of range, or states of which rounding alone would exceed the tolerance.
    """

    def __init__(  # noqa: PLR0913  each is an independent choice
        self,
        branches: Sequence[nn.Module],
        momentum: float = 0.9,
        *,
        memory: str = "momentum",
        state: torch.dtype = torch.float64,
        tolerance: float = TOLERANCE,
        fall_back: bool = True,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_checked(branches))
        _check(len(self.branches), momentum, memory, state, tolerance)
        self.momentum, self.memory, self.state = momentum, memory, state
        self.tolerance, self.fall_back, self.error = tolerance, fall_back, math.nan
        self._seen: set[int] = set()

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """x_T, of the shape and the type of x.

        Args:
            x: x_0, (batch, ...).
            context: What every branch is given besides, such as a measurement; tensors among it have gradients too.

        Raises:
            UsageError: A branch gives another shape, overwrites its input, or is random or changed by each
                evaluation, so that the backward pass would meet another one.
        """
        if not (isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise UsageError(f"momentum_form: the input is {kind}; expected a tensor of real or complex numbers.")
        if not torch.is_grad_enabled() or self.memory == "plain":
            return self._through(x, torch.zeros_like(x), range(len(self.branches)), context)[0]
        if self.memory == "checkpoint":
            return self._checkpointed(x, context)
        self._check_state(x)
        tensors = [value for value in context if isinstance(value, Tensor)]
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        if not any(tensor.requires_grad for tensor in (x, *tensors, *weights)):
            return self._through(x, torch.zeros_like(x), range(len(self.branches)), context)[0]
        run = _Run(self, context, weights, len(tensors), _Casting.of(x), [weight._version for weight in weights])
        found: Tensor = _Inverted.apply(run, x, *tensors, *weights)
        return found

    def extra_repr(self) -> str:
        """What torch prints of it."""
        return f"momentum={self.momentum:g}, memory={self.memory!r}"

    def branch(self, index: int, x: Tensor, context: Sequence[Any]) -> Tensor:
        """f_n(x), seen to be of the shape of x.

        Raises:
            UsageError: It is not, or x was overwritten.
        """
        before = x._version
        found = self.branches[index](x, *context)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"momentum_form: branch {index} gives {given} for an input of shape {tuple(x.shape)}; expected that "
                "shape, because it is added to its input."
            )
        if x._version != before:
            raise UsageError(
                f"momentum_form: branch {index} overwrites its input; expected inplace=False in its first layer, "
                "because the input is used again."
            )
        return found

    def _through(self, x: Tensor, v: Tensor, layers: Sequence[int], context: Sequence[Any]) -> tuple[Tensor, Tensor]:
        for index in layers:
            v = self.momentum * v + self.branch(index, x, context)
            x = x + v
        return x, v

    def _checkpointed(self, x: Tensor, context: Sequence[Any]) -> Tensor:
        from torch.utils.checkpoint import checkpoint  # noqa: PLC0415  takes a moment to import

        count = len(self.branches)
        stride = math.ceil(math.sqrt(count))
        v = torch.zeros_like(x)
        for first in range(0, count, stride):
            layers = range(first, min(first + stride, count))
            x, v = checkpoint(self._through, x, v, layers, context, use_reentrant=False)
        return x

    def _check_state(self, x: Tensor) -> None:
        if torch.finfo(x.dtype).eps < torch.finfo(self.state).eps:
            raise UsageError(
                f"momentum_form: the input is {x.dtype} and the state {self.state}; expected a state that is as "
                "precise, because the input is rebuilt from it."
            )
        for module in self.modules():
            if not module.training:
                continue
            random = isinstance(module, _RANDOM) and getattr(module, "p", 1) != 0
            if random or (isinstance(module, _NORMALISED) and module.track_running_stats):
                what = "draws random numbers" if random else "moves its running statistics"
                raise UsageError(
                    f"momentum_form: {type(module).__name__} in training mode {what} at each evaluation; expected "
                    "module.eval() or memory = 'plain', because the backward pass evaluates every branch anew."
                )


def momentum_form(
    network: nn.Module | Sequence[nn.Module], momentum: float = 0.9, *, steps: int | None = None, **options: Any
) -> MomentumForm:
    """A residual network of one's own in momentum form, with the same weights.

    Args:
        network: An ``nn.Sequential`` of residual blocks ``x -> x + f(x)``, or the residual branches f as a list or an
            ``nn.ModuleList``; any other module is one branch f.
        momentum: b.
        steps: How often they are gone through, one after the other, with the same weights; ``None``: once.
        options: ``memory``, ``state``, ``tolerance`` and ``fall_back``, as of :class:`MomentumForm`.

    Raises:
        UsageError: There is no branch, or a value is out of range.
    """
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise UsageError(f"momentum_form: steps={steps!r}; expected a whole number of at least 1.")
    if isinstance(network, nn.Sequential):
        branches: list[nn.Module] = [_Difference(block) for block in network]
    elif isinstance(network, nn.ModuleList):
        branches = list(network)
    elif isinstance(network, nn.Module):
        branches = [network]
    elif isinstance(network, Iterable):
        branches = list(network)
    else:
        raise UsageError(
            f"momentum_form: the network is of type {type(network).__name__}; expected an nn.Module, or a list of its "
            "branches."
        )
    return MomentumForm(branches * (steps or 1), momentum, **options)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@final
class _Difference(nn.Module):
    """The branch of a residual block: what it adds to its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        found: Tensor = self.block(x, *context)
        return found - x if found.shape == x.shape else found


@final
@dataclass(frozen=True)
class _Casting:
    """The automatic choice of precision of a forward pass, which its backward pass has to repeat."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor) -> "_Casting":
        device = x.device.type
        return cls(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    def again(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device, self.dtype, enabled=True) if self.enabled else contextlib.nullcontext()


@final
@dataclass(frozen=True)
class _Run:
    """One forward pass: its form, what its branches were given, and the weights that have a gradient."""

    form: MomentumForm
    context: tuple[Any, ...]
    weights: list[nn.Parameter]
    tensors: int
    casting: _Casting
    versions: list[int]

    @property
    def layers(self) -> range:
        return range(len(self.form.branches))

    def with_tensors(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """The context, with other tensors in place of its own."""
        left = iter(tensors)
        return tuple(next(left) if isinstance(value, Tensor) else value for value in self.context)

    def wide(self, dtype: torch.dtype) -> torch.dtype:
        return self.form.state.to_complex() if dtype.is_complex else self.form.state


class _Inverted(torch.autograd.Function):
    """The momentum form, of which the last state is kept; the start is the caller's and costs nothing."""

    @staticmethod
    def forward(ctx: Any, run: _Run, x: Tensor, *tensors: Tensor) -> Tensor:
        context = tensors[: run.tensors]
        state = x.to(run.wide(x.dtype), copy=True)
        v = torch.zeros_like(state)
        for index in run.layers:
            v.mul_(run.form.momentum).add_(run.form.branch(index, state.to(x.dtype), run.with_tensors(context)))
            state.add_(v)
        ctx.run = run
        ctx.save_for_backward(x, state, v, *context)
        return state.to(x.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        run: _Run = ctx.run
        if torch.is_grad_enabled():
            raise UsageError(
                "momentum_form: a second derivative was asked for (create_graph=True); expected memory = 'plain' or "
                "'checkpoint', because rebuilt states have no graph."
            )
        if [weight._version for weight in run.weights] != run.versions:
            raise UsageError(
                "momentum_form: weights were changed between the forward and the backward pass; expected the same, "
                "because the states are rebuilt with them."
            )
        start, x, v, *context = ctx.saved_tensors
        back = _Backward(run, start, tuple(context), ctx.needs_input_grad[2 : 2 + run.tensors])
        with run.casting.again():
            found, run.form.error = back.inverted(x.clone(), v.clone(), gradients[0])
            if not run.form.error <= run.form.tolerance:
                back.complain(run.form.error)
                found = back.kept(gradients[0], x)
        return None, *found


@final
@dataclass(frozen=True)
class _Backward:
    """A backward pass."""

    run: _Run
    start: Tensor
    context: tuple[Tensor, ...]
    wanted: tuple[bool, ...]

    def inverted(self, x: Tensor, v: Tensor, gradient: Tensor) -> tuple[Gradients, float]:
        """The gradients by states rebuilt from the last one, and the error of the start; x and v are overwritten."""

        def before(index: int, evaluate: Callable[[Tensor], Tensor]) -> None:
            x.sub_(v)
            v.sub_(evaluate(x.to(self.start.dtype))).div_(self.run.form.momentum)

        found = self._gradients(before, gradient)
        return found, max(_apart(x, self.start), _apart(v, torch.zeros_like(v), self.start))

    def kept(self, gradient: Tensor, end: Tensor) -> Gradients:
        """The gradients by states that are computed forwards and kept.

        Raises:
            GuaranteeError: They do not lead to the end that the forward pass had: a branch is another one each time.
        """
        form, states = self.run.form, []
        x = self.start.to(self.run.wide(self.start.dtype), copy=True)
        v = torch.zeros_like(x)
        for index in self.run.layers:
            states.append(x.to(self.start.dtype, copy=True))
            v.mul_(form.momentum).add_(form.branch(index, states[-1], self.run.with_tensors(self.context)))
            x.add_(v)
        apart = _apart(x, end)
        if bool(end.isfinite().all()) and not apart <= self.run.form.tolerance:
            raise GuaranteeError(
                f"momentum_form: states that are computed again end {apart:.2g} of their norm from those of the "
                "forward pass; expected the same, because gradients of other branches are wrong: a branch draws random "
                "numbers or is changed by each evaluation, which memory = 'plain' allows."
            )
        return self._gradients(lambda index, evaluate: evaluate(states[index]), gradient)

    def complain(self, error: float) -> None:
        """Warn of an inverse that is not accurate, or refuse it."""
        form = self.run.form
        what = (
            f"momentum_form: the start that the backward pass arrives at is {error:.2g} of its norm from the true one, "
            f"after {len(form.branches)} branches with momentum {form.momentum:g} in {form.state}; expected at most "
            f"{form.tolerance:g}"
        )
        if not form.fall_back:
            raise GuaranteeError(f"{what}: a momentum nearer to 1, fewer branches, or memory = 'checkpoint'.")
        warnings.warn(f"{what}, so the states are computed again and kept.", RuntimeWarning, stacklevel=2)

    def _gradients(self, before: Callable[[int, Callable[[Tensor], Tensor]], Any], gradient: Tensor) -> Gradients:
        """One vector-Jacobian product a branch, from the last to the first, at states that ``before`` finds."""
        run = self.run
        gx = gradient.to(run.wide(gradient.dtype), copy=True)
        gv = torch.zeros_like(gx)
        sums: list[Tensor | None] = [None] * (len(self.wanted) + len(run.weights))
        for index in reversed(run.layers):
            graph = _Graph(run, index, self.context, self.wanted)
            before(index, graph.evaluate)
            gv.add_(gx)
            for place, part in enumerate(graph.products(gv.to(graph.image.dtype))):
                if place == 0:
                    gx = gx if part is None else gx.add_(part)
                elif part is not None:
                    held = sums[place - 1]
                    sums[place - 1] = part if held is None else held + part
            gv.mul_(run.form.momentum)
        return gx.to(self.start.dtype), *sums


def _apart(found: Tensor, wanted: Tensor, like: Tensor | None = None) -> float:
    """The distance over the norm of what was wanted, or of ``like``; of nothing the distance itself."""
    error = float(torch.linalg.vector_norm(found - wanted))
    size = float(torch.linalg.vector_norm((wanted if like is None else like).to(found.dtype)))
    return error / size if size else error


class _Graph:
    """The graph of one branch at one state."""

    point: Tensor
    image: Tensor

    def __init__(self, run: _Run, index: int, context: Sequence[Tensor], wanted: Sequence[bool]) -> None:
        self.run, self.index = run, index
        self.context = [
            tensor.detach().requires_grad_() if of else tensor.detach()
            for tensor, of in zip(context, wanted, strict=True)
        ]
        self.wanted = wanted

    def evaluate(self, x: Tensor) -> Tensor:
        """f_n(x), without the graph that is kept."""
        with torch.enable_grad():
            self.point = x.detach().requires_grad_()
            self.image = self.run.form.branch(self.index, self.point, self.run.with_tensors(self.context))
        return self.image.detach()

    def products(self, g: Tensor) -> Iterator[Tensor | None]:
        """The products of g with the derivatives by x, by each tensor of the context, and by each weight."""
        if not self.image.requires_grad:
            return iter([None] * (1 + len(self.wanted) + len(self.run.weights)))
        own = {id(weight) for weight in self.run.form.branches[self.index].parameters()}
        chosen = [self.point]
        chosen += [tensor for tensor in self.context if tensor.requires_grad]
        chosen += [weight for weight in self.run.weights if id(weight) in own]
        self._require_known(chosen)
        found = iter(torch.autograd.grad(self.image, chosen, g, allow_unused=True))
        first = next(found)
        of_context = [next(found) if tensor.requires_grad else None for tensor in self.context]
        of_weights = [next(found) if id(weight) in own else None for weight in self.run.weights]
        return iter([first, *of_context, *of_weights])

    def _require_known(self, chosen: Sequence[Tensor]) -> None:
        """Refuse a branch with a gradient by something else, which would be lost; looked at once a branch.

        Raises:
            UsageError: There is one.
        """
        if self.index in self.run.form._seen:
            return
        known = {id(tensor) for tensor in chosen}
        if any(id(leaf) not in known for leaf in _leaves(self.image)):
            raise UsageError(
                f"momentum_form: branch {self.index} depends on a tensor with a gradient that is neither a parameter "
                "of its own nor in its context; expected one of the two, because that gradient would be lost."
            )
        self.run.form._seen.add(self.index)


def _leaves(image: Tensor) -> Iterator[Tensor]:
    """The leaves of the graph of a tensor."""
    waiting, seen = [image.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _checked(branches: Sequence[nn.Module]) -> list[nn.Module]:
    found = list(branches)
    for index, branch in enumerate(found):
        if not isinstance(branch, nn.Module):
            raise UsageError(
                f"momentum_form: branch {index} is a {type(branch).__name__}; expected an nn.Module, because the "
                "gradients of its weights are needed."
            )
    if not found:
        raise UsageError("momentum_form: there is no branch; expected at least one.")
    return found


def _check(count: int, momentum: float, memory: str, state: torch.dtype, tolerance: float) -> None:
    if memory not in MEMORY:
        raise UsageError(f"momentum_form: memory={memory!r}; expected {', '.join(MEMORY)}.")
    if not _is_number(momentum) or not 0 <= momentum < 1:
        raise UsageError(f"momentum_form: momentum={momentum!r}; expected a number from 0 to below 1.")
    if state not in (torch.float32, torch.float64):
        raise UsageError(f"momentum_form: state={state!r}; expected torch.float64 or torch.float32.")
    if not _is_number(tolerance) or not 0 < tolerance < 1:
        raise UsageError(f"momentum_form: tolerance={tolerance!r}; expected a number between 0 and 1.")
    if memory != "momentum":
        return
    if momentum == 0:
        raise UsageError(
            "momentum_form: momentum=0 with memory='momentum'; expected a momentum above 0, or memory='checkpoint', "
            "because the inverse of a layer divides by it."
        )
    growth = growth_of_rounding(count, momentum, state)
    if growth > tolerance:
        raise UsageError(
            f"momentum_form: {count} branches with momentum={momentum:g} in {str(state).removeprefix('torch.')} let "
            f"rounding grow to about {growth:.2g} of the state on the way back; expected at most {tolerance:g}: a "
            "momentum nearer to 1, fewer branches, a state in float64, or memory='checkpoint'."
        )


def growth_of_rounding(count: int, momentum: float, state: torch.dtype) -> float:
    """About how large the rounding of a state becomes on the way back, ``eps b^-T``, relative to the state."""
    exponent = -count * math.log(momentum)
    return float(torch.finfo(state).eps * math.exp(exponent)) if exponent < 700 else math.inf
