"""Fixed-point algorithms and samplers, each a pure (init, step), and the two drivers that run them."""

from recon.solvers.algorithm import Algorithm, State, iterate
from recon.solvers.chains import Chains, sample
from recon.solvers.coded import CodedIterate, coded, unknowns
from recon.solvers.condat_vu import condat_vu
from recon.solvers.constant import constant
from recon.solvers.douglas_rachford import davis_yin, douglas_rachford
from recon.solvers.driver import Callback, solve
from recon.solvers.fista import fista
from recon.solvers.forward_backward import forward_backward, tseng
from recon.solvers.implicit import implicit
from recon.solvers.kinetic import kinetic
from recon.solvers.krylov import ab_gmres, ba_gmres, cgls
from recon.solvers.langevin import langevin
from recon.solvers.learned_ista import LearnedIterate, learned_ista
from recon.solvers.oracle_ista import oracle_ista
from recon.solvers.sampler import Preconditioner, Sampler
from recon.solvers.sirt import sirt
from recon.solvers.sk_rock import sk_rock
from recon.solvers.solution import Distance, Progress, Solution, Status
from recon.solvers.theorem import certify
from recon.solvers.volume_denoising import DirectRun, denoise_volumes

__all__ = [
    "Algorithm",
    "Callback",
    "Chains",
    "CodedIterate",
    "DirectRun",
    "Distance",
    "LearnedIterate",
    "Preconditioner",
    "Progress",
    "Sampler",
    "Solution",
    "State",
    "Status",
    "ab_gmres",
    "ba_gmres",
    "certify",
    "cgls",
    "coded",
    "condat_vu",
    "constant",
    "davis_yin",
    "denoise_volumes",
    "douglas_rachford",
    "fista",
    "forward_backward",
    "implicit",
    "iterate",
    "kinetic",
    "langevin",
    "learned_ista",
    "oracle_ista",
    "sample",
    "sirt",
    "sk_rock",
    "solve",
    "tseng",
    "unknowns",
]
