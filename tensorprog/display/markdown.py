"""A derivation as Markdown with formulas between dollar signs, as notebooks and web pages show it."""

from __future__ import annotations

import re

from tensorprog.derive.notes import TYPESET
from tensorprog.derive.rules import Derivation
from tensorprog.display.formats import DerivationFormat
from tensorprog.display.latex import OUTER_NOTE, aligned, families_latex, groups, indices_latex
from tensorprog.display.text import independence


def derivation_markdown(derivation: Derivation, steps: bool = False) -> str:
    """The whole derivation."""
    lines = [f"## The infinite-width limit of {_code(derivation.name)}", ""]
    section = ""
    for title, indices, rules in groups(derivation):
        if title != section:
            section = title
            lines += [f"### {title}", ""]
            if rules[0].kind == "matrix":
                lines += [OUTER_NOTE, ""]
        if indices:
            lines += [f"For {indices_latex(indices)}:", ""]
        lines += ["$$", aligned(rules), "$$", ""]
        for note in dict.fromkeys(rule.note for rule in rules if rule.note):
            lines += [TYPESET.get(note) or f"*{_escaped(note)}*", ""]
    if derivation.families:
        lines += [independence(families_latex(derivation)), ""]
    if steps and derivation.steps:
        lines += ["### Steps", "", *(f"- **{s.name}**: {_escaped(s.text)}" for s in derivation.steps), ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    """A code span, whose fence is longer than any row of backticks in it."""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"


def _escaped(text: str) -> str:
    # Formulas in words, as h[t]*x_1, are full of what Markdown takes for markup.
    return "".join(f"\\{c}" if c in "*_[]<>`{}" else c for c in text)


MARKDOWN = DerivationFormat("markdown", "formulas between dollar signs, as notebooks and web pages show them", derivation_markdown)
