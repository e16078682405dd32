"""The picture of a scan: it is made for every kind, and what it draws lies where the geometry says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.errors import OutputError
from recon.io import read
from recon.operators.tomography import AlongAxis, Detector, Geometry, Volume, evenly_spaced
from recon.report import draw_geometry
from recon.report.geometry_drawing import _first_view, _orbit_radius, _title, _turned, _volume_corners

VOLUME = Volume((40, 60), 2.0, (5.0, -3.0))
DISTANCES = {"source_to_axis": 200.0, "source_to_detector": 500.0}
PARALLEL = Geometry("parallel", evenly_spaced(0, 180, 12), Detector(100, 1.0), VOLUME)
FAN = Geometry("fan", evenly_spaced(0, 360, 40), Detector(100, 3.0), VOLUME, **DISTANCES)
ARC = replace(FAN, detector=Detector(100, 3.0, 20.0, "arc"))
CONE = replace(
    FAN,
    kind="cone",
    detector=replace(FAN.detector, rows=AlongAxis(80, 3.0)),
    volume=replace(VOLUME, slices=AlongAxis(30, 2.0)),
)
ONE_VIEW = replace(CONE, angles=(10.0,))
ASIDE = replace(PARALLEL, detector=Detector(10, 1.0, 90.0))


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, ARC, CONE, ONE_VIEW, ASIDE])
def test_every_kind_of_scan_is_drawn(tmp_path: Path, geometry: Geometry) -> None:
    draw_geometry(geometry, tmp_path / "scan.png")
    picture = read(tmp_path / "scan.png")
    assert picture.width == 1500
    assert np.ptp(picture.pixels) > 0


def test_an_existing_drawing_is_kept_and_an_unknown_format_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_bytes(b"old")
    with pytest.raises(OutputError, match="the file exists"):
        draw_geometry(FAN, tmp_path / "a.svg")
    with pytest.raises(OutputError, match=r"'\.toml' is no format of a figure; expected \.png"):
        draw_geometry(FAN, tmp_path / "a.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
    draw_geometry(FAN, tmp_path / "a.svg", overwrite=True)
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("geometry", "title"),
    [
        (PARALLEL, "parallel beam · 12 views over 180°"),
        (FAN, "fan, flat detector · 40 views over 360° · magnification 2.50"),
        (replace(ARC, angles=evenly_spaced(-60, 60, 61, True)), "fan, arc detector · 61 views over 120°"),
        (replace(FAN, angles=(0.0, 90.0, 100.0)), "3 views over 100°"),
        (ONE_VIEW, "cone, flat panel · one view at 10°"),
    ],
)
def test_the_title_has_the_key_figures(geometry: Geometry, title: str) -> None:
    assert title in _title(geometry)


def test_the_first_view_stands_where_the_geometry_says() -> None:
    """At 90 degrees the rays run along -x: the source is at (200, 0), the detector at x = -300, its axis along y."""
    geometry = replace(FAN, detector=Detector(100, 3.0, 20.0))
    beam, detector = (_turned(points, (90.0,))[0] for points in _first_view(geometry, _orbit_radius(geometry)))
    np.testing.assert_allclose(beam[0], (200, 0), atol=1e-9)
    np.testing.assert_allclose(detector[0], (-300, -130), atol=1e-9)
    np.testing.assert_allclose(detector[-1], (-300, 170), atol=1e-9)


def test_every_pixel_of_an_arc_is_as_far_from_the_source() -> None:
    beam, detector = _first_view(ARC, _orbit_radius(ARC))
    np.testing.assert_allclose(np.linalg.norm(detector - beam[0], axis=1), 500.0)
    assert np.linalg.norm(np.diff(detector, axis=0), axis=1).sum() == pytest.approx(300.0, rel=1e-3)


def test_the_volume_is_to_scale() -> None:
    corners = _volume_corners(FAN)
    np.testing.assert_allclose(corners.min(0), (5 - 60, -3 - 40))
    np.testing.assert_allclose(corners.max(0), (5 + 60, -3 + 40))
