"""The theorem about an algorithm, from the maps and step sizes that it was made of."""

import contextlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recon import certificates as proofs
from recon.certificates import Certificate, stated
from recon.evidence import Evidence
from recon.operators import (
    DataResolvent,
    LeastSquares,
    Mismatch,
    OperatorProperties,
    Weights,
    check_adjoint,
    mismatch_of,
    operator_properties,
)
from recon.operators.base import Characterised
from recon.priors import SparseTerm, attained, name_of, resolvent_properties
from recon.solvers.algorithm import Algorithm, S
from recon.types import LinearOperator, Map

_CERTIFICATE = "_certificate"

_CHECKED: dict[int, Callable[[], object]] = {}
"""Operators of others whose adjoint was checked, by identity."""


def certify(algorithm: Algorithm[Any], example: Tensor | None = None) -> Certificate:
    """Return the guarantee of an algorithm, from the very maps, step sizes and relaxation that it runs with.

    Constants that an operator does not know of itself are measured, which takes some hundred applications of it.

    Args:
        algorithm: Of :mod:`recon.solvers`.
        example: An image that the operators take, (batch, channels, height, width); ``None``: one of the shape that the
            data term gives.

    Returns:
        The certificate. Where the package has no theorem about the algorithm it does not hold, and says so.
    """
    known: Certificate | None = algorithm.__dict__.get(_CERTIFICATE)
    if known is not None:
        return known
    if algorithm.recipe is None:
        return _unproved(algorithm.name, "it was put together by hand, or changed after it was made")
    if algorithm.theorem is None:
        return _unproved(algorithm.name, "the package has none")
    return algorithm.theorem(example)


def certified(algorithm: Algorithm[S], certificate: Certificate) -> Algorithm[S]:
    """Return the algorithm with a certificate of someone who knows more of it than its maps say.

    Its operators are taken as checked.
    """
    known = replace(algorithm, operators=())
    known.__dict__[_CERTIFICATE] = certificate
    return known


def is_characterised(algorithm: Algorithm[Any]) -> bool:
    """Return whether the constants that its theorem needs are known without applying an operator."""
    if _CERTIFICATE in algorithm.__dict__:
        return True
    maps = algorithm.recipe.chosen if algorithm.recipe is not None else {}
    surrogates = [each for each in maps.values() if isinstance(each, LeastSquares) and not each.is_gradient]
    known = all(isinstance(each, Characterised) for each in algorithm.operators)
    return algorithm.theorem is not None and known and not surrogates


def check_adjoints(algorithm: Algorithm[Any], example: Tensor) -> None:
    """Refuse an operator whose ``A_adjoint`` is not the adjoint; one that proves it is taken at its word.

    Each operator is checked once in its life.

    Args:
        algorithm: What is about to run.
        example: A zero image.

    Raises:
        GuaranteeError: It is not the adjoint of ``A``.
    """
    for operator in algorithm.operators:
        proved = isinstance(operator, Characterised) and operator.properties.adjoint_gap.evidence is Evidence.PROVED
        if proved or _CHECKED.get(id(operator), lambda: None)() is operator:
            continue
        check_adjoint(operator, example)
        with contextlib.suppress(TypeError):  # an object without weak references is checked again
            _CHECKED[id(operator)] = weakref.ref(operator)


def _unproved(name: str, why: str) -> Certificate:
    condition = stated("a theorem about it is known", None, why)
    return Certificate(f"none about {name}", "nothing is said of its iterates", (condition,))


def forward_backward_theorem(
    gradient: Map, resolvent: Map, stepsize: float, relaxation: float, example: Tensor | None
) -> Certificate:
    """See :func:`recon.certificates.certify_forward_backward` and its mismatched form."""
    data, prior = constants_of(gradient, example), resolvent_properties(resolvent)
    if data is None:
        return _of_unknown(gradient)
    if isinstance(data, Mismatch):
        return proofs.certify_mismatched_forward_backward(data, prior, stepsize, relaxation)
    return proofs.certify_forward_backward(data, prior, stepsize, relaxation)


def tseng_theorem(operator: Map, resolvent: Map, stepsize: float, example: Tensor | None) -> Certificate:
    """See :func:`recon.certificates.certify_tseng` and its mismatched form."""
    data, prior = constants_of(operator, example), resolvent_properties(resolvent)
    if data is None:
        return _of_unknown(operator)
    if isinstance(data, Mismatch):
        return proofs.certify_mismatched_tseng(data, prior, stepsize)
    return proofs.certify_tseng(data, prior, stepsize)


def fista_theorem(gradient: Map, proximity: Map, stepsize: float, example: Tensor | None) -> Certificate:
    """See :func:`recon.certificates.certify_fista`."""
    data = constants_of(gradient, example)
    if not isinstance(data, OperatorProperties):
        return _of_unmatched(gradient, data)
    return proofs.certify_fista(data, resolvent_properties(proximity), stepsize)


def descent_theorem(data: Map, penalty: SparseTerm, stepsize: float, example: Tensor | None) -> Certificate:
    """See :func:`recon.certificates.certify_proximal_descent`."""
    known = constants_of(data, example)
    if not isinstance(known, OperatorProperties):
        return _of_unmatched(data, known)
    return proofs.certify_proximal_descent(known, attained(penalty), stepsize)


def compared_steps_theorem(data: Map, proximity: Map, stepsize: float, example: Tensor | None) -> Certificate:
    """See :func:`recon.certificates.certify_compared_steps`."""
    known = constants_of(data, example)
    if not isinstance(known, OperatorProperties):
        return _of_unmatched(data, known)
    return proofs.certify_compared_steps(known, resolvent_properties(proximity), stepsize)


def douglas_rachford_theorem(
    data_resolvent: Map, resolvent: Map, relaxation: float, example: Tensor | None
) -> Certificate:
    """See :func:`recon.certificates.certify_douglas_rachford`."""
    data = constants_of(data_resolvent, example)
    if not isinstance(data, OperatorProperties):
        return _of_unmatched(data_resolvent, data)
    return proofs.certify_douglas_rachford(data, resolvent_properties(resolvent), relaxation)


def davis_yin_theorem(  # noqa: PLR0913, PLR0917  the problem has as many parts
    gradient: Map, resolvent: Map, constraint: Map, stepsize: float, relaxation: float, example: Tensor | None
) -> Certificate:
    """See :func:`recon.certificates.certify_davis_yin`."""
    data = constants_of(gradient, example)
    if not isinstance(data, OperatorProperties):
        return _of_unmatched(gradient, data)
    prior, bound = resolvent_properties(resolvent), resolvent_properties(constraint)
    return proofs.certify_davis_yin(data, prior, bound, stepsize, relaxation)


def condat_vu_theorem(  # noqa: PLR0913, PLR0917  the problem has as many parts
    gradient: Map | None,
    resolvent: Map,
    dual_operator: LinearOperator,
    dual_resolvent: Map,
    stepsize: float,
    dual_stepsize: float,
    relaxation: float,
    back: Map | None,
    example: Tensor | None,
) -> Certificate:
    """See :func:`recon.certificates.certify_condat_vu`; of its mismatched form the package's methods know more."""
    if back is not None:
        return _unproved("Condat-Vu with a surrogate of the dual operator's adjoint", "the package has none")
    data: OperatorProperties | None = None
    if gradient is not None:
        known = constants_of(gradient, example)
        if not isinstance(known, OperatorProperties):
            return _of_unmatched(gradient, known)
        data = known
    start = _start_of(gradient) if example is None else example
    return proofs.certify_condat_vu(
        data, resolvent_properties(resolvent), operator_properties(dual_operator, start),
        resolvent_properties(dual_resolvent), stepsize, dual_stepsize, relaxation,
    )  # fmt: skip


def sirt_theorem(
    operator: LinearOperator, weights: Weights, constraint: Map, stepsize: float, example: Tensor | None
) -> Certificate:
    """See :func:`recon.certificates.certify_preconditioned_forward_backward`."""
    known = operator_properties(operator, example)
    return proofs.certify_preconditioned_forward_backward(known, weights, resolvent_properties(constraint), stepsize)


def constants_of(data: Map, example: Tensor | None = None) -> OperatorProperties | Mismatch | None:
    """The constants of a data map: of its operator, or of its mismatched pair; ``None`` of a map that is no data term.

    Args:
        data: A :class:`LeastSquares`, a resolvent of one, or any map.
        example: An image; ``None``: of the shape that the data term gives.
    """
    if isinstance(data, DataResolvent) and data.recipe is None:
        return None  # it was changed after it was made
    term = data.data if isinstance(data, DataResolvent) else data
    if type(term) is not LeastSquares:
        return None  # a subclass may do anything
    start = _start_of(term) if example is None else example
    if term.is_gradient and not term.shift:
        return operator_properties(term.operator, start)
    return mismatch_of(term.operator, term.surrogate or term.operator, start, shift=term.shift)


def _of_unmatched(data: Map, known: Mismatch | None) -> Certificate:
    if known is None:
        return _of_unknown(data)
    return _unproved(f"it with {name_of(data)}", "it has a surrogate or a shift, and the theorem asks for the adjoint")


def _of_unknown(data: Map) -> Certificate:
    return _unproved(f"it with the map {name_of(data)}", "the map is no LeastSquares, and nothing is known of it")


@torch.no_grad()
def _start_of(data: Map | None) -> Tensor | None:
    """A zero image of the shape that a data term gives."""
    if not isinstance(data, LeastSquares):
        return None
    back = data.operator.A_adjoint if data.surrogate is None else data.surrogate
    return torch.zeros_like(back(data.measurement[:1]))
