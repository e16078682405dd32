"""The one line that names an operator or a prior."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.specs.grammar import Spec, parse_spec

KEYS = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6).filter(lambda key: key.isidentifier())
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SPECS = st.builds(
    Spec,
    name=st.from_regex(r"[a-z][a-z0-9_-]{1,6}", fullmatch=True),
    options=st.dictionaries(KEYS, VALUES, max_size=3),
    value=st.none() | VALUES,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("blur", Spec("blur")),
        (" blur ", Spec("blur")),
        ("blur:gaussian=1.6", Spec("blur", {"gaussian": "1.6"})),
        ("blur: gaussian = 1.6 , boundary = valid", Spec("blur", {"gaussian": "1.6", "boundary": "valid"})),
        ("ct:geometry.toml", Spec("ct", {}, "geometry.toml")),
        ("python:my ops.py:make", Spec("python", {}, "my ops.py:make")),
        ("deepinv:DRUNet,sigma=0.1", Spec("deepinv", {"sigma": "0.1"}, "DRUNet")),
        (r"blur:psf=C:\data\k.npy", Spec("blur", {"psf": r"C:\data\k.npy"})),
        ("blur:psf=a=b:c.npy", Spec("blur", {"psf": "a=b:c.npy"})),
        ('blur:psf="a,b.npy"', Spec("blur", {"psf": "a,b.npy"})),
        ('blur:psf="say ""hi"".npy",box=3', Spec("blur", {"psf": 'say "hi".npy', "box": "3"})),
        ('ct:"a=b.toml"', Spec("ct", {}, "a=b.toml")),
        ('blur:psf=5"-disk.npy', Spec("blur", {"psf": '5"-disk.npy'})),
    ],
)
def test_a_line_is_read_literally_but_for_commas_and_quotes(text: str, expected: Spec) -> None:
    assert parse_spec(text) == expected


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("blur:", "'blur' is followed by nothing"),
        ("blur:gaussian=", "'gaussian' is followed by nothing"),
        ("blur:box=3,", "',' is followed by nothing"),
        ("blur:box=3,valid", "'valid' is not KEY=VALUE"),
        ("blur:box=3,box=5", "'box' is given twice"),
        ('blur:psf="a', "do not close"),
        ('blur:psf="a"b', "do not close"),
        ("blur\0", "null character"),
        ("3", "neither NAME"),
        ("./kernel.npy", "neither NAME"),
    ],
)
def test_a_line_that_breaks_the_grammar_is_refused_in_the_users_own_words(text: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


@given(SPECS)
def test_what_is_printed_is_read_back(spec: Spec) -> None:
    assert parse_spec(str(spec)) == spec


@given(st.text(max_size=40))
def test_any_text_is_a_specification_or_a_usage_error(text: str) -> None:
    try:
        parse_spec(text)
    except UsageError as error:
        assert str(error)


@given(st.text(alphabet='ab:=,"\\. \n', max_size=25))
def test_any_arrangement_of_the_grammars_own_signs_is_a_specification_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UsageError:
        return
    assert parse_spec(str(spec)) == spec


def test_a_toml_file_says_the_same_and_its_file_names_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "blur.toml"
    file.write_text('name = "blur"\npsf = "k.npy"\nnormalise = false\nangle = 3\n')
    spec = parse_spec(str(file))
    assert spec == Spec("blur", {"psf": "k.npy", "normalise": "false", "angle": "3"}, None, str(tmp_path))
    assert spec.path("k.npy") == tmp_path / "k.npy"


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"psf = 'k.npy'", "name = None"),
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"name = 'blur'\npsf = [1]", "psf = \\[1\\]"),
    ],
)
def test_a_damaged_toml_file_is_refused(tmp_path: Path, content: bytes, fragment: str) -> None:
    file = tmp_path / "blur.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=fragment):
        parse_spec(str(file))


def test_a_folder_is_a_specification_too(tmp_path: Path) -> None:
    assert parse_spec(str(tmp_path)) == Spec("folder", {}, str(tmp_path))
