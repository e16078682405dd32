"""Projectors with their exact adjoints."""
