"""A proved bound of the Lipschitz constant of a feed-forward network, from a chain of matrix inequalities."""

import contextlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.rounding import EPS

_ITERATIONS = 40
"""Of the search for the best multipliers, any of which give a sound bound."""

_SAFETY = 64.0
"""The rounding that is allowed for, over the usual estimate of that of a product, an inverse or an eigenvalue."""


def layered_bound(layers: Sequence[Tensor], *, iterations: int = _ITERATIONS) -> Proved:
    """A bound of the Lipschitz constant of ``W_m s_(m-1)(... s_1(W_1 x + b_1) ...)``, no larger than the product.

    *Theorem* (the layers of LipSDP-neuron, Fazlyab, Robey, Hassani, Morari, Pappas 2019, one after the other as in
    ECLipsE, Xu and Sivaranjani 2024). Let every s_i act on each entry with slopes in [0, 1]. With ``G_1 = W_1 W_1^T``
    and any diagonal T_i with ``2 T_i - G_i`` positive definite,

        N_i = T_i (2 T_i - G_i)^-1 T_i,    G_(i+1) = W_(i+1) N_i W_(i+1)^T,

    the square of the constant is at most ``||G_m||``. *Proof*: by induction ``<z_i, N_i^-1 z_i> <= ||dx||^2`` for the
    change z_i after s_i. Put ``L = T_i^-1``; the slopes give ``<z, L (z - W u)> <= 0`` for u = z_(i-1), z = z_i. So
    ``<u, N^-1 u> >= <u, N^-1 u> + 2 <z, L z> - 2 <z, L W u>``, whose least value over u is
    ``<z, (2 L - L W N W^T L) z> = <z, N_i^-1 z>``. At last ||W_m z||^2 <= ||W_m N W_m^T|| <z, N^-1 z>.

    ``T_i = ||G_i|| Id`` is ECLipsE-Fast, and gives at most the product of the norms. All T_i are then improved at once
    by a quasi-Newton method, which reaches what LipSDP-neuron can say where it ends, and never more than it began with.
    What is returned follows from the multipliers that it found in double precision, where each N_i is enlarged by what
    rounding may have taken.

    Args:
        layers: The matrices W_1 ... W_m, (outputs, inputs). For the change of some of the inputs only, those columns
            of W_1: then it is an arm of the multivariate analysis of Gupta, Kaakai, Pesquet-Popescu, Pesquet,
            Malliaros 2022, Front. Signal Process. 2.
        iterations: Of the improvement; 0: none.

    Raises:
        UsageError: There is no matrix, or one does not fit the next, or is not finite.
    """
    matrices = [layer.detach().double() for layer in layers]
    _check(matrices)
    norms = [float(torch.linalg.matrix_norm(w, 2)) for w in matrices]
    product = math.prod(norms) * (1 + _SAFETY * EPS * max(max(w.shape) for w in matrices)) ** len(norms)
    if len(matrices) == 1 or product == 0:
        return Proved(product, f"the product of the norms of {len(matrices)} layers")
    matrices = [w / norm for w, norm in zip(matrices, norms, strict=True)]
    plain = [torch.zeros(len(w), dtype=w.dtype, device=w.device) for w in matrices[:-1]]
    shares = torch.full((len(plain),), math.log(0.5), dtype=plain[0].dtype, device=plain[0].device)
    found = [_certified(matrices, plain, shares)]
    if iterations:
        found.append(_certified(matrices, *_improved(matrices, plain, shares, iterations)))
    best = min(found) * math.prod(norms) * (1 + 16 * EPS * len(norms))
    how = f"matrix inequalities of {len(matrices)} layers with slopes in [0, 1] (LipSDP-neuron, layer by layer)"
    return Proved(best, how) if best < product else Proved(product, f"the product of the norms of {len(norms)} layers")


def sector_bound(first: Tensor, low: Tensor, high: Tensor, last: Tensor, *, iterations: int = _ITERATIONS) -> Proved:
    """A bound of the Lipschitz constant of ``W s(V x + a) + b``, s_i with slopes between ``low_i`` and ``high_i``.

    *Theorem* (LipSDP-neuron of one hidden layer, Fazlyab et al. 2019, with an interval for each unit). Let c and r be
    the middle and half the length of the intervals, ``M = W diag(c) V`` and ``N = W diag(r)``. For every diagonal L
    with ``L - N^T N`` positive definite the square of the constant is at most

        || M^T M + V^T L V + M^T N (L - N^T N)^-1 N^T M ||.

    *Proof*: for a change dx the change of s is ``c * V dx + r * e`` with ``|e_i| <= |(V dx)_i|``, so ``<e, L e> <=
    <dx, V^T L V dx>``. Hence ``|M dx + N e|^2 <= |M dx|^2 + 2 <M dx, N e> - <e, (L - N^T N) e> + <dx, V^T L V dx>``,
    whose largest value over e is the quadratic form above. With all slopes in [0, 1] it says what
    :func:`layered_bound` says; any L is sound, and a quasi-Newton method seeks the best.

    Args:
        first: V, ``(units, inputs)``.
        low: The least slopes, ``(units,)``.
        high: The largest.
        last: W, ``(outputs, units)``.
        iterations: Of the search; 0: none.

    Raises:
        UsageError: The matrices do not fit, something is not finite, or a least slope exceeds the largest.
    """
    v, a, b, w = (each.detach().double() for each in (first, low, high, last))
    _check([v, w])
    if a.shape != (len(v),) or b.shape != a.shape or not bool((a <= b).all()) or not bool((b - a).isfinite().all()):
        given = f"slopes of shape {tuple(a.shape)} and {tuple(b.shape)}"
        raise UsageError(f"sector_bound: {given}; expected {len(v)} finite intervals, one for each unit.")
    middle, half = (a + b) / 2, (b - a) / 2
    m, n = (w * middle) @ v, w * half
    rows, columns = v.norm(dim=1).clamp(min=1e-30), n.norm(dim=0)
    floor = 1e-6 * (rows * columns).max().clamp(min=1e-30) / rows
    logs = torch.log((columns.maximum(floor)) / rows)
    share = torch.zeros((), dtype=v.dtype, device=v.device)
    best = _sector_value(m, n, v, logs, share)
    if iterations:
        best = min(best, _sector_value(m, n, v, *_sector_search((m, n, v), logs, share, iterations)))
    largest = torch.maximum(a.abs(), b.abs())
    product = float(
        torch.linalg.matrix_norm(w * largest.sqrt(), 2) * torch.linalg.matrix_norm(largest.sqrt()[:, None] * v, 2)
    )
    product *= 1 + _SAFETY * EPS * max(*v.shape, *w.shape)
    how = f"a matrix inequality of {len(v)} units, each with slopes in its interval (LipSDP-neuron)"
    return Proved(best, how) if best < product else Proved(product, "the product of the norms of two layers")


def _sector_weights(n: Tensor, log_t: Tensor, log_share: Tensor) -> Tensor:
    """The diagonal of L: a multiple of exp(log_t) above ``N^T N``."""
    weights = (log_t - log_t.mean()).exp()
    scaled = n * weights.rsqrt()
    found: Tensor = weights * torch.linalg.matrix_norm(scaled, 2).square().clamp(min=1e-30) * (1 + log_share.exp())
    return found


def _sector_form(m: Tensor, n: Tensor, v: Tensor, weights: Tensor) -> Tensor:
    left = torch.diag(weights) - n.mT @ n
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(left), n.mT @ m, upper=False)
    found: Tensor = m.mT @ m + (v.mT * weights) @ v + half.mT @ half
    return found


@torch.no_grad()
def _sector_value(m: Tensor, n: Tensor, v: Tensor, log_t: Tensor, log_share: Tensor) -> float:
    """The bound of given multipliers, with what rounding may have cost; infinite where they are not admitted."""
    weights = _sector_weights(n, log_t, log_share)
    values = torch.linalg.eigvalsh(torch.diag(weights) - n.mT @ n)
    least = float(values[0]) - _SAFETY * EPS * len(weights) * float(weights.max())
    if not least > 0 or not bool(weights.isfinite().all()):
        return math.inf
    form = _sector_form(m, n, v, weights)
    slack = _SAFETY * EPS * sum(v.shape) * float(weights.max()) / least
    return math.sqrt(float(torch.linalg.eigvalsh(form)[-1]) + slack * float(form.trace()))


def _sector_search(
    matrices: tuple[Tensor, Tensor, Tensor], logs: Tensor, share: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Better multipliers, or those that it began with."""
    m, n, v = matrices

    def bound(variables: list[Tensor]) -> Tensor:
        largest: Tensor = torch.linalg.eigvalsh(_sector_form(m, n, v, _sector_weights(n, *variables)))[-1]
        return largest.log() / 2

    found, part = _searched([logs, share], bound, iterations)
    return found, part


def _searched(start: list[Tensor], bound: Callable[[list[Tensor]], Tensor], iterations: int) -> list[Tensor]:
    """The variables of the least bound that a quasi-Newton method meets, or those that it began with."""
    variables = [each.clone().requires_grad_() for each in start]
    best: list[tuple[float, list[Tensor]]] = [(math.inf, start)]
    optimizer = torch.optim.LBFGS(
        variables, max_iter=iterations, max_eval=2 * iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def value() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            total = bound(variables)
        total.backward()  # type: ignore[no-untyped-call]
        reached = float(total.detach())
        if reached < best[0][0]:
            best[0] = (reached, [each.detach().clone() for each in variables])
        return total

    with contextlib.suppress(RuntimeError):  # torch's error of linear algebra, of a step that was too long
        optimizer.step(value)  # type: ignore[no-untyped-call]
    return best[0][1]


def _check(layers: Sequence[Tensor]) -> None:
    if not layers:
        raise UsageError("layered_bound: no matrix was given; expected at least one.")
    for position, layer in enumerate(layers):
        inputs = layers[position - 1].shape[0] if position else None
        if layer.ndim != 2 or min(layer.shape) < 1 or (inputs is not None and layer.shape[1] != inputs):
            wanted = "two dimensions" if inputs is None else f"{inputs} columns"
            raise UsageError(
                f"layered_bound: layer {position + 1} has shape {tuple(layer.shape)}; expected {wanted}, because it "
                "is the matrix of what comes before."
            )
        if not bool(layer.isfinite().all()):
            raise UsageError(f"layered_bound: layer {position + 1} holds NaN or infinity; expected finite numbers.")


def _multipliers(gram: Tensor, log_t: Tensor, log_share: Tensor) -> Tensor:
    """The diagonal of T: a multiple of exp(log_t) for which 2 T - G is positive definite."""
    weights = (log_t - log_t.mean()).exp()
    root = weights.rsqrt()
    largest = torch.linalg.eigvalsh(root[:, None] * gram * root)[-1].clamp(min=1e-30)
    found: Tensor = weights * largest * (0.5 + log_share.exp())
    return found


def _next(w: Tensor, gram: Tensor, t: Tensor) -> Tensor:
    """``W T (2 T - G)^-1 T W^T``."""
    factor = torch.linalg.cholesky(2 * torch.diag(t) - gram)
    half: Tensor = torch.linalg.solve_triangular(factor, (w * t).mT, upper=False)
    return half.mT @ half


def _improved(
    matrices: Sequence[Tensor], plain: Sequence[Tensor], shares: Tensor, iterations: int
) -> tuple[list[Tensor], Tensor]:
    """Multipliers with a smaller bound, or those that it began with."""

    def bound(variables: list[Tensor]) -> Tensor:
        gram = matrices[0] @ matrices[0].mT
        for w, log_t, share in zip(matrices[1:], variables[:-1], variables[-1].unbind(), strict=True):
            gram = _next(w, gram, _multipliers(gram, log_t, share))
        largest: Tensor = torch.linalg.eigvalsh(gram)[-1]
        return largest.log() / 2

    *found, share = _searched([*plain, shares], bound, iterations)
    return found, share


@torch.no_grad()
def _certified(matrices: Sequence[Tensor], logs: Sequence[Tensor], shares: Tensor) -> float:
    """The bound of given multipliers, each inequality checked with what rounding may have cost; infinite where not."""
    gram = _enlarged(matrices[0] @ matrices[0].mT, 1.0, matrices[0])
    for w, log_t, share in zip(matrices[1:], logs, shares.unbind(), strict=True):
        t = _multipliers(gram, log_t, share)
        left = 2 * torch.diag(t) - gram
        values = torch.linalg.eigvalsh(left)
        least = float(values[0]) - _SAFETY * EPS * len(left) * float(values[-1])
        if not least > 0 or not bool(t.isfinite().all()):
            return math.inf
        gram = _enlarged(_next(w, gram, t), float(values[-1]) / least, w)
    largest = float(torch.linalg.eigvalsh(gram)[-1])
    return math.sqrt(largest * (1 + _SAFETY * EPS * len(gram)))


def _enlarged(gram: Tensor, condition: float, w: Tensor) -> Tensor:
    """A Gram matrix that is not below the exact one."""
    slack = _SAFETY * EPS * sum(w.shape) * condition * float(gram.trace())
    return gram + slack * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
