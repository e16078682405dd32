"""From a sequential network of the user's own code to a folder with a smaller one, with its card."""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recon._version import __version__
from recon.catalogue import CARD
from recon.compression.blocks import BlockReport
from recon.compression.bounds import lipschitz_bound
from recon.compression.compress import DECOUPLE, compress
from recon.compression.decouple import relative
from recon.compression.flexible import FlexibleActivation
from recon.compression.package import Listeners, Settings, copy_of, photographs, require_new, write_card
from recon.compression.sequential import flat, links_of
from recon.compression.sequential_folder import save_sequential
from recon.errors import GuaranteeError, InputError, UsageError
from recon.priors.networks.files.card import ROUNDING
from recon.priors.networks.files.safetensors import encode
from recon.priors.networks.files.store import WEIGHTS
from recon.specs.grammar import Spec
from recon.specs.user_code import load_callable
from recon.training.data import read_patches
from recon.training.tables import DataConfig

_PATCH, _COUNT, _ROUNDS = 48, 32, 7
_MOST_ROWS, _MOST_BYTES = 16384, 2**30


def sequential_of(text: str) -> nn.Sequential:
    """The network that the callable of ``python:FILE.py:CALLABLE`` makes.

    Raises:
        UsageError: It raised, or made something else.
    """
    spec = Spec("python", value=text.partition(":")[2])
    _, made = load_callable(spec)
    try:
        network = made()
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(f"{spec}: calling it raised {error!r}; expected a callable that takes nothing.") from error
    if type(network) is not nn.Sequential:
        raise UsageError(
            f"{spec}: what was made by it is of type {type(network).__name__}; expected a torch.nn.Sequential."
        )
    return network.eval()


def compress_own(
    text: str, output: Path, files: Sequence[Path], settings: Settings, listeners: Listeners
) -> dict[str, Any]:
    """Compress a network of the user's code into a new folder; return the card.

    Args:
        text: ``python:FILE.py:CALLABLE``, a callable that takes nothing and returns a ``torch.nn.Sequential``.
        output: A new folder, or an empty one.
        files: Images, or, of a network that begins with a matrix, NPY files of ``(samples, features)``.
        settings: What is asked for.
        listeners: Who hears of it.

    Raises:
        InputError: Files cannot be read.
        OutputError: The folder is not empty, or cannot be written.
        UsageError: The network is not understood, or a value is out of range.
        GuaranteeError: The dense network is proved nonexpansive, and of the small one no such bound is found.
    """
    network = sequential_of(text)
    links_of(network)
    require_new(output)
    samples = _samples(network, files, settings, listeners)
    held = samples[-max(1, len(samples) // 4) :]
    given = samples if settings.method == DECOUPLE else samples[: -len(held)]  # decoupling holds out the last quarter
    found = compress(
        network, given, settings.sparsity, method=settings.method, rank=settings.rank, structured=settings.structured,
        seed=settings.seed, watch=listeners.watch,
    )  # fmt: skip
    for layer in found.layers:
        if isinstance(layer, BlockReport) and layer.remark:
            listeners.say(layer.remark)
    before, after = lipschitz_bound(network), lipschitz_bound(found.network)
    if before.value <= 1 + ROUNDING < after.value and not settings.uncertified:
        raise GuaranteeError(
            f"the Lipschitz constant of the compressed network is at most {after.value:.6g}, and that of the given one "
            f"at most {before.value:.6g}; expected at most 1, so nothing is written: more units or weights may keep "
            "it, and --uncertified writes it all the same."
        )
    with torch.no_grad():
        error = relative(found.network(held), network(held))
    with copy_of(output) as copy:
        sha256 = save_sequential(found.network, copy, packed=not settings.structured)
        card: dict[str, Any] = {
            "sha256": sha256,
            "about": {"title": f"{text.rpartition(':')[2]}; compressed by {settings.method}"},
            "family": "Sequential",
            "parameters": _count(found.network),
            "lipschitz": _plain(after),
            "error": error,
            "compression": {
                "source": {"name": Path(text.partition(":")[2].rpartition(":")[0]).name},
                "method": settings.method,
                "rank": settings.rank,
                "sparsity": settings.sparsity,
                "structured": settings.structured,
                "seed": settings.seed,
                "layers": [asdict(layer) for layer in found.layers],
                "parameters_before": _count(network),
                "nonzero": [_nonzero(each) for each in (network, found.network)],
                "bytes": [len(encode(network.state_dict())), (copy / WEIGHTS).stat().st_size],
                "operations": [multiplications(each, held[:1]) for each in (network, found.network)],
                "seconds": {"input": list(held.shape), "values": _seconds((network, found.network), held)},
                "lipschitz_before": _plain(before),
            },
            "versions": {"recon": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        write_card(copy / CARD, card)
    return card


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _nonzero(network: nn.Module) -> int:
    return sum(int(parameter.count_nonzero()) for parameter in network.parameters())


def _plain(known: Any) -> dict[str, object]:
    return {"value": known.value, "evidence": known.evidence.value, "how": known.how}


@torch.no_grad()
def multiplications(network: nn.Sequential, x: Tensor) -> int:
    """Multiplications of one input by weights that are not 0, and four for each value of a flexible activation."""
    total = 0
    for _, module in flat(network):
        x = module(x)
        if isinstance(module, nn.Conv2d | nn.Linear):
            places = x[0].numel() // x.shape[1]
            total += int((module.weight != 0).sum()) * places
        elif isinstance(module, FlexibleActivation):
            total += 4 * x[0].numel()
    return total


@torch.no_grad()
def _seconds(networks: Sequence[nn.Module], x: Tensor) -> list[float]:
    """The least of a few evaluations, which take turns."""
    taken: list[list[float]] = [[] for _ in networks]
    for _ in range(_ROUNDS):
        for network, times in zip(networks, taken, strict=True):
            began = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - began)
    return [round(min(times), 6) for times in taken]


def _samples(network: nn.Sequential, files: Sequence[Path], settings: Settings, listeners: Listeners) -> Tensor:
    """Inputs of a network, in an order of chance; those of images with noise, if a level is stated."""
    first = next(module for _, module in flat(network) if isinstance(module, nn.Conv2d | nn.Linear))
    generator = torch.Generator().manual_seed(settings.seed)
    if isinstance(first, nn.Linear) and not any(isinstance(module, nn.Flatten) for _, module in flat(network)):
        return _rows(files, first.in_features, generator).to(first.weight)
    if isinstance(first, nn.Linear):
        raise UsageError("the network begins with Flatten; expected Conv2d or Linear, which say what it takes.")
    if not files:
        files = photographs(first.in_channels)
        listeners.say(f"no --data: the layers are fitted to {len(files)} photographs of scikit-image; images of the "
                      "kind that the network is for keep more")  # fmt: skip
    config = DataConfig(patch=_PATCH)
    clean = read_patches(files, config, first.in_channels, settings.seed, listeners.say).draw(_COUNT, generator)[0]
    low, high = settings.noise or (0.0, 0.0)
    levels = low + (high - low) * torch.rand(_COUNT, 1, 1, 1, generator=generator)
    return (clean + levels * torch.randn(clean.shape, generator=generator)).to(first.weight)


def _rows(files: Sequence[Path], features: int, generator: torch.Generator) -> Tensor:
    if not files:
        raise UsageError(f"the network takes {features} numbers; expected --data FILE.npy, of (samples, {features}).")
    rows = torch.cat([_array(file, features) for file in files])
    return rows[torch.randperm(len(rows), generator=generator)[:_MOST_ROWS]]


def _array(file: Path, features: int) -> Tensor:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: it has more than {_MOST_BYTES} bytes; expected fewer samples.")
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except (ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{file}: it is no NPY file of numbers; expected (samples, {features}).") from error
    if (
        not isinstance(found, np.ndarray)
        or found.ndim != 2
        or found.shape[1] != features
        or found.dtype.kind not in "iuf"
    ):
        shape = getattr(found, "shape", "of several arrays")
        raise InputError(f"{file}: it has shape {shape}; expected real numbers of (samples, {features}).")
    rows = torch.from_numpy(np.array(found, dtype=np.float64))
    if not bool(rows.isfinite().all()):
        raise InputError(f"{file}: it holds NaN or infinity; expected finite numbers.")
    return rows
