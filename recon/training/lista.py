"""Convolutional LISTA: unrolled ISTA whose back-projections are learned convolutions, and how near it is to ISTA."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.priors import SparseTerm
from recon.types import LinearOperator


@final
@dataclass(frozen=True)
class Departure:
    """The distance of one layer of LISTA from the form of ISTA, K = a A^T and b = a.

    Attributes:
        step: a, for which ``a A^T`` is nearest to K, times ||A||^2.
        kernel: ||K - a A^T|| / ||K||, of the kernels.
        threshold: |b - a| / b.
    """

    step: float
    kernel: float
    threshold: float


class ConvolutionalLista(nn.Module):
    """T layers ``x+ = prox_{b w g}(x - K (A x - y))``, K a learned circular convolution and b > 0 a learned step.

    After Gregor, LeCun (2010), with the couplings that an image asks for: of the two matrices of a layer,
    W_1 = Id - K A and W_2 = K. It begins as ISTA, K = s A^T and b = s. If it leads to the minimiser for
    every measurement, its last layers tend to the form of ISTA (Ablin, Moreau, Massias, Gramfort 2019, Theorem 1).
    Nothing is guaranteed of it.

    Args:
        operator: A, a circular convolution: its measurement has the size of the image.
        shape: (height, width).
        count: T.
        side: Of the kernels, odd.
        stepsize: s.

    Raises:
        UsageError: The side is even or larger than the image, or the measurement has another size.
    """

    def __init__(
        self, operator: LinearOperator, shape: tuple[int, int], count: int, side: int, stepsize: float
    ) -> None:
        super().__init__()
        if side % 2 == 0 or side > min(shape):
            raise UsageError(
                f"ConvolutionalLista: side={side}; expected an odd number of at most {min(shape)}, that of an image."
            )
        point = torch.zeros(1, 1, *shape, dtype=torch.float64)
        point[..., side // 2, side // 2] = 1
        measured = operator.A(point)
        if measured.shape != point.shape:
            raise UsageError(
                f"ConvolutionalLista: images of {shape} measure {tuple(measured.shape[-2:])}; expected the same size, "
                "because its layers are convolutions of the residual."
            )
        response = operator.A_adjoint(point)
        self.operator, self.stepsize, self.side = operator, stepsize, side
        self.adjoint = response[0, 0, :side, :side].clone()
        self.kernels = nn.Parameter((stepsize * self.adjoint).expand(count, side, side).clone())
        self.logarithms = nn.Parameter(torch.full((count,), stepsize, dtype=torch.float64).log())

    def forward(self, y: Tensor, start: Tensor, term: SparseTerm) -> Tensor:
        """The images after all layers."""
        x = start
        for kernel, logarithm in zip(self.kernels, self.logarithms, strict=True):
            moved = x - self._convolved(kernel, self.operator.A(x) - y)
            x = term.synthesise(term.shrink(term.analyse(moved), logarithm.exp(), x.shape), x.shape)
        return x

    def _convolved(self, kernel: Tensor, rest: Tensor) -> Tensor:
        """The circular convolution of images with a kernel that is centred."""
        reach = self.side // 2
        padded = nn.functional.pad(rest.flatten(0, 1)[:, None], (reach,) * 4, mode="circular")
        found = nn.functional.conv2d(padded, kernel.flip(0, 1)[None, None].to(padded))
        return found.reshape(rest.shape)

    @torch.no_grad()
    def departures(self) -> list[Departure]:
        """How far each layer is from the form of ISTA."""
        adjoint, found = self.adjoint, []
        for kernel, b in zip(self.kernels, self.logarithms.exp().tolist(), strict=True):
            a = float((kernel * adjoint).sum() / adjoint.square().sum())
            away = float((kernel - a * adjoint).norm() / kernel.norm())
            found.append(Departure(a / self.stepsize, away, abs(b - a) / b))
        return found


def learn_lista(
    lista: ConvolutionalLista,
    problems: Sequence[tuple[Tensor, Tensor, SparseTerm, Tensor, Tensor]],
    steps: int,
    learning_rate: float,
) -> list[float]:
    """Learn the layers on the energy itself; returns the loss of each step.

    Args:
        lista: As it begins.
        problems: Measurements, where they begin, the penalty, the least energy of each item, and what ISTA leaves
            above it.
        steps: Of Adam.
        learning_rate: Relative to the size of the kernels of ISTA.
    """
    size = float(lista.kernels.detach().abs().amax())
    groups = [
        {"params": [lista.kernels], "lr": learning_rate * size},
        {"params": [lista.logarithms], "lr": learning_rate},
    ]
    optimiser, losses = torch.optim.Adam(groups), []
    for step in range(steps):
        y, start, term, least, left = problems[step % len(problems)]
        x = lista(y, start, term)
        rest = lista.operator.A(x) - y
        energy = rest.flatten(1).square().sum(1) / 2 + term.value(term.analyse(x), x.shape)
        loss = ((energy - least) / left).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
