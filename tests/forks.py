"""Programs as processes of their own that begin with the imports done: forks of a server that has loaded them once.

A fork has its own folder, streams, signals and exit code, as if the program had been started; what it spares are the
two seconds in which a new process imports torch. How a program starts is seen by what starts it anew: the README and
the quickstart, ``tests/cli/test_before_torch.py``, ``test_threads.py`` and ``test_command.py``.
"""

import atexit
import contextlib
import functools
import itertools
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import types
import unittest.mock
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

ALONE = {"NUMBA_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
"""The environment of a program: beside another, two threads of compiled loops take five times as long as one."""

LOADED = (
    "torch", "numba", "scipy.optimize", "scipy.sparse.linalg", "matplotlib.pyplot", "matplotlib.backends.backend_agg",
    "pydicom", "recon.reconstruction.run", "recon.reconstruction.tiles.solve", "recon.batch.run", "recon.front",
    "recon.training", "recon.evaluation", "recon.uncertainty", "recon.report.page", "recon.packing",
    "recon.factorization", "recon.compression", "recon.cli.solve",
)  # fmt: skip
"""What the server imports; nothing of it computes, so that the server has one thread when it forks."""

CONTEXT = multiprocessing.get_context("forkserver")
"""Whose processes are such forks too: for what starts processes of its own."""

CONTEXT.set_forkserver_preload(list(LOADED))


def command(arguments: Sequence[str]) -> None:
    """The ``recon`` command."""
    from recon.cli.main import main  # noqa: PLC0415

    sys.argv = ["recon", *arguments]
    main()


def text(program: str) -> None:
    """``python -c``."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = ["-c"]
    sys.path.insert(0, "")
    exec(compile(program, "<string>", "exec"), module.__dict__)  # noqa: S102


def script(path: str) -> None:
    """``python FILE``."""
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).resolve().parent))
    runpy.run_path(path, run_name="__main__")


def module(arguments: Sequence[str]) -> None:
    """``python -m``."""
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _begin(
    program: Callable[..., None], argument: object, environment: dict[str, str], streams: Sequence[Path],
    new_session: bool,
) -> None:  # fmt: skip
    if new_session:
        os.setsid()
    for number, path in enumerate((Path(os.devnull), *streams)):
        with path.open("wb" if number else "rb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()  # that of the server is of the first test that forked
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which what a shell runs in the background ignores
    matplotlib.use("Agg")
    program(argument)


_numbers = itertools.count()


@functools.cache
def _folder() -> Path:
    """Where forks write what they say; not of the test, whose folder is not to have files of this module."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Fork:
    """A running program, with what the tests use of ``subprocess.Popen``."""

    def __init__(
        self, program: Callable[..., None], argument: object, cwd: Path | None = None, start_new_session: bool = False
    ) -> None:
        number = next(_numbers)
        self._streams = [_folder() / f"{number}.{name}" for name in ("out", "err")]
        arguments = (program, argument, os.environ | ALONE, self._streams, start_new_session)
        self._process = CONTEXT.Process(target=_begin, args=arguments)
        with contextlib.chdir(cwd or Path.cwd()):  # a fork begins in the folder of who asks for it
            self._start()
        self.pid = self._process.pid or 0

    def _start(self) -> None:
        ours = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")  # else the fork imports the module of this process
        try:
            with unittest.mock.patch.dict(os.environ, ALONE):  # which the server reads when it starts
                self._process.start()
        finally:
            sys.modules["__main__"] = ours

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (path.read_text() for path in self._streams)
        return out, err

    def said(self) -> str:
        """What it has written to standard error until now."""
        return self._streams[1].read_text() if self._streams[1].exists() else ""

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> "Fork":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def run(program: Callable[..., None], argument: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Wait for a program; its exit code and what it said."""
    with Fork(program, argument, cwd) as job:
        out, err = job.communicate()
    return subprocess.CompletedProcess([], job.returncode or 0, out, err)
