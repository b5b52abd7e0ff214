"""The recursion for a tile of pairs: a Numba function over strips, each one row against the tile's columns.

Loops over layers are outside and the loop over the pairs of a strip is innermost, one for every block, so LLVM
vectorizes it whatever the depth. Values that live from one block to another are rows of the scratch array, which
stays in the first or second cache. Quantities of one index come in as `first[slot, row]` and `second[slot, column]`.

The numbers of the formulas come in as arguments, too. A compiler that sees them loads each anew at every use, and these
loads are a third of all instructions; values that it has to keep become operands in memory. One text also serves every
precision."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from tensorprog.ir.integers import IntBin, IntExpr, IntLit
from tensorprog.pairs.codegen.steps import (
    Block,
    LetLine,
    LoadLine,
    LoopOfSteps,
    RowLine,
    SeriesCall,
    Step,
    StoreLine,
    int_source,
    named_literals,
    param_name,
    range_source,
    scalar_name,
    size_name,
)
from tensorprog.pairs.program import PairProgram, Ref

#: Characters of a line of numbers or names.
WIDTH = 100
_ARGUMENTS = "r0, r1, c0, c1, mirror, first, second, series, doubts, scratch, grams, constants, params, sizes, outputs"


def tile_source(program: PairProgram, steps: tuple[Step, ...], suffix: str) -> str:
    """Source of `tile<suffix>`, which fills outputs[r0:r1, c0:c1]; with `mirror` only what is above the diagonal, and
    the transpose; and of `CONSTANTS<suffix>`, the numbers in it."""
    return _TileText(program, steps, suffix).source()


def scratch_source(program: PairProgram, steps: tuple[Step, ...], suffix: str) -> str:
    """Source of `scratch_rows<suffix>(sizes)`: the rows of scratch that a strip needs."""
    names = [size_name(n) for n in program.sizes]
    lines = [f"def scratch_rows{suffix}(sizes):", '    """The number of rows of scratch that a strip needs."""']
    lines += [f"    {', '.join(names)}, = sizes"] if names else []
    total = [str(len(_scalars(program, steps)) + 1)] + [_extent(array.extents) for array in program.arrays]
    return "\n".join([*lines, f"    return {' + '.join(total)}"])


def _walk(steps: tuple[Step, ...]) -> Iterator[Block | SeriesCall]:
    for step in steps:
        if isinstance(step, LoopOfSteps):
            yield from _walk(step.steps)
        else:
            yield step


def _scalars(program: PairProgram, steps: tuple[Step, ...]) -> list[str]:
    """The pair scalars that outlive a block."""
    grams = {gram.name for gram in program.grams}
    names = {ref.name: None for _, ref in program.outputs if not ref.index}
    for step in _walk(steps):
        if isinstance(step, SeriesCall):
            names |= {ref.name: None for ref in (step.correlation, step.value, step.integral)}
        else:
            # What only the diagonal reads needs no row of scratch.
            loads = [line for line in step.lines if isinstance(line, LoadLine) and line.pairs]
            names |= {load.ref.name: None for load in loads if not load.ref.index}
    return [name for name in names if name not in grams]


def _extent(extents: tuple[IntExpr, ...]) -> str:
    return "*".join(f"({int_source(e)})" for e in extents)


class _TileText:
    def __init__(self, program: PairProgram, steps: tuple[Step, ...], suffix: str) -> None:
        self.program, self.steps, self.suffix = program, steps, suffix
        self.constants: dict[float, str] = {}
        self.scalars = _scalars(program, steps)
        self.arrays = {array.name: array for array in program.arrays}
        self.grams = [gram.name for gram in program.grams]

    def source(self) -> str:
        program = self.program
        steps = self._steps(self.steps, "        ")
        numbers = "".join(f"{number!r}, " for number in self.constants)
        lines = [*_wrapped(f"CONSTANTS{self.suffix} = ({numbers})", ""), "", "",
                 f"@njit(**rt.OPTIONS)\ndef tile{self.suffix}({_ARGUMENTS}):",
                 '    """Rows r0:r1 and columns c0:c1 of the outputs, or of those above the diagonal and its `mirror`."""']
        groups = {"grams": [f"g_{name}" for name in self.grams], "constants": list(self.constants.values()),
                  "params": [param_name(n) for n in program.params],
                  "sizes": [size_name(n) for n in program.sizes],
                  "outputs": [f"o_{name}" for name, _ in program.outputs]}
        for group, names in groups.items():
            if names:
                *most, last = _wrapped(f"({', '.join(names)},)", "    ")
                lines += [*most, f"{last} = {group}"]
        lines += self._array_rows()
        lines += ["    for i in range(r0, r1):", "        slot = call = 0",
                  # Above the diagonal only, in a tile that is on it.
                  "        left = max(c0, i + 1) if mirror else c0", "        width = c1 - left"]
        # Rows of scratch: scalars first, then `doubt`, then the arrays one after the other.
        lines += [f"        {scalar_name(name)} = scratch[{k}, :width]" for k, name in enumerate(self.scalars)]
        lines += [f"        doubt = scratch[{len(self.scalars)}, :width]", "        doubt[:] = 0"]
        lines += [f"        {scalar_name(name)} = g_{name}[i - r0, left - c0:c1 - c0]" for name in self.grams]
        lines += steps
        for name, ref in program.outputs:
            lines += [f"        result = {self._place(ref)}", "        for j in range(width):",
                      f"            o_{name}[i, left + j] = result[j]", "        rt.note_finite(result, doubt)"]
        lines.append("        rt.note(doubt, doubts, i - r0, left - c0)")
        lines += ["    if mirror:"] + [f"        rt.mirror(o_{name}, r0, r1, c0, c1)" for name, _ in program.outputs]
        return "\n".join(lines)

    def _array_rows(self) -> list[str]:
        lines, start = [], str(len(self.scalars) + 1)
        for name, array in self.arrays.items():
            lines.append(f"    at_{name} = {start}")
            start = f"at_{name} + {_extent(array.extents)}"
        return lines

    def _place(self, ref: Ref) -> str:
        """A row of scratch."""
        if not ref.index:
            return scalar_name(ref.name)
        flat: IntExpr = ref.index[0]
        for index, extent in zip(ref.index[1:], self.arrays[ref.name].extents[1:]):
            flat = IntBin("+", IntBin("*", flat, extent), index)
        return f"scratch[at_{ref.name} + {int_source(flat) if not isinstance(flat, IntLit) else flat.value}, :width]"

    def _steps(self, steps: tuple[Step, ...], pad: str) -> list[str]:
        lines = []
        for step in steps:
            match step:
                case LoopOfSteps(loop, inner):
                    lines += [pad + range_source(loop), *(self._steps(inner, pad + "    ") or [pad + "    pass"])]
                case SeriesCall():
                    rows = ", ".join(self._place(ref) for ref in (step.correlation, step.value, step.integral))
                    lines += [f"{pad}rt.sum_series(series, call, i, left, {rows}, doubt, {step.means is not None})",
                              f"{pad}call += 1"]
                case Block():
                    lines += [pad + text for text in self._block(step)]
        return lines

    def _block(self, block: Block) -> list[str]:
        head, body = [], []
        used = _used(block)
        for line in block.lines:
            match line:
                case LoadLine(name, ref, True):
                    head.append(f"{name}_row = {self._place(ref)}")
                    body.append(f"{name} = {name}_row[j]")
                case RowLine(slot):
                    if f"a{slot}" in used:
                        head.append(f"a{slot} = first[slot + {slot}, i]")
                    if f"b{slot}" in used:
                        head.append(f"b{slot}_row = second[slot + {slot}, left:c1]")
                        body.append(f"b{slot} = b{slot}_row[j]")
                case LetLine(name, text):
                    body.append(f"{name} = {named_literals(text, self.constants)}")
                    # The largest correlation that a pair meets says whether it has to be computed with more care.
                    if line.near == "correlation":
                        body.append(f"doubt[j] = max(doubt[j], abs({name}))")
                case StoreLine(ref, name) if ref.index or ref.name in self.scalars:
                    head.append(f"to_{len(head)} = {self._place(ref)}")
                    body.append(f"to_{len(head) - 1}[j] = {name}")
        lines = [*head, "for j in range(width):", *("    " + text for text in body)] if body else []
        return [*lines, f"slot += {block.slots}"] if block.slots else lines


def _wrapped(text: str, pad: str) -> list[str]:
    """The lines of a text that may be broken between the items of a tuple."""
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=f"{pad}    ", break_on_hyphens=False)


def _used(block: Block) -> set[str]:
    return {name for line in block.lines if isinstance(line, LetLine) for name in re.findall(r"\b\w+\b", line.text)} | \
        {line.name for line in block.lines if isinstance(line, StoreLine)}
