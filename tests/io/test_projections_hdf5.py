"""HDF5 with projections, sound and hostile: the reader's own process may fail, ours may not."""

import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest

from recon.errors import ConsistencyError, InputError, ReconError, UsageError
from recon.io import line_integrals, read_projections
from recon.io.projections import hdf5

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
VIEWS, ROWS, COLUMNS = 6, 3, 7
ANGLES = np.linspace(0, 150, VIEWS)
DATA = RNG.integers(1000, 9000, (VIEWS, ROWS, COLUMNS)).astype(np.uint16)
WHITE = RNG.integers(9000, 9100, (4, ROWS, COLUMNS)).astype(np.uint16)
DARK = RNG.integers(90, 110, (5, ROWS, COLUMNS)).astype(np.uint16)
GZIP = {"chunks": (4, 2, 3), "compression": "gzip", "shuffle": True, "fletcher32": True}


def exchange(path: Path, group: str = "exchange", units: object = "degrees", **storage: object) -> Path:
    """A file in the Data Exchange format."""
    with h5py.File(path, "w") as file:
        held = file.create_group(group)
        held.create_dataset("data", data=DATA, **storage)
        held.create_dataset("data_white", data=WHITE)
        held.create_dataset("data_dark", data=DARK)
        theta = np.deg2rad(ANGLES) if "rad" in str(units) else ANGLES
        held.create_dataset("theta", data=theta).attrs["units"] = units
    return path


def expected(rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    stacks = (array[:, rows].transpose(1, 0, 2) for array in (DATA, WHITE, DARK))
    return line_integrals(*stacks)[:2]


def refused(path: Path, says: str, error: type[ReconError] = InputError, **arguments: object) -> None:
    with pytest.raises(error, match=says) as caught:
        read_projections(path, **arguments)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, 3, 7)}, GZIP, {"compression": "lzf"}])
def test_a_data_exchange_file_is_counts_with_their_fields_and_angles(tmp_path, storage):
    read = read_projections(exchange(tmp_path / "a.h5", **storage))
    values, weights = expected()
    np.testing.assert_array_equal(read.values, values)
    np.testing.assert_array_equal(read.weights, weights)
    np.testing.assert_array_equal(read.angles, ANGLES)
    assert read.notes == (
        "The line integrals were computed from counts with a flat field of 4 frames and a dark field of 5 frames.",
    )


def test_some_rows_are_read_alone(tmp_path):
    path = exchange(tmp_path / "a.h5", **GZIP)
    read = read_projections(path, slices=(1, 2), max_values=VIEWS * COLUMNS)
    np.testing.assert_array_equal(read.values, expected(slice(1, 2))[0])
    refused(path, "it declares 6 x 3 x 7 values; expected 1 to 42", max_values=VIEWS * COLUMNS)
    refused(path, "slices 1:4: expected first < stop within 0:3", UsageError, slices=(1, 4))


@pytest.mark.parametrize("units", ["rad", b"radians"])
def test_radians_are_turned_into_degrees(tmp_path, units):
    read = read_projections(exchange(tmp_path / "a.h5", units=units))
    np.testing.assert_allclose(read.angles, ANGLES)
    assert "radians" in read.notes[0]


def test_any_other_dataset_is_read_with_what_stands_beside_it(tmp_path):
    path = exchange(tmp_path / "a.h5", "entry/1")
    refused(path, "it has no dataset at 'exchange/data'; expected")
    np.testing.assert_array_equal(read_projections(path, dataset="/entry/1/data").values, expected()[0])
    refused(path, r"it has one of shape \(6,\) at 'entry/1/theta'", dataset="entry/1/theta")
    with h5py.File(path, "a") as file:
        file["exchange"] = h5py.SoftLink("/entry/1")
        file["sinogram"] = DATA[:, 0].astype(np.float32) / 9000
        file["again"] = h5py.SoftLink("again")
    np.testing.assert_array_equal(read_projections(path).values, expected()[0])
    read = read_projections(path, dataset="sinogram")
    np.testing.assert_array_equal(read.values, DATA[None, :, 0].astype(np.float32) / 9000)
    assert read.angles is read.weights is None
    refused(path, "its links to 'again' lead nowhere", dataset="again")
    refused(path, "no dataset", dataset="/sinogram/data")


def test_a_single_row_and_a_single_frame(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"] = DATA, WHITE[0]
        file["line/data"], file["line/data_white"], file["line/data_dark"] = DATA[:, 1], WHITE[:, 1], DARK[0, 1]
    values = line_integrals(DATA.transpose(1, 0, 2), WHITE[0])[0]
    np.testing.assert_array_equal(read_projections(tmp_path / "a.h5").values, values)
    np.testing.assert_array_equal(read_projections(tmp_path / "a.h5", slices=(2, 3)).values, values[2:])
    line = line_integrals(DATA[None, :, 1], WHITE[None, :, 1], DARK[None, :1, 1])[0]
    np.testing.assert_array_equal(read_projections(tmp_path / "a.h5", dataset="line/data").values, line)


def test_a_flat_field_of_another_file_goes_first_and_one_may_be_left_aside(tmp_path):
    path, flat = exchange(tmp_path / "a.h5"), tmp_path / "flat.npy"
    np.save(flat, np.full((ROWS, COLUMNS), 20000.0))
    read = read_projections(path, flat=flat, slices=(0, 2))
    wanted = line_integrals(DATA.transpose(1, 0, 2)[:2], 20000.0, DARK.transpose(1, 0, 2)[:2])[0]
    np.testing.assert_array_equal(read.values, wanted)
    read = read_projections(path, counts=False)
    np.testing.assert_array_equal(read.values, DATA.transpose(1, 0, 2))
    assert "The flat field in the file was not used" in read.notes[0]


def test_a_field_of_another_detector_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"] = DATA, WHITE[:, :2]
    refused(tmp_path / "a.h5", r"data_white has shape \(4, 2, 7\) and the data \(6, 3, 7\)", ConsistencyError)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"], file["exchange/theta"] = DATA, WHITE, ANGLES[:4]
    refused(tmp_path / "b.h5", "there are 4 angles and 6 views", ConsistencyError)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"] = DATA, 5
    refused(tmp_path / "c.h5", r"data_white has shape \(\)", ConsistencyError)


def test_integers_alone_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = DATA
    refused(tmp_path / "a.h5", r"it holds integers \(uint16\) and no flat field")


def test_no_other_file_is_opened(tmp_path):
    secret = exchange(tmp_path / "secret.h5")
    (tmp_path / "secret.raw").write_bytes(bytes(DATA.nbytes))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange"] = h5py.ExternalLink(str(secret), "/exchange")
        layout = h5py.VirtualLayout(DATA.shape, DATA.dtype)
        layout[:] = h5py.VirtualSource(str(secret), "exchange/data", DATA.shape)
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", DATA.shape, DATA.dtype, external=str(tmp_path / "secret.raw"))
    refused(tmp_path / "a.h5", "'exchange' is a link into another file")
    for name in ("virtual", "raw"):
        refused(tmp_path / "a.h5", "its data lie in another file", dataset=name)


def bomb(size: int) -> bytes:
    """A zlib stream of that many mebibytes of zeros, made of one piece over and over."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + (size - 1) * piece + packer.flush()


def test_what_is_declared_is_bounded(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("huge", (10**6, 10**6), "f4", chunks=(1000, 1000))
        file.create_dataset("long", (2, 2), "f4", chunks=(512, 512), maxshape=(None, None))[0] = 1
        file.create_dataset("many", (2**12, 2**12), "f4", chunks=(1, 1))[0, 0] = 1
        file.create_dataset("unwritten", (5, 6), "f4")
        file.create_dataset("text", data=np.array([[b"abc"]]))
        file.create_dataset("nothing", (0, 6), "f4")
        packed = file.create_dataset("bomb", (8, 8), "f4", chunks=(8, 8), compression="gzip")
        packed.id.write_direct_chunk((0, 0), bomb(4096))
    for name, says in (
        ("huge", "it declares 1000000 x 1000000 values; expected 1 to"),
        ("long", "it declares 512 x 512 values"),
        ("many", "its data are cut into 16777216 chunks"),
        ("unwritten", "nothing was written into it"),
        ("text", r"type \|S3; expected plain real numbers"),
        ("nothing", "it declares 0 x 6 values"),
        ("bomb", r"cut off or damaged"),  # and not for want of the machine's memory
    ):
        refused(tmp_path / "a.h5", says, dataset=name, max_values=10**5 if name == "long" else 2**28)


def test_a_missing_plug_in_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((4, 4))
        created.set_filter(31234, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4, 4))
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_FLOAT, space, created)
        made.write_direct_chunk((0, 0), bytes(64))
    refused(tmp_path / "a.h5", "packed by 'filter 31234', which h5py cannot unpack", dataset="data")


def test_without_h5py_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    refused(exchange(tmp_path / "a.h5"), r"h5py, which reads them, is not installed; .* 'recon-imaging\[hdf5\]'")


@pytest.mark.parametrize(
    "script",
    [
        "import os; os.abort()",
        "print('{')",
        'print(\'{"arrays": [["values", "<f4", [1, 2, 3]]], "total": 1, "radians": false}\')',
        "print('x' * 10**6)",
        "print('[]')",
    ],
    ids=["crash", "no JSON", "cut off", "no end", "no answer"],
)
def test_a_reader_that_fails_is_a_damaged_file(tmp_path, monkeypatch, script):
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(hdf5, "_WORKER", tmp_path / "worker.py")
    refused(exchange(tmp_path / "a.h5"), "cut off or damaged")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, kept):
    data = exchange(tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(data[: int(kept * len(data))])
    refused(tmp_path / "a.h5", "cut off or damaged|no dataset")


def test_a_reader_that_turns_in_circles_is_stopped(tmp_path, monkeypatch):
    pytest.importorskip("resource")
    path = exchange(tmp_path / "a.h5")
    worker = hdf5._WORKER.read_text().replace("bound_memory(0)", "while True: pass")
    assert "while True" in worker
    (tmp_path / "worker.py").write_text(worker)
    monkeypatch.setattr(hdf5, "_WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(hdf5, "_PATIENCE", 1)
    refused(path, "cut off or damaged")


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_projections_or_an_error_in_a_sentence(tmp_path, seed):
    """Few, because each starts a process; a loop in the HDF5 library ends after `_PATIENCE`."""
    draw = random.Random(seed)
    data = bytearray(exchange(tmp_path / "a.h5", **(GZIP if seed % 2 else {})).read_bytes())
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(draw.choice((3000, len(data))))
        change = draw.choice((os.urandom(1), b"\xff\xff\xff\x7f", b"\0", b"\xff" * 8))
        data[at : at + len(change)] = change
    (tmp_path / "a.h5").write_bytes(bytes(data))
    try:
        assert np.isfinite(read_projections(tmp_path / "a.h5").values).all()
    except (InputError, ConsistencyError) as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
        assert len(str(error)) < 400


def test_a_measured_tooth_is_read(shared_data):
    read = read_projections(shared_data / "measured/tooth/tooth.h5")
    assert read.values.shape == (2, 181, 640)
    assert read.values.dtype == np.float32
    assert abs(read.angles[1] - 0.99447514) < 1e-8
    assert (read.weights > 3000).all()
    air = read.values[:, :, 20:100]
    assert abs(np.median(air)) < 0.02
    # the noise of air is the Poisson noise of its counts, up to a constant gain
    middle = read.values[:, :, 250:340]
    noise = [np.median(np.abs(np.diff(part, 2, axis=2))) / 0.6745 / 6**0.5 for part in (air, middle)]
    assert noise[1] > noise[0]
    with h5py.File(shared_data / "measured/tooth/tooth.h5") as file:
        counts, white, dark = (file[f"exchange/{name}"][:] for name in ("data", "data_white", "data_dark"))
    plain = -np.log((counts - dark.mean(0)) / (white.mean(0) - dark.mean(0))).transpose(1, 0, 2)
    assert np.abs(read.values - plain).max() < 0.005
