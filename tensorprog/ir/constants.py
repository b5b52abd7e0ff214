"""The value of a `ConstExpr`: a coefficient and a power of n, once sizes and parameters are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.ir.integers import Environment, evaluate_int
from tensorprog.ir.program import ConstExpr, Program

Scaled = tuple[float, Fraction]

NAMES = ("param", "int", "width")
SETTINGS = (1.3, 2.6, 7.1)  # numbers that names stand for to see whether a constant is zero


class ConstantError(Exception):
    """A constant that has no value: `reason` says why, `expr` where."""

    def __init__(self, reason: str, expr: ConstExpr):
        super().__init__(reason)
        self.reason = reason
        self.expr = expr


def constant(program: Program, expr: ConstExpr, env: Environment) -> Scaled:
    """`expr` as coefficient and power of the base width n. `env` maps sizes, parameters and int inputs to values.

    Raises:
        ProgramError: TP505, for a constant without a value (a sum of different powers keeps the larger one).
    """
    try:
        return _evaluate(program, expr, env)
    except ConstantError as error:
        raise _as_program_error(error.reason, error.expr, program.source) from None
    except ZeroDivisionError:
        raise _as_program_error("it divides by zero", expr, program.source) from None
    except ValueError:
        raise _as_program_error("it takes the square root or logarithm of a number below zero", expr,
                                program.source) from None
    except OverflowError:
        raise _as_program_error("it is too large", expr, program.source) from None


def at_width(scaled: Scaled, n: int) -> float:
    """The number that a scaled constant is at base width `n`."""
    coefficient, power = scaled
    return coefficient * float(n) ** float(power)


def width_ratio(program: Program, width: str, env: Environment) -> float:
    """The limit of (width / base width)."""
    declared = next(w for w in program.widths if w.name == width)
    if declared.ratio is None:
        return 1.0
    return constant(program, declared.ratio, env)[0]


def _as_program_error(reason: str, expr: ConstExpr, source: Source) -> ProgramError:
    message = f"this constant has no value: {reason}"
    help = "look at the values of the parameters in it, and change them with --set or their defaults"
    return ProgramError([Diagnostic("TP505", message, expr.span, help=help)], source)


def _evaluate(program: Program | None, expr: ConstExpr, env: Environment) -> Scaled:
    match expr.op:
        case "num":
            return float(expr.number), Fraction(0)
        case "param":
            # Numbers that users set are of order one, however large: only the names of widths carry powers of n.
            return float(env[expr.name]), Fraction(0)
        case "int":
            return float(evaluate_int(expr.integer, env)), Fraction(0)
        case "width":
            assert program is not None, "a width of no program"
            return width_ratio(program, expr.name, env), Fraction(1)
    args = [_evaluate(program, a, env) for a in expr.args]
    match expr.op:
        case "neg":
            return -args[0][0], args[0][1]
        case "+" | "-":
            # (A difference that cancels has the coefficient 0, with the power of what cancelled.)
            return _sum(args[0], args[1] if expr.op == "+" else (-args[1][0], args[1][1]))
        case "*":
            return args[0][0] * args[1][0], args[0][1] + args[1][1]
        case "/":
            return args[0][0] / args[1][0], args[0][1] - args[1][1]
        case "**":
            return _power(args[0], args[1], expr)
        case "max":
            # The larger power of n, and of equal ones the larger coefficient.
            return max(args, key=lambda scaled: scaled[::-1])
        case "sqrt":
            return math.sqrt(args[0][0]), args[0][1] / 2
    # What is left are exp and log, and exp(n) has no power of n.
    if args[0][1]:
        raise ConstantError(f"{expr.op} of a power of n", expr)
    return getattr(math, expr.op)(args[0][0]), Fraction(0)


def _sum(left: Scaled, right: Scaled) -> Scaled:
    # 0 has no power of n: 0*n + 1 is of the order of 1, although n has the larger power.
    if left[0] == 0 or right[0] == 0:
        return right if left[0] == 0 else left
    if left[1] == right[1]:
        return left[0] + right[0], left[1]
    # 1 + 1/n is 1 in the limit.
    return max(left, right, key=lambda term: term[1])


def _power(base: Scaled, exponent: Scaled, expr: ConstExpr) -> Scaled:
    if exponent[1]:
        raise ConstantError("an exponent that depends on n", expr)
    # Python makes a root of a negative number complex, and raises nothing.
    value = base[0] ** exponent[0]
    if isinstance(value, complex):
        raise ConstantError("a fractional power of a negative number", expr)
    # Exponents are short fractions, which 0.333... of a parameter is meant to be.
    return value, base[1] * Fraction(exponent[0]).limit_denominator(1000)


def literal_value(expr: ConstExpr) -> float:
    """The value of a constant that depends on nothing.

    Raises:
        ConstantError: it holds a name.
    """
    if holds_name(expr):
        raise ConstantError("it holds a name", expr)
    return _evaluate(None, expr, {})[0]


def holds_name(expr: ConstExpr) -> bool:
    """Whether a constant depends on a parameter, an integer or a width."""
    return expr.op in NAMES or any(holds_name(a) for a in expr.args)


def holds_param(expr: ConstExpr, name: str) -> bool:
    """Whether a real parameter is in a constant."""
    return expr.op == "param" and expr.leaf == name or any(holds_param(a, name) for a in expr.args)


def is_zero(expr: ConstExpr) -> bool:
    """Whether a constant is zero whatever its names are: as far as rounding shows it at three settings of them."""
    try:
        return all(_rounds_to_zero(expr, start) for start in SETTINGS)
    # No value at one setting, as log(a - b) has none, does not tell of others: not known to be zero.
    except (ConstantError, ArithmeticError, ValueError, TypeError):
        return False


def _rounds_to_zero(expr: ConstExpr, start: float) -> bool:
    # The last operation is left to the comparison, which judges its rounding by the operands: 0.3 - (0.1 + 0.2) is 0.
    values: dict[object, float] = {}
    number = _settled(expr, values, start)
    if number.op in ("+", "-"):
        left, right = (literal_value(a) for a in number.args)
        # The rounding of a few operations.
        return abs(left + right if number.op == "+" else left - right) <= 1e-13 * max(abs(left), abs(right))
    return literal_value(number) == 0


def _settled(expr: ConstExpr, values: dict[object, float], start: float) -> ConstExpr:
    """A constant with a number for every name in it, each another one."""
    if expr.op in NAMES:
        # A number of its own for each name: with equal ones, a - b would seem to be zero.
        value = values.setdefault((expr.op, expr.leaf), start + 0.37 * len(values))
        return ConstExpr("num", (), value, span=expr.span)
    return replace(expr, args=tuple(_settled(a, values, start) for a in expr.args))


def constants_env(program: Program, settings: Mapping[str, float | int]) -> dict[str, object]:
    """Values that powers of n may depend on: settings and defaults, and 1 for whatever is known only at run time
    (no power depends on it)."""
    env: dict[str, object] = {s.name: s.default or 1 for s in program.sizes}
    env |= {p.name: 1 if p.default is None else p.default for p in program.params}
    return env | dict(settings)
