"""Training by several processes of one machine: this one, and others that it starts and ends."""

import contextlib
import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import distributed

from recon.errors import DeviceError, ReconError, UsageError
from recon.training.config import Recipe
from recon.training.group import Group
from recon.training.loop import Listeners, Outcome
from recon.training.run import Images, train

_PATIENCE = 20.0
"""Seconds that the others have for their way out."""


def train_together(  # noqa: PLR0913, PLR0917  as train, and by how many
    processes: int,
    recipe: Recipe,
    images: Images,
    folder: Path,
    device: torch.device,
    listeners: Listeners,
) -> Outcome:
    """Train as :func:`recon.training.train`, each batch shared among processes: the result is the same to rounding.

    On CUDA devices process k computes on the device k; on the CPU they divide the threads among themselves.

    Raises:
        UsageError: There are more processes than patches in a batch.
        DeviceError: There are fewer devices than processes, or another process died.
    """
    if processes > recipe.training.batch:
        raise UsageError(
            f"{processes} processes for training.batch = {recipe.training.batch}; expected at most as many, because "
            "each takes a share of every batch."
        )
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise DeviceError(
            f"{processes} processes for {torch.cuda.device_count()} CUDA devices; expected one each, or --device cpu."
        )
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place:
        meeting = f"file://{place}/meeting"
        others = _start(processes, meeting, max(1, threads // processes), (recipe, images, folder, device.type))
        try:
            torch.set_num_threads(max(1, threads // processes))
            with _joined(0, processes, meeting, device.type) as group:
                return train(recipe, images, folder, _own(device.type, 0), listeners, group)
        except RuntimeError as error:
            raise DeviceError(
                f"{folder}: one of the {processes} processes has died ({str(error).splitlines()[0]}); --resume goes "
                "on from the last checkpoint."
            ) from error
        finally:
            torch.set_num_threads(threads)
            _end(others)


def _start(processes: int, meeting: str, threads: int, task: tuple[Recipe, Images, Path, str]) -> list[BaseProcess]:
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of torch
    others: list[BaseProcess] = []
    for rank in range(1, processes):
        others.append(context.Process(target=_work, args=(rank, processes, meeting, threads, task), daemon=True))
        others[-1].start()
    return others


def _end(others: list[BaseProcess]) -> None:
    for process in others:
        if process.exitcode is None:
            process.join(_PATIENCE)
        if process.exitcode is None:
            process.terminate()
            process.join()


def _work(rank: int, processes: int, meeting: str, threads: int, task: tuple[Recipe, Images, Path, str]) -> None:
    """Run one of the other processes; whatever goes wrong in its part, the first one says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first one decides
    torch.set_num_threads(threads)
    recipe, images, folder, kind = task
    with contextlib.suppress(ReconError, RuntimeError), _joined(rank, processes, meeting, kind) as group:
        train(recipe, images, folder, _own(kind, rank), group=group)


@contextlib.contextmanager
def _joined(rank: int, processes: int, meeting: str, kind: str) -> Iterator[Group]:
    backend = "nccl" if kind == "cuda" else "gloo"
    if kind == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    try:
        yield Group(rank, processes, _own(kind, rank))
    finally:
        distributed.destroy_process_group()


def _own(kind: str, rank: int) -> torch.device:
    return torch.device("cuda", rank) if kind == "cuda" else torch.device("cpu")
