"""Scan geometries: values, TOML files, validation."""
