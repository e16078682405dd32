"""Operators for :func:`recon.reconstruct`, made of arrays, geometries, functions and other libraries' operators."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recon._values import remembered
from recon.errors import ConsistencyError, UsageError
from recon.front.adapters import Functions, adapted
from recon.operators import Blur, CartesianMRI, Identity, Inpainting
from recon.operators.blur import CircularBlur, ValidBlur
from recon.operators.tomography import Geometry, Tomography, read_geometry
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import OperatorFactory, Shape, blur_factory, read_operator
from recon.specs.user_code import guarded_operator
from recon.types import LinearOperator

_OURS = (Identity, CircularBlur, ValidBlur, Inpainting, CartesianMRI, Tomography)

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
    if kernel.is_complex():
        raise UsageError(f"blur: the psf holds {kernel.dtype}; expected real numbers, because it blurs real images.")
    total = float(kernel.detach().double().sum())
    if normalise and total <= 1e-12 * float(kernel.detach().double().abs().sum()):
        raise UsageError(f"blur: the psf sums to {total:g}; expected a positive sum, or normalise=False.")
    height, width = kernel.shape
    spec = Spec("blur", {"psf": f"{height} x {width}", "boundary": boundary})
    if kernel.requires_grad:  # a graph serves one backward pass, and an optimiser moves the psf: it is looked at anew
        made = blur_factory(spec, kernel.detach(), boundary)
        return replace(made, on=lambda shape: Blur(_scaled(kernel, normalise), (shape[0], shape[1]), boundary))
    return blur_factory(spec, _scaled(kernel, normalise), boundary)


def _scaled(kernel: Tensor, normalise: bool) -> Tensor:
    """The kernel over its sum, in double precision, and kept in that of the PSF, as the command does of a file."""
    if not normalise:
        return kernel
    with torch.set_grad_enabled(kernel.requires_grad):
        exact = kernel.double()
        return (exact / exact.sum()).to(torch.float32 if kernel.dtype == torch.float32 else torch.float64)


def ct(geometry: Geometry | str | Path) -> OperatorFactory:
    """X-ray projections of a slice or of a volume.

    Args:
        geometry: The scan, or the name of its TOML file.
    """
    if not isinstance(geometry, Geometry | str | Path):
        raise UsageError(f"ct: geometry is a {type(geometry).__name__}; expected a Geometry, or the name of its file.")
    return _of_geometry(geometry if isinstance(geometry, Geometry) else read_geometry(Path(geometry)))


@remembered
def _of_geometry(scan: Geometry) -> OperatorFactory:
    return _of_scan(Tomography(scan))


@remembered
def inpaint(mask: ArrayLike | Tensor) -> OperatorFactory:
    """Pixels that were measured, of an image of the mask's size.

    Args:
        mask: (height, width), true where a pixel was measured.
    """
    return _factory(Inpainting(_two_values(mask)))


@remembered
def mri(mask: ArrayLike | Tensor) -> OperatorFactory:
    """Cartesian k-space with one coil, zero frequency in the middle.

    Args:
        mask: (height, width), true where a frequency was measured.
    """
    return _factory(CartesianMRI(_two_values(mask)))


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
        shape: (height, width) of the image; ``None``: that of the measurement, or what the operator says. An operator
            of SciPy says nothing of it.

    Raises:
        UsageError: It is no operator, or its shape does not fit.
    """
    if shape is not None and not (isinstance(shape, tuple | list) and len(shape) == 2 and all(map(_is_count, shape))):
        raise UsageError(f"operator: shape is {shape!r}; expected two whole numbers, (height, width).")
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
    if type(given) not in _OURS:
        return None  # a subclass may do anything
    match given:
        case Identity():
            made = _at_one_size(given, Spec("identity"), given.domain.shape)
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
    if isinstance(given, np.ma.MaskedArray):
        raise UsageError(f"{name} is a masked array; expected one without a mask, which would be lost.")
    try:
        plane = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name} is a {type(given).__name__}; expected numbers, (height, width).") from error
    if plane.ndim != 2 or not plane.numel():
        raise UsageError(f"{name} has the shape {tuple(plane.shape)}; expected (height, width).")
    return plane


def _two_values(mask: ArrayLike | Tensor) -> Tensor:
    """A mask of two values, true where the larger one is."""
    plane = _plane(mask, "mask")
    if plane.dtype == torch.bool:
        return plane
    marked = plane[plane != 0]
    if plane.is_complex() or not bool((marked == marked[:1]).all()) or not bool((marked > 0).all()):
        raise UsageError("mask holds more than zero and one value above; expected true where a pixel was measured.")
    return plane != 0


def _is_count(number: object) -> bool:
    return isinstance(number, int | np.integer) and int(number) > 0
