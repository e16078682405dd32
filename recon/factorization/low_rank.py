"""The best approximation of a matrix by a product of two thin ones."""

import torch
from torch import Tensor

from recon.operators.factorised import Blocks, Factor


def low_rank_factors(matrix: Tensor, tolerance: float) -> tuple[tuple[Factor, ...], int]:
    """Two factors of the least rank whose error is at most ``tolerance`` times the largest singular value.

    The singular value decomposition cut off is the best of its rank in the operator norm (Eckart, Young 1936; Mirsky
    1960). The factors are one choice of many: any invertible matrix may be put between them.

    Returns:
        The factors, (rows, rank) and (rank, columns), and the rank, at least 1.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = max(int((values > tolerance * values[0]).sum()), 1)
    root = values[:rank].sqrt()
    tall, wide = left[:, :rank] * root, root[:, None] * right[:rank]
    return (Blocks(tall[None, None].contiguous()), Blocks(wide[None, None].contiguous())), rank
