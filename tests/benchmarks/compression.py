"""Networks compressed by inclusion against magnitude pruning: PSNR of denoising at 50, 70 and 90 % sparsity.

    python tests/benchmarks/compression.py NETWORK --data DIR --validation DIR [--json]

NETWORK is model:NAME or a folder. Magnitude pruning sets the smallest weights of each layer to 0, without retraining.
The samples are of the first folder, the figures of the second; with --structured filters go, and the speed is printed.
"""

import copy
import json
import sys
import time
from pathlib import Path

import click
import torch

from recon.compression import compress
from recon.compression.measure import seconds
from recon.compression.package import source_of
from recon.compression.sparse import kept_of
from recon.priors.networks import ConvexRidge, DnCNN, GuidedRidge, Network, load
from recon.reconstruction.file_names import expand_inputs
from recon.training.data import read_patches, read_validation
from recon.training.sparsity import keep_largest
from recon.training.tables import DataConfig
from recon.training.trainer import as_kept
from recon.training.validation import validate

SPARSITIES = (0.5, 0.7, 0.9)
COUNT, PATCH, IMAGES, CROP = 24, 48, 8, 128


def pruned(network: Network, sparsity: float) -> Network:
    """The smallest weights of each compressible layer set to 0."""
    twin = copy.deepcopy(network)
    for kernel in kernels_of(twin):
        with torch.no_grad():
            keep_largest(kernel, kept_of(kernel.numel(), sparsity))
    return twin


def kernels_of(network: Network) -> list[torch.Tensor]:
    """What is compressed."""
    if isinstance(network, DnCNN):
        return list(network.kernels)
    assert isinstance(network, ConvexRidge)
    found = list(network.filters.kernels)[1:]
    if isinstance(network, GuidedRidge) and network.mask.corrector is not None:
        found += [parameter for parameter in network.mask.corrector.parameters() if parameter.ndim == 4]
    return found


def psnr(network: Network, images: list[torch.Tensor], levels: tuple[float, ...]) -> float:
    return validate(as_kept(network.eval()), images, levels, True).psnr


@click.command()
@click.argument("network")
@click.option("--data", required=True, multiple=True)
@click.option("--validation", required=True, multiple=True)
@click.option("--noise", type=float, default=25 / 255, help="Of a network that is told none.")
@click.option("--structured", is_flag=True)
@click.option("--sparsity", "sparsities", multiple=True, type=float)
@click.option("--json", "as_json", is_flag=True)
def main(  # noqa: PLR0917  the arguments of the command
    network: str,
    data: tuple[str, ...],
    validation: tuple[str, ...],
    noise: float,
    structured: bool,
    sparsities: tuple[float, ...],
    as_json: bool,
) -> None:
    """Print the comparison."""
    dense, generator = load(source_of(network)), torch.Generator().manual_seed(0)
    config, channels, quiet = DataConfig(patch=PATCH), dense.config.channels, lambda line: None
    clean = read_patches(expand_inputs(data), config, channels, 0, quiet).draw(COUNT, generator)[0]
    shown = read_validation(expand_inputs(validation), config, channels, IMAGES, CROP, quiet)
    low, high = dense.config.noise_range if dense.conditioned else (noise, noise)
    level = low * (high / low) ** torch.linspace(0, 1, COUNT)[torch.randperm(COUNT, generator=generator)]
    levels = tuple(dict.fromkeys((low, (low * high) ** 0.5, high)))
    noisy = clean + level.view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
    cases: dict[str, dict[str, float]] = {"dense": {"psnr": psnr(dense, shown, levels)}}
    for sparsity in sparsities or SPARSITIES:
        began = time.perf_counter()
        small = compress(dense, noisy, sparsity, noise_level=level, structured=structured).network
        found = {"psnr": psnr(small, shown, levels), "seconds": time.perf_counter() - began}
        if structured:
            before, after = seconds([as_kept(dense), as_kept(small)], high)
            found["times_faster"] = before / after
        else:
            found["magnitude"] = psnr(pruned(dense, sparsity), shown, levels)
        cases[f"{sparsity:g}"] = found
        if not as_json:
            print(
                f"{Path(network).name} {sparsity:g}: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()), flush=True
            )
    if as_json:
        json.dump(cases, sys.stdout)
    else:
        said = ", ".join(f"{255 * each:.3g}" for each in levels)
        print(f"dense: {cases['dense']['psnr']:.3f} dB, {len(shown)} images, noise {said} on 255")


if __name__ == "__main__":
    main()
