"""Equations as source text: statements that compute what a value needs, and the value as an expression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy
from sympy import Expr, Symbol

from tensorprog.codegen.names import python_name
from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, Expectation, IsZero, Total, Whole, is_constant
from tensorprog.covariance.system import Equation
from tensorprog.ir.program import Program


class EquationPrinter:
    """Lines of a function's body. Subclasses say how calls, expectations and results are written."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.depth = 0
        self.count = 0
        self.names: dict[Symbol, str] = {}

    def write_call(self, expr: Call) -> str:
        """Statements that find the value of a call; returns its name."""
        raise NotImplementedError

    def write_expectation(self, number: int, args: Sequence[Expr]) -> str:
        """The same for a planned expectation."""
        raise NotImplementedError

    def write_result(self, expr: Expr) -> None:
        """Statements that end a case with the value of an expression."""
        raise NotImplementedError

    def write_equations(self, equations: Iterable[Equation], ending: str) -> None:
        """The equations, each under its number, with the statement for a key that no case is for."""
        for e in equations:
            self.line(f"if key[0] == {e.number}:")
            self.depth += 1
            self.names = {p: f"i{k}" for k, p in enumerate(e.params)}
            for k in range(len(e.params)):
                self.line(f"i{k} = key[{k + 1}]")
            self.write_cases(e)
            self.line(ending)
            self.depth -= 1
        self.line(ending)

    def write_cases(self, equation: Equation) -> None:
        """The cases of an equation, each under its condition."""
        for guards, expr in equation.cases:
            condition = " and ".join(self.condition(g) for g in guards)
            if condition:
                self.line(f"if {condition}:")
                self.depth += 1
            self.write_result(expr)
            if condition:
                self.depth -= 1

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def new(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def condition(self, guard: Expr) -> str:
        if isinstance(guard, AtLeastZero):
            return f"{self.index(guard.args[0])} >= 0"
        if isinstance(guard, IsZero):
            return f"{self.index(guard.args[0])} == 0"
        # A guard that is a value is 1 or 0.
        return f"({self.value(guard)}) > 0.5"

    def index(self, expr: Expr) -> str:
        """Source text of an integer."""
        match expr:
            case sympy.Integer():
                return str(int(expr))
            case Symbol():
                return self.names.get(expr) or python_name(expr.name)
            case Entry():
                return self.entry(expr)
            case sympy.Add():
                return "(" + " + ".join(self.index(a) for a in expr.args) + ")"
            case sympy.Mul():
                top, bottom = expr.as_numer_denom()
                if bottom != 1:
                    return f"({self.index(top)} / {self.index(bottom)})"
                return "(" + " * ".join(self.index(a) for a in expr.args) + ")"
            case sympy.floor():
                top, bottom = expr.args[0].as_numer_denom()
                return f"({self.index(top)} // {self.index(bottom)})"
            case sympy.Mod():
                return f"({self.index(expr.args[0])} % {self.index(expr.args[1])})"
            case sympy.Min() | sympy.Max():
                name = "min" if isinstance(expr, sympy.Min) else "max"
                return f"{name}({', '.join(self.index(a) for a in expr.args)})"
            case sympy.Pow():
                return f"({self.index(expr.base)} ** {self.index(expr.exp)})"
            case AtLeastZero() | IsZero():
                return f"(1 if {self.condition(expr)} else 0)"
        raise TypeError(f"no index: {expr}")

    def entry(self, expr: Entry) -> str:
        name = python_name(self.program.inputs[int(expr.args[0])].name)
        return f"{name}[{', '.join(self.index(a) for a in expr.args[1:])}]"

    def symbol(self, expr: Symbol) -> str:
        """A symbol's value."""
        return self.names.get(expr) or python_name(expr.name)

    def value(self, expr: Expr) -> str:
        """Source text of a number, after the statements that it needs."""
        match expr:
            case sympy.Integer() | sympy.Rational() | sympy.Float():
                return _number(expr)
            case Symbol():
                return self.symbol(expr)
            case Entry():
                return self.entry(expr)
            case AtLeastZero() | IsZero():
                return f"(1.0 if {self.condition(expr)} else 0.0)"
            case Call():
                return self.write_call(expr)
            case Expectation():
                return self.write_expectation(int(expr.args[0]), expr.args[1:])
            case Total():
                return self.total(expr)
            case sympy.Add():
                return "(" + " + ".join(self.value(a) for a in expr.args) + ")"
            case sympy.Mul():
                return self._product(expr)
            case sympy.Pow():
                return self._power(expr)
            case Whole():
                return self._power(sympy.Pow(*expr.args, evaluate=False))
        if is_constant(expr):
            return _number(expr)
        if isinstance(expr, sympy.Min | sympy.Max):
            name = "min" if isinstance(expr, sympy.Min) else "max"
            return f"{name}({', '.join(self.value(a) for a in expr.args)})"
        if isinstance(expr, sympy.floor | sympy.Mod):
            return self.index(expr)
        name = {"Abs": "abs"}.get(expr.func.__name__, expr.func.__name__)
        return f"{name}({', '.join(self.value(a) for a in expr.args)})"

    def mean(self, number: int, values: str, closed: bool) -> str:
        """Statements that compute a planned expectation from its arguments; returns its name."""
        name = self.new()
        if closed:
            self.line(f"{name} = mean_{number}({values})")
        else:
            self.line(f"{name}, {name}_error = mean_{number}({values})")
            # `with_errors` runs once more with every quadrature moved by its error (worst[2] = 1) to see what that does
            # to outputs.
            self.line(f"worst[0] = max(worst[0], {name}_error / abs({name}))")
            self.line(f"{name} += worst[2] * {name}_error")
        return name

    def total(self, expr: Total) -> str:
        body, var, start, stop = expr.args
        name = self.new()
        self.names[var] = f"j{name}"
        self.line(f"{name} = 0.0")
        self.line(f"for j{name} in range({self.index(start)}, {self.index(stop)}):")
        self.depth += 1
        value = self.value(body)
        self.line(f"{name} += {value}")
        self.depth -= 1
        return name

    def _product(self, expr: sympy.Mul) -> str:
        guards = [f for f in expr.args if isinstance(f, AtLeastZero | IsZero)]
        rest = [f for f in expr.args if f not in guards]
        if not guards:
            return "(" + " * ".join(self.value(f) for f in rest) + ")"
        name = self.new()
        self.line(f"{name} = 0.0")
        # What a guard excludes need not exist, as the element before the first: it is not asked for.
        self.line(f"if {' and '.join(self.condition(g) for g in guards)}:")
        self.depth += 1
        value = self.value(sympy.Mul(*rest))
        self.line(f"{name} = {value}")
        self.depth -= 1
        return name

    def _power(self, expr: sympy.Pow) -> str:
        base = self.value(expr.base)
        if expr.exp == sympy.Rational(1, 2):
            return f"sqrt({base})"
        if expr.exp == sympy.Rational(-1, 2):
            return f"(1.0 / sqrt({base}))"
        if expr.exp.is_Integer:
            k = int(expr.exp)
            if 0 < k <= 4:
                name = self.new()
                self.line(f"{name} = {base}")
                return "(" + " * ".join([name] * k) + ")"
            return f"({base} ** {k})" if k > 0 else f"(1.0 / ({base}) ** {-k})"
        if expr.base == sympy.E:
            return f"exp({self.value(expr.exp)})"
        return f"({base} ** {self.value(expr.exp)})"


def key_text(printer: EquationPrinter, call: Call, width: int) -> str:
    """The key of a call in tables: the equation's number and its arguments, with zeros behind them."""
    indices = [printer.index(a) for a in call.args[1:]]
    indices += ["0"] * (width - 1 - len(indices))
    return f"({', '.join([str(int(call.args[0])), *indices])},)"


def _number(expr: Expr) -> str:
    value = float(expr)
    return repr(value) if value >= 0 else f"({value!r})"
