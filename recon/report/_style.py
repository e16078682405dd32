"""What the figures have in common: colours, lettering, formats."""

from pathlib import Path

from recon.errors import OutputError

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
DPI = 150  # 1500 pixels across: sharp at the width of a page, small in a repository
INCHES = 10.0
ACCENT = "#c2410c"
SECOND = "#0f766e"
INK = "#1f2937"
GREY = "#6b7280"
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
