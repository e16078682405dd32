"""Training with a teacher: its outputs on the noisy patches take the place of the clean patches.

A penalty keeps Q nonexpansive against a loss that pulls the other way, because the network that fits the clean images
best is not nonexpansive. What a proved network does is: there both pull one way.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Self, final

import torch

from recon.errors import UsageError
from recon.priors.networks import Config, InnerSolver, Network, load
from recon.training.adapt import folder_of
from recon.training.sample import Sample

_ACCURACY = 2e-3
"""The bound of the error of a teacher's prox relative to ||y||: a fraction of what is left of the lowest noise."""

_SLACK = 0.01
"""By how much a noise range may leave the teacher's, as decimals are rounded."""

_PACKAGED = "model:"


@final
@dataclass(frozen=True)
class Teacher:
    """A network that is followed and not trained."""

    network: Network

    @classmethod
    def of(cls, where: str, student: Config, device: torch.device) -> Self:
        """The packaged network ``model:NAME``, or that of a folder.

        Raises:
            InputError: There is none.
            UsageError: It has not the channels of the student, or does not cover its noise range.
        """
        network = load(folder_of(where, "training.teacher")).frozen(torch.float32, device)
        known = network.config
        (low, high), (lowest, highest) = student.noise_range, known.noise_range
        if known.channels != student.channels or low < lowest * (1 - _SLACK) or high > highest * (1 + _SLACK):
            raise UsageError(
                f"training.teacher = {where!r} is for {known.channels} channel(s) and noise of {lowest:g} to "
                f"{highest:g}; expected {student.channels} and at least {low:g} to {high:g}, as the network that is to "
                "follow it."
            )
        if network.iterates:
            network.solver = InnerSolver(accuracy=_ACCURACY)
        return cls(network)

    @torch.no_grad()
    def shown(self, data: Sample) -> Sample:
        """Return the same patches with the output of the teacher as the target."""
        level = data.level if self.network.conditioned else None
        return replace(data, target=self.network(data.noisy, level))

    def fingerprint(self) -> torch.Tensor:
        """A number that tells its weights from others, ``(1,)``."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return torch.tensor([int.from_bytes(digest.digest()[:7], "big")])
