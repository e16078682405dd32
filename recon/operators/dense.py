"""Constants of explicit matrices: dense linear algebra, widened by its own rounding, proves.

The algorithms behind ``torch.linalg`` are backward stable: what they return is exact for a matrix that differs by a
modest multiple of the rounding unit times the norm (Higham 2002, *Accuracy and Stability of Numerical Algorithms*).
"""

import math

import torch
from torch import Tensor

from recon.evidence import Constant, Fact, Measured, Proved
from recon.evidence import Evidence as Why

HOW = "dense linear algebra, widened by its rounding"


def rounding_of(size: int, norm: float) -> float:
    """Return a bound of the rounding of a singular value of a matrix of that size and norm."""
    return 10 * size * torch.finfo(torch.float64).eps * norm


def slack(matrix: Tensor) -> float:
    """Return that bound for a matrix that is exact as it stands."""
    return rounding_of(max(matrix.shape), float(torch.linalg.matrix_norm(matrix, 2)))


def largest_singular_value(matrix: Tensor, rounding: float | None = None) -> Proved:
    """||M||, from above. Here and below ``rounding`` is what M itself is wrong by, for one that is a product."""
    return Proved(float(torch.linalg.matrix_norm(matrix, 2)) + _or_slack(rounding, matrix), HOW)


def smallest_gram_eigenvalue(matrix: Tensor) -> Proved:
    """The smallest eigenvalue of M^T M, from below."""
    if matrix.shape[0] < matrix.shape[1]:
        return Proved(0.0, "fewer rows than columns")
    return Proved(max(0.0, float(torch.linalg.svdvals(matrix)[-1]) - slack(matrix)) ** 2, HOW)


def smallest_symmetric_eigenvalue(matrix: Tensor, rounding: float | None = None) -> Proved:
    """The smallest eigenvalue of (M + M^T)/2, from below."""
    return Proved(float(torch.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) - _or_slack(rounding, matrix), HOW)


def cocoercivity(matrix: Tensor, rounding: float | None = None) -> Constant:
    """The largest eta with <x, M x> >= eta ||M x||^2, from below; 0 where there is none.

    With u = M x the quotient is <u, M^-1 u> / ||u||^2, so eta is the smallest eigenvalue of the symmetric part of the
    inverse. A monotone matrix has the null space of its transpose, so for a singular one the pseudo-inverse on the
    range takes its place; but which singular values are zero is then a judgement, not a proof.
    """
    rounding = _or_slack(rounding, matrix)
    if smallest_symmetric_eigenvalue(matrix, rounding).value < -2 * rounding:
        return Proved(0.0, "a vector with <x, Bx> < 0 exists: B is not monotone, hence not cocoercive")
    left, values, right = torch.linalg.svd(matrix)
    kept = values > 10 * rounding
    if not bool(kept.any()):
        return Measured(math.inf, "B is zero up to rounding")
    inverse = (left[:, kept].T @ right[kept].T) / values[kept]
    lowest = float(torch.linalg.eigvalsh((inverse + inverse.T) / 2)[0])
    if not bool(kept.all()):
        return Measured(max(lowest, 0.0), "dense linear algebra on the range: what is zero up to rounding is left out")
    return Proved(max(lowest - 2 * rounding / float(values[-1]) ** 2, 0.0), HOW)


def linear_iteration_limit(matrix: Tensor, rounding: float | None = None) -> Constant:
    """The largest w such that |1 - w l| < 1 for all nonzero eigenvalues l of M: the least 2 Re(l) / |l|^2, at least 0.

    With the computed eigenvectors V and eigenvalues L, every eigenvalue lies within r = ||V^-1 M V - L|| of a computed
    one (Bauer, Fike 1960), and |1 - w l| + w r < 1 if and only if w < 2 (Re(l) - r) / (|l|^2 - r^2).
    """
    rounding = _or_slack(rounding, matrix)
    values, radius = _eigenvalues(matrix, rounding)
    if math.isfinite(radius) and bool((values.abs() > radius).all()):
        limits = 2 * (values.real - radius) / (values.abs().square() - radius**2)
        return Proved(max(float(limits.min()), 0.0), "2 Re(l) / |l|^2; eigenvalues with their Bauer-Fike radius")
    kept = values[values.abs() > 10 * rounding]
    limits = 2 * kept.real / kept.abs().square()
    how = "2 Re(l) / |l|^2; eigenvalues that are zero up to rounding left out"
    return Measured(max(float(limits.min()), 0.0) if kept.numel() else math.inf, how)


def linear_iteration_solvable(matrix: Tensor, back: Tensor, rounding: float | None = None) -> Fact | None:
    """Return the reason why M x = K y has a solution for every y, to which an iteration with M can converge.

    A regular M is enough. Else the eigenvalue zero must be semisimple, rank(M^2) = rank(M), for its part of the error
    not to grow as a polynomial, and the range of K must lie in that of M, for K y not to be added up endlessly.
    """
    values, radius = _eigenvalues(matrix, _or_slack(rounding, matrix))
    if math.isfinite(radius) and bool((values.abs() > radius).all()):
        return Fact(Why.PROVED, "zero is no eigenvalue")
    rank = _rank(matrix)
    if _rank(matrix @ matrix) == rank == _rank(torch.cat([matrix, back], dim=1)):
        return Fact(Why.MEASURED, "by ranks up to rounding: zero is semisimple, and K maps into the range of K A")
    return None


def _or_slack(rounding: float | None, matrix: Tensor) -> float:
    return slack(matrix) if rounding is None else rounding


def _eigenvalues(matrix: Tensor, rounding: float) -> tuple[Tensor, float]:
    """The computed eigenvalues, and how far a true one may be from the nearest of them: infinite if defective."""
    values, vectors = torch.linalg.eig(matrix)
    condition = float(torch.linalg.cond(vectors))
    if not condition * torch.finfo(torch.float64).eps < 1e-2:
        return values, math.inf
    rest = torch.linalg.solve(vectors, matrix.to(vectors) @ vectors) - torch.diag(values)
    return values, float(torch.linalg.matrix_norm(rest, 2)) + condition * rounding


def _rank(matrix: Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-10))
