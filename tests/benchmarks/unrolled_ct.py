"""CT slices of 128 x 128 from 60 views of a fan, by an unrolled reconstruction and by others: error and seconds.

    python tests/benchmarks/unrolled_ct.py FOLDER SLICE.dcm [SLICE.dcm ...]

FOLDER is that of a `recon train` with the operator `ct:data/ct/small.toml`, as docs/guides/unrolled.md has it. Slices
of 512 x 512 are averaged to 128 x 128 and measured, and Gaussian noise of 0.02 is added to the line integrals, the same
for all methods. The error is the root of the mean square in HU over the disc that every view sees; seconds are those of
the solver, one thread. Beside them is what the record states of the first slice: the residual over the noise, and the
distance of one polishing step with total variation; of the mean over 8 symmetric copies of the measurement, also how
far their images lie from it.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from recon import io
from recon.operators.tomography import Tomography, read_geometry
from recon.reconstruction.run import read_image, solve_image
from recon.specs.solve_config import config_from

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY = ROOT / "data" / "ct" / "small.toml"
WATER, NOISE = 0.02, 0.02
METHODS = {
    "FBP": {"method": "fbp"},
    "TV": {"prior": "tv:low=0"},
    "model:proved-ct": {"prior": "model:proved-ct,low=0"},
    "model:guided-ct": {"prior": "model:guided-ct,low=0"},
}
UNROLLED = {"unrolled": 1, "unrolled, 8 copies": 8}


def run(folder: Path, slices: list[Path]) -> dict[str, list[tuple[float, float, str]]]:
    """For each method and each slice the error in HU, the seconds, and what is stated of the result."""
    torch.set_num_threads(1)
    methods = METHODS | {
        name: {"method": f"unrolled:folder={folder},symmetries={count}", "prior": "tv:low=0"}
        for name, count in UNROLLED.items()
    }
    found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in methods}
    with TemporaryDirectory() as place:
        for index, path in enumerate(slices):
            truth = shrunk(path)
            sinogram = Path(place) / "sinogram.npy"
            np.save(sinogram, measured(truth, index))
            for name, given in methods.items():
                options = {"operator": f"ct:{GEOMETRY}", "water": WATER, "noise": NOISE, "device": "cpu"}
                config = config_from(options | given)
                result = solve_image(config, read_image(sinogram, config, lambda line: None))
                stated = "; ".join(map(str, result.polishing))
                error = root_mean_square(np.asarray(result.image.pixels, float).squeeze(), truth)
                found[name].append((error, result.seconds, stated))
    return found


def shrunk(path: Path) -> np.ndarray:
    """A slice in HU, of 128 x 128 pixels, within the scale of a solver."""
    pixels = np.asarray(io.read(path).pixels, float).squeeze()
    side = read_geometry(GEOMETRY).volume.pixels[0]
    factor = pixels.shape[0] // side
    return pixels.reshape(side, factor, side, factor).mean((1, 3)).clip(-1000, 3071)


def measured(truth: np.ndarray, seed: int) -> np.ndarray:
    """Noisy line integrals."""
    attenuation = torch.from_numpy(WATER * (truth / 1000 + 1))[None, None]
    sinogram = Tomography(read_geometry(GEOMETRY)).A(attenuation).numpy()[0, 0]
    return sinogram + NOISE * np.random.default_rng(seed).standard_normal(sinogram.shape)


def root_mean_square(found: np.ndarray, truth: np.ndarray) -> float:
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in truth.shape)
    seen = rows[:, None] ** 2 + columns**2 <= (min(truth.shape) / 2) ** 2
    return float(np.sqrt(np.mean((found - truth)[seen] ** 2)))


def main() -> None:
    found = run(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    for name, rows in found.items():
        error, seconds = (float(np.mean([row[number] for row in rows])) for number in (0, 1))
        print(f"{name:<18} {error:7.1f} HU  {seconds:7.2f} s  {rows[0][2]}")


if __name__ == "__main__":
    main()
