"""Resolvents: closed-form proximity operators, and networks that are resolvents."""

from recon.priors.resolvent import Resolvent, ResolventProperties, name_of, properties_of, proximity_operator

__all__ = ["Resolvent", "ResolventProperties", "name_of", "properties_of", "proximity_operator"]
