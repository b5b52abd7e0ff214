"""The recursion for a list of pairs: a NumPy function, for those that a strip cannot do.

It reads the quantities of one index that the diagonal recorded (`rows.py`), in the same order. Correlations may be moved
by rounding errors, which shows what these do to nearly equal rows.
"""

from __future__ import annotations

from typing import assert_never

from tensorprog.pairs.codegen.rows import function_source, place, step_lines, vectorized
from tensorprog.pairs.codegen.steps import (
    LetLine,
    Line,
    LoadLine,
    RowLine,
    SeriesCall,
    Step,
    StoreLine,
)
from tensorprog.pairs.program import PairProgram


def listed_source(program: PairProgram, steps: tuple[Step, ...], suffix: str) -> str:
    """Source of `listed<suffix>(pairs, grams, params, sizes)`, which returns the outputs of the pairs."""
    return function_source(
        f"listed{suffix}", ("pairs", "grams", "params", "sizes"),
        "The recursion for a list of pairs, with `pairs` for their rows; returns the outputs.", program,
        step_lines(steps, "    ", _line, _series))


def _series(call: SeriesCall) -> list[str]:
    value, integral, c = (place(ref) for ref in (call.value, call.integral, call.correlation))
    return [f"{value}, {integral} = pairs.sums({c})"]


def _line(line: Line) -> tuple[str, str]:
    """The target and the value of an assignment."""
    match line:
        case LoadLine(name, ref):
            return name, place(ref)
        case RowLine(slot):
            return f"a{slot}, b{slot}", "pairs.rows()"
        case LetLine(name, text, near=near):
            return name, vectorized(text) if near is None else f"pairs.{near}({vectorized(text)})"
        case StoreLine(ref, name):
            return place(ref), name
        case _:
            assert_never(line)
