"""Integer expressions, conditions and declared constants of the typed program as SymPy expressions."""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import Expr

from tensorprog.derive.symbols import Cases, element, index
from tensorprog.ir.integers import BoolExpr, Comparison, IntBin, IntChoice, IntExpr, IntLit, IntLoad, IntSym, Logic
from tensorprog.ir.program import ConstExpr, Program

Names = Callable[[str], Expr]

_BINARY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "**": lambda a, b: a**b,
           "//": lambda a, b: sympy.floor(a / b), "%": lambda a, b: sympy.Mod(a, b, evaluate=False),
           "min": sympy.Min, "max": sympy.Max}
_COMPARE = {"==": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge}


def to_integer(expr: IntExpr) -> Expr:
    """An integer expression; loop variables, sizes and integer parameters are integer symbols."""
    match expr:
        case IntLit(value):
            return sympy.Integer(value)
        case IntSym(name, _):
            return index(name)
        case IntLoad(name, items):
            return element(name, tuple(to_integer(i) for i in items))
        case IntBin(op, left, right):
            return _BINARY[op](to_integer(left), to_integer(right))
        case IntChoice(condition, then, orelse):
            return Cases(to_integer(then), to_condition(condition), to_integer(orelse))


def to_condition(expr: BoolExpr) -> sympy.Basic:
    """A condition on integers."""
    match expr:
        case Comparison(op, left, right):
            return _COMPARE[op](to_integer(left), to_integer(right))
        case Logic("not", (operand,)):
            return sympy.Not(to_condition(operand))
        case Logic("and", operands):
            return sympy.And(*map(to_condition, operands))
        case Logic(_, operands):
            return sympy.Or(*map(to_condition, operands))


def to_constant(program: Program, expr: ConstExpr) -> Expr:
    """A declared constant with every power of the base width divided out: `1/n` is 1, `1/m` is n/m."""
    match expr.op:
        case "num":
            return number(expr.leaf)
        case "int":
            return to_integer(expr.leaf)
        case "param":
            return sympy.Symbol(expr.leaf)
        case "width":
            return ratio(program, expr.leaf)
        case "neg":
            return -to_constant(program, expr.args[0])
        case "+" | "-" | "*" | "**" as op:
            return _BINARY[op](*(to_constant(program, a) for a in expr.args))
        case "/":
            top, bottom = (to_constant(program, a) for a in expr.args)
            return top / bottom
        case "max":
            return sympy.Max(*(to_constant(program, a) for a in expr.args))
        case fn:
            return getattr(sympy, fn)(to_constant(program, expr.args[0]))


def ratio(program: Program, width: str) -> Expr:
    """The limit of a width over the base width."""
    declared = next(w for w in program.widths if w.name == width)
    return sympy.Integer(1) if declared.ratio is None else to_constant(program, declared.ratio)


def number(value: object) -> Expr:
    """A number as it was written: decimals of few digits are rationals."""
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return sympy.oo if value > 0 else -sympy.oo
        return sympy.Rational(str(value))
    return sympy.sympify(value)
