"""Which files of a folder are images: those whose content says so, whatever they are called."""

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from recon.reconstruction.file_names import expand_inputs


@pytest.mark.parametrize("name", ["1.2.840.113619.2.5.1762583153", "IM0001", "slice.IMA", "a.dcm"])
def test_a_slice_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    assert expand_inputs([str(tmp_path)]) == [tmp_path / name]
