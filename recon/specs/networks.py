"""Learned priors: a packaged network by name, or a folder that holds one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from recon._suggest import unknown_name
from recon.catalogue import folders, identity_of
from recon.certificates import Remark
from recon.certificates.lipschitz_search import LipschitzLowerBound, jacobian_norm, reconcile_constant
from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Measured
from recon.methods.network_search import (
    POTENTIAL,
    PROVED,
    SPARSE,
    WHOLE,
    Extent,
    Progress,
    Sought,
    search_network,
)
from recon.methods.noise_levels import adaptation_of, is_plain, is_potential, rounded
from recon.methods.regularisation_weights import (
    CALIBRATED,
    STEP_CALIBRATED,
    code_weight,
    free_stepsize,
    guided_factor,
    potential_weight,
    projected_potential_weight,
)
from recon.priors import GuidedPrior, Prior, box, weighted_prior
from recon.priors.networks import (
    PRECISIONS,
    BatchEnsemble,
    Claim,
    ConvolutionalSparseCoding,
    GuidedRidge,
    Network,
    claim_of,
    dictionary_prior,
    guided_prior,
    learned_prior,
    load,
)
from recon.priors.networks.files.store import DESCRIPTION, WEIGHTS
from recon.priors.networks.learned_resolvent import ACCURACY
from recon.priors.total_variation import FLAT
from recon.specs import options
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec

LARGEST_LEVEL = 10.0
"""Of a noise level, on the [0, 1] scale of the images."""


@dataclass(frozen=True)
class Model:
    """A network at a noise level, as a prior.

    Attributes:
        spec: The specification, with what was matched to the noise.
        prior: The prior.
        network: The network.
        level: What the network is told of the noise; ``None`` where it is made for one level.
        files: What was read.
        exact: The same prior without rounding, where ``prior`` has layers in half precision; else ``None``.
        remarks: What of the choice is outside of what the network was made for.
        share: What the prior takes away, of what the network does; see :func:`recon.priors.relaxed`.
        stepsize: What the level is matched to, where any step size converges.
        claim: What its card says was measured, of a network without a proof.
        identity: The sha256 of its weights and its architecture.
        guided: What gives the prior once there is a guide, of a network that takes one; ``prior`` is then the one
            without.
        advice: What a user should know of the choice, in a clause, or nothing.
    """

    spec: Spec
    prior: Prior
    network: Network
    level: float | None
    files: tuple[Path, ...]
    exact: Prior | None = None
    remarks: tuple[Remark, ...] = ()
    share: float = 1.0
    stepsize: float | None = None
    claim: Claim | None = None
    identity: str = ""
    guided: GuidedPrior | None = None
    advice: str = ""

    @property
    def note(self) -> str:
        """A remark on the choice, or nothing; the certificate says what is done."""
        said = [remark.warning for remark in self.remarks] + ([self.advice] if self.advice else [])
        return "; ".join(f"{self.spec}: {each}" for each in said)

    @property
    def proved(self) -> bool:
        """Whether the weights prove what is said of Q."""
        return self.network.lipschitz_Q(self.level).evidence is Evidence.PROVED

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels to look at where none is stated: one where a proof holds for all, or where it is told none.

        Else five, both ends of its range first.
        """
        low, high = self.network.config.noise_range
        if not 0 < low < high:
            return (high,) if high else ()
        levels = tuple(rounded(low * (high / low) ** share) for share in (0, 1, 0.5, 0.25, 0.75))
        if self.network.lipschitz_Q(levels[2]).evidence is Evidence.PROVED:
            return (levels[2],)
        return levels if self.network.conditioned else (high,)

    @property
    def searched_range(self) -> tuple[float, float]:
        """The ends of the levels at which Q differs."""
        low, high = self.network.config.noise_range
        return (low if self.network.conditioned else high, high)

    def extent(self, wanted: Extent, images: Mapping[str, Tensor], side: int | None = None) -> Extent:
        """Return what is searched: of a network with a proof little, and on no side of which its card does not speak.

        Args:
            wanted: Of a network without a proof.
            images: What to begin with besides.
            side: Height and width of what is searched; ``None``: those of the extent that the smallest image has.
        """
        if self.proved:
            wanted = POTENTIAL if self.network.iterates else PROVED
            wanted = SPARSE if self.network.iterates and isinstance(self.network, ConvolutionalSparseCoding) else wanted
        least = 0 if self.claim is None else self.claim.least_side
        larger = tuple(each for each in wanted.sides if each >= least) or (least,)
        return replace(wanted, sides=larger).within(side, images)

    def search(
        self, seed: int, images: Mapping[str, Tensor], extent: Extent = WHOLE, progress: Progress | None = None
    ) -> tuple[Measured, Sought]:
        """The largest Lipschitz quotient of Q that a search finds, and each search of the network.

        Scaling and a weight leave that of the network as it is.

        Args:
            seed: Of what is random.
            images: What to begin with besides, each ``(1, channels, height, width)``; they are looked through for
                where the derivative is largest.
            extent: What is searched.
            progress: Sees how far it is.

        Raises:
            UsageError: They have other channels than the network.
            GuaranteeError: It exceeds what is said to be proved.
        """
        channels = self.network.config.channels
        for name, image in images.items():
            if image.shape[1] != channels or image.is_complex():
                raise UsageError(f"{name} has {image.shape[1]} channel(s); expected {channels}, as the network.")
        sought = search_network(self.network, self.level, extent, images, seed, progress)
        found = sought.hardest
        reconcile_constant(self.network.lipschitz_Q(self.level), found)
        return (found.quotient if self.share == 1 else self._of_share(found)), sought

    def _of_share(self, found: LipschitzLowerBound) -> Measured:
        """Of ``(1 - a) Id + a Q``: a mean with 1, which bounds it, or where Q expands the quotient of that pair."""
        known, share = found.quotient, self.share
        mean, error = 1 - share + share * min(known.value, 1.0), share * known.error
        how = f"{share:.3g} of what a search found of the network, {known.value:.6g}, and the rest 1; {known.how}"
        if known.value <= 1:
            return Measured(mean, how, error)
        twin = self.network.frozen()
        if torch.equal(found.x, found.y):
            along = twin.derivative(found.x, self.level)
            _, h = jacobian_norm(along, found.x)
            image = along.forward(h)
        else:
            h = found.y - found.x
            image = twin.Q(found.y, self.level) - twin.Q(found.x, self.level)
        seen = float(torch.linalg.vector_norm((1 - share) * h + share * image) / torch.linalg.vector_norm(h))
        return Measured(max(seen, mean), how, error)


def read_model(spec: Spec, setting: PriorContext) -> Model:
    """The learned prior that ``model:NAME`` or a folder describes.

    A network is used at the level ``sigma``, which is the noise level unless given; one that is a single resolvent,
    with an operator, at twice the noise that a step leaves in the pixels (Pesquet, Repetti, Terris, Wiaux 2021), or
    where the step size is free in the middle of its range, to which the step is matched.

    Outside of the range that it was made for, it is used as :func:`recon.methods.noise_levels.adaptation_of` says.

    ``weight`` multiplies the potential of a prox: 1 is right for noise in the pixels themselves; where the operator
    mixes them, the potential is taken inside of its range, and the weight is matched to the noise.
    ``precision=bfloat16`` evaluates the layers in it; see :func:`recon.priors.networks.learned_resolvent`.

    Args:
        spec: The specification.
        setting: What it is matched to.

    Raises:
        UsageError: There is no such model, a value is outside its range, a noise level is missing, or the images have
            other channels.
        InputError: The folder holds no network, or a damaged one.
    """
    known = ("sigma", "weight", "low", "high", "precision", "guided_weight", "member", "synthesis", "lattices")
    options.expect_keys(spec, known, value="NAME" if spec.name == "model" else "FOLDER")
    folder = network_folder(spec)
    network = _member(spec, load(folder))
    wanted = network.config.channels
    if setting.channels is not None and setting.channels != wanted:
        kinds = {1: "grey", 3: "colour"}
        raise UsageError(
            f"{spec}: the network was made for {kinds.get(wanted, wanted)} images; expected one for "
            f"{kinds.get(setting.channels, setting.channels)} images, as the measurement has {setting.channels} "
            "channel(s)."
        )
    if options.truth(spec, "synthesis", _prefers_coefficients(spec, setting, network)):
        return _of_coefficients(spec, setting, network, folder)
    if "lattices" in spec.options:
        raise UsageError(f"{spec}: lattices without synthesis=true; expected both, as only coefficients lie on them.")
    sigma, weight = _matched(spec, setting, network)
    if weight is not None and "weight" not in spec.options:
        spec = replace(spec, options={**spec.options, "weight": repr(rounded(weight))})
    sigma = rounded(sigma)  # so that the record's text gives the very same level
    use = adaptation_of(network, sigma)
    told = use.level if network.conditioned else None
    without_claim = network.lipschitz_Q(told).evidence is Evidence.PROVED or "member" in spec.options
    claim = None if without_claim else claim_of(folder)
    measured = None if claim is None else claim.on(setting.image_shape)
    guided = None
    if isinstance(network, GuidedRidge):
        if options.choice(spec, "precision", tuple(PRECISIONS), "float32") != "float32":
            raise UsageError(f"{spec}: a guided network in half precision; expected float32, because it is iterated.")
        matched = weight is not None and setting.noise and setting.column_norm is None
        if matched and "guided_weight" not in spec.options:
            factor = rounded(guided_factor(setting.noise or 1.0))
            spec = replace(spec, options={**spec.options, "guided_weight": repr(factor)})
        guided = _guided(use.of_guided(guided_prior(network, told, accuracy=ACCURACY * setting.coarser)), spec, network)
        if "guided_weight" in spec.options:
            guided = guided.stronger(options.positive(spec, "guided_weight", high=1e6))
    elif "guided_weight" in spec.options:
        raise UsageError(
            f"{spec}: guided_weight with a {network.config.family} network; expected none, because it takes no guide."
        )
    exact = use.of(learned_prior(network, told, measured=measured)) if guided is None else guided.unguided
    exact = exact if guided is not None else _bounded(spec, _weighted(spec, exact, network), network)
    precision = options.choice(spec, "precision", tuple(PRECISIONS), "float32")
    halved = None if precision == "float32" else use.of(_in_precision(spec, network, told, measured, precision))
    chosen = replace(spec, options={**spec.options, "sigma": repr(sigma)})
    files, remarks = (folder / DESCRIPTION, folder / WEIGHTS), use.remarks(network)
    if weight is not None and setting.column_norm is None:
        remarks += _calibration_remarks("weight", setting.noise, CALIBRATED)
    stepsize = _stepsize(setting, network)
    if stepsize is not None:
        remarks += _calibration_remarks("step size", setting.noise, STEP_CALIBRATED)
    prior, precise = (exact, None) if halved is None else (halved, exact)
    return Model(
        chosen, prior, network, told, files, precise, remarks, use.share, stepsize, claim, identity_of(folder), guided
    )  # fmt: skip


def _prefers_coefficients(spec: Spec, setting: PriorContext, network: Network) -> bool:
    """Return whether the coefficients of a network are the unknowns where nothing is said of it.

    They are where the method takes them: it is hundreds of times faster than solving for a code in each step.
    """
    able = isinstance(network, ConvolutionalSparseCoding) and network.iterates and network.config.layers == 1
    of_images = len(setting.spacing) == len(FLAT) and not _OF_IMAGES & {*spec.options}
    return able and of_images and setting.takes_coefficients


_NOT_FOR_SCANS = (
    "sparse codes are a prior for blurred images and for missing pixels, and not for projections, whose streaks are "
    "larger than an atom and which take thousands of steps; tv is nearer to the truth"
)

_OF_IMAGES = frozenset(("low", "high", "precision", "guided_weight", "member"))
"""Options of which none goes with coefficients."""


def _of_coefficients(spec: Spec, setting: PriorContext, network: Network, folder: Path) -> Model:
    """The penalty of the coefficients of a sparse coding network, with a weight that follows the noise."""
    for key in ("low", "high", "precision", "guided_weight"):
        if key in spec.options:
            raise UsageError(
                f"{spec}: {key} with synthesis=true; expected sigma and weight only, because the unknowns are "
                "coefficients in single precision, without bounds."
            )
    if len(setting.spacing) > len(FLAT):
        raise UsageError(f"{spec}: synthesis=true for a volume; expected images, because atoms are pictures.")
    noise = None if setting.noise is None else setting.noise / (setting.column_norm or 1.0)
    low, high = network.config.noise_range
    if "sigma" in spec.options:
        sigma = options.positive(spec, "sigma", high=LARGEST_LEVEL)
    elif noise:
        sigma = rounded(min(max(noise, low), high))
    else:
        raise UsageError(f"{spec}: a learned prior needs a noise level above 0; expected sigma=S in it or --noise S.")
    mixed = setting.blurs and setting.column_norm is None  # many views see the pixels nearly one by one
    matched = 1.0 if not setting.noise else rounded(code_weight(setting.noise, sigma, mixed))
    weight = options.positive(spec, "weight", matched, high=1e6)
    lattices = None if "lattices" not in spec.options else options.integer(spec, "lattices", low=1, high=4096)
    try:
        prior = dictionary_prior(network, sigma, weight, lattices)
    except UsageError as error:
        raise UsageError(f"{spec}: {error}") from error
    assert prior.synthesis is not None  # noqa: S101  which makes it the prior that it is
    given = {"synthesis": "true", "sigma": repr(sigma), "weight": repr(weight)}
    given["lattices"] = str(prior.synthesis.lattices)
    chosen = replace(spec, options={**spec.options, **given})
    told, files = sigma if network.conditioned else None, (folder / DESCRIPTION, folder / WEIGHTS)
    advice = "" if setting.column_norm is None else _NOT_FOR_SCANS
    return Model(chosen, prior, network, told, files, identity=identity_of(folder), advice=advice)


def _member(spec: Spec, network: Network) -> Network:
    """The network, or the member of it that the specification names."""
    if "member" not in spec.options:
        return network
    if not isinstance(network, BatchEnsemble):
        raise UsageError(
            f"{spec}: member with a {network.config.family} network; expected a BatchEnsemble, as others have none."
        )
    return network.member(options.integer(spec, "member", low=1, high=network.config.members))


def _guided(guided: GuidedPrior, spec: Spec, network: Network) -> GuidedPrior:
    """The guided prior with the weight and the bounds that the specification states."""
    return guided.each(partial(_stated, spec, network))


def _stated(spec: Spec, network: Network, prior: Prior) -> Prior:
    return _bounded(spec, _weighted(spec, prior, network), network)


def _calibration_remarks(what: str, noise: float | None, calibrated: tuple[float, float]) -> tuple[Remark, ...]:
    low, high = calibrated
    if noise is None or low <= noise <= high:
        return ()
    how = f"the rule of the {what} was not looked at there; the theorem is what it was"
    return (Remark(f"the noise level that the {what} follows", noise, low, high, how),)


def _in_precision(
    spec: Spec, network: Network, level: float | None, measured: Measured | Assumed | None, precision: str
) -> Prior:
    try:
        return learned_prior(network, level, measured=measured, precision=precision)
    except UsageError as error:
        raise UsageError(f"{spec}: {error}") from error


def _matched(spec: Spec, setting: PriorContext, network: Network) -> tuple[float, float | None]:
    """The level and, for a potential, what it is multiplied by; ``None``: by nothing."""
    if "sigma" in spec.options:
        return options.positive(spec, "sigma", high=LARGEST_LEVEL), None
    if setting.noise is None:
        raise UsageError(f"{spec}: a learned prior needs a noise level; expected sigma=S in it or --noise SIGMA.")
    if not setting.noise:
        raise UsageError(f"{spec}: the noise is 0; expected a level above 0, because a learned prior is matched to it.")
    if not is_potential(network):
        if setting.unit_noise is not None and is_plain(network):
            return _usual(network, setting.noise), None
        return (setting.noise if setting.step_noise is None else 2 * setting.step_noise), None
    low, high = network.config.noise_range
    if setting.column_norm is not None:
        level = rounded(min(max(setting.noise / setting.column_norm, low), high))
        return level, projected_potential_weight(setting.noise, setting.column_norm, level)
    if not setting.blurs:
        return setting.noise, None
    level = rounded(min(max(setting.noise, low), high))
    return level, potential_weight(setting.noise, level)


def _usual(network: Network, noise: float) -> float:
    """The level at which a single resolvent is used where the step size is free: the middle of its range."""
    low, high = network.config.noise_range
    return math.sqrt(low * high) if low else noise


def _stepsize(setting: PriorContext, network: Network) -> float | None:
    """The step size that suits the usual level, whatever level was asked for."""
    if not setting.noise or setting.unit_noise is None or not is_plain(network):
        return None
    return free_stepsize(_usual(network, setting.noise), setting.noise, setting.unit_noise)


def network_folder(spec: Spec) -> Path:
    """The folder that ``model:NAME`` or a folder names.

    Raises:
        UsageError: There is no such model.
    """
    if spec.name == "folder":
        return spec.path(spec.value or "")
    known = folders()
    if spec.value not in known:
        if not known:
            raise UsageError(f"{spec}: no network is packaged with this version; expected the folder of a trained one.")
        raise unknown_name(spec.value or "", known, "packaged model")
    return known[spec.value]


def _weighted(spec: Spec, prior: Prior, network: Network) -> Prior:
    if "weight" not in spec.options:
        return prior
    weight = options.positive(spec, "weight", high=1e6)
    if not is_potential(network):
        raise UsageError(
            f"{spec}: weight={weight:g} with a {network.config.family} network; expected none, because it is a single "
            "resolvent and no potential that can be multiplied: sigma says how much it smooths."
        )
    return weighted_prior(prior, weight)


def _bounded(spec: Spec, prior: Prior, network: Network) -> Prior:
    bounds = options.bounds(spec)
    if bounds is None:
        return prior
    if not is_potential(network):
        raise UsageError(
            f"{spec}: bounds with a {network.config.family} network; expected none, because it is a single resolvent: "
            "--method davis_yin keeps an image in [0, 1]."
        )
    return replace(prior, constraint=box(*bounds))
