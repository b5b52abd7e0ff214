"""The recursion on the diagonal, for all rows at once: a NumPy function that records the quantities of one index.

It runs once per call, in float64. Its slots come in the order in which a strip of pairs reads them (`strip.py`), so
both forms share nothing but the order of the steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import assert_never

from tensorprog.pairs.codegen.steps import (
    Block,
    LetLine,
    Line,
    LoadLine,
    LoopOfSteps,
    RowLine,
    SeriesCall,
    Step,
    StoreLine,
    array_name,
    input_name,
    int_source,
    literals,
    param_name,
    range_source,
    scalar_name,
    size_name,
)
from tensorprog.pairs.program import PairProgram, Ref

#: The target and the value of an assignment.
Assignment = Callable[[Line], tuple[str, str]]


def rows_source(program: PairProgram, steps: tuple[Step, ...], suffix: str) -> str:
    """Source of `rows<suffix>(record, grams, inputs, params, sizes)`, which returns the diagonal of every output."""
    body = step_lines(steps, "    ", _line, _series)
    return function_source(
        f"rows{suffix}", ("record", "grams", "inputs", "params", "sizes"),
        "The recursion for a = b: `record` keeps quantities of one index; returns the outputs.", program,
        # Functions of several kernels in one module are told apart by the suffix.
        [re.sub(r"\bphi\d+\b", rf"\g<0>{suffix}", line) for line in body])


def function_source(name: str, arguments: tuple[str, ...], described: str, program: PairProgram, body: list[str]) -> str:
    """Source of a function that takes its `arguments` apart, has a dictionary for every array, and returns the outputs."""
    lines = [f"def {name}({', '.join(arguments)}):", f'    """{described}"""']
    groups = {"grams": [scalar_name(g.name) for g in program.grams], "inputs": [input_name(n) for n in program.inputs],
              "params": [param_name(n) for n in program.params], "sizes": [size_name(n) for n in program.sizes]}
    lines += [f"    {', '.join(names)}, = {group}" for group, names in groups.items() if names and group in arguments]
    lines += [f"    {array_name(array.name)} = {{}}" for array in program.arrays]
    return "\n".join([*lines, *body, f"    return [{', '.join(place(ref) for _, ref in program.outputs)}]"])


def place(ref: Ref) -> str:
    if not ref.index:
        return scalar_name(ref.name)
    return f"{array_name(ref.name)}[{', '.join(int_source(i) for i in ref.index)}]"


def step_lines(steps: tuple[Step, ...], pad: str, assignment: Assignment, series: Callable[[SeriesCall], list[str]]) -> list[str]:
    """The statements of steps, indented by `pad`: `assignment` writes a line of a block, `series` a sum of a series."""
    lines = []
    for step in steps:
        match step:
            case LoopOfSteps(loop, inner):
                within = pad + "    "
                lines += [pad + range_source(loop), *(step_lines(inner, within, assignment, series) or [f"{within}pass"])]
            case SeriesCall():
                lines += [pad + text for text in series(step)]
            case Block():
                lines += [pad + text for text in _block(step, assignment)]
            case _:
                assert_never(step)
    return lines


def _block(block: Block, assignment: Assignment) -> list[str]:
    """The block's lines, without values that nothing of this form needs."""
    lines, needed = [], set()
    for line in reversed(block.lines):
        # Never a line of one index: the strip counts slots, so that all are recorded in their order.
        if isinstance(line, (LoadLine, LetLine)) and line.name not in needed:
            continue
        target, value = assignment(line)
        needed.update(re.findall(r"\b\w+\b", value))
        lines.append(f"{target} = {value}")
    return lines[::-1]


def _line(line: Line) -> tuple[str, str]:
    """The target and the value of an assignment."""
    match line:
        case LoadLine(name, ref):
            return name, place(ref)
        case RowLine(slot, source, text):
            return f"a{slot} = b{slot}", f"record.keep({_of(text, source)})"
        case LetLine(name, text, exact, source):
            return name, vectorized(text) if exact is None else _of(exact, source)
        case StoreLine(ref, name):
            return place(ref), name
        case _:
            assert_never(line)


def _of(text: str, source: str | None) -> str:
    return text if source is None else re.sub(r"\bq\b", source, text)


def vectorized(text: str) -> str:
    """The text of a strip in NumPy."""
    for name, other in (("clamp", "np.clip"), ("copysign", "np.copysign"), ("select", "np.where")):
        text = re.sub(rf"\b{name}\(", f"{other}(", text)
    return literals(text)


def _series(call: SeriesCall) -> list[str]:
    name = f"series{call.number}"
    means = "None" if call.means is None else f"(phi{call.means[0]}, phi{call.means[1]})"
    arguments = f"{place(call.kaa)}, {place(call.kbb)}, phi{call.f}, phi{call.g}, {means}"
    return [f"{name} = record.series({arguments})",
            f"{place(call.value)}, {place(call.integral)} = {name}.sums({place(call.correlation)})"]
