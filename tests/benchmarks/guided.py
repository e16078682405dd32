"""A guided network beside the unguided one, on validation images: PSNR, steps and CPU time.

    python tests/benchmarks/guided.py DATA [--model guided-color] [--beside proved-color] [--images 6] [--side 112]

DATA is a folder of images on which nothing is tested. *Denoising*: J(y) at noise of 5, 15, 25 and 40 on 255, within
the range of the model. *Deblurring*: the default method with a camera shake, the second solve at several factors of the
weight of the first; that of the rule in recon.methods.regularisation_weights is starred. Every figure is the mean over
central crops of the PSNR in dB, or its gain over the unguided network. The CPU time is relative to that of the unguided
network: a guided run has both solves.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import click
import numba
import numpy as np
import torch
from torch import Tensor

from recon import catalogue, io
from recon.evaluation.evaluate import as_image
from recon.methods.regularisation_weights import guided_factor
from recon.operators import Blur, normalise_psf
from recon.priors.networks import GuidedRidge, guided_prior, learned_prior, load
from recon.reconstruction.file_names import expand_inputs
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.run import execute
from recon.specs.grammar import Spec, parse_spec
from recon.specs.solve_config import Noise, SolveConfig

KERNEL = Path(__file__).resolve().parents[2] / "data" / "kernels" / "levin09_1.npy"
LEVELS, NOISES, FACTORS = (5, 15, 25, 40), (0.0025, 0.005, 0.01, 0.02, 0.04), (1.0, 1.6, 2.4)
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="guided-color", show_default=True, help="A packaged guided network, or a folder.")
@click.option("--beside", default="proved-color", show_default=True, help="The unguided one.")
@click.option("--images", default=6, show_default=True, help="How many, evenly chosen.")
@click.option("--side", default=112, show_default=True, help="Of the crops.")
def main(data: Path, model: str, beside: str, images: int, side: int) -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    guided, plain = _spec(model), _spec(beside)
    network = load(_folder(model))
    shown = crops(data, images, side, network.config.channels)
    denoising(guided, plain, shown)
    for noise in NOISES:
        deblurring(guided, plain, shown, noise)


def denoising(guided: Spec, plain: Spec, shown: Sequence[Tensor]) -> None:
    network, other = load(_folder(guided.value)), load(_folder(plain.value))
    assert isinstance(network, GuidedRidge)
    low, high = network.config.noise_range
    for level in LEVELS:
        noise = level / 255
        if not low * 0.99 <= noise <= high * 1.01:
            continue
        two, one = guided_prior(network, noise, accuracy=1e-3), learned_prior(other, noise, accuracy=1e-3)
        rows = []
        for seed, x in enumerate(shown):
            y = noisy(x, noise, seed)
            began = time.process_time()
            alone = one.resolvent(1.0)(y)
            between = time.process_time()
            found = two.given(two.unguided.resolvent(1.0)(y)).resolvent(1.0)(y)
            took = (between - began, time.process_time() - between)
            rows.append((psnr(alone, x), psnr(found, x), *took))
        before, after, first, both = (fmean(column) for column in zip(*rows, strict=True))
        print(
            f"denoising, {level} on 255: unguided {before:.2f}, guided {after - before:+.2f}, "
            f"CPU {both / first:.1f} times"
        )


def deblurring(guided: Spec, plain: Spec, shown: Sequence[Tensor], noise: float) -> None:
    blur = parse_spec(f"blur:psf={KERNEL}")
    psf = normalise_psf(torch.from_numpy(np.load(KERNEL)).float())
    rows, costs = [], []
    for seed, x in enumerate(shown):
        y = as_image(noisy(Blur(psf, tuple(x.shape[-2:])).A(x), noise, seed))
        config = SolveConfig(blur, plain, noise=Noise(noise), device="cpu")
        (alone,), cost = timed(make_plan(config, y, _silent))
        plan = make_plan(replace(config, prior=guided), y, _silent)
        found, both = timed(plan, guided_factor(noise))
        others = [timed(plan, factor)[0][0] for factor in FACTORS]
        rows.append([psnr(each, x) for each in (alone, *found, *others)])
        costs.append(both / cost)
    before, starred, *rest = (fmean(column) for column in zip(*rows, strict=True))
    by_factor = "  ".join(f"{factor:g}: {value - before:+.2f}" for factor, value in zip(FACTORS, rest, strict=True))
    print(
        f"deblurring, noise {noise:g}: unguided {before:.2f}, guided * {guided_factor(noise):.2f}: "
        f"{starred - before:+.2f}  {by_factor}  CPU {fmean(costs):.1f} times"
    )


def timed(plan: Plan, factor: float | None = None) -> tuple[list[Tensor], float]:
    """The result of a plan and its CPU time; with a factor of the weight of the second solve in place of the rule's."""
    if factor is not None:
        chosen, ruled = plan.problem.prior, guided_factor(plan.problem.noise or 1.0)
        assert chosen.guided is not None
        prior = replace(chosen, guided=chosen.guided.stronger(factor / ruled))
        plan = replace(plan, problem=replace(plan.problem, prior=prior))
    began = time.process_time()
    result = execute(plan)
    return [result.solution.x], time.process_time() - began


def crops(data: Path, count: int, side: int, channels: int) -> list[Tensor]:
    files = expand_inputs((str(data),))
    chosen = [files[index] for index in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    found = []
    for file in chosen:
        x = io.to_tensor(io.read(file), torch.float32)[:1]
        if channels == 1 and x.shape[1] == 3:
            x = (x * _LUMA).sum(1, keepdim=True)
        top, left = ((size - min(size, side)) // 2 for size in x.shape[-2:])
        found.append(x[..., top : top + side, left : left + side].contiguous())
    return found


def noisy(x: Tensor, noise: float, seed: int) -> Tensor:
    return x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def psnr(x: Tensor, y: Tensor) -> float:
    return float(-10 * torch.log10((x - y).square().mean()))


def _folder(name: str | None) -> Path:
    return catalogue.folders().get(name or "", Path(name or ""))


def _spec(name: str) -> Spec:
    return Spec("model" if name in catalogue.folders() else "folder", value=name)


def _silent(line: str) -> None:
    """Remarks are for people."""


if __name__ == "__main__":
    main()
