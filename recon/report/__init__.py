"""Figures of a solve, of a scan, of a training, of a Lipschitz star and of factors."""

from recon.report._style import FIGURE_SUFFIXES
from recon.report.atoms_figure import atoms_sheet
from recon.report.factors_figure import FactorPicture, factors_figure
from recon.report.figure import solve_figure
from recon.report.geometry_drawing import draw_geometry
from recon.report.run_figure import RunFigure
from recon.report.star_figure import StarFigure, WorstFigure, star_figure, worst_figure
from recon.report.training_figure import image_sheet, sweep_curves, training_curve
from recon.report.volume_figure import volume_figure

__all__ = [
    "FIGURE_SUFFIXES",
    "FactorPicture",
    "RunFigure",
    "StarFigure",
    "WorstFigure",
    "atoms_sheet",
    "draw_geometry",
    "factors_figure",
    "image_sheet",
    "solve_figure",
    "star_figure",
    "sweep_curves",
    "training_curve",
    "volume_figure",
    "worst_figure",
]
