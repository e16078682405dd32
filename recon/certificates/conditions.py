"""The conditions that the theorems share."""

import math

from recon.certificates.certificate import Condition, at_most, stated
from recon.evidence import Constant, derive
from recon.operators import OperatorProperties
from recon.priors import ResolventProperties

ROUNDING = 1e-4
"""A relative adjoint gap up to this is rounding in single precision; the mildest mismatch in use is 5e-2."""


def cautious(constant: Constant) -> Constant:
    """The constant, enlarged by the radius that its residual gives."""
    return derive(lambda value: value + constant.error, constant, how=constant.how)


def lipschitz(operator: OperatorProperties) -> Constant:
    """The Lipschitz constant ||A||^2 of x -> A^T(Ax - y)."""
    norm = cautious(operator.norm)
    return derive(lambda value: value**2, norm, how=f"||A||^2; {norm.how}")


def inverse(numerator: float, constant: Constant, how: str) -> Constant:
    """``numerator / constant``, infinite where the constant is zero."""
    return derive(lambda value: numerator / value if value else math.inf, constant, how=how)


def exact_adjoint(operator: OperatorProperties, what: str = "A_adjoint") -> Condition:
    """The pair is a pair."""
    return at_most(f"{what} is the adjoint, relative gap", operator.adjoint_gap, ROUNDING)


def firmly_nonexpansive(prior: ResolventProperties, what: str = "the prior") -> Condition:
    """J = (Id + Q)/2 with Q nonexpansive."""
    return at_most(f"{what} is firmly nonexpansive, Lip(2J - Id)", prior.lipschitz_Q, 1.0)


def evaluated_exactly(prior: ResolventProperties, what: str = "the prior") -> Condition:
    """The resolvent is evaluated without an inner iteration.

    Errors that are summable over the steps would do (Combettes 2004); a fixed accuracy is not summable.
    """
    return at_most(f"{what} is evaluated exactly, relative error", prior.error, 0.0)


def solvable(prior: ResolventProperties) -> Condition:
    """There is a solution to converge to."""
    return stated("a solution exists", prior.attains, "not known for this prior and an arbitrary operator")
