"""The result of a factorisation: the factors, how near they are, and what is known of them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

from recon.evidence import Proved
from recon.operators.factorised import Blocks, Factorised, Permutation


class Status(StrEnum):
    """What a factorisation is."""

    EXACT = "exact"
    NOT_IDENTIFIABLE = "not identifiable"
    HEURISTIC = "heuristic"
    OPTIMAL = "optimal"


@final
@dataclass(frozen=True, eq=False)
class Factorisation:
    """A dense matrix as a product of sparse factors.

    Attributes:
        operator: The product, on vectors.
        structure: ``butterfly``, ``low-rank`` or ``hierarchical``.
        status: ``exact``: the product is the matrix up to its rounding, and the factors are the only ones up to
            scaling. ``not identifiable``: so is the product, and other factors of the same supports give it too.
            ``optimal``: no factors of this structure are nearer. ``heuristic``: nearer ones may exist.
        reason: For the status, in words.
        error: ||M - F_1 ... F_J|| / ||M|| in the operator norm, from above.
        frobenius_error: The same in the Frobenius norm.
        least_error: A bound from below of the error in the Frobenius norm that any factors of this structure have, in
            the order of rows and columns that was found; 0 where nothing is known.
        order: Of the rows and columns, in words.
        padded: The side that the matrix was padded to, or ``None``.
        notes: Remarks, one sentence each.
    """

    operator: Factorised
    structure: str
    status: Status
    reason: str
    error: Proved
    frobenius_error: Proved
    least_error: float = 0.0
    order: str = "as they are"
    padded: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def saving(self) -> float:
        """Numbers of the matrix over those of the factors."""
        rows, columns = self.operator.shape
        return rows * columns / self.operator.nonzeros

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows, columns = self.operator.shape
        return {
            "structure": self.structure,
            "status": self.status.value,
            "reason": self.reason,
            "rows": rows,
            "columns": columns,
            "complex": self.operator.domain.is_complex,
            "error": self.error.value,
            "error_evidence": self.error.evidence.value,
            "error_how": self.error.how,
            "frobenius_error": self.frobenius_error.value,
            "least_frobenius_error": self.least_error,
            "order": self.order,
            "padded": self.padded,
            "nonzeros": self.operator.nonzeros,
            "saving": self.saving,
            "factors": [
                {
                    "kind": type(factor).__name__.lower(),
                    "rows": factor.shape[0],
                    "columns": factor.shape[1],
                    "nonzeros": factor.nonzeros,
                    "support": _support(factor),
                }
                for factor in self.operator.factors
            ],
            "notes": list(self.notes),
        }


def _support(factor: object) -> list[int] | None:
    """The pattern (a, b, c, d) of ``I_a (x) 1_{b x c} (x) I_d``, of blocks."""
    if not isinstance(factor, Blocks) or isinstance(factor, Permutation):
        return None
    a, d, b, c = factor.blocks.shape
    return [a, b, c, d]
