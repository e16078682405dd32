"""Coupled matrix-tensor factorisation: Jacobians as a tensor, and values as a matrix, with one factor in common."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from recon.errors import UsageError

_TOLERANCE = 1e-9
"""The squared error, or its relative change, at which alternating least squares end."""

_EXACT = 1e-16
"""The squared relative error up to which factors from eigenvectors are those that are sought. Of a tensor that has no
exact factors they say little, and singular vectors are the better start."""

_NOISE = 1e-3
"""Relative to the Jacobians, added to these: without it, units beyond the rank of a map are divided by zero."""


@final
@dataclass(frozen=True)
class Factors:
    """``J(x_k) = W diag(h_k) V^T`` and ``f(x_k) - mean = W z_k``, nearly.

    Attributes:
        left: W, ``(outputs, rank)``.
        right: V, ``(inputs, rank)``.
        slopes: The h_k, ``(samples, rank)``.
        values: The z_k, ``(samples, rank)``.
    """

    left: Tensor
    right: Tensor
    slopes: Tensor
    values: Tensor


def require_tensorly() -> Any:
    """The library of tensor factorisations.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import tensorly  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise UsageError(
            "decouple: tensorly, which factorises the Jacobians, is not installed; expected the extra decouple, as in "
            "pip install 'recon-imaging[decouple]'."
        ) from error
    return tensorly


def factorise_coupled(jacobians: Tensor, outputs: Tensor, rank: int, generator: torch.Generator, steps: int) -> Factors:
    """The coupled factorisation of Jacobians and values of one map, by alternating least squares of tensorly.

    Sum of squares of both residuals, each relative to what it approximates (Acar, Kolda and Dunlavy 2011; Zniyed,
    Usevich, Miron and Brie 2021). It begins with eigenvectors where these give exact factors, which needs no more units
    than inputs and outputs, and else with singular vectors.

    Args:
        jacobians: ``(samples, outputs, inputs)``, in double precision.
        outputs: The values there, ``(samples, outputs)``.
        rank: How many units.
        generator: Draws what is random.
        steps: Of alternating least squares, at most.

    Raises:
        UsageError: tensorly is not installed.
    """
    tensorly = require_tensorly()
    centred = outputs - outputs.mean(0)
    sizes = [max(float(each.norm()), torch.finfo(each.dtype).tiny) for each in (jacobians, centred)]
    tensor, matrix = jacobians.permute(1, 2, 0) / sizes[0], centred.mT / sizes[1]
    start = _eigenvectors(tensor, rank, generator)
    if start is None:
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        tensor = tensor + _NOISE * noise / math.sqrt(noise.numel())
        start = _singular_vectors(tensor, rank, generator)
    with tensorly.backend.backend_context("numpy", local_threadsafe=True):
        left, right, slopes, values = _alternating(tensorly, tensor.numpy(), matrix.numpy(), start, steps)
    return Factors(left, right, slopes * sizes[0], values * sizes[1])


def _alternating(
    tensorly: Any, tensor: Any, matrix: Any, start: tuple[Tensor, Tensor, Tensor], steps: int
) -> list[Tensor]:
    from tensorly.decomposition import coupled_matrix_tensor_3d_factorization  # noqa: PLC0415

    init = tensorly.cp_tensor.CPTensor((None, [each.numpy().copy() for each in start]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: all is improved afterwards
        of_tensor, of_matrix, _ = coupled_matrix_tensor_3d_factorization(
            tensor, matrix, start[0].shape[1], init=init, n_iter_max=steps, tol=_TOLERANCE
        )
    return [torch.from_numpy(np.ascontiguousarray(each)) for each in (*of_tensor.factors, of_matrix.factors[1])]


def _singular_vectors(tensor: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Of the rows and of the columns of all slices, with random ones where there are too few."""
    sides = (tensor.flatten(1), tensor.permute(1, 0, 2).flatten(1))
    left, right = (
        torch.cat([torch.linalg.svd(side, full_matrices=False)[0][:, :rank],
                   torch.randn(len(side), max(0, rank - min(side.shape)), generator=generator, dtype=side.dtype)], 1)
        for side in sides
    )  # fmt: skip
    return left, right, torch.randn(tensor.shape[2], rank, generator=generator, dtype=tensor.dtype)


def _eigenvectors(tensor: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor] | None:
    """Exact factors where there are such: two mixtures of its slices have ``A B^-1 = W D W^-1`` (Harshman 1970)."""
    outputs, inputs, count = tensor.shape
    if rank > min(outputs, inputs):
        return None
    basis = torch.linalg.svd(tensor.reshape(outputs, -1), full_matrices=False)[0][:, :rank]
    other = torch.linalg.svd(tensor.permute(1, 0, 2).reshape(inputs, -1), full_matrices=False)[0][:, :rank]
    core = torch.einsum("oik,or,is->rsk", tensor, basis, other)
    mixtures = core @ torch.randn(count, 2, generator=generator, dtype=tensor.dtype)
    try:
        left = basis @ torch.linalg.eig(mixtures[:, :, 0] @ torch.linalg.inv(mixtures[:, :, 1])).eigenvectors.real
        rows = torch.einsum("ro,oik->rki", torch.linalg.pinv(left), tensor)
        u, s, v = torch.linalg.svd(rows, full_matrices=False)
    except RuntimeError:  # torch's error of linear algebra
        return None
    right, slopes = v[:, 0].mT, (u[:, :, 0] * s[:, :1]).mT
    missed = (torch.einsum("or,ir,kr->oik", left, right, slopes) - tensor).square().sum()
    return (left, right, slopes) if float(missed) <= _EXACT * float(tensor.square().sum()) else None
