"""Measured projections, with fewer and fewer views: filtered back-projection beside total variation.

The tooth of data/tooth, parallel beam, all of its 181 views and every 8th; and the phantom "tb" of the Helsinki
Tomography Challenge 2022, a fan, all of its 549 views (three gaps leave some lines unseen), every 6th, and the first 90
degrees. Each goes through the chain of ``recon solve`` with its defaults: FBP with a Hann window, total variation with
x >= 0 and the package's own weight, matched to the noise that the counts imply or that is estimated from the sinogram;
tolerance 1e-3.

There is no truth: results are compared with both reconstructions of all views, and the phantom, two materials, with the
segmentation of the latter by Otsu's threshold. Run with ``make measured``; the challenge's data are not bundled.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from recon.io import Image
from recon.operators import Detector, Geometry, Tomography, Volume, read_geometry
from recon.operators.tomography import views
from recon.reconstruction.ct_input import read_scan
from recon.reconstruction.geometry_output import write_geometry
from recon.reconstruction.run import solve_image
from recon.report._style import INK, STYLE
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig

ROOT = Path(__file__).parents[2]
TOOTH = ROOT / "data/tooth"
SHARED = ROOT.parent / "shared/data/measured"
TOLERANCE = 1e-3
METHODS = {"FBP": "fbp", "TV": None}

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scan:
    """An object with its projections.

    Attributes:
        name: For the table and the figure.
        geometry: With all views.
        measured: The line integrals.
        parts: What is used of them: names to views, all of them first.
        two_materials: Whether a threshold segments it.
        shown: The first of the rows and columns that the figure shows, and the one after the last; nothing for all.
    """

    name: str
    geometry: Geometry
    measured: Image
    parts: dict[str, Sequence[int]]
    two_materials: bool = False
    shown: tuple[int, int] | None = None


@dataclass(frozen=True)
class Run:
    """What came of a part of the views.

    Attributes:
        part: Which views, in words.
        method: FBP or TV.
        image: The attenuation, (rows, columns).
        misfit: ||A x - y|| / ||y||.
        steps: How many.
        status: How it ended.
        weight: Of total variation, on the [0, 1] scale; nothing for FBP.
    """

    part: str
    method: str
    image: Floats
    misfit: float
    steps: int
    status: str
    weight: str


def tooth() -> Scan:
    file = TOOTH / "geometry.toml"
    geometry = read_geometry(file)
    config = SolveConfig(Spec("ct", value=str(file)), flat=str(TOOTH / "flat.tif"), dark=str(TOOTH / "dark.tif"))
    measured = read_scan(TOOTH / "counts.tif", config, geometry, print)
    count = len(geometry.angles)
    parts = {"all views": range(count), "every 8th": range(0, count, 8)}
    return Scan("tooth", geometry, measured, parts, shown=(136, 406))


def phantom(shared: Path) -> Scan | None:
    """The phantom of the challenge; nothing where its data are not there."""
    file = shared / "htc2022_tb/sinogram.npz"
    if not file.is_file():
        print(f"HTC 2022: skipped, because {file} is not there")
        return None
    with np.load(file, allow_pickle=False) as held:
        sinogram, angles = held["sinogram"], tuple(map(float, held["angles_deg"]))
    geometry = Geometry(
        "fan", angles, Detector(560, 0.2), Volume((512, 512), 0.2 * 410.66 / 553.74),
        source_to_axis=410.66, source_to_detector=553.74,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "sinogram.npy"), sinogram)
        config = SolveConfig(Spec("ct", value="not read"))
        measured = read_scan(Path(folder, "sinogram.npy"), config, geometry, print)
    first = np.flatnonzero(np.asarray(angles) <= angles[0] + 90).tolist()
    count = len(angles)
    parts = {"all views": range(count), "every 6th": range(0, count, 6), "90 degrees": first}
    return Scan("HTC 2022 tb", geometry, measured, parts, two_materials=True)


def reconstruct(scan: Scan, part: str, method: str) -> Run:
    chosen = list(scan.parts[part])
    geometry, whole = views(scan.geometry, chosen), scan.measured
    weights = None if whole.weights is None else whole.weights[..., chosen, :]
    measured = replace(whole, pixels=whole.pixels[..., chosen, :], weights=weights)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "geometry.toml")
        write_geometry(file, geometry)
        tolerance = None if METHODS[method] == "fbp" else TOLERANCE  # a closed form has none
        config = SolveConfig(Spec("ct", value=str(file)), method=METHODS[method], tolerance=tolerance)
        result = solve_image(config, measured)
    image, y = result.image.pixels[0, 0].copy(), torch.from_numpy(measured.pixels[0, 0].astype(np.float32))
    misfit = float((Tomography(geometry).A(torch.from_numpy(image)) - y).norm() / y.norm())
    weight = result.plan.problem.prior.spec.options.get("weight", "")
    return Run(part, method, image, misfit, result.steps, result.status.value, weight)


def matthews(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> float:
    """Matthews' correlation of two segmentations, 1 where they are equal: the score of the challenge."""
    return float(np.corrcoef(found.ravel(), expected.ravel())[0, 1])


def segmented(image: Floats) -> NDArray[np.bool_]:
    return image > threshold_otsu(image)


def study(scan: Scan) -> list[Run]:
    runs = [reconstruct(scan, part, method) for part in scan.parts for method in METHODS]
    references = runs[: len(METHODS)]
    titles = [f"to {reference.method} of all" for reference in references]
    print(f"\n{scan.name:<22} {'misfit':>8} {titles[0]:>15} {titles[1]:>15} {'score':>7} {'weight':>7} {'steps':>6}")
    for run in runs:
        apart = [np.linalg.norm(run.image - one.image) / np.linalg.norm(one.image) for one in references]
        score = f"{matthews(segmented(run.image), segmented(references[-1].image)):.3f}" if scan.two_materials else "-"
        print(
            f"  {run.part:<12} {run.method:<7} {run.misfit:>8.2%} {apart[0]:>15.1%} {apart[1]:>15.1%} {score:>7} "
            f"{run.weight:>7} {run.steps:>6}  {run.status}",
            flush=True,
        )
    return runs


def draw(path: Path, studies: list[tuple[Scan, list[Run]]]) -> None:
    """FBP above TV, a column for each part of the views, one grey scale for each object: 0 to the 99.5th percentile."""
    columns = [(scan, runs, part) for scan, runs in studies for part in scan.parts]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.1 * len(columns), 4.75), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(METHODS), len(columns), squeeze=False)
        for place, (scan, runs, part) in zip(axes.T, columns, strict=True):
            white, window = float(np.percentile(runs[1].image, 99.5)), slice(*(scan.shown or (None,)))
            for axis, run in zip(place, [run for run in runs if run.part == part], strict=True):
                axis.imshow(run.image[window, window], cmap="gray", vmin=0, vmax=white, interpolation="antialiased")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_xlabel(f"misfit {run.misfit:.1%}", fontsize=8, labelpad=2)
            place[0].set_title(f"{scan.name}\n{part}", loc="left")
        for row, method in zip(axes, METHODS, strict=True):
            row[0].set_ylabel(method)
        figure.suptitle("Measured projections: filtered back-projection, and total variation", x=0.01, ha="left",
                        fontsize=11.5, fontweight="bold", color=INK)  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder that holds htc2022_tb")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out/measured.png")
    given = parser.parse_args()
    scans = [scan for scan in (tooth(), phantom(given.shared)) if scan is not None]
    draw(given.output, [(scan, study(scan)) for scan in scans])
    print(f"\nfigure: {given.output}")


if __name__ == "__main__":
    main()
