"""Runs of ``recon train``: progress, signals, and how one ends that was stopped."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import terminal

if TYPE_CHECKING:
    from recon.training import Now, Outcome

TERMINATED = 143


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that did not begin."""
    with suppress(OSError):
        folder.rmdir()


def train_network(  # noqa: PLR0913, PLR0917  internal: what the options say
    recipe: Any, images: Any, output: Path, device: Any, processes: int, received: list[int], board: Path | None
) -> "Outcome":
    """Train a network, in one process or in several, and show how far it is."""
    from recon.training import Listeners, tensorboard, train, train_together

    progress = terminal.ProgressLine(output.name)
    record = (lambda now: None) if board is None else tensorboard(board)

    def watch(now: "Now") -> None:
        progress.show(_progress(now))
        record(now)

    listeners = Listeners(terminal.say, watch, lambda: bool(received))
    try:
        if processes > 1:
            return train_together(processes, recipe, images, output, device, listeners)
        return train(recipe, images, output, device, listeners)
    finally:
        progress.close()


def _progress(now: "Now") -> str:
    step = now.step
    parts = [f"step {step.number} of {now.steps}", f"loss {step.loss:.3g}"]
    if now.psnr == now.psnr:
        parts.append(f"{now.psnr:.2f} dB")
    if now.auroc == now.auroc:
        parts.append(f"AUROC {now.auroc:.3f}")
    if step.constraint == step.constraint:
        parts.append(f"||Q'|| {step.constraint:.3f}")
    minutes, seconds = divmod(round(now.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return ", ".join([*parts, f"{hours}:{minutes:02}:{seconds:02} left"])


@contextmanager
def signals() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM, so that the step ends and the state is saved; a second one stops at once."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])
        terminal.say(
            "stopping after this step; Ctrl-C once more stops at once and loses the steps since the last checkpoint"
        )

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_end(outcome: "Outcome", output: Path, received: list[int]) -> None:
    """Say how to continue a run that was stopped, and end with the exit code of the signal."""
    if getattr(outcome, "stopped_early", False):
        terminal.say(
            f"ended early, after step {outcome.step} of {outcome.steps}; the network of the best validation is kept"
        )
        return
    if outcome.step < outcome.steps:
        how = (
            f"after step {outcome.step} of {outcome.steps}; the state is saved, and recon train --resume -o {output}, "
            "with the same --data and --validation, goes on"
        )
        if signal.SIGTERM in received:
            terminal.say(f"terminated {how}")
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt(how)
