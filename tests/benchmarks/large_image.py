"""A large image in tiles: peak memory, processor time and seams of `recon solve --memory`, in a process of its own.

    python tests/benchmarks/large_image.py [DATA] [--side 2048] [--noise 15] [--memory 1200MiB] [--prior SPEC] [--json]

With --side 8192 --memory 2GiB it takes a quarter of an hour on an idle core. The image is a mosaic of the photographs
in DATA (PNG or JPEG, in grey; by default those of data/), turned in turn, with white noise, in an uncompressed TIFF of
8 bits. The peak is the largest resident memory of the process, pages of libraries in the file cache included. Targets:
the peak is no larger than --memory, and no seam is above its limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from recon import io

ROOT = Path(__file__).resolve().parents[2]
TILE = 256
"""Pixels along the sides of the parts of the mosaic."""

SOLVE = "import sys; from recon.cli.main import main; main(sys.argv[1:])"

Pixels = NDArray[np.float32]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=ROOT / "data" / "photographs")
    parser.add_argument("--side", type=int, default=2048, help="of the image, in pixels")
    parser.add_argument("--noise", type=float, default=15.0, help="standard deviation, in grey values of 255")
    parser.add_argument("--memory", default="1200MiB", help="as recon solve takes it")
    parser.add_argument("--prior", help="another one than the default")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    prior = () if given.prior is None else ("--prior", given.prior)
    options = ("--operator", "identity", "--noise", f"{given.noise / 255}", "--memory", given.memory, *prior)
    with tempfile.TemporaryDirectory() as place:
        source, result = Path(place, "large.tif"), Path(place, "result.tif")
        write_mosaic(source, parts(given.data), given.side, given.noise)
        seconds, peak = solved(source, "-o", result, *options, "-q")
        record = json.loads(result.with_name("result.tif.run.json").read_text())
    found = {"cpu_s": seconds, "peak_bytes": peak, **figures(record)}
    print(json.dumps(found, indent=2) if given.json else described(found))
    return found


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """What the record of a run says: its tiles, its seams, and the memory that was allowed and predicted."""
    tiles = record.get("tiles", {})
    return {
        "allowed_bytes": record["config"]["memory"],
        "predicted_bytes": tiles.get("memory_bytes"),
        "tiles": tiles.get("rows", 1) * tiles.get("columns", 1),
        "status": record["status"],
        "steps": record["steps"],
        "prior": record["plan"]["prior"],
        "seams": tiles.get("seams"),
    }


def described(found: dict[str, Any]) -> str:
    """The figures in lines."""
    seams, mib = found["seams"], 2.0**20
    kept = found["peak_bytes"] <= found["allowed_bytes"]
    predicted = "" if found["predicted_bytes"] is None else f", predicted {found['predicted_bytes'] / mib:.0f}"
    lines = [
        f"tiles        {found['tiles']}, {found['prior']}: {found['status']} after at most {found['steps']} steps",
        f"memory       peak {found['peak_bytes'] / mib:.0f} MiB of {found['allowed_bytes'] / mib:.0f}{predicted} "
        f"({'target' if kept else 'MISSES the target'})",
        f"CPU time     {found['cpu_s'] / 60:.1f} min",
    ]
    if seams is not None:
        verdict = "target" if seams["within"] else "MISSES the target"
        size = f"largest {seams['largest']:.2g} of the range in {seams['pairs']} pairs, rms {seams['rms']:.2g}"
        lines.append(f"seams        {size} ({verdict})")
    return "\n".join(lines)


def solved(*arguments: object) -> tuple[float, int]:
    """Run ``recon solve`` in a process of its own: its processor time in seconds, and its peak memory in bytes."""
    call = [sys.executable, "-c", SOLVE, "solve", *map(str, arguments)]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits for it again
    if process.returncode:
        raise SystemExit(f"recon solve left with the code {process.returncode}; expected 0.")
    unit = 1 if sys.platform == "darwin" else 1024
    return used.ru_utime + used.ru_stime, used.ru_maxrss * unit


def write_mosaic(path: Path, images: list[Pixels], side: int, noise: float) -> None:
    """Write the mosaic with its noise, a row of parts at a time."""
    mosaic: Any = tifffile.memmap(path, shape=(side, side), dtype="uint8", photometric="minisblack")
    draw, number = np.random.default_rng(0), 0
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            part = np.rot90(images[number % len(images)], number // len(images) % 4)
            part = part[: side - top, : side - left]
            noisy = part + noise * draw.standard_normal(part.shape, np.float32)
            mosaic[top : top + TILE, left : left + TILE] = np.clip(np.rint(noisy), 0, 255)
            number += 1
    mosaic.flush()


def parts(folder: Path) -> list[Pixels]:
    """The middle of each photograph in a folder, in grey values of 255."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in (".png", ".jpg", ".jpeg"):
            pixels = io.read(file).pixels[0].mean(0).astype(np.float32)
            rows, columns = ((size - TILE) // 2 for size in pixels.shape)
            if min(rows, columns) >= 0:
                found.append(pixels[rows : rows + TILE, columns : columns + TILE])
    if not found:
        raise SystemExit(f"{folder}: it has no photograph of {TILE} x {TILE} pixels or more; expected PNG or JPEG.")
    return found


if __name__ == "__main__":
    main()
