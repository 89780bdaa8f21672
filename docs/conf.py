"""Sphinx's settings: `make docs` builds these pages and refuses a broken link or reference."""

from importlib.metadata import version as installed_version

project = "scae"
release = installed_version("scae")
version = release
html_title = f"scae {release}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["figures.css"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # [text](page.md#heading) is checked too

autodoc_member_order = "bysource"
# Signatures as written: resolving them would follow every library's aliases.
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
# Types in signatures and "Raises" that have no entry of their own: libraries' and our inner ones.
# Pages, headings, functions and methods that are pointed at must be there.
nitpick_ignore_regex = [(r"py:(class|exc)", r".*")]
