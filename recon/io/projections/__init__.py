"""Measured X-ray projections: counts and line integrals, in TIFF, NPY, NPZ and HDF5."""
