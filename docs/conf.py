"""Configuration of the documentation. It builds offline and fails on any warning."""

from pathlib import Path
from pkgutil import iter_modules

import dichroic

project = "dichroic"
author = "the dichroic developers"
copyright = "the dichroic developers; Apache-2.0"
version = release = dichroic.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "**/runs"]
default_role = "code"  # docstrings write `name` for code

# Reference: one page per package with everything in its __all__, so that new names appear without being listed here.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autosummary_context = {
    "home": dichroic._HOME,  # public name -> package that documents it
    "packages": sorted(module.name for module in iter_modules(dichroic.__path__) if module.ispkg),
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
add_module_names = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 90

# Pages with code cells run at every build; a result is kept until its code changes.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / ".jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"

html_theme = "pydata_sphinx_theme"
html_title = "dichroic"
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "install": [], "quickstart": [], "concepts": [], "architecture": [], "extending": []}
