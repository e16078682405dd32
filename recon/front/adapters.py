"""Operators of other libraries, by what they can do: functions, SciPy and PyLops, deepinv, ODL, CIL."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.io import Array
from recon.types import LinearOperator, Map

Shape = tuple[int, int]


class Functions:
    """Two functions as an operator."""

    def __init__(self, A: Map, A_adjoint: Map) -> None:
        self.A, self.A_adjoint = A, A_adjoint


class ArrayOperator:
    """Two functions of arrays of one image, as an operator on each channel of each image.

    Attributes:
        image_shape: (height, width).
    """

    def __init__(
        self,
        forward: Callable[[Array], Array],
        backward: Callable[[Array], Array],
        image_shape: Shape,
        measured_shape: Shape,
    ) -> None:
        self._forward, self._backward = forward, backward
        self.image_shape, self._measured_shape = image_shape, measured_shape

    def A(self, x: Tensor) -> Tensor:
        return _each(self._forward, x, self._measured_shape)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return _each(self._backward, y, self.image_shape)


def _each(function: Callable[[Array], Array], values: Tensor, sides: Shape) -> Tensor:
    planes = values.detach().cpu().flatten(0, -3).numpy()
    made = np.stack([np.asarray(function(plane)).reshape(sides) for plane in planes])
    return torch.from_numpy(made).to(values).reshape(*values.shape[:-2], *sides)


class Physics:
    """A deepinv physics with the closed form of its proximity operator as the resolvent of the data term."""

    def __init__(self, physics: Any) -> None:
        self._physics = physics
        self.A, self.A_adjoint = physics.A, physics.A_adjoint

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        return lambda z: self._physics.prox_l2(z, measurement, stepsize)


def adapted(given: Any, shape: Shape | None) -> LinearOperator:
    """An operator of another library as one of tensors (batch, channels, height, width).

    Args:
        given: An object with ``A`` and ``A_adjoint``, with ``matvec`` and ``rmatvec`` (SciPy, PyLops), with
            ``direct`` and ``adjoint`` (CIL), or a callable with ``adjoint``, ``domain`` and ``range`` (ODL).
        shape: (height, width) of the image, where it does not say so itself.

    Raises:
        UsageError: It is none of these, or the shape does not fit.
    """
    if hasattr(given, "matvec") and hasattr(given, "rmatvec"):
        return _of_vectors(given, shape)
    if hasattr(given, "direct") and hasattr(given, "domain_geometry"):
        return _of_containers(given)
    if callable(given) and hasattr(given, "adjoint") and hasattr(given, "domain") and hasattr(given, "range"):
        return _of_spaces(given)
    if isinstance(given, LinearOperator):
        return Physics(given) if _has_closed_form(given) else given
    raise UsageError(
        f"operator is a {type(given).__name__}; expected a specification such as 'blur:gaussian=1.6', "
        "recon.blur(psf), recon.ct(geometry), recon.operator(A, A_adjoint), an object with A and A_adjoint, or an "
        "operator of SciPy, PyLops, deepinv, ODL or CIL."
    )


def _of_vectors(matrix: Any, shape: Shape | None) -> ArrayOperator:
    known = shape or _plane_of(getattr(matrix, "dims", None))
    entries = int(matrix.shape[1])
    if known is None or known[0] * known[1] != entries:
        raise UsageError(
            f"operator: shape is {known} and the operator takes {entries} entries; expected (height, width) with as "
            "many pixels."
        )
    measured = _plane_of(getattr(matrix, "dimsd", None)) or (1, int(matrix.shape[0]))
    return ArrayOperator(
        lambda x: np.asarray(matrix.matvec(x.ravel())), lambda y: np.asarray(matrix.rmatvec(y.ravel())), known, measured
    )


def _plane_of(sides: Any) -> Shape | None:
    """Two sides, where an operator names as many (PyLops: ``dims`` and ``dimsd``)."""
    found = None if sides is None else tuple(int(side) for side in sides)
    return None if found is None or len(found) != 2 else (found[0], found[1])


def _of_spaces(operator: Any) -> ArrayOperator:
    """An ODL operator. Its adjoint is that of inner products weighted by the cells, and is freed of their weights."""
    if not getattr(operator, "is_linear", True):
        raise UsageError(f"operator: {type(operator).__name__} is not linear; expected a linear operator.")
    weight = _cell(operator.domain) / _cell(operator.range)  # <Ax, y> and <x, A* y> carry one each
    return ArrayOperator(
        lambda x: np.asarray(operator(operator.domain.element(x)).asarray()),
        lambda y: weight * np.asarray(operator.adjoint(operator.range.element(y)).asarray()),
        _two_sides(operator.domain.shape, "domain"),
        _two_sides(operator.range.shape, "range"),
    )


def _cell(space: Any) -> float:
    return float(getattr(getattr(space, "weighting", None), "const", 1.0))


def _of_containers(operator: Any) -> ArrayOperator:
    """A CIL operator."""
    domain, measured = operator.domain_geometry(), operator.range_geometry()
    return ArrayOperator(
        lambda x: np.asarray(operator.direct(_filled(domain, x)).as_array()),
        lambda y: np.asarray(operator.adjoint(_filled(measured, y)).as_array()),
        _two_sides(domain.shape, "domain"),
        _two_sides(measured.shape, "range"),
    )


def _filled(geometry: Any, values: Array) -> Any:
    container = geometry.allocate(0)
    container.fill(values.reshape(geometry.shape))
    return container


def _two_sides(shape: Any, name: str) -> Shape:
    sides = tuple(int(side) for side in shape)
    if name == "range" and len(sides) == 1:
        return 1, sides[0]
    if len(sides) != 2:
        raise UsageError(f"operator: its {name} has the shape {sides}; expected (height, width).")
    return sides[0], sides[1]


def _has_closed_form(physics: Any) -> bool:
    """Whether a deepinv physics has a proximity operator of its own, and not the iteration of all linear ones."""
    own = getattr(type(physics), "prox_l2", None)
    bases = [base for base in type(physics).__mro__ if base.__name__ == "LinearPhysics"]
    return bool(bases) and own is not None and own is not bases[0].__dict__.get("prox_l2")
