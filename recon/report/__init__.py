"""Figures of a solve."""

from recon.report.figure import solve_figure

__all__ = ["solve_figure"]
