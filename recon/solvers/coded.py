"""Iterations whose unknowns are the coefficients of images in a dictionary."""

from typing import Any, NamedTuple

from torch import Tensor

from recon._values import remembered
from recon.operators.composition import CharacterisedOperator
from recon.solvers.algorithm import Algorithm
from recon.types import LinearOperator


class CodedIterate(NamedTuple):
    """The image ``x = D z``, and the state of the iteration of which z is the ``x``."""

    x: Tensor
    coded: Any


@remembered
def coded(
    algorithm: Algorithm[Any], dictionary: CharacterisedOperator, zero: Tensor, operators: tuple[LinearOperator, ...]
) -> Algorithm[CodedIterate]:
    """An iteration of coefficients z as one of images ``D z``; it begins at coefficients of 0.

    Args:
        algorithm: The iteration of z.
        dictionary: D.
        zero: Coefficients of 0 for one image, ``(1, bands, rows, columns)``.
        operators: Of images, whose adjoints the iteration applies.
    """

    def shown(state: Any) -> CodedIterate:
        return CodedIterate(dictionary.A(state.x), state)

    def init(x0: Tensor) -> CodedIterate:
        return shown(algorithm.init(zero.to(x0).expand(len(x0), -1, -1, -1).clone()))

    def step(state: CodedIterate) -> CodedIterate:
        return shown(algorithm.step(state.coded))

    return Algorithm(
        f"{algorithm.name} on coefficients", init, step, lambda state: algorithm.variables(state.coded),
        theorem=algorithm.theorem, operators=operators,
    )  # fmt: skip


def unknowns(state: Any, x: Tensor) -> Tensor:
    """What the energy of an iteration is a function of: its coefficients, or else the images x."""
    return state.coded.x if isinstance(state, CodedIterate) else x
