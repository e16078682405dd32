"""Operators by their specifications.

What a specification leaves open is the size of the image: :func:`read_operator` reads files and checks options once
and gives an :class:`OperatorFactory`, from which the operator is built for each image size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from recon import operators
from recon._suggest import unknown_name
from recon._values import Made, remembered
from recon.device import Notify
from recon.errors import ConsistencyError, InputError, UsageError
from recon.factorization import read_factors
from recon.io.arrays import read_matrix
from recon.operators.tomography import Geometry, Tomography, geometry_warnings, read_geometry
from recon.specs import options
from recon.specs.grammar import Spec
from recon.specs.kspace_mask import off_centre_warning
from recon.specs.matrices import matrix_shapes
from recon.specs.planes import read_mask, read_plane
from recon.specs.user_code import guarded_operator, load_callable, made_operator
from recon.types import LinearOperator

Shape = tuple[int, ...]
"""(height, width) of an image, or (slices, height, width) of a volume."""

LARGEST_KERNEL = 1023
"""Pixels along a side of a parametric PSF: wider than any blur, and small enough to be made before it is refused."""


@dataclass(frozen=True, eq=False, repr=False)
class OperatorFactory(Made):
    """An operator for every image size.

    Attributes:
        spec: Where it comes from.
        on: The image's shape to operator.
        image_shape: Measurement (height, width) to the image's shape.
        files: The files that were read for it.
        is_complex: Whether images are complex.
        only_shape: The only image size there is; ``None`` where any will do.
        is_masked: Whether part of the measurement is zero because it was not measured.
        geometry: Of the scan, where the measurement is X-ray projections.
    """

    spec: Spec
    on: Callable[[Shape], LinearOperator] = field(repr=False)
    image_shape: Callable[[Shape], Shape] = field(default=lambda measured: measured, repr=False)
    files: tuple[Path, ...] = ()
    is_complex: bool = False
    only_shape: Shape | None = None
    is_masked: bool = False
    geometry: Geometry | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance of two neighbours along each axis of the image, in the pixels of a slice."""
        slices = None if self.geometry is None else self.geometry.volume.slices
        if self.geometry is None or slices is None:
            return 1.0, 1.0
        return slices.pitch / self.geometry.volume.pitch, 1.0, 1.0

    @property
    def blurs(self) -> bool:
        """Whether it mixes pixels, rather than sampling an image or its spectrum."""
        return not (self.is_masked or self.spec.name == "identity")


def read_operator(spec: Spec, say: Notify = lambda line: None) -> OperatorFactory:
    """The operators that a specification describes, one for each image size.

    Args:
        spec: The specification.
        say: Where remarks go, such as that a PSF was normalised.

    Raises:
        UsageError: An unknown name or key, or a value outside its range.
        InputError: A file that it names cannot be read or is not what it should be.
    """
    if spec.name not in _READERS:
        raise unknown_name(spec.name, _READERS, "operator")
    return _READERS[spec.name](spec, say)


def operator_from_spec(spec: Spec, image_shape: Shape) -> LinearOperator:
    """The operator that a specification describes, on images of ``image_shape``."""
    return read_operator(spec).on(image_shape)


def _identity(spec: Spec, say: Notify) -> OperatorFactory:
    options.expect_keys(spec, ())
    return OperatorFactory(spec, lambda shape: operators.Identity(_sides(shape)))


_KERNELS = ("psf", "gaussian", "motion", "defocus", "box")


def _sides(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise ConsistencyError(f"the operator takes images of (height, width); {_words(shape)} is a volume.")
    return shape[0], shape[1]


def _blur(spec: Spec, say: Notify) -> OperatorFactory:
    options.expect_keys(spec, (*_KERNELS, "angle", "boundary", "normalise"))
    chosen = options.choice(spec, "boundary", ("circular", "valid"), "circular")
    boundary: Literal["circular", "valid"] = "circular" if chosen == "circular" else "valid"
    kind = options.one_of(spec, _KERNELS)
    if "angle" in spec.options and kind != "motion":
        raise UsageError(f"{spec}: angle belongs to motion=LENGTH; {kind} has no direction.")
    if "normalise" in spec.options and kind != "psf":
        raise UsageError(f"{spec}: normalise belongs to psf=FILE; the PSF of {kind} sums to 1 by its formula.")
    psf = _psf_from_file(spec, say) if kind == "psf" else _parametric_psf(spec, kind)
    return blur_factory(spec, psf, boundary, (options.file(spec, "psf"),) if kind == "psf" else ())


@remembered
def blur_factory(
    spec: Spec, psf: Tensor, boundary: Literal["circular", "valid"], files: tuple[Path, ...] = ()
) -> OperatorFactory:
    """The blurs by a point spread function, one for each image size.

    Args:
        spec: Where it comes from.
        psf: (height, width).
        boundary: As of :func:`recon.operators.Blur`.
        files: The files that were read for it.
    """
    height, width = psf.shape

    def image_shape(measured: Shape) -> Shape:
        if boundary == "circular":
            return measured
        if height > measured[0] or width > measured[1]:
            raise ConsistencyError(
                f"{spec}: the PSF has {height} x {width} pixels and the measurement {measured[0]} x {measured[1]}; "
                "expected a smaller PSF, because most of the image would lie outside of what was seen."
            )
        return measured[0] + height - 1, measured[1] + width - 1

    return OperatorFactory(spec, lambda shape: operators.Blur(psf, _sides(shape), boundary), image_shape, files)


def _parametric_psf(spec: Spec, kind: str) -> Tensor:
    if kind == "gaussian":
        return operators.gaussian_psf(options.positive(spec, "gaussian", high=100))
    if kind == "defocus":
        return operators.defocus_psf(options.positive(spec, "defocus", high=LARGEST_KERNEL // 2))
    if kind == "box":
        return operators.box_psf(options.integer(spec, "box", low=1, high=LARGEST_KERNEL))
    angle = options.number(spec, "angle", 0.0, low=-360, high=360)
    return operators.motion_psf(options.positive(spec, "motion", high=LARGEST_KERNEL), angle)


def _psf_from_file(spec: Spec, say: Notify) -> Tensor:
    path = options.file(spec, "psf")
    plane = read_plane(path, "PSF")
    psf = torch.from_numpy(plane.astype(np.float64))
    given = torch.float32 if plane.dtype.kind == "f" and plane.dtype.itemsize <= 4 else psf.dtype
    total, negative = float(psf.sum()), int((psf < 0).sum())
    if not options.truth(spec, "normalise", True):
        return psf.to(given)
    if total <= 1e-12 * float(psf.abs().sum()):
        raise InputError(
            f"{path}: the PSF sums to {total:g}; expected a positive sum, because it is divided by it "
            "(normalise=false keeps it as it is)."
        )
    if negative:
        say(f"{path}: the PSF has {negative} negative values, which no exposure gives; they are kept")
    if abs(total - 1) > 1e-6:
        say(f"{path}: the PSF sums to {total:g} and was normalised to 1 (normalise=false keeps it as it is)")
    return (psf / total).to(given)  # in the file's precision, which the operator's constants are widened by


def _inpaint(spec: Spec, say: Notify) -> OperatorFactory:
    mask, path = _mask(spec, say)
    return _at_one_size(spec, operators.Inpainting(mask), mask.shape, path)


def _mri(spec: Spec, say: Notify) -> OperatorFactory:
    mask, path = _mask(spec, say)
    if warning := off_centre_warning(mask):
        say(f"{path.name}: {warning}")
    return _at_one_size(spec, operators.CartesianMRI(mask), mask.shape, path, is_complex=True)


def _mask(spec: Spec, say: Notify) -> tuple[Tensor, Path]:
    options.expect_keys(spec, ("mask",))
    path = options.file(spec, "mask")
    mask, remark = read_mask(path)
    if remark:
        say(f"{path}: {remark}")
    return torch.from_numpy(mask), path


def _at_one_size(
    spec: Spec, operator: LinearOperator, sides: Sequence[int], mask: Path, is_complex: bool = False
) -> OperatorFactory:
    """The family of an operator whose mask decides the size of the image."""

    def check(shape: Shape) -> Shape:
        if shape != tuple(sides):
            raise ConsistencyError(
                f"{mask}: the mask is {sides[0]} x {sides[1]} pixels, the image {shape[0]} x {shape[1]}; "
                "expected the same size."
            )
        return shape

    def on(shape: Shape) -> LinearOperator:
        check(shape)
        return operator

    return OperatorFactory(spec, on, check, (mask,), is_complex, (sides[0], sides[1]), is_masked=True)


def _downsample(spec: Spec, say: Notify) -> OperatorFactory:
    options.expect_keys(spec, ("factor",))
    factor = options.integer(spec, "factor", low=1, high=64)

    def on(shape: Shape) -> LinearOperator:
        return operators.Downsampling(_sides(shape), factor)

    return OperatorFactory(spec, on, lambda measured: (measured[0] * factor, measured[1] * factor))


def _python(spec: Spec, say: Notify) -> OperatorFactory:
    path, make = load_callable(spec)

    def on(shape: Shape) -> LinearOperator:
        made = made_operator(spec, make, _sides(shape), f"the image's shape {shape}", "(height, width), as one tuple")
        return guarded_operator(spec, made, _sides(shape), say)

    return OperatorFactory(spec, on, files=(path,))


def scanned(spec: Spec) -> Geometry:
    """The geometry that ``ct:GEOMETRY.toml`` names.

    Raises:
        InputError: The file cannot be read, or is no geometry.
        ConsistencyError: Its numbers contradict each other.
    """
    options.expect_keys(spec, (), value="GEOMETRY.toml")
    return read_geometry(spec.path(spec.value or ""))


def _ct(spec: Spec, say: Notify) -> OperatorFactory:
    geometry, path = scanned(spec), spec.path(spec.value or "")
    for warning in geometry_warnings(geometry):
        say(f"{path}: {warning}")
    projector, only = Tomography(geometry), geometry.image_shape

    def on(shape: Shape) -> LinearOperator:
        if shape != only:
            raise ConsistencyError(
                f"{path}: the volume has {_words(only)} pixels, the image {_words(shape)}; expected the same size."
            )
        return projector

    return OperatorFactory(spec, on, lambda measured: only, (path,), only_shape=only, geometry=geometry)


def _matrix(spec: Spec, say: Notify) -> OperatorFactory:
    options.expect_keys(spec, ("measured",), value="MATRIX.npy")
    path = spec.path(spec.value or "")
    array = read_matrix(path)
    kept = array if array.dtype.kind in "fc" and array.dtype.itemsize > 2 else array.astype(np.float64)
    return matrix_factory(spec, operators.from_matrix(torch.from_numpy(kept)), (path,))


def _factors(spec: Spec, say: Notify) -> OperatorFactory:
    options.expect_keys(spec, ("measured",), value="OPERATOR.npz")
    path = spec.path(spec.value or "")
    operator, _ = read_factors(path)
    return matrix_factory(spec, operator, (path,))


@remembered
def matrix_factory(
    spec: Spec, operator: operators.Matrix | operators.Factorised, files: tuple[Path, ...] = ()
) -> OperatorFactory:
    """The operators of a matrix on images of every shape of as many pixels as it has columns.

    Args:
        spec: Where it comes from.
        operator: Of the matrix, on vectors.
        files: The files that were read for it.
    """
    shapes = matrix_shapes(spec, *operator.shape)

    def on(shape: Shape) -> LinearOperator:
        return operator.between(shape, shapes.measured(shape))

    return OperatorFactory(
        spec, on, shapes.image, files, is_complex=operator.domain.is_complex, only_shape=shapes.square
    )


def _words(shape: Shape) -> str:
    return " x ".join(map(str, shape))


_READERS: dict[str, Callable[[Spec, Notify], OperatorFactory]] = {
    "identity": _identity,
    "blur": _blur,
    "inpaint": _inpaint,
    "downsample": _downsample,
    "mri": _mri,
    "python": _python,
    "ct": _ct,
    "matrix": _matrix,
    "factors": _factors,
}
