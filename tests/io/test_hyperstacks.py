"""Time, depth and channel of ImageJ's and OME's stacks: read in the order that they have, and written back."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from orientation_cases import lzw

from recon.errors import InputError
from recon.io import Image, read, to_tensor, with_tensor, write
from recon.reconstruction.file_names import SUFFIXES

LENGTHS = {"T": 2, "Z": 3, "C": 4, "Y": 7, "X": 5, "S": 3}
IMAGEJ = {
    "unit": "um",
    "spacing": 2.5,
    "finterval": 1.5,
    "mode": "composite",
    "min": 3.0,
    "max": 200.0,
    "Info": "a remark",
    "Labels": [f"plane {number}" for number in range(24)],
}
OME = {
    "PhysicalSizeX": 0.5,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.25,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 2.0,
    "TimeIncrement": 1.5,
    "Channel": {"Name": ["a", "b", "c", "d"]},
    "Name": "cells",
}


def coded(axes: str, dtype: str = "uint16") -> np.ndarray:
    """Numbers that say where they are: T, Z, C and S each a digit."""
    digits = {"T": 1000, "Z": 100, "C": 10, "S": 1}
    index = np.indices([LENGTHS[axis] for axis in axes])
    values = index[axes.index("X")]
    values = values + sum(digits[axis] * along for axis, along in zip(axes, index, strict=True) if axis in digits)
    return np.asarray(values % 251 if dtype == "uint8" else values).astype(dtype)


def back(image: Image) -> Image:
    """As a solver returns it."""
    return with_tensor(image, to_tensor(image))


def same(found: np.ndarray, pixels: np.ndarray) -> None:
    """Equal, floating point but for the rounding of the way to [0, 1] and back in single precision."""
    np.testing.assert_allclose(found, pixels, rtol=1e-6 * (pixels.dtype.kind == "f"), atol=1e-3)


def series_of(path: Path) -> tuple[str, str, np.ndarray]:
    with tifffile.TiffFile(path) as opened:
        series = opened.series[0]
        return series.kind, series.axes, series.asarray()


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "TCYX", "TZYX", "ZYX", "CYX", "TYX", "YX", "TZCYXS", "ZYXS", "YXS"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_imagej(tmp_path: Path, axes: str, dtype: str) -> None:
    if "S" in axes and dtype != "uint8":
        pytest.skip("ImageJ has no such colours")
    pixels = coded(axes, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": axes}, resolution=(2.0, 4.0))
    image = read(tmp_path / "a.tif")
    colours = 3 if "S" in axes else 1
    flat = pixels.reshape(-1, 7, 5, colours).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(image.pixels, flat)
    write(back(image), tmp_path / "b.tif")
    kind, found, again = series_of(tmp_path / "b.tif")
    assert (kind, found) == ("imagej", axes)
    same(again, pixels)


def test_what_imagej_says_of_a_stack_is_kept(tmp_path: Path) -> None:
    pixels = coded("TZCYX")
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZCYX", **IMAGEJ}, resolution=(2.0, 4.0)
    )
    image = read(tmp_path / "a.tif")
    assert image.spacing == pytest.approx((0.25e-3, 0.5e-3))
    write(back(image), tmp_path / "b.tif")
    for name in "ab":
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as opened:
            found = opened.imagej_metadata
            assert {key: found[key] for key in IMAGEJ} == IMAGEJ
            assert [opened.pages[0].tags[tag].value for tag in ("XResolution", "YResolution")] == [(2, 1), (4, 1)]


LUTS = [np.stack([np.arange(256) * (k == channel) for k in range(3)]).astype(np.uint8) for channel in range(3)]
DISPLAY = {
    "Ranges": (3.0, 90.0, 5.0, 200.0, 0.0, 40.0, 1.0, 2.0),
    "LUTs": [*LUTS, np.stack([np.arange(256)] * 3).astype(np.uint8)],
    "Overlays": [b"Iout" + bytes(60), b"Iout" + bytes(range(60))],
    "ROI": b"Iout" + bytes(60),
    "Info": "first line\nBitsPerPixel = 12",
    "unit": "\\u00B5m",
    "spacing": 0.29,
    "finterval": 0.75,
    "tunit": "sec",
    "fps": 1.25,
    "loop": False,
    "cf": 0,
    "c0": -32.5,
    "c1": 0.25,
    "vunit": "intensity",
    "xorigin": 3.5,
    "zorigin": 1.0,
    "Labels": [f"c:{number % 4 + 1}/4 t:{number}" for number in range(24)],
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_round_trip_of_an_imagej_hyperstack_loses_nothing(tmp_path: Path, dtype: str) -> None:
    pixels = coded("TZCYX", dtype)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZCYX", "mode": "composite", **DISPLAY},
        resolution=(1 / 0.3, 1 / 0.7),
    )  # fmt: skip
    write(back(read(tmp_path / "a.tif")), tmp_path / "b.tif")
    described = []
    for name in "ab":
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as opened:
            metadata = dict(opened.imagej_metadata)
            assert metadata.keys() >= DISPLAY.keys()
            for channel, lut in zip(DISPLAY["LUTs"], metadata.pop("LUTs"), strict=True):
                np.testing.assert_array_equal(channel, lut)
            tags = opened.pages[0].tags
            resolution = [tags[tag].value for tag in ("XResolution", "YResolution", "ResolutionUnit")]
            described.append((metadata, opened.pages[0].description, resolution, opened.series[0].axes))
    assert described[0] == described[1]


@pytest.mark.parametrize(
    "axes", ["".join(order) for size in (0, 1, 2, 3) for order in itertools.permutations("TZC", size)]
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_ome_in_every_order(tmp_path: Path, axes: str, dtype: str) -> None:
    pixels = coded(f"{axes}YX", dtype)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": f"{axes}YX"}, photometric="minisblack")
    image = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.pixels[:, 0], pixels.reshape(-1, 7, 5))
    write(back(image), tmp_path / "b.ome.tif")
    kind, found, again = series_of(tmp_path / "b.ome.tif")
    assert (kind, found) == ("ome", f"{axes}YX")
    same(again, pixels)


def test_ome_of_colours(tmp_path: Path) -> None:
    pixels = coded("ZYXS", "uint8")
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": "ZYXS"}, photometric="rgb")
    image = read(tmp_path / "a.ome.tif")
    assert image.pixels.shape == (3, 3, 7, 5)
    write(back(image), tmp_path / "b.ome.tif")
    assert series_of(tmp_path / "b.ome.tif")[:2] == ("ome", "ZYXS")


def test_what_ome_says_of_a_stack_is_kept(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", coded("TCZYX"), ome=True, metadata={"axes": "TCZYX", **OME}, photometric="minisblack"
    )
    image = read(tmp_path / "a.ome.tif")
    assert image.spacing == pytest.approx((0.25e-3, 0.5e-3))
    write(back(image), tmp_path / "b.ome.tif")
    for name in "ab":
        with tifffile.TiffFile(tmp_path / f"{name}.ome.tif") as opened:
            said = tifffile.xml2dict(opened.ome_metadata)["OME"]["Image"]
        assert said["Name"] == "cells"
        assert [channel["Name"] for channel in said["Pixels"]["Channel"]] == ["a", "b", "c", "d"]
        assert all(said["Pixels"][key] == OME[key] for key in OME if key not in {"Channel", "Name"})


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_a_result_of_another_size_has_no_lateral_distances(tmp_path: Path, kind: str) -> None:
    metadata = {"axes": "ZYX", **({"unit": "um"} if kind == "imagej" else OME | {"Channel": None})}
    metadata.pop("Channel", None)
    tifffile.imwrite(tmp_path / "a.tif", coded("ZYX"), **{kind: True}, metadata=metadata, resolution=(2.0, 4.0))
    image = read(tmp_path / "a.tif")
    write(with_tensor(image, to_tensor(image).repeat_interleave(2, -1)), tmp_path / "b.tif")
    assert read(tmp_path / "b.tif").spacing is None
    assert series_of(tmp_path / "b.tif")[:2] == (kind, "ZYX")


def test_what_a_dialect_does_not_hold_is_said_and_the_axes_are_kept(tmp_path: Path) -> None:
    pixels = coded("TZCYX", "uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZCYX"})
    image = read(tmp_path / "a.tif")
    done = write(with_tensor(image, to_tensor(image).double(), floating=True), tmp_path / "b.tif")
    assert done.notes == (
        "ImageJ's TIFF does not hold numbers of type float64: its metadata were left out, its axes are kept.",
    )
    assert series_of(tmp_path / "b.tif")[:2] == ("shaped", "TZCYX")


def test_named_axes_of_plain_tiff_are_kept(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", coded("TZYX"), metadata={"axes": "TZYX"}, photometric="minisblack")
    write(back(read(tmp_path / "a.tif")), tmp_path / "b.tif")
    kind, axes, pixels = series_of(tmp_path / "b.tif")
    assert (kind, axes) == ("shaped", "TZYX")
    np.testing.assert_array_equal(pixels, coded("TZYX"))


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_stack_goes_into_other_formats_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    assert suffix in SUFFIXES
    tifffile.imwrite(tmp_path / "a.tif", coded("TZYX"), imagej=True, metadata={"axes": "TZYX"})
    done = write(back(read(tmp_path / "a.tif")), tmp_path / f"b{suffix}")
    assert len(done.paths) == (1 if suffix == ".npy" else 6)


def test_pages_of_a_stack_are_found_where_they_are(tmp_path: Path) -> None:
    """OME may keep its planes in any order; LZW is unpacked page by page."""
    axes, order = "ZYX", (2, 0, 1)
    pixels = coded(axes, "uint8")
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="7" SizeZ="3" SizeC="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        + "".join(f'<TiffData FirstZ="{z}" IFD="{ifd}" PlaneCount="1"/>' for ifd, z in enumerate(order))
        + "</Pixels></Image></OME>"
    )
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        for number, z in enumerate(order):
            said = xml if number == 0 else None
            segment = iter([lzw(pixels[z].tobytes())])
            writer.write(
                segment, shape=(7, 5), dtype="uint8", compression="zlib", metadata=None, description=said
            )  # fmt: skip
    data = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(
        data.replace(b"\x03\x01\x03\0\x01\0\0\0\x08\0", b"\x03\x01\x03\0\x01\0\0\0\5\0")
    )
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif").pixels[:, 0], pixels)


def test_a_data_set_of_several_files_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", coded("ZYX"), ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    data = (tmp_path / "a.ome.tif").read_bytes()
    one = b'<TiffData IFD="0" PlaneCount="3"/>'
    assert one in data
    other = b'<TiffData FirstZ="2" IFD="0"><UUID FileName="other.tif">urn:uuid:1</UUID></TiffData>'
    xml = data[data.index(b"<?xml") : data.index(b"</OME>") + 6]
    several = xml.replace(one, b'<TiffData IFD="0" PlaneCount="2"/>' + other)
    planes = coded("ZYX")[:2]
    with tifffile.TiffWriter(tmp_path / "b.ome.tif") as writer:
        for number, plane in enumerate(planes):
            writer.write(plane, description=several.decode() if number == 0 else None, metadata=None)
    with pytest.raises(InputError, match="lies in another file of the same data set"):
        read(tmp_path / "b.ome.tif")
