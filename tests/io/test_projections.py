"""Files of projections: what was written comes back, and what cannot be understood is refused in a sentence."""

import io
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recon.errors import ConsistencyError, InputError, ReconError, UsageError
from recon.io import Projections, line_integrals, read_projections

INTEGRALS = np.random.default_rng(0).uniform(0, 3, (3, 5, 8)).astype(np.float32)  # slices, views, pixels
COUNTS = (100 + 60000 * np.exp(-INTEGRALS)).astype(np.uint16)
FLAT = np.random.default_rng(1).integers(60000, 60200, (3, 4, 8)).astype(np.uint16)
DARK = np.random.default_rng(2).integers(90, 110, (3, 4, 8)).astype(np.uint16)
ANGLES = np.linspace(0, 144, 5)


def written(path: Path, array: np.ndarray) -> Path:
    np.save(path, array) if path.suffix == ".npy" else tifffile.imwrite(path, array, photometric="minisblack")
    return path


def refused(path: Path, says: str, error: type[ReconError] = InputError, **arguments: object) -> None:
    with pytest.raises(error, match=says) as caught:
        read_projections(path, **arguments)
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "\n" not in message
    if error is not UsageError:
        assert message.count(str(path.parent)) == 1


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ">f4"])
def test_line_integrals_come_back(tmp_path, suffix, kind):
    if suffix == ".tif" and kind == np.float16:
        kind = np.float32
    stack, single = INTEGRALS.astype(kind), INTEGRALS[1].astype(kind)
    read = read_projections(written(tmp_path / f"a{suffix}", stack))
    assert read.values.dtype == (np.float64 if kind == np.float64 else np.float32)
    np.testing.assert_array_equal(read.values, stack.astype(read.values.dtype))
    assert read.weights is None
    assert read.angles is None
    assert read.notes == ()
    np.testing.assert_array_equal(read_projections(written(tmp_path / f"b{suffix}", single)).values[0], single)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_counts_are_divided_by_their_fields(tmp_path, suffix):
    paths = [written(tmp_path / f"{name}{suffix}", a) for name, a in (("c", COUNTS), ("f", FLAT), ("d", DARK))]
    read = read_projections(paths[0], flat=paths[1], dark=paths[2])
    values, weights, notes = line_integrals(COUNTS, FLAT, DARK)
    np.testing.assert_array_equal(read.values, values)
    np.testing.assert_array_equal(read.weights, weights)
    assert read.notes == notes
    assert not any(str(tmp_path) in note for note in read.notes)
    assert np.abs(read.values - INTEGRALS).max() < 0.01
    some = read_projections(paths[0], flat=paths[1], dark=paths[2], slices=(1, 3))
    np.testing.assert_array_equal(some.values, values[1:3])


def test_a_frame_of_a_detector_and_frames_of_a_line(tmp_path):
    frame = written(tmp_path / "frame.tif", FLAT[:, 0])
    counts = written(tmp_path / "counts.npy", COUNTS)
    np.testing.assert_array_equal(
        read_projections(counts, flat=frame, slices=(2, 3)).values, line_integrals(COUNTS[2:], FLAT[2:, :1])[0]
    )
    line, frames = written(tmp_path / "line.tif", COUNTS[0]), written(tmp_path / "frames.npy", FLAT[0])
    np.testing.assert_array_equal(read_projections(line, flat=frames).values, line_integrals(COUNTS[:1], FLAT[:1])[0])


def test_three_pixels_are_not_colours(tmp_path):
    assert read_projections(written(tmp_path / "a.npy", INTEGRALS[:, :, :3])).values.shape == (3, 5, 3)


@pytest.mark.parametrize("packed", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["angles", "angles_deg"])
def test_an_archive_has_its_angles(tmp_path, packed, name):
    packed(tmp_path / "a.npz", sinogram=INTEGRALS, other=np.ones(3), **{name: ANGLES})
    read = read_projections(tmp_path / "a.npz")
    np.testing.assert_array_equal(read.values, INTEGRALS)
    np.testing.assert_array_equal(read.angles, ANGLES)
    packed(tmp_path / "b.npz", INTEGRALS[0])
    np.testing.assert_array_equal(read_projections(tmp_path / "b.npz").values[0], INTEGRALS[0])


def test_integers_are_line_integrals_only_if_one_says_so(tmp_path):
    path = written(tmp_path / "a.npy", np.arange(12, dtype=np.uint8).reshape(3, 4))
    refused(path, r"it holds integers \(uint8\) and no flat field; counts need a flat field")
    refused(path, "counts need a flat field", counts=True)
    assert read_projections(path, counts=False).values.dtype == np.float32
    wide = written(tmp_path / "b.npy", np.full((3, 4), 2**24 + 1))
    read = read_projections(wide, counts=False)
    assert (read.values == 2**24 + 1).all()
    assert "The largest line integral is 1.67772e+07" in read.notes[0]
    refused(written(tmp_path / "c.npy", INTEGRALS), "it holds counts and no flat field", counts=True)


def test_arguments_that_contradict_each_other_are_refused(tmp_path):
    path = written(tmp_path / "a.npy", INTEGRALS)
    refused(path, "counts is False and a flat", UsageError, counts=False, flat=path)
    refused(path, "a dark field was given and no flat field", UsageError, dark=path)
    refused(path, "dataset = 'x' names a part of an HDF5 file", UsageError, dataset="x")
    for slices in ((0, 4), (2, 2), (-1, 2), (3, 4)):
        refused(path, f"slices {slices[0]}:{slices[1]}: expected .* within 0:3", UsageError, slices=slices)


def test_fields_that_do_not_fit_are_refused_by_their_name(tmp_path):
    counts, flat = written(tmp_path / "c.npy", COUNTS), written(tmp_path / "f.npy", FLAT[:2])
    with pytest.raises(ConsistencyError, match=r"f\.npy: the field has shape \(2, 4, 8\) .* 3 slices of 8 pixels"):
        read_projections(counts, flat=flat)
    with pytest.raises(InputError, match=r"absent\.npy: the file cannot be opened"):
        read_projections(counts, flat=tmp_path / "absent.npy")
    (tmp_path / "x.npy").write_bytes(b"PK\x03\x04....")
    with pytest.raises(InputError, match=r"x\.npy: the content is a ZIP or NPZ file; expected TIFF or NPY"):
        read_projections(counts, flat=tmp_path / "x.npy")
    zero = written(tmp_path / "z.npy", 0 * FLAT)
    refused(counts, r"c\.npy: the flat field of slice 0 is at most 0", ConsistencyError, flat=zero)


def npy(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": kind})
    return buffer.getvalue()


def npz(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty; expected TIFF, NPY, NPZ or HDF5"),
        (b"GIF89a....", "a GIF file; expected TIFF, NPY, NPZ or HDF5"),
        (b"\x89PNG\r\n\x1a\n", "a PNG file"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (b"hello, world", "none of these"),
        (npy((10**9, 10**9)), "it declares 1000000000 x 1000000000"),
        (npy((100, 100)), "ends after 0 bytes of 80000"),
        (npy((2, 3)) + bytes(40), "ends after 40 bytes of 48"),
        (npy((4,)) + bytes(32), r"shape \(4,\); expected \(views, pixels\)"),
        (npy((1, 1, 2, 2)) + bytes(32), r"expected \(views, pixels\) or \(slices, views, pixels\)"),
        (npy((0, 5)), "expected at least one"),
        (npy((2, 2), "|O"), "expected plain numbers"),
        (npy((2, 2), "<c8") + bytes(32), "numbers of type complex64; expected real ones"),
        (npy((2, 2), "|b1") + bytes(4), "numbers of type bool"),
        (npy((2, 2)) + struct.pack("<4d", 1, 2, float("nan"), 3), "1 of its 4 pixel values are NaN or infinite"),
        (b"II*\0\x08\0\0\0", "cut off or damaged"),
        (b"PK\x03\x04....", "the NPZ file is cut off or damaged"),
        (npz(sinogram=npy((10**9, 10**9))), "it declares 1000000000 x 1000000000"),
        (npz(sinogram=npy((2, 3)) + bytes(40)), "ends after 40 bytes of 48"),
        (npz(sinogram=npy((2, 2), "|O")), "expected plain numbers"),
        (npz(sinogram=b"text"), "the NPY header is cut off or damaged"),
        (npz(a=npy((1, 1)), b=npy((1, 1))), r"it holds 2 arrays \(a, b\); expected one, or one called 'sinogram'"),
        (npz(angles=npy((1,))), "it holds 0 arrays; expected one"),
        (npz(zipfile.ZIP_LZMA, sinogram=npy((1, 1))), "another method than deflate"),
        (npz(sinogram=npy((2, 3)) + bytes(48), angles=npy((3,)) + bytes(24)), "there are 3 angles and 2 views"),
        (npz(sinogram=npy((1, 3)) + bytes(24), angles=npy((1,)) + b"\xff" * 8), "angles are not finite"),
        (npz(sinogram=npy((1, 3)) + bytes(24), angles=npy((1, 1)) + bytes(8)), "there are 1 x 1 angles and 1 views"),
    ],
)
def test_content_that_is_no_sinogram_is_refused_in_a_sentence(tmp_path, content, says):
    (tmp_path / "file.npz").write_bytes(content)
    refused(tmp_path / "file.npz", says, ConsistencyError if "there are" in says else InputError)


def test_an_archive_is_not_unpacked_beyond_what_its_header_declares(tmp_path, monkeypatch):
    """64 MiB of zeros after a header of 2 x 3 numbers, or of too many."""
    unpacked, read = [0], zipfile.ZipExtFile.read

    def counted(stream: zipfile.ZipExtFile, size: int) -> bytes:
        got = read(stream, size)
        unpacked[0] += len(got)
        return got

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    (tmp_path / "a.npz").write_bytes(npz(sinogram=npy((2, 3)) + bytes(2**26)))
    assert read_projections(tmp_path / "a.npz").values.shape == (1, 2, 3)
    (tmp_path / "b.npz").write_bytes(npz(sinogram=npy((10**9, 10**9)) + bytes(2**26)))
    refused(tmp_path / "b.npz", "it declares 1000000000 x 1000000000")
    assert unpacked[0] < 2**16


def test_tiffs_of_colours_and_bombs_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "a.tif", "colours or opacity; expected grey")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 8), np.float32), compression="zlib")
    with tifffile.TiffFile(tmp_path / "b.tif") as opened:
        tags = opened.pages[0].tags
        at, count = tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset
    data, bomb = bytearray((tmp_path / "b.tif").read_bytes()), zlib.compress(bytes(2**24), 9)
    data[at : at + 4], data[count : count + 4] = struct.pack("<I", len(data)), struct.pack("<I", len(bomb))
    (tmp_path / "b.tif").write_bytes(bytes(data) + bomb)
    refused(tmp_path / "b.tif", "far larger than the header declares")


def test_the_limit_is_the_callers_to_set(tmp_path):
    path = written(tmp_path / "a.npy", INTEGRALS)
    assert read_projections(path, max_values=120).values.size == 120
    refused(path, "expected at most 119", max_values=119)


def test_projections_are_checked_and_cannot_be_written_to():
    values = INTEGRALS.copy()
    made = Projections(values, values + 1, ANGLES, ("Note.",))
    for array in (made.values, made.weights, made.angles):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert repr(made) == "Projections(3 x 5 x 8, float32, with weights)"
    with pytest.raises(UsageError, match="expected \\(slices, views, pixels\\)"):
        Projections(values[0])
    with pytest.raises(UsageError, match="float32 or float64"):
        Projections(COUNTS)
    with pytest.raises(UsageError, match="weights have shape"):
        Projections(values, values[:1])
    with pytest.raises(ConsistencyError, match="there are 4 angles and 5 views"):
        Projections(values, None, ANGLES[:4])


def real(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez_compressed(buffer, sinogram=INTEGRALS, angles_deg=ANGLES)
    elif kind == "npy":
        np.save(buffer, INTEGRALS)
    else:
        tifffile.imwrite(buffer, INTEGRALS, photometric="minisblack", compression="zlib" if "deflate" in kind else None)
    return buffer.getvalue()


edits = st.lists(
    st.tuples(st.integers(0, 700) | st.integers(0, 10**6), st.binary(min_size=1, max_size=4) | st.just(b"\xff" * 4)),
    max_size=6,
)


@pytest.mark.parametrize("kind", ["npz", "npy", "tiff", "tiff-deflate"])
@settings(max_examples=60, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(changes=edits, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_a_damaged_file_is_projections_or_an_error_in_a_sentence(kind, changes, kept):
    data = bytearray(real(kind))
    for at, replacement in changes:
        start = at % len(data)
        data[start : start + len(replacement)] = replacement
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(data[: max(1, int(kept * len(data)))]))
        file.flush()
        try:
            assert np.isfinite(read_projections(file.name).values).all()
        except (InputError, ConsistencyError) as error:
            assert str(error).endswith(".")
            assert "\n" not in str(error)
            assert len(str(error)) < 400
