"""Lossless archives of images: files to coded pixels and back, to the byte."""

from recon.packing.pack import GROUP, Packed, Settings, pack
from recon.packing.restore import Restored, list_entries, read_frame, unpack
from recon.packing.workers import usable_cores

__all__ = ["GROUP", "Packed", "Restored", "Settings", "list_entries", "pack", "read_frame", "unpack", "usable_cores"]
