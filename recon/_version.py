"""The version, in a module that imports nothing: ``recon --version`` must not load torch."""

__version__ = "0.10.0"
