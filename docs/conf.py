"""Sphinx configuration: the site builds without internet, and its pages load nothing."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Use the package of this tree, also in the kernels that draw the figures.
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Keep TensorFlow's messages about the processor out of the pages.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import vgg_widget

project = "vgg_widget"
author = "the vgg_widget developers"
release = version = vgg_widget.__version__
copyright = "the vgg_widget developers, BSD-3-Clause"

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "live_pages",
    "mathml",
    "names",
    "repository",
    "traits",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = True
# Keep Python's quotation marks in names and values of traits.
smartquotes = False

# --- Markdown and notebooks

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
# The tests run the lessons; the site shows them unexecuted.
nb_execution_excludepatterns = ["lessons/*"]
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
# Without this, pages would load ipywidgets' scripts from another host.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

# --- docstrings

default_role = "py:obj"
autodoc_member_order = "bysource"
# The docstrings state types and shapes.
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
numpydoc_validation_checks = {
    "all",
    "ES01",  # a complete summary needs no extended one,
    "EX01",  # not every property needs an example,
    "SA01",  # related objects are on one page,
    "PR01",  # the summary of a small method names its arguments
    "RT01",  # and its result,
    "PR04",  # "as for `render`" refers to the types there,
    "RT02",  # the elements of a tuple have names
}

toc_object_entries_show_parents = "hide"

# --- the pages

html_theme = "pydata_sphinx_theme"
html_title = "vgg_widget"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "vgg_widget"},
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars: dict[str, list[str]] = {"gallery": [], "index": [], "pictures": []}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
