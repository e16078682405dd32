"""Best approximations of many small matrices by matrices of rank one, all at once."""

import torch
from torch import Tensor

_STEPS = 40
_SETTLED = 1e-9
"""How far a unit vector may still move: what the error then is above the least is the square of it."""


def best_rank_one(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors u and w of each block M such that ``u w`` is its best approximation of rank one in the Frobenius norm.

    Power iteration on M M^H from the longest row, which is exact after one step where the rank is one. Blocks in which
    it has not settled, because two singular values are close, get an SVD of their own. The singular value is shared
    evenly between the two vectors.

    Args:
        blocks: (count, rows, columns), real or complex, in double precision.

    Returns:
        u, (count, rows), and w, (count, columns).
    """
    longest = torch.linalg.vector_norm(blocks, dim=2).argmax(1)
    row = blocks[torch.arange(len(blocks)), longest]
    left = _unit(torch.bmm(blocks, row.conj()[:, :, None])[:, :, 0])
    moved = torch.ones(len(blocks), dtype=torch.float64)
    for _ in range(_STEPS):
        right = torch.bmm(left.conj()[:, None, :], blocks)[:, 0]
        following = _unit(torch.bmm(blocks, right.conj()[:, :, None])[:, :, 0])
        moved = torch.linalg.vector_norm(following - left, dim=1)
        left = following
        if float(moved.max()) <= _SETTLED:
            break
    unsettled = moved > _SETTLED
    if bool(unsettled.any()):
        left[unsettled] = torch.linalg.svd(blocks[unsettled], full_matrices=False)[0][:, :, 0]
    right = torch.bmm(left.conj()[:, None, :], blocks)[:, 0]
    root = torch.linalg.vector_norm(right, dim=1, keepdim=True).sqrt()
    return left * root, right / torch.where(root == 0, 1.0, root)


def least_residuals(blocks: Tensor) -> Tensor:
    """The squared distance of each block to the nearest matrix of rank one, from below but for rounding.

    It is ``||M||_F^2 - s^2`` with the largest singular value s, and ``s^8 <= ||(M M^H)^2||_F^2``.
    """
    small = blocks if blocks.shape[1] <= blocks.shape[2] else blocks.mT
    gram = torch.bmm(small, small.mH)
    largest = torch.linalg.vector_norm(torch.bmm(gram, gram), dim=(1, 2)).sqrt()
    energy = torch.linalg.vector_norm(blocks, dim=(1, 2)).square()
    residual: Tensor = (energy - largest * (1 + 1e-12)).clamp(min=0)
    return residual


def _unit(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(length == 0, 1.0, length)
