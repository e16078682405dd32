"""The picture of the front page: a measurement, total variation and the default prior side by side."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from skimage import io

import recon
from recon.report._style import ACCENT, DPI, STYLE

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs/images/front.jpg"
NOISE = 0.01
DETAIL = slice(84, 164), slice(118, 228)


def main() -> None:
    """Restore a part of a photograph twice, and draw it with a detail."""
    photo = io.imread(ROOT / "data/photographs/astronaut.png")[0:256, 60:412].astype("float32") / 255
    psf = np.load(ROOT / "data/kernels/levin09_1.npy")
    channels = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    blurred = recon.blur(psf).on(photo.shape[:2]).A(channels)[0].numpy().transpose(1, 2, 0)
    measured = blurred + NOISE * np.random.default_rng(0).standard_normal(photo.shape, dtype="float32")
    pictures = {"measurement": measured}
    for name, prior in (("total variation", "tv"), ("default prior, guided-color", None)):
        run = recon.reconstruct(measured, recon.blur(psf), prior, noise=NOISE, range=(0, 1))
        pictures[name] = run.image
        print(name, run.status, run.steps)
    draw({f"{name}, {_psnr(each, photo):.1f} dB": each for name, each in pictures.items()})


def _psnr(picture: np.ndarray, photo: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.clip(picture, 0, 1) - photo) ** 2)))


def draw(pictures: dict[str, np.ndarray]) -> None:
    """The pictures in a row, with a detail below each."""
    rows, columns = DETAIL
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5), layout="constrained")
        FigureCanvasAgg(figure)
        for column, (name, picture) in zip(figure.subplots(2, len(pictures)).T, pictures.items(), strict=True):
            for axes, part in zip(column, (picture, picture[DETAIL]), strict=True):
                axes.imshow(np.clip(part, 0, 1), interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
            column[0].set_title(name, loc="left", pad=4, fontsize=11)
            corner, size = (columns.start, rows.start), (columns.stop - columns.start, rows.stop - rows.start)
            column[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=2.2))
            column[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor=ACCENT, linewidth=1.2))
        OUTPUT.parent.mkdir(exist_ok=True)
        figure.savefig(OUTPUT, dpi=DPI, pil_kwargs={"quality": 85, "optimize": True})


if __name__ == "__main__":
    main()
