"""Sphinx configuration of the documentation; `make docs` builds it, and warnings are errors."""

import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from recon._version import __version__  # noqa: E402

project = "recon"
author = "the recon authors"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_parser",
    "plain_docstrings",
    "mathml",
    "generated",
]
exclude_patterns = ["_ext", "recipes", "examples", "generated"]
suppress_warnings = ["ref.python"]  # two classes may have an attribute of one name
nitpicky = True
# Annotations name types of torch and numpy, and types that are documented under a shorter name; roles in the text are
# checked.
nitpick_ignore_regex = [("py:class", ".*")]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3

# Python
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_use_rtype = False
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False


# Examples
os.environ.setdefault("NUMBA_NUM_THREADS", str(os.cpu_count() or 1))
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": os.environ.get("RECON_DOCS_EXAMPLES", r"plot_"),
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib", "gallery_style.use_style"),
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # a page that loads scripts from elsewhere
    "show_signature": False,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "copyfile_regex": "",
    "min_reported_time": 1,
    "thumbnail_size": (400, 280),
    "doc_module": ("recon",),
    "backreferences_dir": None,
}

# Pages
html_theme = "pydata_sphinx_theme"
html_title = "recon"
html_static_path = ["_static"]
html_css_files = ["recon.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "logo": {"text": "recon"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "quickstart": [], "choosing": [], "glossary": []}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
