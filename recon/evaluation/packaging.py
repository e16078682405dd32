"""Packaging of a finished training: copy the network, test it, and write its card and its certificate.

    python -m recon.evaluation.packaging runs/x models/proved-gray --validation DIR --test BSD68=DIR --test Set12=DIR

The card keeps what the training wrote, with the words of ``[about]`` in the folder's config.toml and the mean PSNR of
``recon evaluate --operator identity --method forward_backward --iterations 1``, which is J(y), on each test set at the
noise levels of its validation. The certificate is that of ``recon certify prior``. A network without a proof is
searched as a whole, from validation images too, and is packaged only where no search finds more than 1. With
``--clip`` what the Q of a DnCNN sees of details is clipped first, and with ``--divide`` it is divided, which costs
sharpness and no brightness. The figures are of what is packaged.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import Tensor

from recon.catalogue import CARD, DESCRIPTION, identity_of, read_card
from recon.certificates import asymmetry
from recon.evaluation.evaluate import evaluate, mean
from recon.evidence import Evidence
from recon.io import replacing
from recon.methods.network_search import WHOLE
from recon.priors.networks import ConvexRidge, ConvolutionalSparseCoding, DnCNN, DnCNNConfig, Network, load, save
from recon.priors.networks.files.card import LEAST_SIDE, ROUNDING
from recon.reconstruction.certify import Report, certify_prior
from recon.reconstruction.file_names import expand_inputs
from recon.specs.grammar import Spec
from recon.specs.solve_config import config_from
from recon.training import Recipe, read_recipe
from recon.training.config import recipe_from, to_json
from recon.training.data import read_validation
from recon.training.trainer import as_kept
from recon.training.validation import validate

_STARTS, _SIDE = 2, 192
"""Validation images that the search for violations begins in, and how much of their middle."""

_PROVED_STARTS, _PROVED_SIDE = 1, 64
"""The same of a network with a proof, whose claim does not rest on the search."""

EXTENT = WHOLE
"""Of the search of a network without a proof."""

COPIED = (DESCRIPTION, "weights.safetensors")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--validation", type=click.Path(path_type=Path, exists=True), required=True, metavar="DIR",
              help="Where the search for violations begins, besides its own images.")  # fmt: skip
@click.option("--test", "tests", multiple=True, metavar="NAME=DIR", help="Clean images that nothing was tuned on.")
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values of the test images that become 0 and 1.")
@click.option("--clip", type=float, metavar="C", help="Clip what the Q of a DnCNN sees of details at C.")
@click.option("--divide", type=float, default=1.0, metavar="D", help="Divide the Q of a DnCNN on details by D.")
def main(  # noqa: PLR0913, PLR0917  the arguments of the command
    run: Path, folder: Path, validation: Path, tests: tuple[str, ...], value_range: str | None, clip: float | None,
    divide: float,
) -> None:  # fmt: skip
    """Package a run: everything is found out on a copy, and a folder that is a package is one all the time."""
    differing(in_force(read_recipe(folder / "config.toml")), in_force(of_run(run)))
    with TemporaryDirectory() as copy:
        copied(run, Path(copy), clip, divide)
        card, certificate = found_out(run, Path(copy), folder, validation, tests, value_range)
        for name in COPIED:
            shutil.copyfile(Path(copy) / name, folder / name)
    write(folder / "certificate.json", certificate)
    write(folder / CARD, card)


def found_out(  # noqa: PLR0913, PLR0917  the arguments of the command
    run: Path, copy: Path, folder: Path, validation: Path, tests: tuple[str, ...], value_range: str | None
) -> tuple[dict[str, object], dict[str, object]]:
    """The card and the certificate."""
    recipe, card = read_recipe(folder / "config.toml"), read_card(run)
    network = load(copy)
    proved = network.lipschitz_Q(recipe.levels[0]).evidence is Evidence.PROVED
    images = starts_of(recipe, validation, *((_PROVED_STARTS, _PROVED_SIDE) if proved else (_STARTS, _SIDE)))
    report = certify_prior(Spec("folder", value=str(copy)), images=images, say=click.echo, extent=EXTENT)
    card = known(card, recipe, report, copy)
    config = network.config
    if isinstance(config, DnCNNConfig):  # of the recipe's network, when it had been trained
        card["packaged"] = {"clip": config.clip, "divisor": config.divisor}
    if not _is_prox(network):
        card["asymmetry_Q"] = asymmetric(copy, recipe, validation)
    card["figures"] = validated(copy, recipe, validation)
    card["tests"] = [
        figure
        for name, _, data in (test.partition("=") for test in tests)
        for figure in measured(name, data, copy, recipe.levels, value_range)
    ]
    return card, named(report, copy, folder.name)


def _is_prox(network: Network) -> bool:
    """Return whether Q' is known to be symmetric."""
    if isinstance(network, ConvolutionalSparseCoding):
        return network.iterates and network.config.layers == 1
    return isinstance(network, ConvexRidge)


def starts_of(recipe: Recipe, validation: Path, count: int = _STARTS, side: int = _SIDE) -> dict[str, Tensor]:
    """The validation images that a search begins in, by what they are called."""
    files = expand_inputs((str(validation),))
    images = read_validation(files, recipe.data, recipe.network.channels, count, side, click.echo)
    return {f"validation image {number}": image for number, image in enumerate(images, start=1)}


def asymmetric(folder: Path, recipe: Recipe, validation: Path) -> dict[str, object]:
    """How far Q' is from symmetric at noisy validation images, at the middle level: the largest."""
    network, level = load(folder).frozen(), recipe.levels[len(recipe.levels) // 2]
    told = level if network.conditioned else None
    found = []
    for image in starts_of(recipe, validation).values():
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = image.double() + level * noise
        found.append(asymmetry(network.derivative(x, told), x))
    largest = max(found, key=lambda each: each.value)
    how = f"||Q' - Q'^T|| / ||Q'||, the largest at {len(found)} validation images with noise {level:.3g}; {largest.how}"
    return {"value": round(largest.value, 4), "how": how}


def known(card: dict[str, Any], recipe: Recipe, report: Report, copy: Path) -> dict[str, Any]:
    """A card with what it says of Q, and with the recipe and its words about it."""
    claim, found = report.constants["lipschitz_Q"], report.constants["lipschitz_Q_attack"]
    if claim.evidence is not Evidence.PROVED and found.value > 1 + ROUNDING:
        raise SystemExit(
            f"A search found {found.value:.6g} ({found.how}); expected at most 1, because a network that expands is "
            "not packaged: --divide makes another of it, or another training."
        )
    if claim.evidence is Evidence.ASSUMED:
        raise SystemExit("The validation images are too small for a whole search; expected 96 x 96 pixels and more.")
    words = {name: getattr(recipe.about, name) for name in ("title", "data", "licence", "limits")}
    stated = {"value": claim.value, "evidence": claim.evidence.value, "how": claim.how}
    attack = {"value": found.value, "how": found.how}
    said = {"sha256": identity_of(copy), "about": words, "recipe": to_json(recipe), "lipschitz_Q": stated}
    if claim.evidence is Evidence.PROVED:
        return card | said | {"attack": attack}
    searches = [search.record.to_json() for search in report.searches]
    stated |= {"least_side": LEAST_SIDE}
    return card | said | {"searches": searches, "attack": attack}


def named(report: Report, copy: Path, name: str) -> dict[str, object]:
    """The certificate, of the folder that the copy becomes."""
    text = json.dumps(report.to_json()).replace(f"folder:{copy}", f"model:{name}")
    certificate: dict[str, object] = json.loads(text)
    return certificate


def copied(run: Path, copy: Path, clip: float | None, divide: float) -> None:
    """A copy of the run's network, clipped and divided where that is asked for."""
    for name in COPIED:
        shutil.copyfile(run / name, copy / name)
    if clip is not None:
        save(_dncnn(copy).clipped(clip), copy, overwrite=True)
    if divide != 1:
        save(_dncnn(copy).divided(divide), copy, overwrite=True)


def _dncnn(folder: Path) -> DnCNN:
    network = load(folder)
    if not isinstance(network, DnCNN):
        raise SystemExit(f"The network is a {type(network).__name__}; expected a DnCNN with --clip or --divide.")
    return network


def of_run(run: Path) -> Recipe:
    """The recipe that a run's card states, with the defaults of what it leaves out."""
    stated: Any = read_card(run)["recipe"]
    return recipe_from(stated, str(run / CARD))


def in_force(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says, without the details of a penalty that weighs nothing."""
    stated: dict[str, Any] = to_json(recipe)
    return (
        stated
        if recipe.penalty.weight
        else stated | {"penalty": {"weight": 0.0, "orthogonality": recipe.penalty.orthogonality}}
    )


def differing(wanted: Any, given: Any, where: str = "") -> None:
    """Refuse a run of another recipe; the words about it may be others, and its start may lie elsewhere."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        for key in sorted((wanted.keys() | given.keys()) - {"about", "start"}):
            differing(wanted.get(key), given.get(key), f"{where}.{key}".strip("."))
    elif wanted != given:
        raise SystemExit(f"{where} = {given!r} in the run; expected {wanted!r}, as the folder's config.toml says.")


def validated(folder: Path, recipe: Recipe, validation: Path) -> list[dict[str, float]]:
    """The figures on validation images, of the network as it is packaged."""
    shown = recipe.validation
    images = read_validation(
        expand_inputs((str(validation),)), recipe.data, recipe.network.channels, shown.images, shown.crop, click.echo
    )
    figures = validate(as_kept(load(folder)), images, recipe.levels, True, recipe.training.seed).figures
    return [{"noise": each.noise, "psnr": round(each.psnr, 4), "psnr_noisy": round(each.noisy, 4)} for each in figures]


def measured(
    name: str, where: str, folder: Path, levels: tuple[float, ...], value_range: str | None
) -> list[dict[str, object]]:
    """The mean PSNR and SSIM of denoising at each level."""
    figures = []
    for noise in levels:
        given = {"operator": "identity", "prior": str(folder.resolve()), "noise": repr(noise), "range": value_range,
                 "method": "forward_backward", "iterations": 1}  # fmt: skip
        config = config_from({key: value for key, value in given.items() if value}, where=name)
        scores = evaluate([config], expand_inputs((where,)), lambda line: None)
        means = mean(scores)
        figures.append({"data": name, "noise": noise, "psnr": round(means["psnr"] or 0, 4),
                        "ssim": round(means["ssim"] or 0, 5), "images": len(scores)})  # fmt: skip
        click.echo(f"{name}: noise {255 * noise:.3g} on 255, {means['psnr']:.3f} dB")
    return figures


def write(path: Path, document: dict[str, object]) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
