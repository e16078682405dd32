"""Alarms: the score of a result by a 1-Lipschitz critic, its verdict, and how far the image may change before it does.

The score is 1-Lipschitz for the Euclidean norm of all pixels on the scale of the critic. With the threshold t, an image
at a distance of less than ``|s(x) - t| / L`` has the verdict of x (:class:`recon.priors.networks.Critic` has the proof
of L <= 1): that is the certified radius, taken to the units of the image, less what rounding in double precision may
move the score by, before and after a change. A critic of grey photographs judges the grey version of colour ones; its
weights have a norm below 1, by which L is multiplied.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from recon import catalogue, io
from recon._suggest import suggestion
from recon.catalogue import CriticModel
from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.io import Image, ValueRange
from recon.io.image import HOUNSFIELD_RANGE, LUMA, Array
from recon.operators.rounding import gamma
from recon.priors.networks import Critic, load_critic

AUTO = "auto"
MAP_SUFFIXES = (".npy", ".tif", ".tiff")
_BATCH = 8
_OF_PIXELS = 16
"""Operations that take a pixel to the scale of the critic, its colours to grey, and a margin to a radius."""


@dataclass(frozen=True)
class Alarm:
    """A critic with its threshold.

    Attributes:
        name: As it was chosen: ``model:NAME``, or the folder.
        critic: What scores.
        card: What is known of it.
        sha256: Of its weights with its architecture.
    """

    name: str
    critic: Critic
    card: CriticModel
    sha256: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """The verdict on one frame.

    Attributes:
        score: Of the frame, on the scale of the critic.
        radius: The certified radius: the Euclidean norm of a change of the frame, in its units, below which the verdict
            stays.
        is_alarm: Whether the score is above the threshold.
        windows: The score of each window, ``(rows, columns)``.
        places: The first pixel of each window's row, and of its column.
    """

    score: float
    radius: float
    is_alarm: bool
    windows: Array
    places: tuple[list[int], list[int]]


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdicts on all frames of an image.

    Attributes:
        alarm: The critic.
        lipschitz: What is proved of its score.
        verdicts: One a frame.
        units: Of the image.
        shape: (height, width) of a frame.
        channels: Of the image.
    """

    alarm: Alarm
    lipschitz: Constant
    verdicts: tuple[Verdict, ...]
    units: str
    shape: tuple[int, int]
    channels: int = 1

    @property
    def is_alarm(self) -> bool:
        """Whether any frame is above the threshold."""
        return any(each.is_alarm for each in self.verdicts)

    @cached_property
    def worst(self) -> Verdict:
        """The verdict with the largest score."""
        return max(self.verdicts, key=lambda each: each.score)

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        worst, card = self.worst, self.alarm.card
        above = sum(each.is_alarm for each in self.verdicts)
        of = f" of {above} of {len(self.verdicts)} frames" if len(self.verdicts) > 1 else ""
        verdict = f"ALARM{of}" if self.is_alarm else "no alarm"
        unit = f" {self.units}" if self.units else ""
        each = worst.radius / math.sqrt(math.prod(self.shape) * self.channels)
        return (
            f"alarm: {verdict}, score {worst.score:.4f}, threshold {card.threshold:.4f} ({self.alarm.name})",
            f"the verdict stays for every change of less than {worst.radius:.4g}{unit} in the Euclidean norm of all "
            f"pixels: of one pixel by that, or of each by {each:.2g}{unit} ({self.lipschitz.evidence})",
            f"false alarms: {100 * card.false_alarms:.3g} % ({card.false_alarms_evidence}: {card.false_alarms_how})",
        )

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        card = self.alarm.card
        config = self.alarm.critic.config
        return {
            "critic": self.alarm.name,
            "sha256": self.alarm.sha256,
            "alarm": self.is_alarm,
            "score": self.worst.score,
            "threshold": card.threshold,
            "radius": self.worst.radius,
            "units": self.units,
            "lipschitz": {
                "value": self.lipschitz.value,
                "evidence": str(self.lipschitz.evidence),
                "how": self.lipschitz.how,
            },
            "false_alarms": {
                "value": card.false_alarms,
                "evidence": card.false_alarms_evidence,
                "how": card.false_alarms_how,
            },
            "window": config.window,
            "frames": [
                {
                    "score": each.score,
                    "alarm": each.is_alarm,
                    "radius": each.radius,
                    "rows": each.places[0],
                    "columns": each.places[1],
                    "windows": [[round(float(value), 5) for value in row] for row in each.windows],
                }
                for each in self.verdicts
            ],
        }

    def map(self) -> Array:
        """The score of the highest window over each pixel, less the threshold, ``(frames, 1, height, width)``."""
        window, limit = self.alarm.critic.config.window, self.alarm.card.threshold
        frames = [pixel_map(each.windows, each.places, window, self.shape) - limit for each in self.verdicts]
        return np.stack(frames)[:, None].astype(np.float32)


def find_alarm(named: str, units: str, channels: int) -> Alarm:
    """The critic that a name or a folder stands for.

    Args:
        named: ``"auto"``, for the packaged one for such images; a packaged one with or without ``model:``; or a folder.
        units: Of the images.
        channels: Of the images.

    Raises:
        UsageError: There is no such critic, or it is for other images.
        InputError: The folder cannot be read.
    """
    check_name(named)
    packaged = catalogue.critic_folders()
    name = named.removeprefix("model:")
    if named == AUTO:
        fitting = [each for each in catalogue.critics() if _takes(each, units, channels)]
        fitting.sort(key=lambda each: each.channels != channels)
        if not fitting:
            known = ", ".join(packaged) or "none"
            raise UsageError(
                f"--alarm {named}: no packaged critic is for images of {channels} channels in {units or 'no units'} "
                f"(packaged: {known}); expected the FOLDER of one, as recon train makes it."
            )
        name = fitting[0].name
    folder = packaged.get(name, Path(named))
    sha256 = catalogue.identity_of(folder)
    called = f"model:{name}" if name in packaged else named
    alarm = Alarm(called, _critic(folder, sha256), catalogue.read_critic(folder), sha256)
    _require_kind(alarm, units, channels)
    return alarm


def check_name(named: str) -> None:
    """See that a name may stand for a critic, before an image is known.

    Raises:
        UsageError: It is neither that of a packaged one nor a folder.
    """
    packaged, name = catalogue.critic_folders(), named.removeprefix("model:")
    if named != AUTO and name not in packaged and not Path(named).is_dir():
        hint = "it is a file: with an input after it, write --alarm auto" if Path(named).is_file() else "no such critic"
        raise UsageError(f"--alarm {named}: {hint}; {suggestion(name, packaged)}, or the folder of a critic.")


@lru_cache(maxsize=4)  # of a batch, which asks for each input
def _critic(folder: Path, _sha256: str) -> Critic:
    return load_critic(folder)


def check_size(alarm: Alarm, shape: tuple[int, ...]) -> None:
    """See that an image is large enough, before it is made.

    Raises:
        UsageError: It is not.
    """
    least = alarm.critic.config.least_side
    if min(shape[-2:]) < least:
        raise UsageError(
            f"--alarm {alarm.name}: the image has {shape[-2]} x {shape[-1]} pixels; expected at least {least} along "
            "each axis, because the critic judges windows of that size."
        )


@torch.no_grad()
def judge_image(alarm: Alarm, image: Image) -> Judgement:
    """Score every frame of an image.

    Raises:
        UsageError: The image is complex, in other units, of other channels or too small.
    """
    _require_kind(alarm, image.units, image.pixels.shape[1])
    check_size(alarm, image.pixels.shape)
    if np.iscomplexobj(image.pixels):
        raise UsageError(
            f"--alarm {alarm.name}: the image is complex; expected a real one, as the critic was made for."
        )
    scale = ValueRange(*HOUNSFIELD_RANGE, "HU") if image.units == "HU" else image.value_range
    frozen, lipschitz = alarm.critic.frozen(torch.float64), _lipschitz(alarm, image.pixels.shape[1])
    pixels = image.pixels
    if image.padding is not None:
        pixels = np.where(image.padding, np.asarray(scale.low, pixels.dtype), pixels)
    height, width = pixels.shape[2:]
    places, verdicts = alarm.critic.places(height, width), []
    lost_at = _lost(frozen, height * width)
    for begin in range(0, len(pixels), _BATCH):
        part = (pixels[begin : begin + _BATCH].astype(np.float64) - scale.low) / scale.width
        sizes = np.sqrt(np.square(part).sum((1, 2, 3))).tolist()
        if part.shape[1] != alarm.card.channels:
            part = (part * np.reshape(LUMA, (1, 3, 1, 1))).sum(1, keepdims=True)
        for windows, size in zip(frozen.scores(torch.from_numpy(part)).numpy(), sizes, strict=True):
            score = float(windows.max())
            if not math.isfinite(score):
                raise UsageError(f"--alarm {alarm.name}: the score is {score}; expected finite pixels.")
            reach = abs(score - alarm.card.threshold) / lipschitz.value
            lost = lost_at(size) + lost_at(size + reach)  # by the image, and by a changed one
            radius = max(reach - lost / lipschitz.value, 0.0) * (1 - gamma(_OF_PIXELS)) * scale.width
            verdicts.append(Verdict(score, radius, score > alarm.card.threshold, windows, places))
    return Judgement(alarm, lipschitz, tuple(verdicts), image.units, (height, width), image.pixels.shape[1])


def _lost(critic: Critic, pixels: int) -> Callable[[float], float]:
    """What rounding may move the score of an image by, as a function of its norm."""
    least = critic.rounding(0.0, pixels)
    slope = critic.rounding(1.0, pixels) - least + gamma(_OF_PIXELS)
    return lambda size: least + slope * size


def write_map(judgement: Judgement, path: Path, overwrite: bool) -> None:
    """Write the map of a judgement as an image of numbers.

    Raises:
        OutputError: It cannot be written.
    """
    found = judgement.map()
    io.write(io.from_array(found[0, 0] if len(found) == 1 else found), path, overwrite=overwrite)


def pixel_map(windows: Array, places: tuple[list[int], list[int]], window: int, shape: tuple[int, int]) -> Array:
    """The score of the highest window over each pixel; a pixel at the border has that of the nearest window."""
    found = np.full(shape, -np.inf)
    for row, top in enumerate(places[0]):
        for column, left in enumerate(places[1]):
            part = found[
                0 if row == 0 else top : shape[0] if row == len(places[0]) - 1 else top + window,
                0 if column == 0 else left : shape[1] if column == len(places[1]) - 1 else left + window,
            ]
            np.maximum(part, windows[row, column], out=part)
    return found


def _lipschitz(alarm: Alarm, channels: int) -> Constant:
    """The Lipschitz constant of the score of an image with so many channels."""
    known = alarm.critic.lipschitz()
    if channels == alarm.card.channels:
        return known
    return Proved(known.value * math.hypot(*LUMA), f"{known.how}; times the norm of the weights of red, green and blue")


def _takes(card: CriticModel, units: str, channels: int) -> bool:
    """Whether a critic judges images of a kind: a grey one of photographs also colour, by its grey version."""
    is_colour = not units and (card.channels, channels) == (1, 3)
    return card.units == units and (card.channels == channels or is_colour)


def _require_kind(alarm: Alarm, units: str, channels: int) -> None:
    card = alarm.card
    if not _takes(card, units, channels):
        raise UsageError(
            f"--alarm {alarm.name}: the image has {channels} channels in {units or 'no units'}; expected "
            f"{card.channels} in {card.units or 'no units'}, as the critic was trained on: a score of another kind of "
            "image says nothing."
        )
