"""The loops of coordinate descent on a sparse code, compiled by numba at first use and cached.

For ``P(a) = 1/2 ||y - D a||^2 + sum_ip t_i |a_ip| + 1/2 a_ip^2``, D of atoms on the points of a lattice that are cut
off at the border of the image. With the residual ``r = y - D a`` at hand, the minimum along a coefficient costs one
inner product with an atom, ``a_ip = S_t(h a_ip + <d_ip, r>) / (h + 1)`` with h the squared norm of the atom inside of
the image, and where it moves one more atom is added to r.

The loops go over lists of coefficients, the *working set*: most of them are zero, and stay so.
"""

from typing import Any

import numba
import numpy as np

_FAST = {"contract", "reassoc", "nsz", "arcp"}
_compiled = numba.njit(parallel=True, fastmath=_FAST, error_model="numpy", cache=True, nogil=True)
_part = numba.njit(fastmath=_FAST, error_model="numpy", cache=True, nogil=True)

Array = Any

_HALVINGS = 4
"""Of a Newton step that does not decrease P."""

_ROUNDED = 1e-6
"""What single precision may add to P, relative to ||r|| ||D d||, where a step d is judged."""


@_compiled
def descend(
    r: Array, values: Array, squares: Array, threshold: Array, places: Array, ends: Array, atoms: Array, box: Array,
    sweeps: int, systems: Array, accuracy: float, steps: int,
) -> None:  # fmt: skip
    """Passes to and fro over the working sets of several images, and then a Newton step on those that are not zero.

    Args:
        r: ``y - D a`` continued by zeros, ``(images, channels, height, width)``; changed with the values.
        values: The coefficients of all images, image by image.
        squares: h of each.
        threshold: t of each.
        places: Of each the first row and column of its atom in r, and the atom.
        ends: Where the coefficients of each image end.
        atoms: ``(atoms, channels, k, k)``.
        box: Of each image in r: top, left, bottom, right.
        sweeps: Passes to and fro.
        systems: For each image whether there is a Newton step.
        accuracy: The relative residual of its system.
        steps: Of conjugate gradients at most.
    """
    for n in numba.prange(len(r)):
        part = slice(0 if n == 0 else ends[n - 1], ends[n])
        _descend(
            r[n], values[part], squares[part], threshold[part], places[part], atoms, box[n], sweeps, systems[n],
            accuracy, steps,
        )  # fmt: skip


@_part
def _descend(
    r: Array, a: Array, h: Array, t: Array, places: Array, atoms: Array, box: Array, sweeps: int, system: bool,
    accuracy: float, steps: int,
) -> None:  # fmt: skip
    for _ in range(sweeps):
        for index in range(len(a)):
            _along(r, a, h, t, places, index, atoms, box)
        for index in range(len(a) - 1, -1, -1):
            _along(r, a, h, t, places, index, atoms, box)
    if system:
        support = np.flatnonzero(a)
        held = a[support]
        _newton(r, held, h[support], t[support], places[support], atoms, box, accuracy, steps)
        for index in range(len(support)):
            a[support[index]] = held[index]


@_part
def _along(
    r: Array, a: Array, h: Array, t: Array, places: Array, index: int, atoms: Array, box: Array
) -> None:  # fmt: skip
    """The minimum along one coefficient."""
    top, left, atom = places[index]
    c = h[index] * a[index] + _inner(r, atoms[atom], top, left)
    beyond = abs(c) - t[index]
    new = np.copysign(beyond, c) / (h[index] + 1) if beyond > 0 else c * 0
    if new != a[index]:
        _add(r, atoms[atom], top, left, a[index] - new, box)
        a[index] = new


@_part
def _inner(r: Array, atom: Array, top: int, left: int) -> Any:
    """The inner product of an atom with what lies below it; r is zero outside of the image."""
    total = r.dtype.type(0)
    for c in range(atom.shape[0]):
        for i in range(atom.shape[1]):
            for j in range(atom.shape[2]):
                total += r[c, top + i, left + j] * atom[c, i, j]
    return total


@_part
def _add(r: Array, atom: Array, top: int, left: int, factor: Any, box: Array) -> None:
    """Add an atom, cut off at the border of the image."""
    channels, height, width = atom.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                r[c, top + i, left + j] += factor * atom[c, i, j]
    if top < box[0] or left < box[1] or top + height > box[2] or left + width > box[3]:
        for c in range(channels):
            for i in range(top, top + height):
                for j in range(left, left + width):
                    if i < box[0] or j < box[1] or i >= box[2] or j >= box[3]:
                        r[c, i, j] = 0


@_part
def _newton(
    r: Array, a: Array, h: Array, t: Array, places: Array, atoms: Array, box: Array, accuracy: float, steps: int
) -> None:
    """A step of Newton's method on the support, by conjugate gradients for ``(Id + D_S^T D_S) d = -grad P``.

    A coefficient that would change its sign becomes zero. A step that does not decrease P is halved, and then not
    taken.
    """
    slope = np.empty_like(a)
    for index in range(len(a)):
        slope[index] = _inner(r, atoms[places[index, 2]], places[index, 0], places[index, 1])
        slope[index] -= a[index] + np.copysign(t[index], a[index])
    image = np.empty_like(r)
    step = _solved(slope, h, image, places, atoms, box, accuracy, steps)
    moved = np.empty_like(a)
    for _ in range(_HALVINGS):
        change = 0.0
        for index in range(len(a)):
            old, new = a[index], a[index] + step[index]
            new = new if new * old > 0 else old * 0
            moved[index] = new - old
            change += float(t[index]) * (abs(new) - abs(old)) + (float(new) ** 2 - float(old) ** 2) / 2
        _synthesised(image, moved, places, atoms, box)
        length, along, size = 0.0, 0.0, 0.0
        for c in range(r.shape[0]):
            for i in range(box[0], box[2]):
                for j in range(box[1], box[3]):
                    length += float(image[c, i, j]) ** 2
                    along += float(image[c, i, j]) * float(r[c, i, j])
                    size += float(r[c, i, j]) ** 2
        if change + length / 2 - along <= _ROUNDED * np.sqrt(length * size):
            a += moved
            r -= image
            return
        step /= 2


@_part
def _synthesised(image: Array, values: Array, places: Array, atoms: Array, box: Array) -> None:
    """``D_S z``."""
    image[:] = 0
    for index in range(len(values)):
        _add(image, atoms[places[index, 2]], places[index, 0], places[index, 1], values[index], box)


@_part
def _solved(
    right: Array, h: Array, image: Array, places: Array, atoms: Array, box: Array, accuracy: float, steps: int
) -> Array:
    """``(Id + D_S^T D_S)^-1`` of the right side, by conjugate gradients with the diagonal h + 1 of that matrix."""
    solution, residual = np.zeros_like(right), right.copy()
    direction, image_of = residual / (h + 1), np.empty_like(right)
    product, size = 0.0, 0.0
    for index in range(len(right)):
        product += float(residual[index]) * float(direction[index])
        size += float(residual[index]) ** 2
    goal = accuracy**2 * size
    for _ in range(steps):
        if size <= goal or not product > 0:
            break
        _synthesised(image, direction, places, atoms, box)
        curvature = 0.0
        for index in range(len(right)):
            image_of[index] = direction[index] + _inner(
                image, atoms[places[index, 2]], places[index, 0], places[index, 1]
            )
            curvature += float(direction[index]) * float(image_of[index])
        length, after, size = right.dtype.type(product / curvature), 0.0, 0.0
        for index in range(len(right)):
            solution[index] += length * direction[index]
            residual[index] -= length * image_of[index]
            size += float(residual[index]) ** 2
            after += float(residual[index]) ** 2 / float(h[index] + 1)
        share = right.dtype.type(after / product)
        product = after
        for index in range(len(right)):
            direction[index] = residual[index] / (h[index] + 1) + share * direction[index]
    return solution
