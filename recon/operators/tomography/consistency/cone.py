"""Checks of the projections of a cone against their geometry.

In the plane of the source a cone is a fan, and what is known of fans is looked for there. Rows of the panel that are
counted from the other end cannot be seen: they give the volume upside down, as consistent as the truth.
"""

import numpy as np
from numpy.typing import NDArray

from recon.errors import ConsistencyError
from recon.operators.tomography.consistency.field_of_view import clear_level
from recon.operators.tomography.geometry.geometry import Geometry

Values = NDArray[np.floating]

_VIEWS = 0.02
_SLACK = 1.05


def check_panel_shape(values: Values, geometry: Geometry) -> None:
    """Compare views with angles, and rows and columns with those of the panel.

    Raises:
        ConsistencyError: They differ; it says so if axes are exchanged.
    """
    expected, found = geometry.sinogram_shape, values.shape
    if found == expected:
        return
    views, rows, columns = expected
    given = " x ".join(map(str, found))
    scan = f"the geometry has {views} angles and a panel of {rows} rows and {columns} columns"
    if len(found) != 3:
        raise ConsistencyError(f"the measurement is {given} and {scan}; expected (views, rows, columns).")
    orders = (
        ((views, columns, rows), "rows and columns are exchanged"),
        ((rows, views, columns), "its pages are rows of the panel, not views"),
        ((rows, columns, views), "the views come last"),
        ((columns, rows, views), "the views come last, and rows and columns are exchanged"),
    )
    for order, said in orders:
        if found == order:
            raise ConsistencyError(
                f"the projections are {given} and {scan}; expected {' x '.join(map(str, expected))}: {said}."
            )
    if found[0] != views:
        raise ConsistencyError(
            f"there are {found[0]} projections and the geometry has {views} angles; expected one for each angle."
        )
    raise ConsistencyError(
        f"a projection has {found[1]} rows and {found[2]} columns and the panel {rows} and {columns}; expected a value "
        "for each pixel of the panel."
    )


def middle_row(values: Values, geometry: Geometry) -> NDArray[np.float64] | None:
    """The fan (views, columns) in the plane of the source, between two rows; ``None`` where the panel has no such."""
    rows, _ = geometry.vertical
    place = -rows.first / rows.pitch
    below = min(max(int(np.floor(place)), 0), max(rows.pixels - 2, 0))
    if not -0.5 <= place <= rows.pixels - 0.5:
        return None
    beyond = min(max(place - below, 0.0), float(min(rows.pixels - 1, 1)))
    above = min(below + 1, rows.pixels - 1)
    lower, upper = values[:, below].astype(np.float64), values[:, above].astype(np.float64)
    row: NDArray[np.float64] = lower + beyond * (upper - lower)
    return row


def height_warnings(geometry: Geometry) -> tuple[str, ...]:
    """Say whether the volume reaches above or below what the panel sees at the axis of rotation."""
    rows, slices = geometry.vertical
    (low, high), (bottom, top) = slices.extent, (v / geometry.magnification for v in rows.extent)
    slack = (_SLACK - 1) * (high - low)
    if bottom - slack <= low and high <= top + slack:
        return ()
    return (
        f"The volume reaches from z = {low:.4g} to {high:.4g} mm, and at the axis of rotation the panel sees "
        f"{bottom:.4g} to {top:.4g} mm; expected no more, because only some views see what lies beyond, "
        "or none.",
    )


def end_warnings(values: Values) -> tuple[str, ...]:
    """Say at which end of the panel the object goes on."""
    rows = values.shape[1]
    looked, edge = values[:, :: max(1, rows // 16)], max(1, rows // 100)
    level, largest = clear_level(looked), float(np.percentile(looked, 99))
    said = []
    for name, part in (("first", values[:, :edge]), ("last", values[:, -edge:])):
        seen = part.mean(axis=1)
        if np.count_nonzero(seen > level) > _VIEWS * seen.size:
            said.append(
                f"The {name} rows of the projections rise to {seen.max():.3g} where the largest line integrals are "
                f"{largest:.3g}; expected about 0, because otherwise the object extends beyond the panel, and the "
                "slices that only some views see are wrong."
            )
    return tuple(said)
