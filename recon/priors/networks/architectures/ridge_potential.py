"""A convex potential of ridge functions: ``R(x) = w sum_i s_i^2 sum_k psi_i(|(W x)_ik| / s_i)``.

W is a bank of filters with ||W|| <= 1 and psi_i is even, convex, with slopes of psi_i' in [0, 1]. With groups, |.| is
the Euclidean length of several responses of one pixel: still convex, since psi is nondecreasing on the half-line.
So ``grad R(x) = w W^T f(W x)`` with f the gradient of a convex function with Hessian between 0 and Id: R is convex and
w-smooth (Goujon, Neumayer, Unser 2023, "a neural-network-based convex regularizer", for groups of one).

A mask m >= 0 weighs every ridge function at every pixel, ``R_m(x) = w sum_ip m_ip s_i^2 psi_i(|(W x)_ip| / s_i)``: with
m fixed still convex, and ``w max(m)``-smooth (Neumayer, Altekrueger 2024, arXiv 2406.12289).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon.priors.networks.layers.convolution import analyse, synthesise
from recon.priors.networks.layers.gram_inverse import gram_inverse
from recon.priors.networks.layers.profiles import Profile
from recon.types import Map

_MEMORY, _SLOPE = 3, 0.4
"""Of Anderson's acceleration of the prox: the steps it looks back; and the mean slope of the preconditioner. Of
memories of 1 to 8 and slopes of 0.2 to 1, on patches with noise of 25/255 and a trained potential, 3 with 0.3 to 0.5
took the fewest evaluations: 15 to 17 to 1 % of the image, where Nesterov's method takes 28."""

_MASKED_MEMORY, _MASKED_SLOPE = 6, 2.0
"""The same with a mask, which is large where the responses are small, and the slope 1: 55 evaluations to 1e-4 of the
image on patches with noise of 15/255, 45 without the mask, and 260 with its memory and slope."""

STRIP, LEAST_ROWS = 2**20, 8
"""Responses that are held at once where no gradient is taken: 4 MiB in single precision, a second-level cache."""


@final
@dataclass(frozen=True)
class Ridge:
    """The potential, with everything it needs derived.

    Attributes:
        kernel: ``(filters, channels, k, k)``, of W.
        weight: w, ``(batch or 1, 1, 1, 1)``.
        scale: s, ``(batch or 1, filters / group, 1, 1)``.
        profile: psi, one for each group of filters.
        group: Responses that are measured together.
        padding: Of W.
        mask: m, at least 0, ``(batch or 1, filters / group, height', width')`` as the responses are; ``None``: 1.
    """

    kernel: Tensor
    weight: Tensor
    scale: Tensor
    profile: Profile
    group: int
    padding: str
    mask: Tensor | None = None

    @property
    def smoothness(self) -> Tensor:
        """``w max(m)``, which bounds the Lipschitz constant of grad R, ``(batch or 1, 1, 1, 1)``."""
        if self.mask is None or not self.mask.numel():  # of an image without pixels
            return self.weight
        return self.weight * self.mask.amax((1, 2, 3), keepdim=True)

    @property
    def mean_weight(self) -> Tensor:
        """``w`` times the mean of m, ``(batch or 1, 1, 1, 1)``."""
        return self.weight if self.mask is None else self.weight * self.mask.mean((1, 2, 3), keepdim=True)

    @property
    def has_kinks(self) -> bool:
        """Whether Newton's method is worth its linear systems: its gradient is smooth enough without."""
        return False

    @property
    def memory(self) -> int:
        """The steps that Anderson's acceleration of the prox looks back."""
        return _MEMORY if self.mask is None else _MASKED_MEMORY

    def preconditioner(self, like: Tensor) -> Map:
        """``(Id + c w W^T W)^-1`` on images of that size, continued by zeros, with c a guess of the mean slope."""
        slope = _SLOPE if self.mask is None else _MASKED_SLOPE
        return gram_inverse(self.kernel, slope * self.mean_weight, like, circular=self.padding == "circular")

    def certified(self, y: Tensor, x: Tensor) -> Tensor:
        """See :class:`.ridge_prox.Potential`."""
        from recon.priors.networks.architectures.ridge_error import of_point  # noqa: PLC0415  it is of this class

        return of_point(self, y, x)

    def gradient(self, x: Tensor) -> Tensor:
        """``grad R(x)``, at the size of x."""
        return self.weight * filtered(x, self.kernel, self.padding, self.influence)

    def value(self, x: Tensor) -> Tensor:
        """R of each batch item, shape ``(batch,)``."""
        responses = analyse(x, self.kernel, self.padding)
        length = responses if self.group == 1 else _length(self._grouped(responses))
        each = self.profile.pieces().potential(length / self.scale) * self.scale.square()
        total = (each if self.mask is None else each * self.mask).flatten(1).sum(1)
        return self.weight.flatten() * total

    def lengths(self, x: Tensor) -> Tensor:
        """``|(W x)_ip| / s_i``, ``(batch, filters / group, height', width')``."""
        responses = analyse(x, self.kernel, self.padding)
        return (responses.abs() if self.group == 1 else _length(self._grouped(responses))) / self.scale

    def curvature(self, x: Tensor) -> Map:
        """The Hessian of R at x, ``v -> w W^T f'(W x) W v``: symmetric, between 0 and ``w max(m) Id``."""
        responses = analyse(x, self.kernel, self.padding)
        along: Tensor | None = None
        if self.group == 1:
            across = self.profile.slope(responses / self.scale)
        else:
            grouped = self._grouped(responses)
            length = _length(grouped)
            ratio = self._ratio(length)
            across = self._spread(ratio)
            along = (grouped / length.unsqueeze(2)) * (self.profile.slope(length / self.scale) - ratio).unsqueeze(2)
            unit = grouped / length.unsqueeze(2)
        if self.mask is not None:
            across = across * self._spread(self.mask)
            along = None if along is None else along * self.mask.unsqueeze(2)

        def apply(v: Tensor) -> Tensor:
            z = analyse(v, self.kernel, self.padding)
            moved = across * z
            if along is not None:
                moved = moved + (along * (unit * self._grouped(z)).sum(2, keepdim=True)).flatten(1, 2)
            return self.weight * synthesise(moved, self.kernel, self.padding, _size(v))

        return apply

    def influence(self, top: int, responses: Tensor) -> Tensor:
        """f(z) of the rows of responses from ``top`` on, ``(batch, filters, rows, width')``: a proximity operator."""
        mask = None if self.mask is None else self.mask[..., top : top + responses.shape[-2], :]
        if self.group == 1:
            slopes = self.profile.influence(responses / self.scale)
            return self.scale * (slopes if mask is None else slopes * mask)
        ratio = self._ratio(_length(self._grouped(responses)))
        return self._spread(ratio if mask is None else ratio * mask) * responses

    def _ratio(self, length: Tensor) -> Tensor:
        """``psi'(t) / t`` for t > 0."""
        t = length / self.scale
        return self.profile.influence(t) / t

    def _grouped(self, z: Tensor) -> Tensor:
        return torch.unflatten(z, 1, (-1, self.group))

    def _spread(self, ratio: Tensor) -> Tensor:
        return ratio if self.group == 1 else ratio.repeat_interleave(self.group, 1)


def filtered(x: Tensor, kernel: Tensor, padding: str, act: Callable[[int, Tensor], Tensor]) -> Tensor:
    """``W^T act(W x)``, by strips where no gradient is taken on a CPU.

    Args:
        x: Images.
        kernel: Of W.
        padding: Of W.
        act: As of :func:`by_strips`.
    """
    rows = STRIP // max(1, len(x) * len(kernel) * x.shape[-1])
    if padding != "circular" and not (torch.is_grad_enabled() or x.is_cuda) and rows < x.shape[-2]:
        return by_strips(x, kernel, padding, max(rows, LEAST_ROWS), act)
    return synthesise(act(0, analyse(x, kernel, padding)), kernel, padding, _size(x))


def by_strips(x: Tensor, kernel: Tensor, padding: str, rows: int, act: Callable[[int, Tensor], Tensor]) -> Tensor:
    """``W^T act(W x)`` with the responses of a few rows at a time, which stay in the cache: half the time at 512 x 512.

    Args:
        x: Images.
        kernel: Of W.
        padding: ``"zero"`` or ``"valid"``.
        rows: Of responses at a time.
        act: From the first row of some responses, and these, to others of their shape.
    """
    reach, size = kernel.shape[-1] // 2, kernel.shape[-1] - 1
    padded = functional.pad(x, (reach, reach, reach, reach)) if padding == "zero" else x
    total = torch.zeros_like(padded)
    for top in range(0, padded.shape[-2] - size, rows):
        strip = padded[..., top : top + rows + size, :]
        responses = act(top, analyse(strip, kernel, "valid"))
        total[..., top : top + rows + size, :] += synthesise(responses, kernel, "valid", _size(strip))
    return total[..., reach:-reach, reach:-reach] if padding == "zero" and reach else total


def _length(grouped: Tensor) -> Tensor:
    """The Euclidean length over dimension 2, at least tiny; written without ``norm``, which is slow there."""
    total: Tensor | None = None
    for part in grouped.unbind(2):
        total = part.square() if total is None else total.addcmul(part, part)
    assert total is not None  # noqa: S101  a group has at least one member
    return total.clamp(min=torch.finfo(total.dtype).tiny).sqrt()


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
