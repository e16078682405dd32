"""UIDs and hashes that follow from the source and the configuration, and from nothing else."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import heaps
import numpy as np
import pydicom
import pytest

from recon import io
from recon.batch.identity import fingerprint, parameters
from recon.batch.plan import with_absolute_names
from recon.batch.run import derivation_of
from recon.io.dicom.derivation import derived_uid
from recon.specs.solve_config import config_from


def config(**values: object) -> object:
    return config_from({"operator": "identity", "prior": "tv:weight=0.01", "noise": "10HU", **values})


@pytest.mark.parametrize(
    "other",
    [{"noise": "11HU"}, {"prior": "tv:weight=0.011"}, {"range": "0:1"}, {"seed": 1}, {"operator": "blur:box=3"}],
)
def test_whatever_changes_the_pixels_changes_the_hash(other: dict[str, object]) -> None:
    assert fingerprint(config(**other)) != fingerprint(config())


def test_the_device_does_not(tmp_path: Path) -> None:
    assert fingerprint(config(device="cpu")) == fingerprint(config())


def test_files_count_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("john_doe.npy", np.ones((3, 3)))
    shutil.copy("john_doe.npy", "other.npy")
    one, other = (config(operator=f"blur:psf={name}.npy") for name in ("john_doe", "other"))
    assert fingerprint(one) == fingerprint(other) == fingerprint(with_absolute_names(one))
    assert "john" not in parameters(one)
    np.save("other.npy", np.eye(3))
    assert fingerprint(one) != fingerprint(other)


def test_uids_are_those_of_the_standard() -> None:
    uid = derived_uid("instance", "1.2.3", "0", "abc")
    assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
    assert pydicom.uid.UID(uid).is_valid
    assert uid == derived_uid("instance", "1.2.3", "0", "abc") == "2.25." + uid[5:]
    assert uid != derived_uid("instance", "1.2.30", "", "abc")
    assert derived_uid("a", "b") != derived_uid("ab", "")


def test_a_single_run_says_what_it_did_too(tmp_path: Path) -> None:
    heaps.save([heaps.ct()], tmp_path, "in.dcm")
    image = io.read(tmp_path / "in.dcm")
    made = []
    for number, noise in enumerate(("10HU", "10HU", "20HU")):
        path = tmp_path / f"{number}.dcm"
        io.write(image, path, derivation=derivation_of(config(noise=noise)))
        made.append(pydicom.dcmread(path))
    assert made[0].SOPInstanceUID == made[1].SOPInstanceUID != made[2].SOPInstanceUID
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID != made[2].SeriesInstanceUID
    assert made[0].SeriesNumber != made[2].SeriesNumber
    assert "prior tv:weight=0.01, noise 20HU" in made[2].DerivationDescription
    assert made[2].SeriesDescription.startswith("(20HU tv ")
    assert len(made[2].DerivationDescription) <= 1024


def test_long_texts_of_a_source_leave_room(tmp_path: Path) -> None:
    one = heaps.ct()
    one.DerivationDescription, one.SeriesDescription = "x" * 1024, "y" * 64
    heaps.save([one], tmp_path, "in.dcm")
    long = replace(derivation_of(config()), parameters="p" * 2000, brief="b" * 100)
    io.write(io.read(tmp_path / "in.dcm"), tmp_path / "out.dcm", derivation=long)
    made = pydicom.dcmread(tmp_path / "out.dcm")
    assert len(made.DerivationDescription) <= 1024
    assert len(made.SeriesDescription) <= 64
    assert made.SeriesDescription.endswith("derived, not for diagnosis)")
