import csv
import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from recon.errors import InputError
from recon.io import Image, ValueRange, read, to_tensor, with_tensor
from recon.io.image import Array

LUT_APPLIED = "mlut_18.dcm"


def sample(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


def stored(image: Image) -> Array:
    return image.pixels if image.grid is None else image.grid.stored(image.pixels)[0]


def test_every_case_decodes_to_its_known_array_or_is_refused_by_name(shared_data: Path) -> None:
    folder = shared_data / "dicom_cases"
    with (folder / "cases.csv").open() as table:
        cases = list(csv.DictReader(table))
    assert len(cases) >= 46
    for case in cases:
        label = case["file"]
        must_decode = case["decodes_with"].startswith("pydicom") and case["modality"] != "SEG"
        try:
            image = read(folder / case["file"])
        except InputError as error:
            assert not must_decode, error
            if "also needs" in case["decodes_with"]:
                assert "needs the package python-gdcm" in str(error), label
            continue
        if not case["decoded_md5"] or label == LUT_APPLIED:
            continue
        shape = tuple(int(length) for length in case["decoded_shape"].strip("()").split(",") if length.strip())
        array = stored(image).transpose(0, 2, 3, 1).reshape(shape).astype(case["decoded_dtype"])
        assert hashlib.md5(array.tobytes(), usedforsecurity=False).hexdigest() == case["decoded_md5"], label
        assert (array.min(), array.max()) == (float(case["decoded_min"]), float(case["decoded_max"])), label
        if case["modality"] == "CT" and case["slope"] and case["intercept"]:
            assert image.units == "HU", label
            expected = array * float(case["slope"]) + float(case["intercept"])
            assert np.array_equal(image.pixels[0, 0], expected.reshape(shape)), label


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "rtstruct.dcm"])
def test_what_is_no_image_is_refused_by_its_kind(name: str) -> None:
    with pytest.raises(InputError, match=r"it is a DICOM .*(Segmentation|RT|SR|ECG).*; expected an image\.$"):
        read(sample(name))


@pytest.mark.parametrize(
    ("name", "package"), [("JPEGLSNearLossless_08.dcm", "python-gdcm"), ("SC_rgb_jpeg_gdcm.dcm", "python-gdcm")]
)
def test_a_missing_decoder_is_named_and_never_the_gpl_one(name: str, package: str) -> None:
    syntax = pydicom.dcmread(sample(name), stop_before_pixels=True).file_meta.TransferSyntaxUID
    if pydicom.pixels.get_decoder(syntax).is_available:
        pytest.skip(f"a decoder of {syntax.name} is installed")
    with pytest.raises(InputError, match=f"coding needs the package {package}, which is not installed") as caught:
        read(sample(name))
    assert "libjpeg" not in str(caught.value)


def test_ct_is_in_hounsfield_units_on_their_range() -> None:
    image = read(sample("CT_small.dcm"))
    raw = pydicom.dcmread(sample("CT_small.dcm"))
    assert np.array_equal(image.pixels[0, 0], raw.pixel_array.astype(int) - 1024)
    assert image.value_range == ValueRange(-1024.0, 3071.0, "HU")
    assert image.spacing == tuple(float(number) for number in raw.PixelSpacing)


def test_the_same_image_in_every_coding_and_byte_order() -> None:
    expected = read(sample("MR_small.dcm")).pixels
    for name in ("MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_expb", "MR_small_jp2klossless"):
        assert np.array_equal(read(sample(f"{name}.dcm")).pixels, expected), name


def test_mr_without_rescale_has_none_invented() -> None:
    image = read(sample("MR_small.dcm"))
    assert image.grid is not None
    assert image.grid.is_plain
    assert image.units == ""


def edited(tmp_path: Path, name: str, **values: object) -> Path:
    dataset = pydicom.dcmread(sample(name))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "edited.dcm")
    return tmp_path / "edited.dcm"


def test_monochrome1_is_turned_for_processing(tmp_path: Path) -> None:
    image = read(edited(tmp_path, "MR_small.dcm", PhotometricInterpretation="MONOCHROME1"))
    plain = read(sample("MR_small.dcm"))
    assert image.grid is not None
    assert np.array_equal(
        image.pixels.astype(int), -1 - plain.pixels.astype(int)
    )  # the ends -32768 and 32767 change places
    assert any("MONOCHROME1" in note for note in image.notes)


@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536)])
def test_padding_is_found_whatever_sign_it_is_written_with(tmp_path: Path, vr: str, value: int) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    pixels = dataset.pixel_array.copy()
    pixels[:5, :7] = -2000
    dataset.PixelData = pixels.tobytes()
    dataset.add_new("PixelPaddingValue", vr, value)
    dataset.save_as(tmp_path / "padded.dcm")
    image = read(tmp_path / "padded.dcm")
    assert image.padding is not None
    assert np.count_nonzero(image.padding) == 35
    assert not to_tensor(image)[0, 0, :5, :7].any()
    changed = with_tensor(image, torch.full_like(to_tensor(image), 0.5))
    assert (changed.pixels[0, 0, :5, :7] == -3024).all()


def test_a_pet_slice_has_its_own_rescale_and_units(shared_data: Path) -> None:
    for path in sorted((shared_data / "pet").rglob("*.dcm"))[:3]:
        raw = pydicom.dcmread(path)
        image = read(path)
        assert image.units == "BQML"
        expected = raw.pixel_array * float(raw.RescaleSlope) + float(raw.RescaleIntercept)
        assert np.allclose(image.pixels[0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "frames"), [("examples_palette.dcm", 1), ("examples_ybr_color.dcm", 30), ("SC_rgb_rle_2frame.dcm", 2)]
)
def test_colours_become_rgb(name: str, frames: int) -> None:
    image = read(sample(name))
    assert image.pixels.shape[:2] == (frames, 3)
    assert image.pixels.dtype == np.uint8


def test_a_dose_grid_is_in_its_units() -> None:
    raw = pydicom.dcmread(sample("rtdose_1frame.dcm"))
    image = read(sample("rtdose_1frame.dcm"))
    assert np.allclose(image.pixels[0, 0], raw.pixel_array * float(raw.DoseGridScaling))
    assert image.units == "RELATIVE"


@pytest.mark.parametrize("slope", [0, "nan", "1e300"])
def test_a_rescale_that_cannot_be_undone_is_refused(tmp_path: Path, slope: object) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    dataset["RescaleSlope"]._value = pydicom.valuerep.DSfloat(slope)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="rescale slope or intercept is zero or not finite"):
        read(tmp_path / "a.dcm")


def test_nothing_of_the_patient_is_printed(tmp_path: Path) -> None:
    planted = {"PatientName": "Planted^Name", "PatientID": "PLANTED-ID", "StudyDescription": "PLANTED"}
    path = edited(tmp_path, "CT_small.dcm", **planted)
    image = read(path)
    for text in (repr(image), str(image), repr(image.source), repr(image.value_range), " ".join(image.notes)):
        assert "lanted" not in text.lower()


@pytest.mark.parametrize("least", [-2048, -3024])
def test_padding_that_is_not_declared_is_air_for_solvers_and_comes_back(tmp_path: Path, least: int) -> None:
    data = pydicom.dcmread(sample("CT_small.dcm"))
    del data.PixelPaddingValue
    pixels = data.pixel_array.copy()
    pixels[:20, :20] = least - int(data.RescaleIntercept)
    data.PixelData = pixels.astype(np.int16).tobytes()
    data.save_as(tmp_path / "padded.dcm")
    image = read(tmp_path / "padded.dcm")
    assert f"400 pixels have {least} HU, less than air, and no padding is declared" in " ".join(image.notes)
    x = to_tensor(image)
    assert (x[0, 0, :20, :20] == 0).all()
    back = with_tensor(image, 0.5 * x)
    assert (back.pixels[0, 0, :20, :20] == least).all()


def test_noise_below_air_is_no_padding(tmp_path: Path) -> None:
    data = pydicom.dcmread(sample("CT_small.dcm"))
    del data.PixelPaddingValue
    pixels = data.pixel_array.copy()
    noise = np.random.default_rng(0).integers(-40, 40, (60, 60))
    pixels[:60, :60] = -1024 - int(data.RescaleIntercept) + noise
    data.PixelData = pixels.astype(np.int16).tobytes()
    data.save_as(tmp_path / "noisy.dcm")
    assert read(tmp_path / "noisy.dcm").padding is None


CODED = ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "JPGExtended.dcm"]


@pytest.mark.parametrize("kept", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", CODED)
def test_coded_pixels_that_are_cut_off_are_called_so(tmp_path: Path, name: str, kept: float) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    (tmp_path / "a.dcm").write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match="cut off"):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "JPEG2000.dcm", "JPGExtended.dcm"])
def test_a_coded_stream_that_is_cut_off_within_a_whole_file_is_called_so(tmp_path: Path, name: str) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 3 * 2]])
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"cut off within its pixels.* without its end mark"):
        read(tmp_path / "a.dcm")


@pytest.mark.skipif(importlib.util.find_spec("gdcm") is not None, reason="gdcm decodes it")
@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_12_bits_is_named_with_what_converts_it(name: str) -> None:
    with pytest.raises(InputError, match=r"12 bits a sample, .* python-gdcm, .*'gdcmconv --raw' .*'dcmdjpeg'"):
        read(str(get_testdata_file(name)))


def test_plain_jpeg_that_is_not_common_is_named_with_what_converts_it(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("JPGExtended.dcm")))
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    (tmp_path / "a.jpg").write_bytes(frame)
    with pytest.raises(InputError, match=r"it is JPEG with 12 bits a sample; expected JPEG with 8 bits .*'djpeg -pnm'"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize(("code", "said"), [(0xC3, "lossless JPEG"), (0xC9, "arithmetic JPEG"), (0xF7, "JPEG-LS")])
def test_other_codings_of_jpeg_are_named(tmp_path: Path, code: int, said: str) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue().replace(b"\xff\xc0", bytes([0xFF, code])))
    with pytest.raises(InputError, match=f"it is {said} with 8 bits"):
        read(tmp_path / "a.jpg")
