"""The commands and programs of the README and of the documentation work as printed.

A document is tried as a reader follows it: its blocks run in their order, in one folder. Python blocks with no command
between them are one program. A fence ``console nightly`` is left to the nightly tier, where the whole document runs.
The README and the quickstart start each command anew, as a reader does; those of other documents are forks (``forks``).
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forks
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
DOCUMENTS = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
DOCUMENTS = [each for each in DOCUMENTS if DOCS / "generated" not in each.parents]
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))

STARTED = {REPOSITORY / "README.md", DOCS / "quickstart.md"}
"""Documents whose commands begin as processes without any import done."""

SHOWN = {"text", "{toctree}", "{include}", "{eval-rst}", "{glossary}"}
"""Fences that are no commands of a user."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what is said after it, and its text."""

    language: str
    said: str
    text: str

    @property
    def file(self) -> str | None:
        found = re.fullmatch(r"file=(\S+)", self.said)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        return self.language in ("console", "python") and self.file is None

    @property
    def is_long(self) -> bool:
        return self.said == "nightly"


def blocks_of(document: Path) -> list[Block]:
    found = re.findall(r"^```([^\s`]+)[ \t]*([^\n`]*)\n(.*?)^```", document.read_text(), flags=re.S | re.M)
    return [Block(*each) for each in found]


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def those_with(wanted: bool) -> list[Path]:
    return [each for each in DOCUMENTS if any(b.runs and b.is_long is wanted for b in blocks_of(each))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def programs(blocks: list[Block]) -> Iterator[Block]:
    """The blocks, neighbouring ones of Python joined."""
    pending: list[str] = []
    for block in blocks:
        if block.language == "console" and pending:
            yield Block("python", "", "\n".join(pending))
            pending = []
        if block.language == "python":
            pending.append(block.text)
        else:
            yield block
    if pending:
        yield Block("python", "", "\n".join(pending))


def follow(document: Path, folder: Path, with_long: bool) -> None:
    blocks, forked = blocks_of(document), document not in STARTED
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.text)
    for block in programs([each for each in blocks if each.runs and (with_long or not each.is_long)]):
        if block.language == "python":
            python(block.text, forked)
        else:
            for line in block.text.splitlines():
                command(line, forked)


def python(text: str, forked: bool) -> None:
    done = forks.run(forks.text, text) if forked else started([sys.executable, "-c", text])
    assert done.returncode == 0, f"{text}\n{done.stderr}"


def command(line: str, forked: bool) -> None:
    assert line.startswith("$ "), f"not a command: {line}"
    expected = re.search(r"# exits with (\d+)", line)
    program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
    if forked and program == "recon":
        done = forks.run(forks.command, arguments)
    elif forked and arguments[0].endswith(".py"):
        done = forks.run(forks.script, *arguments)
    else:
        done = started([str(Path(sys.executable).parent / program), *arguments])
    assert done.returncode == (int(expected[1]) if expected else 0), f"{line}\n{done.stderr}"


def started(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=os.environ | forks.ALONE)


@pytest.mark.docs
@pytest.mark.parametrize("document", those_with(False), ids=name_of)
def test_a_document_works_as_printed(document, folder):
    follow(document, folder, with_long=False)


@pytest.mark.nightly
@pytest.mark.parametrize("document", those_with(True), ids=name_of)
def test_a_document_with_its_long_commands(document, folder):
    follow(document, folder, with_long=True)


@pytest.mark.nightly
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_of_the_gallery_runs(example):
    done = forks.run(forks.script, example.name, cwd=example.parent)
    assert done.returncode == 0, done.stderr


def test_every_fence_is_tried_or_only_shown():
    for document in DOCUMENTS:
        for block in blocks_of(document):
            assert block.runs or block.file or block.language in SHOWN, f"{name_of(document)}: ```{block.language}"
            assert block.said in ("", "nightly") or block.file or block.language.startswith("{"), name_of(document)


def test_there_is_something_to_run():
    assert REPOSITORY / "README.md" in those_with(False)
    assert len(those_with(False)) >= 8
    assert len(EXAMPLES) >= 10
