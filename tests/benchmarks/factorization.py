"""Factors of dense matrices: time and error beside pyfaust, lazylinop and a fit by Adam; application beside dense.

Targets: DFT and Walsh-Hadamard of 1024 below 1e-13 in under 1 s; with noise, a smaller error and less time than a fit
by Adam; application at 4096 in at most a tenth of the time of the dense product, real and complex, batched. Peers
that are not installed are left out; a product of two dense matrices of the size stands beside them.
"""

import importlib.util
import math
import warnings

import torch
from timing import compare, report

from recon.factorization import factorise
from recon.factorization.butterfly import best_order, butterfly_factors, digit_reversal, radices_of
from recon.operators import Blocks, Factorised, Space

SIZE, LARGE, BATCH, ROUNDS = 1024, 4096, 16, 5
NOISY, NOISE, ADAM_STEPS, ADAM_RATE = 128, 0.01, 600, 2e-2


def run() -> dict[str, dict]:
    torch.manual_seed(0)
    found = {}
    for name, matrix in (("Hadamard", hadamard(SIZE)), ("DFT", fourier(SIZE))):
        ours = factorise(matrix, "butterfly")
        if not ours.error.value < 1e-13 * max(1.0, math.sqrt(SIZE / 1024)):
            raise SystemExit(f"{name}: the proved error is {ours.error.value:.2g}; expected less than 1e-13.")
        found[f"factorise {name} {SIZE}"] = compare(
            {"ours": lambda matrix=matrix: factorise(matrix, "butterfly"), **peers(matrix)}, ROUNDS, warm_up=1
        )
    found |= against_adam()
    with torch.no_grad():
        for name, matrix in (("real", hadamard(LARGE).float()), ("complex", fourier(LARGE).to(torch.complex64))):
            found[f"apply {name} {LARGE}, batch {BATCH}"] = application(matrix)
    return found


def hadamard(size: int) -> torch.Tensor:
    made = torch.ones(1, 1, dtype=torch.float64)
    while len(made) < size:
        made = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), made) / 2**0.5
    return made


def fourier(size: int) -> torch.Tensor:
    return torch.fft.fft(torch.eye(size, dtype=torch.complex128), norm="ortho")


def peers(matrix: torch.Tensor) -> dict:
    """The same factorisation by the packages that are installed; both are told the order that we find."""
    made = {"one dense product": lambda: matrix @ matrix}
    inner = matrix[:, digit_reversal(radices_of(len(matrix)))] if matrix.is_complex() else matrix
    if importlib.util.find_spec("pyfaust"):
        from pyfaust.fact import butterfly  # noqa: PLC0415

        made["pyfaust butterfly"] = lambda: butterfly(inner.numpy(), type="bbtree")
    if importlib.util.find_spec("lazylinop") and importlib.util.find_spec("pandas"):  # without it, it cannot start
        from lazylinop.butterfly import Chain, ksd  # noqa: PLC0415

        chain = Chain.square_dyadic(tuple(matrix.shape))
        made["lazylinop ksd"] = lambda: ksd(inner, chain)
    return made


def against_adam() -> dict[str, dict]:
    """A noisy butterfly product: our factors, and those of Adam from a random start on the same supports."""
    radices = radices_of(NOISY)
    true = Factorised(tuple(drawn(radices)), Space((NOISY,)), Space((NOISY,))).dense_form()[0]
    true = true / torch.linalg.matrix_norm(true)
    noisy = true + NOISE / NOISY * torch.randn(NOISY, NOISY, dtype=torch.float64)
    results: dict[str, torch.Tensor] = {}

    def ours() -> None:
        results["ours"] = factorise(noisy, "butterfly", tolerance=0.9).operator.dense_form()[0]

    def adam() -> None:
        results["adam"] = fitted_by_adam(noisy, radices)

    case = compare({"ours": ours, "Adam": adam}, 1, warm_up=1, targets={"Adam": 1.0})
    errors = {name: float(torch.linalg.matrix_norm(each - noisy)) for name, each in results.items()}
    if not errors["ours"] < errors["adam"]:
        raise SystemExit(f"noisy butterfly: our error is {errors['ours']:.3g} and Adam's {errors['adam']:.3g}.")
    said = ", ".join(f"{name} {error:.9f}" for name, error in errors.items())
    return {f"noisy butterfly {NOISY}, relative error {said}": case}


def drawn(radices: tuple[int, ...]) -> list[Blocks]:
    shapes = [
        (math.prod(radices[:number]), math.prod(radices[number + 1 :]), radix, radix)
        for number, radix in enumerate(radices)
    ]
    return [Blocks(torch.randn(shape, dtype=torch.float64)) for shape in shapes]


def fitted_by_adam(matrix: torch.Tensor, radices: tuple[int, ...]) -> torch.Tensor:
    parameters = [(factor.blocks / 2**0.5).requires_grad_() for factor in drawn(radices)]
    scale = float(matrix.abs().mean()) ** (1 / len(radices))
    with torch.no_grad():
        for each in parameters:
            each.mul_(scale)
    optimiser = torch.optim.Adam(parameters, lr=ADAM_RATE * scale)
    units = torch.eye(len(matrix), dtype=torch.float64)

    def product() -> torch.Tensor:
        made = units
        for each in reversed(parameters):
            made = Blocks.apply(Blocks(each.detach()), made, each)
        return made

    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        (product() - matrix).square().sum().backward()
        optimiser.step()
    return product().detach()


def application(matrix: torch.Tensor) -> dict:
    radices, is_complex = radices_of(len(matrix)), matrix.is_complex()
    double = matrix.to(torch.complex128 if is_complex else torch.float64)
    factors, _ = butterfly_factors(double, radices, best_order(double, radices))
    del double
    space = Space((len(matrix),), is_complex)
    fast = Factorised(factors, space, space)
    x = torch.randn(BATCH, len(matrix), dtype=matrix.dtype)
    error = float((fast.A(x) - x @ matrix.T).abs().max() / (x @ matrix.T).abs().max())
    if not error < 1e-4:
        raise SystemExit(f"application: factors and matrix differ by {error:.2g}; expected at most 1e-4.")
    return compare({"ours": lambda: fast.A(x), "dense": lambda: x @ matrix.T}, 3 * ROUNDS, targets={"dense": 0.1})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
