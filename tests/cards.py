"""Cards of networks in folders, as tests want them."""

import json
from pathlib import Path

from recon.catalogue import identity_of


def write_card(folder: Path, **said: object) -> None:
    """A card of the network in a folder that says what is given."""
    (folder / "card.json").write_text(json.dumps({"sha256": identity_of(folder), **said}))
