"""The scale of grey values on which a problem is solved, and a user's numbers on it.

A user's numbers (``--noise``, a weight, bounds) are on the user's scale, where the input's range is [0, 1]. Two kinds
of problems are solved on another one, so that their solution does not depend on the units of the input:

* complex ones, whose data have no range of their own: there the 99.9th percentile of the modulus of the
  back-projection becomes 1, as :func:`recon.io.image.default_range` takes it for real images;
* CT images with a network that was made for Hounsfield units: there 0 and 1 are the ends of the range on which it was
  trained, whatever range was asked for.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.io import Image, ValueRange, to_tensor
from recon.io.image import HOUNSFIELD_RANGE, ROBUST_PERCENTILES, default_range
from recon.priors import Prior, scaled_prior
from recon.specs.grammar import Spec
from recon.specs.priors import grey_options
from recon.specs.solve_config import Noise
from recon.types import LinearOperator

HOUNSFIELD_MODELS = ("proved-ct", "guided-ct")
"""Packaged networks that were trained on images in HU."""

HOUNSFIELD = ValueRange(*HOUNSFIELD_RANGE, "HU")
"""The range on which they were."""

_BOUNDS = ("low", "high")


@dataclass(frozen=True)
class Scale:
    """The map ``v -> factor v + offset`` from the user's scale to the one on which a problem is solved."""

    factor: float = 1.0
    offset: float = 0.0

    @property
    def is_users(self) -> bool:
        """Whether both are the same."""
        return (self.factor, self.offset) == (1.0, 0.0)

    @property
    def inverse(self) -> "Scale":
        """The map back."""
        return Scale(1 / self.factor, -self.offset / self.factor)

    def undo(self, x: Tensor) -> Tensor:
        """An image of the problem on the user's scale."""
        return x if self.is_users else (x - self.offset) / self.factor

    def of_noise(self, noise: Noise | None) -> Noise | None:
        """A noise level on the scale; one in units is left as it is."""
        if noise is None or noise.unit or self.is_users:
            return noise
        return Noise(noise.sigma * self.factor)

    def of_spec(self, spec: Spec) -> Spec:
        """A prior's specification with its grey values on the scale."""
        if self.is_users:
            return spec
        found, grey = dict(spec.options), grey_options(spec)
        for key, text in spec.options.items():
            if key in grey:
                found[key] = _moved(text, self.factor, 0.0)
            elif key in _BOUNDS:
                found[key] = _moved(text, self.factor, self.offset)
        return replace(spec, options=found)

    def of_prior(self, prior: Prior, spec: Spec) -> Prior:
        """A prior that its own maker made for the user's scale; others have been moved by :meth:`of_spec`."""
        return scaled_prior(prior, self.factor) if spec.name == "python" and not self.is_users else prior


SAME = Scale()


def _moved(text: str, factor: float, offset: float) -> str:
    try:
        return repr(factor * float(text) + offset)
    except ValueError:  # refused by name, and in the user's own words, when it is read
        return text


def between(users: ValueRange, solved: ValueRange) -> Scale:
    """The map from the scale on which one range is [0, 1] to that on which the other is."""
    return Scale(users.width / solved.width, (users.low - solved.low) / solved.width)


def as_complex(image: Image) -> Image:
    """An input of a complex problem: its real numbers lose a default range, because an offset has no meaning there."""
    known = image.value_range
    if image.pixels.dtype.kind == "c" or known.low == 0 or known != default_range(image.pixels, image.units):
        return image
    return replace(image, value_range=ValueRange(0.0, 1.0, known.units))


def is_of_hounsfield(spec: Spec) -> bool:
    """Return whether the prior is a network that was made for images in HU."""
    return spec.name == "model" and spec.value in HOUNSFIELD_MODELS


def solved_image(image: Image, complex_operator: LinearOperator | None, prior: Spec) -> tuple[Image, Scale]:
    """An input with the range on which it is solved, and the map to there from its own.

    Args:
        image: The input; its range is the user's.
        complex_operator: A, where the problem is complex; else ``None``.
        prior: The prior.

    Raises:
        UsageError: The prior was made for HU, and how the input's range lies to that is not known.
    """
    known, wanted = image.value_range, image.value_range
    if complex_operator is not None:
        wanted = _complex_range(image, complex_operator)
    elif is_of_hounsfield(prior):
        wanted = HOUNSFIELD if known.units == "HU" else _stated_hounsfield(known, prior)
    if (known.low, known.high) == (wanted.low, wanted.high):
        return image, SAME
    return replace(image, value_range=wanted), between(known, wanted)


def _stated_hounsfield(known: ValueRange, prior: Spec) -> ValueRange:
    if (known.low, known.high) in ((HOUNSFIELD.low, HOUNSFIELD.high), (0.0, 1.0)):
        return known
    raise UsageError(
        f"prior is {prior}, made for Hounsfield units, where {HOUNSFIELD.low:g} to {HOUNSFIELD.high:g} are 0 to 1; the "
        f"input has {known.units or 'no units'} and the range {known.low:g}:{known.high:g}; expected a DICOM file in "
        f"HU, --range={HOUNSFIELD.low:g}:{HOUNSFIELD.high:g} where its numbers are HU, or another prior."
    )


@torch.no_grad()
def _complex_range(image: Image, operator: LinearOperator) -> ValueRange:
    """From the black of the input's range to the 99.9th percentile of the modulus of the back-projection above it."""
    known = image.value_range
    back = operator.A_adjoint(to_tensor(image, torch.float64).to(torch.complex128))
    size = robust_maximum(back.abs().flatten()) * known.width
    return ValueRange(known.low, known.low + size, known.units) if size > 0 else known


def robust_maximum(values: Tensor) -> float:
    """The 99.9th percentile, or the maximum where most values are zero."""
    rank = max(1, math.ceil(ROBUST_PERCENTILES[1] / 100 * values.numel()))
    found = float(values.kthvalue(rank).values) if values.numel() else 0.0
    return found or float(values.max()) if values.numel() else 0.0


@torch.no_grad()
def black_seen(value_range: ValueRange, operator: LinearOperator, example: Tensor) -> Tensor | None:
    """Return what a range that does not begin at 0 adds to a measurement on [0, 1]: ``low / width (1 - A 1)``.

    The image ``(x - low) / width`` measures ``(y - low A 1) / width`` where x measures y, and a reader gives
    ``(y - low) / width``.

    Args:
        value_range: Of the input.
        operator: A.
        example: A zero image, (1, 1, height, width).

    Returns:
        What is added; ``None`` where that is nothing, as for a blur whose kernel sums to 1.
    """
    if value_range.low == 0:
        return None
    missing = 1 - operator.A(torch.ones_like(example))
    if float(missing.abs().max()) <= _KEPT:
        return None
    return missing * (value_range.low / value_range.width)


_KEPT = 1e-5
"""How far A 1 may be from 1: rounding, of kernels that sum to 1 and of their transforms."""
