"""The table ``[unrolled]`` of a training: the operator that is undone, and the steps that undo it."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import torch

from recon.errors import UsageError
from recon.priors.networks import Config, ConvolutionalSparseCodingConfig, UnrolledConfig
from recon.priors.networks.layers.momentum import MEMORY, TOLERANCE, growth_of_rounding

if TYPE_CHECKING:
    from recon.training.config import Recipe

_OF_STEPS = ("steps", "method", "momentum", "gradient")
"""What the tables [unrolled] and [network] share."""


@final
@dataclass(frozen=True)
class UnrolledTrainingConfig:
    """The reconstruction that ``training.mode = "unrolled"`` trains, with ``network.family = "Unrolled"``.

    Clean patches are measured, with the noise ``training.noise``, and the reconstruction is compared with them. With
    ``ct:...`` the numbers are those of a solver: line integrals over the attenuation that becomes 1.

    Attributes:
        operator: Any operator of real images, as ``--operator`` takes it. It must take images of ``data.patch`` pixels,
            or of a cone volumes of so many rows and columns. Validation images are cut to the same size.
        steps: T.
        method: ``"forward-backward"``, ``"primal-dual"``, or ``"sparse-coding"``: each step codes the image in a
            dictionary of ``network.features`` atoms.
        momentum: b, of the momentum form; 0: each step is a residual one.
        gradient: What takes the residual of a step to an image: ``"adjoint"``, or of a scan ``"filtered"``
            back-projection; use it with ``momentum = 0``, as no step need go beyond 1.
        unit: What counts as 1 in the convolutions, on the scale of the images; 0: the root mean square error of the
            images that the steps start from, as the training finds it on its first patches.
        memory: What is kept for the backward pass: ``"checkpoint"`` (every sqrt(T)-th state), ``"momentum"`` (the last
            one, whatever T) or ``"plain"`` (everything).
    """

    operator: str = ""
    steps: int = 8
    method: str = "forward-backward"
    momentum: float = 0.8
    gradient: str = "adjoint"
    unit: float = 0.0
    memory: str = "checkpoint"


def with_steps_of(unrolled: UnrolledTrainingConfig, network: Config) -> Config:
    """The network with the steps of the table ``[unrolled]``, which are part of its architecture."""
    if not isinstance(network, UnrolledConfig):
        return network
    return replace(network, **{name: getattr(unrolled, name) for name in _OF_STEPS})


def refuse_other_steps(unrolled: UnrolledTrainingConfig, network: Config) -> None:
    """Refuse tables that contradict each other.

    Raises:
        UsageError: The table ``[network]`` states other steps than ``[unrolled]``.
    """
    if not isinstance(network, UnrolledConfig):
        return
    for name in _OF_STEPS:
        stated, wanted = getattr(network, name), getattr(unrolled, name)
        if stated not in (getattr(UnrolledConfig(), name), wanted):
            raise UsageError(
                f"network.{name} = {stated!r} and unrolled.{name} = {wanted!r}; expected it in [unrolled] alone."
            )


def check_unrolled(recipe: "Recipe") -> None:
    """Refuse what does not go together with an unrolled reconstruction, or needs one.

    Raises:
        UsageError: In one sentence.
    """
    network, training, unrolled = recipe.network, recipe.training, recipe.unrolled
    if isinstance(network, ConvolutionalSparseCodingConfig) and recipe.unrolls:
        raise UsageError(
            f"training.mode = {training.mode!r} and network.family = {network.family!r}; expected network.family = "
            '"Unrolled" with unrolled.method = "sparse-coding", because the steps go through the operator and give '
            "the family of a denoiser up."
        )
    if isinstance(network, UnrolledConfig) != recipe.unrolls:
        raise UsageError(
            f"training.mode = {training.mode!r} and network.family = {network.family!r}; expected mode = 'unrolled' "
            'with family = "Unrolled", and neither without the other.'
        )
    if not isinstance(network, UnrolledConfig):
        if unrolled != UnrolledTrainingConfig():
            raise UsageError(
                f"the table [unrolled] with training.mode = {training.mode!r}; expected mode = 'unrolled', because "
                "nothing is unrolled otherwise."
            )
        return
    if not unrolled.operator:
        raise UsageError('unrolled.operator is missing; expected an operator, as in operator = "ct:scan.toml".')
    for name in ("operator", "shape", "units", "unit"):
        if getattr(network, name) != getattr(UnrolledConfig(), name):
            raise UsageError(f"network.{name} = {getattr(network, name)!r}; expected none: the training fills it in.")
    if not 0 <= unrolled.unit < math.inf:
        raise UsageError(f"unrolled.unit = {unrolled.unit!r}; expected a positive number, or 0 for one that is found.")
    if unrolled.memory not in MEMORY:
        raise UsageError(f"unrolled.memory = {unrolled.memory!r}; expected {', '.join(MEMORY)}.")
    _check_inverse(unrolled)
    usual = (training.teacher, training.echo, training.precision, training.inner_steps) == ("", 1, "single", 0)
    if training.loss not in ("mse", "l1") or not usual:
        raise UsageError(
            f"training.loss = {training.loss!r}, teacher = {training.teacher!r}, precision = {training.precision!r}, "
            f"inner_steps = {training.inner_steps} with mode = 'unrolled'; expected 'mse' or 'l1', no teacher, "
            "'single' and 0, because reconstructions are compared with clean patches."
        )
    if recipe.penalty.weight or recipe.penalty.orthogonality:
        raise UsageError(
            "the table [penalty] with mode = 'unrolled'; expected none, because an unrolled reconstruction is no "
            "resolvent, whatever the norm of its derivative."
        )


def _check_inverse(unrolled: UnrolledTrainingConfig) -> None:
    if unrolled.memory != "momentum":
        return
    if unrolled.momentum == 0:
        raise UsageError(
            "unrolled.momentum = 0 with memory = 'momentum'; expected a momentum above 0, or memory = 'checkpoint', "
            "because the inverse of a step divides by it."
        )
    growth = growth_of_rounding(unrolled.steps, unrolled.momentum, torch.float64)
    if growth > TOLERANCE:
        raise UsageError(
            f"unrolled.steps = {unrolled.steps} and momentum = {unrolled.momentum:g} with memory = 'momentum' let "
            f"rounding grow to about {growth:.2g} of the state; expected at most {TOLERANCE:g}: a momentum nearer to "
            "1, fewer steps, or memory = 'checkpoint'."
        )
