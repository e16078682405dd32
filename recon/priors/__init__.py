"""Resolvents: closed-form proximity operators, and networks that are resolvents."""

from recon.priors.calculus import conjugate, relaxed, relaxed_prior, reweighted, scaled, scaled_prior, weighted_prior
from recon.priors.closed_forms import box, identity, l2_ball, soft_threshold, tikhonov
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.guided import GuidedPrior
from recon.priors.guided_variation import guided_total_variation_prior
from recon.priors.prior import (
    MaskRange,
    Prior,
    box_prior,
    l1_prior,
    no_prior,
    tikhonov_prior,
    total_variation_prior,
    wavelet_prior,
)
from recon.priors.resolvent import Resolvent, ResolventProperties, name_of, proximity_operator, resolvent_properties
from recon.priors.separable import Parts, separable
from recon.priors.smooth import Smooth
from recon.priors.smoothed_variation import smoothed_total_variation_prior
from recon.priors.sparse import SparseTerm, attained, l1_term, wavelet_term
from recon.priors.split import Split
from recon.priors.synthesis import Synthesis, elastic_net_prior, synthesis_prior
from recon.priors.total_variation import total_variation, total_variation_split, total_variation_value
from recon.priors.wavelet_transform import WaveletTransform, orthonormal_wavelet
from recon.priors.wavelets import wavelet_l1_value, wavelet_shrinkage

__all__ = [
    "FiniteDifferences",
    "GuidedPrior",
    "MaskRange",
    "Parts",
    "Prior",
    "Resolvent",
    "ResolventProperties",
    "Smooth",
    "SparseTerm",
    "Split",
    "Synthesis",
    "WaveletTransform",
    "attained",
    "box",
    "box_prior",
    "conjugate",
    "elastic_net_prior",
    "guided_total_variation_prior",
    "identity",
    "l1_prior",
    "l1_term",
    "l2_ball",
    "name_of",
    "no_prior",
    "orthonormal_wavelet",
    "proximity_operator",
    "relaxed",
    "relaxed_prior",
    "resolvent_properties",
    "reweighted",
    "scaled",
    "scaled_prior",
    "separable",
    "smoothed_total_variation_prior",
    "soft_threshold",
    "synthesis_prior",
    "tikhonov",
    "tikhonov_prior",
    "total_variation",
    "total_variation_prior",
    "total_variation_split",
    "total_variation_value",
    "wavelet_l1_value",
    "wavelet_prior",
    "wavelet_shrinkage",
    "wavelet_term",
    "weighted_prior",
]
