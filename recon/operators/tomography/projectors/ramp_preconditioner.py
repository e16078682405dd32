"""The data term of a projector as ``g(K x)`` with a well-conditioned K, for primal-dual methods.

A projector passes low frequencies far better than high ones, by the factor ``1 / |frequency|``, and that is what makes
plain primal-dual methods slow. With a filter F of the sinogram's rows whose gain grows like ``|frequency|``, the ramp
of filtered back-projection, ``A^T F A`` is nearly a multiple of the identity. ``K = F^(1/2) A`` and
``g(z) = ||F^(-1/2) z - y||^2 / 2`` leave the problem as it is, and the proximity operator of ``s g*`` keeps a closed
form: ``u -> (Id + s F)^-1 (u - s F^(1/2) y)``.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon.evidence import Constant, Measured
from recon.operators import spectral
from recon.operators.base import SEMIDEFINITE, OperatorProperties
from recon.operators.composition import CharacterisedOperator
from recon.operators.data_split import DataSplit
from recon.operators.spectral import Effort
from recon.operators.tomography.projectors.row_filter import RowFilter
from recon.operators.tomography.projectors.transformed import TransformedProjector
from recon.types import Map

FLOOR = 0.02
"""The least gain, of the half cycle per pixel that is the largest: constants must pass too.

Of 0.005, 0.01, 0.02 and 0.05 on 60 views of the Shepp-Logan phantom the differences are a few steps in a hundred.
"""

SAFETY = 1.02
"""On the norm that Lanczos measures to a residual of 1e-2."""


@final
@dataclass(frozen=True, eq=False)
class FilteredProjector(TransformedProjector):
    """``K = F^(1/2) A``; build it with :func:`ramp_split`.

    Attributes:
        root: F^(1/2).
        size: Its norm, where it is known; else it is measured when asked for.
    """

    root: RowFilter
    size: Constant | None = None

    @cached_property
    def properties(self) -> OperatorProperties:
        """The norm is measured: the product of the norms, which is proved, is ten times too large."""
        return replace(self.projector.properties, norm=self.size or self._measured, gram_min=SEMIDEFINITE)

    @property
    def _measured(self) -> Constant:
        found = spectral.norm(self, self.domain.zeros(1, 1), Effort(tolerance=1e-2, applications=40))
        value = SAFETY * (found.value + found.error)
        return Measured(value, f"{SAFETY:g} times what {found.how} gives, its radius included")

    def transform(self, y: Tensor) -> Tensor:
        """``F^(1/2) y``."""
        return self.root.A(y)


def ramp_split(projector: CharacterisedOperator, norm: float, floor: float = FLOOR) -> DataSplit:
    """The splitting with the ramp filter, scaled so that ``||K||`` is ``norm``.

    Args:
        projector: A, which gives sinograms (views, pixels) or, of a cone, (views, rows, pixels).
        norm: Of K.
        floor: The least gain before the scaling, in cycles per pixel.
    """
    *_, pixels = shape = projector.range.shape
    ramp = torch.fft.rfftfreq(pixels, dtype=torch.float64) + floor
    size = FilteredProjector(projector, RowFilter(ramp.sqrt(), shape)).properties.norm
    gains = ramp * (norm / size.value) ** 2
    root = RowFilter(gains.sqrt(), shape)

    def conjugate_resolvent(measurement: Tensor, stepsize: float) -> Map:
        shrink = RowFilter(1 / (1 + stepsize * gains), shape)
        offset = shrink.A(root.A(measurement)) * stepsize
        return lambda u: shrink.A(u) - offset

    return DataSplit(FilteredProjector(projector, root, Measured(norm, size.how)), conjugate_resolvent)
