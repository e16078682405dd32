"""Operators for :func:`recon.reconstruct`, made of arrays, geometries, functions and other libraries' operators."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recon._values import remembered
from recon.errors import ConsistencyError, UsageError
from recon.front.adapters import Functions, adapted
from recon.operators import CartesianMRI, Identity, Inpainting
from recon.operators.blur import CircularBlur, ValidBlur
from recon.operators.tomography import Geometry, Tomography, read_geometry
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import OperatorFactory, Shape, blur_factory, read_operator
from recon.specs.user_code import guarded_operator
from recon.types import LinearOperator

_OWN = Spec("python", value="an operator object")


@remembered
def blur(
    psf: ArrayLike | Tensor, boundary: Literal["circular", "valid"] = "circular", normalise: bool = True
) -> OperatorFactory:
    """A blur by a point spread function, on images of any size.

    Args:
        psf: (height, width), NumPy or torch; its middle pixel is its centre.
        boundary: ``circular``: the image goes on at the opposite edge; ``valid``: it goes on beyond what was measured,
            as in a photograph or micrograph.
        normalise: Whether the PSF is divided by its sum.

    Raises:
        UsageError: It is no PSF, or sums to nothing that it could be divided by.
    """
    kernel = _plane(psf, "psf")
    total = kernel.double().sum()
    if normalise and float(total.detach()) <= 1e-12 * float(kernel.detach().double().abs().sum()):
        raise UsageError(f"blur: the psf sums to {float(total):g}; expected a positive sum, or normalise=False.")
    if normalise:  # in double precision, and kept in that of the PSF, as the command does of a file
        kernel = (kernel.double() / total).to(torch.float32 if kernel.dtype == torch.float32 else torch.float64)
    height, width = kernel.shape
    return blur_factory(Spec("blur", {"psf": f"{height} x {width}", "boundary": boundary}), kernel, boundary)


@remembered
def ct(geometry: Geometry | str | Path) -> OperatorFactory:
    """X-ray projections of a slice or of a volume.

    Args:
        geometry: The scan, or the name of its TOML file.
    """
    scan = geometry if isinstance(geometry, Geometry) else read_geometry(Path(geometry))
    return _of_scan(Tomography(scan))


@remembered
def inpaint(mask: ArrayLike | Tensor) -> OperatorFactory:
    """Pixels that were measured, of an image of the mask's size.

    Args:
        mask: (height, width), true where a pixel was measured.
    """
    return _factory(Inpainting(_plane(mask, "mask").bool()))


@remembered
def mri(mask: ArrayLike | Tensor) -> OperatorFactory:
    """Cartesian k-space with one coil, zero frequency in the middle.

    Args:
        mask: (height, width), true where a frequency was measured.
    """
    return _factory(CartesianMRI(_plane(mask, "mask").bool()))


@remembered
def operator(
    A: Callable[[Any], Any] | Any, A_adjoint: Callable[[Any], Any] | None = None, shape: tuple[int, int] | None = None
) -> OperatorFactory:
    """Your own linear operator: two functions, or an operator of another library.

    Its adjoint is checked before the first step, and its constants are measured.

    Args:
        A: A function of tensors (batch, channels, height, width); or, without ``A_adjoint``, an object with ``A`` and
            ``A_adjoint``, an operator of deepinv, ODL or CIL, or of SciPy or PyLops, whose measurement is (1, entries)
            unless it names two sides.
        A_adjoint: Its adjoint.
        shape: (height, width) of the image; ``None``: that of the measurement.

    Raises:
        UsageError: It is no operator, or its shape does not fit.
    """
    if A_adjoint is None:
        return _factory(A, shape)
    if not (callable(A) and callable(A_adjoint)):
        raise UsageError(
            f"operator: A is a {type(A).__name__} and A_adjoint a {type(A_adjoint).__name__}; expected two functions."
        )
    return _factory(Functions(A, A_adjoint), shape)


def as_factory(given: OperatorFactory | LinearOperator | str, notify: Callable[[str], None]) -> OperatorFactory:
    """Return the operators that an argument stands for: a factory, an operator, or a specification."""
    if isinstance(given, OperatorFactory):
        return given
    if isinstance(given, str):
        return read_operator(parse_spec(given, "operator"), notify)
    return _factory(given)


def _factory(given: Any, shape: tuple[int, int] | None = None) -> OperatorFactory:
    return _of_ours(given) or _of_theirs(given, shape)


def _of_ours(given: Any) -> OperatorFactory | None:
    """An operator of this package as its specification would have made it; ``None`` of any other."""
    match given:
        case Identity():
            made = OperatorFactory(Spec("identity"), lambda sides: Identity((sides[0], sides[1])))
        case CircularBlur() | ValidBlur():
            made = _at_one_size(given, Spec("blur", value="an operator object"), given.domain.shape)
        case Inpainting():
            made = _at_one_size(given, Spec("inpaint"), given.domain.shape, is_masked=True)
        case CartesianMRI():
            made = _at_one_size(given, Spec("mri"), given.domain.shape, is_complex=True, is_masked=True)
        case Tomography():
            made = _of_scan(given)
        case _:
            return None
    return made


def _of_theirs(given: Any, shape: tuple[int, int] | None) -> OperatorFactory:
    made = adapted(given, shape)
    known = getattr(getattr(made, "domain", None), "shape", None) or shape or getattr(made, "image_shape", None)
    if known is None:
        return OperatorFactory(_OWN, lambda sides: guarded_operator(_OWN, made, sides))
    return _at_one_size(guarded_operator(_OWN, made, tuple(known)), _OWN, tuple(known))


def _of_scan(projector: Tomography) -> OperatorFactory:
    only = projector.geometry.image_shape
    return _at_one_size(projector, Spec("ct", value="a geometry"), only, geometry=projector.geometry)


def _at_one_size(operator: LinearOperator, spec: Spec, only: Shape, **known: Any) -> OperatorFactory:
    def on(shape: Shape) -> LinearOperator:
        if tuple(shape) != tuple(only):
            raise ConsistencyError(
                f"{spec.name}: the operator takes images of {' x '.join(map(str, only))} pixels, and "
                f"{' x '.join(map(str, shape))} were asked for; expected the same size."
            )
        return operator

    return OperatorFactory(spec, on, lambda measured: tuple(only), only_shape=tuple(only), **known)


def _plane(given: ArrayLike | Tensor, name: str) -> Tensor:
    plane = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    if plane.ndim != 2:
        raise UsageError(f"{name} has the shape {tuple(plane.shape)}; expected (height, width).")
    return plane
