"""Convolutional LISTA: it begins as ISTA, lowers the energy that T layers leave, and states how near to ISTA it is."""

import pytest
import torch

from recon.errors import UsageError
from recon.operators import Blur, Downsampling, LeastSquares, gaussian_psf, operator_properties
from recon.priors import wavelet_prior
from recon.solvers import fista, forward_backward, solve
from recon.training.lista import ConvolutionalLista, learn_lista

SHAPE = (16, 18)


def problem(radius: float = 0.7):
    operator = Blur(gaussian_psf(radius), SHAPE)
    x = torch.zeros(3, 1, *SHAPE, dtype=torch.float64)
    x[:, :, 4:10, 5:13] = torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64).view(3, 1, 1, 1)
    y = operator.A(x) + 0.02 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    return operator, y, wavelet_prior(0.05, "haar", 2), 1 / operator_properties(operator, x).norm.value ** 2


def test_it_begins_as_ista() -> None:
    operator, y, prior, s = problem()
    lista = ConvolutionalLista(operator, SHAPE, 4, 9, s)
    plain = solve(forward_backward(LeastSquares(operator, y), prior.resolvent(s), s), y, tolerance=0, max_steps=4)
    torch.testing.assert_close(lista(y, y, prior.sparse).detach(), plain.x, atol=1e-9, rtol=0)
    for layer in lista.departures():
        assert layer.step == pytest.approx(1)
        assert max(layer.kernel, layer.threshold) < 1e-9


def test_what_is_learned_lowers_the_energy_and_departs_from_ista() -> None:
    operator, y, prior, s = problem()
    data = LeastSquares(operator, y)
    least = solve(fista(data, prior.resolvent(s), s), y, tolerance=0, max_steps=400).x
    least = data.value(least) + prior.value(least)
    lista = ConvolutionalLista(operator, SHAPE, 3, 9, s)
    before = lista(y, y, prior.sparse).detach()
    left = data.value(before) + prior.value(before) - least
    losses = learn_lista(lista, [(y, y, prior.sparse, least, left)], 25, 0.02)
    assert losses[0] == pytest.approx(1, rel=1e-6)
    assert losses[-1] < 0.7
    assert max(layer.kernel for layer in lista.departures()) > 1e-3


def test_what_is_no_convolution_of_the_residual_is_refused() -> None:
    operator, _, _, s = problem()
    for side, words in ((4, "an odd number"), (17, "at most 16")):
        with pytest.raises(UsageError, match=words):
            ConvolutionalLista(operator, SHAPE, 2, side, s)
    with pytest.raises(UsageError, match="the same size"):
        ConvolutionalLista(Downsampling((16, 18), 2), SHAPE, 2, 3, s)
