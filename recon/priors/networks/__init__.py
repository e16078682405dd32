"""Networks that are resolvents: J = (Id + Q)/2 with Q explicit, and the evidence that Q is nonexpansive.

- :class:`DnCNN`: free weights; what is known is measured.
- :class:`LipschitzNetwork`: nonexpansive layers; proved, whatever the weights.
- :class:`ConvexRidge`: the prox of a learned convex potential; proved, and the gradient of an energy.
"""

from recon.priors.networks.activations import ACTIVATIONS, Activation, activation
from recon.priors.networks.card import Claim, claim_of, measured_on_card
from recon.priors.networks.convex_ridge import ConvexRidge, ConvexRidgeConfig
from recon.priors.networks.dncnn import DnCNN, DnCNNConfig
from recon.priors.networks.inner import InnerSolver
from recon.priors.networks.learned import FilterBank, learned_prior, resolvent
from recon.priors.networks.lipschitz import LipschitzConfig, LipschitzNetwork
from recon.priors.networks.network import Config, Derivative, Network
from recon.priors.networks.rounding import PRECISIONS, rounding_error
from recon.priors.networks.safetensors import read_safetensors, write_safetensors
from recon.priors.networks.store import architecture, load, make, save

__all__ = [
    "ACTIVATIONS",
    "PRECISIONS",
    "Activation",
    "Claim",
    "Config",
    "ConvexRidge",
    "ConvexRidgeConfig",
    "Derivative",
    "DnCNN",
    "DnCNNConfig",
    "FilterBank",
    "InnerSolver",
    "LipschitzConfig",
    "LipschitzNetwork",
    "Network",
    "activation",
    "architecture",
    "claim_of",
    "learned_prior",
    "load",
    "make",
    "measured_on_card",
    "read_safetensors",
    "resolvent",
    "rounding_error",
    "save",
    "write_safetensors",
]
