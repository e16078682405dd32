"""The sparse code of images by coordinate descent on working sets and Newton steps, on the CPU.

The gradient with respect to all coefficients costs two convolutions, and tells which of those that are zero should not
be: the worst of them join those that are not zero, and the loops of :mod:`..layers.descent_kernels` go over these alone
(celer: Massias, Gramfort, Salmon 2018). Once few of them change, Newton steps on the support converge quadratically.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recon.priors.networks.architectures.sparse_code import SparseCode, subgradient
from recon.priors.networks.architectures.sparse_error import Coded, of_codes

_FIRST, _GROWTH = 0.25, 1
"""Coefficients that may join a working set: so many a pixel, or so many for each that is not zero."""

_SWEEPS = 6
_SETTLED = 0.1
"""The part of the gradient that may lie outside of the support where a Newton step is worth its system."""

_SYSTEM, _STEPS = 0.1, 40
"""Of a Newton step: the relative residual of its system, and conjugate gradients at most."""

_LEAST_SHARE = 2.0**-6
"""The part of the goal below which a gradient whose bound misses it is rounding: no step helps."""

_NEAR = 0.95
"""Of the goal, in the precision of the images, where the bound is worth its evaluation in double precision."""

_ROUNDS = 60

_DENSE = 2.0
"""Coefficients a pixel that the thresholds let expect from which the dual method is faster: of the packaged dictionary
at a noise of 12 on 255."""


def is_worth_it(code: SparseCode, y: Tensor) -> bool:
    """Whether the descent is faster than the dual method: on the CPU, where few coefficients are not zero."""
    if y.is_cuda or y.dtype not in (torch.float32, torch.float64) or not y.numel():
        return False
    return float(code.expected_shares().sum()) < _DENSE * code.stride**2


@torch.no_grad()
def descend(code: SparseCode, y: Tensor, goal: Tensor, rounds: int) -> tuple[Coded, Tensor]:
    """The codes of images to a bound of the distance of each image from the exact one.

    Args:
        code: The sparse coding.
        y: Images once for each shift.
        goal: Of each, in double precision.
        rounds: Working sets at most.

    Returns:
        The codes, and for each image whether the goal is reached. Images that are not finite reach it, with zeros.
    """
    descent = _Descent(code, y)
    scale, is_open = torch.ones_like(goal), y.isfinite().flatten(1).all(1)
    found = Coded(descent.codes, y.double(), torch.where(is_open, torch.inf, 0.0).to(goal))
    for _ in range(min(rounds, _ROUNDS)):
        r = descent.residual()
        gradient = descent.gradient(r)
        length = _lengths(gradient) / 2
        near = is_open & (length <= _NEAR * scale * goal)
        if bool(near.any()):
            found = of_codes(code, y, descent.codes, found, near)
            is_open = is_open & ~(near & (found.error <= goal))
            scale = torch.where(near, scale / 2, scale)
        if not bool((is_open & (scale > _LEAST_SHARE)).any()):
            break
        descent.improve(r, gradient, is_open)
    return found, ~is_open


class _Descent:
    """Codes of images, with what a working set needs."""

    def __init__(self, code: SparseCode, y: Tensor) -> None:
        self.code, each = code, len(y) // code.shifts
        finite = y.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
        self.squares = code.embedded(torch.where(finite, y, 0.0))
        ones = code.embedded(torch.ones_like(y[:1]).repeat(code.shifts, 1, 1, 1))
        self.inside = ones.repeat_interleave(each, 0)
        norms = functional.conv2d(ones, code.kernel.square())
        self.norms = norms.repeat_interleave(each, 0)
        self.threshold = code.repeated_threshold(len(y))
        self.codes = torch.zeros_like(self.norms)
        self.atoms = code.atoms.contiguous().numpy()
        self.box = np.repeat(np.array([code.box(offset, y.shape) for offset in code.offsets]), each, 0)
        self.pixels = y[0].numel()

    def residual(self) -> Tensor:
        """``y - D a`` in squares of pixels."""
        return self.squares - self.inside * self.code.synthesised(self.codes)

    def gradient(self, r: Tensor) -> Tensor:
        """The subgradient of P of least norm."""
        return subgradient(self.codes, self.code.analysed(r), self.threshold)

    def improve(self, r: Tensor, gradient: Tensor, is_open: Tensor) -> None:
        """Go over the working sets of the open images once more."""
        support = self.codes != 0
        outside = torch.where(support, 0.0, gradient)
        settled = _lengths(outside) <= _SETTLED * _lengths(gradient)
        chosen = self._working_set(support, outside) & is_open.view(-1, 1, 1, 1)
        item, row, column, atom = chosen.permute(0, 2, 3, 1).nonzero().unbind(1)
        place = (item, atom, row, column)
        values, stride = self.codes[place], self.code.stride
        from recon.priors.networks.layers.descent_kernels import descend as go_over  # noqa: PLC0415  numba is slow

        go_over(
            functional.pixel_shuffle(r, stride).contiguous().numpy(),
            values.numpy(),
            self.norms[place].numpy(),
            self.threshold[item, atom, 0, 0].numpy(),
            torch.stack([row * stride, column * stride, atom], 1).numpy(),
            torch.bincount(item, minlength=len(r)).cumsum(0).numpy(),
            self.atoms, self.box, _SWEEPS, settled.numpy(), _SYSTEM, _STEPS,
        )  # fmt: skip
        self.codes[place] = values

    def _working_set(self, support: Tensor, outside: Tensor) -> Tensor:
        """The support, and the worst of the other coefficients, by what the minimum along them would gain."""
        gain = outside.abs() / (self.norms + 1).sqrt()
        chosen = support.clone()
        for item, gains in enumerate(gain):
            wanted = max(int(_FIRST * self.pixels) + 1, _GROWTH * int(support[item].sum()))
            more = min(int((gains > 0).sum()), wanted)
            if more:
                chosen[item] |= gains >= torch.topk(gains.flatten(), more).values[-1]
        return chosen


def _lengths(x: Tensor) -> Tensor:
    """Of each item, in double precision, in which no square of a single number vanishes or overflows."""
    lengths: Tensor = torch.linalg.vector_norm(x.flatten(1).double(), dim=1)
    return lengths
