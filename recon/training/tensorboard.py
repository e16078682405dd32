"""The curves of a training for TensorBoard, where it is installed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recon.errors import UsageError
from recon.training.loop import Now


def tensorboard(folder: str | Path) -> Callable[[Now], None]:
    """A listener that writes loss, learning rate, constraint, orthogonality, PSNR and metric.

    ``Listeners(watch=tensorboard(folder))`` has it called after every step.

    Args:
        folder: Where TensorBoard's files go.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  it is no dependency
    except ImportError as error:
        raise UsageError(
            "tensorboard: TensorBoard is not installed; expected it, as pip install tensorboard brings it."
        ) from error
    writer: Any = SummaryWriter(str(folder))

    def watch(now: Now) -> None:
        step = now.step
        curves = {"loss": step.loss, "learning rate": step.rate, "constraint": step.constraint}
        curves |= {"orthogonality": step.orthogonality}
        curves |= {"validation/psnr": now.psnr, "validation/metric": now.metric}
        for name, value in curves.items():
            if math.isfinite(value):
                writer.add_scalar(name, value, step.number)
        if step.number == now.steps:
            writer.flush()

    return watch
