"""From a folder with a network to a folder with a smaller one: compressed, searched again, with its card.

Everything is found out on a copy beside the output, which then takes its name: a folder that is there is whole.
"""

import contextlib
import json
import math
import platform
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from recon._version import __version__
from recon.catalogue import CARD, identity_of, read_card
from recon.compression.compress import INCLUSION, Compressed, check_method, compress, decouple_refusal, refusal
from recon.compression.measure import SIDE, operations, seconds
from recon.compression.sparse import Watch
from recon.errors import GuaranteeError, OutputError, ReconError, UsageError
from recon.evidence import Constant, Evidence
from recon.io import replacing
from recon.priors.networks import ConvexRidge, DnCNN, Network, claim_of, load, save
from recon.priors.networks.files.card import ROUNDING
from recon.priors.networks.files.store import WEIGHTS
from recon.reconstruction.certify import Report, certify_prior, keep
from recon.specs.grammar import Spec
from recon.specs.networks import network_folder
from recon.training.config import recipe_from
from recon.training.data import Notify, read_patches, read_validation
from recon.training.tables import DataConfig
from recon.training.trainer import as_kept
from recon.training.validation import validate

PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
"""Of scikit-image, which are there without a download."""

GREY = ("camera.png",)
"""Of these, the ones without colours."""

_PATCH, _COUNT, _HELD, _CROP = 48, 24, 8, 128
"""Height and width of the samples, and how many; images that figures are made with, and how much of their middle."""

_MOST_FILES = 200


@final
@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        sparsity: The share of the weights that goes.
        structured: Whether whole filters go.
        noise: The lowest and the highest noise level of the samples; ``None``: those of the network.
        seed: Of what is drawn.
        uncertified: Whether a network is also written that lost what the dense one's card says of Q.
        method: As of :func:`compress`.
        rank: Likewise.
    """

    sparsity: float | None
    structured: bool = False
    noise: tuple[float, float] | None = None
    seed: int = 0
    uncertified: bool = False
    method: str = INCLUSION
    rank: int | None = None


@final
@dataclass(frozen=True)
class Listeners:
    """Functions that are called on the way.

    Attributes:
        say: Where remarks go.
        watch: Sees the progress.
        certify: Searches the network in a folder.
    """

    say: Notify = lambda line: None
    watch: Watch = lambda done, count, name: None
    certify: Callable[[Path], Report] = lambda folder: certify_prior(Spec("folder", value=str(folder)))


def source_of(text: str) -> Path:
    """The folder that ``model:NAME`` or a path names.

    Raises:
        UsageError: There is no such model.
    """
    head, colon, rest = text.partition(":")
    if colon and head == "model":
        return network_folder(Spec("model", value=rest))
    return Path(rest if colon and head == "folder" else text)


def compress_folder(
    source: Path, output: Path, files: Sequence[Path], settings: Settings, listeners: Listeners = Listeners()
) -> dict[str, Any]:
    """Compress the network in a folder into a new one; return the card.

    Args:
        source: Holds the dense network.
        output: A new folder, or an empty one.
        files: Images such as it is made for; none: a few photographs of scikit-image.
        settings: What is asked for.
        listeners: Who hears of it.

    Raises:
        InputError: The network or an image cannot be read.
        OutputError: The folder is not empty, or cannot be written.
        UsageError: The network is not understood, or a value is out of range.
        GuaranteeError: A search found more than 1, and the card of the dense network says at most 1.
    """
    check_method(settings.method, settings.sparsity, settings.rank, settings.structured)
    network = load(source)
    if settings.method != INCLUSION:
        raise decouple_refusal(network)
    if not isinstance(network, DnCNN | ConvexRidge):
        raise refusal(network)
    if output.resolve() == source.resolve():
        raise OutputError(f"{output}: the output is the folder of the dense network; expected another, which is kept.")
    require_new(output)
    card = read_card(source) if (source / CARD).is_file() else {}
    levels = _levels(network, card, settings)
    with copy_of(output) as copy:
        samples, told, held = _images(network, card, files, levels, settings.seed, listeners.say)
        found = compress(
            network, samples, settings.sparsity,
            noise_level=told, structured=settings.structured, seed=settings.seed, watch=listeners.watch,
        )  # fmt: skip
        return _found_out(source, card, network, found, copy, held, levels, settings, listeners)


@contextlib.contextmanager
def copy_of(output: Path) -> Iterator[Path]:
    """A folder beside another, whose name it takes when the block ends well; else it is removed."""
    copy = output.parent / f".{output.name}-{secrets.token_hex(4)}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        copy.mkdir()
        yield copy
        if output.exists():
            output.rmdir()
        copy.rename(output)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{output}: the folder cannot be written ({reason}).") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def require_new(output: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        OutputError: It does.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output}: it is there and not empty; expected a new folder, because networks are kept.")


def _levels(network: Network, card: dict[str, Any], settings: Settings) -> tuple[float, float]:
    """The lowest and the highest noise level."""
    stated = settings.noise or network.config.noise_range
    if not stated[1] and isinstance(card.get("noise_range"), list) and len(card["noise_range"]) == 2:
        low, high = card["noise_range"]
        stated = (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else stated
    low, high = stated
    if not 0 < low <= high < math.inf:
        raise UsageError(
            f"the noise levels are {low:g} to {high:g}; expected positive ones, as in --noise 0.02:0.1, because "
            "samples are noisy images and the network states no range."
        )
    return low, high


def _images(  # noqa: PLR0913, PLR0917  what to read, and how
    network: Network,
    card: dict[str, Any],
    files: Sequence[Path],
    levels: tuple[float, float],
    seed: int,
    say: Notify,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Noisy samples, their levels, and clean images for figures, which are others where there are two or more."""
    data = _data_of(card)
    if not files:
        data = DataConfig()  # photographs have no units
        files = photographs(network.config.channels)
        say(f"no --data: the layers are fitted to {len(files)} photographs of scikit-image; images of the kind that "
            "the network is for keep more")  # fmt: skip
    held = list(files[1::4])[:_HELD]
    fitted = [file for file in files if file not in held][:_MOST_FILES]
    if not held:
        held = fitted
        say("there is a single image: the figures are of the image that the layers are fitted to")
    config, channels = replace(data, patch=_PATCH), network.config.channels
    patches = read_patches(fitted, config, channels, seed, say)
    generator = torch.Generator().manual_seed(seed)
    clean = patches.draw(_COUNT, generator)[0]
    low, high = levels
    told = low * (high / low) ** torch.linspace(0, 1, _COUNT)[torch.randperm(_COUNT, generator=generator)]
    noisy = clean + told.view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
    return noisy, told, read_validation(held, config, channels, _HELD, _CROP, say)


def photographs(channels: int) -> list[Path]:
    """Photographs that scikit-image brings, of one or three channels.

    Raises:
        UsageError: The network takes others, or there are none.
    """
    import skimage  # noqa: PLC0415

    folder = Path(skimage.__file__).parent / "data"
    named = [name for name in PHOTOGRAPHS if channels == 1 or name not in GREY]
    found = [folder / name for name in named if (folder / name).is_file()]
    if not found or channels not in (1, 3):
        raise UsageError(
            f"no images were given, and there are none of {channels} channels to take instead; expected --data DIR."
        )
    return found


def _data_of(card: dict[str, Any]) -> DataConfig:
    """The scale of the images that the network was trained on, where its card says so."""
    stated = _recipe(card)
    if stated is None:
        return DataConfig()
    try:
        return replace(recipe_from(stated, CARD).data, skip_damaged=False)
    except ReconError:  # of another version
        return DataConfig()


def _recipe(card: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe of the training, also of a network that was compressed before."""
    made = card.get("compression")
    source = made.get("source") if isinstance(made, dict) else None
    found = card.get("recipe") or (source.get("recipe") if isinstance(source, dict) else None)
    return found if isinstance(found, dict) else None


def _found_out(  # noqa: PLR0913, PLR0917  the parts of one card
    source: Path,
    card: dict[str, Any],
    network: Network,
    found: Compressed[Any],
    copy: Path,
    held: list[Tensor],
    levels: tuple[float, float],
    settings: Settings,
    listeners: Listeners,
) -> dict[str, Any]:
    """Write the small network with all that is found out about it; return its card."""
    sha256 = save(found.network, copy, overwrite=True, packed=not settings.structured)
    ends = levels if levels[0] == levels[1] else (levels[0], math.sqrt(levels[0] * levels[1]), levels[1])
    shown = tuple(dict.fromkeys(ends))
    before, after = (_figures(each, held, shown, settings.seed) for each in (network, found.network))
    times = seconds([as_kept(network), as_kept(found.network)], levels[1])
    report = listeners.certify(copy)
    known = report.constants["lipschitz_Q"]
    _require_certificate(source, network, known, settings)
    made: dict[str, Any] = {
        "sha256": sha256,
        "about": _about(card, settings),
        "family": network.config.family,
        "channels": network.config.channels,
        "noise_range": list(levels),
        "parameters": sum(parameter.numel() for parameter in found.network.parameters()),
        "lipschitz_Q": _plain(known),
        "figures": after,
        "compression": {
            "source": {"name": source.name, "sha256": identity_of(source), "recipe": _recipe(card)},
            "method": "group l1 inclusion of channels, refitted" if settings.structured else "l1 inclusion, refitted",
            "sparsity": settings.sparsity,
            "structured": settings.structured,
            "seed": settings.seed,
            "layers": [asdict(layer) for layer in found.layers],
            "figures_before": before,
            "bytes": [(folder / WEIGHTS).stat().st_size for folder in (source, copy)],
            "operations_per_pixel": [operations(network), operations(found.network)],
            "seconds": {"image": [SIDE, SIDE], "values": [round(value, 6) for value in times]},
            "lipschitz_Q_before": _known_before(source, network),
            "attack": _plain(report.constants["lipschitz_Q_attack"]),
        },
        "versions": {"recon": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_card(copy / CARD, made)
    keep(report)
    kept: dict[str, Any] = json.loads((copy / CARD).read_text(encoding="utf-8"))
    return kept


def _require_certificate(source: Path, network: Network, known: Constant, settings: Settings) -> None:
    """Refuse what lost a certificate: a network of which a search finds more than the card of the dense one admits."""
    before = claim_of(source) if (source / CARD).is_file() else None
    claimed = before is not None and before.evidence is Evidence.MEASURED and before.value <= 1 + ROUNDING
    if claimed and known.value > 1 + ROUNDING and not settings.uncertified:
        raise GuaranteeError(
            f"a search of the compressed network found Lip(Q) >= {known.value:.6g}, and the card of {source.name} says "
            f"{before.value if before else 1:.6g}; expected at most 1, so nothing is written: a lower --sparsity may "
            "keep it, and --uncertified writes it all the same."
        )


def _known_before(source: Path, network: Network) -> dict[str, object]:
    claim = claim_of(source) if (source / CARD).is_file() else None
    return _plain(network.lipschitz_Q(_level(network)) if claim is None else claim.on(None))


def _level(network: Network) -> float | None:
    return network.config.noise_range[1] if network.conditioned else None


def _plain(known: Constant) -> dict[str, object]:
    return {"value": known.value, "evidence": known.evidence.value, "how": known.how}


def _about(card: dict[str, Any], settings: Settings) -> dict[str, object]:
    """The words of the dense network's card, with what was done."""
    stated = card.get("about")
    words = {key: str(value) for key, value in stated.items()} if isinstance(stated, dict) else {}
    what = "filters" if settings.structured else "weights"
    words["title"] = (
        f"{words.get('title') or 'a network'}; compressed, {100 * (settings.sparsity or 0):.3g} % fewer {what}"
    )
    return dict(words)


def _figures(network: Network, images: list[Tensor], levels: Sequence[float], seed: int) -> list[dict[str, float]]:
    result = validate(as_kept(network), images, levels, True, seed)
    return [
        {"noise": each.noise, "psnr": round(each.psnr, 4), "psnr_noisy": round(each.noisy, 4)}
        for each in result.figures
    ]


def write_card(path: Path, document: dict[str, Any]) -> None:
    """Write a card as JSON."""
    with replacing(path, overwrite=True) as temporary:
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
