"""What is proved, measured or assumed: of an operator pair, of a prior, of a run."""

from recon.certificates.certificate import Certificate, Condition, stated
from recon.certificates.error_bounds import ErrorBound, mismatch_error_bound, primal_dual_error_bound
from recon.certificates.linear import certify_preconditioned_forward_backward, certify_shifted_ba
from recon.certificates.mismatched import (
    certify_contractive_forward_backward,
    certify_mismatched_forward_backward,
    certify_mismatched_tseng,
    contraction_rate,
    residual_bound,
)
from recon.certificates.mismatched_primal_dual import certify_mismatched_condat_vu
from recon.certificates.solvers import (
    certify_condat_vu,
    certify_davis_yin,
    certify_douglas_rachford,
    certify_fista,
    certify_forward_backward,
    certify_tseng,
)

__all__ = [
    "Certificate",
    "Condition",
    "ErrorBound",
    "certify_condat_vu",
    "certify_contractive_forward_backward",
    "certify_davis_yin",
    "certify_douglas_rachford",
    "certify_fista",
    "certify_forward_backward",
    "certify_mismatched_condat_vu",
    "certify_mismatched_forward_backward",
    "certify_mismatched_tseng",
    "certify_preconditioned_forward_backward",
    "certify_shifted_ba",
    "certify_tseng",
    "contraction_rate",
    "mismatch_error_bound",
    "primal_dual_error_bound",
    "residual_bound",
    "stated",
]
