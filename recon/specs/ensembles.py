"""Networks that are ensembles, as the priors of their members; what a description says is read without any weights."""

from dataclasses import replace

from recon._toml import read_toml
from recon.catalogue import DESCRIPTION, folders
from recon.errors import InputError
from recon.specs.grammar import Spec

FAMILY = "BatchEnsemble"


def members_of(spec: Spec) -> tuple[Spec, ...]:
    """The members of an ensemble of networks, each as a prior; none of any other prior.

    Raises:
        InputError: The folder holds no description of a network.
    """
    folder = folders().get(spec.value or "") if spec.name == "model" else spec.path(spec.value or spec.name)
    if folder is None or "member" in spec.options or not (folder / DESCRIPTION).is_file():
        return ()  # the reader of priors says what is wrong, where something is
    if spec.name != "model":
        spec = replace(spec, name="folder", value=spec.value or spec.name)
    table = read_toml(folder / DESCRIPTION, "network", InputError)
    stated = table.get("architecture")
    count = stated.get("members") if isinstance(stated, dict) else None
    if table.get("family") != FAMILY or not isinstance(count, int):
        return ()
    return tuple(replace(spec, options={**spec.options, "member": str(number)}) for number in range(1, count + 1))
