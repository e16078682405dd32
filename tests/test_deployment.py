"""The container file and the Boutiques descriptor of the command, as far as they can be checked without a container."""

import json
import re
from pathlib import Path

from recon.cli.solve import command

from recon import __version__
from recon.errors import ReconError

FOLDER = Path(__file__).resolve().parents[1] / "docs/deploy"
DESCRIPTOR = json.loads((FOLDER / "recon-solve.boutiques.json").read_text())


def test_every_flag_is_one_of_the_command():
    flags = {flag for parameter in command.params for flag in parameter.opts}
    named = {each["command-line-flag"] for each in DESCRIPTOR["inputs"] if "command-line-flag" in each}
    assert named <= flags
    assert DESCRIPTOR["tool-version"] == __version__


def test_every_key_of_the_command_line_is_an_input():
    keys = set(re.findall(r"\[[A-Z_]+\]", DESCRIPTOR["command-line"]))
    assert keys == {each["value-key"] for each in DESCRIPTOR["inputs"]}
    assert DESCRIPTOR["output-files"][0]["path-template"] in keys


def test_flags_take_values_as_the_command_does():
    of_flag = {flag: parameter for parameter in command.params for flag in parameter.opts}
    for each in DESCRIPTOR["inputs"]:
        if "command-line-flag" in each:
            assert (each["type"] == "Flag") == of_flag[each["command-line-flag"]].is_flag, each["id"]


def test_exit_codes_are_those_of_the_errors():
    codes = {each.exit_code for each in ReconError.__subclasses__()}
    assert codes <= {each["code"] for each in DESCRIPTOR["error-codes"]} | {1}


def test_the_container_runs_the_command():
    text = (FOLDER / "Containerfile").read_text()
    assert 'ENTRYPOINT ["recon"]' in text
    extras = re.search(r"/src\[([a-z0-9,]+)\]", text)
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras[1].split(","))
