"""The map from the voxels of a DICOM series to the patient, in the axes of NIfTI."""

import numpy as np

from recon.io.image import Array


def patient_affine(directions: Array, first: Array, last: Array, spacing: tuple[float, float], count: int) -> Array:
    """The affine (4, 4) from (column, row, slice) to millimetres to the right, to the front and up (RAS).

    DICOM's axes point to the left, to the back and up (PS3.3, C.7.6.2.1.1), NIfTI's to the right, to the front and up.

    Args:
        directions: ImageOrientationPatient: the directions of rows and of columns, shape (2, 3).
        first: ImagePositionPatient of the first slice: its first pixel, in mm.
        last: That of the last slice.
        spacing: The distance of rows and of columns in mm.
        count: The number of slices. A single one is as thick as the larger side of its pixels.
    """
    along_row, along_column = directions
    rows, columns = spacing
    step = (last - first) / (count - 1) if count > 1 else np.cross(along_row, along_column) * max(spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([along_row * columns, along_column * rows, step], axis=1)
    affine[:3, 3] = first
    turned: Array = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return turned
