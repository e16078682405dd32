"""Networks that are a chain of layers with a small reach, evaluated a strip of rows at a time.

A layer of reach r needs, for one row of its image, r rows on either side. So it can take a strip of rows, give all but
the last r rows of its image, and keep 2 r rows for the next strip: nothing but these is computed twice, and no more is
held at once than a strip of features, whatever the size of the image. It is faster too, as a strip stays in the cache
and its memory is used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.types import Map

_HELD, _HELD_ON_GPU = 2**21, 2**26
"""Features that a strip has: 8 MiB in single precision, and enough to keep a GPU busy.

Of 16, 32, 64 and 128 rows, a DnCNN of 64 features on 512 x 512 pixels takes the least with 32 and 64.
"""

_LEAST_ROWS = 32


@final
@dataclass(frozen=True)
class Stage:
    """A layer, which continues what it is given by zeros or periodically, and its reach in rows."""

    apply: Map
    reach: int


def through(stages: Sequence[Stage], x: Tensor, features: int, padding: str) -> Tensor:
    """The image of ``x`` under one stage after the other; by strips where no gradient is taken.

    Args:
        stages: The layers.
        x: ``(batch, channels, height, width)``.
        features: The most channels between the layers.
        padding: How each stage continues what it is given: ``"zero"`` or ``"circular"``.
    """
    total, most = sum(stage.reach for stage in stages), max(stage.reach for stage in stages)
    held = _HELD if x.is_cpu else _HELD_ON_GPU
    row = max(1, features * x.shape[-1])
    rows = max(held // row, _LEAST_ROWS, total + 2 * most + 1)
    items = max(1, held // (row * min(rows, max(1, x.shape[-2]))))
    if torch.is_grad_enabled() or (x.shape[-2] <= rows and len(x) <= items):
        return _chained(stages, x)
    return torch.cat([_item(stages, some, rows, padding, total) for some in torch.split(x, items)])


def _chained(stages: Sequence[Stage], x: Tensor) -> Tensor:
    for stage in stages:
        x = stage.apply(x)
    return x


def _item(stages: Sequence[Stage], x: Tensor, rows: int, padding: str, total: int) -> Tensor:
    height = x.shape[-2]
    if height <= rows:
        return _chained(stages, x)
    if padding == "zero":
        return _by_strips(stages, x, rows)
    around = torch.cat([x[..., height - total :, :], x, x[..., :total, :]], 2)  # then the ends are no one's neighbours
    return _by_strips(stages, around, rows)[..., total : total + height, :]


def _by_strips(stages: Sequence[Stage], x: Tensor, rows: int) -> Tensor:
    kept: list[Tensor | None] = [None] * len(stages)
    done, strips = [], torch.split(x, rows, 2)
    for number, strip in enumerate(strips, start=1):
        z = strip
        for index, stage in enumerate(stages):
            z, kept[index] = _advanced(stage, kept[index], z, number == len(strips))
        done.append(z)
    return torch.cat(done, 2)


def _advanced(stage: Stage, kept: Tensor | None, strip: Tensor, last: bool) -> tuple[Tensor, Tensor | None]:
    """The rows of the image that are known with one more strip, and the rows that the next one needs."""
    known = strip if kept is None else torch.cat([kept, strip], 2)
    image, reach = stage.apply(known), stage.reach
    top, bottom = 0 if kept is None else reach, image.shape[2] - (0 if last else reach)
    return image[:, :, top:bottom], None if last else _copied(known[:, :, known.shape[2] - 2 * reach :])


def _copied(rows: Tensor) -> Tensor:
    """A copy in the same layout, lest all the strip be held."""
    last = rows.stride(1) == 1 and rows.shape[1] > 1
    return rows.clone(memory_format=torch.channels_last if last else torch.contiguous_format)
