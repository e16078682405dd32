"""NIfTI through nibabel and SimpleITK: what was read comes back in every field, and what is doubtful is refused."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from recon.errors import InputError, OutputError
from recon.io import read, to_tensor, with_tensor, write

nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")

SHAPE = (5, 4, 3)
TURN = 0.3
AFFINE = np.array(
    [
        [-0.75, 0, 0, 12.5],
        [0, 0.75 * np.cos(TURN), -2 * np.sin(TURN), -7.25],
        [0, 0.75 * np.sin(TURN), 2 * np.cos(TURN), 3],
        [0, 0, 0, 1],
    ]
)


def voxels(dtype="int16", shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def saved(path: Path, array=None, affine=AFFINE, codes=(1, 1), **fields) -> Path:
    image = nibabel.Nifti1Image(voxels() if array is None else array, affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"as it was"
    for name, value in fields.items():
        image.header[name] = value
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a remark"))
    nibabel.save(image, path)
    return path


def edited(path: Path, offset: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_header_extensions_and_voxels_come_back_to_the_byte(tmp_path: Path, name: str, dtype: str) -> None:
    source = saved(tmp_path / name, voxels(dtype))
    image = read(source)
    assert image.frames == 3
    assert (image.height, image.width) == (4, 5)
    found = with_tensor(image, to_tensor(image)) if image.grid is not None else image  # others are rounded
    written = write(found, tmp_path / f"out_{name}").paths[0]
    unpack = gzip.decompress if name.endswith(".gz") else bytes
    assert unpack(written.read_bytes()) == unpack(source.read_bytes())


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -30.0), (0.1, 4.0)])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_scaling_is_undone_and_kept(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
    source = saved(tmp_path / "v.nii", voxels(dtype), scl_slope=slope, scl_inter=intercept)
    image = read(source)
    expected = nibabel.load(source).get_fdata()
    np.testing.assert_allclose(image.pixels[:, 0].transpose(2, 1, 0), expected, rtol=1e-6)
    written = write(with_tensor(image, to_tensor(image)), tmp_path / "out.nii").paths[0]
    assert written.read_bytes()[:352] == source.read_bytes()[:352]
    np.testing.assert_allclose(nibabel.load(written).get_fdata(), expected, atol=1e-4)


def test_two_other_readers_see_the_same_volume_in_the_same_place(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image = read(saved(tmp_path / "v.nii.gz"))
    changed = with_tensor(image, 1 - to_tensor(image))
    written = write(changed, tmp_path / "out.nii.gz").paths[0]
    by_nibabel, by_itk = nibabel.load(written), itk.ReadImage(str(written))
    np.testing.assert_allclose(by_nibabel.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(by_nibabel.get_fdata().transpose(2, 1, 0), changed.pixels[:, 0])
    np.testing.assert_array_equal(itk.GetArrayFromImage(by_itk), changed.pixels[:, 0])
    np.testing.assert_allclose(by_itk.GetSpacing(), (0.75, 0.75, 2), atol=1e-6)
    np.testing.assert_allclose(by_itk.GetOrigin(), AFFINE[:3, 3] * (-1, -1, 1), atol=1e-5)


def test_spacing_is_that_of_the_affine_in_mm(tmp_path: Path) -> None:
    image = read(saved(tmp_path / "v.nii", xyzt_units=3))  # micrometres
    assert image.spacing == pytest.approx((0.75e-3, 0.75e-3))
    assert image.slices is not None
    assert image.slices.pitch == pytest.approx(2e-3)


def test_times_are_frames_of_their_own(tmp_path: Path) -> None:
    array = voxels(shape=(5, 4, 3, 2))
    source = saved(tmp_path / "v.nii", array)
    image = read(source)
    assert image.source.stack.axes == "TZ"
    np.testing.assert_array_equal(image.pixels[:, 0], array.transpose(3, 2, 1, 0).reshape(6, 4, 5))
    written = write(image, tmp_path / "out.nii").paths[0]
    assert written.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_versions_and_byte_orders_are_read(tmp_path: Path, endian: str, kind: type) -> None:
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(np.dtype("int16").newbyteorder(endian))
    image = kind(voxels(), AFFINE, header)
    image.set_qform(AFFINE, 1)
    nibabel.save(image, tmp_path / "v.nii")
    found = read(tmp_path / "v.nii")
    np.testing.assert_array_equal(found.pixels[:, 0].transpose(2, 1, 0), voxels())
    written = write(found, tmp_path / "out.nii").paths[0]
    assert written.read_bytes() == (tmp_path / "v.nii").read_bytes()


def test_clipped_values_are_counted(tmp_path: Path) -> None:
    image = read(saved(tmp_path / "v.nii", voxels("uint8")))
    assert with_tensor(image, to_tensor(image) + 2).clipped == 60


def test_no_orientation_is_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path / "v.nii", codes=(0, 0)), "no orientation")


@pytest.mark.parametrize(
    ("other", "codes"),
    [
        (AFFINE @ np.diag([-1, 1, 1, 1]), (1, 1)),
        (AFFINE @ np.diag([-1, 1, 1, 1]), (1, 4)),
        (AFFINE @ np.diag([2, 2, 2, 1]), (1, 4)),
        (AFFINE + np.array([[0, 0, 0, 5.0], *np.zeros((3, 4))]), (1, 1)),
    ],
)
def test_two_orientations_that_contradict_each_other_are_refused(tmp_path: Path, other, codes) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.set_qform(AFFINE, codes[0])
    image.set_sform(other, codes[1])
    nibabel.save(image, tmp_path / "v.nii")
    refused(tmp_path / "v.nii", "contradict each other")


def test_a_motion_to_another_space_is_no_contradiction(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.set_qform(AFFINE, 1)
    moved = AFFINE.copy()
    moved[:3, 3] += 20
    image.set_sform(moved, 4)
    nibabel.save(image, tmp_path / "v.nii")
    assert read(tmp_path / "v.nii").frames == 3


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_affine_that_is_not_finite_is_refused(tmp_path: Path, number: float) -> None:
    path = saved(tmp_path / "v.nii")
    refused(edited(path, 280, struct.pack("<f", number)), "NaN or infinite")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = saved(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    refused(path, "cut off|damaged|none of these|not a|GZIP|gzip")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("sides", [(32767, 32767, 1), (32767, 32767, 32767), (4000, 4000, 16)])
def test_sizes_that_are_not_there_are_refused_before_they_are_allocated(tmp_path: Path, name: str, sides) -> None:
    path = saved(tmp_path / "v.nii")
    edited(path, 40, struct.pack("<4h", 3, *sides))
    if name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "v.nii").read_bytes()))
    refused(path, "to bound the memory|cut off|so few bytes")


@pytest.mark.parametrize(
    ("offset", "content", "said"),
    [
        (40, struct.pack("<h", 0), "axes"),
        (40, struct.pack("<h", 900), "axes|damaged"),
        (40, struct.pack("<6h", 5, 5, 4, 3, 1, 3), "vectors"),
        (42, struct.pack("<h", -5), "at least one"),
        (70, struct.pack("<h", 128), "type|bits"),
        (70, struct.pack("<h", 1792), "type|bits"),
        (70, struct.pack("<h", 12345), "type"),
        (72, struct.pack("<h", 8), "bits"),
        (108, struct.pack("<f", 10.0), "begin at byte"),
        (108, struct.pack("<f", 1e9), "begin at byte|cut off"),
        (116, struct.pack("<f", np.inf), "adds"),
        (123, bytes([5]), "unit"),
        (344, b"ni1\0", "pair"),
        (344, b"\0\0\0\0", "ANALYZE"),
    ],
)
def test_a_hostile_header_is_refused_in_a_sentence(tmp_path: Path, offset: int, content: bytes, said: str) -> None:
    path = saved(tmp_path / "v.nii", scl_slope=1, scl_inter=0)
    if offset == 116:
        edited(path, 112, struct.pack("<f", 1.0))
    refused(edited(path, offset, content), said)


def test_other_things_in_gzip_are_no_nifti(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(b"not a volume" * 100))
    refused(path, "gzip file; expected")


def test_another_size_or_source_is_refused_when_it_is_written(tmp_path: Path) -> None:
    image = read(saved(tmp_path / "v.nii"))
    larger = with_tensor(image, to_tensor(image).repeat(1, 1, 2, 2))
    with pytest.raises(OutputError, match="another size"):
        write(larger, tmp_path / "out.nii")
    write(image, tmp_path / "stack.tif")
    with pytest.raises(OutputError, match="where its voxels lie"):
        write(read(tmp_path / "stack.tif"), tmp_path / "out.nii")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stack.tif", "v.nii"]


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, monkeypatch) -> None:
    path = saved(tmp_path / "v.nii")
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    refused(path, r"needs the package nibabel, which is not installed: pip install 'recon-imaging\[nifti\]'")
