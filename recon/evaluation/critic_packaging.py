"""Packaging of a trained critic: copy it, judge images that nothing was tuned on, and write its card and certificate.

    python -m recon.evaluation.critic_packaging runs/x models/critic-ct --test NAME=DIR [--good DIR] [--bad DIR]

The threshold is that of the validation. The card gains the AUROC of each kind of artefact on the test images and the
share of false alarms among them, and among good reconstructions; the certificate is the proved Lipschitz constant of
the score.
"""

import shutil
from pathlib import Path

import click
import torch
from torch import Tensor

from recon.catalogue import CARD, DESCRIPTION, read_card
from recon.evaluation.packaging import differing, in_force, of_run, write
from recon.priors.networks import load_critic
from recon.reconstruction.file_names import expand_inputs
from recon.training import Recipe, read_recipe
from recon.training.artefacts import RECONSTRUCTIONS
from recon.training.critic import judge
from recon.training.data import read_validation

_MOST = 10**6


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--test", required=True, metavar="NAME=DIR", help="Clean images that nothing was tuned on.")
@click.option("--good", multiple=True, metavar="DIR", help="Reconstructions of them without artefacts; repeatable.")
@click.option("--bad", multiple=True, metavar="DIR", help="Reconstructions of them with artefacts; repeatable.")
def main(run: Path, folder: Path, test: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    """Package the critic of a run."""
    recipe = read_recipe(folder / "config.toml")
    differing(in_force(recipe), in_force(of_run(run)))
    card, critic = read_card(run), load_critic(run)
    name, _, where = test.partition("=")
    images, restored, spoilt = (_read(recipe, given) for given in ((where,), good, bad))
    if not spoilt and RECONSTRUCTIONS in recipe.artefacts.kinds:
        raise click.UsageError(
            f"--bad is missing; expected images, because the critic was trained on {RECONSTRUCTIONS}."
        )
    found = judge(critic, images, recipe, card["alarm"]["threshold"], spoilt)
    false = sum(score > found.threshold for score in found.clean)
    how = f"{false} of {len(images)} images without artefacts, {name}"
    if restored:
        with torch.no_grad():
            above = sum(float(critic(image)) > found.threshold for image in restored)
        how += f"; {above} of {len(restored)} good reconstructions of such"
    about = {key: getattr(recipe.about, key) for key in ("title", "data", "licence", "limits")}
    card["about"] = card["recipe"]["about"] = about
    card["alarm"]["false_alarms"] = {
        "value": round(false / len(images), 4),
        "evidence": "measured",
        "how": how,
    }
    card["tests"] = [
        {"data": name, "artefact": each.kind, "auroc": round(each.auroc, 4), "found": round(each.found, 4)}
        for each in found.kinds
    ]
    known = critic.lipschitz()
    constants = [{"name": "lipschitz_score", "value": known.value, "evidence": str(known.evidence), "how": known.how}]
    for each in (DESCRIPTION, "weights.safetensors"):
        shutil.copyfile(run / each, folder / each)
    write(folder / "certificate.json", {"subject": f"model:{folder.name}", "constants": constants})
    write(folder / CARD, card)
    for kind in found.kinds:
        click.echo(f"{kind.kind}: AUROC {kind.auroc:.3f}, found {kind.found:.2f}")
    click.echo(f"false alarms: {how}")


def _read(recipe: Recipe, given: tuple[str, ...]) -> list[Tensor]:
    if not given:
        return []
    return read_validation(
        expand_inputs(given), recipe.data, recipe.network.channels, _MOST, recipe.validation.crop, click.echo
    )


if __name__ == "__main__":
    main()
