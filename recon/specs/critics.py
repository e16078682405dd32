"""Convex critics as priors: the folder of a trained one, with a weight that follows the noise."""

from dataclasses import replace

from recon.errors import UsageError
from recon.methods.noise_levels import rounded
from recon.priors import Prior, box
from recon.priors.networks import critic_prior, load_convex_critic
from recon.priors.networks.files.store import DESCRIPTION, WEIGHTS
from recon.specs import options
from recon.specs.configured_prior import ConfiguredPrior, PriorContext
from recon.specs.grammar import Spec


def read_critic_prior(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    """The penalty that the folder of a convex critic describes: ``weight``, and the bounds ``low`` and ``high``.

    A weight that is left out is ``f E||A^T e|| / sqrt(N)``, with e the noise, N the pixels, and f what the training
    found; see :func:`recon.priors.networks.critic_prior`.

    Args:
        spec: The specification.
        setting: What the weight is matched to.

    Raises:
        UsageError: A value is outside its range, a noise level is missing, or the images have other channels.
        InputError: The folder is damaged.
    """
    options.expect_keys(spec, ("weight", "low", "high"), value="FOLDER")
    folder = spec.path(spec.value or "")
    critic = load_convex_critic(folder)
    wanted = critic.config.channels
    if setting.channels not in (None, wanted):
        raise UsageError(
            f"{spec}: the critic was made for images of {wanted} channel(s); expected the same of the measurement, "
            f"which has {setting.channels}."
        )
    if setting.image_shape is not None and min(setting.image_shape[-2:]) < critic.config.least_side:
        height, width = setting.image_shape[-2:]
        raise UsageError(
            f"{spec}: the image has {height} x {width} pixels; expected at least {critic.config.least_side} along each "
            "axis, because the layers of the critic stay inside of it."
        )
    weight = _weight(spec, setting, critic.config.factor)
    prior = critic_prior(critic, weight)
    chosen = replace(spec, options={**spec.options, "weight": repr(weight)})
    return ConfiguredPrior(chosen, _bounded(spec, prior), (folder / DESCRIPTION, folder / WEIGHTS))


def _weight(spec: Spec, setting: PriorContext, factor: float) -> float:
    if "weight" in spec.options:
        return options.positive(spec, "weight", high=1e6)
    if setting.back_noise is None:
        raise UsageError(
            f"{spec}: neither a weight nor a noise level above 0 is known; expected weight=W in it or --noise SIGMA."
        )
    return rounded(factor * setting.back_noise)


def _bounded(spec: Spec, prior: Prior) -> Prior:
    bounds = options.bounds(spec)
    return prior if bounds is None else replace(prior, constraint=box(*bounds))
