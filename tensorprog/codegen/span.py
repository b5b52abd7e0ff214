"""The `span` evaluator: a homogeneous linear program (`passes.linear`) as a Python module on coefficients.

The statements are those of `codegen.particles`, with coefficients on an orthonormal basis in the place of particles
(`runtime.basis`), so that they are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.binding import bind_text
from tensorprog.codegen.initials import drawn_vectors, initial_lines, ratio_lines, unpacked_lines
from tensorprog.codegen.module import header_text, result_lines, steps_text
from tensorprog.codegen.particles import emit_body
from tensorprog.ir.program import MatrixType, Program
from tensorprog.passes.powers import Powers
from tensorprog.passes.spaces import Spaces

_HEADER = '''"""Infinite-width limit of {name}, exactly: all its vectors are linear in the initial ones.

Written by tensorprog; running it needs NumPy, SciPy, Numba and `tensorprog.runtime`.

    values, errors = run(data)

`data` maps input names to arrays, and sizes and parameters that have no default to numbers; others may be given as
keyword arguments. A vector of the program is a row of coefficients on an orthonormal basis (times the square root of
their number), a moment an average of products, `W @ x` the lazily sampled operator of `tensorprog.runtime.matrices`.

The program:

{source}

Its limit, with all powers of n divided out and constant vectors written as multiples of `one`:

{limit}
"""

from collections import defaultdict
{imports}
import tensorprog.runtime as rt
'''


def emit_span_module(program: Program, original: Program, powers: Powers, vanishing: frozenset[str],
                     env: Mapping[str, object]) -> str:
    """The source of the module.

    Args:
        program: the homogeneous limit program, loops marked.
        original: the program as the user wrote it.
        vanishing: outputs whose limit is zero.
        env: values that the powers of declared constants depend on.
    """
    spaces = Spaces(program)
    body = emit_body(program, spaces, compiles=True)
    lines = [*initial_lines(program, spaces, powers, env), *body.lines]
    parts = [header_text(_HEADER, program, original, bool(body.functions)), *body.functions, bind_text(program),
             _dimensions(program, spaces, powers, env), _evaluate(program, lines, vanishing), steps_text(program),
             _run(program)]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def _dimensions(program: Program, spaces: Spaces, powers: Powers, env: Mapping[str, object]) -> str:
    """A function that counts the directions of the initial vectors of each space."""
    lines = ["def dimensions(env):", '    """How many directions the initial vectors of each space take."""']
    lines += [*unpacked_lines(program), *ratio_lines(program, env)]
    lines.append(f"    initial = [[] for _ in range({len(spaces.widths)})]")
    for initial in program.initials:
        if not isinstance(initial.cell.type, MatrixType):
            drawn = drawn_vectors(initial, program, powers, env)
            lines.append(f"    initial[{spaces.of(initial.cell)}].append(({drawn}))")
    return "\n".join([*lines, "    return [rt.dimension(laws) for laws in initial]"])


def _evaluate(program: Program, body: list[str], vanishing: frozenset[str]) -> str:
    lines = ["def evaluate(env, spaces, threads, tick):",
             '    """Output name -> array. Calls `tick` after every step of its outermost loops."""',
             "    samples, dtype, tolerance = rt.common_dimension(spaces), rt.common_dtype(spaces), "
             "rt.common_tolerance(spaces)"]
    return "\n".join([*lines, *unpacked_lines(program), *body, *result_lines(program, vanishing)])


def _run(program: Program) -> str:
    grows = any(isinstance(i.cell.type, MatrixType) and i.law.name != "zero" for i in program.initials)
    return f'''def run(data, *, dtype="float64", threads=None, progress=None, checkpoint=None, watch=None,
        jitter=None, **settings):
    """The limits of the outputs ({", ".join(o.name for o in program.outputs)}) and their errors, 0 up to rounding.

    Args:
        data: inputs (arrays), and sizes and parameters (numbers), by name.
        dtype: of coefficients, 'float64' or 'float32'.
        threads: of matrix products; by default as many as there are processors.
        progress: called with (steps done, steps in all).
        checkpoint: a `tensorprog.runtime.checkpoints.Checkpoint` for the state of long loops.
        watch: called now and then with the outputs that a long loop fills, by name.
        jitter: (size, seed), to disturb the basis by that much: moments then fluctuate like those of a wide network.

    Returns:
        (values, errors): output name -> array.
    """
    env = bind(data, settings)
    return rt.run_in_basis(lambda spaces, tick: evaluate(env, spaces, threads, tick), dimensions(env), grows={grows},
                           dtype=dtype, steps=steps(env), threads=threads, progress=progress, checkpoint=checkpoint,
                           watch=watch, jitter=jitter)'''
