"""Validation of a network: PSNR on other images, and what is known of its Lipschitz constant."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.certificates.lipschitz_search import jacobian_norm
from recon.errors import GuaranteeError
from recon.evidence import Assumed, Constant, Evidence, Measured
from recon.operators.spectral import Effort
from recon.priors.networks import Network
from recon.training.equilibrium import Restoration
from recon.training.losses import fidelity, sample
from recon.training.own import Metric
from recon.training.tables import TrainingConfig

Picture = NDArray[Any]

_CHECKED, _SIDE = 2, 64
"""Images, and pixels along a side of their middle, at which ||Q'|| is found by a converged iteration."""

_CONVERGED = Effort(tolerance=1e-3, applications=60)

SLACK = 1e-4
"""By how much single precision may exceed 1."""

_SHOWN = 4


@final
@dataclass(frozen=True)
class Figures:
    """PSNR in dB at a noise level, the means over the images.

    Attributes:
        noise: The level.
        psnr: Of the denoised images.
        noisy: Of the noisy images.
        restored: Of the reconstructions from noisy measurements; NaN where none was asked for, or one did not converge.
        metric: The mean of the user's own metric; NaN without one.
    """

    noise: float
    psnr: float
    noisy: float
    restored: float = math.nan
    metric: float = math.nan


@final
@dataclass(frozen=True)
class ValidationResult:
    """The figures of one validation.

    Attributes:
        figures: One for each level.
        lipschitz: The Lipschitz constant of Q where it is proved, or else the largest ||Q'|| at denoised images, which
            is a short search: see :attr:`claim`.
        sheet: Clean, noisy and denoised pictures with titles, a few rows, whose levels take turns.
        held_out: The mean loss on images that are not clean; NaN where they are.
    """

    figures: tuple[Figures, ...]
    lipschitz: Constant
    sheet: tuple[tuple[tuple[str, Picture], ...], ...]
    held_out: float = math.nan

    @property
    def claim(self) -> Constant:
        """The claim on Lip(Q): a short search refutes it above 1, and proves nothing otherwise."""
        found = self.lipschitz
        if found.evidence is Evidence.PROVED or found.value > 1 + SLACK:
            return found
        how = f"no search was made that could measure it; a short one found {found.value:.4g}, and can only refute"
        return Assumed(1.0, how)

    @property
    def psnr(self) -> float:
        """The mean over the levels."""
        return sum(each.psnr for each in self.figures) / len(self.figures)

    @property
    def metric(self) -> float:
        """The mean of the user's own metric over the levels; NaN without one."""
        return sum(each.metric for each in self.figures) / len(self.figures)

    @property
    def restored(self) -> float:
        """The mean of the reconstructions over the levels."""
        return sum(each.restored for each in self.figures) / len(self.figures)


@torch.no_grad()
def validate(  # noqa: PLR0913, PLR0917  what, at what, and how
    network: Network,
    images: Sequence[Tensor],
    levels: Sequence[float],
    clean: bool,
    seed: int = 0,
    problem: Restoration | None = None,
    metric: Metric | None = None,
) -> ValidationResult:
    """Denoise validation images with noise of fixed seeds.

    Args:
        network: In evaluation mode, single precision.
        images: Each ``(1, channels, height, width)``.
        levels: Standard deviations.
        clean: Whether the images are; else they are denoised as they are, and there are no figures.
        seed: Of the noise.
        problem: What is reconstructed besides, from measurements with the same noise.
        metric: What else the images found are judged by: the reconstructions where there is a problem, else the
            denoised ones.
    """
    device = next(iter(network.state_dict().values())).device
    found, sheet, points = [], [], []
    if not clean:
        images = [image[:1] for image in images]
    for level in levels:
        told = level if network.conditioned else None
        before, after, restored, judged = [], [], [], []
        for index, image in enumerate(images):
            noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed + index))
            noisy = image + level * noise if clean else image
            denoised = network(noisy.to(device), told).cpu()
            before.append(_psnr(noisy, image) if clean else math.nan)
            after.append(_psnr(denoised, image) if clean else math.nan)
            whole = None if problem is None else _restored(problem, network, image, (level, seed + index), told)
            restored.append(math.nan if whole is None else _psnr(whole, image))
            if metric is not None and clean:
                judged.append(_judged(metric, denoised if problem is None else whole, image))
            if index < _CHECKED:
                points.append((denoised, told))
            if index < _SHOWN and level == levels[(len(levels) // 2 + index) % len(levels)]:  # each level is shown
                row = (
                    (f"noise {level:.3g}: {before[-1]:.2f} dB", _picture(noisy)),
                    (f"denoised {after[-1]:.2f} dB", _picture(denoised)),
                )
                plain = ((f"as it is, noise {level:.3g}", _picture(image)), ("denoised", _picture(denoised)))
                sheet.append((("clean", _picture(image)), *row) if clean else plain)
        means = [sum(each) / len(each) if each else math.nan for each in (after, before, restored, judged)]
        found.append(Figures(level, *means))
    return ValidationResult(tuple(found), _lipschitz(network, points, device), tuple(sheet))


@torch.no_grad()
def look_at_measurements(
    network: Network, measurements: Sequence[Tensor], level: float, problem: Restoration
) -> ValidationResult:
    """Reconstruct measurements whose images are not known: pictures, what is known of the network, and no PSNR.

    Args:
        network: In evaluation mode, single precision.
        measurements: Each ``(frames, channels, height, width)``.
        level: The noise level that a conditioned network is told.
        problem: What measured them.
    """
    device = next(iter(network.state_dict().values())).device
    told = level if network.conditioned else None
    sheet, points = [], []
    for y in measurements[:_SHOWN]:
        try:
            image = problem.restore(network, y[:1].to(device), told).cpu()
        except GuaranteeError:
            image = torch.zeros(1, y.shape[1], *problem.size)
            sheet.append((("measurement", _picture(_stretched(y[:1]))), ("not converged", _picture(image))))
            continue
        points.append((image, told))
        sheet.append((("measurement", _picture(_stretched(y[:1]))), ("reconstruction", _picture(image))))
    if not points:
        points.append((torch.zeros(1, measurements[0].shape[1], *problem.size), told))
    nothing = Figures(level, math.nan, math.nan)
    return ValidationResult((nothing,), _lipschitz(network, points[:_CHECKED], device), tuple(sheet))


def _stretched(y: Tensor) -> Tensor:
    """Line integrals, which exceed 1, on [0, 1]; images as they are."""
    largest = float(y.max())
    return y / largest if largest > 2 else y


@torch.no_grad()
def held_out(
    network: Network, images: Sequence[Tensor], config: TrainingConfig, problem: Restoration | None = None
) -> float:
    """The mean of a loss that needs no clean images on images that are not, with the same random numbers each time.

    Args:
        network: In evaluation mode, single precision.
        images: Each ``(frames, channels, height, width)``, of two frames for ``noise2noise``.
        config: The loss.
        problem: What measured them, if they are measurements.

    Returns:
        The mean; infinity where a reconstruction does not converge.
    """
    device, values = next(iter(network.state_dict().values())).device, []
    for index, image in enumerate(images):
        generator = torch.Generator().manual_seed(config.seed + index)
        data = sample(image[:2, None], config, generator, problem).to(device)
        try:
            values.append(float(fidelity(network, data, config, problem)[0]))
        except GuaranteeError:
            return math.inf
    return sum(values) / len(values)


def _restored(
    problem: Restoration, network: Network, image: Tensor, noise: tuple[float, int], told: float | None
) -> Tensor | None:
    """A reconstruction; ``None`` where it does not converge.

    ``noise`` is its level and its seed.
    """
    here = problem.at((image.shape[-2], image.shape[-1]))
    device = next(iter(network.state_dict().values())).device
    level, seed = noise
    measured = here.operator.A(image)
    measured = measured + level * torch.randn(measured.shape, generator=torch.Generator().manual_seed(seed))
    try:
        return here.restore(network, measured.to(device), told).cpu()
    except GuaranteeError:
        return None


def _judged(metric: Metric, found: Tensor | None, image: Tensor) -> float:
    return math.nan if found is None else float(metric(found, image))


def _lipschitz(network: Network, points: Sequence[tuple[Tensor, float | None]], device: torch.device) -> Constant:
    claims = [network.lipschitz_Q(level) for level in {told for _, told in points}]
    claim = max(claims, key=lambda constant: constant.value)
    if claim.evidence is Evidence.PROVED:
        return claim
    largest = -math.inf
    for image, level in points:
        top, left = ((size - min(size, _SIDE)) // 2 for size in image.shape[2:])
        x = image[..., top : top + _SIDE, left : left + _SIDE].to(device)
        largest = max(largest, jacobian_norm(network.derivative(x, level), x, _CONVERGED)[0].value)
    return Measured(largest, f"Lanczos on Q'^T Q' at {len(points)} denoised validation images: a lower bound")


def _psnr(x: Tensor, truth: Tensor) -> float:
    error = float((x - truth).double().square().mean())
    if math.isnan(error):
        return math.nan
    return -10 * math.log10(error) if error > 0 else math.inf


def _picture(image: Tensor) -> Picture:
    picture: Picture = image[0].permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[2] == 1 else picture[..., :3]
