"""Lossless archives of images: files to coded pixels and back, to the byte."""

from recon.packing.pack import GROUP, Packed, Settings, pack
from recon.packing.restore import Restored, list_entries, read_frame, unpack

__all__ = ["GROUP", "Packed", "Restored", "Settings", "list_entries", "pack", "read_frame", "unpack"]
