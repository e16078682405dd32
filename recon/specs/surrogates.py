"""Surrogates of a projector's adjoint by their specifications."""

import math
from collections.abc import Mapping
from typing import Any

from recon._suggest import unknown_name
from recon.errors import ConsistencyError
from recon.operators import Factorised, Matrix
from recon.operators.base import Characterised
from recon.operators.tomography import SURROGATES, Tomography, WeightedTomography, options_of, surrogate
from recon.specs import options
from recon.specs.grammar import Spec
from recon.specs.operators import read_operator
from recon.specs.user_code import guarded_operator, load_callable, made_operator
from recon.types import LinearOperator

MATRICES = ("factors", "matrix")
"""Operators from files that may be surrogates of a projector's adjoint too."""

LARGEST = 4096
"""Of a whole number among the options."""


def read_surrogate(spec: Spec, operator: Tomography | WeightedTomography) -> LinearOperator:
    """The operator whose adjoint is the surrogate that a specification describes.

    Args:
        spec: A surrogate by name, with its options, a file as in ``factors:OPERATOR.npz`` or ``matrix:MATRIX.npy``,
            or ``python:FILE.py:CALLABLE``, whose callable takes the projector
            and returns an object with ``A_adjoint``, the back-projection, and ``A``, its transpose.
        operator: What the surrogate is of; where its rays have weights, the surrogate gets them too.

    Raises:
        UsageError: There is no such surrogate, or it has no such option or value.
    """
    if isinstance(operator, WeightedTomography):
        return operator.surrogate(read_surrogate(spec, operator.projector))
    if spec.name == "python":
        return _own(spec, operator)
    if spec.name in MATRICES:
        return _stored(spec, operator)
    if spec.name not in SURROGATES:
        raise unknown_name(spec.name, (*SURROGATES, *MATRICES, "python"), "surrogate")
    known = options_of(spec.name)
    options.expect_keys(spec, tuple(known))
    return surrogate(spec.name, operator, **_typed(spec, known))


def fitted(surrogate: LinearOperator, operator: LinearOperator) -> LinearOperator:
    """A stored matrix as a surrogate of an operator whose measurements have another shape and as many numbers."""
    if not isinstance(surrogate, Matrix | Factorised) or not isinstance(operator, Characterised):
        return surrogate
    if math.prod(surrogate.range.shape) != math.prod(operator.range.shape):
        return surrogate
    return surrogate.between(surrogate.domain.shape, operator.range.shape)


def _stored(spec: Spec, projector: Tomography) -> LinearOperator:
    """A stored matrix as a surrogate of a projector, on its images and its sinograms.

    Raises:
        ConsistencyError: The matrix is of another size.
    """
    made = read_operator(spec).on(projector.geometry.image_shape)
    fits = fitted(made, projector)
    if not isinstance(fits, Characterised) or fits.range.shape != projector.range.shape:
        rows = math.prod(projector.range.shape)
        raise ConsistencyError(f"{spec}: the sinogram has {rows} values; expected a matrix of as many rows.")
    return fits


def _typed(spec: Spec, known: Mapping[str, Any]) -> dict[str, Any]:
    """The options as what their defaults are: whole numbers, or words."""
    return {
        key: text if isinstance(known[key], str) else options.integer(spec, key, low=0, high=LARGEST)
        for key, text in spec.options.items()
    }


def _own(spec: Spec, projector: Tomography) -> LinearOperator:
    _, make = load_callable(spec)
    made = made_operator(spec, make, projector, "the projector", "it")
    return guarded_operator(spec, made, projector.geometry.image_shape)
