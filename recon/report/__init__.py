"""Figures of a solve and of a scan."""

from recon.report.figure import solve_figure
from recon.report.geometry_drawing import draw_geometry
from recon.report.volume_figure import volume_figure

__all__ = ["draw_geometry", "solve_figure", "volume_figure"]
