"""Statements of the user's own code about itself: assumed, unless they are measured or refuted."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from recon.device import Notify
from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Fact, Measured, Proved, from_above, from_below
from recon.methods.assumption_check import attack
from recon.operators import CharacterisedOperator, OperatorProperties
from recon.operators.adjoint import exact_adjoint
from recon.operators.base import SEMIDEFINITE, Characterised, HasNonnegativeEntries
from recon.operators.spectral import Effort, extreme, map_norm
from recon.priors import Prior, Resolvent, ResolventProperties, Smooth, Split
from recon.specs.grammar import Spec
from recon.types import LinearOperator, Map

BY_THE_USER = "stated by the user's code"

_SLACK = 1e-3
"""By how much what was measured must exceed a statement to refute it; rounding in single precision stays below."""

_EFFORT = Effort(applications=100)

_WRONG = 1e-3
"""The relative error from which a user's own gradient or resolvent of the data term is refused."""


def is_packaged(operator: object) -> bool:
    """Return whether an operator and all of its parts are of this package, whose constants follow from its code.

    A part that is a bare constant or fact is a statement of whoever built it.
    """
    if not type(operator).__module__.startswith("recon.") or {"A", "A_adjoint"} & set(
        getattr(operator, "__dict__", {})
    ):
        return False
    if not dataclasses.is_dataclass(operator):
        return True
    return all(_is_harmless(getattr(operator, part.name)) for part in dataclasses.fields(operator))


def _is_harmless(part: object) -> bool:
    if isinstance(part, tuple | list):
        return all(_is_harmless(each) for each in part)
    if isinstance(part, Constant | Fact):
        return False
    return is_packaged(part) if isinstance(part, LinearOperator) else True


def stated_operator(spec: Spec, operator: LinearOperator, forward: Map, back: Map, say: Notify) -> LinearOperator:
    """The user's operator as an object of the same name, with what it states of itself as assumptions.

    Its spaces are kept, its constants are looked at when somebody asks for them, its gradient and its resolvent of the
    data term are tried against ``A`` and ``A_adjoint``, and its symbol is left out, because constants are proved by it.

    Args:
        spec: Where it comes from.
        operator: What the callable returned.
        forward: Its ``A``.
        back: Its ``A_adjoint``.
        say: Where a refuted statement is told.
    """
    behaviour: dict[str, Any] = {}
    if _has(operator, Characterised):
        behaviour["properties"] = cached_property(lambda made: _properties(spec, operator, made, say))
    if _has(operator, HasNonnegativeEntries):
        behaviour["nonnegative_entries"] = cached_property(lambda made: _nonnegative(operator, made))
    made = type(type(operator).__name__, (), behaviour)()
    vars(made).update(A=forward, A_adjoint=back)
    if "properties" in behaviour:
        vars(made).update(domain=cast(Characterised, operator).domain, range=cast(Characterised, operator).range)
    for name, check in (("data_gradient", _checked_gradient), ("data_resolvent", _checked_resolvent)):
        if callable(getattr(operator, name, None)):
            vars(made)[name] = check(spec, getattr(operator, name), made)
    return cast(LinearOperator, made)


def _has(operator: object, protocol: Any) -> bool:
    try:
        return isinstance(operator, protocol)
    except Exception:  # a property of the user's own code may raise anything, and is asked again where it matters
        return False


def _properties(spec: Spec, operator: Any, made: CharacterisedOperator, say: Notify) -> OperatorProperties:
    known = operator.properties
    if not isinstance(known, OperatorProperties):
        raise UsageError(
            f"{spec}: properties is a {type(known).__name__}; expected recon.operators.OperatorProperties, or none."
        )
    for name, constant in (("norm", known.norm), ("adjoint_gap", known.adjoint_gap), ("gram_min", known.gram_min)):
        _require_number(spec, name, constant)
    found = OperatorProperties(
        norm=_norm(spec, made, known.norm, say),
        adjoint_gap=assumed(known.adjoint_gap),
        gram_min=_gram_min(spec, made, known.gram_min, say),
    )
    return found if known.sees_constants is None else replace(found, sees_constants=assumed_fact(known.sees_constants))


def _norm(spec: Spec, made: CharacterisedOperator, claim: Constant, say: Notify) -> Constant:
    """Return what was stated of ||A||, or what was measured where that is larger."""
    x = made.domain.zeros(1, 1)
    try:
        found = map_norm(made.A, exact_adjoint(made, x), x, _EFFORT)
    except UsageError:  # it may want another device or precision: then its word is all there is
        return assumed(from_above(claim))
    if found.value <= from_above(claim).value * (1 + _SLACK):
        return assumed(from_above(claim))
    return _instead(spec, "||A||", claim, found, say)


def _gram_min(spec: Spec, made: CharacterisedOperator, claim: Constant, say: Notify) -> Constant:
    """Return what was stated of the smallest eigenvalue of A^T A, which no ||A v||^2 / ||v||^2 may be below."""
    least = from_below(claim).value
    if least <= 0:
        return SEMIDEFINITE
    x, back = made.domain.zeros(1, 1), made.A_adjoint
    try:
        found = extreme(lambda v: back(made.A(v)), x, largest=False, effort=_EFFORT)
        value = _square(made.A(found.vector)) / _square(found.vector)
    except UsageError:  # as for the norm
        return assumed(from_below(claim))
    if value >= least * (1 - _SLACK):
        return assumed(from_below(claim))
    _instead(spec, "lambda_min(A^T A)", claim, Measured(value, "an image that A shrinks more"), say)
    return SEMIDEFINITE


def _instead(spec: Spec, what: str, claim: Constant, found: Measured, say: Notify) -> Measured:
    say(f"{spec}: its code states {what} = {claim.value:.6g}, and {found.value:.6g} was measured, which refutes it")
    return replace(found, how=f"{found.how}; refutes {claim.value:.6g}, {BY_THE_USER}")


def _nonnegative(operator: Any, made: LinearOperator) -> Fact | None:
    """The statement, unless an image or a measurement without negative values has one with some."""
    fact: Fact | None = operator.nonnegative_entries
    if fact is None or not isinstance(made, Characterised) or made.domain.is_complex or made.range.is_complex:
        return assumed_fact(fact)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for linear, space in ((made.A, made.domain), (made.A_adjoint, made.range)):
            seen = linear(space.random(1, 1, generator=generator).clamp(min=2.0) - 2.0)  # few pixels, so few can cancel
            if float(seen.min()) < -_SLACK * float(seen.abs().max()):
                return None
    return assumed_fact(fact)


def _checked_gradient(spec: Spec, own: Callable[[Tensor], Map], made: LinearOperator) -> Callable[[Tensor], Map]:
    def data_gradient(measurement: Tensor) -> Map:
        gradient = own(measurement)
        x = _somewhere(made, measurement)
        expected = made.A_adjoint(made.A(x) - measurement)
        if _apart(gradient(x), expected, made.A_adjoint(measurement)):
            raise UsageError(_differs(spec, "data_gradient", "A_adjoint(A x - y)"))
        return gradient

    return data_gradient


def _checked_resolvent(
    spec: Spec, own: Callable[[Tensor, float], Map], made: LinearOperator
) -> Callable[[Tensor, float], Map]:
    def data_resolvent(measurement: Tensor, stepsize: float) -> Map:
        resolvent = own(measurement, stepsize)
        z = _somewhere(made, measurement)
        x = resolvent(z)
        pull = stepsize * made.A_adjoint(made.A(x) - measurement)
        if _apart(x + pull, z, pull):
            raise UsageError(_differs(spec, "data_resolvent", "(Id + s A^T A)^-1 (z + s A^T y)"))
        return resolvent

    return data_resolvent


@torch.no_grad()
def _somewhere(made: LinearOperator, measurement: Tensor) -> Tensor:
    """An image of about the size of the back-projection, and in no way special."""
    image = made.A_adjoint(measurement)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=image.dtype).to(image.device)
    return image + noise * (image.abs().mean() + 1e-3)


def _apart(found: Tensor, expected: Tensor, part: Tensor) -> bool:
    """Return whether two images differ by more than rounding, of a sum of which one part is given."""
    return not math.sqrt(_square(found - expected)) <= _WRONG * (
        math.sqrt(_square(expected)) + math.sqrt(_square(part))
    )


def _differs(spec: Spec, name: str, formula: str) -> str:
    return (
        f"{spec}: its {name} is not {formula} for a random image; expected the same, because the solvers take it in "
        "the place of A and A_adjoint."
    )


def _square(x: Tensor) -> float:
    return float((torch.view_as_real(x) if x.is_complex() else x).double().square().sum())


def assumed(constant: Constant) -> Constant:
    """A constant on the word of the user's code, whatever it calls it."""
    return Assumed(constant.value, _by_the_user(constant.how), constant.error)


def assumed_fact(fact: Fact | None) -> Fact | None:
    """A fact on the word of the user's code, whatever it calls it."""
    return None if fact is None else Fact(Evidence.ASSUMED, _by_the_user(fact.how))


def _by_the_user(how: str) -> str:
    return how if how.startswith(BY_THE_USER) else f"{BY_THE_USER}: {how}"


def _require_number(spec: Spec, name: str, constant: object) -> None:
    if not isinstance(constant, Constant) or math.isnan(constant.value) or not constant.value >= 0:
        raise UsageError(
            f"{spec}: its {name} is {constant!r}; expected recon.evidence.Assumed(value, how), of a value not below 0."
        )


def stated_properties(spec: Spec, known: ResolventProperties) -> ResolventProperties:
    """Return what a resolvent of the user's code states of itself, as assumptions; :func:`attack` may refute them."""
    for name, constant in (("lipschitz_Q", known.lipschitz_Q), ("error", known.error)):
        _require_number(spec, name, constant)
    return replace(
        known,
        lipschitz_Q=assumed(from_above(known.lipschitz_Q)),
        proximity=assumed_fact(known.proximity),
        attains=assumed_fact(known.attains),
        attains_where_constants_are_seen=assumed_fact(known.attains_where_constants_are_seen),
        everywhere=assumed_fact(known.everywhere),
        bounded=assumed_fact(known.bounded),
        error=assumed(from_above(known.error)),
        scale_free=assumed_fact(known.scale_free),
    )


def stated_prior(spec: Spec, prior: Prior, guard: Callable[[Resolvent], Resolvent], say: Notify) -> Prior:
    """The user's prior with all of its parts guarded, and what they state of themselves as assumptions.

    Args:
        spec: Where it comes from.
        prior: What the callable returned.
        guard: Makes a resolvent one that names itself where it fails, and states nothing but assumptions.
        say: Where a refuted statement is told.
    """
    return replace(
        prior,
        resolvent=_guarded(prior.resolvent, guard),
        split=None if prior.split is None else _split(spec, prior.split, guard, say),
        constraint=None if prior.constraint is None else guard(prior.constraint),
        smooth=None if prior.smooth is None else _smooth(spec, prior.smooth, say),
    )


def _guarded(
    family: Callable[[float], Resolvent], guard: Callable[[Resolvent], Resolvent]
) -> Callable[[float], Resolvent]:
    return lambda stepsize: guard(family(stepsize))


def _split(spec: Spec, split: Split, guard: Callable[[Resolvent], Resolvent], say: Notify) -> Split:
    inner: LinearOperator = split.operator
    if not is_packaged(inner):
        inner = stated_operator(spec, inner, inner.A, inner.A_adjoint, say)
    return replace(
        split,
        operator=cast(CharacterisedOperator, inner),
        conjugate_resolvent=_guarded(split.conjugate_resolvent, guard),
    )


def _smooth(spec: Spec, smooth: Smooth, say: Notify) -> Smooth:
    """The gradient with what is stated of its Lipschitz constant, or with a larger quotient that was found."""
    _require_number(spec, "smooth.lipschitz", smooth.lipschitz)
    halved = Resolvent(lambda x: (x + smooth.gradient(x)) / 2, ResolventProperties(Proved(0.0, "")), "")
    try:
        found = attack(halved)  # whose Q is the gradient
    except Exception:  # a map of somebody else's may refuse such images, and stays assumed
        return replace(smooth, lipschitz=assumed(from_above(smooth.lipschitz)))
    if found.value <= from_above(smooth.lipschitz).value * (1 + _SLACK):
        return replace(smooth, lipschitz=assumed(from_above(smooth.lipschitz)))
    return replace(smooth, lipschitz=_instead(spec, "Lip(grad R)", smooth.lipschitz, replace(found, error=0.0), say))
