"""Projectors: the adjoint is the transpose, and a disc casts the shadow that its chords say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from rounding import at_most

from recon.errors import ConsistencyError, DeviceError, UsageError
from recon.evidence import Evidence
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.operators.tomography.projectors.rays import detector_coordinates

FAN = {"source_to_axis": 60.0, "source_to_detector": 110.0}
FEW_TOUCHED = Geometry("fan", (0.0,), Detector(1, 3.0), Volume((37, 1), 2.0, (0.0, 5.0)), **FAN)
"""Pixels far from the source touch two rays, those near to it as many as the detector has."""


@st.composite
def geometries(draw, longest=12, views=6):
    """Small scans: any angles, detectors finer and coarser than the pixels, off centre, partly outside the image."""
    kind = draw(st.sampled_from(("parallel", "fan")))
    shape = draw(st.sampled_from(("flat", "arc"))) if kind == "fan" else "flat"
    angles = draw(st.lists(st.floats(-720, 720), min_size=1, max_size=views))
    pitch, offset = draw(st.floats(0.2, 4)), draw(st.floats(-8, 8))
    rows = draw(st.integers(1, longest))
    volume = Volume(
        (rows, draw(st.integers(1, max(1, min(longest, 240 // rows))))),
        draw(st.floats(0.4, 2)),
        (draw(st.floats(-5, 5)), draw(st.floats(-5, 5))),
    )
    detector = Detector(draw(st.integers(1, 16)), pitch, offset, shape)
    assume(kind == "parallel" or volume.radius < FAN["source_to_axis"])
    return Geometry(kind, tuple(angles), detector, volume, **(FAN if kind == "fan" else {}))


def dense(apply, space, dtype, alone=False):
    """The matrix of a map, from the unit vectors one by one or, as batches are, several at a time."""
    size = math.prod(space.shape)
    units = torch.eye(size, dtype=dtype).reshape(size, *space.shape)
    columns = torch.stack([apply(unit) for unit in units]) if alone else apply(units)
    return columns.reshape(size, -1).double().T


@settings(max_examples=60, deadline=None)
@given(geometries(), st.booleans())
def test_the_adjoint_is_the_transpose_of_the_matrix(geometry, alone):
    """Whether one of them works on several images at a time, and the other on one, or both do."""
    operator = Tomography(geometry)
    matrix = dense(operator.A, operator.domain, torch.float64, alone)
    transposed = dense(operator.A_adjoint, operator.range, torch.float64)
    assert float((transposed - matrix.T).abs().max()) <= 1e-12 * max(1.0, float(matrix.abs().max()))
    assert bool((matrix >= 0).all())
    assert at_most(float(torch.linalg.matrix_norm(matrix, 2)), operator.properties.norm.value)
    assert operator.properties.norm.evidence is Evidence.PROVED


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(geometries(longest=64, views=5), st.sampled_from([(False, False), (False, True), (True, True)]))
@example(FEW_TOUCHED, (False, False))
def test_the_pair_is_exact_to_the_last_digits_of_its_precision(geometry, alone):
    """In the operator norm, and against that of a single ray through all of the image where hardly one meets it."""
    operator = Tomography(geometry)
    exact = dense(operator.A, operator.domain, torch.float64)
    a_ray = geometry.volume.pitch * math.sqrt(min(geometry.volume.pixels))
    scale = max(float(torch.linalg.matrix_norm(exact, 2)), a_ray)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-13)):
        matrix = dense(operator.A, operator.domain, dtype, alone[0])
        gap = dense(operator.A_adjoint, operator.range, dtype, alone[1]) - matrix.T
        assert float(torch.linalg.matrix_norm(gap, 2)) <= tolerance * scale
        assert float(torch.linalg.matrix_norm(matrix - exact, 2)) <= tolerance * scale


@pytest.mark.parametrize(("kind", "shape"), [("parallel", "flat"), ("fan", "flat"), ("fan", "arc")])
def test_single_precision_does_not_wear_out_with_the_size_of_the_image(kind, shape):
    """Every position along the rays to a wide image, and in the detector, is as exact as near its corner."""
    distances = {"source_to_axis": 1500.0, "source_to_detector": 2500.0} if kind == "fan" else {}
    detector = Detector(1200, 1.3 if kind == "parallel" else 2.1, 3.0, shape)
    operator = Tomography(Geometry(kind, (3.0, 80.0), detector, Volume((2, 1024), 1.1), **distances))
    at_the_end = torch.eye(1024)[-50:].reshape(50, 1, 1024).expand(-1, 2, -1)
    matrix = operator.A(at_the_end).reshape(50, -1)
    alone = torch.stack([operator.A(image) for image in at_the_end]).reshape(50, -1)
    assert float((alone - matrix).norm()) <= 3e-7 * float(matrix.norm())
    hit = matrix.any(dim=0)
    back = operator.A_adjoint(torch.eye(hit.numel())[hit].reshape(-1, *operator.range.shape))
    gap = back[:, :, -50:].sum(1).T - matrix[:, hit]
    assert float(gap.norm()) <= 3e-7 * float(matrix.norm())
    assert float(gap.abs().max()) <= 1e-6 * float(matrix.max())


@pytest.mark.parametrize("many", [1, 3, 4, 8, 13])
@pytest.mark.parametrize(("kind", "shape"), [("parallel", "flat"), ("fan", "flat"), ("fan", "arc")])
def test_a_batch_is_its_images_one_by_one(kind, shape, many, generator):
    distances = FAN if kind == "fan" else {}
    operator = Tomography(
        Geometry(kind, (3.0, 80.0, 200.0), Detector(30, 1.3, 0.4, shape), Volume((17, 23), 1.0), **distances)
    )
    for apply, space in ((operator.A, operator.domain), (operator.A_adjoint, operator.range)):
        batch = torch.randn(many, 1, *space.shape, generator=generator, dtype=torch.float64)
        assert torch.allclose(apply(batch), torch.stack([apply(image) for image in batch]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "shape"), [("parallel", "flat"), ("fan", "flat"), ("fan", "arc")], ids=["parallel", "flat fan", "arc fan"]
)
def test_a_disc_casts_its_chords_and_the_error_falls_with_the_grid(kind, shape):
    errors = [_error_of_a_disc(kind, shape, size) for size in (32, 64, 128)]
    assert errors[2] < 0.01
    assert errors[2] < 0.5 * errors[0]


def _error_of_a_disc(kind: str, shape: str, size: int) -> float:
    width, centre, radius, angles = 100.0, (10.0, 5.0), 30.0, evenly_spaced(0, 360, 24)
    distances = {"source_to_axis": 200.0, "source_to_detector": 400.0} if kind == "fan" else {}
    detector = Detector(size, (2.2 if kind == "fan" else 1.0) * width / size, 0.0, shape)
    geometry = Geometry(kind, angles, detector, Volume((size, size), width / size), **distances)
    fine = 8
    at = ((torch.arange(size * fine, dtype=torch.float64) + 0.5) / (size * fine) - 0.5) * width
    disc = ((at[None, :] - centre[0]) ** 2 + (-at[:, None] - centre[1]) ** 2 < radius**2).double()
    image = torch.nn.functional.avg_pool2d(disc[None], fine)[0]
    expected = _chords(geometry, centre, radius)
    found = Tomography(geometry).A(image).numpy()
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _chords(geometry: Geometry, centre: tuple[float, float], radius: float):
    """From the distance of each ray to the disc's centre, worked out in the frame that turns with the source."""
    angle = np.deg2rad(geometry.angles)[:, None]
    aside = centre[0] * np.cos(angle) + centre[1] * np.sin(angle)
    forth = -centre[0] * np.sin(angle) + centre[1] * np.cos(angle)
    u = detector_coordinates(geometry)
    if geometry.kind == "parallel":
        distance = aside - u
    else:
        far = geometry.source_to_detector
        ray_coordinate = u / far if geometry.detector.shape == "arc" else np.arctan(u / far)
        distance = aside * np.cos(ray_coordinate) - (forth + geometry.source_to_axis) * np.sin(ray_coordinate)
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))


def test_a_pixel_is_seen_where_the_convention_says():
    """A bright pixel right of the centre and one above it: at 0 degrees the detector's axis is x, at 90 degrees y."""
    geometry = Geometry("parallel", (0.0, 90.0), Detector(9, 1.0), Volume((9, 9), 1.0))
    image = torch.zeros(9, 9, dtype=torch.float64)
    image[4, 6] = image[1, 4] = 1.0  # x = 2, and y = 3
    at_zero, at_ninety = Tomography(geometry).A(image)
    assert at_zero.nonzero().flatten().tolist() == [4, 6]
    assert at_ninety.nonzero().flatten().tolist() == [4, 7]


def test_the_offset_moves_the_axis_of_rotation_in_the_detector():
    """The axis is seen by pixel 2 of 9, two pixels and so 2 mm on the low side of the middle."""
    geometry = Geometry("parallel", evenly_spaced(0, 360, 8), Detector(9, 1.0, offset=2.0), Volume((5, 5), 1.0))
    image = torch.zeros(5, 5, dtype=torch.float64)
    image[2, 2] = 1.0
    assert Tomography(geometry).A(image).argmax(dim=1).tolist() == [2] * 8


def test_autograd_applies_the_adjoint_and_batches_are_their_items():
    geometry = Geometry("fan", evenly_spaced(0, 360, 7), Detector(11, 2.0), Volume((6, 8), 1.0), **FAN)
    operator, generator = Tomography(geometry), torch.Generator().manual_seed(0)
    x = operator.domain.random(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    y = operator.range.random(2, 3, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(operator.A(x), x, y)
    torch.testing.assert_close(gradient, operator.A_adjoint(y))
    torch.testing.assert_close(operator.A(x)[1, 2], operator.A(x[1, 2]))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"angles": ()}, "angles"),
        ({"angles": (math.nan,)}, "angles"),
        ({"source_to_axis": None}, "source_to_axis"),
        ({"source_to_detector": 50.0}, "source_to_detector"),
        ({"source_to_axis": 3.0}, "volume reaches"),
        ({"kind": "parallel"}, "parallel rays have no source"),
    ],
)
def test_an_impossible_scan_is_refused_by_name(change, names):
    sound = {"kind": "fan", "angles": (0.0,), "detector": Detector(9, 1.0), "volume": Volume((9, 9), 1.0), **FAN}
    with pytest.raises(ConsistencyError, match=names):
        Geometry(**{**sound, **change})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_by_name(dtype):
    geometry = Geometry("parallel", (0.0, 90.0), Detector(9, 1.0), Volume((9, 9), 1.0))
    with pytest.raises(UsageError, match=f"the image has dtype {dtype}; expected torch.float32 or torch.float64"):
        Tomography(geometry).A(torch.zeros(9, 9, dtype=dtype))


def test_a_device_that_nothing_is_compiled_for_is_refused():
    geometry = Geometry("parallel", (0.0, 90.0), Detector(9, 1.0), Volume((9, 9), 1.0))
    with pytest.raises(DeviceError, match="the image is on meta; expected the CPU or a CUDA device"):
        Tomography(geometry).A(torch.zeros(9, 9, device="meta"))


def test_a_transposed_sinogram_is_refused():
    geometry = Geometry("parallel", (0.0, 90.0), Detector(9, 1.0), Volume((9, 9), 1.0))
    with pytest.raises(UsageError, match=r"\(9, 2\); expected \(..., 2, 9\)"):
        Tomography(geometry).A_adjoint(torch.zeros(9, 2))
