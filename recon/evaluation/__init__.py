"""Simulated measurements, figures of merit over folders, the search for a prior's parameter."""
