"""Filtered back-projection and the algorithm of Feldkamp, Davis and Kress."""
