"""Archives: every byte of every file comes back, single files and frames too, and of damaged ones what is whole."""

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recon.errors import ConsistencyError, InputError, OutputError, UsageError
from recon.packing import Settings, list_entries, pack, png_stream, read_frame, unpack
from recon.packing.container import MAGIC, Reader, Writer
from recon.packing.layout import find_layout
from recon.packing.planes import deflated
from recon.packing.workers import Workers

DATA = Path(__file__).resolve().parents[2] / "data"
EXAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def scene(seed: int = 0, shape: tuple[int, ...] = (80, 72)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(shape[-2]), 2 * np.arange(shape[-1]))
    return ramp + rng.normal(0, 4, shape)


def series(folder: Path, count: int = 5) -> Path:
    """Slices of one series, named in no order."""
    folder.mkdir()
    source = pydicom.dcmread(EXAMPLES / "CT_small.dcm")
    base = source.pixel_array.astype(np.int64)
    for number in range(count):
        slice_ = pydicom.dcmread(EXAMPLES / "CT_small.dcm")
        slice_.PixelData = (
            (base + number + np.random.default_rng(number).integers(0, 3, base.shape)).astype("<i2").tobytes()
        )
        slice_.SOPInstanceUID = f"1.2.3.{number}"
        slice_.ImagePositionPatient = [0, 0, 5 * number]
        slice_.InstanceNumber = number
        slice_.save_as(folder / f"{count - number:02}.dcm")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every kind that is packed by its pixels, and of others."""
    root = tmp_path / "files"
    (root / "deep" / "er").mkdir(parents=True)
    np.save(root / "i2.npy", scene().astype("<i2"))
    np.save(root / "stack.npy", np.stack([scene(k) for k in range(5)]).astype(">u2"))
    np.save(root / "fortran.npy", np.asfortranarray(scene().astype("f4")))
    np.save(root / "complex.npy", (scene() + 1j * scene(1)).astype("c8"))
    np.save(root / "bool.npy", scene() > 40)
    np.save(root / "line.npy", np.arange(100.0))
    np.save(root / "scalar.npy", np.float64(3))
    np.save(root / "u8.npy", np.array([[0, 2**64 - 1], [5, 7]], np.uint64))
    np.savez(root / "deep" / "arrays.npz", a=scene())
    tifffile.imwrite(root / "deep" / "float.tif", scene().astype("f4"))
    tifffile.imwrite(
        root / "deep" / "pages.tif",
        np.stack([scene(k) for k in range(3)]).astype("u2"),
        rowsperstrip=7,
        photometric="minisblack",
    )
    tifffile.imwrite(
        root / "deep" / "rgb.tif",
        np.clip(scene(0, (3, 80, 72)), 0, 255).astype("u1").transpose(1, 2, 0),
        photometric="rgb",
    )
    tifffile.imwrite(root / "deep" / "deflated.tif", scene().astype("u2"), compression="zlib")
    grey = Image.fromarray(np.clip(scene(0, (160, 150)), 0, 255).astype("u1"))
    grey.save(root / "grey.png")
    grey.save(root / "deep" / "er" / "photo.jpg")
    Image.merge("RGB", [grey, grey, grey.rotate(180)]).save(root / "rgb.png", compress_level=9)
    grey.quantize(16).save(root / "palette.png")
    Image.fromarray(scene().astype("u2")).save(root / "sixteen.png")
    (root / "empty").write_bytes(b"")
    (root / "notes.txt").write_text("to the byte\n" * 40)
    (root / "noise.bin").write_bytes(os.urandom(3000))
    (root / "cut.npy").write_bytes((root / "i2.npy").read_bytes()[:-7])
    return root


def archive_of(names: list[str], path: Path, has_list: bool = True) -> None:
    """An archive of files with these names, whatever they are; of each the content is its number."""
    with path.open("wb") as handle:
        writer = Writer(handle)
        if has_list:
            writer.contents([(name, 1) for name in names])
        for number, name in enumerate(names):
            data = str(number).encode()
            facts = {"mode": "raw", "name": name, "size": 1, "sha256": hashlib.sha256(data).hexdigest()}
            writer.entry(number, facts, b"", [data])
        writer.finish()


def same(one: Path, other: Path) -> bool:
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_every_file_comes_back_to_the_byte(folder, tmp_path):
    done = {file.name.removeprefix("files/"): file for file in pack([folder], tmp_path / "a.rpk")}
    restored, remark = unpack(tmp_path / "a.rpk", tmp_path / "out")
    assert not remark
    assert not [file for file in restored if file.problem or file.remark]
    assert same(folder, tmp_path / "out" / "files")
    for name in ("i2.npy", "stack.npy", "deep/float.tif", "deep/pages.tif", "deep/rgb.tif", "grey.png", "sixteen.png"):
        assert done[name].how == "pixels", name
        assert done[name].stored < 0.9 * done[name].size, name
    assert done["noise.bin"].how == "as is"
    assert done["notes.txt"].how == "bytes"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.dcm")), ids=lambda path: path.name)
def test_dicom_files_of_every_kind_come_back(path, tmp_path):
    if path.stat().st_size > 300_000:
        pytest.skip("large")
    pack([path], tmp_path / "a.rpk")
    unpack(tmp_path / "a.rpk", tmp_path)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


class TestThreads:
    @pytest.mark.parametrize("tolerance", [0, 3])
    def test_the_archive_is_the_same_for_any_number(self, folder, tmp_path, tolerance):
        inputs = [folder] if tolerance else [folder, series(tmp_path / "ct", 7)]
        archives = []
        for jobs in (1, 3):
            pack(inputs, tmp_path / f"{jobs}.rpk", Settings(tolerance, group=2), jobs=jobs)
            archives.append((tmp_path / f"{jobs}.rpk").read_bytes())
        assert archives[0] == archives[1]

    def test_what_is_restored_is_the_same_for_any_number(self, folder, tmp_path):
        ct = series(tmp_path / "ct", 7)
        pack([folder, ct], tmp_path / "a.rpk", Settings(group=3))
        found = [unpack(tmp_path / "a.rpk", tmp_path / f"out{jobs}", jobs=jobs) for jobs in (1, 4)]
        assert found[0] == found[1]
        for jobs in (1, 4):
            assert same(folder, tmp_path / f"out{jobs}" / "files")
            assert same(ct, tmp_path / f"out{jobs}" / "ct")

    def test_some_slices_of_a_group_are_restored(self, tmp_path):
        ct = series(tmp_path / "ct", 5)
        names = [file.name for file in pack([ct], tmp_path / "a.rpk", jobs=2)]
        unpack(tmp_path / "a.rpk", tmp_path / "out", only=[names[1], names[2], names[4]], jobs=2)
        for name in (names[1], names[2], names[4]):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()

    def test_a_refusal_in_a_thread_is_that_of_the_first_file(self, folder, tmp_path):
        with pytest.raises(UsageError, match="SOP instance UID"):
            pack([folder, series(tmp_path / "ct", 2)], tmp_path / "a.rpk", Settings(tolerance=1), jobs=3)
        assert not (tmp_path / "a.rpk").exists()

    def test_fewer_than_one(self, folder, tmp_path):
        with pytest.raises(UsageError, match="expected at least 1"):
            pack([folder], tmp_path / "a.rpk", jobs=0)

    def test_results_come_in_order_and_few_are_begun_early(self):
        begun = []

        def work(item):
            begun.append(item)
            return item

        results = Workers(2).map(work, range(50))
        assert next(results) == 0
        assert len(begun) < 10
        assert list(results) == list(range(1, 50))

    def test_large_pieces_are_not_worked_on_together(self):
        running, most = [0], [0]

        def work(_):
            running[0] += 1
            most[0] = max(most[0], running[0])
            time.sleep(0.01)
            running[0] -= 1

        list(Workers(4).map(work, range(6), lambda _: 2**31))
        assert most[0] == 1


def test_pixels_of_uncompressed_dicom_are_found():
    found = find_layout((EXAMPLES / "CT_small.dcm").read_bytes())
    assert found
    assert (found.dtype, found.shape) == ("<i2", (1, 128, 128, 1))
    assert find_layout((EXAMPLES / "JPEG2000.dcm").read_bytes()) is None


class TestSeries:
    def test_slices_are_predicted_from_each_other_in_the_order_of_their_places(self, tmp_path):
        folder = series(tmp_path / "ct", 5)
        alone = sum(file.stored for file in pack([folder], tmp_path / "alone.rpk", Settings(group=1)))
        together = pack([folder], tmp_path / "a.rpk")
        assert sum(file.stored for file in together) < 0.8 * alone
        places = [pydicom.dcmread(tmp_path / file.name).InstanceNumber for file in together]
        assert places == sorted(places)
        unpack(tmp_path / "a.rpk", tmp_path / "out")
        assert same(folder, tmp_path / "out" / "ct")

    def test_any_slice_is_restored_alone(self, tmp_path):
        folder = series(tmp_path / "ct", 5)
        pack([folder], tmp_path / "a.rpk", Settings(group=3))
        for path in folder.iterdir():
            unpack(tmp_path / "a.rpk", tmp_path / "out", only=[f"ct/{path.name}"])
            assert (tmp_path / "out" / "ct" / path.name).read_bytes() == path.read_bytes()

    def test_a_damaged_slice_takes_only_those_of_its_group_with_it(self, tmp_path):
        folder = series(tmp_path / "ct", 7)
        done = pack([folder], tmp_path / "a.rpk", Settings(group=3))
        data = bytearray((tmp_path / "a.rpk").read_bytes())
        chunks = marks(data)
        place = next(at for at, kind, entry in chunks if (kind, entry) == (b"P", 4))
        data[place + 40] ^= 1
        (tmp_path / "a.rpk").write_bytes(data)
        restored, _ = unpack(tmp_path / "a.rpk", tmp_path / "out")
        lost = [file.name for file in restored if file.problem]
        assert lost == [done[4].name, done[5].name]
        assert "altered" in next(file.problem for file in restored if file.problem)
        for file in restored:
            if not file.problem:
                assert (tmp_path / "out" / file.name).read_bytes() == (tmp_path / file.name).read_bytes()


def marks(data: bytes) -> list[tuple[int, bytes, int]]:
    """Where chunks begin, their kinds and entries."""
    found, at = [], 16
    while at < len(data):
        kind, entry, length = data[at + 4 : at + 5], *struct.unpack("<I4xQ", data[at + 8 : at + 24])
        found.append((at, kind, entry))
        at += 32 + length
    return found


def test_a_frame_of_a_stack_is_read_alone(folder, tmp_path):
    pack([folder], tmp_path / "a.rpk", Settings(group=2))
    stack = np.load(folder / "stack.npy")
    for k in range(5):
        assert np.array_equal(read_frame(tmp_path / "a.rpk", "files/stack.npy", k)[..., 0], stack[k])
    with pytest.raises(UsageError, match="expected one of 0 to 4"):
        read_frame(tmp_path / "a.rpk", "files/stack.npy", 5)
    with pytest.raises(InputError, match="restore the whole file"):
        read_frame(tmp_path / "a.rpk", "files/notes.txt", 0)


class TestLossy:
    def test_no_grey_value_is_further_off(self, folder, tmp_path):
        done = pack([folder], tmp_path / "a.rpk", Settings(tolerance=3))
        unpack(tmp_path / "a.rpk", tmp_path / "out")
        for file in done:
            before, after = tmp_path / file.name, tmp_path / "out" / file.name
            if file.how != "lossy":
                assert before.read_bytes() == after.read_bytes()
            elif before.suffix == ".npy":
                one, other = (np.load(path).astype(complex) for path in (before, after))
                assert 0 < max(abs((one - other).real).max(), abs((one - other).imag).max()) <= 3
        lossy = {Path(file.name).name for file in done if file.how == "lossy"}
        assert lossy >= {"i2.npy", "stack.npy", "float.tif", "grey.png", "fortran.npy"}
        grey = [np.asarray(Image.open(root / "grey.png"), int) for root in (folder, tmp_path / "out" / "files")]
        assert 0 < abs(grey[0] - grey[1]).max() <= 3

    def test_dicom_is_refused_and_nothing_is_written(self, tmp_path):
        with pytest.raises(UsageError, match="SOP instance UID"):
            pack([series(tmp_path / "ct", 2)], tmp_path / "a.rpk", Settings(tolerance=1))
        assert not (tmp_path / "a.rpk").exists()


class TestBadInput:
    def test_sources_that_are_missing_or_have_one_name(self, folder, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            pack([tmp_path / "none"], tmp_path / "a.rpk")
        (tmp_path / "i2.npy").write_bytes(b"x")
        with pytest.raises(UsageError, match="two inputs have this name"):
            pack([folder / "i2.npy", tmp_path / "i2.npy"], tmp_path / "a.rpk")
        (tmp_path / "nothing").mkdir()
        with pytest.raises(InputError, match="holds no file"):
            pack([tmp_path / "nothing"], tmp_path / "a.rpk")

    def test_an_archive_and_files_that_exist_are_kept(self, folder, tmp_path):
        pack([folder / "i2.npy"], tmp_path / "a.rpk")
        with pytest.raises(OutputError, match="exists"):
            pack([folder / "i2.npy"], tmp_path / "a.rpk")
        with pytest.raises(OutputError, match="one of the inputs"):
            pack([folder / "i2.npy"], folder / "i2.npy", overwrite=True)
        (tmp_path / "i2.npy").write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists"):
            unpack(tmp_path / "a.rpk", tmp_path)
        assert (tmp_path / "i2.npy").read_bytes() == b"mine"
        unpack(tmp_path / "a.rpk", tmp_path, overwrite=True)
        assert (tmp_path / "i2.npy").read_bytes() == (folder / "i2.npy").read_bytes()

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
    def test_names_that_lead_out_of_the_folder(self, tmp_path, name):
        archive_of([name], tmp_path / "a.rpk")
        (tmp_path / "out").mkdir()
        with pytest.raises(ConsistencyError, match="leads out"):
            unpack(tmp_path / "a.rpk", tmp_path / "out")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.rpk", "out"]

    @pytest.mark.parametrize("has_list", [True, False])
    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            (["a", "n" * 256, "b"], "too long"),
            (["a", "n" * 256 + "/x", "b"], "too long"),
            (["a", "/".join(["n" * 200] * 30), "b"], "too long"),
            (["a", "c\0d", "b"], "no file"),
            (["a", ".", "b"], "no file"),
            (["a", "c/", "b"], "no file"),
            (["a", "a", "b"], "the same name"),
            (["a", "./a", "b"], "the same name"),
            (["a", "a/c", "b"], "cannot be made|cannot be written"),
            (["a", "link/a", "b"], "the same place"),
        ],
    )
    @pytest.mark.parametrize("overwrite", [True, False])
    def test_a_name_that_cannot_be_written_is_reported_and_the_others_are_restored(
        self, tmp_path, names, reason, overwrite, has_list
    ):
        archive_of(names, tmp_path / "a.rpk", has_list)
        out = tmp_path / "out"
        out.mkdir()
        (out / "link").symlink_to(out)
        restored, _ = unpack(tmp_path / "a.rpk", out, overwrite=overwrite)
        assert [bool(file.problem) for file in restored] == [False, True, False]
        assert restored[1].name == names[1]
        assert re.search(reason, restored[1].problem)
        assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == {"a": b"0", "b": b"2"}

    def test_every_name_that_a_file_has_comes_back(self, tmp_path):
        """Those that other systems do not take, and those that are as long as a name may be."""
        root = tmp_path / "files"
        root.mkdir()
        for name in ("10:30.dcm", "a\\b", "x" * 255, "x." + "y" * 253, os.fsdecode(b"caf\xe9"), "new\nline", "-o"):
            (root / name).write_text(name.encode("utf-8", "surrogateescape").hex())
        pack([root], tmp_path / "a.rpk")
        restored, _ = unpack(tmp_path / "a.rpk", tmp_path / "out")
        assert not [file for file in restored if file.problem]
        assert same(root, tmp_path / "out" / "files")

    def test_a_link_in_the_folder_that_leads_out(self, folder, tmp_path):
        pack([folder], tmp_path / "a.rpk")
        (tmp_path / "out" / "files").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out" / "files" / "deep").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConsistencyError, match="a link"):
            unpack(tmp_path / "a.rpk", tmp_path / "out")
        assert not list((tmp_path / "elsewhere").iterdir())

    def test_a_folder_that_is_a_file(self, folder, tmp_path):
        pack([folder], tmp_path / "a.rpk")
        for name in ("out", "out/files"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"mine")
            with pytest.raises(OutputError, match="cannot be made"):
                unpack(tmp_path / "a.rpk", tmp_path / "out")
            assert (tmp_path / name).read_bytes() == b"mine"
            (tmp_path / name).unlink()

    def test_a_pipe_is_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="a pipe"):
            pack([tmp_path / "pipe"], tmp_path / "a.rpk")
        assert not (tmp_path / "a.rpk").exists()

    def test_names_that_are_not_there(self, folder, tmp_path):
        pack([folder / "i2.npy"], tmp_path / "a.rpk")
        with pytest.raises(InputError, match="no file"):
            unpack(tmp_path / "a.rpk", tmp_path / "out", only=["j2.npy"])

    def test_what_is_no_archive_and_what_is_of_a_later_version(self, folder, tmp_path):
        for data, words in ((b"", "empty"), (b"PK\3\4" * 9, "no archive"), (MAGIC, "no archive")):
            (tmp_path / "a.rpk").write_bytes(data)
            with pytest.raises(InputError, match=words):
                list_entries(tmp_path / "a.rpk")
        head = struct.pack("<8sHH", MAGIC, 9, 0)
        (tmp_path / "a.rpk").write_bytes(head + zlib.crc32(head).to_bytes(4, "little"))
        with pytest.raises(InputError, match="version 9"):
            list_entries(tmp_path / "a.rpk")


def test_of_an_archive_that_was_cut_off_the_files_before_are_restored(folder, tmp_path):
    pack([folder], tmp_path / "a.rpk")
    data = (tmp_path / "a.rpk").read_bytes()
    counts = []
    for share in (0.3, 0.6, 0.9, 0.999):
        (tmp_path / "cut.rpk").write_bytes(data[: int(share * len(data))])
        restored, remark = unpack(tmp_path / "cut.rpk", tmp_path / f"out{share}")
        assert "cut off" in remark
        whole = [file.name for file in restored if not file.problem]
        counts.append(len(whole))
        assert len(restored) == 22
        for name in whole:
            assert (tmp_path / f"out{share}" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_the_list_of_files_may_be_lost(folder, tmp_path):
    pack([folder], tmp_path / "a.rpk")
    data = bytearray((tmp_path / "a.rpk").read_bytes())
    data[60] ^= 255
    (tmp_path / "a.rpk").write_bytes(data)
    restored, remark = unpack(tmp_path / "a.rpk", tmp_path / "out")
    assert "altered" in remark
    assert not [file for file in restored if file.problem]
    assert same(folder, tmp_path / "out" / "files")


def damaged_outcome(data: bytes, tmp: Path, source: Path) -> None:
    """An altered archive gives true files or says that they are lost; nothing else, and nothing outside."""
    shutil.rmtree(tmp / "out", ignore_errors=True)
    (tmp / "bad.rpk").write_bytes(data)
    try:
        restored, _ = unpack(tmp / "bad.rpk", tmp / "out")
    except (InputError, ConsistencyError, OutputError):
        return
    whole = {file.name for file in restored if not file.problem}
    there = {path.relative_to(tmp / "out").as_posix() for path in (tmp / "out").rglob("*") if path.is_file()}
    assert there == whole
    for name in whole:
        remark = next(file.remark for file in restored if file.name == name)
        found, true = tmp / "out" / name, source / name
        if "every pixel" in remark:
            assert np.array_equal(np.asarray(Image.open(found)), np.asarray(Image.open(true)))
        else:
            assert found.read_bytes() == true.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("small")
    (tmp / "files").mkdir()
    np.save(tmp / "files" / "a.npy", scene(0, (2, 12, 14)).astype("i2"))
    np.save(tmp / "files" / "b.npy", scene(0, (12, 14)).astype("f4"))
    Image.fromarray(np.clip(scene(0, (30, 30)), 0, 255).astype("u1")).save(tmp / "files" / "c.png")
    (tmp / "files" / "d.txt").write_text("words " * 30)
    pack([tmp / "files"], tmp / "a.rpk")
    return tmp, (tmp / "a.rpk").read_bytes()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_altered_archives_never_give_false_files(small, data):
    tmp, whole = small
    altered = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged_outcome(bytes(altered[: data.draw(st.integers(len(whole) // 2, len(whole)))]), tmp, tmp)


HOSTILE = [
    {"size": 2**62}, {"size": -1}, {"size": "5"}, {"name": 5}, {"sha256": None}, {"mode": "magic"}, {"mode": None},
    {"shape": [1, 2**30, 2**30, 1]}, {"shape": [1, 0, 5, 1]}, {"shape": [1, -5, -5, 1]}, {"shape": "x"}, {"shape": [1]},
    {"dtype": "O"}, {"dtype": "<M8[s]"}, {"dtype": "V9"}, {"dtype": "(3,)<i2"}, {"dtype": 7}, {"group": 0},
    {"group": 10**9}, {"after": 0}, {"after": 99}, {"after": -1}, {"after": "x"}, {"ranges": [[0, 5], [2, 5]]},
    {"ranges": [[-5, 336]]}, {"ranges": None}, {"ranges": [[10**15, 336]]}, {"setting": [6, 15, 9, 99]},
    {"setting": [99, 99, 99, 99]}, {"setting": []}, {"cut": [-5, 10]}, {"cut": "x"}, {"start": -3}, {"start": 10**9},
    {"shape": [math.inf] * 4}, {"group": math.inf}, {"ranges": [[math.inf, 1]]}, {"error": 10**400},
    {"error": math.nan}, {"cut": [math.inf]}, {"start": -math.inf},
]  # fmt: skip


@pytest.mark.parametrize(("change", "entry"), list(itertools.product(HOSTILE, range(4))))
def test_archives_whose_descriptions_lie_are_refused_in_bounded_memory(small, tmp_path, change, entry):
    """With right check sums: somebody made them."""
    tmp, whole = small
    reader = Reader(whole)
    with (tmp_path / "bad.rpk").open("wb") as handle:
        writer = Writer(handle)
        writer.contents(reader.contents)
        for number in range(4):
            facts, rest = reader.entry(number)
            count = max(k for kind, e, k in reader.chunks if kind == b"P" and e == number) + 1
            pieces = [reader.body(b"P", number, k) for k in range(count)]
            writer.entry(number, facts | change if number == entry else facts, rest, pieces)
        writer.finish()
    tracemalloc.start()
    try:
        damaged_outcome((tmp_path / "bad.rpk").read_bytes(), tmp_path, tmp)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [math.inf, -math.inf, math.nan, 10**400, "x", None, []])
def test_a_list_whose_sizes_are_none_is_passed_over(small, tmp_path, size):
    """The files are restored by their own descriptions."""
    tmp, whole = small
    reader = Reader(whole)
    with (tmp_path / "bad.rpk").open("wb") as handle:
        writer = Writer(handle)
        writer.contents([(name, size) for name, _ in reader.contents])
        handle.write(whole[reader.chunks[b"D", 0, 0].start - 36 :])
    restored, remark = unpack(tmp_path / "bad.rpk", tmp_path / "out")
    assert "altered" in remark
    assert not [file for file in restored if file.problem]
    assert same(tmp / "files", tmp_path / "out" / "files")


def test_a_bomb_is_refused_in_bounded_memory(tmp_path):
    body = deflated(bytes(2**27))
    with (tmp_path / "a.rpk").open("wb") as handle:
        writer = Writer(handle)
        writer.contents([("x", 10)])
        writer.entry(0, {"mode": "packed", "name": "x", "size": 10, "sha256": "0"}, b"", [body])
        writer.finish()
    tracemalloc.start()
    try:
        (restored,), _ = unpack(tmp_path / "a.rpk", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert restored.problem
    assert not list((tmp_path / "out").rglob("x"))


def test_headers_of_a_series_cost_little(tmp_path):
    folder = series(tmp_path / "ct", 6)
    done = pack([folder], tmp_path / "a.rpk")
    assert all(file.stored - file.pixel_bytes < 700 for file in done[1:]), [f.stored - f.pixel_bytes for f in done]


def test_a_png_that_another_zlib_packs_otherwise_keeps_its_pixels(tmp_path, monkeypatch):
    Image.fromarray(np.clip(scene(0, (160, 150)), 0, 255).astype("u1")).save(tmp_path / "grey.png")
    pack([tmp_path / "grey.png"], tmp_path / "a.rpk")
    true = png_stream._deflated
    monkeypatch.setattr(png_stream, "_deflated", lambda raw, setting: true(raw, (1, *setting[1:])))
    (restored,), _ = unpack(tmp_path / "a.rpk", tmp_path / "out")
    assert "every pixel is as it was" in restored.remark
    found = [np.asarray(Image.open(root / "grey.png")) for root in (tmp_path, tmp_path / "out")]
    assert np.array_equal(*found)


def test_what_the_packaged_images_take(tmp_path):
    """Below JPEG-LS on a CT slice of the repository: 8 bits of 16 would be a fault."""
    (done,) = pack([DATA / "ct" / "tcga_60-2715.dcm"], tmp_path / "a.rpk")
    assert json.dumps(done.how) == '"pixels"'
    assert done.pixel_bytes * 8 / done.pixels < 6
