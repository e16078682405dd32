"""Tensors with many zeros in a file of weights: a bit for each number that says where one is, and those that are not 0.

A tensor NAME becomes ``NAME.places``, the bits in the order of the numbers, the first the lowest of its byte, and
``NAME.values``. Which shape it has the architecture says.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from recon.errors import InputError

PLACES, VALUES = ".places", ".values"

_WORTH = 0.75
"""Of the bytes: a tensor is packed where that leaves less."""


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those with many zeros packed."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().flatten()
        mask = flat != 0
        size = flat.element_size()
        if int(mask.sum()) * size + len(flat) / 8 < _WORTH * len(flat) * size:
            found[name + PLACES] = torch.from_numpy(np.packbits(mask.numpy(), bitorder="little"))
            found[name + VALUES] = flat[mask]
        else:
            found[name] = tensor
    return found


def unpack(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], origin: str) -> dict[str, Tensor]:
    """The tensors of a file, as :func:`pack` was given them.

    Args:
        tensors: Of the file, which is not trusted.
        shapes: Of the tensors of the architecture, which bound what is allocated.
        origin: What an error begins with.

    Raises:
        InputError: Places and values of a tensor do not go together.
    """
    found = dict(tensors)
    for name, shape in shapes.items():
        places, values = found.pop(name + PLACES, None), found.pop(name + VALUES, None)
        if places is None and values is None:
            continue
        if places is None or values is None or name in tensors:
            raise InputError(
                f"{origin}: the tensor {name!r} is packed and lacks its places or its values, or is there twice; "
                "expected both, once."
            )
        found[name] = _unpacked(name, places, values, shape, origin)
    return found


def _unpacked(name: str, places: Tensor, values: Tensor, shape: torch.Size, origin: str) -> Tensor:
    count = shape.numel()
    if places.dtype != torch.uint8 or tuple(places.shape) != (-(-count // 8),) or values.ndim != 1:
        raise InputError(
            f"{origin}: the places of the packed tensor {name!r} have shape {tuple(places.shape)} and type "
            f"{places.dtype}; expected {-(-count // 8)} bytes, a bit for each of its {count} numbers."
        )
    bits = np.unpackbits(places.numpy(), bitorder="little")
    if bits[count:].any() or int(bits.sum()) != len(values):
        raise InputError(
            f"{origin}: the packed tensor {name!r} has {int(bits[:count].sum())} places and {len(values)} values; "
            "expected as many."
        )
    flat = torch.zeros(count, dtype=values.dtype)
    flat[torch.from_numpy(bits[:count]).bool()] = values
    return flat.view(shape)
