"""Checks of measured projections against their geometry."""
