"""A photograph that is taken for a periodic image is pointed out before it is solved."""

from pathlib import Path

import pytest
import torch

import recon
from recon import io
from recon.operators import Blur, Identity, box_psf, defocus_psf, gaussian_psf, motion_psf
from recon.reconstruction.border_check import border_warning

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "data/photographs"
KERNELS = {
    "gaussian": gaussian_psf(1.6),
    "wide": gaussian_psf(3.0),
    "motion": motion_psf(15, 30),
    "defocus": defocus_psf(3),
}


def photograph(name: str) -> torch.Tensor:
    return io.to_tensor(io.read(PHOTOGRAPHS / f"{name}.png")).double()[:, :1, :192, :160]


def noisy(y: torch.Tensor, noise: float) -> torch.Tensor:
    return y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("noise", [0.002, 0.01])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["camera", "cell"])
def test_nothing_is_said_of_a_measurement_that_is_periodic(name, kernel, noise):
    x = photograph(name)
    blur = Blur(KERNELS[kernel], tuple(x.shape[-2:]))
    assert border_warning(blur, noisy(blur.A(x), noise), noise) is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_photograph_is_pointed_out(kernel):
    x = photograph("camera")
    y = noisy(Blur(KERNELS[kernel], tuple(x.shape[-2:]), "valid").A(x), 0.01)
    text = border_warning(Blur(KERNELS[kernel], tuple(y.shape[-2:])), y, 0.01)
    assert text is not None
    assert "boundary=valid" in text


def test_nothing_is_said_where_nothing_can_be_known():
    x = photograph("camera")
    sides = tuple(x.shape[-2:])
    assert border_warning(Identity(sides), x, 0.01) is None
    assert border_warning(Blur(box_psf(1), sides), x, 0.01) is None  # it lets everything through
    assert border_warning(Blur(gaussian_psf(1.6), sides), x, None) is None
    assert border_warning(Blur(gaussian_psf(1.6), sides, "valid"), x, 0.01) is None


def test_it_is_said_with_the_result():
    x = photograph("camera").float()
    y = noisy(Blur(gaussian_psf(1.6), tuple(x.shape[-2:]), "valid").A(x), 0.01).float()
    result = recon.reconstruct(y, "blur:gaussian=1.6", "tikhonov:weight=0.1", noise=0.01, range=(0.0, 1.0))
    assert any("a photograph needs boundary=valid" in remark for remark in result.remarks)
