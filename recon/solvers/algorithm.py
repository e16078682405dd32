"""Algorithms as two pure functions, so that pausing, resuming and batching need no machinery."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from recon._values import Made
from recon.certificates import Certificate
from recon.errors import UsageError
from recon.operators import DataResolvent, LeastSquares
from recon.types import LinearOperator, Map


class State(Protocol):
    """The state of an algorithm between steps: a NamedTuple with the image ``x`` among its fields.

    Every tensor in it has the batch in dimension 0, so that a finished item can be frozen while the others go on.
    """

    @property
    def x(self) -> Tensor: ...


S = TypeVar("S", bound=State)


@dataclass(frozen=True, eq=False, repr=False)
class Algorithm(Made, Generic[S]):
    """A fixed-point iteration, with the maps and step sizes that it runs with.

    It pickles, compares and prints as the call that made it, as ``forward_backward(data, resolvent, 0.5)``; ``recipe``
    has the arguments of that call by name.

    Attributes:
        name: What messages and records call it.
        init: The state that stands for a starting image.
        step: One iteration: pure, so the same state always gives the same next state.
        variables: The tensors of the state whose change is the fixed-point residual.
        residual: For a method whose steps are not those of an averaged map, such as a Krylov method, which may stand
            still without having arrived: how far each batch item is from a solution, (batch,), relative to the start.
            It then takes the place of the fixed-point residual; ``None`` elsewhere.
        targets: For a method that takes back a part of each move: what the variables of the state before were moved to,
            kept in the state after, so that the residual is the move and not what is left of it; ``None``: themselves.
        theorem: From an image of the start's shape, or ``None``, to what is guaranteed of the iteration; it is called
            by :func:`recon.solvers.certify`. ``None``: the package has no theorem about it.
        operators: Those whose ``A_adjoint`` the iteration applies as the adjoint of ``A``.
    """

    name: str
    init: Callable[[Tensor], S] = field(repr=False)
    step: Callable[[S], S] = field(repr=False)
    variables: Callable[[S], tuple[Tensor, ...]] = field(repr=False)
    residual: Callable[[S], Tensor] | None = field(default=None, repr=False)
    targets: Callable[[S], tuple[Tensor, ...]] | None = field(default=None, repr=False)
    theorem: Callable[[Tensor | None], Certificate] | None = field(default=None, repr=False, compare=False)
    operators: tuple[LinearOperator, ...] = field(default=(), repr=False, compare=False)


def iterate(algorithm: Algorithm[S], x0: Tensor) -> Iterator[S]:
    """The states of an algorithm, endlessly: ``islice(iterate(algorithm, x0), 50)`` are the first fifty.

    The starting state comes first.
    """
    state = algorithm.init(x0)
    while True:
        yield state
        state = algorithm.step(state)


def check_stepsize(solver: str, stepsize: float, name: str = "stepsize") -> None:
    """Refuse a step size that is not a positive finite number."""
    if isinstance(stepsize, Tensor) or not (stepsize > 0 and math.isfinite(stepsize)):
        raise UsageError(f"{solver}: {name}={stepsize!r}; expected a positive finite number.")


def check_relaxation(solver: str, relaxation: float) -> None:
    """Refuse a relaxation outside (0, 2), where no iteration of a nonexpansive map is averaged."""
    if isinstance(relaxation, Tensor) or not 0 < relaxation < 2:
        raise UsageError(f"{solver}: relaxation={relaxation!r}; expected a number between 0 and 2, both excluded.")


def operators_of(*maps: Map | None) -> tuple[LinearOperator, ...]:
    """The operators whose adjoints data maps apply."""
    terms = [each.data if isinstance(each, DataResolvent) else each for each in maps]
    return tuple(term.operator for term in terms if isinstance(term, LeastSquares) and term.is_gradient)
