"""Masks of a convex potential, made from the responses of a guide: small where it has edges and texture.

A mask weighs each ridge function at each pixel; see :mod:`recon.priors.networks.architectures.ridge_potential`. With
t the responses of the guide over the potential's own scales, so that noise has responses of about 1 whatever its level,
the mask is made in two parts:

- the averaged law: ``B2 f(B1 log(1 + t))`` with B1 and B2 local averages and f decreasing, one each for every filter,
  as in Pourya, Neumayer and Unser 2024 (arXiv 2407.06608), in the logarithm of the mask;
- a small convolutional network, which sees ``log(1 + t)`` of all filters and adds to that logarithm what the law, which
  sees one filter at a time, cannot know.

The mask is bounded by construction: it is clamped.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.priors.networks.architectures.network import drawn
from recon.priors.networks.layers.splines import lookup, piece_index

_AVERAGE = 7
"""Height and width of a local average."""

_FIRST, _SECOND = 1.5, 0.5
"""Standard deviations of the Gaussians, in pixels, that training starts from."""

_KNOTS, _REACH = 16, 4.0
"""Intervals of the decreasing function, and its last knot: responses of exp(4) = 55 scales."""

_EXPONENT, _FACTOR = 0.35, 2.0
"""What training starts from: ``2 (1 + t)^-0.35``, the best of a few on validation images; it needs no training."""

_DILATIONS = (1, 2, 3, 2, 1)
"""Of the convolutions of 3 x 3 of the network: with the filters of 13 x 13 each pixel sees 31 x 31."""


class LocalAverage(nn.Module):
    """A weighted mean over squares of 7 x 7 pixels, one for each channel; at the border the mean of what is there.

    Args:
        channels: How many.
        width: The standard deviation of the Gaussian that training starts from.
    """

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        self.logits = drawn((channels, _AVERAGE, _AVERAGE), lambda: _gaussian(width).repeat(channels, 1, 1))

    def forward(self, t: Tensor) -> Tensor:
        weights = self.logits.flatten(1).softmax(1).view(-1, 1, _AVERAGE, _AVERAGE)
        reach = _AVERAGE // 2
        padded = functional.pad(t, (reach, reach, reach, reach), mode="replicate")
        return functional.conv2d(padded, weights, groups=len(weights))


def _gaussian(width: float) -> Tensor:
    """The logarithm of a Gaussian of that standard deviation, but for a constant."""
    place = torch.arange(_AVERAGE) - _AVERAGE // 2
    return -(place[:, None].square() + place.square()) / (2 * width**2)


class Decreasing(nn.Module):
    """A decreasing linear spline of numbers at least 0, one for each channel, constant beyond its last knot.

    Args:
        channels: How many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((channels,), math.log(_FACTOR)))
        drop = _EXPONENT * _REACH / _KNOTS
        self.drops = nn.Parameter(torch.full((channels, _KNOTS), math.log(math.expm1(drop))))

    def forward(self, t: Tensor) -> Tensor:
        values = functional.pad(-functional.softplus(self.drops).cumsum(1), (1, 0)) + self.first[:, None]
        slopes = values.diff(dim=1)
        intercepts = values[:, :-1] - slopes * torch.arange(_KNOTS, device=t.device)
        place = (t * (_KNOTS / _REACH)).clamp(0, _KNOTS)
        with torch.no_grad():
            piece = place.nan_to_num(0.0).floor_().clamp_(max=_KNOTS - 1).to(torch.int32)
            index = piece_index(piece, _KNOTS)
        return torch.addcmul(lookup(intercepts, index), lookup(slopes, index), place)


class _Convolution(nn.Conv2d):
    """A convolution whose numbers are drawn as of :func:`recon.priors.networks.architectures.network.drawn`."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class Corrector(nn.Module):
    """What a small network adds to the logarithm of the mask; zero before training.

    Args:
        inputs: Channels that it sees.
        outputs: Channels of the mask.
        width: Channels in between.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.enter = _Convolution(inputs, width, 1)
        self.layers = nn.ModuleList(
            _Convolution(width, width, 3, dilation=step, padding=step, padding_mode="zeros") for step in _DILATIONS
        )
        self.leave = _Convolution(width, outputs, 1)
        if not self.leave.weight.is_meta:
            with torch.no_grad():
                for parameter in self.leave.parameters():
                    parameter.zero_()

    def forward(self, features: Tensor) -> Tensor:
        found = self.enter(features)
        for layer in self.layers:
            found = found + functional.relu(layer(functional.relu(found)))
        added: Tensor = self.leave(found)
        return added


class Mask(nn.Module):
    """From the responses of a guide to the mask of a potential.

    Args:
        channels: Of the responses, one for each group of filters.
        width: Of the network; 0: the averaged law alone.
        bounds: The least and the largest value, both positive.
    """

    def __init__(self, channels: int, width: int, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.bounds = bounds
        self.before = LocalAverage(channels, _FIRST)
        self.law = Decreasing(channels)
        self.after = LocalAverage(channels, _SECOND)
        self.corrector = Corrector(channels + 1, channels, width) if width else None

    def forward(self, responses: Tensor, level: Tensor) -> Tensor:
        """The mask.

        Args:
            responses: t, at least 0, ``(batch, channels, height, width)``.
            level: The place of the noise level in its range, from 0 to 1, ``(batch or 1,)``.
        """
        if not responses.numel():
            return torch.ones_like(responses)  # of images without pixels, or smaller than the filters
        seen = self.seen(responses)
        logarithm = self.after(self.law(self.before(seen)))
        if self.corrector is not None:
            logarithm = logarithm + self.corrector(self.told(seen, level))
        low, high = self.bounds
        mask: Tensor = logarithm.clamp(math.log(low), math.log(high)).exp()
        return mask.clamp(low, high)  # exp rounds

    def seen(self, responses: Tensor) -> Tensor:
        """``log(1 + t)``, of which everything is made."""
        return torch.log(1 + responses)  # log1p takes ten times as long, and the mask needs no digits of small ones

    def told(self, seen: Tensor, level: Tensor) -> Tensor:
        """What the corrector is given: that, with the place of the noise level as one more channel."""
        return torch.cat([seen, level.to(seen).view(-1, 1, 1, 1).expand(len(seen), 1, *seen.shape[-2:])], 1)
