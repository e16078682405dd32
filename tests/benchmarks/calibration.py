"""Grids for the rules of recon.methods.regularisation_weights and noise_levels, on validation images.

    python tests/benchmarks/calibration.py below DATA [--model proved-gray]
    python tests/benchmarks/calibration.py step DATA --model FOLDER
    python tests/benchmarks/calibration.py tseng DATA --model FOLDER
    python tests/benchmarks/calibration.py contrast DATA [--side 160]
    python tests/benchmarks/calibration.py codes DATA [--model csc-gray] [--images 3 --side 64]

DATA is a folder of images on which nothing is tested: photographs, or for *contrast* also CT slices, averaged by two.
*contrast*: total variation at factors of the rule with S = 1, and the rule; before it the contrast and the spread of
the images. *below*: denoising at less noise than a network was made
for, by each way of using it. *step*: Douglas-Rachford at the middle of its range, by the ratio of that level to the
noise that a step leaves. *tseng*: by the part of the longest step size. *codes*: coefficients in a dictionary, after a
blur and with half of the pixels missing, by the weight over that of denoising; beside it total variation, and the rule
on one lattice alone. Mean PSNR in dB over central crops; the best of
a row is in brackets, what ``recon`` does is starred.
"""

import math
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from recon import catalogue, io
from recon.methods.choice import choose_method
from recon.methods.contrast import contrast, spread
from recon.methods.entry import INSIDE_TSENG
from recon.methods.noise_levels import adaptation_of
from recon.methods.operator_pair import analyse_operator
from recon.methods.regularisation_weights import code_weight, free_stepsize, power_below, scale_of, tv_weight
from recon.methods.stepsizes import mean_column
from recon.operators import Blur, Inpainting, LeastSquares, box_psf, gaussian_psf, normalise_psf
from recon.priors import relaxed_prior, scaled_prior, total_variation, total_variation_prior, weighted_prior
from recon.priors.networks import Network, dictionary_prior, learned_prior, load
from recon.reconstruction.file_names import expand_inputs
from recon.solvers import Algorithm, douglas_rachford, solve, tseng
from recon.types import LinearOperator

KERNELS = Path(__file__).resolve().parents[2] / "data" / "kernels"
SHARES, EXPONENTS = (0.1, 0.25, 0.5, 0.8), (1.25, 1.5, 1.75, 2.0)
NOISES, RATIOS = (0.0025, 0.005, 0.01, 0.02, 0.04), (0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
FACTORS = (0.35, 0.5, 0.71, 1.0, 1.4, 2.0, 2.8, 4.0)
PARTS = (0.5, 0.7, 0.9, INSIDE_TSENG, 0.995)
CODED_NOISES, CODED_PARTS, CODED_STEPS = (0.005, 0.02, 0.05), (1.0, 0.7, 0.5, 0.35, 0.25, 0.18), 300
STEPS, RELAXATION = 100, 1.9
"""Of Douglas-Rachford, which takes 20 to 70."""


@click.command()
@click.argument("study", type=click.Choice(["below", "step", "tseng", "contrast", "codes"]))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--model",
    help="A packaged network, or the folder of a single resolvent for step and tseng.  [default: proved-gray]",
)
@click.option("--images", default=6, show_default=True, help="How many, evenly chosen.")
@click.option("--side", default=72, show_default=True, help="Of the crops.")
def command(study: str, data: Path, model: str | None, images: int, side: int) -> None:
    if study == "contrast":
        of_contrast(data, images, side)
        return
    name = model or ("csc-gray" if study == "codes" else "proved-gray")
    network = load(catalogue.folders().get(name, Path(name)))
    clean = crops(data, images, side, network.config.channels)
    {"below": below, "step": step, "tseng": of_tseng, "codes": of_codes}[study](network, clean)


def crops(data: Path, count: int, side: int, channels: int) -> Tensor:
    """(count, channels, side, side), the middle of every so many images."""
    files = expand_inputs((str(data),))
    found = [io.to_tensor(io.read(file)) for file in files[:: max(1, len(files) // count)][:count]]
    fitting = [image.mean(1, keepdim=True) if channels == 1 else image for image in found]
    return torch.cat([middle(image, side).expand(-1, channels, -1, -1) for image in fitting])


def middle(image: Tensor, side: int) -> Tensor:
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    return image[..., top : top + side, left : left + side]


def of_contrast(data: Path, count: int, side: int) -> None:
    """Denoising and deblurring by total variation; the starred factor is what the contrast of an image makes of it."""
    clean = crops(data, count, side, 1)
    if io.read(expand_inputs((str(data),))[0]).units == "HU":
        clean = torch.nn.functional.avg_pool2d(crops(data, count, 2 * side, 1), 2)
    contrasts, spreads = ([measure(image) for image in clean] for measure in (contrast, spread))
    print(f"contrast {_mean(contrasts):.4f}, spread {_mean(spreads):.3f}: geometric means")
    shake = blurs(clean.shape[-2:])["levin09_1"]
    for name, operator, noises in (("denoising", None, NOISES), ("levin09_1", shake, NOISES[::2])):
        for noise in noises:
            show(f"{name}, noise {noise:g}", weighted(operator, clean, noise), "rule")


def weighted(operator: LinearOperator | None, clean: Tensor, noise: float) -> dict[str, float]:
    """The mean PSNR by the factor of the weight with S = 1, and by the rule."""
    row: dict[str, list[float]] = {}
    for image in clean.split(1):
        y = image + noise * noise_like(image) if operator is None else measured(operator, image, noise).measurement
        plain, rule = (tv_weight(noise, operator is not None, s) for s in (1.0, scale_of(contrast(y), noise)))
        weights = {f"{factor:g}": factor * plain for factor in FACTORS} | {"rule": rule}
        for label, weight in weights.items():
            row.setdefault(label, []).append(psnr(of_variation(operator, y, weight), image))
    return {label: sum(values) / len(values) for label, values in row.items()}


def of_variation(operator: LinearOperator | None, y: Tensor, weight: float) -> Tensor:
    if operator is None:
        return total_variation(weight, accuracy=1e-3, max_steps=20_000)(y)
    pair = analyse_operator(operator, None, torch.zeros_like(y))
    method = choose_method(pair, total_variation_prior(weight), "condat_vu", weight=weight)
    return solve(method.algorithm(y), y, tolerance=1e-4, max_steps=150).x


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def below(network: Network, clean: Tensor) -> None:
    """Scaling, the share, and powers of the weight; the first column is the noisy image."""
    low, _ = network.config.noise_range
    end = learned_prior(network, low if network.conditioned else None)
    for part in SHARES:
        noisy = clean + part * low * noise_like(clean)
        ways = {"scaled": scaled_prior(end, part), "share": relaxed_prior(end, part**2)}
        if end.value is not None:  # of a potential, which can be multiplied
            ways |= {f"weight^{power:g}": weighted_prior(end, part**power) for power in EXPONENTS}
        done = adaptation_of(network, part * low)
        starred = "share" if done.share != 1 else "scaled" if done.factor == 1 else f"weight^{exponent():g}"
        row = {"noisy": psnr(noisy, clean)}
        row |= {name: psnr(prior.resolvent(1.0)(noisy), clean) for name, prior in ways.items()}
        show(f"noise {part * low:.4f}", row, starred)


def exponent() -> float:
    return round(math.log(power_below(0.5)) / math.log(0.5), 3)


def blurs(shape: tuple[int, int]) -> dict[str, Blur]:
    shake = normalise_psf(torch.from_numpy(np.load(KERNELS / "levin09_1.npy")))
    kernels = {
        "levin09_1": shake,
        "box 5": box_psf(5),
        "gaussian 1.5": gaussian_psf(1.5),
        "gaussian 3": gaussian_psf(3.0),
    }
    return {name: Blur(kernel, image_shape=shape) for name, kernel in kernels.items()}


def step(network: Network, clean: Tensor) -> None:
    """Douglas-Rachford: the best ratio of the level to the noise that a step leaves."""
    low, high = network.config.noise_range
    level = math.sqrt(low * high)
    prior = learned_prior(network, level if network.conditioned else None).resolvent(1.0)
    for name, blur in blurs(clean.shape[-2:]).items():
        column = mean_column(blur, clean[:1])
        for noise in NOISES:
            data = measured(blur, clean, noise)
            sizes = {f"{ratio:g}": level / (ratio * noise * column) for ratio in RATIOS}
            sizes["rule"] = free_stepsize(level, noise, noise * column)
            row = {
                label: ended(douglas_rachford(data.resolvent(size), prior, RELAXATION), data, clean, STEPS)
                for label, size in sizes.items()
            }
            show(f"{name}, noise {noise:g}", row, "rule")


def of_tseng(network: Network, clean: Tensor) -> None:
    """Tseng's method, matched by twice the noise that a step leaves, as it is by default."""
    for name, blur in blurs(clean.shape[-2:]).items():
        noise, square = 0.02, blur.properties.norm.value**2
        data, column = measured(blur, clean, noise), mean_column(blur, clean[:1])
        row = {}
        for part in PARTS:
            use = adaptation_of(network, 2 * part / square * noise * column)
            prior = use.of(learned_prior(network, use.level if network.conditioned else None)).resolvent(1.0)
            row[f"{part:g}"] = ended(tseng(data, prior, part / square), data, clean, 1000)
        show(f"{name}, noise {noise:g}", row, f"{INSIDE_TSENG:g}")


def of_codes(network: Network, clean: Tensor) -> None:
    """The weight of coefficients, as a part of that for denoising."""
    low, high = network.config.noise_range
    half = torch.rand(clean.shape[-2:], generator=torch.Generator().manual_seed(3)) > 0.5
    for name, operator in {**blurs(clean.shape[-2:]), "half of the pixels": Inpainting(half)}.items():
        mixes = not isinstance(operator, Inpainting)
        for noise in CODED_NOISES:
            data, level = measured(operator, clean, noise), min(max(noise, low), high)
            rule, of_denoising = (code_weight(noise, level, blurs=each) for each in (mixes, False))
            row = {"tv": psnr(of_variation(operator, data.measurement, tv_weight(noise, mixes)), clean)}
            row["one lattice"] = psnr(coded(network, data, level, rule, 1), clean)
            weights = {f"{part:g}": part * of_denoising for part in CODED_PARTS} | {"rule": rule}
            row |= {label: psnr(coded(network, data, level, weight), clean) for label, weight in weights.items()}
            show(f"{name}, noise {noise:g}", row, "rule")


def coded(network: Network, data: LeastSquares, level: float, weight: float, lattices: int | None = None) -> Tensor:
    like = torch.zeros(1, 1, *data.measurement.shape[-2:])
    prior = dictionary_prior(network, level, weight, lattices)
    method = choose_method(analyse_operator(data.operator, None, like), prior, like=like)
    y = data.measurement
    return solve(method.algorithm(y), torch.zeros_like(y), tolerance=1e-4, max_steps=CODED_STEPS).x


def measured(blur: LinearOperator, clean: Tensor, noise: float) -> LeastSquares:
    return LeastSquares(blur, blur.A(clean) + noise * noise_like(clean))


def noise_like(clean: Tensor) -> Tensor:
    return torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def ended(algorithm: Algorithm, data: LeastSquares, clean: Tensor, steps: int) -> float:
    return psnr(solve(algorithm, data.measurement, tolerance=1e-4, max_steps=steps).x, clean)


def psnr(image: Tensor, clean: Tensor) -> float:
    return float(-10 * torch.log10((image - clean).square().mean((1, 2, 3))).mean())


def show(label: str, row: dict[str, float], starred: str) -> None:
    best = max(row.values())
    cells = (f"{name} {f'[{value:.2f}]' if value == best else f'{value:.2f}'}{'*' if name == starred else ''}"
             for name, value in row.items())  # fmt: skip
    print(f"{label:<26}", "  ".join(cells), flush=True)


if __name__ == "__main__":
    command()
