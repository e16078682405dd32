"""What is known of an operator or of a prior, without any measurement: the constants, and what follows from them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from recon import imaging
from recon.certificates import Remark
from recon.certificates.refutation import Watch
from recon.errors import UsageError
from recon.evidence import Constant, Measured, Proved, derive
from recon.operators import Identity
from recon.operators.tomography import Tomography
from recon.pipeline.config import METHODS
from recon.pipeline.device import Say
from recon.pipeline.method import Method, Pair, choose_method, examine
from recon.pipeline.operator_specs import Shape, read_operator
from recon.pipeline.prior_specs import ChosenPrior, Setting, read_prior, require_complex
from recon.pipeline.refutation import attack, believed
from recon.pipeline.spec import Spec
from recon.pipeline.surrogate_specs import read_surrogate
from recon.priors import Prior
from recon.types import LinearOperator

DEFAULT_SHAPE = (256, 256)
ANY_NOISE = 0.01
"""Where a prior's weight is matched to the noise: no constant depends on it."""


@dataclass(frozen=True)
class Guarantee:
    """What is guaranteed of one method.

    Attributes:
        name: The method.
        method: The method at its default step size; ``None`` where it does not apply.
        reason: Why it does not apply.
    """

    name: str
    method: Method | None
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether every condition of its theorem holds, on whatever evidence."""
        return self.method is not None and self.method.certificate.holds

    @property
    def missing(self) -> tuple[str, ...]:
        """The conditions that do not hold."""
        return (self.reason,) if self.method is None else self.method.certificate.missing

    @property
    def refuted(self) -> tuple[str, ...]:
        """Those of them to which there is a counterexample."""
        return () if self.method is None else self.method.certificate.refuted

    @property
    def stepsize(self) -> tuple[float, float | None]:
        """The step sizes under which the theorem holds; ``None`` for an end that does not exist."""
        if self.method is None:
            return (0.0, 0.0)
        return (0.0, None) if self.method.interval is None else self.method.interval

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        certificate = None if self.method is None else self.method.certificate
        return {
            "method": self.name,
            "holds": self.holds,
            "evidence": None if certificate is None else certificate.evidence.value,
            "stepsize": list(self.stepsize),
            "theorem": "" if certificate is None else certificate.theorem,
            "missing": list(self.missing),
            "refuted": list(self.refuted),
            "weaker": None if certificate is None or certificate.weaker is None else certificate.weaker.to_json(),
        }


@dataclass(frozen=True)
class Searched:
    """One search for violations of a network.

    Attributes:
        prior: At which level.
        side: Height and width of what was searched; ``None``: as large as the search chose.
        found: The largest quotient.
    """

    prior: str
    side: int | None
    found: Measured

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return {"prior": self.prior, "side": self.side, "value": self.found.value, "how": self.found.how}


@dataclass(frozen=True)
class Report:
    """The constants of a subject, and what they guarantee.

    Attributes:
        subject: The specification.
        setting: What else was fixed to say something: the image size, the prior.
        constants: By name.
        guarantees: One for each method.
        remarks: What of the specification leaves the guarantees as they are, and was not looked at.
        searches: For violations of a network, one for each level.
    """

    subject: str
    setting: str
    constants: dict[str, Constant]
    guarantees: tuple[Guarantee, ...]
    remarks: tuple[Remark, ...] = ()
    searches: tuple[Searched, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return {
            "subject": self.subject,
            "setting": self.setting,
            "constants": [
                {"name": name, "value": c.value, "evidence": c.evidence.value, "how": c.how, "error": c.error}
                for name, c in self.constants.items()
            ],
            "guarantees": [guarantee.to_json() for guarantee in self.guarantees],
            "remarks": [remark.to_json() for remark in self.remarks],
            "searches": [search.to_json() for search in self.searches],
        }


def certify_operator(  # noqa: PLR0913  each is an independent choice of the caller
    operator: Spec,
    *,
    surrogate: Spec | None = None,
    shift: float | str | None = None,
    prior: Spec | None = None,
    shape: Shape | None = None,
    seed: int = 0,
    say: Say = lambda line: None,
) -> Report:
    """The constants of an operator, or of an operator with a surrogate, and what follows for each method.

    Args:
        operator: The operator.
        surrogate: An operator whose adjoint takes the place of the true one.
        shift: As in :class:`recon.pipeline.config.SolveConfig`.
        prior: The prior for which the guarantees are stated; none: plain least squares.
        shape: The image's (height, width); 256 x 256 where the operator takes any.
        seed: Of what is measured.
        say: Where remarks go.
    """
    family = read_operator(operator, say)
    if family.is_complex:
        require_complex(prior, family.spec)
    size = shape or family.only_shape or DEFAULT_SHAPE
    built = family.on(size)
    replaced = None if surrogate is None else _surrogate(surrogate, built, size, say)
    example = torch.zeros(1, 1, *size, dtype=torch.complex64 if family.is_complex else torch.float32)
    pair = examine(built, replaced, example, shift=shift, seed=seed, refuse=False)
    chosen = read_prior(prior or Spec("none"), Setting(ANY_NOISE, image_shape=size, spacing=family.spacing))
    setting = f"images of {' x '.join(map(str, size))}, prior {chosen.spec.name}"
    remarks = () if prior is None else _remarks(prior, chosen)
    guarantees = _guarantees(pair, chosen.prior, remarks)
    return Report(str(operator), setting, _operator_constants(pair), guarantees, remarks)


def _surrogate(spec: Spec, operator: LinearOperator, size: Shape, say: Say) -> LinearOperator:
    return read_surrogate(spec, operator) if isinstance(operator, Tomography) else read_operator(spec, say).on(size)


def _operator_constants(pair: Pair) -> dict[str, Constant]:
    norm, mismatch = pair.properties.norm, pair.mismatch
    if mismatch is None:
        best = derive(lambda value: 1 / value**2 if value else 0.0, norm, how=f"1 / ||A||^2; {norm.how}")
        return {
            "operator_norm": norm,
            "adjoint_gap": pair.properties.adjoint_gap,
            "symmetric_part_min": pair.properties.gram_min,
            "cocoercivity": best,
        }
    shifted = {"shift": Proved(mismatch.shift, "added to the surrogate's map")} if mismatch.shift else {}
    return {
        "operator_norm": norm,
        "adjoint_gap": mismatch.adjoint_gap,
        "surrogate_norm": mismatch.norm,
        "symmetric_part_min": mismatch.symmetric_part_min,
        "cocoercivity": mismatch.cocoercivity,
        **shifted,
    }


def certify_prior(  # noqa: PLR0913  each is an independent choice of the caller
    prior: Spec,
    *,
    noise: float | None = None,
    images: Mapping[str, Tensor] | None = None,
    side: int | None = None,
    seed: int = 0,
    say: Say = lambda line: None,
    watch: Watch | None = None,
) -> Report:
    """The constants of a prior, with what follows for each method where the operator is the identity.

    Args:
        prior: The prior.
        noise: The level that it is matched to. ``None``: a network that is not proved is searched at five levels of
            its range, and the worst is reported.
        images: What a search begins with besides its own images, each ``(1, channels, height, width)`` on [0, 1].
        side: Height and width of what is searched of a network; what holds on one size need not hold on another.
        seed: Of what is random.
        say: Where lines on what begins go.
        watch: Sees how far a search of a network is.
    """
    hardest: Measured | None = None
    searches = []
    for candidate in _candidates(prior, noise, _smallest(images or {}, side)):
        if candidate.levels:
            say(f"searching for violations: {candidate.spec}")
        found = _searched(candidate, seed, images or {}, side, watch)
        if candidate.levels:
            say(f"found {found.value:.6g}, {found.how}")
            searches.append(Searched(str(candidate.spec), side, found))
        if hardest is None or found.value > hardest.value:
            chosen, hardest = candidate, found
    assert hardest is not None  # noqa: S101  there is at least one candidate
    known = believed(chosen.prior, hardest, thorough=chosen.search is not None)
    constants = {
        "lipschitz_Q": known.resolvent(1.0).properties.lipschitz_Q,
        "lipschitz_Q_attack": hardest,
        "resolvent_error": chosen.prior.resolvent(1.0).properties.error,
    }
    identity = Identity(DEFAULT_SHAPE)
    pair = Pair(identity, identity.properties, identity.properties.adjoint_gap)
    remarks = () if noise is None and "sigma" not in prior.options else chosen.remarks
    remarks += _beyond_card(chosen, _smallest(images or {}, side))
    setting = f"as {chosen.spec}, with the identity as the operator"
    return Report(str(prior), setting, constants, _guarantees(pair, known, remarks), remarks, tuple(searches))


def images_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """Images by their numbers, as :func:`certify_prior` takes them; names stay out of what is published."""
    return {f"image {number}": imaging.to_tensor(imaging.read(file)) for number, file in enumerate(files, start=1)}


def _smallest(images: Mapping[str, Tensor], side: int | None) -> Shape | None:
    """(height, width) of the smallest image that is searched; ``None``: as large as the search chooses."""
    shapes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images.values()]
    return min(shapes + ([] if side is None else [(side, side)]), key=min, default=None)


def _candidates(prior: Spec, noise: float | None, shape: Shape | None) -> list[ChosenPrior]:
    """The prior on images of a shape, as stated or at each level at which it should be looked at."""
    setting = Setting(noise or ANY_NOISE, channels=None, blurs=False, image_shape=shape)
    first = read_prior(prior, setting)
    if noise is not None or "sigma" in prior.options or not first.levels:
        return [first]
    return [read_prior(prior, replace(setting, noise=level)) for level in first.levels]


def _searched(
    chosen: ChosenPrior, seed: int, images: Mapping[str, Tensor], side: int | None, watch: Watch | None
) -> Measured:
    if chosen.search is not None:
        return chosen.search(seed, images, watch, side)
    if images or side is not None:
        given = "an image to begin with" if images else f"{side} pixels as the side of what is searched"
        raise UsageError(f"{chosen.spec}: {given}; expected none, because only networks are searched so.")
    return attack(chosen.prior.resolvent(1.0), seed)


def _remarks(asked: Spec, chosen: ChosenPrior) -> tuple[Remark, ...]:
    """Those on a level that the user stated: ``ANY_NOISE`` is nobody's."""
    return chosen.remarks if "sigma" in asked.options else ()


def _beyond_card(chosen: ChosenPrior, shape: Shape | None) -> tuple[Remark, ...]:
    least = chosen.least_side
    if least is None or shape is None or min(shape) >= least:
        return ()
    how = "the card of the network says nothing of so small images, and what was measured of larger ones is not of them"
    return (Remark("the side of what was searched", min(shape), least, math.inf, how),)


def _guarantees(pair: Pair, prior: Prior, remarks: tuple[Remark, ...]) -> tuple[Guarantee, ...]:
    return tuple(_guarantee(pair, prior, name, remarks) for name in METHODS)


def _guarantee(pair: Pair, prior: Prior, name: str, remarks: tuple[Remark, ...]) -> Guarantee:
    try:
        method = choose_method(pair, prior, name, noise=ANY_NOISE)  # bounds a residual, and enters no condition
        return Guarantee(name, method.remarked(remarks))
    except UsageError as error:
        return Guarantee(name, None, str(error))
