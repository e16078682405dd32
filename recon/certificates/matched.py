"""Certificates of solvers with the exact adjoint, one function for each theorem.

Notation: B is the data map, L its Lipschitz constant, M the monotone operator whose resolvent is the prior's J, s the
step size, r the relaxation. Each docstring carries its theorem in full.
"""

from recon.certificates.certificate import SOLUTION, Certificate, Condition, at_most, below, stated
from recon.certificates.conditions import (
    BALANCE,
    BEST,
    evaluated_exactly,
    exact_adjoint,
    firmly_nonexpansive,
    inverse,
    lipschitz,
    proximity,
    solvable,
)
from recon.certificates.inexact import certify_backward_error, certify_inexact_forward_backward
from recon.evidence import Constant, Evidence, Fact, Proved, derive, from_above, weakest
from recon.operators import OperatorProperties
from recon.priors import ResolventProperties


def certify_forward_backward(
    operator: OperatorProperties, prior: ResolventProperties, stepsize: float, relaxation: float = 1.0
) -> Certificate:
    """Forward-backward with an exact adjoint.

    *Theorem* (Bauschke, Combettes, 2nd ed., Theorem 26.14 and Proposition 4.46). Let B = A^T(A . - y), L = ||A||^2,
    0 < s < 2/L, J firmly nonexpansive and zer(B + M/s) not empty. Then x -> J(x - s B x) is averaged with constant
    2/(4 - s L), and for a relaxation in (0, 2 - s L/2) the iterates converge to a zero of B + M/s. Where J is evaluated
    with an error, :func:`certify_inexact_forward_backward` says what is left.
    """
    constant = lipschitz(operator)
    limit = derive(lambda value: 2 - stepsize * value / 2, constant, how="2 - s L / 2")
    return Certificate(
        theorem="forward-backward splitting (Bauschke and Combettes 2017, Theorem 26.14)",
        conclusion=_conclusion(prior, "the iterates converge to"),
        in_words=_in_words(prior),
        conditions=(
            exact_adjoint(operator),
            below("the step size is below its limit, 2 / ||A||^2", stepsize, inverse(2, constant, constant.how)),
            below("the relaxation is below its limit, 2 - s L / 2", relaxation, limit),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            solvable(prior, operator),
        ),
        weaker=certify_inexact_forward_backward(operator, prior, stepsize, relaxation) if prior.error.value else None,
    )


def certify_tseng(operator: OperatorProperties, prior: ResolventProperties, stepsize: float) -> Certificate:
    """Tseng's forward-backward-forward with an exact adjoint.

    *Theorem* (Tseng 2000; Bauschke, Combettes, 2nd ed., Theorem 26.17). Let B be monotone and L-Lipschitz, 0 < s < 1/L,
    J firmly nonexpansive and zer(B + M/s) not empty. Then the iterates converge to a zero of B + M/s.
    """
    constant = lipschitz(operator)
    return Certificate(
        theorem="Tseng's forward-backward-forward splitting (Tseng 2000)",
        conclusion=_conclusion(prior, "the iterates converge to"),
        in_words=_in_words(prior),
        conditions=(
            exact_adjoint(operator),
            below("the step size is below its limit, 1 / ||A||^2", stepsize, inverse(1, constant, constant.how)),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            solvable(prior, operator),
        ),
        weaker=certify_backward_error(operator, prior, stepsize) if prior.error.value else None,
    )


def certify_douglas_rachford(
    operator: OperatorProperties, prior: ResolventProperties, relaxation: float = 1.0
) -> Certificate:
    """Douglas-Rachford with the exact resolvent of the data term.

    *Theorem* (Lions, Mercier 1979; Bauschke, Combettes, 2nd ed., Theorem 26.11). Let R be the resolvent of s B with B
    maximally monotone, J firmly nonexpansive, zer(B + M/s) not empty and 0 < r < 2. Then the governing sequence
    converges, and its shadow J z converges to a zero of B + M/s, for every s > 0.
    """
    return Certificate(
        theorem="Douglas-Rachford splitting (Lions and Mercier 1979)",
        conclusion=_conclusion(prior, "the iterates converge to"),
        in_words=_in_words(prior),
        conditions=(
            exact_adjoint(operator),
            below(
                "the relaxation is below its limit, 2",
                relaxation,
                Proved(2.0, "of a governing map that is firmly nonexpansive"),
            ),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            solvable(prior, operator),
        ),
    )


def certify_davis_yin(
    operator: OperatorProperties,
    prior: ResolventProperties,
    constraint: ResolventProperties,
    stepsize: float,
    relaxation: float = 1.0,
) -> Certificate:
    """The three-operator splitting.

    *Theorem* (Davis, Yin 2017, Theorem 2.1). Let B be (1/L)-cocoercive, 0 < s < 2/L, J and P firmly nonexpansive and
    zer(B + M/s + C/s) not empty. Then the map is averaged with constant 2/(4 - s L), and for a relaxation in
    (0, 2 - s L/2) the images converge to a zero of B + M/s + C/s.
    """
    constant = lipschitz(operator)
    limit = derive(lambda value: 2 - stepsize * value / 2, constant, how="2 - s L / 2")
    return Certificate(
        theorem="three-operator splitting (Davis and Yin 2017, Theorem 2.1)",
        conclusion="the images converge to a zero of A^T(Ax - y) + M x / s + C x, C the constraint's normal cone",
        in_words=f"{BALANCE}, within the constraint",
        conditions=(
            exact_adjoint(operator),
            below("the step size is below its limit, 2 / ||A||^2", stepsize, inverse(2, constant, constant.how)),
            below("the relaxation is below its limit, 2 - s L / 2", relaxation, limit),
            firmly_nonexpansive(prior),
            firmly_nonexpansive(constraint, "the constraint"),
            evaluated_exactly(prior),
            evaluated_exactly(constraint, "the constraint"),
            _constrained_solvable(prior, constraint),
        ),
    )


def certify_condat_vu(  # noqa: PLR0913, PLR0917  the problem has as many parts
    operator: OperatorProperties | None,
    prior: ResolventProperties,
    dual_operator: OperatorProperties,
    dual_prior: ResolventProperties,
    stepsize: float,
    dual_stepsize: float,
    relaxation: float = 1.0,
    attains: Fact | None = None,
) -> Certificate:
    """The primal-dual splitting.

    *Theorem* (Condat 2013, Theorem 3.1; Vu 2013, Theorem 3.1). Let B be (1/L)-cocoercive, the resolvents J and R firmly
    nonexpansive, 1/s - t ||D||^2 >= L/2 with D the dual operator and s, t the two step sizes, the relaxation in
    (0, 2 - (L/2) / (1/s - t ||D||^2)), and let the primal-dual inclusion have a solution. Then (x, u) converges to one.
    Without B the condition is s t ||D||^2 <= 1 in finite dimension, and the relaxation may be anything in (0, 2).

    Args:
        operator: Of the data map, ``None`` where the primal-dual runs without one.
        prior: Of the primal resolvent.
        dual_operator: Of D.
        dual_prior: Of the dual resolvent.
        stepsize: s.
        dual_stepsize: t.
        relaxation: r.
        attains: Why the primal-dual inclusion has a solution.
    """
    constant = Proved(0.0, "there is no smooth term") if operator is None else lipschitz(operator)
    norm = from_above(dual_operator.norm)
    room = derive(lambda size: 1 / stepsize - dual_stepsize * size**2, norm, how=f"1/s - t ||D||^2; {norm.how}")
    limit = derive(_relaxation_limit, room, constant, how="2 - (L/2)/(1/s - t ||D||^2)")
    need = derive(lambda value, free: value / 2 - free, constant, room, how=f"{constant.how}; {room.how}")
    data = () if operator is None else (exact_adjoint(operator),)
    return Certificate(
        theorem="primal-dual splitting (Condat 2013, Vu 2013)",
        conclusion=_primal_dual_conclusion(prior, dual_prior),
        in_words=_in_words(prior, dual_prior),
        conditions=(
            *data,
            exact_adjoint(dual_operator, "the adjoint of the dual step"),
            at_most("the two step sizes are small enough together, L/2 - (1/s - t ||D||^2)", need, 0.0),
            below("the relaxation is below its limit, 2 - (L/2) / (1/s - t ||D||^2)", relaxation, limit),
            firmly_nonexpansive(prior, "the primal prior"),
            firmly_nonexpansive(dual_prior, "the dual prior"),
            evaluated_exactly(prior, "the primal prior"),
            evaluated_exactly(dual_prior, "the dual prior"),
            stated(SOLUTION, attains, "not known for this combination"),
        ),
    )


def certify_accelerated_primal_dual(
    dual_operator: OperatorProperties, stepsize: float, dual_stepsize: float
) -> Certificate:
    """The accelerated primal-dual method for denoising.

    *Theorem* (Chambolle, Pock 2011, Theorem 2). Let G be strongly convex with constant 1, as ``||x - y||^2 / 2`` with
    bounds is, F* the indicator of a product of balls, and let the step sizes begin with s t ||D||^2 <= 1 and change by
    the factors 1/sqrt(1 + 2 s) and its inverse. Then ||x - x*||^2 is O(1/k^2). The sum is strongly convex, so it has
    one minimiser.

    Args:
        dual_operator: Of D.
        stepsize: The first primal step size s.
        dual_stepsize: The first dual step size t.
    """
    norm = from_above(dual_operator.norm)
    product = derive(lambda size: stepsize * dual_stepsize * size**2, norm, how=norm.how)
    return Certificate(
        theorem="accelerated primal-dual method (Chambolle and Pock 2011)",
        conclusion="the iterates converge, ||x - x*||^2 as 1/k^2, to the minimiser of ||x - y||^2 / 2 + g(Dx)",
        in_words=f"{BEST}; the distance falls at least as fast as 1 over the number of steps",
        conditions=(
            exact_adjoint(dual_operator, "the adjoint of the dual step"),
            at_most("the two step sizes are small enough together, s t ||D||^2", product, 1.0),
            stated(
                SOLUTION,
                Fact(Evidence.PROVED, "the sum is strongly convex with constant 1, because A is the identity"),
                "",
            ),
        ),
    )


def certify_fista(operator: OperatorProperties, prior: ResolventProperties, stepsize: float) -> Certificate:
    """Accelerated forward-backward.

    *Theorem* (Chambolle, Dossal 2015, Theorem 4.1). Let f = ||A . - y||^2 / 2, J the proximity operator of a convex g,
    0 < s <= 1/||A||^2 and let f + g/s have a minimiser. With the momentum (k - 1)/(k + a), a > 2, the iterates converge
    to a minimiser, and the values decrease as O(1/k^2). A resolvent that is not a proximity operator has no energy,
    and the theorem says nothing.
    """
    return Certificate(
        theorem="FISTA with converging iterates (Chambolle and Dossal 2015)",
        conclusion=_conclusion(prior, "the iterates converge, the values as 1/k^2, to"),
        in_words=_in_words(prior),
        conditions=(*_proximal_gradient(operator, prior, stepsize), solvable(prior, operator)),
        weaker=certify_backward_error(operator, prior, stepsize) if prior.error.value else None,
    )


def certify_proximal_descent(operator: OperatorProperties, prior: ResolventProperties, stepsize: float) -> Certificate:
    """Proximal gradient steps of any lengths that are at least s and pass the test of descent, else of length s.

    *Theorem* (after Beck, Teboulle 2009, section 3). Let f = ||A . - y||^2 / 2, g convex with a proximity operator,
    F = f + g and s <= 1/||A||^2. Let x+ = prox_{tg}(x - t grad f(x)) with t >= s and t ||A(x+ - x)||^2 <=
    ||x+ - x||^2, which t = s always passes. Then F(x+) <= F(x), and if F has a minimiser the iterates converge to one,
    F(x_k) - min F <= ||x_0 - x*||^2 / (2 k s). *Proof*: the test is f(x+) <= f(x) + <grad f(x), x+ - x> +
    ||x+ - x||^2 / (2t), from which 2t (F(x+) - F(z)) <= ||x - z||^2 - ||x+ - z||^2 for every z, as f and g are convex.
    With z = x the energy falls; with z a minimiser distances to it do not grow, and the sum over the steps gives the
    rate; a cluster point minimises F, and the distance to it falls to zero.

    Args:
        operator: A.
        prior: Of the proximity operators of g.
        stepsize: s.
    """
    return Certificate(
        theorem="proximal gradient steps that pass the test of descent (after Beck and Teboulle 2009)",
        conclusion=_conclusion(prior, "the energy falls at every step, and the iterates converge to"),
        in_words=_in_words(prior),
        conditions=(*_proximal_gradient(operator, prior, stepsize), solvable(prior, operator)),
    )


def certify_compared_steps(operator: OperatorProperties, prior: ResolventProperties, stepsize: float) -> Certificate:
    """Proximal gradient steps of any lengths, each taken only if the energy falls, else one of length s.

    *Theorem*. Let f = ||A . - y||^2 / 2, g convex with a proximity operator, F = f + g and s <= 1/||A||^2. Then F never
    rises: where the first step is not taken, F(x+) <= F(x) - ||x+ - x||^2 / (2s) for the second (Beck, Teboulle 2009,
    Lemma 2.3 with z = x). Of a limit nothing is said: a number of steps is learned, and the duality gap says what they
    leave.

    Args:
        operator: A.
        prior: Of the proximity operators of g.
        stepsize: s.
    """
    return Certificate(
        theorem="proximal gradient steps, compared by the energy (after Beck and Teboulle 2009)",
        conclusion="the energy rises at no step; the duality gap says how far it is from the least one",
        in_words="no step makes the fit to measurement and prior worse; the duality gap says how far from best it is",
        conditions=_proximal_gradient(operator, prior, stepsize),
    )


def _proximal_gradient(
    operator: OperatorProperties, prior: ResolventProperties, stepsize: float
) -> tuple[Condition, ...]:
    """What every proximal gradient step of length s needs: s ||A||^2 <= 1, and a proximity operator without error."""
    constant = lipschitz(operator)
    needed = derive(lambda value: stepsize * value, constant, how=constant.how)
    return (
        exact_adjoint(operator),
        at_most("the step size is at most its limit, s ||A||^2", needed, 1.0),
        proximity(prior),
        evaluated_exactly(prior),
    )


def certify_smooth_fista(
    operator: OperatorProperties,
    penalty: Constant,
    stepsize: float,
    *,
    implicit: bool,
    attains: Fact | None,
) -> Certificate:
    """FISTA with a penalty of Lipschitz gradient, which needs no resolvent of it.

    *Theorem* (Chambolle, Dossal 2015, Theorem 4.1). Let R be convex, its gradient l-Lipschitz, and let
    ||A . - y||^2 / 2 + R have a minimiser. Split either into f = R and the proximity operator of the data term, with
    L = l, or into f = ||A . - y||^2 / 2 + R and the identity, or the projection on bounds, with L = l + ||A||^2. With
    0 < s <= 1/L and the momentum (k - 1)/(k + a), a > 2, the iterates converge to a minimiser, and the values decrease
    as O(1/k^2).

    Args:
        operator: A.
        penalty: l.
        stepsize: s.
        implicit: Whether the data term enters by its proximity operator.
        attains: Why there is a minimiser.
    """
    data, how = lipschitz(operator), "s times the Lipschitz constant of the gradient"
    parts = (penalty,) if implicit else (penalty, data)
    needed = derive(lambda *values: stepsize * sum(values), *parts, how="; ".join([how, *(part.how for part in parts)]))
    return Certificate(
        theorem="FISTA with converging iterates (Chambolle and Dossal 2015)",
        conclusion="the iterates converge, the values as 1/k^2, to a minimiser of ||Ax - y||^2 / 2 + R(x)",
        in_words=BEST,
        conditions=(
            exact_adjoint(operator),
            at_most(f"the step size is at most its limit, s Lip(grad R{'' if implicit else ' + A^T A'})", needed, 1.0),
            stated(SOLUTION, attains, "not known for this penalty"),
        ),
    )


def _conclusion(prior: ResolventProperties, verb: str) -> str:
    if prior.proximity is None:
        return f"{verb} a zero of A^T(Ax - y) + M x / s"
    return f"{verb} a minimiser of ||Ax - y||^2 / 2 + g(x) / s"


def _in_words(*priors: ResolventProperties) -> str:
    return BALANCE if any(prior.proximity is None for prior in priors) else BEST


def _primal_dual_conclusion(prior: ResolventProperties, dual_prior: ResolventProperties) -> str:
    if prior.proximity is None or dual_prior.proximity is None:
        return "the iterates converge to a zero of the inclusion and of its dual"
    return "the iterates converge to a minimiser of the sum of the data term and g(Dx), and to a solution of its dual"


def _relaxation_limit(room: float, lipschitz_constant: float) -> float:
    if room <= 0:
        return 2.0 if lipschitz_constant == 0 and room == 0 else 0.0
    return 2 - lipschitz_constant / (2 * room)


def _constrained_solvable(prior: ResolventProperties, constraint: ResolventProperties) -> Condition:
    """A maximally monotone operator with a bounded domain is onto, and so is its sum with one defined everywhere.

    Bauschke and Combettes 2017, Corollaries 21.25 and 25.5.
    """
    fact: Fact | None = None
    if prior.everywhere is not None and constraint.bounded is not None:
        evidence = weakest(prior.everywhere.evidence, constraint.bounded.evidence)
        fact = Fact(evidence, f"{prior.everywhere.how}, and {constraint.bounded.how}")
    unbounded = "the constraint is unbounded"
    undefined = "the prior is not known to be defined on all of it"
    return stated(SOLUTION, fact, f"not known: {unbounded if constraint.bounded is None else undefined}")


__all__ = [
    "certify_condat_vu",
    "certify_davis_yin",
    "certify_douglas_rachford",
    "certify_fista",
    "certify_forward_backward",
    "certify_smooth_fista",
    "certify_tseng",
]
