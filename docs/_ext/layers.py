"""The layers of the library as a drawing, read off the contract that import-linter checks."""

import html
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

WORDS = {
    "cli": "parse, call, print",
    "napari": "the plugin",
    "evaluation": "simulate, measure",
    "compression": "smaller networks",
    "batch": "folders and series",
    "front": "recon.reconstruct",
    "packing": "lossless archives",
    "uncertainty": "how far a result may be from the truth",
    "reconstruction": "one run, from a file to a file",
    "training": "images to networks",
    "specs": "text and TOML to values",
    "methods": "solver + operator + prior + theorem + step size",
    "report": "figures",
    "solvers": "algorithms, and the one loop that runs them",
    "certificates": "one function for each theorem",
    "priors": "resolvents, networks",
    "factorization": "dense matrices to factors",
    "operators": "A, its adjoint, its constants",
    "io": "files to pixels with units, and back",
    "catalogue": "the packaged networks",
    "types": "types, evidence, errors, device",
}
"""What each layer is for."""

WIDTH, HEIGHT, GAP = 720, 44, 14


def rows() -> list[list[str]]:
    """The layers from the top, each with the packages that lie beside each other; base modules are one."""
    contract = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
    found = []
    for line in contract["layers"]:
        names = [name.strip(" ()").removeprefix("recon.") for name in line.split("|")]
        if set(names) & {"device", "evidence", "errors"}:
            if not found or found[-1] != ["types"]:
                found.append(["types"])
        else:
            found.append(names)
    return found


def drawing() -> str:
    """The drawing as SVG, in the grey of either theme."""
    made = rows()
    height = len(made) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" role="img">',
        "<title>The layers of recon; each imports only from those below it</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff" rx="6"/>',
    ]
    for number, names in enumerate(made):
        wide = (WIDTH - GAP * (len(names) + 1)) / len(names)
        y = GAP + number * (HEIGHT + GAP)
        for place, name in enumerate(names):
            parts += _box(GAP + place * (wide + GAP), y, wide, name)
        if number:
            middle = WIDTH / 2
            parts.append(f'<path d="M{middle} {y - GAP + 1}v{GAP - 4}m-4 -4l4 4l4 -4" stroke="#4b5563" fill="none"/>')
    return "\n".join([*parts, "</svg>\n"])


DRAWING = Path(__file__).resolve().parents[1] / "images/layers.svg"


def _box(x: float, y: float, wide: float, name: str) -> list[str]:
    return [
        f'<rect x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{HEIGHT}" rx="5" fill="#eef2f7" stroke="#94a3b8"/>',
        f'<text x="{x + wide / 2:.0f}" y="{y + 18}" text-anchor="middle" font-size="14" font-weight="bold" '
        f'fill="#1f2937">{name if name != "types" else "base modules"}</text>',
        f'<text x="{x + wide / 2:.0f}" y="{y + 35}" text-anchor="middle" font-size="12" fill="#4b5563">'
        f"{html.escape(WORDS[name])}</text>",
    ]


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
