"""The README's commands and code work as printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, flags=re.S)
FILES = re.findall(r"```(?:python|toml) file=(\S+)\n(.*?)```", README, flags=re.S)
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.S)

ALONE = {**os.environ, "NUMBA_NUM_THREADS": "1"}
"""Beside the other worker's, two threads of compiled loops take five times as long as one."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_commands(block, folder):
    for line in block.splitlines():
        expected = re.search(r"# exits with (\d+)", line)
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments], capture_output=True, text=True, check=False, env=ALONE
        )
        assert done.returncode == (int(expected[1]) if expected else 0), done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_python(program, folder):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=ALONE)
    assert done.returncode == 0, done.stderr


def test_there_is_something_to_run():
    assert len(BLOCKS) >= 3
    assert PROGRAMS
