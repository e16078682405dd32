"""Surrogates of a projector's adjoint: each has its exact transpose, and is as far from the adjoint as it says."""

import copy
import importlib.util
import math
import sys

import numba
import pytest
import torch
from dense import matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import ConsistencyError, DeviceError, UsageError
from recon.evidence import Evidence
from recon.operators import adjoint_gap, mismatch_of
from recon.operators.adjoint import transpose
from recon.operators.spectral import Effort
from recon.operators.tomography import (
    SURROGATES,
    Detector,
    Geometry,
    Surrogate,
    Tomography,
    Volume,
    evenly_spaced,
    surrogate,
)
from recon.operators.tomography.unmatched.pixel_driven import PixelDriven
from recon.types import LinearOperator

VOLUME = Volume((9, 8), 1.0, (0.5, -0.3))
FAN = {"source_to_axis": 20.0, "source_to_detector": 45.0}
SCANS = {
    "parallel": Geometry("parallel", evenly_spaced(10, 190, 9), Detector(15, 0.9, 0.2), VOLUME),
    "shadows on the edges of pixels": Geometry("parallel", evenly_spaced(0, 360, 8), Detector(9, 1.0), VOLUME),
    "flat": Geometry("fan", evenly_spaced(0, 360, 9), Detector(13, 2.1, -0.7), VOLUME, **FAN),
    "arc": Geometry("fan", evenly_spaced(0, 220, 9), Detector(13, 2.1, -0.7, "arc"), VOLUME, **FAN),
}
CHOICES = [
    ("pixel-driven", {}),
    ("pixel-driven", {"weights": "constant"}),
    ("pixel-driven", {"bits": 3}),
    ("nearest", {}),
    ("fbp", {"window": "hann"}),
    ("views", {"every": 2}),
    ("views", {"every": 4}),
    ("coarse", {"factor": 2}),
    ("coarse", {"factor": 3}),
]
LABELS = [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in CHOICES]
SHARP = Effort(tolerance=1e-7, applications=800)


@pytest.fixture(autouse=True)
def _one_thread_of_the_loops():
    """On images this small a second thread only costs; that it changes nothing has a test of its own."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


needs_astra = pytest.mark.skipif(importlib.util.find_spec("astra") is None, reason="astra is an optional extra")


def square(kind, size=14):
    """A scan whose detector sees every corner, of about as many numbers as the image has twice."""
    volume, wide = Volume((size, size), 0.7), math.ceil(1.5 * size)
    if kind == "parallel":
        return Tomography(Geometry("parallel", evenly_spaced(0, 180, size), Detector(wide, 0.7), volume))
    distances = {"source_to_axis": 1.4 * size, "source_to_detector": 2.8 * size}
    detector = Detector(wide, 1.4, 0.0, kind)
    return Tomography(Geometry("fan", evenly_spaced(0, 360, size), detector, volume, **distances))


def dense(operator, name, **options):
    """The matrices A^T and K."""
    back = surrogate(name, operator, **options)
    return matrix(operator.A_adjoint, operator.range), matrix(back, operator.range)


def size_of(M):
    return float(torch.linalg.matrix_norm(M, 2))


@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS.keys())
@pytest.mark.parametrize(("name", "options"), CHOICES, ids=LABELS)
def test_the_transpose_is_exact(name, options, geometry):
    back = surrogate(name, Tomography(geometry), **options)
    K, transposed = matrix(back, back.range), matrix(back.A, back.domain)
    assert float((K - transposed.T).abs().max()) <= 1e-13 * float(K.abs().max())
    assert float(K.abs().max()) > 0.01


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(("parallel", "flat", "arc")),
    angles=st.lists(st.floats(-720, 720), min_size=1, max_size=5),
    detector=st.tuples(st.integers(1, 12), st.floats(0.3, 4), st.floats(-6, 6)),
    pixels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bits=st.sampled_from((None, 0, 2)),
    single=st.booleans(),
)
def test_the_pixel_driven_transpose_is_exact_whatever_the_scan(*, kind, angles, detector, pixels, bits, single):
    """In single precision too: both see a shadow at the same place to the last bit, or nearest would jump."""
    is_fan = kind != "parallel"
    geometry = Geometry(
        "fan" if is_fan else kind, tuple(angles), Detector(*detector, kind if is_fan else "flat"),
        Volume(pixels, 1.0, (1.5, -2.0)), **({"source_to_axis": 12.0, "source_to_detector": 30.0} if is_fan else {}),
    )  # fmt: skip
    back = surrogate("pixel-driven", Tomography(geometry), bits=bits)
    dtype, rounding = (torch.float32, 3e-6) if single else (torch.float64, 1e-14)
    K, transposed = matrix(back, back.range, dtype), matrix(back.A, back.domain, dtype)
    assert float((K - transposed.T).abs().max()) <= rounding * max(1.0, float(K.abs().max()))


@pytest.mark.parametrize("geometry", [SCANS["parallel"], SCANS["flat"], SCANS["arc"]], ids=["parallel", "flat", "arc"])
@pytest.mark.parametrize(("power", "bits"), [(0, None), (1, None), (2, 3), (0, 0)])
def test_the_loops_and_torch_give_the_same(geometry, power, bits, generator):
    pixels = PixelDriven(geometry, power, bits)
    y = torch.randn(2, 3, *geometry.sinogram_shape, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, *geometry.image_shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pixels._back_by_views(y), pixels.back(y), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pixels._spread_by_views(x), pixels.spread(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["parallel", "flat", "arc"])
def test_it_does_not_depend_on_the_threads(kind, generator):
    operator = square(kind)
    back = surrogate("pixel-driven", operator)
    y = operator.range.random(generator=generator)
    x = operator.domain.random(generator=generator)
    one = back(y), back.A(x)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for alone, together in zip(one, (back(y), back.A(x)), strict=True):
        assert torch.equal(alone, together)


@pytest.mark.parametrize("name", sorted(SURROGATES.keys() - {"astra"}))
def test_it_is_a_map_an_operator_and_differentiable(name, generator):
    operator = Tomography(SCANS["flat"])
    back = surrogate(name, operator)
    assert isinstance(back, LinearOperator)
    y = operator.range.random(2, 1, generator=generator, dtype=torch.float64).requires_grad_()
    x = operator.domain.random(2, 1, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(back(y), y, x)
    torch.testing.assert_close(gradient, back.A(x))
    torch.testing.assert_close(back(y)[1, 0], back(y[1, 0]))
    torch.testing.assert_close(back(y), back.A_adjoint(y))
    assert transpose(back, y) is not None
    assert back(y.detach().float()).dtype == torch.float32


@pytest.mark.parametrize(("name", "options"), [("views", {"every": 1}), ("coarse", {"factor": 1})])
def test_the_trivial_choice_is_the_adjoint(name, options):
    exact, K = dense(Tomography(SCANS["flat"]), name, **options)
    torch.testing.assert_close(K, exact)


def test_the_pixel_driven_one_is_the_adjoint_where_rays_run_along_the_grid():
    """There Joseph's ray reads the image with the very weights with which a pixel reads the detector."""
    geometry = Geometry("parallel", evenly_spaced(0, 360, 4), Detector(16, 1.0, 0.3), Volume((9, 8), 1.0))
    exact, K = dense(Tomography(geometry), "pixel-driven")
    torch.testing.assert_close(K, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["parallel", "flat", "arc"])
def test_a_pixel_weighs_in_all_as_much_as_in_the_projector(kind):
    """In the mean over the pixels; of one pixel, Joseph's weights sum to a little more or less with its place."""
    operator = square(kind)
    ones = operator.range.zeros(dtype=torch.float64) + 1
    ratio = surrogate("pixel-driven", operator)(ones) / operator.A_adjoint(ones)
    assert float(ratio.mean()) == pytest.approx(1, abs=2e-3)
    assert float((ratio - 1).abs().max()) < 0.1


GAPS = {
    ("parallel", "pixel-driven"): (0.08, 0.15),
    ("parallel", "nearest"): (0.2, 0.3),
    ("parallel", "fbp"): (0.97, 1.0),
    ("parallel", "views"): (1.5, 1.8),
    ("parallel", "coarse"): (0.25, 0.36),
    ("flat", "pixel-driven"): (0.1, 0.14),
    ("arc", "pixel-driven"): (0.1, 0.14),
}
"""On 14 x 14 pixels; it falls with their number. That of every fourth view is near the root of 3."""


@pytest.mark.parametrize(("kind", "name"), GAPS)
def test_the_gap_is_what_dense_algebra_says_and_as_large_as_expected(kind, name):
    operator = square(kind)
    exact, K = dense(operator, name)
    gap = size_of(K - exact) / size_of(exact)
    low, high = GAPS[kind, name]
    assert low < gap < high
    example = operator.domain.zeros(1, 1, dtype=torch.float64)
    measured = adjoint_gap(operator, example, surrogate=surrogate(name, operator))
    claimed = measured.value * operator.properties.norm.value / size_of(exact)
    assert measured.evidence is Evidence.MEASURED
    assert 0.97 * gap < claimed < 1.0001 * gap


@pytest.mark.parametrize(
    ("name", "monotone"), [("pixel-driven", False), ("nearest", False), ("coarse", False), ("views", True)]
)
def test_lanczos_finds_the_constants_of_the_dense_matrices(name, monotone):
    operator = square("parallel", 8)
    exact, K = dense(operator, name)
    B = K @ exact.T
    found = mismatch_of(
        operator, surrogate(name, operator), operator.domain.zeros(1, 1, dtype=torch.float64), effort=SHARP
    )
    assert found.norm.value == pytest.approx(size_of(B), rel=1e-5)
    lowest = float(torch.linalg.eigvalsh((B + B.T) / 2)[0])
    assert found.symmetric_part_min.value == pytest.approx(lowest, abs=1e-3 * abs(lowest) + 1e-9 * size_of(B))
    assert (lowest > -1e-12 * size_of(B)) is monotone
    assert (found.cocoercivity.value > 0) is monotone


def test_every_nth_view_is_the_least_squares_problem_of_those_views():
    """K A = s A_s^T A_s: the farthest of all from the adjoint, and with the constants of a matched pair."""
    operator = square("parallel", 8)
    exact, K = dense(operator, "views", every=2)
    B = K @ exact.T
    torch.testing.assert_close(B, B.T)
    found = mismatch_of(
        operator, surrogate("views", operator, every=2), operator.domain.zeros(1, 1, dtype=torch.float64)
    )
    assert found.cocoercivity.value == pytest.approx(1 / size_of(B), rel=1e-3)


@pytest.mark.parametrize("size", [(16, 20), (15, 19), (17, 18)])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarser_grid_lies_where_the_fine_one_does(size, factor):
    """Of a smooth blob's shadow it gives nearly the adjoint's image; half a pixel aside, errors at least double."""
    volume = Volume(size, 0.7, (0.6, -0.9))
    operator = Tomography(Geometry("parallel", evenly_spaced(0, 180, 40), Detector(60, 0.35), volume))
    u = (torch.arange(60, dtype=torch.float64) - 29.5) * 0.35
    angle = torch.deg2rad(torch.tensor(operator.geometry.angles, dtype=torch.float64))[:, None]
    y = torch.exp(-((u - 1.5 * torch.cos(angle) + 2 * torch.sin(angle)) ** 2) / 18)
    exact, found = operator.A_adjoint(y), surrogate("coarse", operator, factor=factor)(y)
    inner = (slice(factor, -factor),) * 2
    assert float((found - exact)[inner].norm()) < 0.015 * factor * float(exact[inner].norm())


def test_rounding_positions_moves_the_map_by_half_a_step_of_it():
    operator = square("parallel")
    _, sharp = dense(operator, "pixel-driven")
    gaps = [size_of(dense(operator, "pixel-driven", bits=bits)[1] - sharp) / size_of(sharp) for bits in (0, 2, 4, 8)]
    assert gaps[0] > 0.05
    for coarser, finer, ratio in zip(gaps, gaps[1:], (4, 4, 16), strict=False):
        assert ratio / 2 < coarser / finer < ratio * 2


def test_nearest_is_the_pixel_driven_one_without_bits():
    operator = Tomography(SCANS["flat"])
    torch.testing.assert_close(dense(operator, "nearest")[1], dense(operator, "pixel-driven", bits=0)[1])


def test_filtered_back_projection_nearly_inverts_what_the_scan_sees():
    operator = square("parallel", 20)
    exact, K = dense(operator, "fbp", window="hann")
    rows = torch.arange(20.0, dtype=torch.float64) - 9.5
    smooth = torch.exp(-(rows[:, None] ** 2 + rows**2) / 18).flatten()
    assert float((K @ (exact.T @ smooth) - smooth).norm()) < 0.1 * float(smooth.norm())


def test_a_pair_with_a_planted_fault_is_not_taken():
    """K under the transpose of another map: its symmetric part would be that of neither."""
    operator = Tomography(SCANS["parallel"])
    sound = surrogate("pixel-driven", operator)
    faulty = Surrogate("faulty", operator.domain, operator.range, sound.back, operator.A)
    assert transpose(sound, operator.range.zeros(1, dtype=torch.float64)) is not None
    assert transpose(faulty, operator.range.zeros(1, dtype=torch.float64)) is None
    with pytest.raises(UsageError, match="transpose cannot be had"):
        mismatch_of(operator, faulty)


def test_the_name_says_what_was_chosen():
    operator = Tomography(SCANS["parallel"])
    assert surrogate("views", operator, every=3).name == "views:every=3"
    assert surrogate("fbp", operator).name == "fbp"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "pixeldriven",
            {},
            r"no surrogate 'pixeldriven'; did you mean 'pixel-driven'\? known: astra, coarse, fbp, nearest,",
        ),
        ("fbp", {"windows": "hann"}, r"no option of the surrogate 'fbp' 'windows'; did you mean 'window'\?"),
        ("fbp", {"window": "han"}, r"no window 'han'; did you mean 'hann'\?"),
        ("pixel-driven", {"weights": "densty"}, r"'densty'; did you mean 'density'\?"),
        ("pixel-driven", {"bits": -1}, "bits is -1; expected a whole number from 0 to 16"),
        ("views", {"every": 0}, "every is 0; expected a whole number from 1 to 9"),
        ("views", {"every": 2.0}, "every is 2.0"),
        ("coarse", {"factor": 10}, "factor is 10; expected a whole number from 1 to 8"),
        ("astra", {"projector": "lines"}, r"'lines'; did you mean 'line'\?"),
    ],
)
def test_an_unknown_name_or_option_is_refused_with_the_known_ones(name, options, says):
    with pytest.raises(UsageError, match=says):
        surrogate(name, Tomography(SCANS["parallel"]), **options)


def test_a_scan_of_more_than_a_slice_is_refused():
    geometry = copy.copy(SCANS["flat"])
    object.__setattr__(geometry, "kind", "helix")
    with pytest.raises(ConsistencyError, match="'helix'; expected 'parallel' or 'fan'"):
        surrogate("pixel-driven", Tomography(geometry))


def test_an_image_in_the_place_of_a_sinogram_is_refused_by_the_surrogates_name():
    with pytest.raises(UsageError, match=r"^views:every=3: the sinogram has shape \(9, 8\)"):
        surrogate("views", Tomography(SCANS["parallel"]), every=3)(torch.zeros(9, 8))


@needs_astra
@pytest.mark.parametrize(("kind", "projector"), [("parallel", "line"), ("parallel", "strip"), ("flat", "line")])
def test_astra_has_its_own_transpose_and_is_a_mismatch(kind, projector):
    operator = square(kind)
    back = surrogate("astra", operator, projector=projector)
    K, transposed = matrix(back, back.range, torch.float32), matrix(back.A, back.domain, torch.float32)
    assert float((K - transposed.T).abs().max()) <= 1e-5 * float(K.abs().max())
    exact = matrix(operator.A_adjoint, operator.range)
    assert 0.05 < size_of(K.double() - exact) / size_of(exact) < 0.3
    assert mismatch_of(operator, back).symmetric_part_min.value < 0


@needs_astra
def test_astras_linear_projector_is_the_adjoint_of_ours():
    """Whatever the offsets: so both read the geometry in the same way."""
    geometry = Geometry(
        "parallel", evenly_spaced(13, 193, 9), Detector(17, 0.8, 0.3), Volume((7, 10), 0.9, (0.7, -1.2))
    )
    operator = Tomography(geometry)
    K = matrix(surrogate("astra", operator, projector="linear"), operator.range, torch.float32)
    exact = matrix(operator.A_adjoint, operator.range)
    assert size_of(K.double() - exact) < 1e-4 * size_of(exact)


@needs_astra
def test_astra_refuses_what_it_has_not():
    with pytest.raises(ConsistencyError, match="flat one"):
        surrogate("astra", Tomography(SCANS["arc"]))
    with pytest.raises(UsageError, match=r"no ASTRA projector 'linear'; .*known: line, cuda"):
        surrogate("astra", Tomography(SCANS["flat"]), projector="linear")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="GPU"):
            surrogate("astra", Tomography(SCANS["flat"]), projector="cuda")


def test_without_astra_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "astra", None)
    with pytest.raises(UsageError, match=r"pip install recon-imaging\[astra\]"):
        surrogate("astra", Tomography(SCANS["parallel"]))
