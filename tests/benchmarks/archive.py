"""Lossless archives: bits per pixel and MB/s, beside JPEG-LS, JPEG XL, JPEG 2000 and LZMA.

    python tests/benchmarks/archive.py [--data FOLDER] [--most 40] [--json]

Each subfolder of FOLDER is a set of images, DICOM, PNG, TIFF or NPY of integers; by default the images of the
repository are. Every codec codes and decodes every image, in CPU time of one thread, and the results are compared bit
for bit. Bits on pixels are those of each image alone; on whole files, ours are those of the archive of the set, with
all headers, names and check sums and with prediction from slice to slice, and the peers' are those of the files
with their pixels replaced by the coded ones. MB are those of the smallest type
that holds the grey values. The two rows of lifting are `lifting.py`, with our coder. Peers that are not installed are
left out: pip install imagecodecs.
"""

import argparse
import functools
import importlib.util
import json
import lzma
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lifting
import numpy as np
from PIL import Image

from recon.packing import pack
from recon.packing.layout import find_layout
from recon.packing.planes import decode_plane, encode_plane
from recon.packing.png_stream import read_stream

ROOT = Path(__file__).resolve().parents[2] / "data"
SETS = {
    "CT": ("ct",),
    "MR": ("mr",),
    "photographs": ("photographs",),
}
MEGA = 1e6

Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, np.ndarray], np.ndarray]]
"""Pixels to bytes, and back, given an image of the same shape and type."""


@dataclass(frozen=True)
class Sample:
    """One file and its pixels, of 8 or 16 bits and not negative; ``rest`` bytes of it are no pixels."""

    path: Path
    rest: int
    pixels: np.ndarray


def main(arguments: Sequence[str] | None = None) -> dict[str, dict]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of folders of images")
    parser.add_argument("--most", type=int, default=40, help="images of each set")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    sets = (
        {path.name: [path] for path in sorted(given.data.iterdir())}
        if given.data
        else {name: [ROOT / folder for folder in folders] for name, folders in SETS.items()}
    )
    found = {}
    for name, folders in sets.items():
        samples = [s for folder in folders for path in sorted(folder.rglob("*")) if (s := read(path))][: given.most]
        if samples:
            found[name] = compare_set(samples)
            if not given.json:
                print(table(name, found[name]), flush=True)
    if given.json:
        print(json.dumps(found))
    return found


def read(path: Path) -> Sample | None:
    """The pixels of a file; grey alone, as the peers code it."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    stream = read_stream(data)
    layout = None if stream else find_layout(data)
    if stream:
        pixels, rest = stream.pixels[None], len(data) - sum(stream.pieces)
    elif layout and np.dtype(layout.dtype).kind in "iu" and np.dtype(layout.dtype).itemsize < 4:
        pixels, rest = layout.pixels(data), len(layout.rest(data))
    elif path.suffix.lower() == ".png":  # which another deflate packed: kept as it is
        image = np.asarray(Image.open(path))
        pixels, rest = image[None, :, :, None] if image.ndim == 2 else image[None], 0
    else:
        return None
    if pixels.shape[0] != 1 or pixels.shape[3] != 1:
        return None
    plane = pixels[0, :, :, 0].astype(np.int64)
    shifted = plane - min(plane.min(), 0)
    return Sample(path, rest, shifted.astype(np.uint8 if shifted.max() < 256 else np.uint16))


def codecs() -> dict[str, Codec]:
    found: dict[str, Codec] = {
        "ours": (encode_plane, lambda coded, like: decode_plane(coded, like.shape)),
        "LZMA": (lambda pixels: lzma.compress(pixels.tobytes()), _from_lzma),
    }
    for name, fitted in (("lifting, 5/3", False), ("lifting, fitted", True)):
        found[name] = (
            functools.partial(lifting.encode, fitted=fitted),
            lambda coded, like, fitted=fitted: lifting.decode(coded, like.shape, fitted),
        )
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs  # noqa: PLC0415  a peer that may be absent

        jpeg_xl = functools.partial(imagecodecs.jpegxl_encode, lossless=True, effort=7, numthreads=1)
        jpeg_2000 = functools.partial(imagecodecs.jpeg2k_encode, level=0, reversible=True, numthreads=1)
        found |= {
            "JPEG-LS": (imagecodecs.jpegls_encode, lambda coded, _: imagecodecs.jpegls_decode(coded)),
            "JPEG XL, effort 7": (jpeg_xl, lambda coded, _: imagecodecs.jpegxl_decode(coded, numthreads=1)),
            "JPEG 2000": (jpeg_2000, lambda coded, _: imagecodecs.jpeg2k_decode(coded, numthreads=1)),
        }
    return found


def compare_set(samples: list[Sample]) -> dict:
    """Bits and speeds of all codecs on one set."""
    raw, count = sum(s.pixels.nbytes for s in samples), sum(s.pixels.size for s in samples)
    found = {}
    encode_plane(samples[0].pixels[:9])  # compiled before it is timed
    for name, codec in codecs().items():
        coded, encoding, decoding = run(codec, samples)
        whole = sum(s.rest for s in samples) + coded
        found[name] = {
            "bits": 8 * coded / count, "whole_bits": 8 * whole / count,
            "encode_mb_s": raw / MEGA / encoding, "decode_mb_s": raw / MEGA / decoding,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        pack([s.path for s in samples], Path(folder, "all.rpk"))
        found["ours"]["whole_bits"] = 8 * Path(folder, "all.rpk").stat().st_size / count
    return {"images": len(samples), "codecs": found}


def run(codec: Codec, samples: list[Sample]) -> tuple[int, float, float]:
    """Bytes of all images, and CPU seconds of coding and decoding them."""
    encode, decode = codec
    total, encoding, decoding = 0, 0.0, 0.0
    for sample in samples:
        start = time.process_time()
        coded = encode(sample.pixels)
        encoding += time.process_time() - start
        total += len(coded)
        start = time.process_time()
        back = decode(coded, sample.pixels)
        decoding += time.process_time() - start
        if not np.array_equal(np.squeeze(back), np.squeeze(sample.pixels)):
            raise SystemExit(f"{sample.path}: the pixels do not come back")
    return total, encoding, decoding


def _from_lzma(coded: bytes, like: np.ndarray) -> np.ndarray:
    return np.frombuffer(lzma.decompress(coded), like.dtype).reshape(like.shape)


def table(name: str, case: dict) -> str:
    lines = [
        f"{name}, {case['images']} images",
        f"{'':20}{'bits/pixel':>11}{'whole files':>12}{'coding':>13}{'decoding':>13}",
    ]
    for codec, row in case["codecs"].items():
        lines.append(
            f"{codec:20}{row['bits']:11.3f}{row['whole_bits']:12.3f}"
            f"{row['encode_mb_s']:8.1f} MB/s{row['decode_mb_s']:8.1f} MB/s"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
