"""Programs as processes of their own that begin with the imports done: forks of a server that has loaded them once.

A fork has its own folder, streams, signals and exit code, as if the program had been started; what it spares are the
two seconds in which a new process imports torch. How a program starts is seen by what starts it anew: the README and
the quickstart, ``tests/cli/test_before_torch.py``, ``test_threads.py`` and ``test_command.py``.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOADED = (
    "torch", "numba", "scipy.optimize", "scipy.sparse.linalg", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "pydicom", "recon.reconstruction.run", "recon.reconstruction.tiles.solve", "recon.batch.run", "recon.front",
    "recon.training", "recon.evaluation", "recon.uncertainty", "recon.report.page", "recon.packing",
    "recon.factorization", "recon.compression", "recon.cli.solve",
)  # fmt: skip
"""What the server imports; nothing of it computes, so that the server has one thread when it forks."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(LOADED))


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


def _begin(program: Callable[..., None], argument: object, how: Mapping[str, object]) -> None:
    if how["start_new_session"]:
        os.setsid()
    os.chdir(str(how["cwd"]))
    os.environ.clear()
    os.environ.update(how["env"])  # type: ignore[call-overload]
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream, name in ((1, "out"), (2, "err")):
        with Path(str(how[name])).open("wb") as file:
            os.dup2(file.fileno(), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program(argument)


class Fork:
    """A running program, with what the tests use of ``subprocess.Popen``."""

    def __init__(
        self,
        program: Callable[..., None],
        argument: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self._streams = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._streams.name) / name for name in ("out", "err"))
        how = {
            "cwd": str(cwd or Path.cwd()), "env": dict(os.environ if env is None else env), "out": str(self._out),
            "err": str(self._err), "start_new_session": start_new_session,
        }  # fmt: skip
        self._process = _CONTEXT.Process(target=_begin, args=(program, argument, how))
        ours = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")  # else the fork imports the module of this process
        try:
            self._process.start()
        finally:
            sys.modules["__main__"] = ours
        self.pid = self._process.pid or 0

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
        return self._out.read_text(), self._err.read_text()

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> "Fork":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        with suppress(OSError):
            self._streams.cleanup()


def run(program: Callable[..., None], argument: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Wait for a program; its exit code and what it said."""
    with Fork(program, argument, cwd) as job:
        out, err = job.communicate()
    return subprocess.CompletedProcess([], job.returncode or 0, out, err)
