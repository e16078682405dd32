"""OME-TIFF and OME-Zarr: pixel sizes, channels, depth and time come back, and contradictions are refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from recon.errors import InputError, OutputError
from recon.io import read, to_tensor, with_tensor, write

SHAPE = (2, 2, 3, 8, 6)
SCALE = [1.0, 1.0, 2.0, 0.5, 0.5]


def pixels(shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def ome_tiff(path: Path, array=None, axes="TCZYX", **more) -> Path:
    array = pixels() if array is None else array
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 2.0,
        "PhysicalSizeZUnit": "µm",
        "Channel": {"Name": ["dapi", "gfp"]},
        **more,
    }
    tifffile.imwrite(path, array, ome=True, metadata=metadata)
    return path


def ome_zarr(path: Path, version="0.4", *, array=None, levels=1, names="tczyx", chunks=(1, 1, 2, 8, 6), **more) -> Path:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    array = pixels() if array is None else array
    fifth = version == "0.5"
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if fifth else 2)
    encoding = {"name": "default" if fifth else "v2", "separator": "/"}
    made = group.create_array("s0", shape=array.shape, dtype=array.dtype, chunks=chunks, chunk_key_encoding=encoding)
    made[...] = array
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = [
        {"path": f"s{level}", "coordinateTransformations": [{"type": "scale", "scale": SCALE}]}
        for level in range(levels)
    ]
    first = {"name": "cells", "axes": [axis for axis in axes if axis["name"] in names], "datasets": datasets}
    channel = {"active": True, "window": {"start": 0, "end": 255, "min": 0, "max": 255}}
    channels = [{**channel, "label": "dapi", "color": "0000FF"}, {**channel, "label": "gfp", "color": "00FF00"}]
    inner = {"multiscales": [first], "omero": {"channels": channels}, **more}
    if fifth:
        group.attrs["ome"] = {**inner, "version": "0.5"}
    else:
        first["version"] = "0.4"
        group.attrs.update(inner)
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert str(caught.value).count("\n") == 0


def altered(path: Path, old: str, new: str) -> Path:
    """An OME-TIFF with other metadata, which take no more room."""
    with tifffile.TiffFile(path) as opened:
        xml = opened.ome_metadata
    assert xml is not None
    other = xml.replace(old, new)
    assert other != xml
    data = path.read_bytes()
    length = len(xml.encode())
    path.write_bytes(data.replace(xml.encode(), other.encode().ljust(length)[:length]))
    return path


def test_ome_tiff_has_the_distance_of_its_slices(tmp_path: Path) -> None:
    image = read(ome_tiff(tmp_path / "a.ome.tif"))
    assert image.slices is not None
    assert image.slices.pitch == pytest.approx(2e-3)
    assert image.spacing == pytest.approx((0.5e-3, 0.5e-3))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('SizeX="6"', 'SizeX="5"', "speak of 8 x 5 pixels"),
        ('SizeY="8"', 'SizeY="9"', "speak of 9 x 6 pixels"),
        ('SizeZ="3"', 'SizeZ="4"', "planes|a page of the TIFF is missing"),
        ('SizeC="2"', 'SizeC="1"', "speak of 6 planes, and it has 12"),
        ('Type="uint8"', 'Type="int8"', "speak of pixels of type int8"),
    ],
)
def test_ome_metadata_that_contradict_the_pixels_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    refused(altered(ome_tiff(tmp_path / "a.ome.tif"), old, new), said)


def test_an_ome_pyramid_is_read_at_full_resolution_and_its_levels_are_said_to_be_left_out(tmp_path: Path) -> None:
    path, base = tmp_path / "a.ome.tif", np.random.default_rng(0).integers(0, 99, (2, 64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(base, subifds=1, tile=(32, 32), metadata={"axes": "ZYX"})
        writer.write(base[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    image = read(path)
    assert image.pixels.shape == (2, 1, 64, 64)
    assert any("lower resolutions" in note for note in image.notes)
    written = write(image, tmp_path / "b.ome.tif").paths[0]
    with tifffile.TiffFile(written) as opened:
        assert len(opened.series[0].levels) == 1


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_comes_back_with_all_that_it_says(tmp_path: Path, version: str) -> None:
    source = ome_zarr(tmp_path / "a.ome.zarr", version, levels=2)
    image = read(source)
    assert image.source.stack.axes == "TCZ"
    assert image.spacing == pytest.approx((0.5e-3, 0.5e-3))
    assert image.slices is not None
    assert image.slices.pitch == pytest.approx(2e-3)
    assert any("lower resolutions" in note for note in image.notes)
    written = write(with_tensor(image, to_tensor(image)), tmp_path / "b.ome.zarr").paths[0]
    again = read(written)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.source.stack.version == version
    assert again.source.stack.chunks == (1, 1, 2, 8, 6)
    old, new = ({**each.source.stack.metadata} for each in (image, again))
    for found in (old, new):
        found["multiscales"][0]["datasets"][0]["path"] = ""
        found["multiscales"][0].pop("version", None)
        found.pop("version", None)
    assert old == new


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_another_reader_sees_the_same_ome_zarr(tmp_path: Path, version: str) -> None:
    pytest.importorskip("ome_zarr", reason="ome-zarr is not installed")
    from ome_zarr.io import parse_url  # noqa: PLC0415
    from ome_zarr.reader import Reader  # noqa: PLC0415

    image = read(ome_zarr(tmp_path / "a.zarr", version))
    write(image, tmp_path / "b.zarr")
    location = parse_url(str(tmp_path / "b.zarr"))
    node = next(iter(Reader(location)()))
    np.testing.assert_array_equal(np.asarray(node.data[0]), pixels())
    assert node.metadata["channel_names"] == ["dapi", "gfp"]
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == SCALE
    assert [axis["name"] for axis in node.metadata["axes"]] == list("tczyx")


def test_tiff_becomes_zarr_and_zarr_becomes_tiff_with_sizes_and_names(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    image = read(ome_tiff(tmp_path / "a.ome.tif"))
    write(image, tmp_path / "b.zarr")
    stored = read(tmp_path / "b.zarr")
    np.testing.assert_array_equal(stored.pixels, image.pixels)
    assert stored.spacing == pytest.approx((0.5e-3, 0.5e-3))
    assert stored.slices is not None
    assert stored.slices.pitch == pytest.approx(2e-3)
    write(stored, tmp_path / "c.ome.tif")
    with tifffile.TiffFile(tmp_path / "c.ome.tif") as opened:
        found = tifffile.xml2dict(opened.ome_metadata or "")["OME"]["Image"]["Pixels"]
        assert opened.series[0].axes == "TCZYX"
    assert [channel["Name"] for channel in found["Channel"]] == ["dapi", "gfp"]
    assert (found["PhysicalSizeZ"], found["PhysicalSizeZUnit"]) == (pytest.approx(2e-3), "mm")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_missing_chunk_is_refused(tmp_path: Path, version: str) -> None:
    path = ome_zarr(tmp_path / "a.zarr", version)
    chunks = sorted(child for child in (path / "s0").rglob("*") if child.is_file() and child.name[0].isdigit())
    chunks[-1].unlink()
    refused(path, "1 of its 8 chunks are missing")


def test_millions_of_chunks_that_are_not_there_are_refused_without_a_look_for_each(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "many.zarr")
    told = path / "s0" / ".zarray"
    document = json.loads(told.read_text())
    document |= {"shape": [1, 1, 1, 2**14, 2**13], "chunks": [1, 1, 1, 1, 1]}
    told.write_text(json.dumps(document))
    (path / ".zattrs").write_text(json.dumps({**json.loads((path / ".zattrs").read_text()), "omero": {}}))
    refused(path, "chunks are missing")


def test_a_chunk_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    chunk = next(child for child in sorted((path / "s0").rglob("*")) if child.is_file() and child.name[0].isdigit())
    chunk.write_bytes(chunk.read_bytes()[:7])
    refused(path, "cut off or damaged|missing")


@pytest.mark.parametrize("place", ["filters", "compressor"])
@pytest.mark.parametrize("codec", ["pickle", "json2", "msgpack2"])
def test_a_codec_of_objects_is_refused_and_nothing_of_it_is_run(tmp_path: Path, place: str, codec: str) -> None:
    path, ran = ome_zarr(tmp_path / "evil.zarr"), tmp_path / "ran"

    class Program:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (ran,)

    told = path / "s0" / ".zarray"
    document = json.loads(told.read_text())
    document[place] = [{"id": codec}] if place == "filters" else {"id": codec}
    told.write_text(json.dumps(document))
    for chunk in (path / "s0").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith("."):
            chunk.write_bytes(pickle.dumps(Program()))
    with pytest.raises(InputError):
        read(path)
    assert not ran.exists()


def test_sizes_that_are_not_there_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    declared = json.loads((path / "s0" / ".zarray").read_text())
    declared["shape"] = [1, 1, 10**5, 10**5, 10**5]
    (path / "s0" / ".zarray").write_text(json.dumps(declared))
    refused(path, "to bound the memory")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"multiscales": []}, "no multiscales"),
        ({"multiscales": [{"axes": [], "datasets": [{"path": "../../etc"}]}]}, "missing or damaged|outside"),
        (
            {"multiscales": [{"axes": [{"name": "x"}, {"name": "y"}], "datasets": [{"path": "s0"}]}]},
            "its axes are x, y",
        ),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "s0"}]}]}, "the 2 axes"),
        ({"multiscales": [{"datasets": [{"path": "s0"}]}]}, "no axes"),
        ({"omero": {"channels": [{"label": "one"}]}}, "name 1 channels, and its pixels have 2"),
    ],
)
def test_metadata_of_a_store_that_contradict_its_pixels_are_refused(tmp_path: Path, attributes, said: str) -> None:
    refused(ome_zarr(tmp_path / "a.zarr", **attributes), said)


def test_a_store_is_replaced_whole_and_only_when_asked(tmp_path: Path) -> None:
    image = read(ome_zarr(tmp_path / "a.zarr"))
    write(image, tmp_path / "b.zarr")
    (tmp_path / "b.zarr" / "left").write_text("")
    with pytest.raises(OutputError, match="the file exists"):
        write(image, tmp_path / "b.zarr")
    with pytest.raises(OutputError, match="one of the inputs"):
        write(image, tmp_path / "a.zarr", overwrite=True, inputs=[tmp_path / "a.zarr"])
    write(image, tmp_path / "b.zarr", overwrite=True)
    assert not (tmp_path / "b.zarr" / "left").exists()
    (tmp_path / "folder.zarr").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(image, tmp_path / "folder.zarr", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr", "folder.zarr"]


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, monkeypatch) -> None:
    path = ome_zarr(tmp_path / "a.zarr")
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    refused(path, r"needs the package zarr, which is not installed: pip install 'recon-imaging\[zarr\]'")


def test_other_readers_see_the_pixels_and_the_metadata_of_ome_tiff(tmp_path: Path) -> None:
    """ome-types validates the metadata against the schema; Pillow reads the pages without tifffile."""
    ome_types = pytest.importorskip("ome_types")
    write(read(ome_tiff(tmp_path / "a.ome.tif")), tmp_path / "b.ome.tif")
    with Image.open(tmp_path / "b.ome.tif") as pages:
        found = np.stack([np.array(page) for page in ImageSequence.Iterator(pages)])
    np.testing.assert_array_equal(found.reshape(SHAPE), pixels())
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as opened:
        described = ome_types.from_xml(opened.ome_metadata or "", validate=True).images[0].pixels
    assert [described.size_t, described.size_c, described.size_z] == [2, 2, 3]
    assert (described.physical_size_x, described.physical_size_z) == (0.5, 2.0)
    assert described.physical_size_z_unit.value == "µm"
    assert [channel.name for channel in described.channels] == ["dapi", "gfp"]
