"""Integer expressions and conditions of the typed program as SymPy expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy
from sympy import Expr, Integer, Rational, Symbol

from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import AtLeastZero, Entry, IsZero, flat, index_symbol
from tensorprog.ir.integers import BoolExpr, Comparison, IntBin, IntChoice, IntExpr, IntLit, IntLoad, IntSym, Logic


def size_symbol(name: str) -> Symbol:
    """The symbol of a size or integer parameter."""
    return Symbol(name, integer=True, nonnegative=True)


def parameter_symbol(name: str) -> Symbol:
    """The symbol of a real parameter."""
    return Symbol(name, real=True)


def rational(value) -> Expr:
    return Rational(value.numerator, value.denominator)


def integer(expr: IntExpr, inputs: Sequence[str] = ()) -> Expr:
    """An integer expression of loop variables, sizes, parameters and entries of `inputs`, which are numbered.

    Raises:
        Unsupported: for an entry of another input.
    """
    match expr:
        case IntLit(value):
            return Integer(value)
        case IntSym(name, kind):
            return index_symbol(name) if kind == "loop" else size_symbol(name)
        case IntLoad(name, items) if name in inputs:
            return Entry(Integer(inputs.index(name)), *(integer(i, inputs) for i in items))
        case IntBin(op, left, right):
            return _operation(op, integer(left, inputs), integer(right, inputs))
        case IntChoice(condition, then, orelse):
            holds = truth(condition, lambda e: integer(e, inputs))
            return flat(holds * integer(then, inputs) + (1 - holds) * integer(orelse, inputs))
    raise Unsupported("a declared constant depends on data")


def _operation(op: str, a: Expr, b: Expr) -> Expr:
    match op:
        case "+":
            return flat(a + b)
        case "-":
            return flat(a - b)
        case "*":
            return flat(a * b)
        case "//":
            return sympy.floor(a / b)
        case "%":
            return sympy.Mod(a, b)
        case "**":
            return a**b
        case "min":
            return sympy.Min(a, b)
        case _:
            return sympy.Max(a, b)


def truth(condition: BoolExpr, as_int: Callable[[IntExpr], Expr]) -> Expr:
    """A condition as 1 or 0."""
    match condition:
        case Comparison(op, left, right):
            a, b = as_int(left), as_int(right)
            match op:
                case "==":
                    return IsZero(flat(a - b))
                case "!=":
                    return 1 - IsZero(flat(a - b))
                case "<":
                    return AtLeastZero(flat(b - a - 1))
                case "<=":
                    return AtLeastZero(flat(b - a))
                case ">":
                    return AtLeastZero(flat(a - b - 1))
                case _:
                    return AtLeastZero(flat(a - b))
        case Logic("not", (operand,)):
            return flat(1 - truth(operand, as_int))
        case Logic("and", operands):
            return flat(sympy.Mul(*(truth(o, as_int) for o in operands)))
        case Logic(_, operands):
            return flat(1 - sympy.Mul(*(1 - truth(o, as_int) for o in operands)))
