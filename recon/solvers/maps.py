"""The arguments of solvers: maps from images to images, refused by name where they are something else."""

from recon.errors import UsageError
from recon.operators import LeastSquares
from recon.priors import Prior
from recon.types import LinearOperator


def require_maps(solver: str, gradients: dict[str, object], resolvents: dict[str, object]) -> None:
    """Refuse what is no map, and data terms and resolvents in each other's place.

    Args:
        solver: What the error calls the solver.
        gradients: The maps of the data, by the names of their arguments; ``None`` counts as left out.
        resolvents: The resolvents, likewise.

    Raises:
        UsageError: Which argument is what, and what was expected.
    """
    for name, given in (gradients | resolvents).items():
        if given is not None and (not callable(given) or isinstance(given, Prior)):
            raise UsageError(f"{solver}: {name} is a {type(given).__name__}; expected {_instead(given)}.")
    for name, given in resolvents.items():
        if isinstance(given, LeastSquares):
            raise UsageError(
                f"{solver}: {name} is a LeastSquares, a map of the data; expected a resolvent there, and the map of "
                "the data before it."
            )


def _instead(given: object) -> str:
    if isinstance(given, Prior):
        return "one of its resolvents, prior.resolvent(stepsize)"
    if isinstance(given, LinearOperator):
        return "a map of the data, LeastSquares(operator, measurement)"
    return "a map from images to images"
