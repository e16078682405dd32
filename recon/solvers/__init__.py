"""Fixed-point algorithms, each a pure (init, step), and the one driver that runs them all."""

from recon.solvers.algorithm import Algorithm, State, iterate
from recon.solvers.condat_vu import condat_vu
from recon.solvers.constant import constant
from recon.solvers.douglas_rachford import davis_yin, douglas_rachford
from recon.solvers.driver import Callback, solve
from recon.solvers.fista import fista
from recon.solvers.forward_backward import forward_backward, tseng
from recon.solvers.implicit import implicit
from recon.solvers.krylov import ab_gmres, ba_gmres, cgls
from recon.solvers.sirt import sirt
from recon.solvers.solution import Distance, Progress, Solution, Status
from recon.solvers.theorem import certify
from recon.solvers.volume_denoising import DirectRun, denoise_volumes

__all__ = [
    "Algorithm",
    "Callback",
    "DirectRun",
    "Distance",
    "Progress",
    "Solution",
    "State",
    "Status",
    "ab_gmres",
    "ba_gmres",
    "certify",
    "cgls",
    "condat_vu",
    "constant",
    "davis_yin",
    "denoise_volumes",
    "douglas_rachford",
    "fista",
    "forward_backward",
    "implicit",
    "iterate",
    "sirt",
    "solve",
    "tseng",
]
