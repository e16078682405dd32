"""The density that a plan's problem describes: ``exp(-U)``, ``U(x) = (||A x - y||^2 / 2 + g(x)) / noise^2``.

Its mode is the solution of the plan. The noise is the temperature, so a penalty whose weight was matched to the noise
keeps the weight that the solution has.

A penalty that has a gradient, as a learned potential, has it with a proved Lipschitz constant. Of another proximity
operator the gradient is that of its Moreau envelope, ``(x - prox_tg(x)) / t`` with ``t = 1 / ||A||^2``: the density is
the Moreau-smoothed one (Durmus, Moulines, Pereyra 2018). Of a single resolvent J with step s it is ``(x - J(x)) / s``
(PnP-ULA, Laumont et al. 2022), which is a gradient only if the derivative of J is symmetric: what is not known to be a
proximity operator is measured, and refused where it is not symmetric.

Bounds of the image become a wall ``dist(x, C)^2 / (2 t)``, for a chain with them sharp would stand still.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.certificates import asymmetry
from recon.errors import UsageError
from recon.evidence import Constant, Evidence, derive
from recon.operators import LeastSquares
from recon.priors import Prior, Resolvent
from recon.reconstruction.plan import Plan
from recon.reconstruction.problem import Problem
from recon.types import Map

SYMMETRIC = 1e-2
"""``||Q' - Q'^T|| / ||Q'||`` up to which a derivative is taken for symmetric, rounding of single precision included."""


@dataclass(frozen=True)
class Penalty:
    """The gradient of g, and what is known of it.

    Attributes:
        gradient: Image to image.
        lipschitz: A bound of its Lipschitz constant.
        how: What it is the gradient of, for a person.
        evidence: That it is a gradient.
        wall: 1/t of the bounds of the image; 0 where there are none.
        projection: On these bounds.
    """

    gradient: Map
    lipschitz: Constant
    how: str
    evidence: Evidence
    wall: float = 0.0
    projection: Resolvent | None = None


@dataclass(frozen=True)
class Potential:
    """U of a problem.

    Attributes:
        noise: The standard deviation of the noise, on the scale of the problem.
        lipschitz: A bound of the Lipschitz constant of ``noise^2 grad U``.
        penalty: The prior's part.
        data: From a measurement to the gradient of the data term.
    """

    noise: float
    lipschitz: Constant
    penalty: Penalty
    data: Callable[[Tensor], Map]

    def energy_gradient(self, measurement: Tensor, bounded: bool = True) -> Map:
        """``noise^2 grad U``, the gradient of what the solution minimises.

        Args:
            measurement: y, (batch, ...).
            bounded: Whether with the smoothed bounds, or else with the steepest wall that they could be, everywhere.
        """
        data, penalty = self.data(measurement), self.penalty
        if penalty.projection is None:
            return lambda x: data(x) + penalty.gradient(x)
        project, wall = penalty.projection, penalty.wall
        if bounded:
            return lambda x: data(x) + penalty.gradient(x) + wall * (x - project(x))
        return lambda x: data(x) + penalty.gradient(x) + wall * x


def potential_of(plan: Plan) -> Potential:
    """The potential of a plan's problem.

    Raises:
        UsageError: There is no density: the prior's derivative is not symmetric, the adjoint is a surrogate, the image
            is complex, or the noise is not known.
    """
    problem = plan.problem
    noise = noise_of(plan)
    if plan.pair.mismatch is not None:
        raise UsageError(
            f"surrogate is {problem.config.surrogate}; expected none, because the map of a surrogate is no gradient "
            "and has no density: --method bootstrap takes it."
        )
    if problem.measurement.is_complex() or problem.family.is_complex:
        raise UsageError(
            f"operator is {problem.family.spec}, whose images are complex; expected --method bootstrap, because the "
            "samplers take real images."
        )
    penalty = _penalty(plan)
    gram = plan.pair.properties.norm
    total = derive(lambda a, b: a**2 + b, gram, penalty.lipschitz, how="||A||^2 + Lip(grad g)")
    return Potential(noise, total, penalty, lambda y: LeastSquares(problem.operator, y))


def noise_of(plan: Plan) -> float:
    """The noise level of a plan.

    Raises:
        UsageError: It is not known, or zero.
    """
    noise = plan.problem.noise
    if noise is None or not noise > 0:
        said = "not given" if noise is None else "0"
        raise UsageError(f"noise is {said}; expected --noise SIGMA above 0, because the uncertainty follows from it.")
    return noise


def _penalty(plan: Plan) -> Penalty:
    prior, t = plan.problem.prior.prior, 1 / plan.pair.squared_norm
    penalty = _of_prior(plan, prior, t)
    if prior.constraint is None:
        return penalty
    return _with_wall(penalty, prior.constraint, t)


def _of_prior(plan: Plan, prior: Prior, t: float) -> Penalty:
    if prior.smooth is not None:
        how = f"the gradient of {prior.name}"
        return Penalty(prior.smooth.gradient, prior.smooth.lipschitz, how, Evidence.PROVED)
    first = prior.resolvent(1.0)
    single = first is prior.resolvent(2.0)
    if first.properties.proximity is not None and not single:
        return _moreau(prior.resolvent(t), t, f"the Moreau envelope of {prior.name}", Evidence.PROVED)
    s = plan.method.stepsize
    if s is None:
        raise UsageError(
            f"prior is {plan.problem.prior.spec}, and {plan.method.name} has no step size; expected a method that "
            "takes the prior as a resolvent, or --method bootstrap."
        )
    if first.properties.proximity is not None:
        return _moreau(first, s, f"the Moreau envelope of {prior.name}", Evidence.PROVED)
    evidence, how = _symmetry(plan.problem)
    return _moreau(first, s, f"(x - J(x)) / s, J of {prior.name}: {how}", evidence)


def _moreau(resolvent: Resolvent, t: float, how: str, evidence: Evidence) -> Penalty:
    known = resolvent.properties.lipschitz_Q
    lipschitz = derive(lambda q: (1 + q) / (2 * t), known, how="Id - J = (Id - Q)/2 has the constant (1 + Lip Q) / 2")
    return Penalty(lambda x: (x - resolvent(x)) / t, lipschitz, how, evidence)


def _symmetry(problem: Problem) -> tuple[Evidence, str]:
    """The reason to take a resolvent for the gradient of something.

    Raises:
        UsageError: It is none.
    """
    model = problem.prior.model
    if model is None:
        return Evidence.ASSUMED, "assumed to be a gradient, as PnP-ULA does"
    side = problem.prior.least_side or 32
    generator = torch.Generator().manual_seed(problem.config.seed)
    x = torch.rand(1, model.network.config.channels, side, side, generator=generator, dtype=torch.float64)
    network = model.network.frozen()
    found = asymmetry(network.derivative(x, model.level), x)
    if found.value - found.error > SYMMETRIC:
        raise UsageError(
            f"prior is {problem.prior.spec}, a resolvent whose derivative is not symmetric (||Q' - Q'^T|| / ||Q'|| is "
            f"{found.value:.2g}, measured): it is no gradient, so there is no density to sample; expected --method "
            "bootstrap, or the proximity operator of a potential, such as model:proved-gray."
        )
    return Evidence.MEASURED, f"its derivative is symmetric to {found.value:.1g} at a random image (measured)"


def _with_wall(penalty: Penalty, projection: Resolvent, t: float) -> Penalty:
    more = derive(lambda known: known + 1 / t, penalty.lipschitz, how=f"{penalty.lipschitz.how}, and 1/t of the bounds")
    return replace(
        penalty, lipschitz=more, how=f"{penalty.how}, with smoothed bounds", wall=1 / t, projection=projection
    )
