"""The derivative of a fixed point with respect to whatever its map depends on, by the implicit function theorem."""

import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.solvers.krylov import least_residual, norms, spread
from recon.types import Map

DIMENSION = 25
"""Of the Krylov spaces in which the adjoint equation is solved, one after the other."""

_ACCURACY = {torch.float32: 1e-4, torch.float64: 1e-8}


def implicit(step: Map, point: Tensor, *, accuracy: float | None = None, max_steps: int = 5000) -> Tensor:
    """A fixed point with the graph of what it depends on.

    For ``x = T(x)`` the derivative is ``dx = (Id - T'(x))^-1 dT`` (Bai, Kolter, Koltun 2019). A gradient g of x becomes
    the v with ``v - T'(x)^T v = g``, found by restarted GMRES with one product with T'^T a step, and v then flows into
    one evaluation of T: the memory of that one, however long the iteration was that found the point.

    Args:
        step: T, image to image, differentiable by autograd in the image and in what it depends on.
        point: x, (batch, ...): a fixed point of T, as near as the gradient has to be exact.
        accuracy: Of the adjoint equation: the norm of what is left of it over that of g, for each batch item; ``None``:
            1e-4 in single precision and 1e-8 in double.
        max_steps: The budget of products with T'^T.

    Returns:
        The values of ``point``. Its gradient flows to what T depends on, and not to ``point``; there is no second
        derivative.

    Raises:
        UsageError: T has another shape, or no gradient.
        GuaranteeError: In the backward pass: the adjoint equation is not solved within the budget, as where the
            fixed point is not unique.
    """
    fixed = point.detach()
    with torch.enable_grad():
        image = step(fixed)
    if image.shape != fixed.shape:
        raise UsageError(
            f"implicit: the map makes {tuple(image.shape)} of {tuple(fixed.shape)}; expected the same shape."
        )
    if not (torch.is_grad_enabled() and image.requires_grad):
        return fixed
    found = fixed + (image - image.detach())  # the point, with the graph of one step

    def adjoint(gradient: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise UsageError(
                "implicit: create_graph=True; expected first derivatives only, because the adjoint equation is solved "
                "without a graph."
            )
        wanted = _ACCURACY[gradient.dtype.to_real()] if accuracy is None else accuracy
        return _solved(_transposed(step, fixed), gradient, wanted, max_steps)

    found.register_hook(adjoint)  # type: ignore[no-untyped-call]
    return found


def _transposed(step: Map, point: Tensor) -> Map:
    """``v -> v - T'(x)^T v``."""
    with torch.enable_grad():
        start = point.clone().requires_grad_()
        image = step(start)
    if not image.requires_grad:
        return lambda v: v  # T is constant in x

    def apply(v: Tensor) -> Tensor:
        (moved,) = torch.autograd.grad(image, start, v, retain_graph=True, allow_unused=True)
        return v if moved is None else v - moved

    return apply


@torch.no_grad()
def _solved(system: Map, gradient: Tensor, accuracy: float, max_steps: int) -> Tensor:
    """v with ``system(v) = gradient``, by GMRES begun anew from the best v so far."""
    v, rest, size = torch.zeros_like(gradient), gradient, norms(gradient)
    taken = 0
    while bool((norms(rest) > accuracy * size).any()):
        if taken >= max_steps or not bool(norms(rest).isfinite().all()):
            raise GuaranteeError(
                f"implicit: {float((norms(rest) / size.clamp(min=torch.finfo(size.dtype).tiny)).max()):.2g} of the "
                f"gradient is left after {taken} products with the derivative; expected {accuracy:g}: the solution is "
                "not unique, or nearly so, and such an equation takes more steps or has no solution. A stronger prior "
                "helps."
            )
        open_items = spread((norms(rest) > accuracy * size).to(rest.dtype.to_real()), rest)
        v = v + open_items * least_residual(system, rest, DIMENSION)
        rest = gradient - system(v)
        taken += DIMENSION + 1
    return v
