"""Point spread functions: small non-negative kernels, double precision, sum 1.

A kernel of shape (h, w) has its centre at index ``(h // 2, w // 2)``: the middle of an odd length, the first
entry after the middle of an even one. A kernel of even length so spreads half a pixel to the left of its centre.
"""

import math

import torch
from torch import Tensor

from recon.errors import UsageError


def gaussian_psf(sigma: float, truncate: float = 4.0) -> Tensor:
    """The Gaussian density of standard deviation ``sigma`` pixels, sampled at the pixels and normalised to sum 1.

    Args:
        sigma: Standard deviation in pixels, positive.
        truncate: The kernel reaches ``ceil(truncate * sigma)`` pixels to each side.

    Returns:
        A kernel of odd size ``2 * ceil(truncate * sigma) + 1`` in both directions, float64.

    Raises:
        UsageError: If ``sigma`` or ``truncate`` is not positive and finite.
    """
    _require_positive("gaussian_psf", "standard deviation", sigma)
    _require_positive("gaussian_psf", "truncation", truncate)
    reach = math.ceil(truncate * sigma)
    return _outer(torch.exp(-0.5 * (_integers(reach) / sigma) ** 2))


def box_psf(size: int | tuple[int, int]) -> Tensor:
    """The mean over ``size`` pixels: a square, or (height, width).

    Raises:
        UsageError: If a length is not a positive integer.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if any(int(length) != length or length < 1 for length in (height, width)):
        raise UsageError(f"box_psf: the size is {size}; expected positive integers, because it counts pixels.")
    return torch.full((int(height), int(width)), 1.0 / (height * width), dtype=torch.float64)


def defocus_psf(radius: float) -> Tensor:
    """The uniform disc of ``radius`` pixels: each entry is the exact area that its pixel shares with the disc.

    Returns:
        A kernel of odd size in both directions, float64.

    Raises:
        UsageError: If ``radius`` is not positive and finite.
    """
    _require_positive("defocus_psf", "radius", radius)
    reach = math.ceil(radius - 0.5) if radius > 0.5 else 0
    edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
    corner = _disc_area_to_corner(edges[:, None], edges[None, :], radius)
    area = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
    return normalise_psf(area.clamp(min=0.0))


def motion_psf(length: float, angle_degrees: float) -> Tensor:
    """The exposure of a point that moves at constant speed along a straight segment.

    Each entry is the exact fraction of the segment that lies inside its pixel.

    Args:
        length: Length of the segment in pixels, not negative; zero gives a single pixel.
        angle_degrees: Counter-clockwise from the horizontal, as the image is displayed (rows run downwards).

    Returns:
        A kernel of odd size in both directions, float64.

    Raises:
        UsageError: If ``length`` is negative, or a value is not finite.
    """
    if not (0 <= length < math.inf and math.isfinite(angle_degrees)):
        raise UsageError(
            f"motion_psf: the length is {length} and the angle {angle_degrees} degrees; "
            f"expected finite numbers and a length that is not negative, because they describe a path."
        )
    angle = math.radians(angle_degrees % 180)
    half = (-0.5 * length * math.sin(angle), 0.5 * length * math.cos(angle))
    reach = [max(0, math.ceil(abs(end) - 0.5 - 1e-9)) for end in half]
    cuts = torch.cat([torch.tensor([-1.0, 1.0], dtype=torch.float64), *map(_crossings, half)]).sort().values
    middle, share = 0.5 * (cuts[1:] + cuts[:-1]), 0.5 * cuts.diff()
    rows, columns = (
        (middle * end).round().long().clamp(-bound, bound) + bound for end, bound in zip(half, reach, strict=True)
    )
    psf = torch.zeros(2 * reach[0] + 1, 2 * reach[1] + 1, dtype=torch.float64)
    return normalise_psf(psf.index_put((rows, columns), share, accumulate=True))


def psf_centre(shape: tuple[int, ...]) -> tuple[int, int]:
    """The index of a kernel's centre: ``(h // 2, w // 2)``."""
    return shape[0] // 2, shape[1] // 2


def normalise_psf(psf: Tensor) -> Tensor:
    """The kernel divided by its sum, in double precision.

    Raises:
        UsageError: Where :func:`check_psf` refuses the kernel.
    """
    check_psf(psf)
    psf = psf.to(torch.float64)
    return psf / psf.sum()


def check_psf(psf: Tensor) -> list[str]:
    """Return what is unusual about a kernel, a sentence each.

    Raises:
        UsageError: If it is not a (height, width) tensor of real, finite numbers whose sum is not zero.
    """
    shape = tuple(psf.shape)
    if psf.ndim != 2 or psf.numel() == 0:
        raise UsageError(
            f"psf: the kernel has shape {shape}; expected (height, width), because it acts on single slices."
        )
    if psf.is_complex():
        raise UsageError(f"psf: the kernel has dtype {psf.dtype}; expected real numbers, because it blurs real images.")
    psf = psf.detach().to(torch.float64)
    unusable = int((~torch.isfinite(psf)).sum())
    if unusable:
        raise UsageError(
            f"psf: {unusable} of {psf.numel()} entries are not finite; expected finite numbers, "
            f"because one such entry spoils every pixel."
        )
    total, mass = float(psf.sum()), float(psf.abs().sum())
    if abs(total) <= 1e-12 * mass:
        raise UsageError(
            f"psf: the entries of the {shape[0]} x {shape[1]} kernel sum to zero; expected another sum (usually 1), "
            f"because the mean grey value would be lost."
        )
    return _remarks(psf, total)


def _remarks(psf: Tensor, total: float) -> list[str]:
    remarks = []
    negative = int((psf < 0).sum())
    if negative:
        remarks.append(
            f"psf: {negative} of {psf.numel()} entries are negative (the least is {float(psf.min()):.3g}); "
            f"an optical kernel has none."
        )
    if abs(total - 1) > 1e-6:
        remarks.append(f"psf: the entries sum to {total:.6g}, not to 1; the blur changes the mean grey value.")
    return remarks


def _require_positive(owner: str, what: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"{owner}: the {what} is {value}; expected a positive number, because it measures a width.")


def _integers(reach: int) -> Tensor:
    return torch.arange(-reach, reach + 1, dtype=torch.float64)


def _outer(profile: Tensor) -> Tensor:
    return normalise_psf(profile[:, None] * profile[None, :])


def _crossings(end: float) -> Tensor:
    """The parameters t in (-1, 1) at which t * end is a half-integer: where the path goes to the next pixel."""
    if abs(end) <= 0.5:
        return torch.empty(0, dtype=torch.float64)
    count = math.ceil(abs(end) - 0.5)
    positive = (torch.arange(count, dtype=torch.float64) + 0.5) / abs(end)
    return torch.cat([-positive, positive]).clamp(-1.0, 1.0)


def _disc_area_to_corner(x: Tensor, y: Tensor, radius: float) -> Tensor:
    """The signed area of the disc inside the rectangle from its centre to (x, y): odd in x and in y.

    For x, y >= 0 it is the integral of min(y, sqrt(r^2 - u^2)) over u in [0, x].
    """
    width, height = x.abs().clamp(max=radius), y.abs().clamp(max=radius)
    above, reached = _leg(width, radius), _leg(height, radius)
    chord = torch.minimum(width, reached)
    under_arc = _area_under_arc(width, above, radius) - _area_under_arc(
        chord, torch.where(width < reached, above, height), radius
    )
    return (height * chord + under_arc) * x.sign() * y.sign()


def _leg(u: Tensor, radius: float) -> Tensor:
    """``sqrt(r^2 - u^2)`` for 0 <= u <= r, without the cancellation of the squares where u is near r."""
    return ((radius - u) * (radius + u)).sqrt()


def _area_under_arc(u: Tensor, leg: Tensor, radius: float) -> Tensor:
    """The integral of sqrt(r^2 - t^2) over t in [0, u]; ``asin(u / r)`` would lose half of the digits near 1."""
    return 0.5 * (u * leg + radius**2 * torch.atan2(u, leg))
