"""Sphinx: `make docs`. Warnings are errors; nothing is fetched from the net."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import krakked

project = "krakked"
author = "The krakked developers"
project_copyright = "the krakked developers"
release = version = krakked.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "krakked_reference"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"krakked {release}"
html_show_sourcelink = False
html_copy_source = False

smartquotes = False  # options have two hyphens
nitpicky = True
# Types of other packages: their pages are on the net, and a build must not need it. What is ours
# is named by the role of `krakked_reference`, which lets nothing unknown pass.
nitpick_ignore_regex = [("py:.*", r"(?!krakked\b).*")]
default_role = "krakked"

autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_display_short_literal_types = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_use_ivar = False
napoleon_custom_sections = [("Yields", "returns_style")]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
