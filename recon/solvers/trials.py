"""Trials of the norms of linear maps: inputs with their images, of which the best combination is sought."""

import torch
from torch import Tensor

from recon.solvers.krylov import inner, norms, quotient, spread

_DEPENDENT = 1e-6
"""Of the squares of the lengths of trials: less is rounding of those that are nearly combinations of others."""


class Trials:
    """Inputs of a batch of linear maps, each item of its own map, and their images.

    As the pairs are exact, whatever is made of them is a lower bound of the norms of the maps.
    """

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []
        self._images: list[Tensor] = []

    def add(self, inputs: Tensor, images: Tensor) -> None:
        """Add an input of each map, (batch, ...), and its image, (batch, ...)."""
        self._inputs.append(inputs)
        self._images.append(images)

    def longest(self) -> tuple[Tensor, Tensor]:
        """Of each map the input of norm one, among combinations, with the longest image; and that image."""
        lengths, basis = torch.linalg.eigh(_gram(self._inputs))
        kept = lengths > _DEPENDENT * lengths[:, -1:]
        basis = basis * torch.where(kept, lengths, 1.0).rsqrt()[:, None] * kept[:, None]
        weights = (basis @ torch.linalg.eigh(basis.mT @ _gram(self._images) @ basis).eigenvectors[:, :, -1:])[:, :, 0]
        length = norms(_combined(weights, self._inputs))
        weights = weights * quotient(torch.ones_like(length), length)[:, None]
        return _combined(weights, self._inputs), _combined(weights, self._images)

    def nearest(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Of each map the combination of inputs that is nearest to what is wanted, and its image; zero of none."""
        if not self._inputs:
            return torch.zeros_like(wanted), torch.zeros_like(wanted)
        right = torch.stack([inner(part, wanted) for part in self._inputs], 1)
        inverse = torch.linalg.pinv(_gram(self._inputs), rtol=_DEPENDENT, hermitian=True)
        weights = (inverse @ right[:, :, None])[:, :, 0]
        return _combined(weights, self._inputs), _combined(weights, self._images)


def _gram(items: list[Tensor]) -> Tensor:
    """Re <a, b> of all pairs, (batch, items, items), in double precision; zero where one is not finite."""
    found = torch.stack([torch.stack([inner(a, b) for b in items], 1) for a in items], 1)
    return torch.nan_to_num((found + found.mT) / 2, nan=0.0, posinf=0.0, neginf=0.0)


def _combined(weights: Tensor, items: list[Tensor]) -> Tensor:
    return sum((spread(weights[:, k], item) * item for k, item in enumerate(items)), torch.zeros_like(items[0]))
