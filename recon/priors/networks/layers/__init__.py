"""Layers of the networks, with bounds of their Lipschitz constants."""
