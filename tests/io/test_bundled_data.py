import hashlib
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

from recon.io import read

LISTED = re.compile(r"^    ([0-9a-f]{64})  (\S+)$", re.MULTILINE)


def test_every_bundled_file_is_listed_with_its_hash(bundled_data: Path) -> None:
    listed = {name: digest for digest, name in LISTED.findall((bundled_data / "README.md").read_text())}
    present = {str(path.relative_to(bundled_data)) for path in bundled_data.rglob("*") if path.is_file()}
    assert set(listed) == present - {"README.md"}
    for name, digest in listed.items():
        assert hashlib.sha256((bundled_data / name).read_bytes()).hexdigest() == digest, name


def test_every_bundled_file_is_read(bundled_data: Path) -> None:
    for path in sorted(bundled_data.rglob("*.*")):
        if path.suffix in (".png", ".npy", ".dcm"):
            assert read(path).pixels.size


@pytest.mark.parametrize("number", range(1, 9))
def test_kernels_sum_to_one_and_are_not_negative(bundled_data: Path, number: int) -> None:
    kernel = read(bundled_data / "kernels" / f"levin09_{number}.npy").pixels
    assert abs(kernel.sum() - 1) < 1e-12
    assert kernel.min() >= 0
    assert kernel.dtype == np.float64


def test_no_slice_carries_a_persons_name(bundled_data: Path) -> None:
    for path in bundled_data.rglob("*.dcm"):
        names = [str(element.value) for element in pydicom.dcmread(path).iterall() if element.VR == "PN"]
        assert all(not name or name.startswith("TCGA-") or name == "Jane_Doe" for name in names), path.name
