"""CT slices from 60 views of 1e5 photons a ray, by prior: the table "sparse-ct" of models/TABLES.md.

    python tests/benchmarks/sparse_ct.py SLICE.dcm [SLICE.dcm ...]

Each slice is measured by `recon simulate` and reconstructed by `recon solve`, untuned; the error is the root of the
mean square in HU over the pixels whose circle every view sees. `tables.py DATA` writes the table afterwards.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recon import io

GEOMETRY = "ct:data/ct/sparse.toml"
SCAN = ("--operator", GEOMETRY, "--water", "0.02", "--photons", "1e5")
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


def main() -> None:
    """Do what is not in the cache; each figure is kept as soon as it is known."""
    cache = json.loads(CACHE.read_text())
    found: dict[str, dict[str, float]] = cache.setdefault("sparse-ct", {})
    for path in (Path(name).resolve() for name in sys.argv[1:]):
        known = found.setdefault(path.stem, {})
        with TemporaryDirectory() as folder:
            sinogram = str(Path(folder) / "sinogram.npy")
            if PRIORS.keys() - known:
                recon("simulate", str(path), "-o", sinogram, *SCAN)
            for name, prior in ((name, prior) for name, prior in PRIORS.items() if name not in known):
                result = Path(folder) / f"{len(known)}.dcm"
                recon("solve", sinogram, "-o", str(result), *SCAN, *prior)
                known[name] = error(hounsfield(result), hounsfield(path))
                print(f"{path.stem}, {name}: {known[name]:.1f} HU", flush=True)
                with io.replacing(CACHE, overwrite=True) as temporary:
                    temporary.write_text(json.dumps(cache, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
