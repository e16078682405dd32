"""CT slices from few views or few photons, by prior: the tables "sparse-ct" of models/TABLES.md.

    python tests/benchmarks/sparse_ct.py [--views 60] [--photons 1e5] SLICE.dcm ...

Each slice is measured by `recon simulate` and reconstructed by `recon solve`, untuned; the error is the root of the
mean square in HU over the pixels whose circle every view sees. `tables.py DATA` writes the table afterwards.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from recon import io

GEOMETRY = Path("data/ct/sparse.toml")
PRIORS = {
    "FBP": ("--method", "fbp"),
    "TV": ("--prior", "tv:low=0"),
    "wavelet": ("--prior", "wavelet"),
    "model:proved-ct": ("--prior", "model:proved-ct,low=0"),
    "model:guided-ct": ("--prior", "model:guided-ct,low=0"),
}
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "models" / "tables.json"


def recon(*arguments: str) -> None:
    command = [sys.executable, "-c", "from recon.cli.main import main; main()", *arguments, "-q"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"recon {' '.join(arguments)}: exit code {done.returncode}")


def hounsfield(path: Path) -> np.ndarray:
    return np.asarray(io.read(path).pixels, float).squeeze()


def error(found: np.ndarray, truth: np.ndarray) -> float:
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in truth.shape)
    seen = rows[:, None] ** 2 + columns**2 <= (min(truth.shape) / 2) ** 2
    return float(np.sqrt(np.mean((found - truth)[seen] ** 2)))


def scan(folder: Path, views: int, photons: str) -> tuple[str, ...]:
    """The geometry of as many views, and how the scan is simulated and reconstructed."""
    geometry = folder / f"{views}-views.toml"
    geometry.write_text((ROOT / GEOMETRY).read_text("utf-8").replace("count = 60", f"count = {views}"), "utf-8")
    return ("--operator", f"ct:{geometry}", "--water", "0.02", "--photons", photons)


@click.command()
@click.argument("slices", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--views", default=60, show_default=True)
@click.option("--photons", default="1e5", show_default=True, help="A ray.")
def main(slices: Sequence[Path], views: int, photons: str) -> None:
    """Do what is not in the cache; each figure is kept as soon as it is known."""
    cache = json.loads(CACHE.read_text())
    found: dict[str, dict[str, float]] = cache.setdefault("sparse-ct", {}).setdefault(f"{views} {photons}", {})
    for path in (path.resolve() for path in slices):
        known = found.setdefault(path.stem, {})
        with TemporaryDirectory() as folder:
            how, sinogram = scan(Path(folder), views, photons), str(Path(folder) / "sinogram.npy")
            if PRIORS.keys() - known:
                recon("simulate", str(path), "-o", sinogram, *how)
            for name, prior in ((name, prior) for name, prior in PRIORS.items() if name not in known):
                result = Path(folder) / f"{len(known)}.dcm"
                recon("solve", sinogram, "-o", str(result), *how, *prior)
                known[name] = error(hounsfield(result), hounsfield(path))
                print(f"{path.stem}, {name}: {known[name]:.1f} HU", flush=True)
                with io.replacing(CACHE, overwrite=True) as temporary:
                    temporary.write_text(json.dumps(cache, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
