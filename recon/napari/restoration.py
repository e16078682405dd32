"""Restoration of the pixels of a layer, without napari: pixels, place and verdict of the new layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recon.errors import UsageError
from recon.front.one_call import reconstruct
from recon.io import Array

Progress = Callable[[int, int, float], None]
"""Called with the step, the budget and the estimated distance to the limit."""

_COLOURS, _WITH_OPACITY = 3, 4


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        operator: As ``--operator``.
        prior: As ``--prior``; empty: the default.
        noise: As ``--noise``; empty: estimated.
        iterations: The budget of steps.
    """

    operator: str = "identity"
    prior: str = ""
    noise: str = ""
    iterations: int = 1000


@dataclass(frozen=True, eq=False)
class Restored:
    """A new layer.

    Attributes:
        data: Its pixels, with the axes and in the units of the measured layer.
        verdict: How the run ended and what is guaranteed, for a notification.
        metadata: The same as plain values, for the layer.
    """

    data: Array = field(repr=False)
    verdict: str
    metadata: dict[str, Any]


def restore(data: Any, request: Request, rgb: bool = False, progress: Progress | None = None) -> Restored:
    """Restore the pixels of a layer, each plane on its own.

    Args:
        data: An array (..., height, width), or (..., height, width, 3 or 4) of colours; lazy ones are computed.
        request: What to do.
        rgb: Whether the last axis is that of colours; a fourth is opacity and kept as it is.
        progress: Called as the run goes on; raising ``KeyboardInterrupt`` there ends it.

    Raises:
        ReconError: What does not fit, in one sentence.
        KeyboardInterrupt: The run was ended.
    """
    pixels = np.asarray(data)
    trailing = 3 if rgb else 2
    if pixels.ndim < trailing or (rgb and pixels.shape[-1] not in (_COLOURS, _WITH_OPACITY)):
        raise UsageError(
            f"The layer has the shape {pixels.shape}; expected (..., height, width), or with 3 or 4 colours behind."
        )
    if pixels.dtype.kind == "b":
        raise UsageError("The layer holds true and false; expected grey values.")
    opacity = pixels[..., _COLOURS:] if rgb else pixels[..., :0]
    colours = pixels[..., :_COLOURS] if rgb else pixels
    leading, plane = colours.shape[:-trailing], colours.shape[-trailing:]
    done = reconstruct(
        np.ascontiguousarray(colours.reshape(-1, *plane)),
        request.operator.strip() or "identity",
        request.prior.strip() or None,
        noise=request.noise.strip() or None,
        iterations=request.iterations,
        axes="FHWC" if rgb else "FHW",
        progress=progress,
    )
    found = np.asarray(done.image)
    found = found.reshape(*leading, *found.shape[1:])
    if opacity.shape[-1:] == (1,) and opacity.shape[:-1] == found.shape[:-1]:
        found = np.concatenate([found, opacity], axis=-1)
    verdict = str(done)
    metadata = {
        "verdict": verdict,
        "status": done.status.value,
        "steps": done.steps,
        "distance": done.distance.to_json(),
        "certificate": done.certificate.to_json(),
        "noise": done.noise,
        "remarks": list(done.remarks),
        "operator": request.operator,
        "prior": request.prior,
    }
    return Restored(found, verdict, {"recon": metadata})


def place(
    scale: Sequence[float], translate: Sequence[float], before: tuple[int, int], after: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The scale and the position of a result that covers the field of its measurement.

    A layer's position is that of the middle of its first pixel. An enlarged result has smaller pixels; one that is
    larger by the border of a kernel has as large ones, and the same middle.

    Args:
        scale: Of the measured layer, an entry for each axis, the last two of rows and columns.
        translate: Its position.
        before: (height, width) of the measurement.
        after: (height, width) of the result.
    """
    sizes, places = list(map(float, scale)), list(map(float, translate))
    for axis, old, new in zip((-2, -1), before, after, strict=True):
        if new == old:
            continue
        factor = new // old if new % old == 0 else 1
        own = sizes[axis] / factor
        places[axis] += (own - sizes[axis]) / 2 if factor > 1 else -own * (new - old) / 2
        sizes[axis] = own
    return tuple(sizes), tuple(places)
