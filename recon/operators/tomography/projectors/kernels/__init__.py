"""Compiled loops of the projectors."""
