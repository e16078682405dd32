"""Sampling of pictures at the pixels of a figure, by averages over areas, so that no thin line is lost."""

import math
from typing import TYPE_CHECKING

import numpy as np

from recon.io.image import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def averaged(picture: Array, rows: int, columns: int) -> Array:
    """The means of a picture (height, width) or (height, width, 3) over ``rows`` x ``columns`` equal areas."""
    return _along_first(_along_first(picture, rows).swapaxes(0, 1), columns).swapaxes(0, 1)


def _along_first(picture: Array, count: int) -> Array:
    length = len(picture)
    if length == count:
        return picture
    sums = np.concatenate((np.zeros_like(picture[:1]), picture.cumsum(0)))
    edges = np.arange(count + 1) * length / count
    whole = np.minimum(edges.astype(int), length - 1)
    part = (edges - whole).reshape(-1, *[1] * (picture.ndim - 1))
    totals = sums[whole] + part * picture[whole]
    means = np.diff(totals, axis=0) * (count / length)
    return np.asarray(means.clip(picture.min(), picture.max()))  # rounding leaves the range of colours


def whole_pixels(inches: float, dpi: float) -> float:
    """A length of a figure that is a whole number of its pixels."""
    return round(inches * dpi) / dpi


NEARLY_ONE = 1.5
"""Up to so many pixels of a picture for one of a panel, the figure is enlarged until it is one.

Averages over 1.1 pixels are of one pixel here and of two there, which shows as a pattern where the picture is noise.
"""


def draw_pixel_by_pixel(figure: "Figure") -> float:
    """Lay a figure out, and give each image in it one number for each pixel of its panel.

    Each panel is moved to whole pixels, by less than one: panels of one size sample their pictures alike.

    Args:
        figure: Finished, of whole pixels at its resolution, which is raised where a picture is a little too large.

    Returns:
        How many pixels of a picture are averaged in one, along one side, at most.
    """
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.images]
    little = [share for share in map(_share, panels) if 1 < share < NEARLY_ONE]
    if little:
        width, height = figure.get_size_inches()
        dpi = math.ceil(figure.dpi * max(little) * width) / width
        figure.set_dpi(dpi)
        figure.set_size_inches(width, whole_pixels(height, dpi))
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return max(map(_fit, panels), default=1.0)


def _share(axes: "Axes") -> float:
    """Return the pixels of a picture per pixel of its panel, along the side where it has more."""
    box, (image,) = axes.get_window_extent(), axes.images
    rows, columns = np.asarray(image.get_array()).shape[:2]
    return max(float(rows / box.height), float(columns / box.width))


def _fit(axes: "Axes") -> float:
    size, box, (image,) = axes.figure.bbox, axes.get_window_extent(), axes.images
    picture = np.asarray(image.get_array(), np.float64)
    rows, columns = _near(box.height, picture.shape[0]), _near(box.width, picture.shape[1])
    left, bottom = round(box.x0), round(box.y1) - rows
    axes.set_aspect("auto")
    axes.set_box_aspect(None)
    axes.set_position((left / size.width, bottom / size.height, columns / size.width, rows / size.height))
    if picture.ndim == 2:
        picture = picture.clip(*image.get_clim())
    image.set_data(averaged(picture, rows, columns))  # its extent stays
    return max(float(picture.shape[0] / rows), float(picture.shape[1] / columns))


def _near(length: float, pixels: int) -> int:
    """The side of a panel in whole pixels: as many as the picture has, if that is nearly what the layout gave it."""
    return pixels if abs(length - pixels) <= _ROUNDING_OF_LAYOUT else round(length)


_ROUNDING_OF_LAYOUT = 2.0
