"""Networks as the rest of the package wants them: resolvents, and priors with their energy and splitting."""

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Fact, Measured, Proved
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.operators.convolution_norms import convolution_norm
from recon.priors.networks.architectures.convex_ridge import ConvexRidge
from recon.priors.networks.architectures.convolutional_sparse_coding import ConvolutionalSparseCoding
from recon.priors.networks.architectures.dncnn import DnCNN
from recon.priors.networks.architectures.guided_ridge import GuidedRidge
from recon.priors.networks.architectures.network import Network
from recon.priors.networks.architectures.ridge_potential import LEAST_ROWS, STRIP, Ridge, by_strips
from recon.priors.networks.architectures.ridge_prox import InnerSolver, prox
from recon.priors.networks.half_precision import examples, layer_precision, rounding_error
from recon.priors.networks.layers.convolution import analyse, synthesise
from recon.priors.networks.layers.filter_bank import GRID
from recon.priors.networks.layers.profiles import Pieces
from recon.priors.networks.layers.ridge_conjugate import ridge_conjugate
from recon.priors.prior import Prior
from recon.priors.resolvent import (
    CLOSED_FORM,
    Resolvent,
    ResolventProperties,
    as_lipschitz_constant,
    proximity_operator,
)
from recon.priors.smooth import Smooth
from recon.priors.split import Split
from recon.types import Update

ACCURACY = 1e-4

TRAINED_ON = 0.0, 1.0
"""The grey values of the images that networks are trained on."""

LARGEST = 4.0
"""An image on [0, 1] with noise does not have such values; one on [0, 255] does."""

_ROUNDINGS = 128
"""Rounding units: an inner iteration to a finer accuracy than this is run in double precision."""

_CLIPPED_ATTAINS = Fact(
    Evidence.PROVED, "with clipped details J is an invertible matrix plus a continuous and bounded map (Brouwer)"
)
"""J is C = (Id + S)/2 plus a bounded map, with S what is coarse, symmetric, positive, and below 1 but for constants.
With x = J p the inclusion 0 in A^T(Ax - y) + M x / s is (C^-1 - Id + s A^T A) C p = a continuous and bounded map of p;
the matrix is invertible where A sees constants, and then p is a fixed point of a continuous map of a ball into itself.
"""

_RIDGE_ATTAINS = Fact(
    Evidence.PROVED,
    "a convex quadratic plus even convex functions of linear forms is constant in each of its directions of recession, "
    "so it attains its minimum (Rockafellar 1970, Theorem 27.1)",
)
_RIDGE_EVERYWHERE = Fact(Evidence.PROVED, "the learned potential is finite everywhere")

_SPARSE_ATTAINS = Fact(
    Evidence.PROVED,
    "the penalty is 1/||D||^2-strongly convex, as its conjugate is ||D||^2-smooth, so it attains its minimum with any "
    "data",
)
_RIDGE_ERROR = (
    "the gradient of the objective at the result of every call bounds its error, up to the rounding of the result; it "
    "is computed in double precision with the worst case of rounding; a call that misses it raises"
)
_SPARSE_ERROR = (
    "half the length of a subgradient, or the gradient of the dual, bounds the error of every call, up to the rounding "
    "of its result; both are computed in double precision with the worst case of rounding; a call that misses it raises"
)


_CLIPPED_IS_ONTO = Fact(
    Evidence.PROVED,
    "with clipped details J is the invertible (Id + S)/2, S what is coarse, plus a continuous and bounded map, so it "
    "is onto (Brouwer)",
)


def resolvent(  # noqa: PLR0913  each is known of some networks and not of others
    network: Network,
    noise_level: float | None = None,
    *,
    measured: Measured | Assumed | None = None,
    accuracy: float = ACCURACY,
    precision: str = "float32",
    example: Tensor | None = None,
    trainable: bool = False,
) -> Resolvent:
    """The network at a noise level as a resolvent, with the evidence that its construction gives.

    The weights are derived once in double precision; each call runs in the precision and on the device of its input.

    Args:
        network: Trained or not.
        noise_level: Where the network depends on it: a positive number.
        measured: The largest Lipschitz quotient of Q that a search found, which is all that is known of a network
            without a proof, or what is assumed in its place; ignored where there is a proof. Of a packaged one,
            :func:`recon.priors.networks.measured_on_card`.
        accuracy: Of the inner iteration of a prox, relative to the norm of the input.
        precision: ``"bfloat16"`` evaluates the layers in it; the properties are still those of the exact network, and
            the distance from it is the error, measured. ``"float32"``: all in the precision of the input.
        example: The images (batch, channels, height, width) on which that is measured; ``None``: three small ones.
        trainable: Whether gradients flow to the network's parameters. It is then evaluated itself where gradients are
            recorded, and else the copy that was made here, which what is proved speaks of: after a step of an
            optimiser make the prior anew.

    Raises:
        UsageError: A noise level is missing or superfluous, or the network has no layers for the precision.
    """
    _check_level(network, noise_level)
    if isinstance(network, GuidedRidge):
        raise UsageError(
            "the network is a GuidedRidge, which takes a guide; expected guided_prior(network, noise).given(guide), or "
            ".unguided of it."
        )
    layers = layer_precision(network, precision)
    lipschitz = _lipschitz(network, noise_level, measured)
    name = name_of(network, noise_level)
    frozen = Frozen(network, noise_level, accuracy, source=network if trainable else None)
    if isinstance(network, ConvexRidge) and not network.config.one_shot:
        return _ridge_resolvent(frozen, name, accuracy)
    if isinstance(network, ConvexRidge):
        return _one_shot_resolvent(network, noise_level, frozen, name)
    if isinstance(network, ConvolutionalSparseCoding) and network.iterates:
        return _sparse_resolvent(network, frozen, name)
    contracts = lipschitz.value < 1 and lipschitz.evidence is not Evidence.ASSUMED
    strong = Fact(lipschitz.evidence, f"Lip(Q) < 1 makes the prior strongly monotone; {lipschitz.how}")
    bijection = Fact(lipschitz.evidence, f"Lip(Q) < 1 makes J a bijection; {lipschitz.how}")
    clips = isinstance(network, DnCNN) and network.config.clip > 0
    properties = ResolventProperties(
        lipschitz_Q=lipschitz,
        attains=strong if contracts else None,
        attains_where_constants_are_seen=_CLIPPED_ATTAINS if clips else None,
        everywhere=_CLIPPED_IS_ONTO if clips else bijection if contracts else None,
        error=CLOSED_FORM,
        values=TRAINED_ON,
    )
    exact = Resolvent(frozen, properties, name)
    return exact if layers is None else _rounded(exact, replace(frozen, layers=layers), example)


def _rounded(exact: Resolvent, frozen: "Frozen", example: Tensor | None) -> Resolvent:
    images = examples(frozen.network.config.channels) if example is None else example
    known = exact.properties
    lipschitz = replace(known.lipschitz_Q, how=f"{known.lipschitz_Q.how}; without rounding")
    properties = replace(known, lipschitz_Q=lipschitz, error=rounding_error(frozen, exact, images))
    return Resolvent(frozen, properties, f"{exact.name} in bfloat16")


def learned_prior(  # noqa: PLR0913  as for resolvent
    network: Network,
    noise_level: float | None = None,
    *,
    measured: Measured | Assumed | None = None,
    accuracy: float = ACCURACY,
    precision: str = "float32",
    example: Tensor | None = None,
    trainable: bool = False,
) -> Prior:
    """The network at a noise level as a prior.

    The prox of a learned potential R brings the family ``s -> prox of s R``, the value of R, and ``R = g(W x)`` with a
    closed-form conjugate resolvent, so that a primal-dual method evaluates it without an inner iteration, and the
    gradient of R, with which FISTA needs none either. Any other network is one resolvent, whatever s, and the gradient
    of no energy.

    Args:
        network: As :func:`recon.priors.networks.load` reads it.
        noise_level: Standard deviation of the noise on [0, 1], where the network depends on it.
        measured: See :func:`resolvent`, and so are the others.
        accuracy: Of the inner iteration of a prox.
        precision: ``"float32"`` or ``"bfloat16"``.
        example: Images on which the rounding of the latter is measured.
        trainable: Whether gradients flow to the network's parameters.

    Raises:
        UsageError: It is no network, or as of :func:`resolvent`.
    """
    if not isinstance(network, Network):
        raise UsageError(
            f"learned_prior: the network is {network!r}; expected a network, as load(catalogue.folders()[name]) reads "
            "it, or recon.denoiser(name, noise)."
        )
    fixed = resolvent(
        network, noise_level, measured=measured, accuracy=accuracy, precision=precision, example=example,
        trainable=trainable,
    )  # fmt: skip
    if not isinstance(network, ConvexRidge) or network.config.one_shot:
        return Prior(fixed.name, _OneResolvent(fixed))
    frozen = Frozen(network, noise_level, accuracy, source=network if trainable else None)
    family = RidgeFamily(fixed.name, frozen)
    return Prior(
        fixed.name, family, split=split_of(network.frozen().ridge(noise_level), f"conjugate of {fixed.name}"),
        value=frozen.value, smooth=Smooth(frozen.gradient, network.smoothness(noise_level)),
    )  # fmt: skip


@final
@dataclass(frozen=True, eq=False)
class _OneResolvent(ByValue):
    """The family of a prior that is one resolvent, whatever the step size."""

    fixed: Resolvent

    def __call__(self, stepsize: float) -> Resolvent:
        return self.fixed


@final
@dataclass(frozen=True, eq=False)
class RidgeFamily(ByValue):
    """The family ``s -> prox of s R`` of a learned potential R."""

    name: str
    frozen: "Frozen"

    def __call__(self, stepsize: float) -> Resolvent:
        name = self.name if stepsize == 1 else f"{stepsize:g} {self.name}"
        return _ridge_resolvent(replace(self.frozen, factor=stepsize), name, self.frozen.accuracy)


def _one_shot_resolvent(network: ConvexRidge, noise_level: float | None, frozen: "Frozen", name: str) -> Resolvent:
    """``J = Id - grad R`` with R convex and r-smooth, r < 1: the prox of a convex function G (Moreau 1965).

    J is a bijection with ``grad G(J x) = grad R(x)``, so G is finite everywhere, and has the recession function of R,
    the supremum of <grad R(x), d> over x. Where that is not positive, every ridge function that is not zero is blind
    to d, so R, J - Id and G are constant along d.
    """
    smoothness = network.smoothness(noise_level)
    if not smoothness.value < 1:
        raise UsageError(
            f"{name}: grad R has the constant {smoothness.value:.9g}; expected less than 1, because Id - grad R would "
            "not be a proximity operator."
        )
    return proximity_operator(frozen, name, attains=_RIDGE_ATTAINS, everywhere=_RIDGE_EVERYWHERE, values=TRAINED_ON)


def _ridge_resolvent(frozen: "Frozen", name: str, accuracy: float) -> Resolvent:
    error = Proved(accuracy, _RIDGE_ERROR)
    return proximity_operator(
        frozen,
        name,
        attains=_RIDGE_ATTAINS,
        everywhere=_RIDGE_EVERYWHERE,
        error=error,
        values=TRAINED_ON,
        differentiable=False,
    )


def _sparse_resolvent(network: ConvolutionalSparseCoding, frozen: "Frozen", name: str) -> Resolvent:
    layers = network.config.layers
    error = Proved(frozen.accuracy, _SPARSE_ERROR)
    if layers == 1:
        return proximity_operator(
            frozen, name, attains=_SPARSE_ATTAINS, error=error, values=TRAINED_ON, differentiable=False
        )
    properties = ResolventProperties(
        lipschitz_Q=network.lipschitz_Q(frozen.noise_level),
        error=replace(error, value=layers * error.value),
        values=TRAINED_ON,
        differentiable=False,
    )
    return Resolvent(frozen, properties, name)


@final
@dataclass(frozen=True, eq=False)
class Frozen(ByValue):
    """The network at a noise level, with a copy for each precision and device that it meets.

    ``source`` is the network itself, which takes the place of the copies where gradients are recorded.
    """

    network: Network
    noise_level: float | None
    accuracy: float
    factor: float = 1.0
    layers: torch.dtype | None = None
    mask: Tensor | None = None
    source: Network | None = field(default=None, repr=False, compare=False)
    _versions: tuple[int, ...] = field(default=(), init=False, repr=False, compare=False)
    _copies: dict[tuple[torch.dtype, torch.device], Network] = field(default_factory=dict, repr=False, compare=False)
    _own: Network | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # a later training step must not change what a certificate speaks of; a copy of a copy would change nothing
        if self._own is not self.network:
            object.__setattr__(self, "_own", copy.deepcopy(self.network))
            object.__setattr__(self, "network", self._own)
        object.__setattr__(self, "_versions", _versions(self.source))

    def _require_source(self) -> None:
        """Refuse to speak of a trainable network that has been trained on."""
        if self._versions != _versions(self.source):
            raise UsageError(
                "the trainable network has other weights than when the prior was made; expected the prior to be made "
                "anew after each step of the optimiser, because its splitting and its certificate are of the first."
            )

    def __call__(self, x: Tensor) -> Tensor:
        self._require_source()
        self.network.check_input(x, self.noise_level)
        if isinstance(self.network, ConvexRidge) and not self.network.config.one_shot:
            z = x.double() if self.accuracy < _ROUNDINGS * torch.finfo(x.dtype).eps else x
            return prox(self.ridge(z), z, InnerSolver(accuracy=self.accuracy, proved=True)).to(x.dtype)
        if isinstance(self.network, ConvolutionalSparseCoding) and self.network.iterates:
            z = x.double() if self.accuracy < _ROUNDINGS * torch.finfo(x.dtype).eps else x
            network = self.like(z)
            before, network.solver = network.solver, InnerSolver(accuracy=self.accuracy, proved=True)
            try:
                coded: Tensor = network(z, self.noise_level)
            finally:
                network.solver = before  # of a source, the solver of its training
            return coded.to(x.dtype)
        with self._recording(x):
            found: Tensor = self.like(x)(x, self.noise_level)
        return found

    def _recording(self, x: Tensor) -> torch.set_grad_enabled:
        """A graph only where somebody asks for a gradient, of the images or of the weights."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and (x.requires_grad or self.source is not None))

    def like(self, x: Tensor) -> Network:
        """The network in the precision of its layers, or else of ``x``, and on the device of ``x``."""
        if self.source is not None and torch.is_grad_enabled():
            return self.source
        key = (self.layers or x.dtype, x.device)
        if key not in self._copies:
            self._copies[key] = self.network.frozen(*key)
        return self._copies[key]

    def gradient(self, x: Tensor) -> Tensor:
        """Of the potential, times the factor."""
        self._require_source()
        self.network.check_input(x, self.noise_level)
        with self._recording(x):
            return self.ridge(x).gradient(x)

    def value(self, x: Tensor) -> Tensor:
        """Of the potential, times the factor, for each batch item."""
        return self.ridge(x).value(x)

    def ridge(self, x: Tensor) -> Ridge:
        """The potential, times the factor."""
        network = self.like(x)
        assert isinstance(network, ConvexRidge)  # noqa: S101  the callers see to it
        ridge = network.ridge(self.noise_level)
        mask = None if self.mask is None else _of_guide(x, self.mask, ridge)
        return replace(ridge, weight=self.factor * ridge.weight, mask=mask)


def _of_guide(x: Tensor, mask: Tensor, ridge: Ridge) -> Tensor:
    """The mask in the precision of an image, refused where it is of a guide of another size."""
    less = ridge.kernel.shape[-1] - 1 if ridge.padding == "valid" else 0
    sides = (x.shape[-2] - less, x.shape[-1] - less)
    differs = mask.numel() and tuple(mask.shape[-2:]) != sides  # there are no weights where there are no responses
    if differs or mask.shape[0] not in (1, x.shape[0]):
        raise UsageError(
            f"the image has shape {tuple(x.shape)} and the guide {mask.shape[0]} x {mask.shape[-2] + less} x "
            f"{mask.shape[-1] + less} pixels; expected the same, because a guide weighs pixel by pixel."
        )
    return mask.to(x)


def _versions(source: Network | None) -> tuple[int, ...]:
    return () if source is None else tuple(parameter._version for parameter in source.parameters())


@final
@dataclass(frozen=True, eq=False, repr=False)
class FilterBank(ByValue):
    """W: the responses of images to the filters of a learned potential, for images of every size.

    Images ``(batch, channels, height, width)`` become ``(batch, filters, height', width')``, without padding smaller
    by the filters' size less one.
    """

    kernel: Tensor
    padding: str

    @property
    def domain(self) -> Space:
        return Space((-1, -1))

    @property
    def range(self) -> Space:
        return Space((-1, -1))

    @cached_property
    def properties(self) -> OperatorProperties:
        return OperatorProperties(norm=convolution_norm(self.kernel, grid=GRID), adjoint_gap=EXACT_ADJOINT)

    def A(self, x: Tensor) -> Tensor:
        if self.padding == "valid" and min(x.shape[-2:]) < self.kernel.shape[-1]:
            side = self.kernel.shape[-1]
            raise UsageError(
                f"FilterBank: the image has {x.shape[-2]} x {x.shape[-1]} pixels; expected at least {side} x {side}, "
                "because its filters stay inside of the image."
            )
        return analyse(x, self.kernel.to(x), self.padding)

    def A_adjoint(self, y: Tensor) -> Tensor:
        more = self.kernel.shape[-1] - 1 if self.padding == "valid" else 0
        return synthesise(y, self.kernel.to(y), self.padding, (y.shape[-2] + more, y.shape[-1] + more))

    def sweep(self, x: Tensor, u: Tensor, update: Update) -> tuple[Tensor, Tensor]:
        """See :class:`recon.types.Sweeps`."""
        if self.padding == "circular" or x.is_cuda:
            v = update(u, self.A(x), 0)
            return v, self.A_adjoint(v)
        v = torch.empty_like(u)
        rows = max(LEAST_ROWS, STRIP // max(1, u[..., 0, :].numel()))

        def updated(top: int, responses: Tensor) -> Tensor:
            part = (..., slice(top, top + responses.shape[-2]), slice(None))
            v[part] = found = update(u[part], responses, top)
            return found  # whole in memory, where the rows of all are not

        return v, by_strips(x, self.kernel.to(x), self.padding, rows, updated)


def split_of(ridge: Ridge, name: str) -> Split:
    """``R = g(W x)``, with the proximity operator of ``sigma g*`` by Moreau's decomposition: exact."""
    pieces = ridge.profile.pieces().scaled(ridge.scale.view(-1, 1))
    family = partial(_conjugate_of_ridge, name, pieces, ridge.weight, ridge.group, ridge.mask)
    return Split(FilterBank(ridge.kernel, ridge.padding), family, local=True)


def _conjugate_of_ridge(  # noqa: PLR0913, PLR0917  bound by a partial
    name: str, pieces: Pieces, weight: Tensor, group: int, mask: Tensor | None, sigma: float
) -> Resolvent:
    local = ridge_conjugate(pieces, weight, group, sigma, mask)
    return proximity_operator(local, name, attains=None, values=TRAINED_ON, local=local)


def _lipschitz(network: Network, noise_level: float | None, measured: Measured | Assumed | None) -> Constant:
    known = network.lipschitz_Q(noise_level)
    if known.evidence is Evidence.PROVED or measured is None:
        return known
    return as_lipschitz_constant(measured) if isinstance(measured, Measured) else measured


def _check_level(network: Network, noise_level: float | None) -> None:
    channels = network.config.channels
    network.check_input(torch.zeros(1, channels, 1, 1), noise_level)


def name_of(network: Network, noise_level: float | None) -> str:
    """The name of a network at a noise level, for a report."""
    return network.config.family if noise_level is None else f"{network.config.family}({noise_level:g})"
