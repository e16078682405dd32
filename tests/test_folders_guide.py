"""The guide to folders works as printed, from block to block."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs

REPOSITORY = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```console\n(.*?)```", (REPOSITORY / "docs" / "guides" / "folders.md").read_text(), flags=re.S)


def test_commands(tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    tables = []
    for line in "".join(BLOCKS).splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        command = [Path(sys.executable).parent / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tables.append(done.stdout)
    assert sum("done before" in table for table in tables) == 1
    results = Path("results")
    assert {re.sub("_.*", "", path.name) for path in results.iterdir() if path.is_dir()} == {"3", "6"}
    assert {path.name for path in results.iterdir() if path.is_file()} == {
        "camera.png",
        "camera.png.run.json",
        "batch.json",
    }
