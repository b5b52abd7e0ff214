"""Which temporaries hold exact numbers: what exponents such as that of `n**(1/2)` or `n**(-a)` are read from."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tensorprog.ir.integers import Environment, evaluate_int, symbols
from tensorprog.ir.primitives import exact
from tensorprog.ir.program import Const, Elementwise, FromInt, Let, ParamRef, Program, Var, operands, walk

# Parameters are floats; an exponent is a fraction with a small denominator.
LARGEST_DENOMINATOR = 1000


def known_numbers(program: Program, env: Mapping[str, object]) -> dict[Var, Fraction]:
    """The temporaries that are made of numbers, parameters and sizes, with their values under `env`."""
    known: dict[Var, Fraction] = {}
    for statement in walk(program.body):
        if isinstance(statement, Let) and (value := _number(statement, known, env)) is not None:
            known[statement.var] = value
    return known


def _number(statement: Let, known: Mapping[Var, Fraction], env: Environment) -> Fraction | None:
    match statement.op:
        case Const(value=Fraction() as value):
            return value
        # A computed constant is a float: short fractions stand for what was meant.
        case Const(value=float(number)) if abs(number) < float("inf"):
            return Fraction(number).limit_denominator(LARGEST_DENOMINATOR)
        case ParamRef(name=name) if name in env:
            return Fraction(env[name]).limit_denominator(LARGEST_DENOMINATOR)
        case FromInt(expr=expr) if {s.name for s in symbols(expr)} <= set(env):
            return Fraction(evaluate_int(expr, env))
        case Elementwise(fn=fn, args=args, order=0) if all(a in known for a in args):
            return exact(fn, [known[a] for a in args])
        case _:
            return None


def names_in_exponents(program: Program) -> set[str]:
    """The parameters and sizes that exponents are made of: powers of n may depend on them."""
    makers = {s.var: s.op for s in walk(program.body) if isinstance(s, Let)}
    waiting = [op.args[1] for op in makers.values() if isinstance(op, Elementwise) and op.fn == "pow"]
    found: set[str] = set()
    seen: set[Var] = set()
    while waiting:
        var = waiting.pop()
        if var in seen:
            continue
        seen.add(var)
        match makers[var]:
            case ParamRef(name=name):
                found.add(name)
            case FromInt(expr=expr):
                found |= {s.name for s in symbols(expr) if s.kind != "loop"}
            case op:
                waiting += operands(op)
    return found
