"""Bounds of how far a solution can move when a part of the measurement changes: the arms of the Lipschitz star.

The solution x(y) is the zero of B(x) + M(x), B(x) = K(A x - y) + k x, with M the prior's operator. Only the entries of
y in a group change, by d, and A_K and K_K are the rows of A and the columns of K there. An *arm* is the least t with
||x(y + d) - x(y)|| <= t ||d|| for every y and every such d.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from recon.certificates.conditions import lower_bound
from recon.certificates.mismatched import contraction_rate
from recon.errors import UsageError
from recon.evidence import Constant, Proved, derive, from_above
from recon.operators.rounding import EPS, rounded_up, sum_rounded_down
from recon.priors import ResolventProperties

_STEPS, _RANGE, _GOLDEN = 30, 12.0, (math.sqrt(5) - 1) / 2
"""Of the search for the best parameter of the sharp bound, any of which is sound, on a logarithmic scale."""


VACUOUS = 1e6
"""Over 1/||A||: from which on a bound says nothing, and is not given."""

SAYS_NOTHING = "the bound"
"""How the reason begins."""

_MOST_ENTRIES = 1024
"""Of a block whose convolution is a matrix."""

_FFT, _LOOSEST = 64.0, 1e-3
"""The rounding of a transform or a factorisation, in those of a number; more than which a bound is not widened by."""


def arm_bound(group_norm: Constant, data: Constant, prior: Constant) -> Constant:
    """A bound of the arm of a group of measurements, with the exact adjoint.

    *Theorem*. Let M be m-strongly monotone, l <= lambda_min(A^T A), m + l > 0 and ||A_K|| <= a. Then the arm is at most
    ``s / (max(s^2, l) + m)`` with ``s = min(a, max(sqrt m, sqrt l))``. *Proof*: let e be the change of the solution.
    The two inclusions differ by A^T A e - A_K^T d + u = 0 with <u, e> >= m ||e||^2, so
    ||A e||^2 + m ||e||^2 <= <d, A_K e> <= ||d|| ||A_K e||. Let p = ||A_K e|| / ||e||, which is at most a. Since
    ||A e||^2 >= max(p^2, l) ||e||^2, it is ||e|| <= ||d|| p / (max(p^2, l) + m). The quotient grows with p up to
    max(sqrt m, sqrt l), and decreases from there on. (An arm of the multivariate analysis of Gupta, Kaakai,
    Pesquet-Popescu, Pesquet, Malliaros 2022, Front. Signal Process. 2, for the map from the data to the solution.)

    With sqrt m <= a that is ``1 / (2 sqrt m)``, whatever the operator: weak directions of the image decide, of which
    the group says about as much as the prior.

    Args:
        group_norm: a.
        data: l, zero where nothing better is known.
        prior: m, of M itself, not of s M; negative where M is not known to be monotone: then nothing is said.

    Returns:
        The bound, infinite where m + l is not positive.
    """
    how = f"s/(max(s^2, l) + m), s = min(||A_K||, max(sqrt m, sqrt l)); {group_norm.how}; {prior.how}"
    return derive(_arm, from_above(group_norm), lower_bound(data), prior, how=how)


def _arm(a: float, least: float, m: float) -> float:
    least = max(least, 0.0)
    if m < 0:
        return math.inf
    if a == 0:
        return 0.0
    total = sum_rounded_down(least, m)
    if not total > 0:
        return math.inf
    s = min(a, max(math.sqrt(m), math.sqrt(least)))
    return rounded_up(rounded_up(s / (max(s**2, least) + m)))


def mismatched_arm_bound(group_norm: Constant, monotone: Constant, prior: Constant) -> Constant:
    """A bound of the arm of a group of measurements, with a surrogate K of the adjoint.

    *Theorem*. Let M be m-strongly monotone, <x, (K A + k) x> >= l ||x||^2 with m + l > 0, and ||K_K|| <= b. Then the
    arm is at most ``b / (m + l)``. *Proof*: with e the change of the solution,
    (l + m) ||e||^2 <= <K_K d, e> <= b ||d|| ||e||.

    Args:
        group_norm: b.
        monotone: l; it may be negative.
        prior: m; at least zero, or negative where M is not known to be monotone: then nothing is said.

    Returns:
        The bound, infinite where m + l is not positive.
    """
    how = f"||K_K|| / (m + l); {group_norm.how}; {monotone.how}; {prior.how}"
    return derive(_mismatched_arm, from_above(group_norm), lower_bound(monotone), prior, how=how)


def _mismatched_arm(b: float, least: float, m: float) -> float:
    total = sum_rounded_down(least, m)
    return rounded_up(b / total) if m >= 0 and total > 0 else math.inf


def near_adjoint_arm_bound(gap: Constant, monotone: Constant, prior: Constant, shift: float = 0.0) -> Constant:
    """A bound of the arm of any group of measurements, with a surrogate K that is not far from the adjoint.

    *Theorem*. Let M be m-strongly monotone, <x, (K A + k) x> >= l ||x||^2, ||K - A^T|| <= g, and
    ``D(p) = max(p^2 - g p + k, l) + m`` positive for p >= 0. Then the arm is at most the largest
    ``(p + g) / D(p)``, p >= 0. *Proof*: let e be the change of the solution, d that of the data, and
    p = ||A e|| / ||e||. Then <e, K A e> = ||A e||^2 + <(K - A^T)^T e, A e> >= (p^2 - g p) ||e||^2, and
    ||K_K^T e|| <= ||A_K e|| + g ||e|| <= (p + g) ||e||, so D(p) ||e||^2 <= <d, K_K^T e> <= (p + g) ||d|| ||e||.

    The quotient has its maximum where ``p^2 - g p + k = l``, or at ``p = sqrt(2 g^2 + k + m) - g`` beyond. With g = 0
    it is that of :func:`arm_bound`; :func:`mismatched_arm_bound` sees no more of K A than l, and is many times longer.

    Args:
        gap: g, not relative.
        monotone: l; it may be negative.
        prior: m; at least zero, or negative where M is not known to be monotone: then nothing is said.
        shift: k.

    Returns:
        The bound, infinite where D is not positive.
    """
    how = f"max (p + g) / (max(p^2 - g p + k, l) + m), g = ||K - A^T||; {gap.how}; {prior.how}"
    return derive(
        lambda g, least, m: _near_adjoint_arm(g, least - shift, m, shift),
        from_above(gap), lower_bound(monotone), prior, how=how,
    )  # fmt: skip


def _near_adjoint_arm(g: float, least: float, m: float, shift: float) -> float:
    if m < 0:
        return math.inf
    root = g**2 + 4 * least
    crossing = (g + math.sqrt(root)) / 2 if root >= 0 else 0.0
    places = (0.0, g / 2, crossing, max(crossing, math.sqrt(2 * g**2 + shift + m) - g))
    below = [sum_rounded_down(p**2, -g * p) for p in places]
    totals = [sum_rounded_down(max(low, least), m, shift) for low in below]
    if not min(totals) > 0:
        return math.inf
    return max(rounded_up((p + g) / total) for p, total in zip(places, totals, strict=True)) * (1 + 1e-9)


def contraction_arm_bound(
    group_norm: Constant, prior: ResolventProperties, residual: Constant, stepsize: float
) -> Constant:
    """A bound of the arm of a group of measurements where the step of forward-backward is a contraction.

    *Theorem*. Let x = J(x - s B(x)) with J = (Id + Q)/2, Lip(Q) <= q, ||Id - s (K A + k)|| <= r, and
    rho = (1 + q) r / 2 < 1. Then the arm is at most ``s (1 + q)/2 ||K_K|| / (1 - rho)``. *Proof*: Lip(J) <= (1 + q)/2,
    and the two solutions are fixed points of maps that differ by at most Lip(J) s ||K_K d||.

    Args:
        group_norm: ||K_K||, or more.
        prior: Of J.
        residual: r, or more.
        stepsize: s.

    Returns:
        The bound, infinite where rho is not below 1.
    """
    rate, q = contraction_rate(prior, residual), from_above(prior.lipschitz_Q)

    def bound(b: float, rho: float, lip: float) -> float:
        return rounded_up(stepsize * (1 + lip) / 2 * b / (1 - rho) * (1 + 4 * EPS)) if rho < 1 else math.inf

    how = f"s (1 + q)/2 ||K_K|| / (1 - rho); {group_norm.how}; {rate.how}"
    return derive(bound, from_above(group_norm), rate, q, how=how)


def isometric_arm_bound(prior: Constant) -> Constant:
    """The arm of every group of measurements, of A that keeps some directions and removes the others, and M = m Id.

    *Theorem*. If A^T A is an orthogonal projection, such as that of sampled k-space or of pixels that were measured,
    the arm of a group of which something was measured is ``1 / (1 + m)``. *Proof*: the solution is
    ``(A^T A + m)^-1 A^T y``, and ``(A^T A + m)^-1 A^T = A^T (A A^T + m)^-1 = A^T / (1 + m)``, as A A^T is the identity
    on the range of A.

    :func:`arm_bound` holds for every m-strongly monotone M, with ``1 / (2 sqrt m)`` where m is below 1.

    Args:
        prior: m, at least 0.
    """
    return derive(
        lambda m: rounded_up(1 / (1 + m)) if m >= 0 else math.inf, prior, how=f"1/(1 + m), A^T A projects; {prior.how}"
    )


@torch.no_grad()
def convolution_arm_bound(
    symbol: Tensor, error: float, block: tuple[int, int], shape: tuple[int, int], prior: Constant
) -> Constant:
    """The arm of a block of pixels, of a circular convolution A and M = m Id: exact up to rounding.

    *Theorem*. The solution is the convolution of y with g, ``g^ = conj(a) / (|a|^2 + m)`` for the symbol a. Restricted
    to a block, ``g* g`` is the matrix of ``r(i - j)``, r the autocorrelation of g, whatever the place of the block: the
    arm is the root of its largest eigenvalue. *Rounding*: the derivative of ``a -> conj(a) / (|a|^2 + m)`` is at most
    ``1 / (|a|^2 + m)``, by which an error of the symbol moves each eigenvalue of the convolution, hence the arm.

    Args:
        symbol: a on the half spectrum of ``rfft2``, (height, width // 2 + 1).
        error: Of an entry of it.
        block: (height, width) of the group; of a large one the largest |g^| bounds the arm.
        shape: (height, width) of the image.
        prior: m, at least 0.

    Returns:
        The bound, infinite where |a|^2 + m is not safely positive.
    """

    def bound(m: float) -> float:
        modulus = symbol.abs().double()
        least = max(float(modulus.min()) - error, 0.0) ** 2 + m
        if m < 0 or not least > 0:
            return math.inf
        gain = modulus / (modulus.square() + m)
        largest, moved = float(gain.max()), error / least
        entries = math.prod(block)
        if entries > _MOST_ENTRIES:
            return (largest + moved) * (1 + 1e-9)
        correlation = torch.fft.irfft2(gain.square(), s=shape)
        rows, columns = (torch.arange(size, device=symbol.device) for size in block)
        down = (rows[:, None] - rows).remainder(shape[0])
        right = (columns[:, None] - columns).remainder(shape[1])
        matrix = correlation[down[:, None, :, None], right[None, :, None, :]].reshape(entries, entries)
        value = float(torch.linalg.eigvalsh(matrix)[-1])
        slack = _FFT * EPS * entries * largest**2
        return min(math.sqrt(max(value, 0.0) + slack), largest) * (1 + 1e-9) + moved

    how = f"the convolution with conj(a) / (|a|^2 + m) of a block, a the symbol; {prior.how}"
    return derive(bound, prior, how=how)


@torch.no_grad()
def linear_arm_bounds(matrix: Tensor, groups: Iterable[Tensor], prior: Constant) -> tuple[Constant, ...]:
    """The arms ``||(A^T A + m)^-1 A_K^T||`` of groups, of a matrix that is at hand and M = m Id: exact up to rounding.

    The inverse is by a factorisation in double precision, whose relative error is at most that of the condition number
    times the rounding, by which each arm is widened.

    Args:
        matrix: A, real, (measurements, pixels).
        groups: Which of its rows are a group, (measurements,), bool.
        prior: m > 0, without a radius.

    Returns:
        A bound for each group; infinite where the matrix is not safely positive definite.
    """
    fine = matrix.double()
    gram = fine.T @ fine
    size, m = len(gram), prior.value - prior.error
    largest = float(gram.diagonal().sum()) + max(m, 0.0)
    rounding = _FFT * EPS * size * largest / m if m > 0 else math.inf
    how = f"||(A^T A + m)^-1 A_K^T||, by a factorisation; {prior.how}"
    exact = None
    if rounding < _LOOSEST:
        factor = torch.linalg.cholesky(gram + m * torch.eye(size, dtype=gram.dtype, device=gram.device))
        exact = torch.cholesky_solve(fine.T, factor)
    found = []
    for rows in groups:
        value = math.inf
        if exact is not None:
            value = float(torch.linalg.matrix_norm(exact[:, rows], 2)) * (1 + rounding) if bool(rows.any()) else 0.0
        found.append(derive(lambda _, known=value: known, prior, how=how))
    return tuple(found)


@torch.no_grad()
def sharp_arm_bound(matrix: Tensor, rows: Tensor, prior: Constant) -> Constant:
    """The sharpest bound of an arm that holds for every m-strongly monotone prior, of a matrix that is at hand.

    *Theorem*. The supremum of the arm over all m-strongly monotone M, and over the subdifferentials of m-strongly
    convex functions alike, is ``max ||A_K u|| / (||A u||^2 + m)`` over unit vectors u; for every c > 0 it is at most
    the largest eigenvalue of ``S^-1/2 (A_K^T A_K / (2c) + c/2 Id) S^-1/2``, S = A^T A + m Id. *Proof*: the inequality
    in :func:`arm_bound` is ||A e||^2 + m ||e||^2 <= <d, A_K e>, and with e = t u the best d is along A_K u, so that
    t <= ||A_K u|| / (||A u||^2 + m) for ||d|| = 1. Any such pair (d, e) is attained: u = A_K^T d - A^T A e - m e has
    <u, e> >= 0, and the two points (0, 0), (e, u) are monotone, hence cyclically, so that a convex function has both in
    the graph of its subdifferential (Rockafellar 1970, Theorem 24.8). For the upper bound,
    ||A_K u|| <= ||A_K u||^2 / (2c) + c/2. The best c closes the gap in dimensions above two, where the range of two
    quadratic forms on the sphere is convex (Brickman 1961).

    What is returned is checked, in double precision, by a factorisation of ``t S - A_K^T A_K / (2c) - c/2 Id``, and
    widened by its rounding.

    Args:
        matrix: A, real, (measurements, pixels).
        rows: Which of its rows are the group, (measurements,), bool.
        prior: m > 0.

    Returns:
        The bound; infinite where S is not safely positive definite.
    """
    fine = matrix.double()
    if fine.ndim != 2 or rows.shape != fine.shape[:1]:
        raise UsageError(
            f"sharp_arm_bound: A has shape {tuple(fine.shape)} and the group {tuple(rows.shape)}; expected a matrix "
            "and one entry for each of its rows."
        )
    gram, part = fine.T @ fine, fine[rows]
    group = part.T @ part
    how = f"max ||A_K u|| / (||A u||^2 + m), by a factorisation; {prior.how}"
    slack = 16 * EPS * len(gram) * float(gram.trace() + max(prior.value, 0.0))

    def bound(m: float) -> float:
        if not m > slack:
            return math.inf
        total = gram + (m - slack) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        root = torch.linalg.inv(torch.linalg.cholesky(total))
        part_seen, all_seen = root @ group @ root.T, root @ root.T
        return _verified(total, group, _best(part_seen, all_seen), slack)

    return derive(bound, prior, how=how)


def _best(group: Tensor, everything: Tensor) -> tuple[float, float]:
    """The best c and the bound there, by golden sections: the bound is a convex function of log c."""
    largest = math.sqrt(max(float(torch.linalg.eigvalsh(group)[-1] / torch.linalg.eigvalsh(everything)[0]), 1e-300))

    def bound(log_c: float) -> float:
        c = math.exp(log_c)
        return float(torch.linalg.eigvalsh(group / (2 * c) + c / 2 * everything)[-1])

    low, high = math.log(largest) - _RANGE, math.log(largest)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = bound(left), bound(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = bound(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = bound(right)
    return (math.exp(left), at_left) if at_left < at_right else (math.exp(right), at_right)


def _verified(total: Tensor, group: Tensor, found: tuple[float, float], slack: float) -> float:
    c, t = found
    eye = torch.eye(len(total), dtype=total.dtype, device=total.device)
    for widening in (1e-9, 1e-7, 1e-5, 1e-3):
        wide = t * (1 + widening)
        size = slack * (wide + 1 / (2 * c)) + 16 * EPS * len(total) * c
        if int(torch.linalg.cholesky_ex(wide * total - group / (2 * c) - (c / 2 + size) * eye).info) == 0:
            return wide
    return math.inf


def group_norms(
    forward: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor], ones: Tensor, steps: int = 4
) -> tuple[Proved, ...]:
    """Proved upper bounds of the norms of several maps without negative entries, by Collatz and Wielandt's quotients.

    As :func:`recon.operators.nonnegative.norm_of_nonnegative`, of a batch of maps at once.

    Args:
        forward: The maps, each of its own batch item.
        transposed: Their transposes.
        ones: Ones that they take, (batch, ...).
        steps: Of the power iteration, each of which gives a bound.
    """
    p, least = ones, torch.full((len(ones),), math.inf, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(steps):
            image = transposed(forward(p))
            least = torch.minimum(least, (image / p).flatten(1).amax(1).double().cpu())
            largest = image.flatten(1).amax(1).clamp(min=torch.finfo(image.dtype).tiny)
            p = (image / largest.view(-1, *[1] * (image.ndim - 1))).clamp(min=1e-6)
    how = "||A_K|| by Collatz and Wielandt's quotient of a matrix without negative entries"
    return tuple(Proved(math.sqrt(value) * (1 + 1e-5), how) for value in least.tolist())


def given_or_none(arm: Constant, norm: float) -> Constant:
    """The bound of an arm, or an infinite one with the reason, where it says nothing.

    An inverse of the operator on images of its size has arms of 1/||A||. A bound that is a million times as long comes
    from an eigenvalue that is zero but for rounding, such as of a blur whose transfer function vanishes.

    Args:
        arm: The bound.
        norm: ||A||.
    """
    if not VACUOUS < arm.value * norm < math.inf:
        return arm
    how = (
        f"{SAYS_NOTHING} of {arm.value:.1e} says nothing, as neither the data nor the prior decide some directions but "
        "by rounding; a prior such as tikhonov:weight=W gives one"
    )
    return replace(arm, value=math.inf, error=0.0, how=how)


def reason_of(prior: Constant, data: Constant) -> str:
    """Why no bound of an arm is finite."""
    return (
        f"neither the data term (its least eigenvalue is not above {max(data.value - data.error, 0.0):.3g}) nor the "
        f"prior (strongly monotone with {max(prior.value, 0.0):.3g}) is strongly monotone, so that no bound holds for "
        "every measurement; a prior such as tikhonov:weight=W gives one"
    )
