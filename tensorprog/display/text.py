"""A derivation for a terminal: ASCII, one equation a line."""

from __future__ import annotations

from sympy import S

from tensorprog.derive.formula import condition_text, formula
from tensorprog.derive.rules import Derivation, Index, Rule
from tensorprog.display.formats import DerivationFormat


def rule_text(rule: Rule) -> str:
    """One equation, without its indices."""
    text = f"{formula(rule.left)} {'~' if rule.is_law else '='} {formula(rule.right)}"
    if rule.condition != S.true:
        text += f"   if {condition_text(rule.condition)}"
    return text


def indices_text(indices: tuple[Index, ...]) -> str:
    """`for t = 0..T-1, a = 0..P-1`."""
    return "for " + ", ".join(f"{formula(i.symbol)} = {formula(i.low)}..{formula(i.high)}" for i in indices)


def independence(families: str) -> str:
    """What is independent of what."""
    return f"{families}: mean zero, independent of each other and of the initial vectors."


def derivation_text(derivation: Derivation, steps: bool = False) -> str:
    """The whole derivation, equations of the same indices under one heading."""
    lines = [f"The infinite-width limit of {derivation.name}", ""]
    section = ""
    heading: tuple[Index, ...] | None = None
    for rule in derivation.rules:
        if rule.section != section:
            section, heading = rule.section, None
            lines += ["", section] if lines[-1] else [section]
            if rule.kind == "matrix":
                lines += ["", "outer(u, x) @ z stands for E[Z^{x}*Z^{z}]*Z^{u}"]
        if rule.indices != heading:
            heading = rule.indices
            if heading:
                lines += ["", indices_text(heading)] if lines[-1] else [indices_text(heading)]
            elif lines[-1]:
                lines.append("")
        indent = "  " if heading else ""
        lines.append(indent + rule_text(rule))
        if rule.note:
            lines.append(f"{indent}  # {rule.note}")
        if steps:
            lines += [f"{indent}  # {step.name}: {step.text}" for step in rule.steps]
    if derivation.families:
        lines += ["", independence(", ".join(f"Zhat^{{{m}{'.T' if t else ''} .}}" for m, t in derivation.families))]
    if steps and derivation.steps:
        lines += ["", "Steps", *(f"  {s.name}: {s.text}" for s in derivation.steps)]
    return "\n".join(lines) + "\n"


TEXT = DerivationFormat("text", "for a terminal, one equation a line", derivation_text)
