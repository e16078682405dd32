"""Folders, archives and series: what is in them, what is done with it, and what has been done already."""
