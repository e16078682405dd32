"""PSNR and SSIM of reconstructions from simulated measurements, over a folder of clean images.

Every image is measured by the operator, with noise whose seed is the run's seed plus the image's number, solved, and
compared with the clean one on the [0, 1] scale, the result clipped to it as a file of integers would. Where the
measurement shows less than the image (``boundary=valid``), both are compared on what it shows: the border beyond was
never seen. With ``boundary=circular`` the simulation wraps around as the model does, so the border is as good as the
rest; on a real photograph it is not.

PSNR and SSIM are skimage's with ``data_range=1`` and its default window (7 x 7, uniform), over all channels.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from recon import io
from recon.device import Notify
from recon.errors import InputError, ReconError, UsageError
from recon.evaluation.simulate import measure
from recon.io import Image, ValueRange, from_array, to_tensor
from recon.reconstruction.ct_input import quick_look
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.problem import on_unit_scale
from recon.reconstruction.run import ProgressCallback, execute
from recon.specs.operators import OperatorFactory, read_operator
from recon.specs.solve_config import SolveConfig
from recon.types import LinearOperator

Pixels = NDArray[np.float64]

UNIT = ValueRange(0.0, 1.0)

SMALLEST = 7
"""Pixels along a side of SSIM's window: a smaller image has none."""


@dataclass(frozen=True)
class Score:
    """The figures of one image.

    Attributes:
        name: The file's name, or its number where the name may identify a patient.
        operator: What it was measured with.
        psnr: Of the result, in dB.
        ssim: Of the result.
        psnr_input: Of the measurement, as an image: enlarged where it is smaller by downsampling, back-projected where
            it is complex.
        status: How the run ended, or "failed".
        steps: Of the run.
        seconds: Of the run.
        error: Why it failed, if it did.
    """

    name: str
    operator: str
    psnr: float = math.nan
    ssim: float = math.nan
    psnr_input: float = math.nan
    status: str = "failed"
    steps: int = 0
    seconds: float = 0.0
    error: str = ""

    def to_json(self) -> dict[str, object]:
        """Return plain values; a figure that does not exist is null."""
        numbers = {"psnr": self.psnr, "ssim": self.ssim, "psnr_input": self.psnr_input}
        document: dict[str, object] = {"name": self.name, "operator": self.operator}
        document |= {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        document |= {"status": self.status, "steps": self.steps, "seconds": round(self.seconds, 3)}
        return document | ({"error": self.error} if self.error else {})


def evaluate(
    configs: Sequence[SolveConfig], files: Sequence[Path], say: Notify, watch: ProgressCallback | None = None,
    done: Callable[[Score], None] = lambda score: None,
) -> list[Score]:  # fmt: skip
    """Score every configuration on every clean image.

    Args:
        configs: What to do; they differ in their operator.
        files: The clean images.
        say: Where remarks go.
        watch: Called as a run goes on.
        done: Called with each score.
    """
    scores = []
    for config in configs:
        family = read_operator(config.operator, say)
        if len(family.spacing) == 3:
            raise UsageError(
                f"{config.operator}: kind is 'cone', which sees a volume; expected 'parallel' or 'fan', because images "
                "are scored one by one: recon simulate and recon solve make a volume."
            )
        earlier: dict[tuple[object, ...], Plan] = {}
        for number, file in enumerate(files):
            try:
                score = _score(config, family, file, number, earlier, say, watch)
            except ReconError as error:
                score = Score(_label(file, number), str(config.operator), error=str(error))
            scores.append(score)
            done(score)
    return scores


def mean(scores: Iterable[Score]) -> dict[str, float | None]:
    """The mean figures of the scores that exist."""
    kept = [score for score in scores if score.status != "failed"]
    means = {key: [getattr(score, key) for score in kept] for key in ("psnr", "ssim", "psnr_input")}
    return {key: float(np.mean(values)) if values else None for key, values in means.items()}


def _label(file: Path, number: int) -> str:
    return f"image {number + 1:04}" if file.suffix.lower() in (".dcm", ".dicom", "") else file.name


def _score(  # noqa: PLR0913, PLR0917  internal: the parts of one loop
    config: SolveConfig, family: OperatorFactory, file: Path, number: int, earlier: dict[tuple[object, ...], Plan],
    say: Notify, watch: ProgressCallback | None,
) -> Score:  # fmt: skip
    image = io.read(file, value_range=config.range)
    if min(image.height, image.width) < SMALLEST:
        raise InputError(f"{file.name}: the image is {image.height} x {image.width} pixels; expected at least 7 x 7.")
    operator = family.on((image.height, image.width))
    clean, y, stated = simulated(config, family, operator, image, config.seed + number)
    sizes, levels = (*y.shape[1:], *clean.shape[1:]), (clean.shape[1], stated.noise)
    alike = earlier.get(sizes)
    as_noisy = None if stated.noise is None else earlier.get(levels)  # an estimate is another one for each image
    measured = as_image(y, image.value_range if family.geometry is None else UNIT)
    pair, hardest = alike.pair if alike else None, as_noisy.hardest if as_noisy else None
    plan = earlier[sizes] = earlier[levels] = make_plan(stated, measured, say, pair, hardest)
    result = execute(plan, watch)
    with torch.no_grad():
        naive = _naive(operator, y, family, clean)
        found = plan.problem.scale.undo(result.solution.x).cpu()
    return Score(
        _label(file, number), str(config.operator),
        *figures(_seen(found, y, family), _seen(clean, y, family)),
        _psnr(_seen(naive, y, family), _seen(clean, y, family)),
        result.status.value, result.steps, result.seconds,
    )  # fmt: skip


def simulated(
    config: SolveConfig, family: OperatorFactory, operator: LinearOperator, image: Image, seed: int
) -> tuple[Tensor, Tensor, SolveConfig]:
    """A clean image, its measurement, and the configuration that solves that one.

    Args:
        config: What to do.
        family: Where the operator comes from.
        operator: The operator on images of this size.
        image: The clean image.
        seed: Of its noise.
    """
    clean = to_tensor(image)
    sigma = 0.0 if config.noise is None else on_unit_scale(config.noise, image)
    x = clean.to(torch.complex64) if family.is_complex else clean
    y = measure(operator, x, sigma, seed, family.is_masked)
    unit = None if config.noise is None else replace(config.noise, sigma=sigma, unit="")
    stated = replace(config, noise=unit, shape=(image.height, image.width), range=None)
    if family.geometry is not None:
        stated = replace(stated, range=(0.0, 1.0), water=None)  # the clean image is its own scale
    return clean, y, stated


def as_image(measurement: Tensor, value_range: ValueRange = UNIT) -> Image:
    """A measurement on the [0, 1] scale as an image, without rounding.

    Args:
        measurement: (frames, channels, height, width).
        value_range: Of the clean image: one in HU is taken back to HU, in which a prior may have been made.
    """
    if value_range.units != "HU" or measurement.is_complex():
        return from_array(measurement.numpy(), value_range=UNIT)
    return from_array(measurement.double().numpy() * value_range.width + value_range.low, value_range=value_range)


def _naive(operator: LinearOperator, y: Tensor, family: OperatorFactory, clean: Tensor) -> Tensor:
    """Return the image that the measurement shows without a solve."""
    if family.geometry is not None:
        return quick_look(y, family.geometry)
    return operator.A_adjoint(y).abs() if y.is_complex() else _enlarged(y, family, clean)


def _enlarged(y: Tensor, family: OperatorFactory, clean: Tensor) -> Tensor:
    if family.spec.name != "downsample":
        return y
    return torch.nn.functional.interpolate(y, size=clean.shape[-2:], mode="bicubic", align_corners=False)


def _seen(x: Tensor, y: Tensor, family: OperatorFactory) -> Pixels:
    """The part of an image that the measurement shows, clipped to [0, 1]: (channels, height, width) of each frame."""
    if family.spec.options.get("boundary") == "valid" and x.shape != y.shape:
        (height, width), (rows, columns) = y.shape[-2:], (x.shape[-2] - y.shape[-2] + 1, x.shape[-1] - y.shape[-1] + 1)
        top, left = rows - 1 - rows // 2, columns - 1 - columns // 2
        x = x[..., top : top + height, left : left + width]
    real = x.abs() if x.is_complex() else x
    seen: Pixels = real.double().clamp(0, 1).numpy()
    return seen


def figures(found: Pixels, truth: Pixels) -> tuple[float, float]:
    """PSNR in dB and SSIM of images (frames, channels, height, width) on [0, 1], each a mean over the frames."""
    ssim = [structural_similarity(t, f, data_range=1.0, channel_axis=0) for t, f in zip(truth, found, strict=True)]
    return _psnr(found, truth), float(np.mean(ssim))


def _psnr(found: Pixels, truth: Pixels) -> float:
    if (found == truth).all():
        return math.inf
    return float(np.mean([peak_signal_noise_ratio(t, f, data_range=1.0) for t, f in zip(truth, found, strict=True)]))
