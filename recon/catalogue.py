"""The packaged networks and their cards, without loading any weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, final

from recon._toml import MOST_BYTES, read_toml
from recon.errors import InputError

CARD, DESCRIPTION = "card.json", "network.toml"


@final
@dataclass(frozen=True)
class Figure:
    """One mean PSNR.

    Attributes:
        data: What was denoised.
        noise: The standard deviation, on the [0, 1] scale.
        psnr: In dB.
    """

    data: str
    noise: float
    psnr: float


@final
@dataclass(frozen=True)
class Model:
    """The content of a network's card.

    Attributes:
        name: Of its folder.
        title: In a few words.
        channels: 1 for grey, 3 for colour.
        evidence: Of what is known of the Lipschitz constant of Q: proved, measured or assumed.
        lipschitz: That constant.
        noise_range: The noise levels that it is made for.
        figures: Of denoising.
        bytes: Of everything in the folder.
        given: What the constant takes as given: "the guide" of a guided network; else empty.
    """

    name: str
    title: str
    channels: int
    evidence: str
    lipschitz: float
    noise_range: tuple[float, float]
    figures: tuple[Figure, ...]
    bytes: int
    given: str = ""

    @property
    def known(self) -> str:
        """What is known of the Lipschitz constant of Q, in a few words."""
        return f"{self.lipschitz:.4g} {self.evidence}{f', given {self.given}' if self.given else ''}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain values; ``psnr`` is by data and, of four digits, by noise level."""
        psnr: dict[str, dict[str, float]] = {}
        for each in self.figures:
            psnr.setdefault(each.data, {})[f"{each.noise:.4g}"] = each.psnr
        return {
            "name": self.name,
            "title": self.title,
            "channels": self.channels,
            "evidence": self.evidence,
            "lipschitz_Q": self.lipschitz,
            "given": self.given or None,
            "noise_range": list(self.noise_range),
            "psnr": psnr,
            "bytes": self.bytes,
        }


CRITIC = "Critic"
"""The family of the networks that judge images instead of denoising them."""


CONVEX_CRITIC = "ConvexCritic"
"""The family of the critics that are penalties."""


def stated_family(folder: Path) -> str:
    """The family that a folder states; empty where it states none that can be read."""
    try:
        return str(_family(folder))
    except InputError:
        return ""


@final
@dataclass(frozen=True)
class CriticModel:
    """The content of a critic's card.

    Attributes:
        name: Of its folder.
        title: In a few words.
        channels: 1 for grey, 3 for colour.
        units: Of the images that it judges: ``"HU"``, or empty.
        lipschitz: The Lipschitz constant of its score.
        evidence: Of that.
        threshold: Above which a score is an alarm.
        false_alarms: The share of alarms among test images without artefacts, or what is expected of it.
        false_alarms_evidence: Measured or assumed.
        false_alarms_how: On what.
        auroc: By the kind of artefact.
        bytes: Of everything in the folder.
    """

    name: str
    title: str
    channels: int
    units: str
    lipschitz: float
    evidence: str
    threshold: float
    false_alarms: float
    false_alarms_evidence: str
    false_alarms_how: str
    auroc: Mapping[str, float]
    bytes: int

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "name": self.name,
            "kind": "critic",
            "title": self.title,
            "channels": self.channels,
            "units": self.units,
            "lipschitz": self.lipschitz,
            "evidence": self.evidence,
            "threshold": self.threshold,
            "false_alarms": {
                "value": self.false_alarms,
                "evidence": self.false_alarms_evidence,
                "how": self.false_alarms_how,
            },
            "auroc": dict(self.auroc),
            "bytes": self.bytes,
        }


def is_critic(folder: Path) -> bool:
    """Whether the network in a folder is a critic.

    Raises:
        InputError: There is none.
    """
    return _family(folder) == CRITIC


def about(folder: Path) -> dict[str, str]:
    """What the card in a folder says in words: title, data, licence and limits, as far as they are stated.

    Raises:
        InputError: As of :func:`read_card`.
    """
    stated = read_card(folder).get("about")
    texts = stated if isinstance(stated, dict) else {}
    words = {key: texts.get(key) for key in ("title", "data", "limits", "licence")}
    return {key: text for key, text in words.items() if isinstance(text, str) and text}


def folders() -> dict[str, Path]:
    """The folders of the packaged denoisers by name."""
    return {name: folder for name, folder in _packaged().items() if _family(folder) not in (CRITIC, CONVEX_CRITIC)}


def critic_folders() -> dict[str, Path]:
    """The folders of the packaged critics by name."""
    return {name: folder for name, folder in _packaged().items() if is_critic(folder)}


def critics() -> list[CriticModel]:
    """Return what is known of every packaged critic.

    Raises:
        InputError: A card is missing, or none.
    """
    return [read_critic(folder) for folder in critic_folders().values()]


def read_critic(folder: Path) -> CriticModel:
    """The card of a critic in a folder.

    Raises:
        InputError: There is none, or it does not say what a card of a critic says.
    """
    card = read_card(folder)
    try:
        known, alarm = card["lipschitz"], card["alarm"]
        rate = alarm.get("false_alarms") or alarm["expected_false_alarms"]
        numbers = [float(each) for each in (known["value"], alarm["threshold"], rate["value"])]
        if not all(map(math.isfinite, numbers)) or not numbers[0] > 0 or not 0 <= numbers[2] <= 1:
            raise ValueError("a number is out of range")
        return CriticModel(
            name=folder.name,
            title=str(card["about"]["title"]),
            channels=int(card["channels"]),
            units=str(alarm["units"]),
            lipschitz=numbers[0],
            evidence=str(known["evidence"]),
            threshold=numbers[1],
            false_alarms=numbers[2],
            false_alarms_evidence=str(rate["evidence"]),
            false_alarms_how=str(rate["how"]),
            auroc={str(each["artefact"]): float(each["auroc"]) for each in card.get("tests") or card["figures"]},
            bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / CARD}: it does not say what the card of a critic says{_absent(error)}; "
            'expected one that recon train wrote with family = "Critic".'
        ) from error


def _packaged() -> dict[str, Path]:
    root = Path(str(resources.files("recon.models")))
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / DESCRIPTION).is_file()}


def _family(folder: Path) -> object:
    return read_description(folder).get("family")


def read_description(folder: Path) -> dict[str, object]:
    """The table of ``network.toml`` in a folder.

    Raises:
        InputError: There is no such folder or no network in it, or as of :func:`recon._toml.read_toml`.
    """
    if "\0" not in str(folder) and not (folder / DESCRIPTION).exists():
        if not folder.is_dir():
            what = "it is a file" if folder.exists() else "there is no such folder"
            raise InputError(f"{folder}: {what}; expected a folder of a network, as recon train makes it.")
        if (folder / "steps.json").is_file():
            raise InputError(
                f"{folder}: step sizes were learned in it; expected a network "
                f"(--method slista:folder={folder} takes it)."
            )
        if (folder / "checkpoint.json").is_file():
            raise InputError(
                f"{folder}: its training has not written a network yet; expected one that came to a validation "
                f"(recon train --resume -o {folder}, with the same --data and --validation, goes on)."
            )
        raise InputError(
            f"{folder}: no {DESCRIPTION} is in it; expected a folder of a network, as recon train makes it."
        )
    return read_toml(folder / DESCRIPTION, "network", InputError)


def models() -> list[Model]:
    """Return what is known of every packaged network.

    Raises:
        InputError: A card is missing, or none.
    """
    return [read_model(folder) for folder in folders().values()]


def read_model(folder: Path) -> Model:
    """The card in a folder.

    Raises:
        InputError: There is none, or it does not say what a card says.
    """
    card = read_card(folder)
    if card.get("family") == "Unrolled":
        raise InputError(
            f"{folder}: the network is an unrolled reconstruction, of which no Lipschitz constant is known; expected a "
            f"denoiser or a critic (--method unrolled:folder={folder} takes it)."
        )
    try:
        known, (low, high) = card["lipschitz_Q"], card["noise_range"]
        return Model(
            name=folder.name,
            title=str(card["about"]["title"]),
            channels=int(card["channels"]),
            evidence=str(known["evidence"]),
            lipschitz=float(known["value"]),
            noise_range=(float(low), float(high)),
            figures=tuple(_figure(stated) for stated in card.get("tests") or card["figures"]),
            bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
            given="the guide" if card.get("family") == "GuidedRidge" else "",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / CARD}: it does not say what a card says{_absent(error)}; expected one that recon train wrote."
        ) from error


def read_card(folder: Path) -> dict[str, Any]:
    """The card in a folder as plain values.

    Raises:
        InputError: There is none, or it is too large, or no JSON, or of another network than the one beside it.
    """
    path = folder / CARD
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        card = json.loads(content) if len(content) <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: the card of the network cannot be read ({reason}).") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: expected an object of fewer than {MOST_BYTES} bytes, which recon train writes.")
    _require_own(card, folder)
    return card


def identity_of(folder: Path) -> str:
    """The sha256 of the network in a folder, as its description states it; whoever loads the network checks it.

    Raises:
        InputError: There is no description, or it states none.
    """
    stated = read_description(folder).get("sha256")
    if not isinstance(stated, str):
        raise InputError(f"{folder / DESCRIPTION}: sha256 = {stated!r}; expected that of the weights beside it.")
    return stated


def _require_own(card: Mapping[str, Any], folder: Path) -> None:
    stated, own = card.get("sha256"), identity_of(folder)
    if stated == own:
        return
    said = "says of no weights that it is theirs" if stated is None else f"is of the network {str(stated)[:16]}.."
    raise InputError(
        f"{folder / CARD}: the card {said}; expected sha256 {own[:16]}.., that of the network beside it: take the card "
        "away, and recon certify prior writes another."
    )


def _figure(stated: Mapping[str, Any]) -> Figure:
    return Figure(str(stated.get("data", "validation")), float(stated["noise"]), float(stated["psnr"]))


def _absent(error: Exception) -> str:
    """The key that a card has not, in brackets, where that is what is wrong with it."""
    return f" ({error} is missing)" if isinstance(error, KeyError) else ""
