"""From a pair program to the text of a Python module with its kernels."""

from __future__ import annotations

import sympy

from tensorprog.codegen.quoting import quoted_name
from tensorprog.pairs.codegen.build import build
from tensorprog.pairs.codegen.listed import listed_source
from tensorprog.pairs.codegen.rows import rows_source
from tensorprog.pairs.codegen.strip import scratch_source, tile_source
from tensorprog.pairs.codegen.univariate import numpy_source
from tensorprog.pairs.codegen.waves import waves
from tensorprog.pairs.program import PairProgram

_HEADER = '''"""Infinite-width kernels of {name} over all pairs of two data sets: {outputs}."""

{imports}
'''

#: What the functions of a kernel use.
IMPORTS = """from math import copysign

import numpy as np

from tensorprog.runtime import pairs as rt
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.pairs import clamp, select"""

_FOOTER = '''KERNEL{suffix} = rt.PairKernel(
    rows=rows{suffix}, listed=listed{suffix}, scratch_rows=scratch_rows{suffix}, tile=tile{suffix}, constants=CONSTANTS{suffix},
    grams={grams!r}, inputs={inputs!r}, params={params!r}, sizes={sizes!r},
    outputs={outputs!r}, symmetric={symmetric!r})


def kernels{suffix}(first, second=None, params=None, *, out=None, threads=None, dtype="float64"):
    """A dict of the [N1, N2] outputs; see `tensorprog.runtime.pairs.evaluate`."""
    return rt.evaluate(KERNEL{suffix}, first, second, params, out=out, threads=threads, dtype=dtype)
'''


def emit_pair_kernel(program: PairProgram) -> str:
    """Source of a module with `kernels(first, second=None, params=None, *, out, threads, dtype)`.

    `first` and `second` map the names of inputs to arrays, [N, d] for those of Gram products, [N, ...] for others;
    `params` maps parameters and sizes to numbers. Raises UnsupportedDual where a function has kinks and no closed form.
    """
    names = ", ".join(name for name, _ in program.outputs)
    sections = [_HEADER.format(name=quoted_name(program.name), outputs=names, imports=IMPORTS), *pair_kernel_sections(program, "")]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in sections)


def _function(name: str, phi: sympy.Expr) -> str:
    """A function of one variable, with its terms if it is a sum of polynomials times waves (`runtime.waves`)."""
    text, terms = f"def {name}(x):\n    return {numpy_source(phi)}", waves(phi)
    return text if terms is None else f"{text}\n\n\n{name}.waves = {terms!r}"


def pair_kernel_sections(program: PairProgram, suffix: str) -> list[str]:
    """The definitions of such a module; their names end in `suffix`."""
    built = build(program)
    names = tuple(name for name, _ in program.outputs)
    functions = [_function(f"phi{k}{suffix}", phi) for k, phi in enumerate(built.functions)]
    footer = _FOOTER.format(suffix=suffix, grams=tuple((g.left, g.right) for g in program.grams), inputs=program.inputs,
                            params=program.params, sizes=program.sizes, outputs=names, symmetric=program.symmetric)
    return [*functions, rows_source(program, built.steps, suffix), listed_source(program, built.steps, suffix),
            scratch_source(program, built.steps, suffix), tile_source(program, built.steps, suffix), footer]
