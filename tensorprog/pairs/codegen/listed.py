"""The recursion for a list of pairs: a NumPy function, for those that a strip cannot do.

It reads the quantities of one index that the diagonal recorded (`rows.py`), in the same order. Correlations may be moved
by rounding errors, which shows what these do to nearly equal rows.
"""

from __future__ import annotations

import re

from tensorprog.pairs.codegen.rows import place, vectorized
from tensorprog.pairs.codegen.steps import (
    Block,
    For,
    Let,
    Line,
    Load,
    Row,
    SeriesCall,
    Step,
    Store,
    array_name,
    param_name,
    range_source,
    scalar_name,
    size_name,
)
from tensorprog.pairs.program import PairProgram


def listed_source(program: PairProgram, steps: tuple[Step, ...], suffix: str) -> str:
    """Source of `listed<suffix>(pairs, grams, params, sizes)`, which returns the outputs of the pairs."""
    lines = [f"def listed{suffix}(pairs, grams, params, sizes):",
             '    """The recursion for a list of pairs, with `pairs` for their rows; returns the outputs."""']
    groups = {"grams": [scalar_name(g.name) for g in program.grams],
              "params": [param_name(n) for n in program.params], "sizes": [size_name(n) for n in program.sizes]}
    lines += [f"    {', '.join(names)}, = {group}" for group, names in groups.items() if names]
    lines += [f"    {array_name(array.name)} = {{}}" for array in program.arrays]
    lines += _steps(steps, "    ")
    lines.append(f"    return [{', '.join(place(ref) for _, ref in program.outputs)}]")
    return "\n".join(lines)


def _steps(steps: tuple[Step, ...], pad: str) -> list[str]:
    lines = []
    for step in steps:
        match step:
            case For(loop, inner):
                lines += [pad + range_source(loop), *(_steps(inner, pad + "    ") or [pad + "    pass"])]
            case SeriesCall():
                value, integral, c = (place(ref) for ref in (step.value, step.integral, step.correlation))
                lines.append(f"{pad}{value}, {integral} = pairs.sums({c})")
            case Block():
                lines += [pad + text for text in _block(step)]
    return lines


def _block(block: Block) -> list[str]:
    """The block's lines, without values that only diagonals need."""
    lines, needed = [], set()
    for line in reversed(block.lines):
        if isinstance(line, (Load, Let)) and line.name not in needed:
            continue
        target, value = _line(line)
        needed.update(re.findall(r"\b\w+\b", value))
        lines.append(f"{target} = {value}")
    return lines[::-1]


def _line(line: Line) -> tuple[str, str]:
    """The target and the value of an assignment."""
    match line:
        case Load(name, ref):
            return name, place(ref)
        case Row(slot):
            return f"a{slot}, b{slot}", "pairs.rows()"
        case Let(name, text, near=near):
            return name, vectorized(text) if near is None else f"pairs.{near}({vectorized(text)})"
        case Store(ref, name):
            return place(ref), name
