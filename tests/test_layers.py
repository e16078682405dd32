"""What import-linter cannot see: the command line lies outside the folder of the package."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted((REPOSITORY / "recon").rglob("*.py"))


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_in_the_library_imports_the_command_line(module):
    assert not [name for name in imported(module.read_text()) if f"{name}.".startswith("recon.cli.")]


def test_an_import_of_the_command_line_would_be_seen():
    assert list(imported("from recon.cli import main")) == ["recon.cli.main"]
    assert list(imported("import recon.cli.main")) == ["recon.cli.main"]


SAID = ("failures.py", "work.py", "atomic.py")
"""Modules that name the class of a fault of recon, or of an error without a message."""


@pytest.mark.parametrize("module", [each for each in MODULES if each.name not in SAID], ids=lambda path: path.stem)
def test_no_sentence_names_the_class_of_an_exception(module):
    """``ValueError`` says nothing to who has the file; --debug shows the traceback."""
    assert "type(error).__name__" not in module.read_text()
