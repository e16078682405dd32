"""Random monotone problems whose solutions and iterations are matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

PRIMAL, DUAL = 3, 4
EYE = torch.eye(PRIMAL + DUAL, dtype=torch.float64)


def draw(seed):
    """A function from shapes to standard normal tensors."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


def uniform(random, low, high):
    """A number whose logarithm is uniform."""
    return low * (high / low) ** torch.special.ndtr(random(1)).item()


def monotone(random, size, strong):
    """A matrix with the symmetric part strong Id: a resolvent that is no proximity operator."""
    skew = random(size, size)
    return skew - skew.T + strong * EYE[:size, :size]


@dataclass
class Saddle:
    """0 in G x + g + H^T H x + V^T u, 0 in N u + n - A x, with the steps s and t."""

    A: Tensor
    V: Tensor
    G: Tensor
    N: Tensor
    H: Tensor
    g: Tensor
    n: Tensor
    s: float
    t: float

    @property
    def smooth(self):
        return self.H.T @ self.H

    def solution(self, back):
        """(x, u), with ``back`` for V."""
        system = torch.cat([torch.cat([self.G + self.smooth, back.T], 1), torch.cat([-self.A, self.N], 1)])
        both = torch.linalg.solve(system, -torch.cat([self.g, self.n]))
        return both[None, :PRIMAL], both[None, PRIMAL:]

    def gradient(self, x):
        return x @ self.smooth

    def resolvent(self, v):
        return (v - self.s * self.g) @ torch.linalg.inv(EYE[:PRIMAL, :PRIMAL] + self.s * self.G).T

    def dual_resolvent(self, v):
        return (v - self.t * self.n) @ torch.linalg.inv(EYE[:DUAL, :DUAL] + self.t * self.N).T

    def back(self, u):
        return u @ self.V

    def spectral_radius(self):
        """Of the linear part of a step of Condat-Vu."""
        (dual, primal), unit = self.A.shape, torch.eye(sum(self.A.shape), dtype=torch.float64)
        J = torch.linalg.inv(unit[:primal, :primal] + self.s * self.G)
        R = torch.linalg.inv(unit[:dual, :dual] + self.t * self.N)
        p = torch.cat([J @ (unit[:primal, :primal] - self.s * self.smooth), -self.s * J @ self.V.T], 1)
        q = R @ (unit[primal:] + self.t * self.A @ (2 * p - unit[:primal]))
        return torch.linalg.eigvals(torch.cat([p, q])).abs().max().item()


def saddle(seed, primal, dual):
    """A saddle problem with the given strong monotonicity of G and N, any mismatch and any steps."""
    random = draw(seed)
    A = random(DUAL, PRIMAL)
    V = A + uniform(random, 1e-2, 2.5) * random(DUAL, PRIMAL)
    G, N = monotone(random, PRIMAL, primal), monotone(random, DUAL, dual)
    H = 0.5 * (seed % 2) * random(2, PRIMAL)
    return Saddle(A, V, G, N, H, random(PRIMAL), random(DUAL), uniform(random, 0.02, 1), uniform(random, 0.02, 1))
