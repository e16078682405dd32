"""The constants of a mismatched pair: a forward operator A with a back-projector K that is not its adjoint.

With B = K A + shift Id, and the notation of Chouzenoux, Pesquet, Riddell, Savanier, Trousset (2021): B is monotone if
and only if mu = lambda_min((B + B^T) / 2) is not negative, and eta-cocoercive if and only if
<x, B x> >= eta ||B x||^2 for every x. The best eta is what forward-backward needs, and is 20 to 60 times larger in
practice than the usual sufficient mu / ||B||^2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Constant, Measured, Proved, derive
from recon.operators import dense
from recon.operators.adjoint import adjoint_gap, exact_adjoint, example_of, transpose
from recon.operators.base import HasSymbol, HasSymbolError
from recon.operators.matrix import real_form
from recon.operators.nonnegative import nonnegative_pair, proved_norm_bound
from recon.operators.rounding import EPS, fft_error, rounded_up
from recon.operators.spectral import Effort, extreme, map_norm
from recon.types import LinearOperator, Map

ZERO = 1e-12
"""Eigenvalues below this fraction of the largest are rounding in double precision."""

_DINKELBACH_STEPS = 12

ZERO_SINGLE = 1e-6
"""The same for what was measured in single precision."""


@dataclass(frozen=True)
class Mismatch:
    """The constants of a pair (A, K) with B = K A + shift Id.

    Attributes:
        adjoint_gap: ||K - A^T|| / ||A||.
        norm: ||B||, or an upper bound of it when it is proved.
        symmetric_part_min: mu, the smallest eigenvalue of the symmetric part of B, from below where it is proved; what
            rounding leaves open above it is its radius.
        cocoercivity: The best eta, 0 where B is not cocoercive; an upper bound of it where it is measured.
        shift: Of B.
    """

    adjoint_gap: Constant
    norm: Constant
    symmetric_part_min: Constant
    cocoercivity: Constant
    shift: float


def mismatch_of(
    operator: LinearOperator,
    surrogate: LinearOperator | Map,
    example: Tensor | None = None,
    *,
    shift: float = 0.0,
    effort: Effort = Effort(tolerance=1e-5, applications=400),  # noqa: B008  a frozen value
) -> Mismatch:
    """The constants of a mismatched pair: proved where both are circular convolutions or matrices, measured otherwise.

    The norm is proved where neither of the two has a negative entry, too.

    Args:
        operator: A.
        surrogate: K, as a map from measurements to images, or as the operator whose adjoint K is.
        example: A tensor that ``A`` takes; may be left out for an operator that knows its domain.
        shift: Added to K A as a multiple of the identity.
        effort: Of each Lanczos run; takes a few hundred applications of each map.
    """
    if isinstance(operator, HasSymbol) and isinstance(surrogate, HasSymbol):
        return _circulant(operator, surrogate, shift)
    pair = matrices_of(operator, surrogate)
    if pair is not None:
        return _dense(pair, shift)
    back = surrogate.A_adjoint if isinstance(surrogate, LinearOperator) else surrogate
    norm: Constant | None = None
    if isinstance(surrogate, LinearOperator) and nonnegative_pair(operator, surrogate) and shift >= 0:
        norm = proved_norm_bound(operator, surrogate, example, shift=shift)
    return _measured(operator, back, example_of(operator, example), shift, effort, norm)


def residual_norm(  # noqa: PLR0913  the pair, the step, and how hard to look
    operator: LinearOperator,
    surrogate: LinearOperator | Map,
    stepsize: float,
    example: Tensor | None = None,
    *,
    shift: float = 0.0,
    effort: Effort = Effort(tolerance=1e-5, applications=400),  # noqa: B008  a frozen value
) -> Constant:
    """||Id - s B|| with B = K A + shift Id: by how much a step of gradient descent can stretch a difference.

    Proved where both are circular convolutions or matrices; else measured by Lanczos on (Id - s B)^T (Id - s B), which
    gives a lower bound. Arguments as for :func:`mismatch_of`, and the step size s.
    """
    if isinstance(operator, HasSymbol) and isinstance(surrogate, HasSymbol):
        eigenvalues, radii = eigenvalues_of(operator, surrogate, shift)
        rounding = abs(stepsize) * radii + 8 * EPS * (1 + abs(stepsize) * eigenvalues.abs())
        largest = ((1 - stepsize * eigenvalues).abs() + rounding).max()
        return Proved(float(largest), f"||Id - s B|| {BY_SYMBOLS}")
    pair = matrices_of(operator, surrogate)
    if pair is not None:
        B, rounding = map_matrix(pair, shift)
        step = torch.eye(len(B), dtype=B.dtype, device=B.device) - stepsize * B
        return dense.largest_singular_value(step, dense.slack(step) + abs(stepsize) * rounding)
    back = surrogate.A_adjoint if isinstance(surrogate, LinearOperator) else surrogate
    x = example_of(operator, example)
    forward, backward = _normal_maps(operator, back, x, shift)
    return map_norm(
        lambda v: torch.add(v, forward(v), alpha=-stepsize), lambda v: torch.add(v, backward(v), alpha=-stepsize),
        x, effort,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class MatrixPair:
    """The matrices of A and of the operator whose adjoint K is, on real vectors, and what their rounding may be."""

    forward: Tensor
    back: Tensor
    forward_error: float
    back_error: float


def matrices_of(operator: object, surrogate: object) -> MatrixPair | None:
    """The matrices of a pair of which both are stored or products of stored factors, of one shape; else ``None``."""
    forward = real_form(operator)
    back = None if forward is None else real_form(surrogate)
    if forward is None or back is None or forward[0].shape != back[0].shape:
        return None
    return MatrixPair(forward[0], back[0], forward[1], back[1])


def map_matrix(pair: MatrixPair, shift: float = 0.0) -> tuple[Tensor, float]:
    """B = K A + shift Id, where K is the transpose of the surrogate's matrix, and what its rounding may be."""
    A, K = pair.forward, pair.back.T
    B = K @ A
    size, other = float(torch.linalg.matrix_norm(A, 2)), float(torch.linalg.matrix_norm(K, 2))
    stored = size * pair.back_error + other * pair.forward_error + pair.back_error * pair.forward_error
    rounding = dense.rounding_of(max(A.shape), size * other + abs(shift)) + rounded_up(stored)
    return B + shift * torch.eye(len(B), dtype=B.dtype, device=B.device), rounding


def shift_for(pair: Mismatch, margin: float = 1e-3) -> float:
    """The shift that makes B strongly monotone: twice what mu lacks, or ``margin`` times ||B|| more than that.

    What mu lacks is the least shift that is enough. But where B is nearly zero, it hardly resists the noise that K
    brings in: doubling leaves it there as strongly monotone as it was the opposite before.
    """
    lacking = max(0.0, pair.shift - pair.symmetric_part_min.value)
    return lacking + max(lacking, margin * pair.norm.value)


BY_SYMBOLS = "from the symbols, widened by their rounding: the DFT diagonalises both convolutions"


def eigenvalues_of(operator: HasSymbol, surrogate: HasSymbol, shift: float) -> tuple[Tensor, Tensor]:
    """The eigenvalues of K A + shift Id from two symbols, and for each how far rounding may have moved it."""
    forward, back = operator.symbol, surrogate.symbol
    if forward.shape != back.shape:
        raise UsageError(
            f"mismatch_of: the operator's spectrum is {tuple(forward.shape)} and the surrogate's {tuple(back.shape)}; "
            "expected the same image shape for both."
        )
    sizes, others = forward.abs(), back.abs()
    off, other_off = symbol_error(operator), symbol_error(surrogate)
    radii = others * off + sizes * other_off + off * other_off + 8 * EPS * (sizes * others + abs(shift))
    return back.conj() * forward + shift, radii


def symbol_error(operator: HasSymbol) -> float:
    """By how much rounding may have moved an eigenvalue: what the operator says, else from its symbol alone.

    The absolute sum of a kernel is at most the root of the number of pixels times its norm, which is that of the whole
    spectrum (Parseval), of which the half spectrum shows no less than half.
    """
    if isinstance(operator, HasSymbolError):
        return operator.symbol_error
    height, half = operator.symbol.shape[-2:]
    sums = float(torch.linalg.vector_norm(operator.symbol)) * 2**0.5
    return max(fft_error(sums, height, width) for width in (2 * half - 2, 2 * half - 1) if width > 0)


def _circulant(operator: HasSymbol, surrogate: HasSymbol, shift: float) -> Mismatch:
    eigenvalues, radii = eigenvalues_of(operator, surrogate, shift)
    lowest = float((eigenvalues.real - radii).min())
    return Mismatch(
        adjoint_gap=_circulant_gap(operator, surrogate),
        norm=Proved(rounded_up(float((eigenvalues.abs() + radii).max())), BY_SYMBOLS),
        symmetric_part_min=Proved(lowest, BY_SYMBOLS, float((eigenvalues.real + radii).min()) - lowest),
        cocoercivity=_circulant_cocoercivity(eigenvalues, radii),
        shift=shift,
    )


def _circulant_gap(operator: HasSymbol, surrogate: HasSymbol) -> Proved:
    rounding = symbol_error(operator) + symbol_error(surrogate)
    apart = float((surrogate.symbol - operator.symbol).abs().max()) + rounding
    size = float(operator.symbol.abs().max()) - rounding
    if size > 0:
        return Proved(rounded_up(apart / size), BY_SYMBOLS)
    return Proved(math.inf if apart else 0.0, f"{BY_SYMBOLS}, and A is zero up to it")


def _circulant_cocoercivity(eigenvalues: Tensor, radii: Tensor) -> Constant:
    """The least Re(1/l) over the eigenvalues l other than zero, from below; 0 where B is not monotone.

    The inverses of the numbers within r of l fill the disc of radius r / (|l|^2 - r^2) around
    conj(l) / (|l|^2 - r^2). Which eigenvalues are zero, where rounding leaves it open, is a judgement and no proof.
    """
    if bool((eigenvalues.real + radii < 0).any()):
        return Proved(0.0, f"{BY_SYMBOLS}: one has a negative real part, so B is not monotone, hence not cocoercive")
    clear = eigenvalues.abs() > radii
    if not bool(clear.any()):
        return Measured(math.inf, "B is zero up to rounding")
    least = max(float(least_inverse(eigenvalues[clear], radii[clear])), 0.0)
    if not bool(clear.all()):
        return Measured(least, f"{BY_SYMBOLS}; eigenvalues that are zero up to it are left out")
    return Proved(least, BY_SYMBOLS)


def least_inverse(eigenvalues: Tensor, radii: Tensor) -> Tensor:
    """The least Re(1/z) over the numbers z within each radius of an eigenvalue, rounded downwards."""
    gains = (eigenvalues.real - radii) / (eigenvalues.abs().square() - radii.square())
    least: Tensor = (gains - 8 * EPS * gains.abs()).min()
    return least


def _dense(pair: MatrixPair, shift: float) -> Mismatch:
    B, rounding = map_matrix(pair, shift)
    size = float(torch.linalg.matrix_norm(pair.forward, 2))
    size = max(size - dense.rounding_of(max(pair.forward.shape), size) - pair.forward_error, 0.0)
    apart = pair.back - pair.forward
    off = dense.slack(apart) + dense.rounding_of(1, size) + pair.forward_error + pair.back_error
    gap = dense.largest_singular_value(apart, off)
    return Mismatch(
        adjoint_gap=derive(lambda value: rounded_up(value / size) if size else value, gap, how=gap.how),
        norm=dense.largest_singular_value(B, rounding),
        symmetric_part_min=dense.smallest_symmetric_eigenvalue(B, rounding),
        cocoercivity=dense.cocoercivity(B, rounding),
        shift=shift,
    )


def _measured(  # noqa: PLR0913, PLR0917  the pair, how hard to look, and what is known already
    operator: LinearOperator, back: Map, x: Tensor, shift: float, effort: Effort, norm: Constant | None
) -> Mismatch:
    forward_map, backward_map = _normal_maps(operator, back, x, shift)
    norm = norm or map_norm(forward_map, backward_map, x, effort)
    lowest = extreme(lambda v: (forward_map(v) + backward_map(v)) / 2, x, largest=False, effort=effort)
    floor = ZERO if x.dtype.to_real() == torch.float64 else ZERO_SINGLE
    mu = Measured(lowest.value, f"Lanczos, {lowest.applications} applications: an upper bound", lowest.residual)
    if mu.value < -floor * norm.value:
        eta = Measured(0.0, "a vector with <x, Bx> < 0 was found: B is not monotone, hence not cocoercive")
    else:
        eta = _cocoercivity(forward_map, backward_map, x, effort)
    return Mismatch(adjoint_gap(operator, x, surrogate=back, seed=effort.seed), norm, mu, eta, shift)


def _normal_maps(operator: LinearOperator, back: Map, x: Tensor, shift: float) -> tuple[Map, Map]:
    """B and its transpose."""
    with torch.no_grad():
        y = torch.zeros_like(operator.A(x))
    adjoint, back_transpose = exact_adjoint(operator, x), transpose(back, y)
    if back_transpose is None:
        raise UsageError(
            "mismatch_of: the surrogate is not differentiable by torch, so its transpose cannot be had; expected a "
            "surrogate written in torch, because the symmetric part of K A needs it."
        )
    return (
        lambda v: back(operator.A(v)).add(v, alpha=shift),
        lambda v: adjoint(back_transpose(v)).add(v, alpha=shift),
    )


def _cocoercivity(forward: Map, backward: Map, x: Tensor, effort: Effort) -> Measured:
    """The minimum of <x, Bx> / ||Bx||^2 by Dinkelbach's iteration (1967) on the smallest eigenvalue of S - eta B^T B.

    Every quotient met is an upper bound of the best constant, and they decrease.
    """

    def quotient(v: Tensor) -> float:
        image = forward(v)
        return float((v.conj() * image).real.sum() / image.abs().square().sum())

    start = extreme(lambda v: backward(forward(v)), x, largest=True, effort=effort)
    eta, vector, used = quotient(start.vector), start.vector, start.applications
    for _ in range(_DINKELBACH_STEPS):
        pair = extreme(
            _shifted(forward, backward, eta), x, largest=False, effort=effort, start=vector + _noise(x, effort.seed)
        )
        used += pair.applications
        found = quotient(pair.vector)
        if not found < eta * (1 - effort.tolerance):
            break
        eta, vector = found, pair.vector
    return Measured(max(eta, 0.0), f"Dinkelbach's iteration, {used} applications: an upper bound")


def _shifted(forward: Map, backward: Map, eta: float) -> Map:
    """(B + B^T) / 2 - eta B^T B."""

    def apply(v: Tensor) -> Tensor:
        image = forward(v)
        return (image + backward(v)) / 2 - eta * backward(image)

    return apply


def _noise(x: Tensor, seed: int) -> Tensor:
    """A little of everything, lest a starting vector lie in an invariant subspace that misses the wanted one."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)
    small: Tensor = 0.1 * noise / torch.linalg.vector_norm(noise)
    return small
