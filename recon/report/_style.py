"""Colours, lettering and formats of all figures.

Curves are told apart by colour and by dashes: the colours are those of Okabe and Ito (2008), which readers with any
kind of colour blindness tell apart, and the dashes are for a print without colours.
"""

from pathlib import Path

from recon.errors import OutputError

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
DPI = 150  # 1500 pixels across: sharp at the width of a page, small in a repository
INCHES = 10.0
ACCENT = "#d55e00"
SECOND = "#0072b2"
INK = "#1f2937"
GREY = "#6b7280"
GRID = "#e5e7eb"
CURVES = (
    (SECOND, "-"),
    (ACCENT, "--"),
    ("#009e73", "-."),
    ("#cc79a7", ":"),
    ("#56b4e9", (0, (6, 1, 1, 1, 1, 1))),
    (INK, (0, (1, 2))),
)
"""Colours and dashes of curves that share a panel."""

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": GRID,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.5,
    "axes.prop_cycle": f"cycler('color', {[colour for colour, _ in CURVES]})",
    "savefig.facecolor": "white",
}


def require_figure_suffix(path: str | Path) -> None:
    """Refuse a file name of which no figure can be made.

    Raises:
        OutputError: Its suffix is none of ``FIGURE_SUFFIXES``.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        raise OutputError(f"{path}: '{suffix}' is no format of a figure; expected {', '.join(FIGURE_SUFFIXES)}.")
