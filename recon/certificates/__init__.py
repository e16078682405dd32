"""What is proved, measured or assumed: of an operator pair, of a prior, of a run."""

from recon.certificates.certificate import Certificate, Condition

__all__ = ["Certificate", "Condition"]
