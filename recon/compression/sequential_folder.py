"""Sequential networks in folders: ``layers.json`` names the layers, ``weights.safetensors`` holds the numbers.

Nothing in a folder is executed, and kinds, sizes, names, shapes and numbers are checked before a layer is made.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recon._suggest import suggestion
from recon.compression.flexible import FlexibleActivation
from recon.compression.sequential import flat
from recon.errors import InputError, UsageError
from recon.io import replacing
from recon.priors.networks.files.packed import pack, unpack
from recon.priors.networks.files.safetensors import decode, encode, read_bytes
from recon.priors.networks.files.store import WEIGHTS

LAYERS = "layers.json"
_FORMAT, _MOST_LAYERS, _LARGEST, _MOST_BYTES = 1, 1000, 65536, 2**20

_Check = Callable[[Any], bool]


def _size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST


def _pair(value: Any, least: int = 1) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(v) is int and least <= v <= _LARGEST for v in value)


def _padding(value: Any) -> bool:
    return value in ("same", "valid") or _pair(value, 0)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _flag(value: Any) -> bool:
    return type(value) is bool


_SHARED: dict[str, _Check] = {"kernel_size": _pair, "stride": _pair, "padding": _padding, "dilation": _pair,
                              "padding_mode": lambda value: value in ("zeros", "circular"), "bias": _flag}  # fmt: skip

_KINDS: dict[str, tuple[type[nn.Module], Mapping[str, _Check]]] = {
    "Conv2d": (nn.Conv2d, {"in_channels": _size, "out_channels": _size, **_SHARED}),
    "Linear": (nn.Linear, {"in_features": _size, "out_features": _size, "bias": _flag}),
    "FlexibleActivation": (FlexibleActivation, {"channels": _size, "pieces": _size}),
    "Flatten": (nn.Flatten, {}),
    "Identity": (nn.Identity, {}),
    "ReLU": (nn.ReLU, {}),
    "ReLU6": (nn.ReLU6, {}),
    "Tanh": (nn.Tanh, {}),
    "Sigmoid": (nn.Sigmoid, {}),
    "Softsign": (nn.Softsign, {}),
    "Softplus": (nn.Softplus, {"beta": _number, "threshold": _number}),
    "LeakyReLU": (nn.LeakyReLU, {"negative_slope": _number}),
    "Hardtanh": (nn.Hardtanh, {"min_val": _number, "max_val": _number}),
    "Softshrink": (nn.Softshrink, {"lambd": _number}),
    "ELU": (nn.ELU, {"alpha": _number}),
    "PReLU": (nn.PReLU, {"num_parameters": _size}),
    "Softmax": (nn.Softmax, {"dim": lambda value: value == 1}),
}
"""What :func:`recon.compression.compress` takes and makes, with the arguments that say which one it is."""


def save_sequential(network: nn.Sequential, folder: Path, *, packed: bool = False) -> str:
    """Write a network to a folder that is there; its modules are flat in it. Return the sha256 of both files.

    Raises:
        OutputError: It cannot be written.
        UsageError: It has a module of another kind.
    """
    modules = [module for _, module in flat(network)]
    text = json.dumps({"format": _FORMAT, "layers": [_described(module) for module in modules]}, indent=1)
    state = nn.Sequential(*modules).state_dict()
    weights = encode(pack(state) if packed else state)
    with replacing(folder / LAYERS, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(folder / WEIGHTS, overwrite=True) as temporary:
        temporary.write_bytes(weights)
    return hashlib.sha256(weights + text.encode()).hexdigest()


def _described(module: nn.Module) -> dict[str, object]:
    kind = type(module).__name__
    if kind not in _KINDS or type(module) is not _KINDS[kind][0]:
        raise UsageError(f"{kind} is not stored; {suggestion(kind, _KINDS)}.")
    found: dict[str, object] = {"kind": kind}
    for name in _KINDS[kind][1]:
        value = getattr(module, name)
        found[name] = value is not None if name == "bias" else list(value) if isinstance(value, tuple) else value
    return found


def load_sequential(folder: str | Path) -> nn.Sequential:
    """The network in a folder that ``recon compress python:FILE.py:CALLABLE`` wrote, in evaluation mode.

    Args:
        folder: The folder.

    Raises:
        InputError: A file is missing, too large or damaged, or the weights are not of these layers.
    """
    path = Path(folder)
    stated = _read(path / LAYERS)
    try:
        with torch.device("meta"):  # sizes only: nothing is allocated before they are compared
            wanted = nn.Sequential(*(_made(entry) for entry in stated)).state_dict()
    except UsageError as error:
        raise InputError(f"{path / LAYERS}: {error}") from error
    origin = str(path / WEIGHTS)
    tensors = unpack(decode(read_bytes(path / WEIGHTS), origin), {k: v.shape for k, v in wanted.items()}, origin)
    if tensors.keys() != wanted.keys() or any(tensors[name].shape != wanted[name].shape for name in wanted):
        raise InputError(f"{origin}: the tensors are not those of {LAYERS}; expected the weights of these layers.")
    kinds = {tensor.dtype for tensor in tensors.values()}
    if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise InputError(f"{origin}: the weights are not all finite real numbers; expected those that were written.")
    network = nn.Sequential(*(_made(entry) for entry in stated))
    if len(kinds) == 1:
        network = network.to(kinds.pop())
    network.load_state_dict(tensors)
    return network.eval()


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        document = json.loads(content.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: it is no JSON of at most {_MOST_BYTES} bytes; expected layers.") from error
    layers = document.get("layers") if isinstance(document, dict) else None
    if not isinstance(layers, list) or document.get("format") != _FORMAT or not 1 <= len(layers) <= _MOST_LAYERS:
        raise InputError(f"{path}: expected format {_FORMAT} and a list of 1 to {_MOST_LAYERS} layers.")
    for place, entry in enumerate(layers):
        _check(entry, f"{path}: layer {place}")
    return layers


def _check(entry: Any, where: str) -> None:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{where}: the kind {kind!r} is unknown; {suggestion(str(kind), _KINDS)}.")
    checks = _KINDS[kind][1]
    if entry.keys() != {"kind", *checks}:
        raise InputError(f"{where}: a {kind} has {', '.join(map(repr, sorted(entry)))}; expected {', '.join(checks)}.")
    for name, check in checks.items():
        if not check(entry[name]):
            raise InputError(f"{where}: {name} = {entry[name]!r} of a {kind} is out of range.")


def _made(entry: Mapping[str, Any]) -> nn.Module:
    given = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items() if name != "kind"
    }
    return _KINDS[entry["kind"]][0](**given)
