"""Networks that are resolvents: J = (Id + Q)/2 with Q explicit, and the evidence that Q is nonexpansive.

- :class:`DnCNN`: free weights; what is known is measured.
- :class:`LipschitzNetwork`: nonexpansive layers; proved, whatever the weights.
- :class:`ConvexRidge`: the prox of a learned convex potential; proved, and the gradient of an energy.
- :class:`GuidedRidge`: the same with a mask that a first reconstruction decides; proved once that guide is given.
- :class:`BatchEnsemble`: several DnCNNs that share their kernels, for the spread of their results; assumed.
- :class:`ConvolutionalSparseCoding`: the sparse code in a learned dictionary; proved where it is solved for.

Beside them, no resolvents: :class:`Critic`, a 1-Lipschitz score of images, :class:`ConvexCritic`, one that is convex
and smooth besides, so that :func:`critic_prior` makes a penalty of it, and :class:`Unrolled`, a reconstruction in a
few learned steps, of which nothing is known.
"""

from recon.priors.networks.architectures.batch_ensemble import BatchEnsemble, BatchEnsembleConfig
from recon.priors.networks.architectures.convex_critic import ConvexCritic, ConvexCriticConfig
from recon.priors.networks.architectures.convex_ridge import ConvexRidge, ConvexRidgeConfig
from recon.priors.networks.architectures.convolutional_sparse_coding import (
    ConvolutionalSparseCoding,
    ConvolutionalSparseCodingConfig,
)
from recon.priors.networks.architectures.critic import Critic, CriticConfig
from recon.priors.networks.architectures.dncnn import DnCNN, DnCNNConfig
from recon.priors.networks.architectures.guided_ridge import GuidedRidge, GuidedRidgeConfig
from recon.priors.networks.architectures.lipschitz_network import LipschitzConfig, LipschitzNetwork
from recon.priors.networks.architectures.network import Config, Derivative, Model, Network
from recon.priors.networks.architectures.ridge_prox import InnerSolver
from recon.priors.networks.architectures.unrolled import Unrolled, UnrolledConfig
from recon.priors.networks.critic_prior import critic_prior
from recon.priors.networks.dictionary import ConvolutionalDictionary, dictionary_prior
from recon.priors.networks.files.card import Claim, claim_of, measured_on_card
from recon.priors.networks.files.safetensors import read_safetensors, write_safetensors
from recon.priors.networks.files.store import (
    architecture,
    load,
    load_convex_critic,
    load_critic,
    load_unrolled,
    make,
    make_convex_critic,
    make_critic,
    make_unrolled,
    save,
)
from recon.priors.networks.guided import guided_prior
from recon.priors.networks.half_precision import PRECISIONS, rounding_error
from recon.priors.networks.layers.activations import (
    ACTIVATIONS,
    VECTOR_ACTIVATIONS,
    Activation,
    VectorActivation,
    activation,
    squash,
)
from recon.priors.networks.learned_resolvent import FilterBank, learned_prior, resolvent

__all__ = [
    "ACTIVATIONS",
    "PRECISIONS",
    "VECTOR_ACTIVATIONS",
    "Activation",
    "BatchEnsemble",
    "BatchEnsembleConfig",
    "Claim",
    "Config",
    "ConvexCritic",
    "ConvexCriticConfig",
    "ConvexRidge",
    "ConvexRidgeConfig",
    "ConvolutionalDictionary",
    "ConvolutionalSparseCoding",
    "ConvolutionalSparseCodingConfig",
    "Critic",
    "CriticConfig",
    "Derivative",
    "DnCNN",
    "DnCNNConfig",
    "FilterBank",
    "GuidedRidge",
    "GuidedRidgeConfig",
    "InnerSolver",
    "LipschitzConfig",
    "LipschitzNetwork",
    "Model",
    "Network",
    "Unrolled",
    "UnrolledConfig",
    "VectorActivation",
    "activation",
    "architecture",
    "claim_of",
    "critic_prior",
    "dictionary_prior",
    "guided_prior",
    "learned_prior",
    "load",
    "load_convex_critic",
    "load_critic",
    "load_unrolled",
    "make",
    "make_convex_critic",
    "make_critic",
    "make_unrolled",
    "measured_on_card",
    "read_safetensors",
    "resolvent",
    "rounding_error",
    "save",
    "squash",
    "write_safetensors",
]
