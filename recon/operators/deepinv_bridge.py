"""Our operators inside deepinv.

The other direction needs no bridge: every ``deepinv.physics.LinearPhysics`` is a :class:`recon.types.LinearOperator`.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.operators._checks import as_words
from recon.operators.base import Characterised, HasDataResolvent
from recon.types import LinearOperator

if TYPE_CHECKING:
    from deepinv.physics import LinearPhysics


def to_deepinv(operator: LinearOperator, image_shape: tuple[int, ...]) -> "LinearPhysics":
    """The operator as a ``deepinv.physics.LinearPhysics`` on images of ``image_shape``.

    ``A`` and ``A_adjoint`` are the operator's own, and so is ``prox_l2`` where it has a closed-form resolvent. Complex
    images and measurements are, as everywhere in deepinv, two real channels (real part, imaginary part), which leaves
    every inner product as it is.

    Args:
        operator: Any operator; where it knows its domain, the shape is checked against it.
        image_shape: (channels, height, width); two channels if the operator's domain is complex.

    Raises:
        UsageError: If the shape does not fit the operator.
    """
    if isinstance(operator, Characterised):
        _require_fitting(operator, tuple(image_shape))
    physics: LinearPhysics = _physics_class()(operator, tuple(image_shape))
    return physics


def _require_fitting(operator: Characterised, image_shape: tuple[int, ...]) -> None:
    domain = operator.domain
    if image_shape[1:] != domain.shape:
        raise UsageError(
            f"to_deepinv: the image shape is {image_shape}; expected (channels, {', '.join(map(str, domain.shape))}), "
            f"because {type(operator).__name__} acts on images of {as_words(domain.shape)}."
        )
    if domain.is_complex and image_shape[0] != 2:
        raise UsageError(
            f"to_deepinv: the image shape is {image_shape}; expected 2 channels, "
            f"because deepinv keeps a complex image as its real and imaginary parts."
        )


def _to_complex(x: Tensor) -> Tensor:
    """(B, 2, ...) real -> (B, 1, ...) complex."""
    return torch.complex(x[:, :1], x[:, 1:])


def _to_real(x: Tensor) -> Tensor:
    """(B, 1, ...) complex -> (B, 2, ...) real."""
    return torch.cat([x.real, x.imag], dim=1)


@cache
def _physics_class() -> Any:
    """The class, built at the first use: importing deepinv takes seconds."""
    from deepinv.physics import LinearPhysics  # noqa: PLC0415

    class ReconPhysics(LinearPhysics):  # type: ignore[misc]
        """One of recon's operators under deepinv's interface."""

        def __init__(self, operator: LinearOperator, image_shape: tuple[int, ...]) -> None:
            super().__init__(img_size=image_shape)
            self.operator = operator
            self.complex_domain = isinstance(operator, Characterised) and operator.domain.is_complex
            self.complex_range = isinstance(operator, Characterised) and operator.range.is_complex

        # deepinv hands the parameters of other physics through every call: those of no concern here are ignored
        def A(self, x: Tensor, **_: object) -> Tensor:
            y = self.operator.A(_to_complex(x) if self.complex_domain else x)
            return _to_real(y) if self.complex_range else y

        def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
            x = self.operator.A_adjoint(_to_complex(y) if self.complex_range else y)
            return _to_real(x) if self.complex_domain else x

        def prox_l2(self, z: Tensor, y: Tensor, gamma: float | Tensor, **solver: Any) -> Tensor:
            """In closed form for one step size; iteratively for a step for each image, or a trainable one."""
            trainable = isinstance(gamma, Tensor) and (gamma.numel() != 1 or gamma.requires_grad)
            if trainable or not isinstance(z, Tensor) or not isinstance(self.operator, HasDataResolvent):
                prox: Tensor = super().prox_l2(z, y, gamma, **solver)
                return prox
            resolvent = self.operator.data_resolvent(_to_complex(y) if self.complex_range else y, float(gamma))
            x = resolvent(_to_complex(z) if self.complex_domain else z)
            return _to_real(x) if self.complex_domain else x

    return ReconPhysics
