"""Sparse training: after each step of Adam the proximity operator of a penalty, in the metric of that step.

The objective is F(W) = loss(W) + l P(W), with P the l1 norm or the sum of the norms of filters, or the indicator of few
weights. A step of Adam minimises ``<g, W> + sum_i (W_i - V_i)^2 / (2 d_i)`` with its own ``d_i = rate / (sqrt(v_i) +
e)``; with l P added to that (proximal Adam; Yun, Lozano, Yang 2021, *Adaptive proximal gradient methods for structured
neural networks*), the minimiser is the proximity operator of ``l P`` at Adam's point in the metric diag(1/d):

- *soft*: ``sign(z) max(|z| - l d, 0)``, each weight by itself;
- *group*: ``z_i n / (n + l d_i)`` with n, the norm of the result, the root of ``sum_i z_i^2 / (n + l d_i)^2 = 1``, and
  0 where ``sum_i (z_i / (l d_i))^2 <= 1``;
- *hard*: the projection onto tensors of few weights: the largest stay.

The kernels of a potential are composed and divided by their norm, so their own size has no effect, and a penalty would
shrink it for nothing: after the step each is brought back to the norm that it had, and P is that of kernels of this
norm. The tie of analysis and synthesis is kept, and so is the proof.
"""

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from recon.priors.networks import ConvexRidge, Network
from recon.training.tables import SparsityConfig

_ROOTS = 60
"""Halvings of the interval of a root: more digits than double precision has."""


@final
@dataclass
class Sparsity:
    """The proximal steps of a training.

    Attributes:
        config: What is asked for.
        kernels: The parameters that become sparse.
        tied: Whether these have no size of their own.
        total: The sum of F over the steps since the last look.
        count: How many these are.
        means: The mean of F between looks, in their order.
    """

    config: SparsityConfig
    kernels: list[nn.Parameter]
    tied: bool
    total: float = 0.0
    count: int = 0
    means: list[float] = field(default_factory=list)

    @torch.no_grad()
    def shrink(self, optimizer: torch.optim.Adam, step: int) -> None:
        """Do the proximal step after that of Adam."""
        if step < self.config.start:
            return
        for kernel in self.kernels:
            norm = kernel.norm()
            if self.config.kind == "hard":
                keep_largest(kernel, kernel.numel() - math.floor(self._share(step) * kernel.numel()))
            else:
                self._penalise(kernel, self.config.weight * metric(optimizer, kernel))
            if self.tied:
                kernel.mul_(norm / kernel.norm().clamp(min=torch.finfo(kernel.dtype).tiny))

    def _penalise(self, kernel: Tensor, size: Tensor) -> None:
        """The threshold; where it would leave nothing of a kernel without a size of its own, the largest part stays."""
        found = soft(kernel, size) if self.config.kind == "soft" else group(kernel, size)
        if self.tied and not found.any():
            parts = kernel.abs() if self.config.kind == "soft" else kernel.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            found = kernel * (parts == parts.max())
        kernel.copy_(found)

    @torch.no_grad()
    def keep_zeros(self, network: nn.Module, average: nn.Module) -> None:
        """Set to 0 in the running average of the weights what is 0 in these."""
        chosen = {id(kernel) for kernel in self.kernels}
        for mine, kept in zip(network.parameters(), average.parameters(), strict=True):
            if id(mine) in chosen:
                kept.mul_(mine != 0)

    def note(self, loss: float) -> None:
        """Add F of a step, as far as its batch tells."""
        self.total += loss + self.penalty()
        self.count += 1

    def look(self) -> None:
        """Close the mean since the last look."""
        if self.count:
            self.means.append(self.total / self.count)
        self.total, self.count = 0.0, 0

    @torch.no_grad()
    def penalty(self) -> float:
        """``l P``; of the hard threshold, which P is an indicator for, 0."""
        if self.config.kind == "soft":
            return self.config.weight * sum(float(kernel.abs().sum()) for kernel in self.kernels)
        if self.config.kind == "group":
            return self.config.weight * sum(float(kernel.flatten(1).norm(dim=1).sum()) for kernel in self.kernels)
        return 0.0

    @property
    def zeros(self) -> float:
        """The share of the weights that are 0."""
        return sum(int((kernel == 0).sum()) for kernel in self.kernels) / sum(map(torch.numel, self.kernels))

    def state(self) -> dict[str, Tensor]:
        """Everything that going on needs."""
        return {"sparsity.means": torch.tensor(self.means, dtype=torch.float64),
                "sparsity.open": torch.tensor([self.total, self.count], dtype=torch.float64)}  # fmt: skip

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        self.means = [float(each) for each in state["sparsity.means"]]
        total, count = state["sparsity.open"].tolist()
        self.total, self.count = float(total), int(count)

    def to_json(self) -> dict[str, object]:
        """What a card says: the zeros, and whether F fell between the first mean and the last."""
        fell = self.means[-1] < self.means[0] if len(self.means) > 1 else None
        return {
            "zeros": round(self.zeros, 6),
            "objective": [float(f"{each:.6g}") for each in self.means],
            "objective_fell": fell,
        }

    def _share(self, step: int) -> float:
        """The share of the hard threshold: it rises as ``1 - (1 - t)^3`` (Zhu and Gupta 2018)."""
        passed = step - self.config.start
        if passed >= self.config.ramp:
            return self.config.share
        return self.config.share * (1 - (1 - passed / self.config.ramp) ** 3)


def sparsity_of(config: SparsityConfig, network: Network) -> Sparsity | None:
    """The proximal steps for a network; ``None`` where none are asked for."""
    if not config.kind:
        return None
    if isinstance(network, ConvexRidge):  # the means of the first kernel are subtracted, which would fill zeros
        return Sparsity(config, list(network.filters.kernels)[1:], tied=True)
    kernels = [parameter for parameter in network.parameters() if parameter.ndim == 4]
    return Sparsity(config, kernels[:-1] if config.kind == "group" else kernels, tied=False)


def metric(optimizer: torch.optim.Adam, parameter: nn.Parameter) -> Tensor:
    """d of the last step of Adam, of the shape of the parameter."""
    part = next(each for each in optimizer.param_groups if any(own is parameter for own in each["params"]))
    state = optimizer.state[parameter]
    corrected = state["exp_avg_sq"] / (1 - part["betas"][1] ** float(state["step"]))
    found: Tensor = part["lr"] / (corrected.sqrt() + part["eps"])
    return found


def soft(z: Tensor, size: Tensor) -> Tensor:
    """The proximity operator of the l1 norm with one weight an entry."""
    return z.sign() * (z.abs() - size).clamp(min=0)


def group(z: Tensor, size: Tensor) -> Tensor:
    """The proximity operator of the norms of filters, ``(filters, ...)``, in the metric ``diag(1/size)``."""
    flat, weight = z.flatten(1).double(), size.flatten(1).double().clamp(min=1e-300)
    low, high = torch.zeros_like(flat[:, :1]), flat.norm(dim=1, keepdim=True)
    for _ in range(_ROOTS):
        middle = (low + high) / 2
        above = (flat / (middle + weight)).square().sum(1, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    gone = (flat / weight).square().sum(1, keepdim=True) <= 1
    return torch.where(gone, 0.0, flat * high / (high + weight)).view_as(z).to(z)


@torch.no_grad()
def keep_largest(tensor: Tensor, kept: int) -> None:
    """The hard threshold that leaves so many numbers, in place."""
    if kept < tensor.numel():
        tensor.mul_(tensor.abs() > tensor.abs().flatten().kthvalue(tensor.numel() - kept).values)
