"""A fork is a process of its own: its exit code, its streams, its folder, its signals; only imports are shared."""

import signal
import time
from pathlib import Path

import forks
import pytest

ENDLESS = "import sys, time\nprint('begun', file=sys.stderr, flush=True)\nwhile True: time.sleep(1)"


def test_its_exit_code_and_what_it_said(tmp_path: Path) -> None:
    done = forks.run(forks.text, "import os, sys; print(os.getcwd()); sys.exit(3)", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path}\n", "")
    failed = forks.run(forks.text, "import nothing_of_this_name")
    assert failed.returncode == 1
    assert "ModuleNotFoundError" in failed.stderr


def test_the_command_leaves_with_its_documented_codes(tmp_path: Path) -> None:
    done = forks.run(forks.command, ["solve", "absent.png", "-o", "x.png", "--operator", "identity"], cwd=tmp_path)
    assert done.returncode == 3
    assert "absent.png" in done.stderr
    assert forks.run(forks.command, ["--version"]).stdout.startswith("recon ")


def test_what_one_changes_the_next_does_not_see() -> None:
    read = "import os, recon; print(hasattr(recon, 'mine'), os.environ.get('MINE'))"
    assert (
        forks.run(forks.text, f"import os, recon; recon.mine = os.environ['MINE'] = '1'; {read}").stdout == "True 1\n"
    )
    assert forks.run(forks.text, read).stdout == "False None\n"


def test_it_has_the_environment_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    read = "import os; print(os.environ.get('MINE'))"
    assert forks.run(forks.text, read).stdout == "None\n"
    monkeypatch.setenv("MINE", "set")
    assert forks.run(forks.text, read).stdout == "set\n"


def test_it_begins_with_the_imports_done() -> None:
    assert forks.run(forks.text, "import sys; print('torch' in sys.modules)").stdout == "True\n"


def test_signals_reach_it() -> None:
    for number, code in ((signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
        with forks.Fork(forks.text, ENDLESS) as job:
            while "begun" not in job.said():
                assert job.poll() is None
                time.sleep(0.01)
            job.send_signal(number)
        assert job.returncode == code


def test_a_script_and_a_module(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("answer = 42")
    (tmp_path / "mine.py").write_text("import beside\nif __name__ == '__main__': print(beside.answer)")
    assert forks.run(forks.script, "mine.py", cwd=tmp_path).stdout == "42\n"
    assert forks.run(forks.module, ["json.tool", "--help"]).stdout.startswith("usage:")
