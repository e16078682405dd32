"""Fine-tuning through the converged solver: the loss compares the reconstruction from a measurement.

The reconstruction is the fixed point ``w = T(w) = J(w - gamma A^T (A w - y))`` of forward-backward. By the implicit
function theorem its derivative is ``dw = (Id - T'(w))^-1 dT`` (Bai, Kolter, Koltun 2019; for inverse problems Gilton,
Ongie, Willett 2021). So a gradient g with respect to w becomes the solution of ``v = g + T'(w)^T v``, another fixed
point, and then one vector-Jacobian product of T with respect to the weights: the memory of one evaluation of J,
whatever the number of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from recon import io
from recon.errors import GuaranteeError, InputError, UsageError
from recon.operators import Blur, CircularBlur, LeastSquares, gaussian_psf, normalise_psf, operator_properties
from recon.operators.base import Characterised
from recon.priors.networks import Network
from recon.solvers.fixed_point import fixed_point
from recon.specs.grammar import parse_spec
from recon.specs.operators import read_operator
from recon.training.pseudo_inverse import pseudo_inverse, share_of
from recon.training.tables import EquilibriumConfig, MeasurementsConfig
from recon.types import LinearOperator, Map

_INNER = 0.1
"""The accuracy of an inner iteration relative to that of the fixed point around it."""

_FINEST = 1e-5
"""Of an inner iteration in single precision, in which no finer one can be told from rounding."""


Shape = tuple[int, int]


@final
@dataclass(frozen=True)
class Ways:
    """How measurements are reconstructed and compared.

    Attributes:
        single: Whether J is applied once, to a pseudo-inverse, rather than solved for its fixed point.
        damping: Of the pseudo-inverse of an operator that is no scan: what is added to ``A^T A``.
        measurements: How measurements alone train a network.
        is_masked: Whether part of the measurement is zero because it was not measured.
    """

    single: bool = False
    damping: float = 0.0
    measurements: MeasurementsConfig = field(default_factory=MeasurementsConfig)
    is_masked: bool = False


PLAIN = Ways()


@final
@dataclass(frozen=True)
class Restoration:
    """Measurements of images of one size, and their reconstruction.

    Attributes:
        operator: A.
        config: The step size, and how far the iterations go.
        family: From a size to the operator for images of that size; ``None``: the operator is a circular blur.
        ways: How it reconstructs.
    """

    operator: LinearOperator
    config: EquilibriumConfig
    family: Callable[[Shape], LinearOperator] | None = field(default=None, repr=False)
    ways: Ways = field(default_factory=Ways)

    def __post_init__(self) -> None:
        norm = operator_properties(self.operator).norm.value
        if not self.ways.single and not self.stepsize * norm**2 < 2:
            raise UsageError(
                f"equilibrium.stepsize = {self.config.stepsize:g} for an operator of norm {norm:.4g}; expected less "
                f"than {2 / norm**2:.4g}, because forward-backward converges below 2/||A||^2 only."
            )

    @property
    def stepsize(self) -> float:
        """gamma, as the recipe states it or 1/||A||^2."""
        return self.config.stepsize or 1 / operator_properties(self.operator).norm.value ** 2

    @property
    def size(self) -> Shape:
        """(height, width) of the images."""
        assert isinstance(self.operator, Characterised)  # noqa: S101  families make such operators
        height, width = self.operator.domain.shape
        return height, width

    def at(self, size: Shape) -> "Restoration":
        """Return the same problem for images of another size."""
        if isinstance(self.operator, Characterised) and size == self.operator.domain.shape:
            return self
        if self.family is not None:
            return replace(self, operator=self.family(size))
        assert isinstance(self.operator, CircularBlur)  # noqa: S101  as the attributes say
        return replace(self, operator=Blur(self.operator.psf, size))

    @torch.no_grad()
    def fingerprint(self) -> Tensor:
        """Return what identifies the operator: the kernel of a blur, else the measurement of a random image."""
        if isinstance(self.operator, CircularBlur):
            return self.operator.psf
        assert isinstance(self.operator, Characterised)  # noqa: S101  families make such operators
        image = self.operator.domain.random(1, 1, generator=torch.Generator().manual_seed(0))
        return self.operator.A(image).double()

    def restore(
        self, network: Network, y: Tensor, level: Tensor | float | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """The reconstruction from measurements, differentiable with respect to the weights of the network and to y.

        Args:
            network: J.
            y: ``(batch, channels, height, width)``, each item solved by itself.
            level: The noise level that a conditioned network is told.
            seen: 1 where a measurement is used and 0 where not, of a shape that broadcasts to that of y; what is used
                then counts for the rest, so that the weight of the data stays the same. ``None``: all of it.

        Raises:
            GuaranteeError: The fixed point was not reached, here or, for the adjoint equation, in the backward pass.
        """
        if self.ways.single:
            image = pseudo_inverse(self.operator, y, self.ways.damping, seen)
            once: Tensor = network(image, level)
            return once
        config, stepsize = self.config, self.stepsize
        gradient = LeastSquares(self.operator, y) if seen is None else self._gradient_of_part(y, seen)
        used = y if seen is None else seen * y
        start = self.operator.A_adjoint(used)
        start = used if start.shape == y.shape else stepsize * start

        def step(w: Tensor) -> Tensor:
            found: Tensor = network(w - stepsize * gradient(w), level)
            return found

        with network.derived_once():
            point = _solved("reconstruction", step, start, config.max_steps, accuracy=config.accuracy)
            if not torch.is_grad_enabled():
                return point
            point = point.detach().requires_grad_()
            image = step(point)
        found = point.detach() + (image - image.detach())  # the point, with the graph of one step
        if not found.requires_grad:
            return found

        def adjoint(g: Tensor) -> Tensor:
            def transpose(v: Tensor) -> Tensor:
                return g + torch.autograd.grad(image, point, v, retain_graph=True)[0]

            return _solved("gradient", transpose, g, config.max_steps, adjoint_accuracy=config.adjoint_accuracy)

        found.register_hook(adjoint)  # type: ignore[no-untyped-call]
        return found

    def _gradient_of_part(self, y: Tensor, seen: Tensor) -> Map:
        weights = seen / share_of(seen)

        def gradient(w: Tensor) -> Tensor:
            return self.operator.A_adjoint(weights * (self.operator.A(w) - y))

        return gradient


def restoration(
    config: EquilibriumConfig,
    size: Shape,
    family: Callable[[Shape], LinearOperator] | None = None,
    ways: Ways = PLAIN,
) -> Restoration:
    """The operator that a recipe states, for images of one size.

    Args:
        config: The recipe's.
        size: (height, width).
        family: The user's own operators instead, from a size to the operator.
        ways: How it reconstructs.

    Raises:
        InputError: A file that is named cannot be read.
        UsageError: It is no operator of real images, does not take images of this size, or the step size is too large.
    """
    if family is not None:
        return Restoration(family(size), config, family, ways)
    if not config.operator:
        return Restoration(Blur(_psf(config), size), config, ways=ways)
    found = read_operator(parse_spec(config.operator, "equilibrium.operator"))
    if found.is_complex:
        raise UsageError(
            f"equilibrium.operator = {config.operator!r}; expected an operator of real images, because networks are "
            "trained on such."
        )
    ways = replace(ways, is_masked=found.is_masked)
    return Restoration(found.on(size), config, found.on, ways)


def tightened(network: Network, config: EquilibriumConfig) -> Network:
    """The network, its inner iteration as accurate as the fixed points around it need it."""
    if network.iterates and network.solver.steps is None:
        before = network.solver
        accuracy = min(before.accuracy, max(_INNER * config.accuracy, _FINEST))
        adjoint = min(before.adjoint_accuracy, max(_INNER * config.adjoint_accuracy, _FINEST))
        network.solver = replace(before, accuracy=accuracy, adjoint_accuracy=adjoint)
    return network


def _psf(config: EquilibriumConfig) -> Tensor:
    if not config.kernel:
        return gaussian_psf(config.blur)
    pixels = io.read(Path(config.kernel)).pixels
    if pixels.shape[:2] != (1, 1) or pixels.dtype.kind == "c":
        raise InputError(
            f"{config.kernel}: the kernel has {pixels.shape[0]} frames and {pixels.shape[1]} channels of type "
            f"{pixels.dtype}; expected one plane of real numbers."
        )
    return normalise_psf(torch.from_numpy(pixels[0, 0].astype("float64")))


def _solved(name: str, step: Map, start: Tensor, max_steps: int, **accuracy: float) -> Tensor:
    """The fixed point, to a residual relative to the start."""
    ((key, value),) = accuracy.items()
    try:
        return fixed_point(step, start, value * start.square().sum((1, 2, 3)).sqrt(), max_steps)
    except GuaranteeError as error:
        raise GuaranteeError(
            f"the {name} did not converge ({error}); expected equilibrium.{key} = {value:g} within max_steps = "
            f"{max_steps}, which a network that is not firmly nonexpansive need never reach."
        ) from error
