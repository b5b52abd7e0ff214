"""Networks of a finite width as a Python module, for programs that the interpreter of `finite/` runs too slowly: those
with long loops on single vectors (`codegen.loops`) or copies of tensors in parallel loops (`codegen.factored`).

The statements are those of `codegen.particles`, with the n coordinates of a vector in the place of particles.
"""

from __future__ import annotations

from tensorprog.codegen.initials import unpacked_lines
from tensorprog.codegen.module import header_text, result_lines, steps_text
from tensorprog.codegen.names import python_name
from tensorprog.codegen.particles import emit_body
from tensorprog.ir.program import MatrixType, Program, cells_written
from tensorprog.passes.spaces import Spaces

_HEADER = '''"""Networks of a finite width of {name}.

Written by tensorprog; running it needs NumPy, SciPy, Numba and `tensorprog.runtime`.

The program:

{source}

Without gradients:

{limit}
"""

from collections import defaultdict
{imports}
import tensorprog.runtime as rt
'''


def emit_finite_module(program: Program, original: Program) -> str | None:
    """The source of the module; None if the interpreter is as good, or the program has width x width matrices.

    Args:
        program: without gradients and kernels, loops marked.
        original: the program as the user wrote it.
    """
    cells = {*(i.cell for i in program.initials), *cells_written(program.body)}
    if any(isinstance(c.type, MatrixType) for c in cells):
        return None
    body = emit_body(program, Spaces(program), compiles=True)
    if not body.special:
        return None
    parts = [header_text(_HEADER, program, original, bool(body.functions)), *body.functions,
             _evaluate(program, [*_initials(program), *body.lines]),
             steps_text(program)]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def _initials(program: Program) -> list[str]:
    return [f"    {python_name(i.cell.name)} = initial[{i.cell.name!r}]" for i in program.initials]


def _evaluate(program: Program, body: list[str]) -> str:
    # At a finite width `WidthConst` is the width itself. The module is run only where all widths are the base width
    # (`simulate.Simulator`).
    ratios = ", ".join(f"{w.name!r}: float(samples)" for w in program.widths)
    lines = ["def evaluate(env, initial, samples, threads, tick):",
             '    """Output name -> array, at width `samples`; `initial` holds the drawn vectors. Calls `tick` after',
             '    every step of its outermost loops."""',
             f"    ratios, dtype = {{{ratios}}}, np.dtype(float)"]
    return "\n".join([*lines, *unpacked_lines(program), *body, *result_lines(program, frozenset())])
