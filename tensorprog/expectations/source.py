"""Python source, to be compiled by Numba, of a planned expectation."""

from __future__ import annotations

import re
from itertools import repeat
from keyword import iskeyword

import sympy
from sympy import Expr, S, Symbol
from sympy.printing.pycode import PythonCodePrinter

from tensorprog.expectations.functions import gelu, relu, sigmoid, silu, softplus, step
from tensorprog.expectations.guarded import GUARDED
from tensorprog.expectations.quadrature import XI, Integral

TOLERANCE = 1e-12
LEVELS = {1: 9, 2: 5, 3: 3}  # halvings of the spacing that are affordable in each dimension
CALLED = (*GUARDED, gelu, relu, sigmoid, silu, softplus, step)
NUMERIC = ("sign", "kink_points", "refinement_error", "trapezoid_points")

# Names that the emitted function has another use for.
_RESERVED = re.compile("|".join([
    r"xi\d", r"[qe]\d+_", r"s\d+_\d+", r"c_\d+", "level|points|weights|planes|scales|total|size|before|difference|p|y",
    "math|numpy|range|abs|max|min|float", *(f.__name__ for f in CALLED), *NUMERIC]))


class Printer(PythonCodePrinter):
    """Prints the functions of `numeric.py` by their names, and rationals as floating point numbers."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": True, "user_functions": {f.__name__: f.__name__ for f in CALLED}})

    def _print_Rational(self, expr: Expr) -> str:
        return repr(float(expr))

    def _print_sign(self, expr: Expr) -> str:
        return f"sign({self._print(expr.args[0])})"

    def _print_Float(self, expr: Expr) -> str:
        return repr(float(expr))


def identifiers(arguments: tuple[Symbol, ...]) -> dict[Symbol, Symbol]:
    """A Python name for every argument, as symbols."""
    names: dict[Symbol, Symbol] = {}
    for symbol in arguments:
        name = re.sub(r"\W", "_", symbol.name) or "_"
        name = f"a_{name}" if not name.isidentifier() or iskeyword(name) or _RESERVED.fullmatch(name) else name
        while Symbol(name, real=True) in names.values():
            name += "_"
        names[symbol] = Symbol(name, real=True)
    return names


def function_source(value: Expr, integrals: dict[Symbol, Integral], arguments: tuple[Symbol, ...],
                    split: bool = False) -> str:
    """The source of `def expectation(arguments)`, with its imports. With `split`, integrals are taken apart not only at
    kinks but also where an integrand changes fast if covariances are large.

    It returns `value`, in which each symbol of `integrals` stands for that integral; with integrals, the pair of
    `value` and its error, to first order in theirs.
    """
    names = identifiers(arguments) | {x: Symbol(x.name, real=True) for x in XI}
    printer = Printer()
    lines: list[str] = []
    for number, (symbol, integral) in enumerate(integrals.items()):
        lines += _integral_lines(integral, number, split, names, printer)
        names[symbol] = Symbol(f"q{number}_", real=True)
    shared, (result,) = sympy.cse([value.xreplace(names)], symbols=sympy.numbered_symbols("c_"))
    lines += [f"{s} = {printer.doprint(e)}" for s, e in shared]
    errors = [_error(value.diff(symbol).xreplace(names), number, printer) for number, symbol in enumerate(integrals)]
    returned = f"float({printer.doprint(result)})"
    lines.append(f"return {returned}, {' + '.join(errors)}" if errors else f"return {returned}")
    header = f"def expectation({', '.join(names[a].name for a in arguments)}):"
    body = "\n".join([header, *("    " + line for line in lines)])
    return _imports(body) + "\n\n" + body + "\n"


def _error(slope: Expr, number: int, printer: Printer) -> str:
    return f"e{number}_" if slope == 1 else f"abs({printer.doprint(slope)}) * e{number}_"


def _imports(body: str) -> str:
    names = (*(f.__name__ for f in CALLED), *NUMERIC)
    called = sorted(name for name in names if re.search(rf"\b{name}\(", body))
    lines = [f"import {module}\n" for module in ("math", "numpy") if f"{module}." in body]
    if called:
        lines.append(f"from tensorprog.expectations.numeric import {', '.join(called)}\n")
    return "".join(lines)


def _integral_lines(integral: Integral, number: int, split: bool, names: dict[Symbol, Symbol],
                    printer: Printer) -> list[str]:
    planes = integral.transitions if split else integral.kinks
    rows = [[*map(dict(plane.linear).get, XI[:integral.dimension], repeat(S.Zero)), plane.constant] for plane in planes]
    outer = [entry for row in rows for entry in row] if planes else list(integral.deviations)
    expressions = [e.xreplace(names) for e in (*outer, integral.integrand)]
    shared, reduced = sympy.cse(expressions, symbols=sympy.numbered_symbols(f"s{number}_"))
    xi = [names[x] for x in XI[:integral.dimension]]
    varying: set[Symbol] = set(xi)
    before, inside = [], []
    for symbol, expr in shared:
        if expr.free_symbols & varying:
            varying.add(symbol)
        (inside if symbol in varying else before).append(f"{symbol} = {printer.doprint(expr)}")
    grid = [printer.doprint(e) for e in reduced[:-1]]
    if planes:
        width = integral.dimension + 1
        before.append(f"planes = numpy.empty(({len(planes)}, {width}))")
        before += [f"planes[{at // width}, {at % width}] = {text}" for at, text in enumerate(grid)]
    else:
        before.append(f"scales = numpy.empty({integral.dimension})")
        before += [f"scales[{at}] = {text}" for at, text in enumerate(grid)]
    rule = "kink_points(planes, level)" if planes else "trapezoid_points(scales, level)"
    loop = [f"{x} = points[p, {k}]" for k, x in enumerate(xi)] + inside
    return [
        *before,
        f"q{number}_, e{number}_, before = 0.0, 0.0, 0.0",
        f"for level in range({LEVELS[integral.dimension]}):",
        f"    points, weights = {rule}",
        "    total, size = 0.0, 0.0",
        "    for p in range(weights.size):",
        *("        " + line for line in loop),
        f"        y = weights[p] * ({printer.doprint(reduced[-1])})",
        "        total += y",
        "        size += abs(y)",
        f"    difference, q{number}_ = abs(total - q{number}_), total",
        f"    e{number}_ = refinement_error(difference, before, size)",
        "    before = difference if level > 0 else 0.0",
        f"    if level > 0 and e{number}_ <= {TOLERANCE!r} * size:",
        "        break",
    ]
