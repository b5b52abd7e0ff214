"""The emitted module: header, kernels, one replicate of the limit program, and `run`."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.emitter import local_names, python_name
from tensorprog.codegen.expressions import KernelPool
from tensorprog.codegen.particles import Emitter
from tensorprog.ir.constants import constant
from tensorprog.ir.integers import IntSym, int_text, symbols
from tensorprog.ir.program import Cell, ConstExpr, For, Initial, MatrixType, Program
from tensorprog.ir.text import program_text
from tensorprog.passes.powers import Powers
from tensorprog.passes.spaces import Spaces

_HEADER = '''"""Infinite-width limit of {name}, by particles.

Written by tensorprog; running it needs NumPy, SciPy, Numba and `tensorprog.runtime`.

    values, errors = run(data, samples=4096, replicates=8, seed=0)

`data` maps input names to arrays, and sizes and parameters that have no default to numbers; others may be given as
keyword arguments. A vector of the program is a row of `samples` particles, `W @ x` the lazily sampled operator of
`tensorprog.runtime.matrices`, a moment an average over particles. Errors are standard errors over independent
randomizations, scaled so that two of them cover 95 %.

The program:

{source}

Its limit, with all powers of n divided out:

{limit}
"""

from collections import defaultdict
{imports}
import tensorprog.runtime as rt
'''

_KERNEL_IMPORTS = """from math import cos, erf, exp, inf, log, log1p, sin, sqrt, tanh

import numpy as np
from numba import vectorize
"""


def emit_module(program: Program, original: Program, powers: Powers, vanishing: frozenset[str],
                mirrored: frozenset[Cell], env: Mapping[str, object]) -> str:
    """The source of the module.

    Args:
        program: the limit program, loops marked.
        original: the program as the user wrote it.
        vanishing: outputs whose limit is zero.
        mirrored: readout vectors, sampled antithetically.
        env: values that the powers of declared constants depend on.
    """
    spaces, pool = Spaces(program), KernelPool(local_names(program))
    emitter = Emitter(program, spaces, pool)
    emitter.allocate()
    allocations, emitter.lines = emitter.lines, []
    emitter.block(program.body)
    setup = _setup(program, spaces, powers, mirrored, env)
    parts = [_header(program, original, bool(pool.sources)), *pool.sources, _bind(program),
             _replicate(program, [*setup, *allocations, *emitter.lines], vanishing), _steps(program), _run(program)]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def _header(program: Program, original: Program, kernels: bool) -> str:
    source = _indented(_quotable(original.source.text))
    limit = _indented(_quotable(program_text(program)))
    imports = _KERNEL_IMPORTS if kernels else "\nimport numpy as np\n"
    return _HEADER.format(name=original.source.name.rsplit("/", 1)[-1], source=source, limit=limit, imports=imports)


def _quotable(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))


# --- binding -------------------------------------------------------------------------------------------------


def _bind(program: Program) -> str:
    lines = ["def bind(data, settings):",
             '    """Inputs, sizes and parameters by name, sizes read off the inputs\' shapes."""',
             f"    env = {{**{_defaults(program)!r}, **data, **settings}}"]
    known = set()
    for declared in program.inputs:
        kind = "np.int64" if declared.kind == "int" else "np.float64"
        lines.append(f"    env[{declared.name!r}] = np.ascontiguousarray(env[{declared.name!r}], dtype={kind})")
        for axis, size in enumerate(declared.shape):
            if isinstance(size, IntSym) and size.kind == "size" and size.name not in known:
                known.add(size.name)
                lines.append(f"    env[{size.name!r}] = env[{declared.name!r}].shape[{axis}]")
    return "\n".join([*lines, "    return env"])


def _defaults(program: Program) -> dict[str, float | int]:
    defaults = {s.name: s.default for s in program.sizes if s.default is not None}
    return defaults | {p.name: p.default for p in program.params if p.default is not None}


def _steps(program: Program) -> str:
    """The number of iterations of the outermost loops that run step by step."""
    loops = [s for s in program.body if isinstance(s, For) and not s.parallel]
    used = sorted({sym.name for loop in loops for e in (loop.start, loop.stop) for sym in symbols(e)})
    lines = ["def steps(env):", '    """How often `replicate` calls `tick`."""']
    lines += [f"    {python_name(name)} = env[{name!r}]" for name in used]
    lengths = [f"len(range({int_text(s.start)}, {int_text(s.stop)}, {s.step}))" for s in loops]
    return "\n".join([*lines, f"    return {' + '.join(lengths) or 0}"])


def _run(program: Program) -> str:
    return f'''def run(data, *, samples=4096, replicates=8, seed=0, tolerance=None, threads=None, progress=None,
        **settings):
    """The limits of the outputs ({", ".join(o.name for o in program.outputs)}) and their standard errors.

    Args:
        data: inputs (arrays), and sizes and parameters (numbers), by name.
        samples: particles of one replicate; an odd number is raised by one.
        replicates: independent randomizations, from which the errors come.
        seed: of all randomness.
        tolerance: relative size below which a vector's new part adds no direction to a matrix's memory; by default it
            starts at 1e-3 and grows with the number of directions k as 0.15*sqrt(k/samples).
        threads: replicates that run at the same time; by default as many as there are processors.
        progress: called with (steps done, steps in all) over all replicates.

    Returns:
        (values, errors): output name -> array.
    """
    env = bind(data, settings)
    samples += samples % 2
    return rt.run_replicates(lambda child, tick: replicate(env, samples, child, tolerance, tick), replicates=replicates,
                             seed=seed, steps=steps(env), threads=threads, progress=progress)'''


# --- one replicate -------------------------------------------------------------------------------------------


def _replicate(program: Program, body: list[str], vanishing: frozenset[str]) -> str:
    names = [*(s.name for s in program.sizes), *(p.name for p in program.params), *(i.name for i in program.inputs)]
    lines = ["def replicate(env, samples, seed, tolerance, tick):",
             '    """One randomization: output name -> array. Calls `tick` after every step of its outermost loops."""']
    lines += [f"    {python_name(n)} = env[{n!r}]" for n in names]
    lines += body
    results = [f"        {o.name!r}: {_result(o.cell, o.name in vanishing)}," for o in program.outputs]
    return "\n".join([*lines, "    return {", *results, "    }"])


def _result(cell: Cell, vanishes: bool) -> str:
    name = python_name(cell.name)
    return f"np.zeros_like({name})" if vanishes else f"np.asarray({name})"


def _setup(program: Program, spaces: Spaces, powers: Powers, mirrored: frozenset[Cell], env: Mapping) -> list[str]:
    lines = ["    ratios = {}"]
    for width in program.widths:
        ratio = _coefficient(width.ratio, env, program)[0] if width.ratio else "1.0"
        lines.append(f"    ratios[{width.name!r}] = {ratio}")
    lines.append(f"    seeds = seed.spawn({len(spaces.widths)})")
    flips = {spaces.of(c) for c in mirrored if c in {i.cell for i in program.initials}}
    made = [f"rt.Space(samples, seeds[{i}]{', mirrored=True' if i in flips else ''})"
            for i in range(len(spaces.widths))]
    lines.append(f"    spaces = [{', '.join(made)}]")
    for initial in program.initials:
        lines += _initial(initial, program, spaces, powers, initial.cell in mirrored, env)
    return lines


def _initial(initial: Initial, program: Program, spaces: Spaces, powers: Powers, mirror: bool,
             env: Mapping) -> list[str]:
    cell = initial.cell
    name = python_name(cell.name)
    extents = [int_text(e) for e in initial.extents]
    if isinstance(cell.type, MatrixType):
        return _initial_matrix(initial, name, extents, program, spaces, env)
    finite = [int_text(s) for s in cell.type.shape]
    count = " * ".join([*extents, *finite]) or "1"
    args = ", ".join(_law_arguments(initial, program, powers, env))
    space = spaces.of(cell)
    flip = ", mirror=True" if mirror else ""
    drawn = f"rt.draw(spaces[{space}], {initial.law.name!r}, {count}, ({args}{',' if args else ''}){flip})"
    shape = ", ".join([*extents, *finite, "samples"])
    return [f"    {name} = {drawn}.reshape({shape})"]


def _initial_matrix(initial: Initial, name: str, extents: list[str], program: Program, spaces: Spaces,
                    env: Mapping) -> list[str]:
    cell = initial.cell
    rows, cols = spaces.of((cell, "rows")), spaces.of((cell, "cols"))
    ratios = f"(ratios[{cell.type.rows!r}], ratios[{cell.type.cols!r}])"
    sides = f"spaces[{rows}], spaces[{cols}]"
    if initial.law.name == "zero":
        made = f"rt.zero_matrix({sides}, {ratios}, tolerance)"
    else:
        variance = _coefficient(initial.law.args[1], env, program)[0]
        made = f"rt.gaussian_matrix({sides}, {variance}, {ratios}, tolerance)"
    if not extents:
        return [f"    {name} = {made}"]
    indices = [f"i{k}" for k in range(len(extents))]
    loops = " ".join(f"for {i} in range({e})" for i, e in zip(indices, extents))
    return [f"    {name} = {{({', '.join(indices)},): {made} {loops}}}"]


def _law_arguments(initial: Initial, program: Program, powers: Powers, env: Mapping) -> list[str]:
    """The law's arguments at order one: parts of lower order than the object itself become zero."""
    texts = [_coefficient(a, env, program) for a in initial.law.args]
    own = powers[initial.cell]
    if initial.law.name in ("normal", "sparse_normal"):
        (first, first_power), (variance, variance_power) = texts
        if initial.law.name == "normal" and first_power != own:
            first = "0.0"
        return [first, variance if own is None or variance_power == 2 * own else "0.0"]
    if initial.law.name in ("uniform", "constant"):
        return [text if own is None or power == own else "0.0" for text, power in texts]
    return [text for text, _ in texts]


def _coefficient(expr: ConstExpr, env: Mapping, program: Program):
    """A constant's coefficient as source text, and its power of n."""
    power = constant(program, expr, env)[1]
    match expr.op:
        case "num":
            return repr(float(expr.leaf)), power
        case "param":
            return python_name(expr.leaf), power
        case "int":
            return f"({int_text(expr.leaf)})", power
        case "width":
            return f"ratios[{expr.leaf!r}]", power
        case "neg":
            return f"(-{_coefficient(expr.args[0], env, program)[0]})", power
    parts = [_coefficient(a, env, program) for a in expr.args]
    if expr.op in ("+", "-") and parts[0][1] != parts[1][1]:
        kept = max(range(2), key=lambda i: parts[i][1])
        sign = "-" if expr.op == "-" and kept == 1 else ""
        return f"({sign}{parts[kept][0]})", power
    if expr.op in ("+", "-", "*", "/", "**"):
        return f"({parts[0][0]} {expr.op} {parts[1][0]})", power
    return f"np.{expr.op}({parts[0][0]})", power
