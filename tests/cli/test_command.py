"""The command as a whole: help, versions, errors, the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recon import __version__
from recon.reconstruction import plan

COMMANDS = (
    "solve", "simulate", "train", "compress", "certify", "evaluate", "sensitivity", "uncertainty", "calibrate",
    "factorize", "models", "replay", "report", "pack", "unpack", "completion",
)  # fmt: skip
SCRIPT = Path(sys.executable).with_name("recon")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["solve", "--help"], ["models", "--json"]])
def test_neither_torch_nor_numpy_is_imported_for_help(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom recon.cli.main import main\n"
        f"try:\n    main({arguments!r})\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "heavy = {'torch', 'numpy', 'deepinv', 'matplotlib', 'pydicom', 'skimage'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_lists_what_exists_and_nothing_else(run) -> None:
    outcome = run("--help")
    listed = outcome.out.partition("Commands:")[2].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == list(COMMANDS)
    assert "Exit codes" in outcome.out


def test_the_version_is_the_packages(run) -> None:
    assert run("--version").out == f"recon {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert "Usage: recon" in outcome.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(run, shell: str) -> None:
    outcome = run("completion", shell)
    assert outcome.code == 0
    assert "_RECON_COMPLETE" in outcome.out


def test_completion_completes(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RECON_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "recon sol")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "solve" in run().out


def test_the_packaged_networks_are_listed_with_their_evidence(run) -> None:
    found = {model["name"]: model for model in json.loads(run("models", "--json").out)}
    gray = found["proved-gray"]
    assert (gray["channels"], gray["evidence"]) == (1, "proved")
    assert gray["noise_range"] == pytest.approx([5 / 255, 25 / 255])
    assert gray["psnr"].keys() >= {"BSD68", "Set12"}
    at_5, at_15, at_25 = (gray["psnr"]["BSD68"][f"{level / 255:.4g}"] for level in (5, 15, 25))
    assert 37 > at_5 > at_15 > at_25 > 27
    assert 0 < gray["bytes"] < 8e6
    table = run("models").out
    assert all(name in table for name in found)
    assert "1 proved" in table
    assert "at 5 / 15 / 25" in table


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ([], "Usage: recon"),
        (["solv"], "No such command 'solv'"),
        (["models", "--jso"], "--jso"),
        (["solve"], "Missing argument 'INPUT...'"),
        (["solve", "photo.png", "--operator", "identity"], "Missing option '-o'"),
        (["solve", "photo.png", "-o", "x.png"], "names no operator"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "blurr"], "did you mean 'blur'"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "blur:box=x"], "box is 'x'"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "identity", "--noise", "much"], "noise is 'much'"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "identity", "--range", "5:1"], "range is '5:1'"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "identity", "--device", "tpu"], "device is 'tpu'"),
        (["solve", "photo.png", "-o", "x.png", "--operator", "identity", "--noise", "12HU"], "has no units"),
        (
            ["solve", "photo.png", "-o", "x.png", "--operator", "identity", "--prior", "model:x"],
            "There is no packaged model",
        ),
        (["solve", "photo.png", "photo.png", "-o", "x", "--config", "none.toml"], "none.toml"),
        (["evaluate", "--data", ".", "--operator", "identity"], "Missing option '--noise'"),
        (["certify", "operator", "blur"], "exactly one of"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_with_2(run, photo: Path, arguments: list[str], fragment: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert fragment in outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--slice-distance", "0"), "--slice-distance is 0; expected a positive"),
        (("--slice-distance=-1e0",), "--slice-distance is -1e0; expected"),
        (("--slice-distance", "near"), "--slice-distance is 'near'; expected a number"),
        (("--stepsize", "0.0"), "--stepsize is 0.0; expected"),
        (("--tolerance", "2", "--tolerance", "3"), "--tolerance is 3; expected"),
        (("--iterations", "0"), "--iterations is 0; expected at least 1"),
        (("--noise", "-1"), "--noise is '-1'; expected"),
        (("--config", "c.toml"), "recon: slice_distance is 0"),
    ],
)
def test_an_option_is_named_as_it_was_typed(run, folder: Path, photo: Path, typed: tuple[str, ...], said: str) -> None:
    """A key of a configuration is a name of files; who types an option reads its name, and the number as typed."""
    Path("c.toml").write_text("slice_distance = 0\n")
    done = run("solve", photo, "-o", "x.png", "--operator", "identity", *typed)
    assert (done.code, said in done.err) == (2, True), done.err


def test_debug_shows_the_traceback_wherever_it_stands(run) -> None:
    for arguments in (["--debug", "certify", "operator", "blurr"], ["certify", "operator", "blurr", "--debug"]):
        outcome = run(*arguments)
        assert outcome.code == 2
        assert "Traceback" in outcome.err


def test_a_fault_of_recon_is_one_sentence_and_exits_with_1(run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("float division\nby zero")

    monkeypatch.setattr(plan, "build_problem", broken)
    outcome = run("solve", photo, "-o", "x.png", "--operator", "identity", "-q")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "ZeroDivisionError" in outcome.err
    assert "--debug" in outcome.err


def test_memory_that_ran_out_exits_with_6(run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(RuntimeError):  # as torch names its own
        pass

    for error in (MemoryError(), OutOfMemoryError("CUDA out of memory"), RuntimeError("[x] can't allocate memory: y")):

        def broken(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(plan, "build_problem", broken)
        outcome = run("solve", photo, "-o", "x.png", "--operator", "identity")
        assert outcome.code == 6
        assert "memory ran out" in outcome.err


def test_names_that_are_not_printable_do_not_reach_the_terminal(run, folder: Path) -> None:
    outcome = run("solve", "a\x1b[31m\nb.png", "-o", "x.png", "--operator", "identity")
    assert outcome.code == 3
    assert "\x1b" not in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["models", "--json"]])
def test_a_reader_that_goes_away_is_met_with_silence(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([SCRIPT, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
