"""The style of the package's own figures, for the examples."""

from typing import Any

import matplotlib as mpl
from cycler import cycler

from recon.report._style import CURVES, DPI, STYLE


def use_style(_gallery_conf: dict[str, Any], _file: str) -> None:
    """Set matplotlib's defaults before each example."""
    mpl.rcParams.update(STYLE)
    mpl.rcParams["savefig.dpi"] = DPI
    colours, dashes = zip(*CURVES, strict=True)
    mpl.rcParams["axes.prop_cycle"] = cycler(color=colours, linestyle=dashes)
