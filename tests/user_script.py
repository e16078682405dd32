"""A script of a user, on which types are checked as a user would: mypy --strict."""

from pathlib import Path

import numpy as np
import torch

import recon
from recon import solvers
from recon.operators import LeastSquares, Tomography
from recon.operators.tomography import Detector, Geometry, Volume, evenly_spaced
from recon.priors import Prior, box, smoothed_total_variation_prior, total_variation_prior
from recon.solvers import Solution, Status


def deblur(y: np.ndarray, psf: np.ndarray, out: Path) -> np.ndarray:
    result = recon.reconstruct(y, recon.blur(psf), noise=0.01)
    if result.status is not Status.CONVERGED:
        print(result.distance.relative, result.certificate.sentence)
    result.figure(out / "figure.png", overwrite=True)
    image = result.image
    assert isinstance(image, np.ndarray)
    return image


def scan(sinogram: torch.Tensor) -> torch.Tensor:
    geometry = Geometry("parallel", evenly_spaced(0, 180, 60), Detector(64, 1.0), Volume((64, 64), 1.0))
    image = recon.reconstruct(sinogram, recon.ct(geometry), water=0.02).image
    assert isinstance(image, torch.Tensor)
    return image


def own(y: torch.Tensor, projector: Tomography) -> Solution:
    prior: Prior = total_variation_prior(0.01)
    data = LeastSquares(projector, y)
    s = 1.0 / projector.properties.norm.value**2
    algorithm = solvers.forward_backward(data, box(0.0, 1.0), s)
    print(prior, algorithm, solvers.certify(algorithm).holds)
    return solvers.solve(algorithm, torch.zeros(1, 1, 64, 64), max_steps=100)


def learned(y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    prior = smoothed_total_variation_prior(weight, 0.05)
    image = recon.reconstruct(y, recon.blur(torch.ones(3, 3)), prior, noise=0.01, differentiable=True).image
    denoise = recon.denoiser("proved-gray", noise=0.05)
    cleaned: torch.Tensor = denoise(torch.as_tensor(image))
    return cleaned


if __name__ == "__main__":
    deblur(np.zeros((32, 32), np.float32), np.ones((3, 3)), Path())
