"""The numbers that a run starts from: widths, and the draws of the declared random objects."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from tensorprog.ensembles import ENSEMBLES
from tensorprog.ir.constants import at_width, constant, width_ratio
from tensorprog.ir.integers import evaluate_int
from tensorprog.ir.program import Initial, MatrixType, Program, Type


def actual_widths(program: Program, env: Mapping[str, object], n: int) -> dict[str, int]:
    """The number of coordinates of each width when the base width is `n`."""
    return {w.name: max(1, round(width_ratio(program, w.name, env) * n)) for w in program.widths}


def element_shape(kind: Type, widths: Mapping[str, int], env: Mapping[str, object]) -> tuple[int, ...]:
    """The array shape of a value: [rows, cols], or finite axes and then the width."""
    if isinstance(kind, MatrixType):
        return widths[kind.rows], widths[kind.cols]
    wide = () if kind.width is None else (widths[kind.width],)
    return tuple(evaluate_int(size, env) for size in kind.shape) + wide


def draw_initial(program: Program, initial: Initial, env: Mapping[str, object], n: int,
                 seed: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The elements of a declared cell with their indices, from a stream of the seed and the declaration's own."""
    # The stream belongs to the name, so that another declaration, or another order, leaves the draws as they are.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(initial.cell.name.encode())])))
    shape = element_shape(initial.cell.type, actual_widths(program, env, n), env)
    # A matrix whose entries are not normal has the law of its limit in `law`, and that of its draws in `drawn`.
    law = initial.drawn or initial.law
    args = [at_width(constant(program, a, env), n) for a in law.args]
    own = ENSEMBLES[law.name].draw if isinstance(initial.cell.type, MatrixType) and law.name in ENSEMBLES else None
    for key in product(*(range(evaluate_int(e, env)) for e in initial.extents)):
        yield key, own(rng, args, (shape[0], shape[1])) if own else _draw(rng, law.name, args, shape)


def _draw(rng: np.random.Generator, law: str, args: list[float], shape: tuple[int, ...]) -> np.ndarray:
    match law, args:
        case "normal", (mean, variance):
            return mean + np.sqrt(variance) * rng.standard_normal(shape)
        case "rademacher", ():
            return rng.choice(np.array([-1.0, 1.0]), shape)
        case "uniform", (low, high):
            return low + (high - low) * rng.random(shape)
        case "bernoulli", (p,):
            return np.where(rng.random(shape) < p, 1.0, 0.0)
        case "sparse_normal", (rho, variance):
            return np.where(rng.random(shape) < rho, np.sqrt(variance) * rng.standard_normal(shape), 0.0)
        case "constant", (c,):
            return np.full(shape, c)
        case "zero", ():
            return np.zeros(shape)
        case _:
            raise AssertionError(f"unknown law {law}")
