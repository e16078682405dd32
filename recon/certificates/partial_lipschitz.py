"""Partial Lipschitz constants of networks: how far J moves where only a group of pixels or a channel changes.

For a group K of the entries of an image, the *arm* is the least t with ``||J(x + h) - J(x)|| <= t ||h||`` for every x
and every h that is zero outside of K (the multivariate analysis of Gupta, Kaakai, Pesquet-Popescu, Pesquet, Malliaros
2022, Front. Signal Process. 2, in the limit where the other inputs are held). It is of J and not of Q = 2 J - Id: where
J takes a change away Q reflects it, so that every arm of Q is near one, whatever the group.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from recon.certificates.ascent import Climb, Search, norm
from recon.certificates.feedforward_bounds import layered_bound
from recon.certificates.lipschitz_bounds import product_bound
from recon.certificates.lipschitz_search import (
    SLACK,
    LipschitzLowerBound,
    hardest,
    jacobian_norm,
    starting_images,
)
from recon.errors import GuaranteeError
from recon.evidence import Constant, Evidence, Measured, Proved, derive
from recon.operators.convolution_norms import ROUNDING, absolute_norm, convolution_norm
from recon.operators.rounding import EPS
from recon.operators.spectral import Effort
from recon.priors.networks import Derivative, DnCNN, GuidedRidge, LipschitzNetwork, Network
from recon.priors.networks.architectures.ridge_prox import InnerSolver
from recon.priors.networks.layers.convolution import convolve
from recon.priors.networks.layers.nonexpansive import AbbaLayer, Layer

SEARCH = Search(lanczos=Effort(tolerance=1e-2, applications=16), steps=25, rate=0.05, distances=(0.05,), starts=3)
"""Of the hardest image of one group; a potential, of which every value is an iteration, is searched with less."""

_MOST_COLUMNS = 1024
"""Entries of a group up to which a convolution is a matrix of its own; of more the norm over all pixels is taken."""

_MOST_ROWS = 128
"""Features times pixels up to which the layers are matrices, in matrix inequalities."""

_PROX_ACCURACY = 1e-5
"""Of the inner iteration in the arm of a potential that is returned; what it may add to it is in its error."""

_ROUGH_ACCURACY, _ROUGH_ADJOINT = 2e-3, 1e-2
"""The same where it is searched, in single precision: they decide where the arm is taken, and not what it is."""

_FEWER = Effort(tolerance=3e-2, applications=5)
"""Of a potential, of which each application solves two linear systems."""

_CLIMBS = 8
"""Steps of the ascent of a potential, each of which solves three systems."""

_FLOOR = 10**6
"""A lower bound is rounded down to so many parts: beyond them it is rounding."""

VACUOUS = 1e6
"""From which on a bound says nothing of images on [0, 1], and is not given."""


@final
@dataclass(frozen=True)
class Region:
    """The entries of a group, wherever it is in the image.

    Attributes:
        channels: Those that change; ``None``: all.
        size: (height, width) of the pixels that change; ``None``: all.
    """

    channels: tuple[int, ...] | None = None
    size: tuple[int, int] | None = None


def partial_bound(
    network: Network, region: Region, side: int, noise_level: float | None = None, share: float = 1.0
) -> Constant:
    """An upper bound of the arm of J, for every place of the group and every image.

    *Theorem*. J = (Id + Q)/2 has arms of at most ``(1 + t)/2``, t an arm of Q or Lip(Q). For Q a chain of nonexpansive
    layers after a linear one, t is at most the product of their constants with the norm of the first one restricted to
    the group. For J = Id - N with N a chain of convolutions and rectifiers it is at most 1 + t, t an arm of N: the norm
    of the first convolution restricted to the group, times the product of the norms of the others, or times the norm
    of the product of their absolute sums; or by :func:`recon.certificates.feedforward_bounds.layered_bound` of
    the layers as matrices, where these are small: then for images of that side only. For a convex potential
    whose ridge functions grow linearly in the end (all of ours), 1 is not only a bound but the arm of every group:
    where every response is large, J' = Id.

    Args:
        network: The network.
        region: The group.
        side: Height and width of the image.
        noise_level: Where it depends on it.
        share: Of what is taken away, see :func:`recon.priors.relaxed`: the arm is then at most 1 - share + share t.

    Returns:
        The bound, infinite where it would be vacuous.
    """
    whole = network.lipschitz_Q(noise_level)
    if isinstance(network, DnCNN):
        arm = min(_of_branch(network, region, side), key=lambda bound: bound.value)
    elif isinstance(network, LipschitzNetwork):
        restricted = _of_chain(network, region, side)
        arm = _averaged(min(restricted, whole, key=lambda bound: bound.value))
    else:
        arm = _averaged(whole)
    if share != 1:
        arm = derive(lambda t: 1 - share + share * t, arm, how=f"{share:.3g} of what the network takes away; {arm.how}")
    if arm.value < VACUOUS:
        return arm
    how = f"the bound of {arm.value:.1e} says nothing, as the norms of so many layers multiply"
    return replace(arm, value=math.inf, how=how)


def _averaged(q: Constant) -> Constant:
    return derive(lambda t: (1 + t) / 2, q, how=f"(1 + t)/2 with t of Q; {q.how}")


def _of_chain(network: LipschitzNetwork, region: Region, side: int) -> Constant:
    """The arm of Q: the first layer, linear and restricted, and the constants of the others."""
    twin, config = network.frozen(), network.config
    first = restricted_norm(twin.lift.applied_kernel()[:, : config.channels], region, side, config.padding)
    abba = [layer.total() for layer in twin.layers if isinstance(layer, AbbaLayer)]
    if abba:
        inner = absolute_norm(*abba).value
    else:
        inner = math.prod(layer.bound() for layer in twin.layers if isinstance(layer, Layer))
    rest = inner * twin.lower.bound() * config.contraction * ROUNDING
    how = f"{first.how}, times the bounds of the other {config.depth + 1} layers"
    return replace(product_bound(first, Proved(rest, how)), how=how)


def _of_branch(network: DnCNN, region: Region, side: int) -> list[Constant]:
    config = network.config
    kernels = [kernel.detach().double() for kernel in network.kernels]
    seen = kernels[0][:, : config.channels]
    # the details mix pixels, but not channels: of a block they leave no restriction
    group = Region(region.channels) if config.coarse else region
    rest = product_bound(*map(convolution_norm, kernels[1:]))
    sums = absolute_norm(*kernels[1:])
    found = [
        product_bound(restricted_norm(seen, group, side, config.padding), rest),
        product_bound(restricted_norm(seen.abs(), group, side, config.padding), sums),
    ]
    if config.features * side**2 <= _MOST_ROWS and not config.coarse:
        found.append(_as_matrices(network, kernels, group, side))
    kept = 0.5 if config.coarse and (config.clip or config.divisor != 1) else 0.0
    return [
        derive(
            lambda t: (1 + kept + t / config.divisor) * ROUNDING, each,
            how=f"1{' + 1/2' if kept else ''} + t with t of the layers; {each.how}",
        )
        for each in found
    ]  # fmt: skip


def _as_matrices(network: DnCNN, kernels: list[Tensor], region: Region, side: int) -> Constant:
    """The worst place of the group on an image of that side."""
    config = network.config
    matrices = [_dense(kernel, side, config.padding) for kernel in kernels]
    places = torch.arange(config.channels * side**2).view(config.channels, side, side)
    if region.channels is not None:
        places = places[list(region.channels)]
    height, width = region.size or (side, side)
    found = [
        layered_bound([matrices[0][:, places[:, top : top + height, left : left + width].flatten()], *matrices[1:]])
        for top in range(0, side, height)
        for left in range(0, side, width)
    ]
    worst = max(found, key=lambda bound: bound.value)
    return replace(worst, how=f"{worst.how}, on {side} x {side} pixels, over the places of a grid")


def _dense(kernel: Tensor, side: int, padding: str) -> Tensor:
    inputs = kernel.shape[1] * side**2
    unit = torch.eye(inputs, dtype=kernel.dtype).view(inputs, kernel.shape[1], side, side)
    return convolve(unit, kernel, None, padding).flatten(1).mT


def restricted_norm(kernel: Tensor, region: Region, side: int, padding: str = "zero") -> Constant:
    """A bound of the norm of a convolution of images that are zero outside of a group, wherever it lies.

    *Theorem*. On the infinite plane the images of a block of h x w pixels under kernels of k x l lie within
    (h + k - 1) x (w + l - 1) pixels: the norm is that of a matrix with a column for each entry of the block. Zero
    padding and the border of the image leave out rows of it; circular padding has the same matrix where the image is no
    smaller than that, and else the norm over all pixels is taken, which is that of :func:`convolution_norm`.

    Args:
        kernel: ``(out, in, k, l)``, k and l odd.
        region: The group.
        side: Height and width of the image.
        padding: ``"zero"`` or ``"circular"``.
    """
    weights = kernel.detach().double()
    if region.channels is not None:
        weights = weights[:, list(region.channels)]
    whole = convolution_norm(weights)
    if region.size is None:
        return whole
    height, width = region.size
    reach = (weights.shape[2] // 2, weights.shape[3] // 2)
    columns, wraps = weights.shape[1] * height * width, padding == "circular"
    if columns > _MOST_COLUMNS or (wraps and side < max(height + 2 * reach[0], width + 2 * reach[1])):
        return whole
    block = torch.eye(columns, dtype=weights.dtype).view(columns, -1, height, width)
    block = torch.nn.functional.pad(block, (reach[1], reach[1], reach[0], reach[0]))
    image = convolve(block, weights, None, "zero").flatten(1)
    value = float(torch.linalg.matrix_norm(image, 2)) * (1 + 16 * EPS * sum(image.shape))
    found = Proved(value, f"the first convolution of blocks of {height} x {width} pixels")
    return min(found, whole, key=lambda bound: bound.value)


@final
@dataclass(frozen=True)
class Arm:
    """The partial Lipschitz constant of J for a group.

    Attributes:
        certified: An upper bound, for every image.
        attacked: A lower bound: the largest that a search found.
        image: Where it was found, ``(1, channels, side, side)``.
    """

    certified: Constant
    attacked: Constant
    image: Tensor


def attacked_arm(  # noqa: PLR0913, PLR0917  the network, the group, and how hard to look
    network: Network,
    mask: Tensor,
    noise_level: float | None = None,
    images: Mapping[str, Tensor] | None = None,
    share: float = 1.0,
    search: Search = SEARCH,
) -> LipschitzLowerBound:
    """The largest arm of J of a group that a search finds, in double precision.

    The search of :mod:`recon.certificates.lipschitz_search` along changes of the group only: Lanczos on J'(x)
    restricted to it, and gradient ascent to images at which that is larger.

    Args:
        network: The network.
        mask: Ones in the group, ``(1, channels, height, width)``.
        noise_level: Where it depends on it.
        images: What to begin with besides, of the shape of the mask.
        share: As in :func:`partial_bound`.
        search: How hard to look.
    """
    if isinstance(network, GuidedRidge):  # what is proved is meant with a guide that does not follow the image
        network = network.with_still_guide(search.seed)
    group = mask.double()
    starts = _starts(network, mask, noise_level, search) | dict(images or {})
    if network.iterates:
        found = _attacked_potential(_OnGroup(network, group, noise_level, share), starts, search)
    else:
        twin = _OnGroup(network.frozen(), group, noise_level, share)
        swift = _OnGroup(network.frozen(torch.float32), group, noise_level, share)
        climb = Climb(swift.denoise, swift.inside, torch.float32)
        found = hardest(twin.denoise, starts, twin.derivative, search, climbed=climb)
    value = math.floor(found.quotient.value * _FLOOR) / _FLOOR
    return replace(found, quotient=replace(found.quotient, value=value))


@dataclass(frozen=True)
class _OnGroup:
    """J of a network, and its derivative along changes of a group."""

    network: Network
    group: Tensor
    noise_level: float | None
    share: float

    def inside(self, v: Tensor) -> Tensor:
        return self.group.to(v) * v

    def denoise(self, x: Tensor) -> Tensor:
        taken: Tensor = x - self.network(x, self.noise_level)
        return x - self.share * taken

    def derivative(self, x: Tensor) -> Derivative:
        known = self.network.derivative(x.detach(), self.noise_level)

        def along(apply: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
            return v + self.share / 2 * (apply(v) - v)

        return Derivative(
            lambda v: along(known.forward, self.inside(v)), lambda u: self.inside(along(known.transpose, u))
        )

    def to(self, dtype: torch.dtype, accuracy: float, adjoint_accuracy: float) -> "_OnGroup":
        """The same in another precision, with an inner iteration of another accuracy."""
        twin = self.network.frozen(dtype)
        twin.solver = InnerSolver(accuracy=accuracy, adjoint_accuracy=adjoint_accuracy, max_steps=5000)
        return replace(self, network=twin)


def _starts(network: Network, mask: Tensor, noise_level: float | None, search: Search) -> dict[str, Tensor]:
    """The images of a search without data, as many as are wanted."""
    count = min(search.starts, 1) if network.iterates else search.starts
    own = starting_images(mask.shape[1], mask.shape[-1], search.seed)
    if count > 2:
        with torch.no_grad():
            own["J of noise"] = network.frozen()(own["noise"], noise_level)
    order = ("noise", "an edge", "J of noise", "binary noise", "a constant")
    return {name: own[name] for name in order[:count]}


def _attacked_potential(on: _OnGroup, starts: Mapping[str, Tensor], search: Search) -> LipschitzLowerBound:
    """The arm of a potential, of which every value is an iteration.

    Image and direction are sought in single precision with inner iterations of few steps; only the arm at the best of
    them is computed accurately. How inexact the search was decides how near the lower bound is, not whether it is one.
    """
    rough = on.to(torch.float32, _ROUGH_ACCURACY, _ROUGH_ADJOINT)
    steps = replace(search, steps=min(search.steps, _CLIMBS))
    climb = Climb(rough.denoise, rough.inside, torch.float32)
    tried: list[tuple[float, Tensor, Tensor, str]] = []

    def look(x: Tensor, name: str) -> Tensor:
        slope, direction = jacobian_norm(rough.derivative(x), x, _FEWER)
        tried.append((slope.value, x, direction, name))
        return direction

    for name, start in starts.items():
        x = search.inside(start.float())
        direction = look(x, name)
        if steps.steps:
            x, _, _ = climb.ascend(x, direction, search.distances[0] * x.numel() ** 0.5, steps)
            look(x, f"{name}, after an ascent")
    _, x, direction, origin = max(tried, key=lambda each: each[0])
    x, change = x.double(), on.inside(direction.double())
    exact = on.to(torch.float64, _PROX_ACCURACY, _PROX_ACCURACY).derivative(x)
    value = float(norm(exact.forward(change)) / norm(change))
    how = f"the hardest of {len(tried)} images ({origin}, {x.shape[-2]} x {x.shape[-1]} pixels): a lower bound"
    value *= 1 - 2 * _PROX_ACCURACY  # by which the linear systems of the derivative may lengthen it
    return LipschitzLowerBound(Measured(value, how), x, x, origin)


def reconciled(certified: Constant, found: LipschitzLowerBound) -> Arm:
    """Return the arm of a group: what is proved stands, an assumption that was refuted gives way.

    Raises:
        GuaranteeError: What was found exceeds a *proved* bound: the proof or the code is wrong.
    """
    attacked = found.quotient
    if attacked.value - attacked.error <= certified.value * (1 + SLACK):
        attacked = replace(attacked, value=min(attacked.value, certified.value))
        return Arm(certified, attacked, found.x)
    if certified.evidence is Evidence.PROVED:
        raise GuaranteeError(
            f"an arm of at most {certified.value:.9g} is said to be proved ({certified.how}), but a search found "
            f"{attacked.value:.9g} ({found.origin}): the proof or the code is wrong, so nothing is guaranteed."
        )
    return Arm(Measured(attacked.value, attacked.how, attacked.error), attacked, found.x)
