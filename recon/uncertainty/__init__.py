"""Uncertainty of reconstructions: samplers, the bootstrap, ensembles, and intervals whose coverage is calibrated."""
