"""Certificates of the linear iterations of tomography: BA, shifted BA, and SIRT with its constraint."""

from recon.certificates.certificate import SOLUTION, Certificate, Condition, below, positive, stated
from recon.certificates.conditions import (
    BALANCE,
    evaluated_exactly,
    exact_adjoint,
    firmly_nonexpansive,
    inverse,
    solvable,
)
from recon.evidence import Evidence, Fact, derive, from_above
from recon.operators import LinearIteration, OperatorProperties, Weights
from recon.priors import ResolventProperties


def certify_shifted_ba(iteration: LinearIteration, stepsize: float) -> Certificate:
    """The BA iteration, shifted or not, which has no prior.

    *Theorem* (Elfving, Hansen 2018; with a shift Dong, Hansen, Hochstenbach, Riis 2019). Let B = K A + k Id. For every
    x0 and y, x+ = x + w (K(y - A x) - k x) converges to a solution of B x = K y, at a linear rate, if and only if
    |1 - w l| < 1, that is 0 < w < 2 Re(l)/|l|^2, for every eigenvalue l of B other than zero, zero is a semisimple
    eigenvalue if it is one, and K maps into the range of B. *Proof*: x+ - x* = (Id - w B)(x - x*) with x* a solution;
    powers of Id - w B converge exactly if its eigenvalues other than 1 are inside the unit circle and 1 is semisimple,
    and without a solution the part of K y in the null space of a semisimple B is added at every step.

    The condition is sharp, and it takes the eigenvalues. Where only the action of the maps is known, a cocoercive B has
    the interval 0 < w < 2 eta, which is sufficient: :func:`certify_mismatched_forward_backward` with the properties of
    ``priors.identity()``.

    Args:
        iteration: From :func:`recon.operators.linear_iteration_of`.
        stepsize: w.
    """
    return Certificate(
        theorem="BA iteration (Elfving and Hansen 2018; shifted: Dong, Hansen, Hochstenbach and Riis 2019)",
        conclusion="the iterates converge linearly to a solution of K A x + shift x = K y",
        in_words="with more steps the image approaches one that fits the measurement as seen by the surrogate",
        conditions=(
            positive("every nonzero eigenvalue has a positive real part, 2 Re(l) / |l|^2", iteration.limit),
            below("the step size is below its limit, 2 Re(l) / |l|^2", stepsize, iteration.limit),
            stated(SOLUTION, iteration.solvable, "zero is an eigenvalue, and K does not spare its part"),
        ),
    )


def certify_preconditioned_forward_backward(
    operator: OperatorProperties, weights: Weights, prior: ResolventProperties, stepsize: float
) -> Certificate:
    """Forward-backward with a step size that varies over the image: SIRT, with or without a constraint.

    *Theorem*. Let D and R be positive diagonals, C = R^1/2 A D^1/2, 0 < s < 2/||C||^2, J the resolvent of D M, and let
    0 in A^T R (A x - y) + M x / s have a solution. Then x+ = J(x - s D A^T R (A x - y)) converges to one. *Proof*: with
    x = D^1/2 z it is the forward-backward iteration of ||C z - R^1/2 y||^2 / 2 and of the maximally monotone
    D^1/2 M D^1/2, whose resolvent is D^-1/2 J D^1/2 (Bauschke, Combettes, 2nd ed., Theorem 26.14 and Proposition
    23.25). For the inverse row and column sums of a matrix without negative entries ||C|| = 1.

    A resolvent in the Euclidean metric, J = (Id + M)^-1, is that of D M only where D is a multiple of the identity, or
    where D M = M, as for no prior and for a box.

    Args:
        operator: Of A.
        weights: D, R and ||C||.
        prior: Of J.
        stepsize: s; the relaxation of SIRT.
    """
    norm = from_above(weights.norm)
    square = derive(lambda value: value**2, norm, how=f"||R^1/2 A D^1/2||^2; {norm.how}")
    return Certificate(
        theorem="preconditioned forward-backward splitting (Bauschke and Combettes 2017, Theorem 26.14)",
        conclusion="the iterates converge to a zero of A^T R (Ax - y) + M x / s, least squares weighted by R",
        in_words=f"{BALANCE}, with the weights of the method",
        conditions=(
            exact_adjoint(operator),
            below(
                "the step size is below its limit, 2 / ||R^1/2 A D^1/2||^2", stepsize, inverse(2, square, square.how)
            ),
            firmly_nonexpansive(prior),
            _fits_the_metric(weights, prior),
            evaluated_exactly(prior),
            solvable(prior),
        ),
    )


def _fits_the_metric(weights: Weights, prior: ResolventProperties) -> Condition:
    fact = prior.scale_free
    if weights.uniform:
        fact = Fact(Evidence.PROVED, "D is a multiple of the identity")
    return stated(
        "the prior fits the metric of D",
        fact,
        "a resolvent in the Euclidean metric is none in that of a D that varies over the image, a box excepted",
    )
