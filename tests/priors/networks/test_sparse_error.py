"""The bound of the error of a sparse code: what it claims, against exact arithmetic and the exact code."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from dictionary_cases import image, network_of
from torch import Tensor

from recon.priors.networks import ConvolutionalSparseCoding, ConvolutionalSparseCodingConfig, InnerSolver
from recon.priors.networks.architectures import (
    code_descent,
    convolution_rounding,
    convolutional_sparse_coding,
    sparse_error,
)
from recon.priors.networks.architectures.sparse_code import SparseCode

CONFIG = ConvolutionalSparseCodingConfig(atoms=5, size=4, stride=2, noise_range=(0.1, 0.1))
TINY = ConvolutionalSparseCodingConfig(atoms=3, size=2, stride=1, noise_range=(0.1, 0.1))
SIDES = (3, 3)


def fresh(y: Tensor) -> sparse_error.Coded:
    return sparse_error.Coded(torch.zeros(0), torch.zeros_like(y), torch.zeros(len(y)).double())


def of_codes(code: SparseCode, y: Tensor, codes: Tensor) -> sparse_error.Coded:
    found = sparse_error.of_codes(code, y, codes, replace(fresh(y), codes=codes), torch.ones(len(y)).bool())
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_both_bounds_hold_wherever_they_are_taken(dtype: torch.dtype, scale: float) -> None:
    network = network_of(CONFIG)
    code, y = network.codes()[0].to(dtype), scale * image(1, 1, 9, 8).to(dtype)
    wide, repeated = code.to(torch.float64), code.repeated(y)
    exact = convolutional_sparse_coding._coded(wide, y.double(), network.solver, 1.0)
    for away in (1.0, 1e-2, 1e-5):
        u = (exact.u + away * scale * image(*exact.u.shape, seed=3)).to(dtype)
        bound = sparse_error.of_dual(code, repeated, u)
        assert (bound >= (u.double() - exact.u).flatten(1).norm(dim=1) - exact.error).all()
        codes = (exact.codes + away * scale * image(*exact.codes.shape, seed=4)).to(dtype)
        found = of_codes(code, repeated, codes)
        assert (found.error >= (found.u - exact.u).flatten(1).norm(dim=1) - exact.error).all()


def rational(code: SparseCode, y: Tensor, codes: Tensor) -> float:
    """Half the length of the least subgradient and the error of ``u = y - D a``, in exact arithmetic."""
    atoms, side = code.atoms[:, 0].tolist(), code.atoms.shape[-1]
    t = code.threshold.flatten().tolist()
    height, width = y.shape[-2:]
    a = {
        (m, i, j): Fraction(v)
        for m, r in enumerate(codes[0].tolist())
        for i, s in enumerate(r)
        for j, v in enumerate(s)
    }
    u = {(i, j): Fraction(float(y[0, 0, i, j])) for i in range(height) for j in range(width)}
    places = [(k, p) for k in a for p in u if 0 <= p[0] - k[1] + side - 1 < side and 0 <= p[1] - k[2] + side - 1 < side]
    weight = {(k, p): Fraction(atoms[k[0]][p[0] - k[1] + side - 1][p[1] - k[2] + side - 1]) for k, p in places}
    for (k, p), w in weight.items():
        u[p] -= w * a[k]
    c = dict.fromkeys(a, Fraction(0))
    for (k, p), w in weight.items():
        c[k] += w * u[p]
    total = Fraction(0)
    for k, value in a.items():
        bound = Fraction(t[k[0]])
        xi = value + (bound if value > 0 else -bound) - c[k] if value else max(abs(c[k]) - bound, Fraction(0))
        total += xi * xi
    return math.sqrt(total) / 2


def steep(seed: int) -> tuple[SparseCode, Tensor, Tensor]:
    """Coefficients that cancel: what they make of the image is far smaller than they are."""
    code = network_of(TINY, seed=seed).codes()[0].each()[0]
    code = replace(code, atoms=code.atoms[[0, 1, 1]] * 1e4, threshold=code.threshold[:, [0, 1, 1]], bounds={})
    y = image(1, 1, *SIDES, seed=seed)
    codes = image(1, 1, 4, 4, seed=seed + 50).expand(1, 3, 4, 4) * torch.tensor([1e-3, 1.0, -1.0]).view(1, 3, 1, 1)
    return code, y, codes.contiguous()


def test_the_rounding_of_the_bound_is_that_of_exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: without the worst case of rounding, the bound is below what exact arithmetic says."""
    for seed in range(6):
        code, y, codes = steep(seed)
        assert rational(code, y, codes) <= float(of_codes(code, y, codes).error)
    for module in (sparse_error, convolution_rounding):
        monkeypatch.setattr(module, "gamma", lambda count: 0.0)
    monkeypatch.setattr(sparse_error, "UNIT", 0.0)
    claims = [(rational(*steep(seed)), float(of_codes(*steep(seed)).error)) for seed in range(6)]
    assert any(true > claimed for true, claimed in claims)


def solved(network: ConvolutionalSparseCoding, y: Tensor) -> Tensor:
    with torch.no_grad():
        return network(y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_descent_and_the_dual_method_find_the_same_image(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, y = network_of(CONFIG).frozen(dtype), 0.6 * image(2, 1, 14, 11).to(dtype)
    network.solver = InnerSolver(accuracy=1e-5)
    assert code_descent.is_worth_it(network.codes()[0], y)
    descended = solved(network, y)
    monkeypatch.setattr(code_descent, "_DENSE", 0.0)
    size = y.flatten(1).norm(dim=1)
    assert ((descended - solved(network, y)).flatten(1).norm(dim=1) <= 2.1e-5 * size).all()


def test_a_descent_that_does_not_arrive_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: loops that change nothing, and loops that return nonsense."""
    network, y = network_of(CONFIG), image(1, 1, 9, 8)
    network.solver = InnerSolver(accuracy=1e-6)
    exact = solved(network, y)
    for wrong in (lambda self, *args: None, lambda self, *args: self.codes.add_(0.1)):
        monkeypatch.setattr(code_descent._Descent, "improve", wrong)
        assert torch.linalg.vector_norm(solved(network, y) - exact) <= 2e-6 * y.norm()


def test_zero_images_and_images_of_any_size_of_numbers_are_coded() -> None:
    network = network_of(CONFIG)
    network.solver = InnerSolver(accuracy=1e-6)
    for scale in (0.0, 1e-200, 1e-30, 1e30):
        y = scale * image(1, 1, 6, 6)
        assert torch.linalg.vector_norm(solved(network, y)) <= torch.linalg.vector_norm(y) * (1 + 1e-6)
