"""The dictionary of a sparse coding network as a linear operator, and the penalty of its coefficients as a prior."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.priors import Prior, Synthesis, elastic_net_prior, synthesis_prior
from recon.priors.networks.architectures.convolutional_sparse_coding import ConvolutionalSparseCoding
from recon.priors.networks.architectures.network import Network
from recon.priors.networks.architectures.sparse_code import SparseCode


@final
@dataclass(frozen=True, eq=False, repr=False)
class ConvolutionalDictionary(ByValue):
    """D, from coefficients (batch, atoms, rows, columns) on one lattice to images (batch, channels, height, width).

    Attributes:
        code: The sparse coding, of one lattice.
        shape: (height, width) of the images.
    """

    code: SparseCode
    shape: tuple[int, int]

    @property
    def domain(self) -> Space:
        """Of the coefficients of one atom."""
        atoms = self.code.atoms
        squares = self.code.embedded(atoms.new_zeros(1, atoms.shape[1], *self.shape))
        side = self.code.kernel.shape[-1] - 1
        return Space((squares.shape[-2] - side, squares.shape[-1] - side))

    @property
    def range(self) -> Space:
        """Of a channel of images."""
        return Space(self.shape)

    @cached_property
    def properties(self) -> OperatorProperties:
        """The norm, which bounds that of every size."""
        return OperatorProperties(norm=self.code.norm, adjoint_gap=EXACT_ADJOINT)

    def A(self, z: Tensor) -> Tensor:
        return self.code.to(z).image_of(z, self.shape)

    def A_adjoint(self, x: Tensor) -> Tensor:
        code = self.code.to(x)
        return code.analysed(code.embedded(x))


def dictionary_prior(network: Network, noise_level: float, weight: float = 1.0) -> Prior:
    """``w h``, ``h(x) = min over z with D z = x of g(z)``, g the elastic net of a sparse coding network.

    D is the dictionary on the first lattice of the network: the network itself is the mean of the proximity operators
    of all its lattices, and their proximal average has no coefficients. The unknowns of a reconstruction with this
    prior are the coefficients.

    Args:
        network: With one layer, its codes solved for.
        noise_level: At which its thresholds are taken, on [0, 1].
        weight: w. Of a network that denoises, ``h / noise_level^2`` stands for the negative logarithm of a density, so
            that (s / noise_level)^2 goes with measurements whose noise has the standard deviation s.

    Raises:
        UsageError: It is no such network, or a number is not positive.
    """
    if not isinstance(network, ConvolutionalSparseCoding) or not network.iterates or network.config.layers != 1:
        family = network.config.family if isinstance(network, Network) else type(network).__name__
        raise UsageError(
            f"dictionary_prior: the network is a {family}; expected a ConvolutionalSparseCoding of one layer with "
            "steps = 0, because only its code is the minimiser of an energy."
        )
    if not (noise_level > 0 and math.isfinite(noise_level)):
        raise UsageError(f"dictionary_prior: noise_level={noise_level!r}; expected a positive finite number.")
    code = network.frozen(torch.float64).codes(noise_level)[0].each()[0]
    code = replace(code, atoms=code.atoms.detach(), threshold=code.threshold.detach())
    synthesis = Synthesis(partial(_on, code), elastic_net_prior(weight, code.threshold), len(code.atoms))
    return synthesis_prior(f"dictionary({noise_level:g})", synthesis)


def _on(code: SparseCode, shape: tuple[int, int]) -> ConvolutionalDictionary:
    return ConvolutionalDictionary(code, shape)
