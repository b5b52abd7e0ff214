"""A derivation to look at: text, Markdown, LaTeX, JSON, one file each; `Limit` is what Python shows."""

from __future__ import annotations

from tensorprog.display.formats import DerivationFormat
from tensorprog.display.json import JSON
from tensorprog.display.latex import LATEX
from tensorprog.display.markdown import MARKDOWN
from tensorprog.display.text import TEXT

FORMATS: dict[str, DerivationFormat] = {f.name: f for f in (TEXT, MARKDOWN, LATEX, JSON)}

__all__ = ["FORMATS", "DerivationFormat"]
