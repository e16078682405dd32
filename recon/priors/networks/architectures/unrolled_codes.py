"""Steps of an unrolled reconstruction that are sparse codes: LISTA in a convolutional dictionary, through an operator.

A state is an image x and its codes z_1 .. z_S on S shifted lattices. A step goes along the data and then codes what
that changed, on each lattice by itself; the image is the mean of theirs:

    z_k' = S_t(z_k + W_k (x - s A^T (A x - y) - D_k z_k)),   x' = (D_1 z_1' + .. + D_S z_S') / S,

with a dictionary D, an analysis W, thresholds t and a step size s of its own (Gregor, LeCun 2010; Simon, Elad 2019).
With one lattice, ``W = D^T``, ``||D|| <= 1`` and ``x = D z`` it is a step of ISTA on ``s/2 ||A D z - y||^2 + sum t_i
|z_i|``. D begins as cosines over their norm, and W as D^T: with 64 atoms of 8 x 8 pixels, a tight frame.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.operators.convolution_norms import peak_norm
from recon.priors.networks.architectures.convolutional_sparse_coding import cosines
from recon.priors.networks.architectures.network import drawn
from recon.priors.networks.architectures.sparse_code import SparseCode
from recon.priors.networks.architectures.unrolled_steps import Scaled, first_log_step

if TYPE_CHECKING:
    from recon.priors.networks.architectures.unrolled import UnrolledConfig

_GRID = 32
_THRESHOLD, _FREE = 0.1, 0.01
"""The thresholds that training starts from, of an atom and of the constant one: parts of the standard deviation that
errors of the size of the unit have in a coefficient."""


class SparseCoding(nn.Module):
    """The branch of a step that is a sparse code; the state is an image and its codes, in one row an item."""

    def __init__(self, config: "UnrolledConfig") -> None:
        super().__init__()
        self.stride, self.offsets = config.stride, offsets_of(config)
        shape = (config.features, config.channels, config.size, config.size)
        self.atoms = drawn(shape, partial(_first_atoms, shape, config.stride))
        self.analysis = drawn(shape, lambda: self.atoms.detach().clone())
        self.log_threshold = drawn((config.features,), partial(_first_thresholds, self.atoms))
        self.log_step = drawn((1,), lambda: torch.full((1,), first_log_step(config)))

    def forward(self, state: Tensor, scaled: Scaled, y: Tensor, level: Tensor, shape: torch.Size) -> Tensor:
        size, pixels = (shape[-2], shape[-1]), math.prod(shape[1:])
        x = state[:, :pixels].view(shape)
        each = (len(self.offsets), len(self.atoms), *code_shape(shape, self.atoms.shape[-1], self.stride))
        z = state[:, pixels:].view(len(x), *each).transpose(0, 1).flatten(0, 1)  # lattice by lattice
        code = self._code(scaled.unit * level)
        moved = x - self.log_step.exp() * scaled.back(scaled.A(x) - y)
        left = code.repeated(moved) - code.image_of(z, size)
        coded = code.shrunk(z + functional.conv2d(code.embedded(left), code.kernel_of(self.analysis)), 1.0)
        image = code.mean(code.image_of(coded, size))
        changed = torch.unflatten(coded - z, 0, (len(self.offsets), -1)).transpose(0, 1)
        return torch.cat([(image - x).flatten(1), changed.flatten(1)], 1)

    def _code(self, spread: Tensor) -> SparseCode:
        """The sparse coding with thresholds for errors of a standard deviation, (batch,)."""
        threshold = spread.view(-1, 1, 1, 1) * self.log_threshold.exp().view(1, -1, 1, 1)
        return SparseCode(self.atoms, threshold, self.stride, spread, self.offsets)


def offsets_of(config: "UnrolledConfig") -> tuple[tuple[int, int], ...]:
    """The shifts of the lattices, evenly between the points of one."""
    along = range(0, config.stride, config.stride // config.shifts)
    return tuple((down, right) for down in along for right in along)


def coefficients_of(config: "UnrolledConfig", image: Sequence[int]) -> int:
    """The number of coefficients of an image of (..., height, width)."""
    return config.shifts**2 * config.features * math.prod(code_shape(image, config.size, config.stride))


def code_shape(image: Sequence[int], size: int, stride: int) -> tuple[int, int]:
    """(rows, columns) of the coefficients of an atom of so many pixels, those over the border included."""
    rows, columns = (math.ceil(size / stride) + (length + stride - 2) // stride for length in image[-2:])
    return rows, columns


def _first_atoms(shape: tuple[int, int, int, int], stride: int) -> Tensor:
    atoms = cosines(*shape, disturbed=0.0)
    like = SparseCode(atoms, atoms.new_zeros(1, len(atoms), 1, 1), stride, atoms.new_ones(1), ((0, 0),))
    norm = float(peak_norm(like.kernel, _GRID))
    return atoms / norm


def _first_thresholds(atoms: Tensor) -> Tensor:
    sizes = atoms.detach().square().sum((1, 2, 3)).sqrt()
    found = (_THRESHOLD * sizes).log()
    found[0] = math.log(_FREE * float(sizes[0]))
    return found
