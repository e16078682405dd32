"""Constants of an operator or of a prior without any measurement, and the guarantees that follow from them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from recon import io
from recon.certificates import Given, Remark, orthogonality
from recon.device import Notify
from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Measured, Proved, derive, from_above
from recon.methods.assumption_check import attack, reconcile_with_search
from recon.methods.catalogue import with_prior
from recon.methods.choice import choose_method
from recon.methods.network_search import WHOLE, Extent, Progress, ProgressCallback, Sought
from recon.methods.operator_pair import OperatorPair, analyse_operator
from recon.methods.setting import Method
from recon.operators import Identity, adjoint_gap_upper
from recon.operators.tomography import Tomography
from recon.priors import Prior
from recon.priors.networks.files.card import SearchRecord, is_whole, keep_searches
from recon.reconstruction.guiding import GIVEN
from recon.specs.configured_prior import ConfiguredPrior, PriorContext
from recon.specs.grammar import Spec
from recon.specs.operators import Shape, read_operator
from recon.specs.priors import read_prior, require_complex
from recon.specs.surrogates import fitted, read_surrogate
from recon.types import LinearOperator

DEFAULT_SHAPE = (256, 256)
_AGREE = 1e-3
"""Relative difference of quotients below which levels agree."""

ANY_NOISE = 0.01
"""Where a prior's weight is matched to the noise: no constant depends on it."""


@dataclass(frozen=True)
class Guarantee:
    """The guarantee of one method.

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
        """Return plain values."""
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
        record: What was searched, and what was found.
    """

    prior: str
    record: SearchRecord

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {"prior": self.prior, **self.record.to_json()}


@dataclass(frozen=True)
class Subject:
    """The network that was searched.

    Attributes:
        folder: Where it is.
        sha256: Of its weights and its architecture.
        noise_range: The ends of the levels at which it differs.
        proved: Whether it has a proof.
    """

    folder: Path
    sha256: str
    noise_range: tuple[float, float]
    proved: bool


@dataclass(frozen=True)
class Report:
    """The constants of a subject, and what they guarantee.

    Attributes:
        subject: The specification.
        setting: What else was fixed to say something: the image size, the prior.
        constants: By name.
        guarantees: One for each method.
        remarks: What of the specification leaves the guarantees as they are, and was not looked at.
        searches: For violations of a network, one for each level, side and box of values.
        network: The network that was searched; ``None`` of another prior.
    """

    subject: str
    setting: str
    constants: dict[str, Constant]
    guarantees: tuple[Guarantee, ...]
    remarks: tuple[Remark, ...] = ()
    searches: tuple[Searched, ...] = ()
    network: Subject | None = None

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
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
            "sha256": None if self.network is None else self.network.sha256,
        }


def certify_operator(  # noqa: PLR0913  each is an independent choice of the caller
    operator: Spec,
    *,
    surrogate: Spec | None = None,
    shift: float | str | None = None,
    prior: Spec | None = None,
    shape: Shape | None = None,
    seed: int = 0,
    say: Notify = lambda line: None,
) -> Report:
    """The constants of an operator, or of an operator with a surrogate, and what follows for each method.

    Args:
        operator: The operator.
        surrogate: An operator whose adjoint takes the place of the true one.
        shift: As in :class:`recon.specs.solve_config.SolveConfig`.
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
    pair = analyse_operator(built, replaced, example, shift=shift, seed=seed, refuse=False)
    chosen = read_prior(prior or Spec("none"), PriorContext(ANY_NOISE, image_shape=size, spacing=family.spacing))
    setting = f"images of {' x '.join(map(str, size))}, prior {chosen.spec.name}"
    remarks = () if prior is None else _remarks(prior, chosen)
    guarantees = _guarantees(pair, chosen.prior, remarks)
    if pair.surrogate is not None and pair.gap.evidence is not Evidence.PROVED:
        upper = adjoint_gap_upper(built, example, surrogate=pair.surrogate.A_adjoint, seed=seed)
        pair = replace(pair, gap_upper=upper)
    return Report(str(operator), setting, _operator_constants(pair), guarantees, remarks)


def _surrogate(spec: Spec, operator: LinearOperator, size: Shape, say: Notify) -> LinearOperator:
    if isinstance(operator, Tomography):
        return read_surrogate(spec, operator)
    return fitted(read_operator(spec, say).on(size), operator)


def _operator_constants(pair: OperatorPair) -> dict[str, Constant]:
    norm, mismatch = pair.properties.norm, pair.mismatch
    if mismatch is None:
        best = derive(lambda value: 1 / value**2 if value else 0.0, from_above(norm), how=f"1 / ||A||^2; {norm.how}")
        known = pair.properties.adjoint_gap
        return {
            "operator_norm": norm,
            "adjoint_gap": known if known.evidence is Evidence.PROVED else pair.gap,
            "adjoint_gap_upper": pair.gap_upper or known,
            "symmetric_part_min": pair.properties.gram_min,
            "cocoercivity": best,
        }
    shifted = {"shift": Proved(mismatch.shift, "added to the surrogate's map")} if mismatch.shift else {}
    return {
        "operator_norm": norm,
        "adjoint_gap": mismatch.adjoint_gap,
        "adjoint_gap_upper": pair.gap_upper or mismatch.adjoint_gap,
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
    say: Notify = lambda line: None,
    watch: ProgressCallback = lambda seen: None,
    extent: Extent = WHOLE,
) -> Report:
    """The constants of a prior, with what follows for each method where the operator is the identity.

    A network without a proof is searched as the extent says. What is found refutes; that nothing is found counts after
    a whole search only, and less leaves *assumed* what was.

    Args:
        prior: The prior.
        noise: The level that it is matched to. ``None``: a network that is not proved is searched at the ends of its
            range and at three levels between them, if these do not agree, and the worst is reported.
        images: What a search begins with besides its own images, each ``(1, channels, height, width)`` on [0, 1].
        side: Height and width of what is searched of a network; what holds on one size need not hold on another.
        seed: Of what is random.
        say: Where lines on what begins go.
        watch: Sees how far a search of a network is.
        extent: What is searched of a network without a proof.
    """
    given = images or {}
    shape = _smallest(given, side)
    candidates = _candidates(prior, noise, shape)[: extent.levels]
    progress = _progress(candidates, extent, given, side, say, watch)
    hardest: Measured | None = None
    searches: list[Searched] = []
    values: list[float] = []
    whole = True
    for position, candidate in enumerate(candidates):
        if _agree(values):
            say(f"the levels agree: {len(candidates) - position} between them are not searched")
            break
        if candidate.levels:
            say(f"searching for violations: {candidate.spec}")
        found, sought = _searched(candidate, seed, given, side, extent, progress)
        values.append(found.value)
        if sought is not None:
            say(f"found {found.value:.6g}, {found.how}")
            searches += [Searched(str(candidate.spec), record) for record in sought.records]
            level = sought.records[0].noise
            whole = whole and is_whole(sought.records, (level, level))
        if hardest is None or found.value > hardest.value:
            chosen, hardest = candidate, found
    assert hardest is not None  # noqa: S101  there is at least one candidate
    is_network = chosen.model is not None
    known = reconcile_with_search(chosen.prior, hardest, thorough=is_network and whole, fine=is_network)
    follows = chosen.guides_itself and chosen.model is not None
    claimed = chosen.model.network.lipschitz_Q(chosen.model.level) if follows and chosen.model else None
    constants = {
        "lipschitz_Q": claimed or known.resolvent(1.0).properties.lipschitz_Q,
        "lipschitz_Q_attack": hardest,
        "resolvent_error": chosen.prior.resolvent(1.0).properties.error,
    }
    chain = None if chosen.model is None else orthogonality(chosen.model.network)
    if chain is not None:
        constants["orthogonality"] = chain
    identity = Identity(DEFAULT_SHAPE)
    pair = OperatorPair(identity, identity.properties, identity.properties.adjoint_gap)
    remarks = () if noise is None and "sigma" not in prior.options else chosen.remarks
    remarks += _beyond_card(chosen, shape)
    setting = f"as {chosen.spec}, with the identity as the operator"
    guarantees = _guarantees(pair, known, remarks, GIVEN if follows else None)
    return Report(str(prior), setting, constants, guarantees, remarks, tuple(searches), _subject(chosen))


def stated_report(prior: Spec, noise: float | None, side: int) -> Report:
    """The constants of a prior as they are stated, without a search, and what follows for each method.

    Args:
        prior: The prior.
        noise: The level that it is matched to; ``None``: of several levels the middle one.
        side: Height and width of images.
    """
    chosen = prior_at(prior, noise, side)
    properties = chosen.prior.resolvent(1.0).properties
    follows = chosen.guides_itself and chosen.model is not None
    claimed = chosen.model.network.lipschitz_Q(chosen.model.level) if follows and chosen.model else None
    constants = {"lipschitz_Q": claimed or properties.lipschitz_Q, "resolvent_error": properties.error}
    identity = Identity(DEFAULT_SHAPE)
    pair = OperatorPair(identity, identity.properties, identity.properties.adjoint_gap)
    setting = f"as {chosen.spec}, with the identity as the operator; as a whole it was not searched"
    remarks = () if noise is None and "sigma" not in prior.options else chosen.remarks
    guarantees = _guarantees(pair, chosen.prior, remarks, GIVEN if follows else None)
    return Report(str(prior), setting, constants, guarantees, remarks, (), _subject(chosen))


def keep(report: Report) -> Constant | None:
    """Write what searches found of a network into the card of its folder, where a solve looks; return what it says.

    Nothing is written of what is packaged or proved, or no network: ``None``.

    Raises:
        InputError: The network was changed in the meantime, or its card is of another one.
        OutputError: The card cannot be written.
    """
    network = report.network
    if network is None or network.proved or not report.searches:
        return None
    records = [search.record for search in report.searches]
    known = keep_searches(network.folder, network.sha256, records, network.noise_range)
    kind = Measured if known["evidence"] == Evidence.MEASURED else Assumed
    return kind(known["value"], known["how"])


def _subject(chosen: ConfiguredPrior) -> Subject | None:
    model = chosen.model
    if model is None or chosen.spec.name != "folder":
        return None
    return Subject(model.files[0].parent, model.identity, model.searched_range, model.proved)


def _agree(values: list[float]) -> bool:
    """Whether the ends of a range of levels and the middle have the same quotient, so that others can be left out."""
    return len(values) >= 3 and max(values) - min(values) <= _AGREE * max(values)


def _progress(  # noqa: PLR0913, PLR0917  what is searched, and who hears of it
    candidates: list[ConfiguredPrior],
    extent: Extent,
    images: Mapping[str, Tensor],
    side: int | None,
    say: Notify,
    watch: ProgressCallback,
) -> Progress:
    extents = [each.model.extent(extent, images, side) for each in candidates if each.model is not None]
    work, count = sum(each.work(len(images)) for each in extents), sum(each.count(len(images)) for each in extents)
    return Progress(work, count, say, watch)


def images_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """Images by their numbers, as :func:`certify_prior` takes them; names stay out of what is published."""
    return {f"image {number}": io.to_tensor(io.read(file)) for number, file in enumerate(files, start=1)}


def _smallest(images: Mapping[str, Tensor], side: int | None) -> Shape | None:
    """(height, width) of the smallest image that is searched; ``None``: as large as the search chooses."""
    shapes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images.values()]
    return min(shapes + ([] if side is None else [(side, side)]), key=min, default=None)


def _candidates(prior: Spec, noise: float | None, shape: Shape | None) -> list[ConfiguredPrior]:
    """The prior on images of a shape, as stated or at each level at which it should be looked at."""
    setting = PriorContext(noise or ANY_NOISE, channels=None, blurs=False, image_shape=shape)
    first = read_prior(prior, setting)
    if noise is not None or "sigma" in prior.options or not first.levels:
        return [first]
    return [read_prior(prior, replace(setting, noise=level)) for level in first.levels]


def prior_at(prior: Spec, noise: float | None, side: int) -> ConfiguredPrior:
    """The prior on square images, as stated or, of several levels, at the middle one."""
    found = _candidates(prior, noise, (side, side))
    return found[min(2, len(found) - 1)]


def _searched(  # noqa: PLR0913, PLR0917  what is searched, and how
    chosen: ConfiguredPrior,
    seed: int,
    images: Mapping[str, Tensor],
    side: int | None,
    extent: Extent,
    progress: Progress,
) -> tuple[Measured, Sought | None]:
    if chosen.model is not None:
        return chosen.model.search(seed, images, chosen.model.extent(extent, images, side), progress)
    if images or side is not None:
        given = "an image to begin with" if images else f"{side} pixels as the side of what is searched"
        raise UsageError(f"{chosen.spec}: {given}; expected none, because only networks are searched so.")
    return attack(chosen.prior.resolvent(1.0), seed), None


def _remarks(asked: Spec, chosen: ConfiguredPrior) -> tuple[Remark, ...]:
    """Those on a level that the user stated: ``ANY_NOISE`` is nobody's."""
    return chosen.remarks if "sigma" in asked.options else ()


def _beyond_card(chosen: ConfiguredPrior, shape: Shape | None) -> tuple[Remark, ...]:
    least = chosen.least_side
    if least is None or shape is None or min(shape) >= least:
        return ()
    how = "the card of the network says nothing of so small images, and what was measured of larger ones is not of them"
    return (Remark("the side of what was searched", min(shape), least, math.inf, how),)


def _guarantees(
    pair: OperatorPair, prior: Prior, remarks: tuple[Remark, ...], given: Given | None = None
) -> tuple[Guarantee, ...]:
    return tuple(_guarantee(pair, prior, name, remarks, given) for name in with_prior())


def _guarantee(
    pair: OperatorPair, prior: Prior, name: str, remarks: tuple[Remark, ...], given: Given | None
) -> Guarantee:
    try:
        like = None if prior.synthesis is None else torch.zeros(1, 1, *DEFAULT_SHAPE)
        method = choose_method(pair, prior, name, noise=ANY_NOISE, like=like)  # the noise enters no condition
        if given is not None:
            method = replace(method, certificate=method.certificate.with_guide(given, ()))
        return Guarantee(name, method.remarked(remarks))
    except UsageError as error:
        return Guarantee(name, None, str(error))
