"""Training after another network: what it makes of the noisy patches is compared with, in place of the clean ones.

A penalty keeps Q nonexpansive against a loss that pulls the other way, because the network that fits the clean images
best is not nonexpansive. What a proved network does is: there both pull one way.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, final

import torch

from recon import catalogue
from recon.errors import UsageError
from recon.priors.networks import Config, ConvexRidge, InnerSolver, Network, load
from recon.training.losses import Sample

_ACCURACY = 2e-3
"""The bound of the error of a teacher's prox relative to ||y||: a fraction of what is left of the lowest noise."""

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
            UsageError: It has not the channels or the noise range of the student.
        """
        network = load(_folder(where)).frozen(torch.float32, device)
        known, wanted = network.config, (student.channels, student.noise_range)
        if (known.channels, known.noise_range) != wanted:
            raise UsageError(
                f"training.teacher = {where!r} has {known.channels} channels and noise_range = "
                f"{list(known.noise_range)}; expected {wanted[0]} and {list(wanted[1])}, as what follows it."
            )
        if isinstance(network, ConvexRidge):
            network.solver = InnerSolver(accuracy=_ACCURACY)
        return cls(network)

    @torch.no_grad()
    def shown(self, data: Sample) -> Sample:
        """The same patches, with the teacher's output as the target."""
        level = data.level if self.network.conditioned else None
        return replace(data, target=self.network(data.noisy, level))

    def fingerprint(self) -> torch.Tensor:
        """A number that tells its weights from others, ``(1,)``."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return torch.tensor([int.from_bytes(digest.digest()[:7], "big")])


def _folder(where: str) -> Path:
    name = where.removeprefix(_PACKAGED)
    packaged = catalogue.folders()
    if where.startswith(_PACKAGED) and name not in packaged:
        raise UsageError(f"training.teacher = {where!r}; expected one of {', '.join(sorted(packaged))}, or a folder.")
    return packaged[name] if where.startswith(_PACKAGED) else Path(where)
