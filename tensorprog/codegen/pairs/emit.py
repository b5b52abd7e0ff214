"""From a pair program to the text of a Python module with its kernels."""

from __future__ import annotations

from tensorprog.codegen.pairs.build import build
from tensorprog.codegen.pairs.program import PairProgram
from tensorprog.codegen.pairs.rows import rows_source
from tensorprog.codegen.pairs.strip import scratch_source, tile_source
from tensorprog.codegen.pairs.univariate import numpy_source

_HEADER = '''"""Infinite-width kernels of {name} over all pairs of two data sets: {outputs}."""

from math import copysign

import numpy as np
from numba import njit

from tensorprog.runtime import pairs as rt
from tensorprog.runtime.pairs import clamp, snap

f4 = np.float32
'''

_FOOTER = '''KERNEL = rt.PairKernel(
    rows=rows, scratch_rows=scratch_rows, tiles={{"float64": tile_float64, "float32": tile_float32}},
    grams={grams!r}, inputs={inputs!r}, params={params!r}, sizes={sizes!r},
    outputs={outputs!r}, symmetric={symmetric!r})


def kernels(first, second=None, params=None, *, out=None, threads=None, dtype="float64"):
    """A dict of the [N1, N2] outputs; see `tensorprog.runtime.pairs.evaluate`."""
    return rt.evaluate(KERNEL, first, second, params, out=out, threads=threads, dtype=dtype)
'''


def emit_pair_kernel(program: PairProgram) -> str:
    """Source of a module with `kernels(first, second=None, params=None, *, out, threads, dtype)`.

    `first` and `second` map the names of inputs to arrays, [N, d] for those of Gram products, [N, ...] for others;
    `params` maps parameters and sizes to numbers. Raises UnsupportedDual where a function has kinks and no closed form.
    """
    built = build(program)
    names = tuple(name for name, _ in program.outputs)
    functions = [f"def phi{k}(x):\n    return {numpy_source(phi)}" for k, phi in enumerate(built.functions)]
    footer = _FOOTER.format(grams=tuple((g.left, g.right) for g in program.grams), inputs=program.inputs,
                            params=program.params, sizes=program.sizes, outputs=names, symmetric=program.symmetric)
    parts = [_HEADER.format(name=program.name, outputs=", ".join(names)), *functions,
             rows_source(program, built.steps), scratch_source(program, built.steps),
             *(tile_source(program, built.steps, dtype) for dtype in ("float64", "float32")), footer]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)
