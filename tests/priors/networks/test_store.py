"""Folders of networks: what was saved comes back, and what was tampered with does not."""

import contextlib
import json
import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import CASES, Case

from recon.errors import InputError, OutputError, UsageError
from recon.priors.networks import DnCNNConfig, LipschitzConfig, load, make, read_safetensors, save, write_safetensors
from recon.priors.networks.files import safetensors, store
from recon.priors.networks.files.safetensors import decode, encode


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_saved_comes_back(case: Case, tmp_path) -> None:
    torch.manual_seed(5)
    network = make(case.config)
    save(network, tmp_path / "net")
    again = load(tmp_path / "net")
    assert again.config == case.config
    assert not again.training
    assert list(again.state_dict()) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.fixture
def folder(tmp_path):
    save(make(DnCNNConfig(features=2, depth=2)), tmp_path)
    return tmp_path


def edit(folder, before: str, after: str) -> None:
    text = (folder / store.DESCRIPTION).read_text()
    assert before in text
    (folder / store.DESCRIPTION).write_text(text.replace(before, after))


def reseal(folder, content: bytes | None = None) -> None:
    """Other weights, or another architecture, with the hash that makes them pass for the network's own."""
    table = tomllib.loads((folder / store.DESCRIPTION).read_text())
    if content is not None:
        (folder / store.WEIGHTS).write_bytes(content)
    weights = (folder / store.WEIGHTS).read_bytes()
    edit(folder, table["sha256"], store.fingerprint(table["family"], table["architecture"], weights))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("depth = 2", "depth = 2\nwidth = 3", "the key 'width' is unknown; did you mean 'depth'"),
        ("depth = 2\n", "", "the key 'depth' is missing"),
        ("depth = 2", "depth = 3", "the tensor 'biases.2' is missing; expected the weights of a DnCNN"),
        ("features = 2", "features = 3", r"has shape \(2, 1, 3, 3\).*expected \(3, 1, 3, 3\)"),
        ("features = 2", "features = 100000000", "features = 100000000; expected a whole number of at most 4096"),
        ("features = 2", "features = true", "features = true; expected a whole number"),
        ("slope = 0.01", "slope = nan", "slope = nan; expected a number"),
        pytest.param("slope = 0.01", f"slope = 1{400 * '0'}", "slope = 1000.*; expected a number", id="no float"),
        ("slope = 0.01", 'slope = "steep"', 'slope = "steep"; expected a number'),
        ("noise_range = [0.0, 0.0]", "noise_range = [0.0]", r"noise_range = \[0.0\]; expected a list of 2 numbers"),
        ('padding = "zero"', 'padding = "reflect"', "the architecture is not valid: padding: 'reflect' is not covered"),
        ('family = "DnCNN"', 'family = "DnCNNN"', "the family 'DnCNNN' is unknown; did you mean 'DnCNN'"),
        ("format = 2", "format = 1", "format = 1; expected 2"),
        ("[architecture]", "architecture = 3", "is not valid TOML|expected a table|is unknown"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_in_a_sentence(folder, before, after, words) -> None:
    edit(folder, before, after)
    with contextlib.suppress(tomllib.TOMLDecodeError):
        reseal(folder)
    with pytest.raises(InputError, match=words) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value)


def test_a_file_from_before_a_key_was_there_has_its_default(tmp_path) -> None:
    network = make(LipschitzConfig(features=2, depth=1))
    save(network, tmp_path)
    for line in ("rescaled = false\n", "size = 3\n", "ends = 3\n", "group = 0\n"):
        edit(tmp_path, line, "")
    reseal(tmp_path)
    assert load(tmp_path).config == network.config


@pytest.mark.parametrize(
    ("before", "after"),
    [("clip = 0.0", "clip = 0.5"), ("slope = 0.01", "slope = 0.5"), ("zero", "circular")],
)
def test_an_architecture_that_was_edited_is_refused_because_what_is_known_is_of_the_one_that_was_written(
    folder, before, after
) -> None:
    edit(folder, before, after)
    with pytest.raises(InputError, match=r"the weights and the architecture have sha256 .*one of them was changed"):
        load(folder)


def test_tampered_and_truncated_weights_are_refused(folder) -> None:
    content = (folder / store.WEIGHTS).read_bytes()
    changed = bytearray(content)
    changed[-1] ^= 1
    for wrong in (bytes(changed), content[:-4], content + b"\0", b""):
        (folder / store.WEIGHTS).write_bytes(wrong)
        with pytest.raises(InputError, match=r"have sha256 .*; expected .* was changed or cut off"):
            load(folder)
    reseal(folder, content[:-4])
    with pytest.raises(InputError, match="truncated or damaged"):
        load(folder)


def test_weights_of_another_architecture_or_without_meaning_are_refused(folder) -> None:
    reseal(folder, encode(make(LipschitzConfig(features=2, depth=1)).state_dict()))
    with pytest.raises(InputError, match=r"is missing|belongs to another architecture"):
        load(folder)
    state = make(DnCNNConfig(features=2, depth=2)).state_dict()
    state["biases.0"][0] = torch.nan
    reseal(folder, encode(state))
    with pytest.raises(InputError, match=r"'biases.0' holds NaN"):
        load(folder)
    state["biases.0"] = torch.zeros(2, dtype=torch.int64)
    reseal(folder, encode(state))
    with pytest.raises(InputError, match=r"type torch.int64; expected \(2,\) real numbers"):
        load(folder)


def test_missing_files_and_networks_that_are_there(folder, tmp_path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="the file exists"):
        save(make(DnCNNConfig(features=2, depth=2)), folder)
    save(make(DnCNNConfig(features=3, depth=2)), folder, overwrite=True)
    assert load(folder).config.features == 3
    (folder / store.WEIGHTS).unlink()
    with pytest.raises(InputError, match="the weights cannot be read"):
        load(folder)
    for name, said in (
        ("nowhere", "there is no such folder"),
        ("file", "it is a file"),
        ("empty", "no network.toml is in"),
    ):
        with pytest.raises(InputError, match=said):
            load(tmp_path / name)
    (tmp_path / "empty/checkpoint.json").touch()
    with pytest.raises(InputError, match=r"has not written a network yet; .*recon train --resume -o"):
        load(tmp_path / "empty")


def test_every_type_and_shape_of_tensor_comes_back(tmp_path) -> None:
    tensors = {name: torch.arange(6).reshape(2, 3).to(dtype) for name, dtype in safetensors._TYPES.items()} | {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "view": torch.arange(6.0).reshape(2, 3).T,
    }
    write_safetensors(tmp_path / "a.safetensors", tensors)
    again = read_safetensors(tmp_path / "a.safetensors")
    assert again.keys() == tensors.keys()
    assert all(
        torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    with pytest.raises(UsageError, match="complex64"):
        encode({"z": torch.zeros(1, dtype=torch.complex64)})


def sealed(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes"),
        ((2**62).to_bytes(8, "little") + b"{}", "announces a header of"),
        (sealed(b"{"), "not valid JSON"),
        (sealed(b"[" * 100_000), "not valid JSON"),
        (sealed([1]), "the header is a list"),
        (sealed(b'{"a":{},"a":{}}'), "a name is given twice"),
        (sealed({"a": 3}), "not described by"),
        (sealed({"a": {**ENTRY, "more": 1}}, bytes(4)), "not described by"),
        (sealed({"a": {**ENTRY, "dtype": "O"}}, bytes(4)), "has type 'O'"),
        (sealed({"a": {**ENTRY, "shape": [-1]}}, bytes(4)), r"has shape \[-1\]"),
        (sealed({"a": {**ENTRY, "shape": [True]}}, bytes(4)), r"has shape \[True\]"),
        (sealed({"a": {**ENTRY, "shape": [2**40]}}, bytes(4)), "has shape"),
        (sealed({"a": {**ENTRY, "shape": [2**28, 2**28]}}, bytes(4)), "is said to lie at 0 to 4"),
        (sealed({"a": {**ENTRY, "data_offsets": [0, 8]}}, bytes(4)), "is said to lie at 0 to 8"),
        (sealed({"a": {**ENTRY, "data_offsets": [4, 8]}}, bytes(8)), "is said to lie at 4 to 8; expected 0 to 4"),
        (sealed({"a": ENTRY, "b": ENTRY}, bytes(4)), "expected 4 to 8"),
        (sealed({"a": ENTRY}), "within 0 bytes"),
        (sealed({"a": ENTRY}, bytes(5)), "1 bytes belong to no tensor"),
    ],
)
def test_a_file_that_lies_is_refused_in_a_sentence(content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode(content, "weights")


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(0, 200))
def test_no_damage_raises_anything_but_an_input_error(position: int, value: int, cut: int) -> None:
    content = bytearray(encode({"a": torch.ones(3), "b": torch.ones(2, 2).double()}))
    content[position % len(content)] = value
    try:
        decode(bytes(content[: len(content) - cut]), "weights")
    except InputError as error:
        assert "\n" not in str(error)


def test_a_file_too_large_is_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(safetensors, "MOST_BYTES", 10)
    (tmp_path / "a").write_bytes(bytes(11))
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_safetensors(tmp_path / "a")
