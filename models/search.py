"""Searches a packaged network for violations anew, and writes what its card and its certificate say of Q.

    python models/search.py models/mmo-gray --validation DIR

For when the search has become harder, or ``[about]`` in config.toml says more: the weights and the figures stay. Where
it finds more than 1 on images of which the card would speak, nothing is written, and ``models/package.py`` with
``--divide`` is what mends it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from recon.models.package import (
    Search,
    copied,
    differing,
    in_force,
    known,
    named,
    of_run,
    searched,
    starts_of,
    worst,
    write,
)

from recon.catalogue import CARD, read_card
from recon.evidence import Measured
from recon.training import read_recipe


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--validation", type=click.Path(path_type=Path, exists=True), required=True, metavar="DIR",
              help="Where the search begins, besides its own images.")  # fmt: skip
def main(folder: Path, validation: Path) -> None:
    """Search FOLDER anew."""
    recipe, card = read_recipe(folder / "config.toml"), read_card(folder)
    differing(in_force(recipe), in_force(of_run(folder)))
    with TemporaryDirectory() as copy:
        copied(folder, Path(copy), None, 1.0)  # without the card, which the certificate would believe
        report, searches = searched(Path(copy), starts_of(recipe, validation))
        certificate = named(report, Path(copy), folder.resolve().name)
    if searches:  # of a network without a proof
        searches += earlier(card, searches)
    if (most := worst(searches)) > 1:
        raise SystemExit(f"{folder}: a search found {most:.6g}; expected at most 1, so nothing was written.")
    write(folder / "certificate.json", certificate)
    found = known(recipe, report, searches)
    kept = {name: value for name, value in card.items() if name in found or name != "searches"}  # none with a proof
    write(folder / CARD, kept | found)


def earlier(card: dict[str, Any], searches: list[Search]) -> list[Search]:
    """Those on the card at other levels or on other sides: of the same weights they found what they found."""
    again = {(f"{search.noise:.6g}", search.side) for search in searches}
    listed = [
        Search(float(each["noise"]), int(each["side"]), Measured(float(each["value"]), str(each["how"])))
        for each in card.get("searches", [])
    ]
    return [search for search in listed if (f"{search.noise:.6g}", search.side) not in again]


if __name__ == "__main__":
    main()
