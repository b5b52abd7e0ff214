"""Sphinx configuration: `make docs` builds these pages and executes notebooks; warnings are errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import tensorprog  # noqa: E402

project = "tensorprog"
author = "The tensorprog authors"
copyright = "the tensorprog authors, Apache License 2.0"
version = release = tensorprog.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "generated_pages",  # in this folder
]
# What commands print is no shell syntax: an apostrophe in it is not the beginning of a string.
suppress_warnings = ["misc.highlighting_failure"]
exclude_patterns = ["_build", "editors/vscode/**"]

# Markdown: the pages are also read where they lie, so that links are those of the files.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # what a page shows is what the code gives now
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Docstrings use Markdown's backticks for code.
default_role = "code"
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autoclass_content = "class"
napoleon_numpy_docstring = False

highlight_language = "tp"  # what has no language, as the snippets of language.md

html_theme = "furo"
html_title = f"tensorprog {release}"
html_show_sourcelink = False

# Notebooks run with the options that the tests use: few threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
