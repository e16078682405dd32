"""Executors of tasks: in this process, in worker processes of this machine, or on a Dask cluster; one code path."""

import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from typing import Any

from recon.batch.plan import with_absolute_names
from recon.batch.task import Outcome, Task
from recon.errors import DeviceError, UsageError

ATTEMPTS = 3
"""How often a task is begun whose worker dies: others may have been the reason."""

_CONNECT_SECONDS = 15.0
_LOST_SECONDS, _POLL_SECONDS, _CLOSE_SECONDS = 30.0, 2.0, 5.0
_WATCH_SECONDS = 0.2


def in_processes(tasks: Iterator[Task], jobs: int, count: int | None = None) -> Iterator[tuple[Task, Outcome]]:
    """Do tasks in worker processes, each with its share of the threads; yield them as they end.

    The workers start while the first task is made, which takes as long. A worker that dies takes no task with it: those
    that were under way are begun again.

    Args:
        tasks: The tasks, made as they are needed.
        jobs: Worker processes.
        count: How many tasks there are at most; ``None``: not known.
    """
    attempts: dict[str, int] = {}
    again: list[Task] = []
    begun = False
    while True:
        pool = ProcessPoolExecutor(
            jobs,
            multiprocessing.get_context("spawn"),  # a fork of a process with threads may wait for ever
            initializer=_start_worker,
            initargs=(max(1, (os.cpu_count() or 1) // jobs), os.getpid()),
        )
        lost: list[Task] = []
        try:
            if not begun:
                for _ in range(jobs if count is None else min(jobs, count)):
                    pool.submit(_get_ready)
                again, begun = list(itertools.islice(tasks, 1)), True
                if not again:  # all were refused, and nobody waits for what the workers load
                    _end(pool)
                    return
            yield from _through(pool, itertools.chain(again, tasks), jobs, lost)
        except BaseException:
            _end(pool)
            raise
        pool.shutdown(wait=not lost, cancel_futures=True)
        if not lost:
            return
        again = []
        for task in lost:
            attempts[task.label] = attempts.get(task.label, 0) + 1
            if attempts[task.label] < ATTEMPTS:
                again.append(replace(task, again=True))
                continue
            sentence = f"{task.label}: the worker process ended {ATTEMPTS} times; perhaps memory ran out."
            yield task, Outcome(task.label, "failed", error=sentence, exit_code=1)


def on_cluster(tasks: Iterator[Task], address: str) -> Iterator[tuple[Task, Outcome]]:
    """Do tasks on a Dask cluster; yield them as they end. The scheduler begins those of a worker that dies again.

    Args:
        tasks: The absolute names of their files must mean the same on all machines.
        address: Of the scheduler, such as ``tcp://HOST:8786``.

    Raises:
        UsageError: The package is not installed.
        DeviceError: There is no scheduler, no worker, or the connection is lost.
    """
    try:
        import distributed  # noqa: PLC0415  an optional extra
    except ImportError:
        raise UsageError(
            f"--scheduler {address}: the packages dask and distributed are not installed; expected recon[distributed]."
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError, TypeError):
        raise DeviceError(
            f"--scheduler {address}: no Dask scheduler answers there; expected the address "
            "that it printed when it was started, such as tcp://HOST:8786."
        ) from None
    with _without_logs(), _closed_in_the_end(client):
        workers = sum(client.nthreads().values())
        if not workers:
            raise DeviceError(f"--scheduler {address}: the cluster has no worker; expected one at least.")
        once = (replace(_absolute(task), again=True) for task in tasks)  # the scheduler may begin one again
        while True:
            lost: list[Task] = []
            yield from _through(client.get_executor(pure=False), once, workers, lost, _connection(client))
            if not lost:
                return
            if client.status != "running":
                raise DeviceError(
                    f"--scheduler {address}: the connection to the cluster was lost; what is done is kept, and the "
                    "same command goes on from there."
                )
            for task in lost:
                sentence = f"{task.label}: its workers died again and again; perhaps memory ran out."
                yield task, Outcome(task.label, "failed", error=sentence, exit_code=1)


def _connection(client: Any) -> Callable[[], bool]:
    """Return a test of a connection, which may be lost for a while before it counts as lost."""
    seen = [time.monotonic()]

    def holds() -> bool:
        if client.status == "running":
            seen[0] = time.monotonic()
        return time.monotonic() - seen[0] < _LOST_SECONDS

    return holds


@contextlib.contextmanager
def _closed_in_the_end(client: Any) -> Iterator[None]:
    """Close a client without waiting for a scheduler that is gone."""
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=_CLOSE_SECONDS)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Without the tracebacks by which the packages tell of a connection that is lost: it is said in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _absolute(task: Task) -> Task:
    """A task whose files have names that mean the same in another working directory."""
    return replace(
        task,
        source=replace(task.source, path=task.source.path.resolve()),
        output=task.output.resolve(),
        config=with_absolute_names(task.config),
        figure=None if task.figure is None else task.figure.resolve(),
    )


def _through(
    executor: Executor,
    tasks: Iterator[Task],
    width: int,
    lost: list[Task],
    connected: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Task, Outcome]]:
    """Keep an executor busy with tasks that are made as they are needed; those that it loses are put into ``lost``."""
    running: dict[Future[Outcome], Task] = {}
    more = True
    while more or running:
        while more and len(running) < 2 * width and not lost:
            task = next(tasks, None)
            if task is None:
                more = False
                break
            try:
                running[executor.submit(_do, task)] = task
            except RuntimeError:  # a pool that is broken takes no more
                lost.append(task)
        done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        if not done and not connected():
            lost.extend(running.values())
            return
        for future in done:
            task = running.pop(future)
            try:
                outcome = future.result()
            except Exception:  # the worker died, or the cluster gave up
                lost.append(task)
            else:
                yield task, outcome
        if lost and not running:
            return


def _get_ready() -> None:
    """Load in a worker what tasks need."""
    import recon.batch.work  # noqa: PLC0415, F401  brings torch


def _do(task: Task) -> Outcome:
    from recon.batch.work import do_task  # noqa: PLC0415  brings torch, which the parent may not need

    return do_task(task)


def _start_worker(threads: int, parent: int) -> None:
    """Leave Ctrl-C to the parent, end with it, and use no more than a share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    import torch  # noqa: PLC0415

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].split(",")[0]))


def _end_with(parent: int) -> None:
    """End this process when its parent has: else it would wait for ever, or write where another run does."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers of a pool without waiting for what they do."""
    processes: dict[Any, Any] = dict(getattr(pool, "_processes", None) or {})
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.join()


Runner = Callable[[Iterator[Task]], Iterator[tuple[Task, Outcome]]]
"""What does tasks and yields them as they end."""
