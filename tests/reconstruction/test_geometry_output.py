"""A geometry is written whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from recon.errors import OutputError
from recon.operators import Detector, Geometry, Volume, evenly_spaced, read_geometry
from recon.reconstruction.geometry_output import write_geometry

SCAN = Geometry("parallel", evenly_spaced(0, 180, 7), Detector(9, 1 / 3), Volume((5, 6), 0.1))


def test_a_geometry_is_read_back_and_never_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "scan.toml"
    write_geometry(path, SCAN)
    assert read_geometry(path) == SCAN
    other = replace(SCAN, angles=(1.0, 2.0, 4.0))
    with pytest.raises(OutputError, match="the file exists"):
        write_geometry(path, other)
    write_geometry(path, other, overwrite=True)
    assert read_geometry(path) == other


def test_a_file_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    uneven = tuple(view**1.01 / 7 for view in range(60_000))
    with pytest.raises(OutputError, match="60000 unevenly spaced views take"):
        write_geometry(tmp_path / "scan.toml", replace(SCAN, angles=uneven))
    assert not list(tmp_path.iterdir())
