"""The report of runs as one HTML page without outside resources."""

from recon.report.page.document import Contents, Group, page_text, write_page
from recon.report.page.pictures import Layer, Scale, Slice

__all__ = ["Contents", "Group", "Layer", "Scale", "Slice", "page_text", "write_page"]
