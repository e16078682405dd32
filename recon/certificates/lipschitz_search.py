"""The search for pairs of images that refute ``||Q(x) - Q(y)|| <= L ||x - y||``.

What is found is a lower bound of the Lipschitz constant: it refutes a claim, and proves none. Two searches help each
other: the largest singular value of Q'(x), by Lanczos to convergence, gives a direction; gradient ascent on the secant
quotient moves the point to where the derivative is larger. The ascent moves each pixel by the sign of its derivative
and looks at directions that Q may change: without either it ends where Q is the identity, at a quotient of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from recon.certificates.ascent import DEFAULT, LANCZOS, Climb, Search, norm
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Constant, Evidence, Measured
from recon.operators.spectral import Effort, extreme
from recon.priors.networks import ConvolutionalSparseCoding, Derivative, GuidedRidge, Network
from recon.priors.networks.architectures.ridge_prox import InnerSolver
from recon.types import Map

SLACK = 1e-6
"""By how much a quotient in double precision may exceed a proved bound by rounding."""

_DIGITS = 6
"""Decimals of what is reported: beyond them a quotient is rounding, and a constant of 1 must not read 1.0000000002."""

_PROX_ACCURACY = 1e-8
"""Of the inner iteration while a prox is searched; what it may add to a quotient is in the error of what is found."""

_CODE_ACCURACY = 1e-6
"""The same of a sparse code, whose linear systems are solved to it in every application of a derivative."""

_LOOK = Effort(tolerance=1e-2, applications=30)
_AREA = 192
"""Height and width of what of an image is looked through for its worst window."""

ProgressCallback = Callable[[int, int, float], None]
"""Is told how many searches are done, of how many, and the largest quotient so far."""

_NOISE = 0.05
"""On images for a network without a noise level."""


@final
@dataclass(frozen=True)
class Window:
    """The place where ||Q'|| is attained on an image.

    Attributes:
        image: What is around it, ``(1, channels, height, width)``.
        whole: The image.
        norm: About ||Q'(whole)||, from below.
    """

    image: Tensor
    whole: Tensor
    norm: float


@final
@dataclass(frozen=True)
class LipschitzLowerBound:
    """The largest quotient that was found.

    Attributes:
        quotient: ||Q(x) - Q(y)|| / ||x - y||, or the norm of Q'(x) where x and y are the same.
        x: One image, ``(1, channels, height, width)``.
        y: The other.
        origin: What the search began with, and how it was found.
    """

    quotient: Measured
    x: Tensor
    y: Tensor
    origin: str


def starting_images(channels: int = 1, side: int = 32, seed: int = 0) -> dict[str, Tensor]:
    """Starting images without data: a constant, an edge, noise and binary noise.

    Args:
        channels: Of the images.
        side: Their height and width.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, side, side)
    edge = torch.zeros(shape, dtype=torch.float64)
    edge[..., side // 2 :] = 1
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    return {"a constant": torch.full_like(edge, 0.5), "an edge": edge, "noise": noise, "binary noise": noise.round()}


def worst_windows(  # noqa: PLR0913, PLR0917  as hardest_of_network
    network: Network,
    noise_level: float | None,
    images: Mapping[str, Tensor],
    side: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Window]:
    """Starting windows on data: those in which ||Q'|| is attained on the images, on noisy and on denoised ones.

    The norm grows with the image, as there are more places for it to be large; a direction that attains it is
    concentrated on one of them. A few steps of Lanczos in single precision on the middle of each image find it, and
    the window keeps it at a fraction of the cost.

    Args:
        network: The network.
        noise_level: Where it depends on it; also of the noise on the images, else 0.05.
        images: Each ``(1, channels, height, width)``, free of noise or nearly so.
        side: Height and width of the windows, at most.
        seed: Of the noise.
        device: Where to compute.
    """
    generator, twin = torch.Generator().manual_seed(seed), network.frozen(torch.float32, device)
    found = {}
    for name, image in images.items():
        clean = _middle(image[:1].float().to(device), _AREA)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        noisy = clean + (_NOISE if noise_level is None else noise_level) * noise
        with torch.no_grad():
            denoised = twin(noisy, noise_level)
        for kind, x in (("", clean), (" with noise", noisy), (" denoised", denoised)):
            slope, direction = jacobian_norm(twin.changes(x, noise_level), x, _LOOK)
            found[name + kind] = Window(_window(x, direction, side).double(), x, slope.value)
    return found


def _middle(image: Tensor, side: int) -> Tensor:
    top, left = ((size - min(size, side)) // 2 for size in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _window(image: Tensor, direction: Tensor, side: int) -> Tensor:
    """The part of an image, at most side x side, around the largest entry of a direction."""
    row, column = divmod(int(direction.abs().sum(1).argmax()), image.shape[-1])
    top, left = (
        min(max(place - side // 2, 0), max(size - side, 0))
        for place, size in zip((row, column), image.shape[-2:], strict=True)
    )
    return image[..., top : top + side, left : left + side]


def jacobian_norm(derivative: Derivative, x: Tensor, effort: Effort = LANCZOS) -> tuple[Measured, Tensor]:
    """A lower bound of ||Q'(x)|| by Lanczos on Q'(x)^T Q'(x), and the direction that attains it, of norm 1.

    The ``error`` of the value is the radius within which a true singular value lies.
    """
    pair = extreme(lambda v: derivative.transpose(derivative.forward(v)), x, largest=True, effort=effort)
    with torch.no_grad():
        value = float(norm(derivative.forward(pair.vector)))
    how = f"Lanczos on Q'^T Q', {pair.applications} applications: a lower bound"
    return Measured(value, how, pair.residual / value if value else 0.0), pair.vector


def hardest(  # noqa: PLR0913, PLR0917  the map, where to begin, and how hard to look
    Q: Map,
    starts: Mapping[str, Tensor],
    derivative: Callable[[Tensor], Derivative] | None = None,
    search: Search = DEFAULT,
    accuracy: float = 0.0,
    watch: ProgressCallback | None = None,
    climbed: Climb | None = None,
) -> LipschitzLowerBound:
    """The largest Lipschitz quotient of a map that a search finds.

    Args:
        Q: The map, differentiable by autograd, best in double precision.
        starts: Named images ``(1, channels, height, width)`` to begin with.
        derivative: Q'(x), where there is a cheaper or more accurate way than autograd; ``None``: no Lanczos, only
            secants from random directions.
        search: How hard to look.
        accuracy: The relative error of Q(x) and of Q'(x) v, where they are had by iteration.
        watch: Sees how far it is.
        climbed: What the ascent goes by; ``None``: by Q along all directions. What is found is of Q in any case.

    Raises:
        UsageError: There is nothing to begin with.
    """
    if not starts:
        raise UsageError("hardest: there is no image to begin with; expected at least one.")
    climb = climbed or Climb(Q)
    generator = torch.Generator().manual_seed(search.seed)
    found: list[LipschitzLowerBound] = []
    done, count = 0, len(starts) * len(search.distances)

    def slope(x: Tensor, name: str) -> Tensor:
        assert derivative is not None  # noqa: S101  the callers see to it
        known, direction = jacobian_norm(derivative(x), x, search.lanczos)
        found.append(LipschitzLowerBound(replace(known, error=known.error + accuracy), x, x, f"{name}: derivative"))
        return direction

    for name, start in starts.items():
        for distance in search.distances:
            x = search.inside(start)
            direction = torch.randn(start.shape, generator=generator, dtype=torch.float64).to(start)
            for _ in range(search.rounds):
                if derivative is not None:
                    direction = slope(x, name)
                x, direction, _ = climb.ascend(x, direction, distance * x.numel() ** 0.5, search)
                y = search.inside(x + climb.along(direction)).to(start)
                x, direction = x.to(start), direction.to(start)
                found += _secant(Q, x, y, accuracy, f"{name}: secant of {distance:g}")
            if derivative is not None:
                slope(x, name)
            done += 1
            if watch is not None:
                watch(done, count, max(each.quotient.value for each in found))
    worst = max(found, key=lambda each: each.quotient.value)
    return _hardest(worst, len(found), len(starts))


@torch.no_grad()
def _secant(Q: Map, x: Tensor, y: Tensor, accuracy: float, origin: str) -> list[LipschitzLowerBound]:
    """The quotient of two images; none where they are the same."""
    distance = float(norm(y - x))
    if not distance:
        return []
    quotient, error = float(norm(Q(y) - Q(x))) / distance, accuracy * float(norm(x) + norm(y)) / distance
    return [LipschitzLowerBound(Measured(quotient, "a secant: a lower bound", error), x, y, origin)]


def _hardest(worst: LipschitzLowerBound, searches: int, images: int) -> LipschitzLowerBound:
    height, width = worst.x.shape[-2:]
    where = f"{worst.origin}, {height} x {width} pixels"
    how = f"the hardest of {searches} searches from {images} images ({where}): a lower bound"
    return replace(worst, quotient=replace(worst.quotient, how=how))


def hardest_of_network(  # noqa: PLR0913, PLR0917  the network, where to begin, and how hard to look
    network: Network,
    noise_level: float | None = None,
    images: Mapping[str, Tensor] | None = None,
    side: int = 32,
    search: Search = DEFAULT,
    device: torch.device | str = "cpu",
    watch: ProgressCallback | None = None,
) -> LipschitzLowerBound:
    """The largest Lipschitz quotient of a network's Q that a search finds, in double precision.

    It begins with :func:`starting_images`, with two images on the network's own trajectory, ``J(J(..x))``, and with
    :func:`worst_windows` of given images. As ||Q'|| grows with the image, the one of these where it is largest is
    looked at as a whole too, unless Q is had by iteration.

    Args:
        network: The network.
        noise_level: Where it depends on it.
        images: Data and iterates of a run, each ``(1, channels, height, width)``, of any size.
        side: Height and width of what is searched.
        search: How hard to look.
        device: Where to compute; double precision is needed.
        watch: Sees how far it is.
    """
    if isinstance(network, GuidedRidge):  # what is proved is meant with a guide that does not follow the image
        network = network.with_still_guide(search.seed)
    twin = network.frozen(device=device)
    accuracy, swift = 0.0, network.frozen(torch.float32, device)
    if twin.iterates:
        fine = _CODE_ACCURACY if isinstance(twin, ConvolutionalSparseCoding) else _PROX_ACCURACY
        twin.solver = InnerSolver(accuracy=fine, adjoint_accuracy=fine, max_steps=5000)
        accuracy, swift = 2 * fine, twin
    windows = worst_windows(network, noise_level, images, side, search.seed, device) if images else {}
    starts = _own_starts(twin, noise_level, side, search)
    starts |= {name: window.image.to(device) for name, window in windows.items()}
    dtype = next(swift.parameters()).dtype
    found = hardest(
        lambda x: twin.Q(x, noise_level),
        starts,
        lambda x: twin.changes(x.detach(), noise_level),
        search,
        accuracy,
        watch,
        Climb(lambda x: swift.Q(x, noise_level), swift.changed_part, dtype),
    )
    others = [_brightness(twin, noise_level, torch.full_like(next(iter(starts.values())), 0.5))]
    if windows and not accuracy:
        others.append(_whole(twin, noise_level, windows, search))
    worst = max(found, *others, key=lambda each: each.quotient.value)
    worst = replace(worst, quotient=replace(worst.quotient, value=round(worst.quotient.value, _DIGITS)))
    searches = (2 * search.rounds + 1) * len(search.distances) * len(starts) + len(others)
    return _hardest(worst, searches, len(starts))


_ORDER = ("noise", "J^8 of noise", "an edge", "binary noise", "J^1 of noise", "a constant")
"""Of the images of a search without data: those from which it usually finds most first."""


@torch.no_grad()
def _own_starts(network: Network, noise_level: float | None, side: int, search: Search) -> dict[str, Tensor]:
    """The images of a search without data, as many as are wanted."""
    device = next(network.parameters()).device
    own = {name: x.to(device) for name, x in starting_images(network.config.channels, side, search.seed).items()}
    x = own["noise"]
    for count in range(1, 9):
        x = network(x, noise_level)
        own[f"J^{count} of noise"] = x
    return {name: own[name] for name in _ORDER[: search.starts]}


def _brightness(network: Network, noise_level: float | None, x: Tensor) -> LipschitzLowerBound:
    """Along a direction that ``changes`` may leave out, because Q keeps it at every x."""
    brighter = torch.ones_like(x)
    with torch.no_grad():
        gain = float(norm(network.derivative(x, noise_level).forward(brighter)) / norm(brighter))
    return LipschitzLowerBound(
        Measured(gain, "the derivative along the brightness: a lower bound"), x, x, "a constant: derivative"
    )


def _whole(
    network: Network, noise_level: float | None, windows: Mapping[str, Window], search: Search
) -> LipschitzLowerBound:
    """||Q'|| of the worst of some images, as a whole."""
    name, window = max(windows.items(), key=lambda item: item[1].norm)
    x = search.inside(window.whole.double())
    found, _ = jacobian_norm(network.changes(x, noise_level), x, search.lanczos)
    origin = f"{name}: derivative of the whole"
    return LipschitzLowerBound(replace(found, how=f"{origin}: a lower bound"), x, x, origin)


def reconcile_constant(claim: Constant, found: LipschitzLowerBound) -> Constant:
    """Return a Lipschitz constant with what a search found.

    A proof stands, an assumption or an earlier measurement gives way to what was found.

    Raises:
        GuaranteeError: What was found exceeds a *proved* bound: the proof or the code is wrong.
    """
    if claim.evidence is not Evidence.PROVED:
        return found.quotient
    if found.quotient.value - found.quotient.error > claim.value * (1 + SLACK):
        raise GuaranteeError(
            f"Lip(Q) <= {claim.value:.9g} is said to be proved ({claim.how}), but a search found "
            f"{found.quotient.value:.9g} ({found.origin}): the proof or the code is wrong, so nothing is guaranteed."
        )
    return claim
