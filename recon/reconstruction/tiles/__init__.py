"""Images that are larger than the memory: solved in overlapping tiles, each on its own, with measured seams."""
