"""A recipe for measurements of an operator that a user states beside it."""

from dataclasses import replace

from recon.errors import UsageError
from recon.training.config import WITHOUT_CLEAN, Recipe


def for_measurements(recipe: Recipe, operator: str) -> Recipe:
    """The recipe for data that are measurements of an operator.

    A recipe for denoising becomes one through the converged solver, at the step size 1/||A||^2.

    Raises:
        UsageError: Its loss compares with clean images.
    """
    training, equilibrium = recipe.training, replace(recipe.equilibrium, operator=operator, kernel="")
    if training.loss not in WITHOUT_CLEAN:
        raise UsageError(
            f"operator is {operator!r} with training.loss = {training.loss!r}; expected one of "
            f"{', '.join(map(repr, WITHOUT_CLEAN))}, because the data are then measurements (for clean images the "
            "operator is stated as equilibrium.operator)."
        )
    if not recipe.solves:
        training, equilibrium = replace(training, mode="equilibrium"), replace(equilibrium, stepsize=0.0)
    return replace(recipe, training=training, equilibrium=equilibrium)
