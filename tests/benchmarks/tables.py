"""The tables of models/TABLES.md: every row is one `recon evaluate`, printed as such beside its figures.

    python tests/benchmarks/tables.py DATA [TABLE ...]

DATA is the folder with natural/ and kernels/. Rows that are in models/tables.json are not done again: remove them
there to have them anew. Weights of total variation, of wavelets and of potentials are those that recon matches to the
noise by itself; nothing is tuned on a test image.
"""

import itertools
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from recon import io
from recon.evaluation.evaluate import evaluate, mean
from recon.io import replacing
from recon.reconstruction.file_names import expand_inputs
from recon.specs.solve_config import config_from

ROOT = Path(__file__).resolve().parents[2]
CACHE, TEXT = ROOT / "models" / "tables.json", ROOT / "models" / "TABLES.md"
CLOSED = {1: ("tv", "wavelet"), 3: ("tv", "tv:joint=true", "wavelet")}
"""The priors without training, by channels; joint total variation has the edges of the three colours in one place."""

GUIDED = {1: ("model:guided-gray",), 3: ("model:guided-color",)}
"""Their masks come from a first result, so that they are run as ``recon solve`` runs them, to the limit."""

PLAIN = {
    1: ("model:proved-gray", "model:proved-monotone-gray", "model:csc-gray"),
    3: ("model:proved-color",),
}
"""Networks for photographs whose J is one call."""

FREE = "runs/dncnn-gray"
"""Where `recon train --config models/dncnn-gray/config.toml` left the network without a constraint, which is not
packaged: its rows are left out where it is not there."""

SHAKES = tuple(f"blur:psf=data/kernels/levin09_{k}.npy" for k in range(1, 9))
BLURS = (*SHAKES, "blur:gaussian=1.6", "blur:box=9")
MASKS = tuple(f"inpaint:mask=data/masks/missing-{share}.png" for share in (20, 50))
THREES = "set3c-255"
"""The images of Set3C without their last row and column: 3 divides their sides."""

PUBLISHED = {
    "denoise-gray": {
        "CRR-NN, published": {("bsd68", 5): 36.96, ("bsd68", 15): 30.55, ("bsd68", 25): 28.10},
        "averaged CNN, published": {("bsd68", 5): 36.46, ("bsd68", 25): 27.67},
        "DnCNN, published, no resolvent": {("bsd68", 15): 31.7, ("bsd68", 25): 29.2},
    },
    "denoise-color": {
        "DRUNet with an MMO penalty, published": {("cbsd68", 15): 32.21, ("cbsd68", 25): 29.99, ("cbsd68", 40): 27.87},
        "DRUNet, published, no resolvent": {("cbsd68", 15): 34.14, ("cbsd68", 25): 31.54, ("cbsd68", 40): 29.33},
    },
}
"""PSNR in dB by data and noise on 255: Goujon, Neumayer, Unser 2023; Zhang et al. 2017; Hurault et al. 2023."""


HEAD = (
    "Made by `python tests/benchmarks/tables.py DATA`; PSNR in dB, means over the images. Below each, the command of",
    "the first line by prior; those of the other lines differ in what their heads say, and all stand in tables.json.",
)

Column = tuple[str, str, float]
"""Data, operator and noise."""


@dataclass(frozen=True)
class Row:
    """One evaluation."""

    data: str
    operator: str
    noise: float
    prior: str
    method: str | None = None

    @property
    def column(self) -> Column:
        return self.data, self.operator, self.noise

    @property
    def command(self) -> str:
        method = "" if self.method is None else f" --method {self.method} --iterations 1"
        return (f"recon evaluate --data {self.data} --operator {self.operator} --noise {self.noise:.6g} "
                f"--prior {self.prior}{method}")  # fmt: skip


def denoising(data: Iterable[str], levels: Iterable[float], channels: int) -> list[Row]:
    """J(y) itself: one step of forward-backward."""
    to_the_limit = (*CLOSED[channels], *GUIDED[channels])
    return [
        Row(where, "identity", level / 255, prior, None if prior in to_the_limit else "forward_backward")
        for where in data
        for prior in (*to_the_limit, *PLAIN[channels], *((FREE,) if channels == 1 else ()))
        for level in levels
    ]


def restoring(data: str, noises: Iterable[float], operators: Iterable[str]) -> list[Row]:
    return [
        Row(data, operator, noise, prior)
        for noise in noises
        for prior in (*CLOSED[3], *GUIDED[3], "model:proved-color")
        for operator in operators
    ]


TABLES = {
    "denoise-gray": lambda: denoising(("natural/bsd68", "natural/set12"), (5, 15, 25), 1),
    "denoise-color": lambda: denoising(("natural/cbsd68",), (5, 15, 25, 40), 3),
    "deblur": lambda: restoring("natural/set3c", (0.0025, 0.01, 0.03), BLURS),
    "inpaint": lambda: restoring("natural/set3c", (0.01,), MASKS),
    "enlarge": lambda: (
        restoring("natural/set3c", (0.01,), ("downsample:factor=2",))
        + restoring(THREES, (0.01,), ("downsample:factor=3",))
    ),
}


def files_of(data: Path, name: str) -> list[Path]:
    if name == THREES:
        return cropped(files_of(data, "natural/set3c"))
    if name == "natural/cbsd68":
        listed = (data / "natural" / "lists" / "cbsd68.txt").read_text().split()
        return [next((data / "natural").rglob(Path(entry).name)) for entry in listed]
    return expand_inputs((str(data / name),))


def cropped(files: Iterable[Path]) -> list[Path]:
    """The images without their last row and column, so that 3 divides the sides."""
    folder = Path(tempfile.mkdtemp(prefix="set3c-255-"))
    for path in files:
        image = io.read(path)
        io.write(replace(image, pixels=image.pixels[..., :255, :255]), folder / path.name)
    return sorted(folder.iterdir())


def done(row: Row, data: Path) -> dict[str, object]:
    operator = row.operator.replace("=data/", f"={ROOT}/data/")
    prior = str(ROOT / FREE) if row.prior == FREE else row.prior
    given = {"operator": operator, "noise": repr(row.noise), "prior": prior, "method": row.method,
             "iterations": 1 if row.method else None}  # fmt: skip
    config = config_from({key: value for key, value in given.items() if value}, where=row.command)
    scores = evaluate([config], files_of(data, row.data), lambda line: None)
    failed = [score.error for score in scores if score.status == "failed"]
    if failed:
        raise SystemExit(f"{row.command}: {len(failed)} of {len(scores)} images failed: {failed[0]}")
    means = mean(scores)
    return {"command": row.command, "psnr": means["psnr"], "ssim": means["ssim"], "input": means["psnr_input"],
            "images": len(scores)}  # fmt: skip


def main() -> None:
    data, names = Path(sys.argv[1]), sys.argv[2:] or list(TABLES)
    for name in names:
        for row in TABLES[name]():
            cache = json.loads(CACHE.read_text()) if CACHE.exists() else {}
            if row.command not in cache and (row.prior != FREE or (ROOT / FREE).is_dir()):
                cache[row.command] = found = done(row, data)
                write(CACHE, json.dumps(cache, indent=1) + "\n")
                print(f"{row.command}: {found['psnr']:.3f} dB, SSIM {found['ssim']:.4f}", flush=True)
    write(TEXT, text())


def text() -> str:
    cache = json.loads(CACHE.read_text())
    lines = ["# Tables", "", *HEAD, ""]
    for name, rows in TABLES.items():
        known = [row for row in rows() if row.command in cache]
        if known:
            psnr = {(row.prior, row.column): cache[row.command]["psnr"] for row in known}
            firsts = {row.prior: row.command for row in reversed(known)}
            lines += [f"## {name}", "", *table(name, psnr), "", "```", *reversed(firsts.values()), "```", ""]
    scans = (sparse_ct(*scan.split(), found) for scan, found in cache["sparse-ct"].items())
    return "\n".join([*lines, *itertools.chain(*scans)])


def sparse_ct(views: str, photons: str, found: dict[str, dict[str, float]]) -> list[str]:
    """CT slices from few views: errors in HU, by `python tests/benchmarks/sparse_ct.py SLICE.dcm ...`."""
    priors = list(dict.fromkeys(prior for errors in found.values() for prior in errors))
    figures = {prior: [errors.get(prior) for errors in found.values()] for prior in priors}
    head = ["| | " + " | ".join(priors) + " |", "|---" * (len(priors) + 1) + "|"]
    body = [line(name, [errors.get(prior) for prior in priors], 1) for name, errors in found.items()]
    body.append(line("mean", [average(each) for each in figures.values()], 1))
    about = (f"RMSE in HU of slices of 512 x 512 from {views} views of {photons} photons a ray, untuned; test patients "
             "of ct/tcga.")  # fmt: skip
    command = f"python tests/benchmarks/sparse_ct.py --views {views} --photons {photons} ct/tcga/test/*.dcm"
    return [f"## sparse-ct, {views} views, {photons}", "", about, "", *head, *body, "", "```", command, "```", ""]


def table(name: str, psnr: dict[tuple[str, Column], float]) -> list[str]:
    """A line a measurement, a column a prior; a mean only where no figure is missing, lest others be compared."""
    columns = list(dict.fromkeys(column for _, column in psnr))
    figures = {
        prior: [psnr.get((prior, column)) for column in columns] for prior in dict.fromkeys(prior for prior, _ in psnr)
    }
    for label, published in PUBLISHED.get(name, {}).items():
        figures[label] = [published.get((Path(data).name, round(255 * noise))) for data, _, noise in columns]
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    lines += [line(heading(column), [each[k] for each in figures.values()]) for k, column in enumerate(columns)]
    return [*lines, line("mean", [average(each) for each in figures.values()])]


def average(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def line(label: str, values: list[float | None], digits: int = 2) -> str:
    return f"| {label} | " + " | ".join("-" if v is None else f"{v:.{digits}f}" for v in values) + " |"


def heading(column: Column) -> str:
    data, operator, noise = column
    what = (
        ""
        if operator == "identity"
        else f" {re.sub('blur:|psf=data/kernels/|inpaint:mask=data/masks/|downsample:|[.](npy|png)$', '', operator)}"
    )
    level = f"{255 * noise:.3g}/255" if operator == "identity" else f"{noise:g}"
    return f"{Path(data).name}{what} {level}"


def write(path: Path, content: str) -> None:
    with replacing(path, overwrite=True) as temporary:
        temporary.write_text(content, "utf-8")


if __name__ == "__main__":
    main()
