"""An image that was had without iterating, as an algorithm, so that one driver and one record serve it too."""

from torch import Tensor

from recon._values import remembered
from recon.solvers.algorithm import Algorithm
from recon.solvers.forward_backward import Iterate


@remembered
def constant(image: Tensor, name: str) -> Algorithm[Iterate]:
    """The algorithm whose every step gives ``image``, (batch, ...): it has converged after two steps."""
    return Algorithm(name, Iterate, lambda state: Iterate(image), lambda state: (state.x,))
