"""Sphinx's settings: `make docs` builds these pages and refuses a broken link or reference."""

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, NoReturn

from docutils.nodes import SkipNode, math, math_block
from latex2mathml.converter import convert

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

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

html_math_renderer = "mathml"  # browsers draw it; MathJax would be fetched from outside


def _inline(writer: "HTML5Translator", node: math) -> NoReturn:
    writer.body.append(convert(node.astext()))
    raise SkipNode


def _displayed(writer: "HTML5Translator", node: math_block) -> NoReturn:
    writer.body.append(convert(node.astext(), display="block"))
    raise SkipNode


def setup(app: "Sphinx") -> None:
    """Have formulas written as MathML."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
