"""Banks of filters of norm at most 1, from parameters that may be anything."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from recon.operators.convolution_norms import peak_norm
from recon.priors.networks.architectures.network import Derived
from recon.priors.networks.layers.nonexpansive import MARGIN

GRID = 128
"""Frequencies an axis for the bound of the filters: the bound only fixes the units of the weight."""


class FilterBank(Derived):
    """A bank of zero-mean filters with ||W|| <= 1.

    Attributes:
        kernels: Of the convolutions whose composition makes the filters, if one does.
    """

    kernels: nn.ParameterList

    @abstractmethod
    def composed(self) -> Tensor:
        """The kernels before they are divided by their norm, ``(filters, channels, k, k)``."""

    def derive(self) -> tuple[Tensor, ...]:
        composed = self.composed()
        return (composed * ((1 - MARGIN) / peak_norm(composed, GRID).clamp(min=torch.finfo(composed.dtype).tiny)),)
