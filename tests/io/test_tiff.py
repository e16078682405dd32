"""TIFF files that were cut off or lead astray: refused, never taken for smaller ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from recon import io
from recon.errors import InputError
from recon.io.mapped import map_image

STACK = (np.arange(5 * 20 * 24) % 251).astype(np.uint16).reshape(5, 20, 24)

KINDS = {
    "plain": {"photometric": "minisblack"},
    "pages": {"photometric": "minisblack", "metadata": None},
    "big": {"photometric": "minisblack", "bigtiff": True},
    "big-endian": {"photometric": "minisblack", "byteorder": ">"},
    "deflated": {"photometric": "minisblack", "compression": "zlib"},
    "ome": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_a_stack_is_read_as_a_stack(tmp_path: Path, kind: str) -> None:
    """The planted fault: the first page of a stack that was cut off became a volume of one slice."""
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    tifffile.imwrite(path, STACK, **KINDS[kind])
    whole = path.read_bytes()
    assert np.array_equal(io.read(path).pixels[:, 0], STACK)
    refused = 0
    for length in sorted({len(whole) * k // 16 for k in range(16)} | {len(whole) - 1, len(whole) - 9}):
        path.write_bytes(whole[:length])
        for reader in (io.read, map_image):
            try:
                found = reader(path)
            except InputError as error:
                assert str(error).startswith(f"{path}: ")
                refused += 1
            else:  # the file ended in padding
                assert found is None or np.array_equal(found.pixels[:, 0], STACK)
    assert refused >= 32  # all sixteenths


def test_pages_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as opened:
        places = [page.offset for page in opened.pages]
    (count,) = struct.unpack_from("<H", data, places[-1])
    struct.pack_into("<I", data, places[-1] + 2 + 12 * count, places[1])
    path.write_bytes(data)
    with pytest.raises(InputError, match="circle"):
        io.read(path)
