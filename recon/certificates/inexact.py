"""Certificates of methods whose resolvent is evaluated by an inner iteration, to a fixed accuracy.

Notation as in :mod:`recon.certificates.matched`; besides, J~ is what is computed for J, ||J~ v - J v|| <= e ||v|| for
every v, and v(x) = x - s B x with B = A^T(A . - y). The error e is relative to the norm of what the resolvent is
applied to, here v(x), and does not shrink with the steps: so nothing converges, and what follows is what is left.
"""

from recon.certificates.certificate import Certificate, Condition, at_most, below, positive
from recon.certificates.conditions import exact_adjoint, firmly_nonexpansive, inverse, lipschitz
from recon.evidence import Constant, derive, from_above, from_below
from recon.operators import OperatorProperties
from recon.priors import ResolventProperties

_BACKWARD = (
    "wherever the run ends, the image x is within d = ||x - J~ v|| + e ||v|| of a point p at which 0 is within d / s "
    "of A^T(A p - y) + M p / s, where v = x - s A^T(A x - y), J~ is the prior as evaluated, e = {error:.3g} its error"
)

_IN_WORDS = (
    "wherever the run ends, the distance of its image from satisfying the equation of the problem is bounded, and the "
    "bound is computed at the end"
)


def certify_backward_error(operator: OperatorProperties, prior: ResolventProperties, stepsize: float) -> Certificate:
    """What holds of every image, whatever iteration gave it: the theorem of :func:`recon.certificates.backward_error`.

    With s ||A||^2 <= 2, where its factor max(1, s ||A||^2 - 1) is 1.
    """
    square = lipschitz(operator)
    needed = derive(lambda value: stepsize * value, square, how=square.how)
    return Certificate(
        theorem="backward error of a forward-backward step (v - J v is in M J v)",
        conclusion=_BACKWARD.format(error=prior.error.value),
        in_words=_IN_WORDS,
        conditions=(
            exact_adjoint(operator),
            at_most("the step size is at most its limit, s ||A||^2 at most 2", needed, 2.0),
            firmly_nonexpansive(prior),
            _bounded(prior),
        ),
    )


def certify_inexact_forward_backward(
    operator: OperatorProperties, prior: ResolventProperties, stepsize: float, relaxation: float = 1.0
) -> Certificate:
    """Forward-backward with a resolvent that is evaluated to a fixed accuracy.

    *Theorem*. Let 0 < s < 2/L, J firmly nonexpansive, T = J(Id - s B), r in (0, 2 - s L/2) and
    x+ = x + r (J~ v(x) - x). Then

    1. every x has the backward error of :func:`recon.certificates.backward_error`;
    2. ||x+ - z|| <= ||x - z|| + r e ||v(x)|| for every zero z of B + M/s;
    3. if T is a contraction of constant rho = (1 + q)/2 c, with Lip(Q) <= q and c = ||Id - s A^T A||, and
       f = |1 - r| + r rho + r e c < 1, then limsup ||x_k - x*|| <= r e ||v(x*)|| / (1 - f) for the only zero x*.

    *Proof*. 2: T is averaged with constant 2/(4 - s L), as in :func:`recon.certificates.certify_forward_backward`, so
    (1 - r) Id + r T is nonexpansive and fixes z; what is computed instead is r (J~ v(x) - J v(x)) away from it.
    3: (1 - r) Id + r T has the Lipschitz constant |1 - r| + r rho, and ||v(x)|| <= c ||x - x*|| + ||v(x*)||, as v is
    affine with the linear part Id - s A^T A: so D = ||x - x*|| becomes at most f D + r e ||v(x*)||.

    As e is relative, 2 alone lets the iterates drift: by a factor 1 + r e a step at worst.
    """
    square = lipschitz(operator)
    limit = derive(lambda value: 2 - stepsize * value / 2, square, how="2 - s L / 2")
    conditions: tuple[Condition, ...] = (
        exact_adjoint(operator),
        below("the step size is below its limit, 2 / ||A||^2", stepsize, inverse(2, square, square.how)),
        below("the relaxation is below its limit, 2 - s L / 2", relaxation, limit),
        firmly_nonexpansive(prior),
        _bounded(prior),
    )
    moved = relaxation * from_above(prior.error).value
    conclusion = (
        f"{_BACKWARD.format(error=prior.error.value)}; no step ends more than {moved:.3g} ||v|| farther from a "
    )
    conclusion += "solution than it began"
    left = contraction_left(operator, prior, stepsize, relaxation)
    if left.value > 0:
        conditions += (
            positive("each step is a contraction, what (1 + q)/2 ||Id - s A^T A|| and the error leave of 1", left),
        )
        conclusion += f", and the iterates end within {moved / left.value:.3g} ||v(x*)|| of the only solution x*"
    return Certificate(
        "forward-backward splitting with errors of a fixed relative size", conclusion, conditions, in_words=_IN_WORDS
    )


def contraction_left(
    operator: OperatorProperties, prior: ResolventProperties, stepsize: float, relaxation: float = 1.0
) -> Constant:
    """1 - f, with f = |1 - r| + r ((1 + q)/2 + e) c and c = ||Id - s A^T A||; positive where a step contracts.

    c is the larger of |1 - s l| and |1 - s L|, with l a lower bound of the eigenvalues of A^T A.
    """
    least, q = from_below(operator.gram_min), from_above(prior.lipschitz_Q)

    def formula(low: float, square: float, lipschitz_Q: float, error: float) -> float:
        size = max(abs(1 - stepsize * max(low, 0.0)), abs(1 - stepsize * square))
        return 1 - abs(1 - relaxation) - relaxation * ((1 + lipschitz_Q) / 2 + error) * size

    how = f"1 - |1 - r| - r ((1 + q)/2 + e) ||Id - s A^T A||; {least.how}; {q.how}"
    return derive(formula, least, lipschitz(operator), q, from_above(prior.error), how=how)


def _bounded(prior: ResolventProperties) -> Condition:
    return at_most("the prior's error is at most its input, relative error", prior.error, 1.0)
