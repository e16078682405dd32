"""The front door: one call from arrays to an image with a certificate, by the chain of the command line."""

from recon.front.denoising import Denoiser, denoiser
from recon.front.one_call import Picture, Reconstruction, reconstruct
from recon.front.operators import blur, ct, inpaint, mri, operator

__all__ = [
    "Denoiser",
    "Picture",
    "Reconstruction",
    "blur",
    "ct",
    "denoiser",
    "inpaint",
    "mri",
    "operator",
    "reconstruct",
]
