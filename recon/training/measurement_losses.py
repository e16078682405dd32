"""Losses of reconstructions that need nothing but measurements."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from recon.operators.tomography import Geometry, Tomography
from recon.operators.tomography.projectors.ramp_filter import convolve, ramp_taps
from recon.priors.networks import Network
from recon.training.equilibrium import Restoration
from recon.training.sample import RECORRUPTED, TAU, Sample
from recon.training.transformations import NUMBERS, moved


def measured_sample(frames: Tensor, loss: str, level: Tensor, draw: torch.Generator, problem: Restoration) -> Sample:
    """What the loss sees of measurements.

    Args:
        frames: (1 or 2, batch, channels, ...).
        loss: Of those without clean images.
        level: Of the noise of each, (batch,).
        draw: What decides.
        problem: What measured them.
    """
    y = frames[0]
    draws = torch.zeros(len(y), 0)
    if loss == "splitting":
        draws = hidden_part(problem, y, draw)
    elif loss in ("sure", "r2r"):
        draws = torch.randn(y.shape, generator=draw) * measured_places(problem, y)
    moves, fresh = torch.zeros(len(y), 0), torch.zeros(len(y), 0)
    if problem.ways.measurements.equivariance:
        moves = torch.rand(len(y), NUMBERS, generator=draw)
        noise = torch.randn(y.shape, generator=draw) * measured_places(problem, y)
        fresh = level.view(-1, 1, 1, 1) * noise
    return Sample(y, frames[-1], level, draws, torch.zeros(len(y), 0), moves, fresh)


def fidelity_of_measurements(
    network: Network, data: Sample, level: Tensor | None, loss: str, problem: Restoration
) -> tuple[Tensor, Tensor]:
    """The loss of each measurement, (batch,), and the reconstructions.

    With R the reconstruction and the residuals of a scan weighed as :func:`misfit` says:

    * ``"splitting"``: ``||A_2 R(y_1) - y_2||^2`` for the two parts of a measurement. The noise of one does not know of
      that of the other, so that this is the squared error and the variance of the noise (Hendriksen, Pelt, Batenburg
      2020, who compare images; a few views make an image of streaks, which would be learnt).
    * ``"noise2noise"``: ``||A R(y) - y'||^2`` for two measurements of one scene.
    * ``"sure"``: Stein's estimate of ``||A (R(y) - x)||^2`` (Eldar 2009), ``"r2r"``: recorruption of the measurement.

    deepinv's SplittingLoss, R2RLoss, SureGaussianLoss and EILoss are these with random numbers of their own and
    without weights; the tests compare the last two with ours.
    """
    operator = problem.operator
    if loss == "splitting":
        hidden = data.draws
        found = problem.restore(network, data.noisy, level, 1 - hidden)
        shares = (hidden * measured_places(problem, data.noisy)).mean((1, 2, 3))
        values = misfit(problem, hidden * (operator.A(found) - data.noisy)) / shares
    elif loss == "noise2noise":
        found = problem.restore(network, data.noisy, level)
        values = misfit(problem, operator.A(found) - data.target)
    elif loss == "r2r":
        sigma = data.level.view(-1, 1, 1, 1)
        noisier = data.noisy + math.sqrt(RECORRUPTED / (1 - RECORRUPTED)) * sigma * data.draws
        other = (data.noisy - (1 - RECORRUPTED) * noisier) / RECORRUPTED
        found = problem.restore(network, noisier, level)
        values = misfit(problem, operator.A(found) - other)
    else:
        found = problem.restore(network, data.noisy, level)
        values = _sure(network, data, level, found, problem)
    weight = problem.ways.measurements.equivariance
    if weight:
        values = values + weight * _equivariant(network, data, level, found, problem)
    return values, found.detach()


def _sure(network: Network, data: Sample, level: Tensor | None, found: Tensor, problem: Restoration) -> Tensor:
    """deepinv's estimate with weights: the trace of the weighted derivative by a difference along random noise."""
    operator, b = problem.operator, data.draws
    seen = operator.A(found)
    change = operator.A(problem.restore(network, data.noisy + TAU * b, level)) - seen
    weighed = _weighed(problem, b)
    divergence = (weighed * change).mean((1, 2, 3)) / TAU
    constant = (weighed * b).mean((1, 2, 3))
    return misfit(problem, seen - data.noisy) + data.level**2 * (2 * divergence - constant)


def _equivariant(network: Network, data: Sample, level: Tensor | None, found: Tensor, problem: Restoration) -> Tensor:
    """The mean square of ``R(A T x + e) - T x``, whose gradient goes through both, as deepinv has it."""
    image = moved(found, transform_of(problem), data.moves)
    again = problem.restore(network, problem.operator.A(image) + data.fresh, level)
    return (again - image).square().mean((1, 2, 3))


def transform_of(problem: Restoration) -> str:
    """The transformation that the recipe states, or the one that says most of what the operator does not see."""
    stated = problem.ways.measurements.transform
    if stated:
        return stated
    if isinstance(problem.operator, Tomography):
        return "rotations"
    return "shifts" if problem.ways.is_masked else "scales"


def misfit(problem: Restoration, residual: Tensor) -> Tensor:
    """The mean square of a residual of measurements, (batch,).

    Of a scan ``c <r, F r>`` with F the ramp filter along the detector: ``A^T F A`` is the identity but for a factor, as
    filtered back-projection says, so that of the residual ``A e`` it is the mean square of e, about.
    """
    return (_weighed(problem, residual) * residual).mean((1, 2, 3))


def _weighed(problem: Restoration, residual: Tensor) -> Tensor:
    operator = problem.operator
    if not isinstance(operator, Tomography):
        return residual
    taps = ramp_taps(operator.geometry.detector.pixels)
    return _factor(operator) * convolve(residual, taps)


@lru_cache(maxsize=4)
def _factor(operator: Tomography) -> float:
    """c, for which the misfit of the projections of a spot in the middle is its mean square."""
    image = _spot(operator.geometry)
    y = operator.A(image)
    taps = ramp_taps(operator.geometry.detector.pixels)
    return float(image.square().mean() / (convolve(y, taps) * y).mean())


def _spot(geometry: Geometry) -> Tensor:
    rows, columns = geometry.image_shape[-2:]
    down = (torch.arange(rows) - (rows - 1) / 2) / rows
    across = (torch.arange(columns) - (columns - 1) / 2) / columns
    return torch.exp(-32 * (down[:, None].square() + across.square())).view(1, 1, rows, columns)


def hidden_part(problem: Restoration, y: Tensor, generator: torch.Generator) -> Tensor:
    """1 where splitting leaves a measurement out, else 0: (batch, 1, height, width).

    Of a scan every n-th view, beginning anywhere; else each pixel with the probability 1/n.
    """
    parts, (batch, _, height, width) = problem.ways.measurements.parts, y.shape
    if isinstance(problem.operator, Tomography):
        first = torch.randint(parts, (batch, 1, 1, 1), generator=generator)
        views = (torch.arange(height).view(1, 1, -1, 1) % parts == first).to(y.dtype)
        return views.expand(batch, 1, height, width)
    return (torch.rand(batch, 1, height, width, generator=generator) < 1 / parts).to(y.dtype)


def measured_places(problem: Restoration, y: Tensor) -> Tensor:
    """1 where there is a measurement, and 0 where a mask leaves it out; broadcasts to the shape of y."""
    if not problem.ways.is_masked:
        return torch.ones(())
    operator = problem.operator
    with torch.no_grad():
        return operator.A(torch.ones_like(y[:1, :1]))
