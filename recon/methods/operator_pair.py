"""An operator with its adjoint, or with the surrogate that takes the adjoint's place, and their constants."""

from dataclasses import dataclass, replace

from torch import Tensor

from recon import operators
from recon.certificates.conditions import ROUNDING
from recon.errors import GuaranteeError
from recon.evidence import Constant, Evidence
from recon.operators import Mismatch, OperatorProperties
from recon.operators.adjoint import is_gap, refuse_gap
from recon.operators.tomography import Tomography, WeightedTomography
from recon.types import LinearOperator

_PROVED_PAIRS = (Tomography, WeightedTomography)
"""Both maps apply the same weights, so that the gap is proved; to measure it too would take 70 projections."""


@dataclass(frozen=True)
class OperatorPair:
    """The operator, its constants, and the surrogate where there is one.

    Attributes:
        operator: A.
        properties: Its constants.
        gap: ||K - A^T|| / ||A||, as measured before the first step, from below, or proved.
        gap_upper: The same from above, by an estimate, or proved; ``None`` where it was not looked at.
        surrogate: The operator whose adjoint is K, or ``None``.
        mismatch: The constants of K A + shift Id, or ``None``.
    """

    operator: LinearOperator
    properties: OperatorProperties
    gap: Constant
    surrogate: LinearOperator | None = None
    mismatch: Mismatch | None = None
    gap_upper: Constant | None = None

    @property
    def squared_norm(self) -> float:
        """||A||^2 from above, as far as is known.

        Raises:
            GuaranteeError: A is zero.
        """
        norm = self.properties.norm
        square = (norm.value + norm.error) ** 2
        if square == 0:
            raise GuaranteeError(
                "The operator is zero: its norm is 0, so the measurement says nothing about the image."
            )
        return square


def analyse_operator(  # noqa: PLR0913  each is an independent choice of the caller
    operator: LinearOperator,
    surrogate: LinearOperator | None,
    example: Tensor,
    *,
    shift: float | str | None = None,
    seed: int = 0,
    refuse: bool = True,
) -> OperatorPair:
    """Measure a pair of maps; refuse an adjoint that is none, unless a surrogate was declared.

    The package's own projectors are taken at their word. Of a pair that proves its adjoint, the lower bound is enough;
    of any other the estimate from above is looked at too.

    Args:
        operator: A.
        surrogate: An operator whose adjoint is K, or ``None``.
        example: A zero image, (1, 1, height, width).
        shift: As in :class:`recon.specs.solve_config.SolveConfig`.
        seed: Of the measurement.
        refuse: Whether to raise; else the certificates say what is wrong.

    Raises:
        GuaranteeError: ``A_adjoint`` is not the adjoint, and no surrogate was declared.
    """
    properties = operators.operator_properties(operator, example, seed=seed)
    if surrogate is None and isinstance(operator, _PROVED_PAIRS):
        return OperatorPair(operator, properties, properties.adjoint_gap, gap_upper=properties.adjoint_gap)
    if surrogate is None:
        return _analysed(operator, properties, example, seed, refuse)
    mismatch = operators.mismatch_of(operator, surrogate, example)
    kappa = operators.shift_for(mismatch) if shift == "auto" else float(shift or 0.0)
    if kappa:
        mismatch = operators.mismatch_of(operator, surrogate, example, shift=kappa)
    return OperatorPair(operator, properties, mismatch.adjoint_gap, surrogate, mismatch)


def _analysed(
    operator: LinearOperator, properties: OperatorProperties, example: Tensor, seed: int, refuse: bool
) -> OperatorPair:
    """A pair without a surrogate, its gap measured whatever the operator says of itself."""
    known = properties.adjoint_gap
    gap = operators.adjoint_gap(operator, example, seed=seed)
    if known.evidence is Evidence.PROVED and gap.value <= ROUNDING:
        return OperatorPair(operator, properties, gap, gap_upper=known)
    upper = operators.adjoint_gap_upper(operator, example, seed=seed)
    if upper.value < gap.value:  # double precision sees less of it than single does
        upper = replace(upper, value=gap.value)
    if refuse:
        refuse_gap(operator, gap, upper, example.dtype)
    if gap.value > ROUNDING or known.evidence is not Evidence.PROVED:
        properties = replace(properties, adjoint_gap=gap)
    if is_gap(gap, upper, example.dtype) and gap.value <= ROUNDING:
        properties = replace(properties, adjoint_gap=replace(upper, error=0.0))
    return OperatorPair(operator, properties, gap, gap_upper=upper)
