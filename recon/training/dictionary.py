"""The use that a sparse coding makes of its atoms, and the atoms as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.priors.networks import ConvolutionalSparseCoding, InnerSolver, Model
from recon.report.atoms_figure import AtomPictures

_IMAGES, _SIDE = 2, 64
"""Validation images, and the pixels along a side of their middle, that are coded."""

_ACCURACY = 1e-3


@final
@dataclass(frozen=True)
class DictionaryUse:
    """The coefficients of some noisy images.

    Attributes:
        shares: For each layer, of each atom the share of its coefficients that are not zero.
        noise: The noise level.
    """

    shares: tuple[tuple[float, ...], ...]
    noise: float

    @property
    def nonzero(self) -> float:
        """The share of all coefficients that are not zero."""
        every = [share for layer in self.shares for share in layer]
        return sum(every) / len(every)

    @property
    def used(self) -> int:
        """The number of atoms with a coefficient that is not zero."""
        return sum(share > 0 for layer in self.shares for share in layer)

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "nonzero": round(self.nonzero, 6),
            "atoms": sum(map(len, self.shares)),
            "atoms_used": self.used,
            "noise": self.noise,
        }


def use_of(network: Model, images: Sequence[Tensor], levels: Sequence[float], seed: int) -> DictionaryUse | None:
    """The use of the atoms for the middles of noisy images, at the highest level; ``None`` without a dictionary.

    Args:
        network: In training, or trained.
        images: Each ``(1, channels, height, width)``.
        levels: Noise levels.
        seed: Of the noise.
    """
    if not isinstance(network, ConvolutionalSparseCoding):
        return None
    twin, level = network.frozen(torch.float32), max(levels)
    twin.solver = InnerSolver(accuracy=_ACCURACY)
    counts: list[Tensor] = []
    for index, image in enumerate(images[:_IMAGES]):
        top, left = ((size - min(size, _SIDE)) // 2 for size in image.shape[-2:])
        part = image[..., top : top + _SIDE, left : left + _SIDE].float()
        noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(seed + index))
        codes = twin.coefficients(part + level * noise, level if network.conditioned else None)
        counts.append(torch.stack([(each != 0).double().mean((0, 2, 3)) for each in codes]))
    shares = torch.stack(counts).mean(0)
    return DictionaryUse(tuple(map(tuple, shares.tolist())), level)


def pictures_of(network: ConvolutionalSparseCoding, use: DictionaryUse | None = None) -> list[AtomPictures]:
    """The atoms of each layer as pictures, those that are used most first.

    Args:
        network: The network.
        use: Of its atoms; ``None``: they are in the order in which they are stored.
    """
    found = []
    for layer, code in enumerate(network.frozen(torch.float32).codes(network.config.noise_range[1])):
        atoms, norms = code.atoms, code.atoms.square().sum((1, 2, 3)).sqrt()
        shares = None if use is None else use.shares[layer]
        order = sorted(range(len(atoms)), key=lambda index: 0.0 if shares is None else -shares[index])
        pictures = tuple((atoms[index] / norms[index]).permute(1, 2, 0).numpy() for index in order)
        title = f"{len(atoms)} atoms of {atoms.shape[-1]} x {atoms.shape[-1]} pixels"
        if len(network.dictionaries) > 1:
            title = f"layer {layer + 1}: {title}"
        if shares is not None and use is not None:
            used = sum(share > 0 for share in shares)
            title += (
                f", by use: {used} used, {100 * sum(shares) / len(shares):.2g} % of the coefficients not zero at noise "
                f"{use.noise:.3g}"
            )
        found.append(AtomPictures(title, pictures))
    return found
