"""What is proved, measured or assumed: of an operator pair, of a prior, of a run."""

from recon.certificates.certificate import Certificate, Condition, stated
from recon.certificates.solvers import (
    certify_condat_vu,
    certify_davis_yin,
    certify_douglas_rachford,
    certify_fista,
    certify_forward_backward,
    certify_mismatched_forward_backward,
    certify_mismatched_tseng,
    certify_tseng,
)

__all__ = [
    "Certificate",
    "Condition",
    "certify_condat_vu",
    "certify_davis_yin",
    "certify_douglas_rachford",
    "certify_fista",
    "certify_forward_backward",
    "certify_mismatched_forward_backward",
    "certify_mismatched_tseng",
    "certify_tseng",
    "stated",
]
