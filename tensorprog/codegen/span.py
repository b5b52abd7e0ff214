"""The `span` evaluator: a homogeneous linear program (`passes.linear`) as a Python module on coefficients.

The statements are those of `codegen.particles`, with coefficients on an orthonormal basis in the place of particles
(`runtime.basis`), so that they are exact. The `diagonal` evaluator (`passes.diagonals`) is the same with coefficients that are
functions of some declared vectors (`runtime.diagonals`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.binding import bind_text
from tensorprog.codegen.initials import drawn_vectors, initial_lines, ratio_lines, unpacked_lines
from tensorprog.codegen.module import header_text, result_lines, steps_text
from tensorprog.codegen.names import python_name
from tensorprog.codegen.particles import emit_body
from tensorprog.ir.program import Cell, Initial, MatrixType, Program
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


_DIAGONAL_HEADER = '''"""Infinite-width limit of {name}: all its vectors are linear in the initial ones, with functions of some of
these, the diagonals, as coefficients.

Written by tensorprog; running it needs NumPy, SciPy, Numba and `tensorprog.runtime`.

    values, errors = run(data)

`data` maps input names to arrays, and sizes and parameters that have no default to numbers; others may be given as
keyword arguments. A vector of the program is a row of coefficients on independent directions, each at the nodes of a Gauss rule
for the diagonals (`tensorprog.runtime.diagonals`), a moment an average of products, `W @ x` the lazily sampled operator of
`tensorprog.runtime.matrices`.

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
                     env: Mapping[str, object], diagonals: tuple[Cell, ...] = ()) -> str:
    """The source of the module.

    Args:
        program: the homogeneous limit program, loops marked.
        diagonals: the declared vectors that functions as coefficients depend on.
        original: the program as the user wrote it.
        vanishing: outputs whose limit is zero.
        env: values that the powers of declared constants depend on.
    """
    spaces = Spaces(program)
    body = emit_body(program, spaces, compiles=True)
    of_space = _by_space(program, spaces, diagonals)
    draws = {cell: f"    {python_name(cell.name)} = spaces[{k}].diagonal({j}).reshape(samples)"
             for k, cells in enumerate(of_space) for j, cell in enumerate(cells)}
    lines = [*initial_lines(program, spaces, powers, env, draws), *body.lines]
    header = _DIAGONAL_HEADER if diagonals else _HEADER
    parts = [header_text(header, program, original, bool(body.functions)), *body.functions, bind_text(program),
             *_laws(program, spaces, powers, env, diagonals), _evaluate(program, lines, vanishing), steps_text(program),
             _run_on_nodes(program) if diagonals else _run(program)]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def _by_space(program: Program, spaces: Spaces, diagonals: tuple[Cell, ...]) -> list[list[Cell]]:
    """The diagonals of each space, in the order of their declaration."""
    own = [i.cell for i in program.initials if i.cell in diagonals]
    return [[c for c in own if spaces.of(c) == k] for k in range(len(spaces.widths))]


def _laws(program: Program, spaces: Spaces, powers: Powers, env: Mapping[str, object], diagonals: tuple[Cell, ...]
          ) -> list[str]:
    """Functions that give, for each space, how many directions the initial vectors take; or, with diagonals, the laws of both."""
    vectors = [i for i in program.initials if not isinstance(i.cell.type, MatrixType)]
    others = [i for i in vectors if i.cell not in diagonals]
    if not diagonals:
        return [_laws_text("dimensions", "How many directions the initial vectors of each space take.", "rt.dimension(laws)", others,
                           program, spaces, powers, env)]
    return [_laws_text("initial_laws", "The laws of the declared vectors of each space that are no diagonals.", "laws", others,
                       program, spaces, powers, env),
            _laws_text("diagonal_laws", "The laws of the diagonals of each space.", "laws",
                       [i for i in vectors if i.cell in diagonals], program, spaces, powers, env)]


def _laws_text(name: str, doc: str, result: str, initials: list[Initial], program: Program, spaces: Spaces, powers: Powers,
               env: Mapping[str, object]) -> str:
    lines = [f"def {name}(env):", f'    """{doc}"""', *unpacked_lines(program), *ratio_lines(program, env)]
    lines.append(f"    initial = [[] for _ in range({len(spaces.widths)})]")
    for initial in initials:
        drawn = drawn_vectors(initial, program, powers, env)
        lines.append(f"    initial[{spaces.of(initial.cell)}].append(({drawn}))")
    return "\n".join([*lines, f"    return [{result} for laws in initial]"])


def _evaluate(program: Program, body: list[str], vanishing: frozenset[str]) -> str:
    lines = ["def evaluate(env, spaces, threads, tick):",
             '    """Output name -> array. Calls `tick` after every step of its outermost loops."""',
             "    samples, dtype, tolerance = rt.common_dimension(spaces), rt.common_dtype(spaces), "
             "rt.common_tolerance(spaces)"]
    return "\n".join([*lines, *unpacked_lines(program), *body, *result_lines(program, vanishing)])


def _run(program: Program) -> str:
    # Without random matrices the initial vectors span all there will be, and the basis need not grow.
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


def _run_on_nodes(program: Program) -> str:
    return f'''def run(data, *, dtype="float64", threads=None, progress=None, **settings):
    """The limits of the outputs ({", ".join(o.name for o in program.outputs)}) and their errors, 0 up to rounding.

    Args:
        data: inputs (arrays), and sizes and parameters (numbers), by name.
        dtype: of coefficients, 'float64' or 'float32'.
        threads: of matrix products; by default as many as there are processors.
        progress: called with (steps done, steps of the evaluations so far).

    Returns:
        (values, errors): output name -> array.
    """
    env = bind(data, settings)
    return rt.run_on_nodes(lambda spaces, tick: evaluate(env, spaces, threads, tick), initial_laws(env), diagonal_laws(env),
                           dtype=dtype, steps=steps(env), threads=threads, progress=progress)'''
