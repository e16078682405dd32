"""Decoupled maps: f(x) nearly W g(V^T x) with a flexible activation for each of few units, from values and Jacobians.

A map f is decoupled by rank-one terms: with one function of one number for each unit,

    f(x) = b + sum_i w_i g_i(<v_i, x>),    f'(x) = W diag(g_i'(<v_i, x>)) V^T,

so the Jacobians at samples, stacked, are a tensor of that rank with the factors W, V and ``H_ki = g_i'(<v_i, x_k>)``
(Dreesen, Ishteva and Schoukens 2015), and the values are the matrix ``W Z^T`` with ``Z_ki = g_i(<v_i, x_k>)``, coupled
to it by W (Zniyed, Usevich, Miron and Brie 2021, *Tensor-based approach for training flexible neural networks*). The
columns of H and Z are those of one function: they are projected on the B-splines of :mod:`.flexible` and their
derivatives. The paper goes on alternating least squares and projections; here all parameters of the constrained
criterion

    l |J - [[W, V, H(V, c)]]|^2 / |J|^2 + |F - b - W Z(V, c)^T|^2 / |F - mean F|^2

are improved at once by a quasi-Newton method, from the projected factors on, and W and b are refitted to the values.

*Coordinates*. With C the covariance of the samples and c the mean of its diagonal, the inputs are
``u = S^-1 (x - mean)`` with ``S = (C + q c Id)^(1/2)``, and the Jacobians ``f'(x) S``: an error of a Jacobian counts by
what it does to inputs such as the samples, and q keeps the weights of inputs small that are quiet on the samples.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon.compression.coupled import Factors, factorise_coupled
from recon.compression.flexible import PIECES, design, table_of, values_and_slopes
from recon.types import Map

_QUIET = 0.1
"""q: of the mean variance of the inputs, added to all."""

_MARGIN = 0.02
"""Of the range of a unit on the samples, added at both ends: the splines end there."""

_JACOBIAN_WEIGHT = 0.03
"""l. The result hardly depends on it."""

_SMOOTH, _ROUGHNESS = 0.1, 1e-6
"""Weights of the fourth differences of the coefficients, in the projection and in the criterion. They vanish for cubic
polynomials, so nothing that is cubic is lost. With much less in the projection, splines follow the noise of free
factors."""

_RIDGE = 1e-10
"""Singular values of least squares below that share of the largest are taken as 0."""

_ALTERNATIONS = (4, 30)
"""Steps of alternating least squares that are tried. More fit better, unless the rank is higher than that of the map:
then factors may grow without bound and cancel each other, and no spline is near them."""

_STEPS, _ROUNDS = 100, 2
"""Of the quasi-Newton method in a round; before each round the splines are put on the range of the samples again."""


@final
@dataclass(frozen=True)
class Decoupled:
    """``x -> b + W g(V^T x)``.

    Attributes:
        left: W, ``(outputs, rank)``.
        right: V, ``(inputs, rank)``.
        coefficients: Of the splines, ``(rank, pieces + 3)``.
        low: Where they begin, ``(rank,)``.
        high: Where they end.
        bias: b, ``(outputs,)``.
    """

    left: Tensor
    right: Tensor
    coefficients: Tensor
    low: Tensor
    high: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The values at ``(samples, inputs)``."""
        return torch.addmm(self.bias, self.units(x)[0], self.left.mT)

    def units(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the activations say at ``(samples, inputs)``, and their slopes."""
        return values_and_slopes(table_of(self.coefficients), self.low, self.high, x @ self.right)


@final
@dataclass(frozen=True)
class Observed:
    """What is known of a map at samples.

    Attributes:
        inputs: ``(samples, inputs)``, in double precision.
        outputs: ``(samples, outputs)``.
        jacobians: At the first of the samples, ``(fewer samples, outputs, inputs)``.
    """

    inputs: Tensor
    outputs: Tensor
    jacobians: Tensor


def observe(function: Map, inputs: Tensor, outputs: Tensor, jacobians: int) -> Observed:
    """Outputs and derivatives of a map that acts on each row by itself.

    Args:
        function: The map.
        inputs: ``(samples, inputs)``.
        outputs: What is to be said of them, its values or near these, ``(samples, outputs)``.
        jacobians: At how many of the samples there are derivatives.
    """
    x = inputs.detach()[:jacobians].clone().requires_grad_()
    with torch.enable_grad():
        y = function(x)
        rows = [torch.autograd.grad(y[:, index].sum(), x, retain_graph=True)[0] for index in range(y.shape[1])]
    return Observed(inputs, outputs, torch.stack(rows, 1))


def relative(found: Tensor, meant: Tensor) -> float:
    """``|y' - y|^2 / |y|^2``."""
    return float((found - meant).square().sum() / meant.square().sum().clamp(min=torch.finfo(meant.dtype).tiny))


def decouple(observed: Observed, rank: int, *, pieces: int = PIECES, seed: int = 0) -> Decoupled:
    """The decoupled map of so many units that is nearest to what was observed, as the criterion above says.

    Args:
        observed: Values and Jacobians of the map, in double precision.
        rank: How many units.
        pieces: Of each spline.
        seed: Of random starts.

    Raises:
        UsageError: tensorly is not installed.
    """
    inputs, outputs = observed.inputs, observed.outputs
    mean, root, inverse = _coordinates(inputs)
    scale = (outputs - outputs.mean(0)).square().mean().sqrt().clamp(min=torch.finfo(outputs.dtype).tiny)
    scaled = Observed((inputs - mean) @ inverse, outputs / scale, observed.jacobians @ root / scale)
    count = len(scaled.jacobians)
    generator = torch.Generator().manual_seed(seed)
    starts = [
        projected(scaled, factorise_coupled(scaled.jacobians, scaled.outputs[:count], rank, generator, steps), pieces)
        for steps in _ALTERNATIONS
    ]
    found = min(starts, key=lambda start: float(criterion(scaled, start)))
    for number in range(_ROUNDS):
        found = _improved(scaled, _ranged(scaled, found) if number else found)
    found = _refitted(scaled, found)
    right = inverse @ found.right
    shift = mean @ right
    return Decoupled(
        found.left * scale, right, found.coefficients, found.low + shift, found.high + shift, found.bias * scale
    )


def _coordinates(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, S and its inverse."""
    mean = inputs.mean(0)
    centred = inputs - mean
    covariance = centred.mT @ centred / len(inputs)
    floor = (_QUIET * covariance.diagonal().mean()).clamp(min=torch.finfo(inputs.dtype).tiny)
    size, vectors = torch.linalg.eigh(covariance)
    roots = (size.clamp(min=0) + floor).sqrt()
    return mean, (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT


def _range(t: Tensor) -> tuple[Tensor, Tensor]:
    low, high = t.amin(0), t.amax(0)
    margin = (_MARGIN * (high - low)).clamp(min=1e-3)
    return low - margin, high + margin


def _sizes(observed: Observed, right: Tensor) -> Tensor:
    """How much each unit varies on the samples; of one that does not, a little."""
    return (observed.inputs @ right).std(0).clamp(min=1e-3 * right.norm(dim=0)).clamp(min=1e-12)


def projected(observed: Observed, factors: Factors, pieces: int) -> Decoupled:
    """Free factors with the columns of slopes and values replaced by those of one spline each."""
    sizes = _sizes(observed, factors.right)
    right = factors.right / sizes
    low, high = _range(observed.inputs @ right)
    splines, slopes = design(low, high, pieces, observed.inputs[: len(observed.jacobians)] @ right)
    centred = splines - splines.mean(1, keepdim=True)  # constants belong to b
    h, z = (factors.slopes * sizes).mT, (factors.values - factors.values.mean(0)).mT
    coefficients = _spline(torch.cat([centred, slopes], 1), torch.cat([z, h], 1))
    return _refitted(observed, Decoupled(factors.left, right, coefficients, low, high, observed.outputs.mean(0)))


def _spline(rows: Tensor, wanted: Tensor) -> Tensor:
    """Coefficients ``(units, pieces + 3)`` from ``(units, rows, pieces + 3)``, near cubic where the rows say little."""
    count = rows.shape[2]
    if count > 4:
        differences = torch.eye(count, dtype=rows.dtype, device=rows.device).diff(n=4, dim=0)
        weights = _SMOOTH * torch.linalg.matrix_norm(rows)
        rows = torch.cat([rows, weights[:, None, None] * differences], 1)
        wanted = functional.pad(wanted, (0, count - 4))
    return _least_squares(rows, wanted[:, :, None])[:, :, 0]


def _least_squares(matrix: Tensor, wanted: Tensor) -> Tensor:
    found: Tensor = torch.linalg.pinv(matrix, rtol=_RIDGE) @ wanted
    return found


def _refitted(observed: Observed, found: Decoupled) -> Decoupled:
    """W and b by least squares on the values, of activations with mean 0 and size 1 on the samples."""
    z, _ = found.units(observed.inputs)
    mean, size = z.mean(0), z.std(0)
    size = torch.where(size > 1e-9 * size.max(), size, 1.0)
    centre = observed.outputs.mean(0)
    left = _least_squares((z - mean) / size, observed.outputs - centre).mT
    coefficients = (found.coefficients - mean[:, None]) / size[:, None]  # B-splines sum to 1
    return replace(found, left=left, bias=centre, coefficients=coefficients)


def _ranged(observed: Observed, found: Decoupled) -> Decoupled:
    """Nearly the same functions by splines on the range of the samples, of units with size 1."""
    z, _ = found.units(observed.inputs)
    right = found.right / _sizes(observed, found.right)
    t = observed.inputs @ right
    low, high = _range(t)
    splines, _ = design(low, high, found.coefficients.shape[1] - 3, t)
    return _refitted(observed, replace(found, right=right, coefficients=_spline(splines, z.mT), low=low, high=high))


def _improved(observed: Observed, found: Decoupled) -> Decoupled:
    """A minimiser of the constrained criterion nearby; what it began with where that is no worse."""
    names = ("left", "right", "coefficients", "bias")
    variables = [getattr(found, name).contiguous().clone().requires_grad_() for name in names]
    optimiser = torch.optim.LBFGS(
        variables, max_iter=_STEPS, max_eval=2 * _STEPS, history_size=20, tolerance_grad=1e-14,
        tolerance_change=1e-14, line_search_fn="strong_wolfe",
    )  # fmt: skip
    best = [(criterion(observed, found), found)]

    def value() -> Tensor:
        optimiser.zero_grad()
        with torch.enable_grad():
            total = criterion(observed, replace(found, **dict(zip(names, variables, strict=True))))
        total.backward()  # type: ignore[no-untyped-call]
        if total.detach() < best[0][0]:
            kept = {name: each.detach().clone() for name, each in zip(names, variables, strict=True)}
            best[0] = (total.detach(), replace(found, **kept))
        return total

    optimiser.step(value)  # type: ignore[no-untyped-call]
    return best[0][1]


def criterion(observed: Observed, at: Decoupled) -> Tensor:
    """The constrained criterion, with the roughness of the splines."""
    z, h = at.units(observed.inputs)
    of_values = (torch.addmm(at.bias, z, at.left.mT) - observed.outputs).square().sum()
    jacobians = observed.jacobians
    of_slopes = (at.left @ (h[: len(jacobians), :, None] * at.right.mT) - jacobians).square().sum()
    least = torch.finfo(z.dtype).tiny
    total = of_values / (observed.outputs - observed.outputs.mean(0)).square().sum().clamp(min=least)
    total = total + _JACOBIAN_WEIGHT * of_slopes / jacobians.square().sum().clamp(min=least)
    if at.coefficients.shape[1] > 4:
        total = total + _ROUGHNESS * at.coefficients.diff(n=4, dim=1).square().sum()
    return total
