"""Networks in folders: ``network.toml`` says what they are, ``weights.safetensors`` holds the numbers.

Nothing in a folder is executed, and nothing is trusted: the hash, the sizes, the names, the shapes and the numbers are
checked before a network is made.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from recon._suggest import suggestion
from recon._toml import read_fields, write_value
from recon.catalogue import read_description
from recon.errors import InputError, ReconError, UsageError
from recon.priors.networks.architectures.batch_ensemble import BatchEnsemble, BatchEnsembleConfig
from recon.priors.networks.architectures.convex_critic import ConvexCritic, ConvexCriticConfig
from recon.priors.networks.architectures.convex_ridge import ConvexRidge, ConvexRidgeConfig
from recon.priors.networks.architectures.convolutional_sparse_coding import (
    ConvolutionalSparseCoding,
    ConvolutionalSparseCodingConfig,
)
from recon.priors.networks.architectures.critic import Critic, CriticConfig
from recon.priors.networks.architectures.dncnn import DnCNN, DnCNNConfig
from recon.priors.networks.architectures.guided_ridge import GuidedRidge, GuidedRidgeConfig
from recon.priors.networks.architectures.lipschitz_network import LipschitzConfig, LipschitzNetwork
from recon.priors.networks.architectures.network import LATER, Config, Model, Network
from recon.priors.networks.architectures.unrolled import Unrolled, UnrolledConfig
from recon.priors.networks.files.packed import pack, unpack
from recon.priors.networks.files.safetensors import decode, encode, read_bytes

_Built = TypeVar("_Built", bound=Model)

DESCRIPTION = "network.toml"
WEIGHTS = "weights.safetensors"
FORMAT = 2
"""Raised when a key changes its meaning: from 2 on the hash is of the architecture too."""

_LARGEST = 4096
"""Of a number in an architecture."""

_CONFIGS: dict[str, type[Config]] = {
    "DnCNN": DnCNNConfig,
    "Lipschitz": LipschitzConfig,
    "ConvexRidge": ConvexRidgeConfig,
    "GuidedRidge": GuidedRidgeConfig,
    "BatchEnsemble": BatchEnsembleConfig,
    "ConvolutionalSparseCoding": ConvolutionalSparseCodingConfig,
    "Critic": CriticConfig,
    "ConvexCritic": ConvexCriticConfig,
    "Unrolled": UnrolledConfig,
}


def make(config: Config) -> Network:
    """The network of an architecture, with the weights that training starts from.

    Raises:
        UsageError: The architecture is not valid, or that of a critic, which is no resolvent.
    """
    if isinstance(config, CriticConfig):
        raise UsageError("make: a Critic judges images; expected the architecture of a denoiser: make_critic makes it.")
    if isinstance(config, ConvexCriticConfig):
        raise UsageError(
            "make: a ConvexCritic is a penalty; expected the architecture of a denoiser: make_convex_critic makes it."
        )
    if isinstance(config, UnrolledConfig):
        raise UsageError(
            "make: an Unrolled network reconstructs from measurements; expected the architecture of a denoiser: "
            "make_unrolled makes it."
        )
    if isinstance(config, DnCNNConfig):
        return DnCNN(config)
    if isinstance(config, BatchEnsembleConfig):
        return BatchEnsemble(config)
    if isinstance(config, LipschitzConfig):
        return LipschitzNetwork(config)
    if isinstance(config, GuidedRidgeConfig):
        return GuidedRidge(config)
    if isinstance(config, ConvexRidgeConfig):
        return ConvexRidge(config)
    if isinstance(config, ConvolutionalSparseCodingConfig):
        return ConvolutionalSparseCoding(config)
    raise UsageError(f"make: {type(config).__name__} is no architecture of this package; {suggestion('', _CONFIGS)}.")


def make_critic(config: Config) -> Critic:
    """The critic of an architecture, with the weights that training starts from.

    Raises:
        UsageError: The architecture is not valid, or that of a denoiser.
    """
    if not isinstance(config, CriticConfig):
        raise UsageError(f"make_critic: a {config.family} network is a denoiser; expected a Critic.")
    return Critic(config)


def make_convex_critic(config: Config) -> ConvexCritic:
    """The convex critic of an architecture, with the weights that training starts from.

    Raises:
        UsageError: The architecture is not valid, or another one.
    """
    if not isinstance(config, ConvexCriticConfig):
        raise UsageError(f"make_convex_critic: a {config.family} network is another one; expected a ConvexCritic.")
    return ConvexCritic(config)


def make_unrolled(config: Config) -> Unrolled:
    """The unrolled reconstruction of an architecture, with the weights that training starts from.

    Raises:
        UsageError: The architecture is not valid, or another one.
    """
    if not isinstance(config, UnrolledConfig):
        raise UsageError(f"make_unrolled: a {config.family} network is another one; expected Unrolled.")
    return Unrolled(config)


def save(network: Model, folder: str | Path, *, overwrite: bool = False, packed: bool = False) -> str:
    """Write a network to a folder, which is made if it is missing.

    Args:
        network: The network; what is kept is its parameters and its architecture.
        folder: The folder.
        overwrite: Whether a network that is there may be replaced.
        packed: Whether tensors with many zeros are stored as :mod:`.packed` has it; versions before 0.7.0 refuse them.

    Returns:
        The sha256 of the weights with the architecture, which a card states that is of this network.

    Raises:
        OutputError: Something cannot, or must not, be written.
    """
    from recon.io.atomic import check_output, replacing  # noqa: PLC0415  see safetensors.py

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, DESCRIPTION):
        check_output(target / name, overwrite=overwrite)
    state = network.state_dict()
    weights = encode(pack(state) if packed else state)
    with replacing(target / WEIGHTS, overwrite=overwrite) as temporary:
        temporary.write_bytes(weights)
    description = describe(network.config, weights)
    with replacing(target / DESCRIPTION, overwrite=overwrite) as temporary:
        temporary.write_text(description, encoding="utf-8")
    return fingerprint(network.config.family, dataclasses.asdict(network.config), weights)


def load(folder: str | Path) -> Network:
    """The network in a folder, in evaluation mode.

    Raises:
        InputError: A file is missing, too large or damaged, the weights or the architecture are not those that were
            written, or do not belong to each other, the weights hold NaN or infinity, or it is a critic.
    """
    path = Path(folder)
    config, tensors = _read(path)
    if isinstance(config, CriticConfig):
        raise InputError(
            f"{path}: the network is a critic, which judges images; expected a denoiser, or a ConvexCritic, because as "
            "a penalty this one would be neither convex nor smooth (--alarm takes it)."
        )
    if isinstance(config, ConvexCriticConfig):
        raise InputError(
            f"{path}: the network is a convex critic, which is a penalty and no resolvent; expected a denoiser "
            f"(--prior {path} takes it)."
        )
    if isinstance(config, UnrolledConfig):
        raise InputError(
            f"{path}: the network is an unrolled reconstruction, which takes measurements; expected a denoiser "
            f"(--method unrolled:folder={path} takes it)."
        )
    return with_weights(config, tensors, str(path / WEIGHTS))


def load_unrolled(folder: str | Path) -> Unrolled:
    """The unrolled reconstruction in a folder, in evaluation mode.

    Raises:
        InputError: As of :func:`load`; or it is another network.
    """
    path = Path(folder)
    config, tensors = _read(path)
    if not isinstance(config, UnrolledConfig):
        raise InputError(
            f"{path}: the network is a {config.family}; expected an unrolled reconstruction, as recon train makes one "
            'with mode = "unrolled".'
        )
    return _filled(make_unrolled, config, tensors, str(path / WEIGHTS))


def load_convex_critic(folder: str | Path) -> ConvexCritic:
    """The convex critic in a folder, in evaluation mode.

    Raises:
        InputError: As of :func:`load`; or it is another network.
    """
    path = Path(folder)
    config, tensors = _read(path)
    if not isinstance(config, ConvexCriticConfig):
        raise InputError(
            f"{path}: the network is a {config.family}; expected a convex critic, as recon train makes one with "
            'family = "ConvexCritic".'
        )
    critic = _filled(make_convex_critic, config, tensors, str(path / WEIGHTS))
    critic.check_weights()
    return critic


def load_critic(folder: str | Path) -> Critic:
    """The critic in a folder, in evaluation mode.

    Raises:
        InputError: As of :func:`load`; or it is a denoiser.
    """
    path = Path(folder)
    config, tensors = _read(path)
    if not isinstance(config, CriticConfig):
        kind = "a penalty (--prior takes it)" if isinstance(config, ConvexCriticConfig) else "a denoiser"
        raise InputError(
            f"{path}: the network is a {config.family}, {kind}; expected a critic, as recon train makes one with "
            'family = "Critic".'
        )
    return _filled(make_critic, config, tensors, str(path / WEIGHTS))


def _read(path: Path) -> tuple[Config, dict[str, Tensor]]:
    """The architecture and the weights in a folder, which belong to each other."""
    table = read_description(path)
    config = read_config(table, str(path / DESCRIPTION))
    content = read_bytes(path / WEIGHTS)
    found = fingerprint(config.family, table["architecture"], content)
    if found != table["sha256"]:
        raise InputError(
            f"{path}: the weights and the architecture have sha256 {found[:16]}..; expected "
            f"{str(table['sha256'])[:16]}.., as {DESCRIPTION} says: one of them was changed or cut off, or is of "
            "another network."
        )
    return config, decode(content, str(path / WEIGHTS))


def fingerprint(family: str, stated: object, weights: bytes) -> str:
    """The sha256 of the weights with the architecture as it is stated: what is known of a network is known of both."""
    architecture = json.dumps({"family": family, "architecture": stated})
    return hashlib.sha256(hashlib.sha256(weights).digest() + architecture.encode()).hexdigest()


def with_weights(config: Config, tensors: dict[str, Tensor], origin: str) -> Network:
    """The network of an architecture with given weights; an error begins with ``origin``.

    Raises:
        InputError: The architecture is not valid, or the weights are not of it.
    """
    return _filled(make, config, tensors, origin)


def _filled(build: Callable[[Config], _Built], config: Config, tensors: dict[str, Tensor], origin: str) -> _Built:
    try:
        with torch.device("meta"):  # sizes only: nothing is allocated before they are compared
            wanted = build(config).state_dict()
    except UsageError as error:
        raise InputError(f"{origin}: the architecture is not valid: {error}") from error
    tensors = unpack(tensors, {name: tensor.shape for name, tensor in wanted.items()}, origin)
    for name in sorted(wanted.keys() ^ tensors.keys()):
        side = "is missing" if name in wanted else "belongs to another architecture"
        raise InputError(f"{origin}: the tensor {name!r} {side}; expected the weights of a {config.family} network.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or not tensor.is_floating_point():
            raise InputError(
                f"{origin}: the tensor {name!r} has shape {tuple(tensor.shape)} and type {tensor.dtype}; expected "
                f"{tuple(wanted[name].shape)} real numbers, as the architecture says."
            )
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{origin}: the tensor {name!r} holds NaN or infinity; expected finite weights.")
    network = build(config)
    network.load_state_dict(tensors)
    return network.eval()


def describe(config: Config, weights: bytes) -> str:
    """The text of ``network.toml``."""
    stated = dataclasses.asdict(config)
    sha256 = fingerprint(config.family, stated, weights)
    lines = [f"{name} = {write_value(value)}" for name, value in stated.items()]
    head = [f"format = {FORMAT}", f'family = "{config.family}"', f'sha256 = "{sha256}"', "", "[architecture]"]
    return "\n".join([*head, *lines, ""])


def read_config(table: dict[str, object], origin: str) -> Config:
    """The architecture that a description states.

    Raises:
        InputError: A key is unknown, missing or of the wrong kind, or a number is too large.
    """
    _expect(table, ("format", "family", "sha256", "architecture"), origin)
    if table["format"] != FORMAT:
        raise InputError(f"{origin}: format = {table['format']!r}; expected {FORMAT}, the one that this version reads.")
    family, stated = table["family"], table["architecture"]
    if not isinstance(family, str) or family not in _CONFIGS:
        raise InputError(f"{origin}: the family {family!r} is unknown; {suggestion(str(family), _CONFIGS)}.")
    if not isinstance(stated, dict):
        raise InputError(f"{origin}: architecture = {stated!r}; expected a table.")
    fields = dataclasses.fields(_CONFIGS[family])
    later = tuple(field.name for field in fields if LATER in field.metadata)
    _expect(stated, tuple(field.name for field in fields), origin, later)
    return architecture(family, stated, origin, InputError)


def architecture(family: str, stated: dict[str, object], origin: str, failure: type[ReconError] = UsageError) -> Config:
    """The architecture of a family with what is stated of it, and defaults for the rest; not yet checked.

    Raises:
        ReconError: Of the class ``failure``: the family or a key is unknown, or a value of another type or too large.
    """
    if family not in _CONFIGS:
        raise failure(f"{origin}: the family {family!r} is unknown; {suggestion(family, _CONFIGS)}.")
    values = read_fields(_CONFIGS[family], stated, origin, failure, _LARGEST)
    return _CONFIGS[family](**values)


def _expect(table: dict[str, object], names: tuple[str, ...], origin: str, later: tuple[str, ...] = ()) -> None:
    """Refuse keys that are unknown or missing; those of ``later`` are not in the files of earlier versions."""
    for name in sorted(table.keys() - set(names)):
        raise InputError(f"{origin}: the key {name!r} is unknown; {suggestion(name, names)}.")
    for name in names:
        if name not in table and name not in later:
            raise InputError(f"{origin}: the key {name!r} is missing; expected {', '.join(names)}.")
