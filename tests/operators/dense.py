"""A linear operator on small spaces as the real matrix that it is: what a matrix shows, no sampling can miss."""

import torch
from torch import Tensor

from recon.operators import Space
from recon.types import Map


def real(x: Tensor) -> Tensor:
    """A batch of vectors of real numbers: all real parts, then all imaginary parts."""
    return torch.cat([x.real.flatten(1), x.imag.flatten(1)], dim=1) if x.is_complex() else x.flatten(1)


def basis(space: Space, dtype: torch.dtype = torch.float64) -> Tensor:
    """Every unit vector of the space, one a batch item, for the real inner product."""
    size = space.zeros().numel()
    units = torch.eye(size, dtype=dtype).reshape(size, *space.shape)
    return torch.cat([units.to(dtype.to_complex()), 1j * units]) if space.is_complex else units


def matrix(apply: Map, space: Space, dtype: torch.dtype = torch.float64) -> Tensor:
    """The matrix of a real-linear map on ``space``, columns the images of the unit vectors."""
    return real(apply(basis(space, dtype))).T
