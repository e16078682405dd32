"""The image codec: exact for every plane, on every machine, within its tolerance, and safe with bytes that lie."""

import decimal
import os
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.io.decoded import RefusedError
from recon.packing import codec_kernels, frames, planes
from recon.packing.codec_tables import tables
from recon.packing.floats import decode_floats, encode_floats


def a_plane(seed: int, rows: int, columns: int) -> np.ndarray:
    """Integers of a kind that the seed chooses: noise, ramps, few values, gaps, extremes, constants."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    kinds = [
        rng.integers(0, 2 ** rng.integers(1, 17), (rows, columns)),
        (3 * y + 2 * x + rng.normal(0, 5, (rows, columns))).astype(np.int64) - 1000,
        rng.choice([-2000, 0, 1, 5, 30000], (rows, columns)),
        np.where(rng.random((rows, columns)) < 0.02, 65535, 0),
        np.full((rows, columns), rng.integers(-32768, 32767)),
        8 * rng.integers(0, 50, (rows, columns)),
        rng.integers(-(2**30), 2**30, (rows, columns)),
        rng.integers(-(2**62), 2**62, (rows, columns)),
    ]
    return np.asarray(kinds[seed % len(kinds)], np.int64)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_every_plane_comes_back(seed, rows, columns, refers):
    plane = a_plane(seed, rows, columns)
    reference = a_plane(seed // 8, rows, columns) if refers else None
    coded = planes.encode_plane(plane, reference)
    needed = reference if planes.refers(coded) else None
    assert np.array_equal(planes.decode_plane(coded, plane.shape, needed), plane)


@pytest.mark.nightly
def test_ten_thousand_random_planes_come_back():
    rng = np.random.default_rng(0)
    for seed in range(10000):
        plane = a_plane(seed, *rng.integers(1, 24, 2))
        assert np.array_equal(planes.decode_plane(planes.encode_plane(plane), plane.shape), plane), seed


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 500), st.integers(2, 30))
def test_no_value_is_further_off_than_the_tolerance(seed, tolerance, side):
    plane = a_plane(seed, side, side + 3)
    found = planes.decode_plane(planes.encode_plane(plane, tolerance=tolerance), plane.shape)
    assert abs(found - plane).max() <= tolerance
    assert found.min() >= plane.min()
    assert found.max() <= plane.max()


def test_a_tolerance_saves_bytes():
    plane = a_plane(1, 64, 64)
    assert len(planes.encode_plane(plane, tolerance=3)) < 0.6 * len(planes.encode_plane(plane))


def test_a_plane_larger_than_the_window_and_wider_than_a_block_comes_back():
    plane = a_plane(1, 3 * codec_kernels.WINDOW + 5, 5 * codec_kernels.BLOCK + 3)
    assert np.array_equal(planes.decode_plane(planes.encode_plane(plane), plane.shape), plane)


def test_a_plane_that_is_like_its_reference_takes_few_bytes():
    plane = a_plane(0, 64, 64)
    assert len(planes.encode_plane(plane + 7, plane)) < 0.7 * len(planes.encode_plane(plane))


class TestTheSameBitsOnEveryMachine:
    def test_the_interpreter_decodes_what_compiled_code_encoded(self, monkeypatch):
        plane = a_plane(1, 20, 37)
        coded = planes.encode_plane(plane, plane[::-1])
        for name in dir(codec_kernels):
            plain = getattr(getattr(codec_kernels, name), "py_func", None)
            if plain:
                monkeypatch.setattr(codec_kernels, name, plain)
        with np.errstate(all="ignore"):
            found = planes.decode_plane(coded, plane.shape, plane[::-1])
        assert np.array_equal(found, plane)

    @pytest.mark.nightly  # compiles everything anew
    def test_no_floating_point_operations_are_fused(self, tmp_path):
        program = (
            "import numpy as np\nfrom recon.packing import codec_kernels as kernels, planes\n"
            "planes.encode_plane(np.arange(99).reshape(9, 11))\n"
            "for compiled in (kernels.code_plane, kernels._solve):\n    print(*compiled.inspect_asm().values())\n"
        )
        fresh = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        code = subprocess.run(
            [sys.executable, "-c", program], env=fresh, capture_output=True, text=True, check=True
        ).stdout
        assert re.search(r"\bv?(mulsd|fmul)\b", code)
        assert not re.search(r"\bv?fn?m(add|sub|la|ls)\w*", code)

    def test_a_known_plane_has_known_bytes(self):
        """The format: where this changes, archives of before cannot be read, and VERSION must grow."""
        y, x = np.mgrid[:24, :40]
        coded = planes.encode_plane((7 * y * y + 5 * x * x + 13 * x * y) % 251)
        assert (len(coded), zlib.crc32(coded)) == KNOWN

    def test_the_tables_are_the_logistic_function(self):
        squash, stretch, _ = tables()
        for position in (-2047, -1000, -1, 0, 1, 777, 2047):
            exact = 65536 / (1 + (decimal.Decimal(-position) / 256).exp())
            assert abs(squash[position + 2048] - min(max(exact, 16), 65520)) <= 0.5
        assert abs(stretch[squash[1:-1] >> 4] - (np.arange(1, 4095) - 2048))[1500:2500].max() <= 1


KNOWN = (1015, 1234966281)


class TestHostileBytes:
    def test_what_cannot_hold_so_many_pixels_is_refused_before_it_is_allocated(self):
        coded = planes.encode_plane(a_plane(1, 16, 16))
        with pytest.raises(RefusedError, match="it cannot hold them"):
            planes.decode_plane(coded, (4096, 4096))

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_altered_bytes_give_a_plane_or_a_refusal(self, data):
        plane = a_plane(data.draw(st.integers(0, 40)), 12, 17)
        coded = bytearray(planes.encode_plane(plane))
        for _ in range(data.draw(st.integers(1, 4))):
            coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(coded)))
        try:
            found = planes.decode_plane(bytes(coded[:cut]), plane.shape)
        except RefusedError:
            return
        assert found.shape == plane.shape

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_altered_bytes_of_numbers_give_numbers_or_a_refusal(self, data):
        rng = np.random.default_rng(0)
        kinds = (rng.normal(size=(9, 11)), rng.integers(0, 9, (9, 11)) / 8, rng.choice([0.1, 0.3, -2], (9, 11)))
        values = kinds[data.draw(st.integers(0, 2))].astype("f4")
        coded = bytearray(encode_floats(values))
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = decode_floats(bytes(coded), values.shape, "<f4")
        except RefusedError:
            return
        assert found.shape == values.shape


FLOATS = {
    "noise": lambda rng: rng.normal(size=(17, 19)),
    "eighths": lambda rng: rng.integers(-99, 99, (17, 19)) / 8,
    "masked": lambda rng: np.where(rng.random((17, 19)) < 0.5, 0, rng.normal(size=(17, 19))),
    "wide": lambda rng: np.exp(40 * rng.normal(size=(17, 19))),
    "few": lambda rng: rng.choice(np.array([0.1, -0.3, 1e9]), (17, 19)),
    "constant": lambda _: np.full((17, 19), 0.1),
    "one": lambda _: np.full((1, 1), -0.0),
}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("kind", FLOATS)
def test_numbers_come_back_to_the_bit(kind, dtype):
    with np.errstate(over="ignore"):
        values = FLOATS[kind](np.random.default_rng(0)).astype(dtype)
    for special in (np.nan, np.inf, -np.inf, -0.0, np.finfo(values.dtype).tiny / 2, np.finfo(values.dtype).max):
        found = decode_floats(encode_floats(values), values.shape, dtype)
        assert found.dtype == np.dtype(dtype)
        assert found.tobytes() == values.tobytes()
        values.ravel()[np.random.default_rng(1).integers(values.size)] = special


@settings(max_examples=80, deadline=None)
@given(st.binary(min_size=48, max_size=48), st.sampled_from(["<f2", "<f4", "<f8"]))
def test_any_bits_of_numbers_come_back(data, dtype):
    values = np.frombuffer(data, dtype).reshape(2, -1)
    assert decode_floats(encode_floats(values), values.shape, dtype).tobytes() == values.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 10), st.sampled_from(["<f4", "<f8"]), st.sampled_from(sorted(FLOATS)))
def test_no_number_is_further_off_than_the_tolerance(tolerance, dtype, kind):
    with np.errstate(over="ignore"):
        values = FLOATS[kind](np.random.default_rng(0)).astype(dtype)
    found = decode_floats(encode_floats(values, tolerance), values.shape, dtype)
    with np.errstate(invalid="ignore"):
        off = abs(found.astype(float) - values.astype(float))
    assert np.all((found == values) | (off <= tolerance))


def test_a_frame_needs_only_its_group():
    stack = np.stack([a_plane(1, 20, 20) + k for k in range(10)])[..., None].astype("<i2")
    plan = frames.Plan(stack.shape, "<i2", group=4)
    pieces = list(frames.encode(stack, plan, 0, None))
    for wanted in range(10):
        asked = []

        def piece(number, asked=asked):
            asked.append(number)
            return pieces[number]

        ((_, found, _),) = frames.decode(plan, piece, range(wanted, wanted + 1), dict)
        assert np.array_equal(found[..., 0], stack[wanted, ..., 0])
        assert asked == list(range(wanted - wanted % 4, wanted + 1))


def test_large_frames_are_cut_into_bands(monkeypatch):
    monkeypatch.setattr(frames, "MOST_PIXELS", 200)
    stack = np.stack([a_plane(1, 23, 20), a_plane(2, 23, 20)])[..., None].astype("<i2")
    plan = frames.Plan(stack.shape, "<i2", group=2)
    pieces = list(frames.encode(stack, plan, 0, None))
    assert len(pieces) == plan.pieces == 6
    found = np.concatenate([band for _, band, _ in frames.decode(plan, pieces.__getitem__, range(2), dict)])
    assert np.array_equal(found.reshape(stack.shape), stack)
