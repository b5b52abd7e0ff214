r"""A derivation as JSON, for other programs.

    {"schema": "tensorprog.derivation/1", "name": "...",
     "rules": [{"kind": "matmul", "left": TEXT, "right": TEXT, "left_latex": LATEX, "right_latex": LATEX,
                "left_srepr": SREPR, "right_srepr": SREPR,
                "indices": [{"name": "t", "low": "0", "high": "T-1"}], "condition": "", "note": "",
                "steps": [{"name": "...", "text": "..."}]}],
     "families": [{"matrix": "W", "transposed": false}], "steps": [...]}

`kind` is a key of `rules.KINDS`. TEXT is what the text output shows. SREPR is `sympy.srepr` of the expression, in
which Z, Hat, Dot, Rest, Prod, E, Cov and Response are functions; `condition` is empty for an equation that always holds.
"""

from __future__ import annotations

import json

import sympy
from sympy import S

from tensorprog.derive.formula import condition_text, formula
from tensorprog.derive.rules import Derivation, Rule, Step
from tensorprog.display.formats import DerivationFormat
from tensorprog.display.latex import formula_latex

SCHEMA = "tensorprog.derivation/1"


def derivation_dict(derivation: Derivation) -> dict[str, object]:
    """The derivation in objects that JSON knows."""
    return {"schema": SCHEMA, "name": derivation.name, "rules": [_rule(r) for r in derivation.rules],
            "families": [{"matrix": m, "transposed": t} for m, t in derivation.families],
            "steps": [_step(s) for s in derivation.steps]}


def derivation_json(derivation: Derivation) -> str:
    """The derivation as JSON text."""
    return json.dumps(derivation_dict(derivation), indent=1, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> dict[str, object]:
    return {"kind": rule.kind, "left": formula(rule.left), "right": formula(rule.right),
            "left_latex": formula_latex(rule.left), "right_latex": formula_latex(rule.right),
            "left_srepr": sympy.srepr(rule.left), "right_srepr": sympy.srepr(rule.right),
            "indices": [{"name": str(i.symbol), "low": formula(i.low), "high": formula(i.high)} for i in rule.indices],
            "condition": "" if rule.condition == S.true else condition_text(rule.condition),
            "note": rule.note, "steps": [_step(s) for s in rule.steps]}


def _step(step: Step) -> dict[str, str]:
    return {"name": step.name, "text": step.text}


# (It has the steps whether they are asked for or not: a schema without options.)
JSON = DerivationFormat("json", "for other programs, always with the simplifications",
                        lambda derivation, steps: derivation_json(derivation))
