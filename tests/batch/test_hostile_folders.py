"""Damaged files in folders and archives: each is taken, set aside or refused in one sentence, whatever was changed."""

import io
import random
import resource
import warnings
import zipfile
from pathlib import Path

import heaps
import pydicom
import pytest
from pydicom.data import get_testdata_file

from recon.batch.classify import Allowed
from recon.batch.plan import look_into
from recon.errors import InputError, ReconError
from recon.specs.solve_config import config_from

CONFIG = config_from({"operator": "identity"})
GIB = 2**30


def content(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    one = content(heaps.ct())
    report = Path(str(get_testdata_file("test-SR.dcm"))).read_bytes()
    medium = Path(str(get_testdata_file("DICOMDIR"))).read_bytes()
    enhanced = Path(str(get_testdata_file("liver_1frame.dcm"))).read_bytes()
    return {"a": one, "b.IMA": report, "DICOMDIR": medium, "c": enhanced, "d.zip": packed({"x": one, "y/z": report})}


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        place = chance.randrange(min(len(changed), chance.choice([200, 2000, 10**9])))
        changed[place] = chance.randrange(256)
    kind = chance.randrange(6)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    if kind == 1:
        cut = chance.randrange(len(changed))
        return bytes(changed[:cut] + changed[cut + chance.randrange(1, 40) :])
    return bytes(changed)


def look(folder: Path, originals: dict[str, bytes], count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(list(originals))
        path = folder / name
        path.write_bytes(mutated(originals[name], chance))
        given = str(path) if name == "DICOMDIR" and chance.random() < 0.5 else str(folder)
        try:
            found = look_into([given], None, CONFIG, Allowed())
        except ReconError as error:
            assert isinstance(error, InputError)
            assert "\n" not in str(error)
        else:
            assert all("\n" not in sentence for _, sentence in found.failed)
            assert found.count + len(found.failed) > 0
        path.unlink()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 3 * GIB


@pytest.mark.slow
def test_a_few_thousand_damaged_files(tmp_path: Path, originals: dict[str, bytes]) -> None:
    look(tmp_path, originals, 2000, 0)


@pytest.mark.nightly
def test_twenty_thousand_damaged_files(tmp_path: Path, originals: dict[str, bytes]) -> None:
    look(tmp_path, originals, 20000, 1)


def test_a_link_to_a_folder_above_ends(tmp_path: Path, originals: dict[str, bytes]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(originals["a"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = look_into([str(tmp_path)], None, CONFIG, Allowed())
    assert found.count == 1


def test_a_directory_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path, originals: dict[str, bytes]) -> None:
    (tmp_path / "disc").mkdir()
    (tmp_path / "secret").write_bytes(originals["a"])
    medium = pydicom.dcmread(io.BytesIO(originals["DICOMDIR"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that such a name is not allowed
        for record in medium.DirectoryRecordSequence:
            if "ReferencedFileID" in record:
                record.ReferencedFileID = ["..", "secret"]
        medium.save_as(tmp_path / "disc" / "DICOMDIR")
    with pytest.raises(InputError):
        look_into([str(tmp_path / "disc" / "DICOMDIR")], None, CONFIG, Allowed())


def test_an_archive_in_an_archive_is_set_aside(tmp_path: Path, originals: dict[str, bytes]) -> None:
    (tmp_path / "outer.zip").write_bytes(packed({"inner.zip": originals["d.zip"], "x": originals["a"]}))
    found = look_into([str(tmp_path / "outer.zip")], None, CONFIG, Allowed())
    assert found.count == 1
    assert [each.reason for each in found.aside] == ["ZIP or NPZ file"]
