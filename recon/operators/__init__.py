"""Forward operators, each with its exact adjoint and its constants."""

from recon.operators import spectral
from recon.operators.adjoint import adjoint_gap, adjoint_gap_upper, check_adjoint, operator_properties
from recon.operators.base import Buffer, HasNonnegativeEntries, OperatorProperties, Space
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
from recon.operators.factorised import Blocks, Entries, Factorised, Permutation
from recon.operators.identity import Identity
from recon.operators.inpainting import Inpainting
from recon.operators.least_squares import DataResolvent, LeastSquares
from recon.operators.linear_iteration import LinearIteration, linear_iteration_of
from recon.operators.matrix import Matrix, from_matrix, to_matrix
from recon.operators.mismatch import Mismatch, mismatch_of, residual_norm, shift_for
from recon.operators.mri import CartesianMRI
from recon.operators.nonnegative import proved_norm_bound
from recon.operators.psf import box_psf, check_psf, defocus_psf, gaussian_psf, motion_psf, normalise_psf, psf_centre
from recon.operators.sirt_weights import PreconditionedLeastSquares, Weights, sirt_weights, weighted
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced, read_geometry

__all__ = [
    "AlongAxis",
    "Blocks",
    "Blur",
    "Buffer",
    "CartesianMRI",
    "CharacterisedOperator",
    "CircularBlur",
    "Composition",
    "DataResolvent",
    "Detector",
    "Downsampling",
    "Entries",
    "Factorised",
    "Geometry",
    "HasNonnegativeEntries",
    "Identity",
    "Inpainting",
    "LeastSquares",
    "LinearIteration",
    "Matrix",
    "Mismatch",
    "OperatorProperties",
    "Permutation",
    "PreconditionedLeastSquares",
    "Scaled",
    "ScaledWithResolvent",
    "Space",
    "Stack",
    "Tomography",
    "ValidBlur",
    "Volume",
    "Weights",
    "adjoint_gap",
    "adjoint_gap_upper",
    "box_psf",
    "check_adjoint",
    "check_psf",
    "compose",
    "defocus_psf",
    "evenly_spaced",
    "from_matrix",
    "gaussian_psf",
    "linear_iteration_of",
    "mismatch_of",
    "motion_psf",
    "normalise_psf",
    "operator_properties",
    "proved_norm_bound",
    "psf_centre",
    "read_geometry",
    "residual_norm",
    "scale",
    "shift_for",
    "sirt_weights",
    "spectral",
    "stack",
    "to_deepinv",
    "to_matrix",
    "weighted",
]
