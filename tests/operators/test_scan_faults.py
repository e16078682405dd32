"""Planted faults of a scan: pixels of a wrong response, and a turn that is not the one of the angles; and silence."""

import numpy as np
import pytest
import torch

from recon.io import read_projections
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced, read_geometry
from recon.operators.tomography.consistency.detector_gain import odd_columns
from recon.operators.tomography.consistency.sinogram import check_sinogram, odd_column_warnings, span_warnings

SIZE, PIXELS = 64, 96
VOLUME = Volume((SIZE, SIZE), 1.0)
FAN = {"source_to_axis": 150.0, "source_to_detector": 300.0}


def scan(kind: str, span: float, views: int = 90, start: float = 0.0) -> Geometry:
    angles = evenly_spaced(start, start + span, views)
    if kind == "parallel":
        return Geometry("parallel", angles, Detector(PIXELS, 1.0), VOLUME)
    return Geometry("fan", angles, Detector(PIXELS, 2.0), VOLUME, **FAN)


def discs(*parts: tuple[float, float, float, float]) -> torch.Tensor:
    at = torch.arange(SIZE, dtype=torch.float64) - (SIZE - 1) / 2
    image = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for x, y, radius, value in parts:
        image += value * (torch.hypot(at[None, :] - x, -at[:, None] - y) < radius)
    return 0.04 * image


OBJECTS = {
    "lopsided": discs((5, -3, 20, 1.0), (12, 4, 5, 1.5), (-4, -12, 4, -0.8)),
    "round": discs((0, 0, 24, 1.0)),
    "tube": discs((0, 0, 24, 1.0), (0, 0, 22.5, -1.0)),
    "rod on the axis": discs((0, 0, 24, 0.5), (0.5, -0.5, 1.2, 4.0)),
    "wires": discs((0, 0, 26, 0.3), (10, 10, 1.5, 5.0), (-14, 3, 1.5, 5.0), (3, -17, 1.5, 5.0)),
}


def measured(geometry: Geometry, what: str, noise: float = 0.005, seed: int = 0) -> np.ndarray:
    sinogram = Tomography(geometry).A(OBJECTS[what]).numpy()
    return sinogram + noise * sinogram.max() * np.random.default_rng(seed).standard_normal(sinogram.shape)


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.05])
@pytest.mark.parametrize("what", OBJECTS)
@pytest.mark.parametrize(("kind", "span"), [("parallel", 180), ("parallel", 360), ("fan", 360)])
def test_no_part_of_an_object_is_taken_for_a_faulty_pixel_or_a_wrong_turn(kind, span, what, noise) -> None:
    geometry = scan(kind, span)
    sinogram = measured(geometry, what, noise)
    assert odd_column_warnings(sinogram, geometry) == ()
    assert span_warnings(sinogram, geometry) == ()


@pytest.mark.parametrize("factor", [0.3, 0.6, 2.0])
@pytest.mark.parametrize("column", [2, 31, 60])
@pytest.mark.parametrize("what", ["lopsided", "tube", "wires"])
@pytest.mark.parametrize(("kind", "span"), [("parallel", 180), ("fan", 360)])
def test_a_pixel_of_another_response_is_named_with_its_factor(kind, span, what, column, factor) -> None:
    geometry = scan(kind, span)
    sinogram = measured(geometry, what)
    sinogram[:, column] -= np.log(factor)
    (found,) = odd_columns(sinogram, geometry)
    assert (found.first, found.count) == (column, 1)
    assert abs(np.log(found.factor / factor)) < 0.1 + 0.3 * abs(np.log(factor))
    (said,) = odd_column_warnings(sinogram, geometry)
    assert f"column {column} (about " in said


def test_neighbours_of_another_response_and_several_are_named_and_slices_too() -> None:
    geometry = scan("parallel", 180)
    stack = np.stack([measured(geometry, "lopsided", seed=seed) for seed in range(2)])
    stack[1, :, 20:22] += 0.5
    stack[1, :, 70] -= 0.3
    (said,) = odd_column_warnings(stack, geometry)
    assert "columns 20 to 21 of slice 1 (about 0.6" in said
    assert "column 70 of slice 1" in said
    assert said in check_sinogram(stack, geometry)


def test_a_few_views_name_no_pixel() -> None:
    geometry = scan("parallel", 20, 40)
    sinogram = measured(geometry, "wires")
    assert odd_column_warnings(sinogram, geometry) == ()


@pytest.mark.parametrize("start", [0.0, 33.0])
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_half_a_turn_that_is_said_to_be_a_turn_is_noticed(kind, start) -> None:
    for what in ("lopsided", "wires"):
        sinogram, stated = measured(scan(kind, 180, start=start), what), scan(kind, 360, start=start)
        (said,) = span_warnings(sinogram, stated)
        assert "half of that span" in said
        assert said in check_sinogram(sinogram, stated)


@pytest.mark.parametrize("kind", ["bundled", "shared"])
def test_measured_scans_are_sound(kind, bundled_data, request) -> None:
    if kind == "bundled":
        folder = bundled_data / "tooth"
        geometry = read_geometry(folder / "geometry.toml")
        scanned = read_projections(folder / "counts.tif", flat=folder / "flat.tif", dark=folder / "dark.tif")
        assert not any("saturated" in note for note in scanned.notes)
        values = scanned.values
    else:
        folder = request.getfixturevalue("shared_data") / "measured" / "htc2022_tb"
        scanned = read_projections(folder / "sinogram.npz")
        values = scanned.values
        assert scanned.angles is not None
        distances = {"source_to_axis": 410.66, "source_to_detector": 553.74}
        geometry = Geometry(
            "fan", tuple(map(float, scanned.angles)), Detector(560, 0.2), Volume((512, 512), 0.148), **distances
        )
    assert odd_column_warnings(values, geometry) == ()
    assert span_warnings(values, geometry) == ()
