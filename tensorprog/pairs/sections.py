"""Kernels over pairs of rows in the emitted module of the covariance evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Expr, Symbol, pycode

from tensorprog.codegen.names import python_name
from tensorprog.covariance.emit import Tile
from tensorprog.pairs.codegen import IMPORTS, pair_kernel_sections
from tensorprog.pairs.lower import PairLowering

_BY_TILES = '''def by_tiles{suffix}(env, threads):
    """name -> (values, error) of {outputs} for all pairs of rows; empty for sizes that this is not for."""
{names}    if {others}:
        return {{}}
    found, errors = rt.evaluate_with_error(KERNEL{suffix}, {first}, {second}, {params}, threads=threads,
                                           few=rt.FEW_PAIRS)
    return {{name: (value, errors[name].dense(value)) for name, value in found.items()}}
'''


def tiles(lowerings: Iterable[PairLowering]) -> list[Tile]:
    """The text of kernels, by their numbers."""
    return [Tile(IMPORTS, tuple(tile_sections(lowering, f"_{k}"))) for k, lowering in enumerate(lowerings)]


def tile_sections(lowering: PairLowering, suffix: str) -> list[str]:
    """The definitions of a kernel, whose names end in `suffix`, and of `by_tiles<suffix>`, which calls it."""
    program = lowering.program
    sections = pair_kernel_sections(program, suffix)
    params = {name: _text(e) for name, e in lowering.parameters.items()}
    params |= {name: python_name(name) for name in program.sizes}
    conditions = [f"{_text(e)} < 0" for e in lowering.required]
    conditions += [f"{python_name(s.name)} != {value}" for s, value in lowering.known.items()]
    used = sorted({s.name for e in (*lowering.parameters.values(), *lowering.required, *lowering.known)
                   for s in e.free_symbols} | set(program.sizes))
    names = "".join(f"    {python_name(n)} = env[{n!r}]\n" for n in used)
    second = "None" if lowering.one_set else _chosen(lowering.right)
    call = _BY_TILES.format(
        suffix=suffix, outputs=", ".join(name for name, _ in program.outputs), names=names,
        first=_chosen(lowering.left), second=second, params=_dict(params),
        others=" or ".join(conditions) or "False")
    return [*sections, call]


def _text(expr: Expr) -> str:
    names = {s: Symbol(python_name(s.name)) for s in expr.free_symbols}
    return pycode(expr.xreplace(names), fully_qualified_modules=False)


def _chosen(inputs: Mapping[str, str]) -> str:
    return _dict({name: f"env[{given!r}]" for name, given in inputs.items()})


def _dict(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {text}" for name, text in entries.items()) + "}"
