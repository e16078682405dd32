"""Pictures at the pixels of a figure: areas are averaged, so that no thin line is lost, and in each panel alike."""

from typing import TYPE_CHECKING

import numpy as np

from recon.imaging.image import Array

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


def draw_pixel_by_pixel(figure: "Figure") -> float:
    """Lay a figure out, and give each image in it one number for each pixel of its panel.

    Each panel is moved to whole pixels, by less than one: panels of one size sample their pictures alike.

    Args:
        figure: Finished, with the resolution at which it will be saved, and of whole pixels.

    Returns:
        How many pixels of a picture are averaged in one, along one side, at most.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return max((_fit(axes) for axes in figure.axes if axes.images), default=1.0)


def _fit(axes: "Axes") -> float:
    size = axes.figure.bbox
    box = axes.get_window_extent()
    left, bottom, columns, rows = (round(length) for length in (box.x0, box.y0, box.width, box.height))
    axes.set_aspect("auto")
    axes.set_box_aspect(None)
    axes.set_position((left / size.width, bottom / size.height, columns / size.width, rows / size.height))
    (image,) = axes.images
    picture = np.asarray(image.get_array(), np.float64)
    if picture.ndim == 2:
        picture = picture.clip(*image.get_clim())
    image.set_data(averaged(picture, rows, columns))  # its extent stays
    return max(float(picture.shape[0] / rows), float(picture.shape[1] / columns))
