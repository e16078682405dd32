"""Certificates: what is proved, measured or assumed of an operator pair, of a prior, and of a run."""

from recon.certificates import lipschitz_search
from recon.certificates.asymmetry import asymmetry
from recon.certificates.backward_error import BackwardError, backward_error
from recon.certificates.certificate import Certificate, Condition, Given, Remark, stated
from recon.certificates.duality_gap import DualityGap, duality_gap
from recon.certificates.error_bounds import (
    ErrorBound,
    limit_error_bound,
    mismatch_error_bound,
    primal_dual_error_bound,
)
from recon.certificates.feedforward_bounds import layered_bound
from recon.certificates.inexact import certify_backward_error, certify_inexact_forward_backward
from recon.certificates.linear import certify_preconditioned_forward_backward, certify_shifted_ba
from recon.certificates.lipschitz_bounds import (
    absolute_norm,
    circular_norm,
    combettes_pesquet_bound,
    convolution_norm,
    fold_batch_norm,
    network_bounds,
    orthogonality,
    product_bound,
    skip_bound,
)
from recon.certificates.matched import (
    certify_accelerated_primal_dual,
    certify_compared_steps,
    certify_condat_vu,
    certify_davis_yin,
    certify_douglas_rachford,
    certify_fista,
    certify_forward_backward,
    certify_proximal_descent,
    certify_smooth_fista,
    certify_tseng,
)
from recon.certificates.mismatched import (
    certify_contractive_forward_backward,
    certify_mismatched_douglas_rachford,
    certify_mismatched_forward_backward,
    certify_mismatched_tseng,
    contraction_rate,
    residual_bound,
)
from recon.certificates.mismatched_primal_dual import certify_mismatched_condat_vu
from recon.certificates.mixing import Mixing, effective_sample_size, mixing, split_r_hat
from recon.certificates.risk_control import images_needed, interval_factor

__all__ = [
    "BackwardError",
    "Certificate",
    "Condition",
    "DualityGap",
    "ErrorBound",
    "Given",
    "Mixing",
    "Remark",
    "absolute_norm",
    "asymmetry",
    "backward_error",
    "certify_accelerated_primal_dual",
    "certify_backward_error",
    "certify_compared_steps",
    "certify_condat_vu",
    "certify_contractive_forward_backward",
    "certify_davis_yin",
    "certify_douglas_rachford",
    "certify_fista",
    "certify_forward_backward",
    "certify_inexact_forward_backward",
    "certify_mismatched_condat_vu",
    "certify_mismatched_douglas_rachford",
    "certify_mismatched_forward_backward",
    "certify_mismatched_tseng",
    "certify_preconditioned_forward_backward",
    "certify_proximal_descent",
    "certify_shifted_ba",
    "certify_smooth_fista",
    "certify_tseng",
    "circular_norm",
    "combettes_pesquet_bound",
    "contraction_rate",
    "convolution_norm",
    "duality_gap",
    "effective_sample_size",
    "fold_batch_norm",
    "images_needed",
    "interval_factor",
    "layered_bound",
    "limit_error_bound",
    "lipschitz_search",
    "mismatch_error_bound",
    "mixing",
    "network_bounds",
    "orthogonality",
    "primal_dual_error_bound",
    "product_bound",
    "residual_bound",
    "skip_bound",
    "split_r_hat",
    "stated",
]
