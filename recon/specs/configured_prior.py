"""A prior with the specification that gives it again, and what a prior is matched to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.certificates import Remark
from recon.methods.regularisation_weights import scale_of
from recon.priors import GuidedPrior, Prior
from recon.priors.total_variation import FLAT
from recon.specs.grammar import Spec

if TYPE_CHECKING:
    from recon.specs.networks import Model


@dataclass(frozen=True)
class ConfiguredPrior:
    """A prior with the specification that gives it again, weights filled in.

    Attributes:
        spec: The specification, with every value that was matched to the noise.
        prior: The prior.
        files: The files that were read for it.
        note: What a user should know of the choice, or nothing.
        model: The network, which is searched for violations by its derivative; ``None`` of what is none: there is only
            :func:`recon.methods.assumption_check.attack`.
        exact: The same prior without rounding, where its layers are evaluated in half precision; else ``None``.
        remarks: What belongs into a certificate without being a condition of it.
        levels: Noise levels at which a search should look where none is stated.
        stepsize: The step size that a single resolvent is matched to where any converges; else ``None``.
        least_side: Height and width of the smallest image of which its card speaks; ``None`` where none does.
        share: Of what a single resolvent takes away, below its range of noise; see :func:`recon.priors.relaxed`.
        guided: What gives the prior once there is a guide, where ``prior`` is the one without; else ``None``.
        guides_itself: Whether the reconstruction without a guide is the guide where none is given.
    """

    spec: Spec
    prior: Prior
    files: tuple[Path, ...] = ()
    note: str = ""
    model: "Model | None" = None
    exact: Prior | None = None
    remarks: tuple[Remark, ...] = ()
    levels: tuple[float, ...] = ()
    stepsize: float | None = None
    least_side: int | None = None
    share: float = 1.0
    guided: GuidedPrior | None = None
    guides_itself: bool = False

    @property
    def weight(self) -> float | None:
        """The weight of its penalty, where it has one."""
        return float(self.spec.options["weight"]) if "weight" in self.spec.options else None


@dataclass(frozen=True)
class PriorContext:
    """The quantities that a prior is matched to.

    Attributes:
        noise: The standard deviation of the noise on the scale of the problem; ``None`` where it is not known.
        channels: Of the images; ``None`` where any will do.
        blurs: Whether the operator mixes pixels rather than sampling them.
        image_shape: (height, width), or (slices, height, width); ``None`` where it is not known.
        column_norm: Of the projections of a single pixel, where the measurement is projections.
        spacing: The distance of two neighbours along each axis, in the pixels of a slice.
        step_noise: The standard deviation of the noise that a step along the gradient of the data leaves in a pixel;
            ``None`` where the pixels themselves are measured, or the noise is not known.
        unit_noise: The same for a step size of 1, where any converges and none was asked for; else ``None``.
        contrast: Of the image; ``None`` where it is not known, and taken for that of a photograph.
        back_noise: The standard deviation of what the adjoint makes of the noise in a pixel; ``None`` where nothing is
            matched to it, or the noise is not known.
        takes_coefficients: Whether the unknowns may be coefficients of the image: the method takes them, or none was
            asked for, and it is not the pixels themselves that are measured.
        coarser: How much coarser the inner iteration of a guided network's resolvents may be than by default.
    """

    noise: float | None = None
    channels: int | None = 1
    blurs: bool = True
    image_shape: tuple[int, ...] | None = None
    column_norm: float | None = None
    spacing: tuple[float, ...] = FLAT
    step_noise: float | None = None
    unit_noise: float | None = None
    contrast: float | None = None
    back_noise: float | None = None
    takes_coefficients: bool = False
    coarser: float = 1.0

    @property
    def scale(self) -> float:
        """S of :mod:`recon.methods.regularisation_weights`."""
        return (
            1.0 if self.contrast is None else scale_of(self.contrast, (self.noise or 0.0) / (self.column_norm or 1.0))
        )


UNKNOWN = PriorContext()
"""Of grey images of any size, with a noise that is not known."""
