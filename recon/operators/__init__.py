"""What the instrument does: forward operators, each with its exact adjoint and its constants."""

from recon.operators import spectral
from recon.operators.adjoint import adjoint_gap, check_adjoint, properties_of
from recon.operators.base import Buffer, OperatorProperties, Space
from recon.operators.blur import Blur, CircularBlur, ValidBlur
from recon.operators.composition import (
    CharacterisedOperator,
    Composition,
    Scaled,
    ScaledWithResolvent,
    Stack,
    compose,
    scale,
    stack,
)
from recon.operators.deepinv_bridge import to_deepinv
from recon.operators.downsampling import Downsampling
from recon.operators.identity import Identity
from recon.operators.inpainting import Inpainting
from recon.operators.least_squares import LeastSquares
from recon.operators.mismatch import Mismatch, mismatch_of, shift_for
from recon.operators.mri import CartesianMRI
from recon.operators.psf import box_psf, check_psf, defocus_psf, gaussian_psf, motion_psf, normalise_psf, psf_centre
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced, read_geometry

__all__ = [
    "AlongAxis",
    "Blur",
    "Buffer",
    "CartesianMRI",
    "CharacterisedOperator",
    "CircularBlur",
    "Composition",
    "Detector",
    "Downsampling",
    "Geometry",
    "Identity",
    "Inpainting",
    "LeastSquares",
    "Mismatch",
    "OperatorProperties",
    "Scaled",
    "ScaledWithResolvent",
    "Space",
    "Stack",
    "Tomography",
    "ValidBlur",
    "Volume",
    "adjoint_gap",
    "box_psf",
    "check_adjoint",
    "check_psf",
    "compose",
    "defocus_psf",
    "evenly_spaced",
    "gaussian_psf",
    "mismatch_of",
    "motion_psf",
    "normalise_psf",
    "properties_of",
    "psf_centre",
    "read_geometry",
    "scale",
    "shift_for",
    "spectral",
    "stack",
    "to_deepinv",
]
