"""Source text that makes the declared random objects: widths' ratios, vectors by their laws, matrices."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tensorprog.codegen.matrix_kinds import MatrixKinds
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ensembles import Ensemble, ensemble_of
from tensorprog.ir.constants import constant
from tensorprog.ir.laws import leading_arguments
from tensorprog.ir.program import Cell, ConstExpr, Initial, MatrixType, Program
from tensorprog.passes.powers import Powers
from tensorprog.passes.spaces import Spaces


def initial_lines(program: Program, spaces: Spaces, powers: Powers, env: Mapping, draws: Mapping[Cell, str] = {}
                  ) -> list[str]:
    """Statements that give every declared object its value, from the list `spaces` of the module. `draws` are the
    statements for those that are not drawn in the plain way."""
    lines, functional = ratio_lines(program, env), MatrixKinds(program).functional
    for initial in program.initials:
        if isinstance(initial.cell.type, MatrixType):
            # A matrix that functions are taken of never holds a random one, and needs no lists of directions.
            zero = "update_matrix" if initial.cell in functional else "zero_matrix"
            lines += _matrix(initial, program, spaces, env, zero)
        elif initial.cell in draws:
            lines.append(draws[initial.cell])
        else:
            lines.append(vectors_line(initial, program, spaces, powers, env))
    return lines


def unpacked_lines(program: Program) -> list[str]:
    """Statements that give the program's sizes, parameters and inputs their names."""
    names = [*(s.name for s in program.sizes), *(p.name for p in program.params), *(i.name for i in program.inputs)]
    return [f"    {python_name(n)} = env[{n!r}]" for n in names]


def ratio_lines(program: Program, env: Mapping) -> list[str]:
    """Statements that define `ratios`, the limits of widths over n."""
    lines = ["    ratios = {}"]
    for width in program.widths:
        ratio = _coefficient(width.ratio, env, program)[0] if width.ratio else "1.0"
        lines.append(f"    ratios[{width.name!r}] = {ratio}")
    return lines


def drawn_vectors(initial: Initial, program: Program, powers: Powers, env: Mapping) -> str:
    """The law of an initial object that is not a matrix, its number of vectors and its arguments, as arguments of
    `draw`."""
    return f"{initial.law.name!r}, {count_text(initial)}, {law_text(initial, program, powers, env)}"


def count_text(initial: Initial) -> str:
    """The number of vectors of an initial object."""
    return " * ".join([*map(int_text, initial.extents), *map(int_text, initial.cell.tensor.shape)]) or "1"


def law_text(initial: Initial, program: Program, powers: Powers, env: Mapping) -> str:
    """The arguments of the law of an initial object that is not a matrix, at order one: a tuple."""
    args = ", ".join(_law_arguments(initial, program, powers, env))
    return f"({args}{',' if args else ''})"


def shape_text(initial: Initial) -> str:
    """The shape of an initial object that is not a matrix."""
    return ", ".join([*map(int_text, initial.extents), *map(int_text, initial.cell.tensor.shape), "samples"])


def vectors_line(initial: Initial, program: Program, spaces: Spaces, powers: Powers, env: Mapping,
                 how: str = "draw", more: str = "") -> str:
    """The statement that draws an initial object that is not a matrix, by a method of its space with `more` arguments."""
    drawn = f"spaces[{spaces.of(initial.cell)}].{how}({drawn_vectors(initial, program, powers, env)}{more})"
    return f"    {python_name(initial.cell.name)} = {drawn}.reshape({shape_text(initial)})"


def _matrix(initial: Initial, program: Program, spaces: Spaces, env: Mapping, zero: str) -> list[str]:
    cell = initial.cell
    name, extents = python_name(cell.name), [int_text(e) for e in initial.extents]
    rows, cols = spaces.of((cell, "rows")), spaces.of((cell, "cols"))
    ratios = f"(ratios[{cell.matrix.rows!r}], ratios[{cell.matrix.cols!r}])"
    sides = f"spaces[{rows}], spaces[{cols}]"
    if initial.law.name == "zero":
        made = f"rt.{zero}({sides}, {ratios}, tolerance)"
    else:
        variance = _coefficient(initial.law.args[1], env, program)[0]
        made = f"{_operator(ensemble_of(initial))}({sides}, {variance}, {ratios}, tolerance)"
    # A family of matrices is a dictionary: its elements are objects, and no rows of an array.
    if not extents:
        return [f"    {name} = {made}"]
    indices = [f"i{k}" for k in range(len(extents))]
    loops = " ".join(f"for {i} in range({e})" for i, e in zip(indices, extents))
    return [f"    {name} = {{({', '.join(indices)},): {made} {loops}}}"]


def _operator(ensemble: Ensemble) -> str:
    """What makes the lazily sampled operator, as source text."""
    return f"rt.operator({ensemble.name!r})" if callable(ensemble.operator) else f"rt.{ensemble.operator}"


def _law_arguments(initial: Initial, program: Program, powers: Powers, env: Mapping) -> list[str]:
    """The law's arguments at order one: parts of lower order than the object itself become zero."""
    texts = [_coefficient(a, env, program) for a in initial.law.args]
    counts = leading_arguments(initial.law, powers[initial.cell], [power for _, power in texts])
    return [text if kept else "0.0" for (text, _), kept in zip(texts, counts)]


def _coefficient(expr: ConstExpr, env: Mapping, program: Program) -> tuple[str, Fraction]:
    """A constant's coefficient as source text, and its power of n."""
    # Powers of n are numbers when the module is written; coefficients may depend on parameters of the run.
    power = constant(program, expr, env)[1]
    match expr.op:
        case "num":
            return repr(float(expr.number)), power
        case "param":
            return python_name(expr.name), power
        case "int":
            return f"({int_text(expr.integer)})", power
        case "width":
            return f"ratios[{expr.name!r}]", power
        case "neg":
            return f"(-{_coefficient(expr.args[0], env, program)[0]})", power
    parts = [_coefficient(a, env, program) for a in expr.args]
    if expr.op in ("+", "-") and parts[0][1] != parts[1][1]:
        # As in `limit/laws.py`: of 1 + 1/n, what has the larger power of n.
        kept = max(range(2), key=lambda i: parts[i][1])
        sign = "-" if expr.op == "-" and kept == 1 else ""
        return f"({sign}{parts[kept][0]})", power
    if expr.op in ("+", "-", "*", "/", "**"):
        return f"({parts[0][0]} {expr.op} {parts[1][0]})", power
    if expr.op == "max":
        # Only those of the largest power of n count.
        return f"max({', '.join(text for text, own in parts if own == power)})", power
    return f"np.{expr.op}({parts[0][0]})", power
