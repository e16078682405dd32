"""The dictionary of a sparse coding network as a linear operator, and the penalty of its coefficients as a prior."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.operators.rounding import rounded_up
from recon.priors import Prior, Synthesis, elastic_net_prior, synthesis_prior
from recon.priors.networks.architectures.convolutional_sparse_coding import ConvolutionalSparseCoding
from recon.priors.networks.architectures.network import Network
from recon.priors.networks.architectures.sparse_code import SparseCode


@final
@dataclass(frozen=True, eq=False, repr=False)
class ConvolutionalDictionary(ByValue):
    """D, from coefficients (batch, atoms, rows, columns) to images (batch, channels, height, width).

    Of several lattices the coefficients lie below each other, and D is the mean of the images on them: of S lattices
    ``D z = (D_1 z_1 + .. + D_S z_S) / S``, with ``||D|| <= max ||D_s|| / sqrt(S)``.

    Attributes:
        code: The sparse coding.
        shape: (height, width) of the images.
    """

    code: SparseCode
    shape: tuple[int, int]

    @property
    def domain(self) -> Space:
        """Of the coefficients of one atom."""
        atoms = self.code.atoms
        squares = self.code.embedded(atoms.new_zeros(self.lattices, atoms.shape[1], *self.shape))
        side = self.code.kernel.shape[-1] - 1
        return Space((self.lattices * (squares.shape[-2] - side), squares.shape[-1] - side))

    @property
    def lattices(self) -> int:
        """Their number."""
        return self.code.shifts

    @property
    def range(self) -> Space:
        """Of a channel of images."""
        return Space(self.shape)

    @cached_property
    def properties(self) -> OperatorProperties:
        """The norm, which bounds that of every size."""
        each, root = self.code.norm, math.sqrt(self.lattices)
        how = each.how if self.lattices == 1 else f"{each.how}; the mean of {self.lattices} lattices"
        norm = each if self.lattices == 1 else Proved(rounded_up(each.value / root), how)
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT)

    @property
    def norm_of_each(self) -> Proved:
        """A bound of the norm of :meth:`images`, which is that of one lattice."""
        return self.code.norm

    def A(self, z: Tensor) -> Tensor:
        return self.code.mean(self.images(z))

    def A_adjoint(self, x: Tensor) -> Tensor:
        return self.images_adjoint(self.code.repeated(x / self.lattices))

    def images(self, z: Tensor) -> Tensor:
        """The image on each lattice, ``(lattices * batch, channels, height, width)``, lattice by lattice."""
        codes = torch.unflatten(z, 2, (self.lattices, -1)).movedim(2, 0).flatten(0, 1)
        return self.code.to(z).image_of(codes, self.shape)

    def images_adjoint(self, x: Tensor) -> Tensor:
        """The adjoint of :meth:`images`."""
        code = self.code.to(x)
        codes = torch.unflatten(code.analysed(code.embedded(x)), 0, (self.lattices, -1))
        return codes.movedim(0, 2).flatten(2, 3)


def dictionary_prior(network: Network, noise_level: float, weight: float = 1.0, lattices: int | None = None) -> Prior:
    """``w h``, ``h(x) = min over z with D z = x of g(z)``, g the elastic net of a sparse coding network.

    The unknowns of a reconstruction with this prior are the coefficients. On S lattices they minimise

        sum over s of  ||A D_s z_s - y||^2 / 2 + w g(z_s),

    S reconstructions that know nothing of each other, and the image is the mean of the D_s z_s: for A = Id and w = 1
    that is the network. The mean over the lattices does not favour the borders of one.

    Args:
        network: With one layer, its codes solved for.
        noise_level: At which its thresholds are taken, on [0, 1].
        weight: w. Of a network that denoises, ``h / noise_level^2`` stands for the negative logarithm of a density, so
            that (s / noise_level)^2 goes with measurements whose noise has the standard deviation s.
        lattices: S, the first ones of the network; ``None``: all.

    Raises:
        UsageError: It is no such network, a number is not positive, or it has fewer lattices.
    """
    if not isinstance(network, ConvolutionalSparseCoding) or not network.iterates or network.config.layers != 1:
        family = network.config.family if isinstance(network, Network) else type(network).__name__
        raise UsageError(
            f"dictionary_prior: the network is a {family}; expected a ConvolutionalSparseCoding of one layer with "
            "steps = 0, because only its code is the minimiser of an energy."
        )
    if not (noise_level > 0 and math.isfinite(noise_level)):
        raise UsageError(f"dictionary_prior: noise_level={noise_level!r}; expected a positive finite number.")
    code = network.frozen(torch.float64).codes(noise_level)[0]
    count = code.shifts if lattices is None else lattices
    if not 1 <= count <= code.shifts:
        raise UsageError(f"dictionary_prior: lattices={lattices!r}; expected 1 to {code.shifts}, as the network has.")
    code = replace(
        code, atoms=code.atoms.detach(), threshold=code.threshold.detach(), offsets=code.offsets[:count]
    )  # fmt: skip
    codes, one = elastic_net_prior(weight, code.threshold), replace(code, offsets=code.offsets[:1])
    synthesis = Synthesis(partial(_on, code), codes, len(code.atoms), count, partial(_on, one))
    return synthesis_prior(f"dictionary({noise_level:g})", synthesis)


def _on(code: SparseCode, shape: tuple[int, int]) -> ConvolutionalDictionary:
    return ConvolutionalDictionary(code, shape)
