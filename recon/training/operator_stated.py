"""A recipe for measurements of an operator that a user states beside its file."""

from collections.abc import Mapping
from pathlib import Path

from recon._toml import read_toml
from recon.catalogue import CONVEX_CRITIC
from recon.errors import UsageError
from recon.training.config import Recipe, recipe_from
from recon.training.tables import WITHOUT_CLEAN


def recipe_for_measurements(path: str | Path, operator: str) -> Recipe:
    """The recipe in a file, for data that are measurements of an operator.

    A recipe of a convex critic is one of clean images, which are measured; else the data are measurements. One that
    says no mode is one through the converged solver, at the step size 1/||A||^2 unless it says another.

    Raises:
        UsageError: It cannot be read, or states what cannot be; or its loss compares with clean images.
    """
    return for_measurements(read_toml(Path(path), "training"), operator, str(path))


def for_measurements(table: Mapping[str, object], operator: str, origin: str) -> Recipe:
    """The same of the tables of a recipe; an error begins with ``origin``."""
    training, equilibrium = table.get("training", {}), table.get("equilibrium", {})
    if not (isinstance(training, Mapping) and isinstance(equilibrium, Mapping)):
        return recipe_from(table, origin)  # which says what is wrong
    loss, mode, network = training.get("loss", "mse"), training.get("mode", "denoise"), table.get("network", {})
    of_critic = isinstance(network, Mapping) and network.get("family") == CONVEX_CRITIC
    if of_critic:
        stated = {**equilibrium, "operator": operator, "kernel": ""}
        return recipe_from({**table, "training": {"mode": "single", **training}, "equilibrium": stated}, origin)
    if loss not in WITHOUT_CLEAN:
        raise UsageError(
            f"{origin}: training.loss = {loss!r} with --operator {operator}; expected one of "
            f"{', '.join(map(repr, WITHOUT_CLEAN))}, because the data are then measurements (for clean images the "
            "operator is stated as equilibrium.operator)."
        )
    if mode == "denoise":
        mode = "equilibrium"
    stated = {"stepsize": 0.0, **equilibrium, "operator": operator, "kernel": ""}
    return recipe_from({**table, "training": {**training, "mode": mode}, "equilibrium": stated}, origin)
