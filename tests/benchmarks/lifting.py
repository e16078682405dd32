"""Lossless coding by lifting transforms, fixed and fitted to each image, for `archive.py`.

An image is split into four phases. Three are predicted from what comes before them, and the first is updated by the
residuals, as in JPEG 2000 (5/3); four times. All is rounded to integers, so that it is inverted exactly whatever the
weights. The fitted one predicts from up to 27 neighbours by least squares on the image itself, and its weights are
coded too. Each band is coded by the codec of `recon pack`, which is a better coder than that of JPEG 2000.
"""

import itertools
import struct

import numpy as np

from recon.packing.planes import decode_plane, encode_plane

LEVELS = 4
BITS = 12
"""Of the fraction of a weight."""

SQUARE = tuple(itertools.product((-1, 0, 1), repeat=2))
FIXED = (
    {(0, 0, 0): 0.5, (0, 0, 1): 0.5},
    {(0, 0, 0): 0.5, (0, 1, 0): 0.5},
    {(1, 0, 0): 0.5, (1, 1, 0): 0.5, (2, 0, 0): 0.5, (2, 0, 1): 0.5,
     (0, 0, 0): -0.25, (0, 0, 1): -0.25, (0, 1, 0): -0.25, (0, 1, 1): -0.25},
)  # fmt: skip
"""Weights of neighbours (phase, row, column) in the predictions of the pixels right of, below and diagonal to one."""


def encode(pixels: np.ndarray, fitted: bool) -> bytes:
    """Bytes of integers of shape (rows, columns)."""
    low, parts = pixels.astype(np.int64), []
    for _ in range(LEVELS):
        rows, columns = low.shape
        low = np.pad(low, ((0, rows % 2), (0, columns % 2)), mode="edge")
        known, bands, weights = [low[::2, ::2]], [], []
        for fixed, phase in zip(FIXED, (low[::2, 1::2], low[1::2, ::2], low[1::2, 1::2]), strict=True):
            weights.append(_fitted(known, phase) if fitted else _fixed(fixed, len(known)))
            bands.append(phase - _predicted(known, weights[-1]))
            known.append(phase)
        low = known[0] + _update(bands)
        head = np.concatenate(weights).astype("<i2").tobytes() if fitted else b""
        parts = [struct.pack("<II", rows, columns) + head, *(encode_plane(band) for band in bands), *parts]
    return b"".join(struct.pack("<I", len(part)) + part for part in [encode_plane(low), *parts])


def decode(data: bytes, shape: tuple[int, int], fitted: bool) -> np.ndarray:
    """The integers that :func:`encode` coded."""
    parts, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        parts.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    sizes = [shape]
    for _ in range(LEVELS):
        sizes.append(tuple(-(-length // 2) for length in sizes[-1]))
    low = decode_plane(parts.pop(0), sizes[LEVELS])
    for level in range(LEVELS - 1, -1, -1):
        half = sizes[level + 1]
        (head, *coded), parts = parts[:4], parts[4:]
        bands = [decode_plane(band, half) for band in coded]
        known, place = [low - _update(bands)], 8
        for fixed, band in zip(FIXED, bands, strict=True):
            count = 9 * len(known)
            weights = np.frombuffer(head, "<i2", count, place) if fitted else _fixed(fixed, len(known))
            place += 2 * count
            known.append(band + _predicted(known, weights))
        whole = np.empty((2 * half[0], 2 * half[1]), np.int64)
        whole[::2, ::2], whole[::2, 1::2], whole[1::2, ::2], whole[1::2, 1::2] = known
        low = whole[: sizes[level][0], : sizes[level][1]]
    return low


def _neighbours(known: list[np.ndarray]) -> list[np.ndarray]:
    found = []
    for phase in known:
        padded, (rows, columns) = np.pad(phase, 1, mode="edge"), phase.shape
        found += [padded[1 + y : 1 + y + rows, 1 + x : 1 + x + columns] for y, x in SQUARE]
    return found


def _predicted(known: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    total = sum(int(w) * n for w, n in zip(weights, _neighbours(known), strict=True) if w)
    return (total + (1 << (BITS - 1))) >> BITS


def _fixed(weights: dict[tuple[int, int, int], float], phases: int) -> np.ndarray:
    places = [(phase, y, x) for phase in range(phases) for y, x in SQUARE]
    return np.array([round(weights.get(place, 0.0) * 2**BITS) for place in places])


def _fitted(known: list[np.ndarray], phase: np.ndarray) -> np.ndarray:
    taps = np.stack([n.ravel() for n in _neighbours(known)], axis=1).astype(float)
    mean = taps.mean()
    normal = (taps - mean).T @ (taps - mean) + 1e-3 * phase.size * np.eye(taps.shape[1])
    solution = np.linalg.solve(normal, (taps - mean).T @ (phase.ravel() - mean))
    weights = np.rint(np.clip(solution, -3, 3) * 2**BITS).astype(int)
    weights[4] = np.clip(weights[4] + 2**BITS - weights.sum(), -(2**15), 2**15 - 1)  # a constant is predicted exactly
    return weights


def _update(bands: list[np.ndarray]) -> np.ndarray:
    """A quarter of the residuals right of, left of, above and below a pixel."""
    right, below = np.pad(bands[0], ((0, 0), (1, 0)), mode="edge"), np.pad(bands[1], ((1, 0), (0, 0)), mode="edge")
    return (right[:, 1:] + right[:, :-1] + below[1:] + below[:-1] + 2) >> 2
