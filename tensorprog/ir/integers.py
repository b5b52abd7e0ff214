"""Integer expressions of the typed program: sizes, loop bounds, indices. Small trees, folded when built.

    IntExpr = IntLit(value) | IntSym(name, kind) | IntBin(op, left, right) | IntLoad(input, items)
            | IntChoice(condition, then, orelse)
    BoolExpr = Comparison(op, left, right) | Logic(op, operands)

They carry no widths and are never differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, assert_never

#: What names stand for: integers and numbers, and arrays for inputs. Which one it is tells the declaration of the name.
Environment: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IntLit:
    value: int


@dataclass(frozen=True, slots=True)
class IntSym:
    """A size, an integer parameter, or a loop variable (its unique name)."""

    name: str
    kind: Literal["size", "param", "loop"]


@dataclass(frozen=True, slots=True)
class IntBin:
    """op is one of `+ - * // % ** min max`."""

    op: str
    left: IntExpr
    right: IntExpr


@dataclass(frozen=True, slots=True)
class IntLoad:
    """An entry of an integer input."""

    input: str
    items: tuple[IntExpr, ...]


@dataclass(frozen=True, slots=True)
class IntChoice:
    """`then` where the condition holds, else `orelse`. Only the chosen one need have a value."""

    condition: BoolExpr
    then: IntExpr
    orelse: IntExpr


IntExpr = IntLit | IntSym | IntBin | IntLoad | IntChoice


@dataclass(frozen=True, slots=True)
class Comparison:
    """op is one of `== != < <= > >=`."""

    op: str
    left: IntExpr
    right: IntExpr


@dataclass(frozen=True, slots=True)
class Logic:
    """op is `and`, `or` (two or more operands) or `not` (one); no operands with `and` means true."""

    op: str
    operands: tuple[BoolExpr, ...]


BoolExpr = Comparison | Logic

# A thousand times what an array holds, and written down at once.
_MOST_BITS = 1 << 16


def _power(base: int, exponent: int) -> int:
    """A power of integers; OverflowError in the place of one that takes long to write down (arrays have 64 bits)."""
    # base**exponent has at most so many bits.
    if isinstance(base, int) and isinstance(exponent, int) and exponent * base.bit_length() > _MOST_BITS:
        raise OverflowError("an integer power is too large")
    return base**exponent


#: Of integers, or of arrays of them.
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    # Rounded down, as in Python: -1 // 2 is -1, and -1 % 2 is 1. Emitted modules are Python, and agree.
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: _power(a, b),
    "min": min,
    "max": max,
}

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def int_bin(op: str, left: IntExpr, right: IntExpr) -> IntExpr:
    """`left op right`, folded where that is safe."""
    if isinstance(left, IntLit) and isinstance(right, IntLit) and _defined(op, left.value, right.value):
        return IntLit(OPERATIONS[op](left.value, right.value))
    # By linear forms, t + 1 - 1 is t, and equal indices are seen to be equal.
    if op in "+-":
        return _from_linear(linear_form(IntBin(op, left, right)))
    # Only the factor 1: a multiple is folded by `linear_form` where it stands in a sum, and keeps the user's spelling elsewhere.
    if op == "*" and IntLit(1) in (left, right):
        return right if left == IntLit(1) else left
    return IntBin(op, left, right)


def int_choice(condition: BoolExpr, then: IntExpr, orelse: IntExpr) -> IntExpr:
    """`then if condition else orelse`, folded where both are the same or the condition compares literals."""
    # The condition need not be decided; it may read an input.
    if same_int(then, orelse):
        return then
    if isinstance(condition, Comparison) and isinstance(condition.left, IntLit) and isinstance(condition.right, IntLit):
        return then if evaluate_bool(condition, {}) else orelse
    return IntChoice(condition, then, orelse)


def _defined(op: str, left: int, right: int) -> bool:
    # Integers of arrays have 64 bits: what is larger is left to be reported where it is evaluated.
    return not (op in ("//", "%") and right == 0) and not (op == "**" and (right < 0 or right > 64))


def linear_form(expr: IntExpr) -> dict[IntExpr, int]:
    """The expression as a sum of atoms with integer coefficients; the atom `IntLit(1)` carries the constant."""
    match expr:
        case IntLit(value):
            return {IntLit(1): value} if value else {}
        case IntBin("+" | "-" as op, left, right):
            form = dict(linear_form(left))
            for atom, coefficient in linear_form(right).items():
                form[atom] = form.get(atom, 0) + (coefficient if op == "+" else -coefficient)
            return {atom: c for atom, c in form.items() if c}
        case IntBin("*", IntLit(value), other) | IntBin("*", other, IntLit(value)):
            return {atom: value * c for atom, c in linear_form(other).items() if value * c}
        case _:
            # What is not linear, as i // 2 or an entry of an input, is an atom.
            return {expr: 1}


def _from_linear(form: Mapping[IntExpr, int]) -> IntExpr:
    one = IntLit(1)
    result: IntExpr | None = None
    # Positive terms first and the constant last, as people write.
    for atom, c in sorted(form.items(), key=lambda item: (item[0] == one, item[1] < 0)):
        if atom == one:
            term: IntExpr = IntLit(abs(c))
        else:
            term = atom if abs(c) == 1 else IntBin("*", IntLit(abs(c)), atom)
        if result is None:
            result = term if c > 0 else _negated(term)
        else:
            result = IntBin("+" if c > 0 else "-", result, term)
    return result if result is not None else IntLit(0)


def _negated(term: IntExpr) -> IntExpr:
    return IntLit(-term.value) if isinstance(term, IntLit) else IntBin("*", IntLit(-1), term)


def same_int(left: IntExpr, right: IntExpr) -> bool:
    """Whether two integer expressions are provably equal."""
    # True is proved, False is not: a product of two symbols is an atom, so that (i + 1)*j is not seen to be i*j + j.
    return linear_form(left) == linear_form(right)


def symbols(expr: IntExpr | BoolExpr) -> Iterator[IntSym]:
    """Every symbol that occurs, with repetitions."""
    match expr:
        case IntSym():
            yield expr
        case IntBin(_, left, right) | Comparison(_, left, right):
            yield from symbols(left)
            yield from symbols(right)
        case IntLoad(_, items) | Logic(_, items):
            for item in items:
                yield from symbols(item)
        case IntChoice(condition, then, orelse):
            for part in (condition, then, orelse):
                yield from symbols(part)
        case IntLit():
            pass
        case _:
            assert_never(expr)


def arrays(expr: IntExpr | BoolExpr) -> Iterator[str]:
    """The integer inputs that are read, with repetitions."""
    match expr:
        case IntBin(_, left, right) | Comparison(_, left, right):
            yield from arrays(left)
            yield from arrays(right)
        case IntLoad(name, items):
            yield name
            for item in items:
                yield from arrays(item)
        case Logic(_, operands):
            for operand in operands:
                yield from arrays(operand)
        case IntChoice(condition, then, orelse):
            for part in (condition, then, orelse):
                yield from arrays(part)
        case IntLit() | IntSym():
            pass
        case _:
            assert_never(expr)


def chooses(expr: IntExpr | BoolExpr, name: str) -> bool:
    """Whether a condition on the loop variable decides between two parts of the expression."""
    match expr:
        case IntChoice(condition, then, orelse):
            return name in loop_names(condition) or chooses(then, name) or chooses(orelse, name)
        case IntBin(_, left, right) | Comparison(_, left, right):
            return chooses(left, name) or chooses(right, name)
        case IntLoad(_, items) | Logic(_, items):
            return any(chooses(item, name) for item in items)
        case IntLit() | IntSym():
            return False
        case _:
            assert_never(expr)


def loop_names(expr: IntExpr | BoolExpr) -> set[str]:
    """The loop variables that an expression depends on."""
    return {s.name for s in symbols(expr) if s.kind == "loop"}


def substitute(expr: IntExpr, values: Mapping[str, IntExpr]) -> IntExpr:
    """The expression with loop variables replaced."""
    match expr:
        case IntSym(name, "loop") if name in values:
            return values[name]
        case IntBin(op, left, right):
            return int_bin(op, substitute(left, values), substitute(right, values))
        case IntLoad(name, items):
            return IntLoad(name, tuple(substitute(item, values) for item in items))
        case IntChoice(condition, then, orelse):
            return int_choice(substitute_bool(condition, values), substitute(then, values), substitute(orelse, values))
        case IntLit() | IntSym():
            return expr
        case _:
            assert_never(expr)


def substitute_bool(expr: BoolExpr, values: Mapping[str, IntExpr]) -> BoolExpr:
    """The condition with loop variables replaced."""
    match expr:
        case Comparison(op, left, right):
            return Comparison(op, substitute(left, values), substitute(right, values))
        case Logic(op, operands):
            return Logic(op, tuple(substitute_bool(o, values) for o in operands))
        case _:
            assert_never(expr)


def last_value(start: IntExpr, stop: IntExpr, step: int) -> IntExpr:
    """The last value of a loop's variable, for a loop that runs at all."""
    # The general formula would leave a division by 1 in every bound that is printed.
    if abs(step) == 1:
        return int_bin("-", stop, IntLit(step))
    toward = IntLit(1 if step > 0 else -1)
    # range(0, 10, 3) ends with 9: as many whole steps as there are before the last integer inside.
    steps = int_bin("//", int_bin("-", int_bin("-", stop, toward), start), IntLit(step))
    return int_bin("+", start, int_bin("*", steps, IntLit(step)))


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2, "**": 3}


def int_text(expr: IntExpr, outer: int = 0, name: Callable[[str], str] = str,
             operand: Callable[[str], str] = str) -> str:
    """The expression as Python (and `.tp`) source text, with `name` applied to every name, and `operand` to every entry
    of an array with which arithmetic is done."""
    def text(part: IntExpr, level: int = 0) -> str:
        return int_text(part, level, name, operand)

    match expr:
        case IntLit(value):
            return f"({value})" if value < 0 and outer else str(value)
        case IntSym(symbol, _):
            return name(symbol)
        case IntLoad(array, items):
            entry = f"{name(array)}[{', '.join(map(text, items))}]"
            return operand(entry) if outer else entry
        case IntBin("min" | "max" as op, left, right):
            return f"{op}({text(left)}, {text(right)})"
        # A choice binds weaker than every operator, and has its parentheses in any place.
        case IntChoice(condition, then, orelse):
            return f"({text(then)} if {bool_text(condition, name)} else {text(orelse)})"
        case IntBin(op, left, right):
            level = _PRECEDENCE[op]
            spaced = f" {op} " if level < 3 else op
            # a - (b - c) needs its parentheses on the right, (a**b)**c on the left.
            joined = text(left, level + (op == "**")) + spaced + text(right, level + (op != "**"))
            return f"({joined})" if level < outer else joined
        case _:
            assert_never(expr)


def bool_text(expr: BoolExpr, name: Callable[[str], str] = str) -> str:
    """The condition as Python source text, with `name` applied to every name."""
    match expr:
        case Comparison(op, left, right):
            return f"{int_text(left, 0, name)} {op} {int_text(right, 0, name)}"
        case Logic("not", (operand,)):
            return f"not ({bool_text(operand, name)})"
        case Logic(op, operands):
            return f" {op} ".join(f"({bool_text(o, name)})" for o in operands) or "True"
        case _:
            assert_never(expr)


def evaluate_int(expr: IntExpr, env: Environment) -> int:
    """The value of an expression; `env` maps symbols to ints and input names to integer arrays (or index grids)."""
    match expr:
        case IntLit(value):
            return value
        case IntSym(name, _):
            return env[name]
        case IntBin(op, left, right):
            return OPERATIONS[op](evaluate_int(left, env), evaluate_int(right, env))
        case IntLoad(name, items):
            # An index below zero would count from the end: `audit` refuses it before a run.
            return int(env[name][tuple(evaluate_int(i, env) for i in items)])
        # Only the chosen one is evaluated: `x[t - 1] if t > 0 else 0` has no x[-1].
        case IntChoice(condition, then, orelse):
            return evaluate_int(then if evaluate_bool(condition, env) else orelse, env)
        case _:
            assert_never(expr)


def evaluate_bool(expr: BoolExpr, env: Environment) -> bool:
    """The truth of a condition under the same environment as `evaluate_int`."""
    match expr:
        case Comparison(op, left, right):
            return COMPARISONS[op](evaluate_int(left, env), evaluate_int(right, env))
        case Logic("not", (operand,)):
            return not evaluate_bool(operand, env)
        case Logic("and", operands):
            return all(evaluate_bool(o, env) for o in operands)
        case Logic(_, operands):
            return any(evaluate_bool(o, env) for o in operands)
        case _:
            assert_never(expr)
