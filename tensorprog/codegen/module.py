"""The emitted module: header, kernels, one replicate of the limit program, and `run`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tensorprog.codegen.binding import bind_text
from tensorprog.codegen.emission import local_names
from tensorprog.codegen.expressions import KernelPool
from tensorprog.codegen.initials import initial_lines, unpacked_lines
from tensorprog.codegen.names import int_text, python_name
from tensorprog.codegen.particles import emit_body
from tensorprog.codegen.quoting import quoted, quoted_name
from tensorprog.codegen.vector_draws import Sampling
from tensorprog.ir.functions.nonlinearity import MATH
from tensorprog.ir.integers import arrays, symbols
from tensorprog.ir.program import Cell, For, Program
from tensorprog.ir.text import program_text
from tensorprog.passes.averages import resolutions
from tensorprog.passes.powers import Powers
from tensorprog.passes.precision import not_single
from tensorprog.passes.spaces import Spaces

_HEADER = '''"""Infinite-width limit of {name}, by particles.

Written by tensorprog; running it needs NumPy, SciPy, Numba and `tensorprog.runtime`.

    values, errors = run(data, samples=4096, replicates=8, seed=0)

`data` maps input names to arrays, and sizes and parameters that have no default to numbers; others may be given as
keyword arguments. A vector of the program is a row of `samples` particles, `W @ x` the lazily sampled operator of
`tensorprog.runtime.matrices`, a moment an average over particles. Errors are standard errors over independent
randomizations, with an estimate of the bias, scaled so that two of them cover 95 %.

The program:

{source}

Its limit, with all powers of n divided out:

{limit}
"""

from collections import defaultdict
{imports}
import tensorprog.runtime as rt
'''

_KERNEL_IMPORTS = f"""from math import {", ".join(MATH)}

import numpy as np

from tensorprog.runtime.compiling import njit, vectorize
"""


def emit_module(program: Program, original: Program, powers: Powers, vanishing: Collection[str | Cell],
                mirrored: frozenset[Cell], env: Mapping[str, object]) -> str:
    """The source of the module.

    Args:
        program: the limit program, loops marked.
        original: the program as the user wrote it.
        vanishing: outputs whose limit is zero, and cells of samples.
        mirrored: readout vectors, sampled so that outputs at initialization are zero.
        env: values that the powers of declared constants depend on.
    """
    # What speaks against float32, by the operations; whether it is as good is tried in a run.
    refused = not_single(program)
    spaces, pool = Spaces(program), KernelPool(local_names(program), single=refused is None)
    sampling = Sampling(program, spaces, mirrored)
    functions = sampling.functions(pool, env)
    body = emit_body(program, spaces, pool=pool)
    setup = [*_sampled_spaces(spaces, sampling.flips), *initial_lines(program, spaces, powers, env,
             sampling.draws(powers, env)), *sampling.later_lines(powers, env)]
    parts = [header_text(_HEADER, program, original, bool(body.functions)), *body.functions, *functions, bind_text(program),
             _replicate(program, [*setup, *body.lines], vanishing), steps_text(program),
             _run(program, resolutions(program, env), refused)]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def header_text(header: str, program: Program, original: Program, kernels: bool) -> str:
    """A module's docstring and imports, from a text with places for {name}, {source}, {limit} and {imports}."""
    source = _indented(quoted(original.source.text))
    limit = _indented(quoted(program_text(program)))
    imports = _KERNEL_IMPORTS if kernels else "\nimport numpy as np\n"
    return header.format(name=quoted_name(original.source.name), source=source, limit=limit, imports=imports)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))


def steps_text(program: Program) -> str:
    """The number of iterations of the outermost loops that run step by step."""
    # As `Emitter._step_by_step` ticks: in the outermost loops, once an iteration.
    loops = [s for s in program.body if isinstance(s, For) and not s.parallel]
    used = sorted({name for loop in loops for e in (loop.start, loop.stop)
                   for name in (*(sym.name for sym in symbols(e)), *arrays(e))})
    lines = ["def steps(env):", '    """How often `replicate` calls `tick`."""']
    lines += [f"    {python_name(name)} = env[{name!r}]" for name in used]
    lengths = [f"len(range({int_text(s.start)}, {int_text(s.stop)}, {s.step}))" for s in loops]
    return "\n".join([*lines, f"    return {' + '.join(lengths) or 0}"])


def _run(program: Program, resolution: Mapping[str, tuple[float, bool]], refused: str | None) -> str:
    single = refused is None
    why = f"here it is not: {refused}" if refused else "which a small part of a replicate is run in both for"
    return f'''def run(data, *, samples=4096, replicates=8, seed=0, tolerance=None, dtype=None, threads=None,
        progress=None, biased=None, notes=None, finished=None, remote=None, **settings):
    """The limits of the outputs ({", ".join(o.name for o in program.outputs)}) and their standard errors.

    Args:
        data: inputs (arrays), and sizes and parameters (numbers), by name.
        samples: particles of one replicate; an odd number is raised by one.
        replicates: independent randomizations, from which the errors come.
        seed: of all randomness.
        tolerance: relative size below which a vector's new part adds no direction to a matrix's memory; by default it
            starts at 1e-3 and grows with the number of directions k as 0.1 to 0.25 times sqrt(k/samples).
        dtype: of vectors, 'float64' or 'float32'; by default float32 where that is as good ({why}).
        threads: replicates that run at the same time; by default as many as there are processors.
        progress: called with (steps done, steps in all) over all replicates.
        biased: a set, which gets the names of outputs whose bias is above their standard error.
        finished: a `tensorprog.runtime.checkpoints.Finished`, which keeps replicates.
        remote: runs replicates elsewhere, as `tensorprog.runtime.replicates` says.
        notes: a `tensorprog.runtime.Notes` for what else replicates tell.

    Returns:
        (values, errors): output name -> array.
    """
    env = bind(data, settings)
    samples += samples % 2

    def one(child, tick, part=(0, 1), dtype="float64"):
        return replicate(env, rt.part_size(samples, part[1]), child, tolerance, tick, part=part, dtype=dtype,
                         notes=notes if part == (0, 1) else None)

    single = {single} and (tolerance is None or tolerance > rt.LEAST_SINGLE)
    one = rt.in_precision(one, dtype, single, samples, seed)
    return rt.run_replicates(one, replicates=replicates, seed=seed, steps=steps(env), threads=threads,
                             progress=progress, samples=samples, jumps={dict(resolution)!r}, biased=biased,
                             finished=finished, remote=remote)'''


# --- one replicate -------------------------------------------------------------------------------------------


def _replicate(program: Program, body: list[str], vanishing: Collection[str | Cell]) -> str:
    lines = ["def replicate(env, samples, seed, tolerance, tick, plain=False, part=(0, 1), dtype='float64',",
             "              notes=None):",
             '    """One randomization: output name -> array. Calls `tick` after every step of its outermost loops.',
             "    `plain` samples are independent, so that averages fluctuate like those of a network; 'network': matrices are arrays.",
             "    `part` (i, k): by the i-th of k parts of the particles that there are with k times as many samples.",
             '    """']
    noted = ["    if notes is not None:", "        notes.take(spaces)"]
    return "\n".join([*lines, *unpacked_lines(program), *body, *noted, *result_lines(program, vanishing)])


def result_lines(program: Program, vanishing: Collection[str | Cell]) -> list[str]:
    """The statement that returns the outputs by name."""
    results = [f"        {o.name!r}: {_result(o.cell, o.name in vanishing)}," for o in program.outputs]
    results += [f"        {s.name!r}: {_draws(s.cells, vanishing)}," for s in program.samples]
    return ["    return {", *results, "    }"]


def _draws(cells: Sequence[Cell], vanishing: Collection[str | Cell]) -> str:
    # 0 times the vector: a NaN, as where a matrix diverged, stays one.
    columns = ", ".join(f"0.0 * {python_name(c.name)}" if c in vanishing else python_name(c.name) for c in cells)
    # Constant vectors are plain numbers in the module; an array of `samples` entries beside them gives each a row for every
    # particle.
    return f"np.stack(np.broadcast_arrays({columns}, np.empty(samples))[:-1], axis=-1)"


def _result(cell: Cell, vanishes: bool) -> str:
    name = python_name(cell.name)
    return f"np.zeros_like({name})" if vanishes else f"np.asarray({name})"


def _sampled_spaces(spaces: Spaces, flips: set[int]) -> list[str]:
    # Each space has a seed of its own, so that what one draws does not depend on how much another has drawn.
    made = [f"rt.Space(samples, seeds[{i}]{', mirrored=True' if i in flips else ''}, plain=plain, part=part, dtype=dtype)"
            for i in range(len(spaces.widths))]
    return ["    dtype = np.dtype(dtype)", f"    seeds = seed.spawn({len(spaces.widths)})", f"    spaces = [{', '.join(made)}]"]
