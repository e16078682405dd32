"""Dense matrices as products of sparse factors: butterfly, low rank, learned or given supports."""

from recon.factorization.choose import STRUCTURES, TOLERANCE, factorise
from recon.factorization.files import read_factors, write_factors
from recon.factorization.fixed_support import TwoFactors, fixed_support
from recon.factorization.hierarchical import Fit, largest_entries, largest_of_lines, on_support, palm4msa
from recon.factorization.result import Factorisation, Status

__all__ = [
    "STRUCTURES",
    "TOLERANCE",
    "Factorisation",
    "Fit",
    "Status",
    "TwoFactors",
    "factorise",
    "fixed_support",
    "largest_entries",
    "largest_of_lines",
    "on_support",
    "palm4msa",
    "read_factors",
    "write_factors",
]
