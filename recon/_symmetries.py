"""How many symmetries of the square make a group; here, because options are checked without torch."""

COUNTS = (1, 2, 4, 8)
"""The identity included. Which they are: :mod:`recon.operators.symmetries`."""
