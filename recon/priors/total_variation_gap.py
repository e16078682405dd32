"""A bound of the distance of a primal point of total variation from the exact one, rounding included.

``P(z) = ||z - v||^2 / 2 + w sum_i m_i |(D z)_i|`` has the dual ``||v||^2 / 2 - ||v - w D^T q||^2 / 2`` over the
fields q with ``|q_i| <= m_i``. For every z and such a q, with ``z' = v - w D^T q``, the gap between the two is

    ||z - z'||^2 / 2 + w h(z),   h(z) = sum_i m_i |(D z)_i| - <(D z)_i, q_i>,   no term negative.

Both are strongly convex, so that the gap is at least ``||z - z*||^2 / 2 + ||z' - z*||^2 / 2`` with z* the minimiser,
and from ``||z - z'|| <= d`` follows ``||z - z*|| <= sqrt(w h(z)) + d``.

*Rounding.* With u the rounding unit, ``g_n = n u / (1 - n u)``, c components of a vector and r axes:

- What was projected on the balls is p with ``|p_i| <= (1 + k) m_i``, ``k = g_(c + 10)``, and ``q = p / (1 + k)``.
- ``v - w D^T p`` is computed with an error of ``g_(2 r + 2) (||v|| + w || |D| || ||p||)``. The differences without
  their signs have the norm of D, because the graph of neighbours is bipartite:
  ``d = g_(c + 2 r + 16) (||v|| + w ||D|| ||m||)``.
- A term of h is computed to within ``g_(2 c + 24) m_i |(D z)_i|``: the difference takes two operations, its length
  c + 5, the product with p c + 3, and p in place of q k.
- The terms are added up to within ``g_n`` of their sizes, n their number.

Products that underflow lose 2^-1074 each.
"""

from torch import Tensor

from recon.operators.rounding import LEAST, gamma


def distance_bound(  # noqa: PLR0913, PLR0917  what the derivation names
    sizes: Tensor, weight: float, masked: Tensor, inner: Tensor, mask_norm: Tensor, norm: float, components: int,
    axes: int,
) -> Tensor:  # fmt: skip
    """A bound of ``||z - z*||`` for each item, ``(batch,)``, in double precision.

    Args:
        sizes: ``||v||``.
        weight: w.
        masked: ``m_i |(D z)_i|``, the batch first.
        inner: ``<(D z)_i, p_i>``, as many numbers in their order.
        mask_norm: ``||m||`` over all vectors, ``(batch or 1,)``.
        norm: A bound of ``||D||``.
        components: c.
        axes: r.
    """
    terms = masked[:1].numel()
    length, gap = masked.flatten(1).sum(1), (masked - inner.reshape(masked.shape)).flatten(1).sum(1)
    each = gamma(2 * components + 24) * (1 + 4 * gamma(terms))
    gap = (gap.clamp(min=0) + each * length) * (1 + 2 * gamma(terms + 64))
    apart = gamma(components + 2 * axes + 16) * (sizes + weight * norm * mask_norm)
    lost = (LEAST * terms * (4 + weight) * (1 + norm) ** 2) ** 0.5
    bound: Tensor = (weight * gap).sqrt() + apart + lost * (sizes != 0).double()
    return bound
