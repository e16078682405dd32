"""A user's own loss, metric, operator and dataset in a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from recon.errors import InputError, UsageError
from recon.operators.symmetries import turned
from recon.priors.networks.learned_resolvent import LARGEST
from recon.training.losses import Loss
from recon.types import LinearOperator

Metric = Callable[[Tensor, Tensor], float]
"""From an image found and the clean one, (1, channels, height, width), to a number, the higher the better."""


@final
@dataclass(frozen=True)
class Own:
    """In place of what a recipe names; ``None``: what it names.

    Attributes:
        loss: Compares images found with clean ones.
        metric: By which validation images are judged, and the training ends early; ``None``: PSNR in dB.
        operator: From (height, width) to the operator that ``training.mode = "equilibrium"`` undoes.
    """

    loss: Loss | None = None
    metric: Metric | None = None
    operator: Callable[[tuple[int, int]], LinearOperator] | None = None


NOTHING_OWN = Own()


class Dataset(Protocol):
    """A map-style dataset, as of ``torch.utils.data``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@final
class DatasetPatches:
    """Patches of the images of a dataset, which is asked for each anew: what it draws at random stays random.

    Args:
        dataset: Its items are images (channels, height, width) on [0, 1], (frames, channels, height, width) for
            ``noise2noise``, or tuples that begin with one.
        patch: The side of a patch.
        channels: Of the network.
        augment: Whether patches are flipped and turned.

    Raises:
        InputError: The dataset is empty, or an item is no such image.
    """

    units = ""

    def __init__(self, dataset: Dataset, patch: int, channels: int, augment: bool) -> None:
        self.dataset, self.patch, self.channels, self.augment = dataset, patch, channels, augment
        self.count = len(dataset)
        if not self.count:
            raise InputError("the dataset for training is empty; expected at least one image.")
        self.pixels = self.count * image_of(dataset[0], channels, patch)[0, 0].numel()

    def draw(self, count: int, generator: torch.Generator, frames: int = 1) -> Tensor:
        """Patches; see :meth:`recon.training.Patches.draw`."""
        return torch.stack([self._one(generator, frames) for _ in range(count)], 1)

    def _one(self, generator: torch.Generator, frames: int) -> Tensor:
        index = int(torch.randint(self.count, (1,), generator=generator))
        image = image_of(self.dataset[index], self.channels, self.patch)
        if len(image) < frames:
            raise InputError(
                f"item {index} of the dataset has {len(image)} frames; expected at least {frames}, (frames, channels, "
                "height, width), for noise2noise."
            )
        top, left = (int(torch.randint(size - self.patch + 1, (1,), generator=generator)) for size in image.shape[-2:])
        way = int(torch.randint(8, (1,), generator=generator))
        chosen = torch.randperm(len(image), generator=generator)[:frames]
        patch = image[chosen, :, top : top + self.patch, left : left + self.patch]
        return turned(patch, way if self.augment else 0)

    def fingerprint(self) -> str:
        """Return what tells it from another dataset, as far as that can be told without reading it all."""
        return f"{type(self.dataset).__qualname__} of {self.count}"


def image_of(item: Any, channels: int, least: int) -> Tensor:
    """The image of an item of a dataset, (frames, channels, height, width) in single precision.

    Raises:
        InputError: It is no image of so many channels, or smaller than a patch.
    """
    given = item[0] if isinstance(item, tuple | list) else item
    image = torch.as_tensor(given)
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or not image.is_floating_point() or image.shape[1] != channels or min(image.shape[2:]) < least:
        raise InputError(
            f"an item of the dataset is {tuple(image.shape)} of {image.dtype}; expected floating point on [0, 1], "
            f"({channels}, height, width), of at least {least} x {least} pixels."
        )
    largest = float(image.abs().max())
    if not largest <= LARGEST:
        raise InputError(
            f"an item of the dataset has values up to {largest:.4g}; expected about [0, 1], as networks need."
        )
    return image.float()


def validation_images(
    dataset: Dataset | Sequence[Tensor], channels: int, count: int, crop: int, frames: int = 1
) -> list[Tensor]:
    """The middles of the first images of a dataset, each (frames, channels, height, width).

    Raises:
        UsageError: There is none.
        InputError: One has fewer frames.
    """
    found = []
    for index in range(min(count, len(dataset))):
        image = image_of(dataset[index], channels, 1)[:frames]
        if len(image) < frames:
            raise InputError(f"item {index} for validation has {len(image)} frame; expected {frames} of one scene.")
        top, left = ((size - min(size, crop)) // 2 for size in image.shape[-2:])
        found.append(image[..., top : top + crop, left : left + crop])
    if not found:
        raise UsageError("there are no images for validation; expected at least one.")
    return found
