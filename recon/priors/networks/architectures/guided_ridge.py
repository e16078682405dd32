"""A learned convex potential whose weights follow a guide: convex, with every theorem, once the guide is given.

``R_m(x) = w sum_ip m_ip s_i^2 psi_i(|(W x)_ip| / s_i)`` with ``m = M(u)`` a mask made from the guide u, an image near
the one that is wanted, such as a first reconstruction with the unguided potential (m = 1). With u fixed, R_m is convex
and its prox firmly nonexpansive. The map from the data to the result, guide included, *need not* be nonexpansive.
Existence and stability of the two steps: Neumayer and Altekrueger 2024, arXiv 2406.12289.
"""

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.priors.networks.architectures.convex_ridge import ConvexRidge, ConvexRidgeConfig
from recon.priors.networks.architectures.network import Derivative, NoiseLevel
from recon.priors.networks.architectures.ridge_potential import Ridge
from recon.priors.networks.architectures.ridge_prox import DEFAULT, InnerSolver, prox
from recon.priors.networks.layers.masks import Mask
from recon.types import Map

GUIDE_ACCURACY = 10.0
"""How much coarser the first solve may be than the second: the guide is a guide whatever its accuracy."""


@dataclass(frozen=True)
class GuidedRidgeConfig(ConvexRidgeConfig):
    """A potential of :class:`ConvexRidgeConfig` with a mask that a guide decides.

    Attributes:
        mask_width: Channels of the network that makes the mask, beside the averaged law; 0: that law alone, of about
            100 numbers for each group of filters.
        mask_bounds: The least and the largest value of the mask.
    """

    mask_width: int = 32
    mask_bounds: tuple[float, float] = (0.05, 4.0)

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        low, high = self.mask_bounds
        if not 0 < low < high < math.inf:
            raise UsageError(
                f"GuidedRidge: mask_bounds={self.mask_bounds!r}; expected two positive numbers, the lower one first, "
                "because a mask that vanishes leaves pixels without a prior."
            )
        if not 0 <= self.mask_width <= 1024:
            raise UsageError(f"GuidedRidge: mask_width={self.mask_width!r}; expected 0 to 1024 channels.")
        if self.one_shot:
            raise UsageError("GuidedRidge: one_shot=True; expected false, because the guided potential has a prox.")


class GuidedRidge(ConvexRidge):
    """The prox of R_m with the mask from a guide; without a guide, that of the unguided potential is the guide.

    Args:
        config: The architecture.
        solver: As of :class:`ConvexRidge`.
    """

    config: GuidedRidgeConfig

    def __init__(self, config: GuidedRidgeConfig, solver: InnerSolver = DEFAULT) -> None:
        super().__init__(config, solver)
        self.mask = Mask(config.widths[-1] // config.group, config.mask_width, config.mask_bounds)
        self.guide_of: Map | None = None

    def guided(self, guide: Tensor, noise_level: NoiseLevel = None) -> Ridge:
        """R_m at a noise level, differentiable with respect to the guide and the weights.

        Args:
            guide: ``(batch, channels, height, width)``, on the scale of the images.
            noise_level: As of :meth:`forward`.
        """
        self.check_input(guide, noise_level)
        ridge = self.ridge(noise_level)
        return replace(ridge, mask=self.mask(ridge.lengths(guide), self.place(noise_level)))

    def forward(self, x: Tensor, noise_level: NoiseLevel = None, guide: Tensor | None = None) -> Tensor:
        """The prox of R_m, ``(batch, channels, height, width)``.

        Args:
            x: Images.
            noise_level: The standard deviation.
            guide: Of the size of x; ``None``: the prox of the unguided potential, through which no gradient flows.
        """
        if guide is None:
            guide = self.first(x, noise_level)
        share = self._share(noise_level)
        return prox(self.guided(guide, noise_level), x, self.solver, share, guide.detach())

    @torch.no_grad()
    def first(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """The guide: the prox of the unguided potential, to a coarser accuracy."""
        self.check_input(x, noise_level)
        if self.guide_of is not None:
            return self.guide_of(x)
        coarse = replace(self.solver, accuracy=min(GUIDE_ACCURACY * self.solver.accuracy, 0.05))
        return prox(self.ridge(noise_level), x, coarse, self._share(noise_level))

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        return Proved(
            1.0,
            "given the guide, the proximity operator of a convex function, whatever the weights (Moreau 1965); where "
            "the guide follows the image, the map from image to image need not be nonexpansive",
        )

    def with_still_guide(self, seed: int = 0) -> Self:
        """A copy whose guides do not follow the images: of each size a random one, of which its constants speak."""
        twin = copy.deepcopy(self)
        twin.guide_of = partial(_random_guide, seed)
        return twin

    def derivative(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x) with the guide kept as it is at x: symmetric."""
        with torch.no_grad():
            ridge = self.guided(self.first(x, noise_level), noise_level)
        return self._prox_derivative(ridge, x)

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """``2 J(x) - x``, the guide from x; what is known of Q is meant with the guide held."""
        return super().Q(x, noise_level)

    def place(self, noise_level: NoiseLevel) -> Tensor:
        """The place of the noise level in the range, from 0 to 1, in the logarithm."""
        low, high = self.config.noise_range
        if not self.conditioned:
            return torch.zeros(1)
        level = torch.as_tensor(noise_level).to(self.log_weight).reshape(-1)
        return ((level / low).log() / math.log(high / low)).clamp(0, 1)


def _random_guide(seed: int, like: Tensor) -> Tensor:
    """An image of the size of another, on [0, 1]: half of it noise, and half of it constant."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(like.shape[1:], generator=generator, dtype=torch.float64)
    columns = torch.arange(like.shape[-1]) < like.shape[-1] // 2
    return torch.where(columns, 0.5, noise).to(like).expand_as(like).contiguous()
