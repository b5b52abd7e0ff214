"""The emitted module of the covariance evaluator: every equation a branch of one Numba function, values in a
table.

A value is computed when it is first asked for: `compute` puts what it misses on a stack and is called again later, so
that the depth of a recursion costs no call stack and loops stay rolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import sympy
from sympy import Expr, Symbol

from tensorprog.codegen.binding import bind_text
from tensorprog.codegen.extents import family_extents
from tensorprog.codegen.names import int_text, python_name
from tensorprog.codegen.pairs import IMPORTS
from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, Expectation, IsZero, Total, is_constant, ordered
from tensorprog.covariance.pairs import PairLowering
from tensorprog.covariance.pairs_emit import tile_sections
from tensorprog.covariance.runtime import KEY_LENGTH
from tensorprog.covariance.system import Equation, System
from tensorprog.ir.program import Program

#: When quadratures are split where their integrands are steep.
Split = Literal["never", "if_needed", "always"]

_HEADER = '''"""Infinite-width limit of {name}, by covariances.

Written by tensorprog; running it needs NumPy, Numba and `tensorprog`.

    values, errors = run(data)

Every number is a function of integers, defined by the equation with its number in `compute`:

{equations}
"""

from math import cos, erf, exp, floor, inf, log, log1p, nan, pi, sin, sqrt, tanh

import numpy as np
from numba import njit

{imports}from tensorprog.runtime import integers
from tensorprog.covariance.runtime import {runtime}
from tensorprog.expectations.numeric import gelu, relu, sigmoid, sign, silu, softplus, step
'''

_TABLE = '''from numba import types
from numba.typed import Dict, List

_KEY = types.UniTuple(types.int64, {length})


@njit(cache=True)
def table():
    """An empty table of values, and an empty stack of what is asked for."""
    return Dict.empty(_KEY, types.float64), List.empty_list(_KEY)


@njit(cache=True)
def get(memo, stack, key):
    """A value that is known, or 0 after asking for it."""
    if key in memo:
        return memo[key]
    stack.append(key)
    return 0.0
'''

_EITHER = '''@njit(cache=True)
def {name}({args}):
    """The value and its error; by the slower quadrature if the other does not reach 1e-10."""
    value, error = {name}_plain({args})
    if error <= 1e-10:
        return value, error
    split, split_error = {name}_split({args})
    return (split, split_error) if split_error < error else (value, error)'''

_SOLVE = '''@njit(cache=True)
def solve(key, memo, stack, worst, limit, {env}):
    """The value of `key`, and of all that it needs."""
    if key in memo:
        return memo[key]
    stack.append(key)
    while len(stack) > 0:
        top = stack[-1]
        if top in memo:
            stack.pop()
            continue
        asked = len(stack)
        value = compute(top, memo, stack, worst, {env})
        if len(stack) == asked:
            stack.pop()
            memo[top] = value
        elif len(memo) + len(stack) > limit:
            worst[1] = 1.0
            return nan
    return memo[key]
'''


def emit_module(program: Program, original: Program, system: System, tiles: Sequence[PairLowering] = (),
                split: Split = "never") -> str:
    """The source of the module that computes the outputs of `system`, those of `tiles` as kernels over pairs of rows
    where these apply. Quadratures that are `split` are slower, and accurate also for large covariances."""
    return _Module(program, original, system, tiles, split).text()


class _Module:
    def __init__(self, program: Program, original: Program, system: System, tiles: Sequence[PairLowering],
                 split: Split):
        self.program, self.original, self.system, self.tiles, self.split = program, original, system, tiles, split
        self.width = max(KEY_LENGTH, 1 + max(len(e.params) for e in system.equations.values()))
        self.env = [python_name(s.name) for s in (*program.sizes, *program.params, *program.inputs)]
        self.lines: list[str] = []
        self.depth = 0
        self.count = 0

    @property
    def long_keys(self) -> bool:
        """Whether keys are longer than those that the runtime has a table for."""
        return self.width > KEY_LENGTH

    def text(self) -> str:
        listed = "\n".join(f"    {line}" for e in self.system.equations.values() for line in equation_lines(e))
        name = self.original.source.name.rsplit("/", 1)[-1]
        header = _HEADER.format(name=name, equations=listed.replace("\\", "\\\\"),
                                imports=f"{IMPORTS}\n" if self.tiles else "",
                                runtime="TooLarge" if self.long_keys else "TooLarge, get, table")
        env = ", ".join(self.env) or "unused"
        if self.long_keys:
            header += _TABLE.format(length=self.width)
        parts = [header, *(self._recipe(k, r) for k, r in enumerate(self.system.recipes)),
                 self._compute(env), _SOLVE.format(env=env), bind_text(self.program, "integers"), *self._tiles(),
                 self._run()]
        return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"

    def _recipe(self, number: int, recipe) -> str:
        name = f"mean_{number}"
        if self.split != "if_needed" or recipe.split_source == recipe.source:
            return _compiled(recipe.emit(name, self.split == "always"))
        args = ", ".join(f"x{k}" for k in range(len(recipe.arguments)))
        either = _EITHER.format(name=name, args=args)
        plain, split = recipe.emit(f"{name}_plain"), recipe.emit(f"{name}_split", True)
        return "\n\n\n".join([_compiled(plain), _compiled(split), either])

    # --- compute ---

    def _compute(self, env: str) -> str:
        # What is not known yet stands as 0 until it is: no division may raise.
        self.lines = ['@njit(cache=True, error_model="numpy")', f"def compute(key, memo, stack, worst, {env}):",
                      '    """The value of an equation at some integers, or 0 after asking for what it needs."""',
                      "    asked = len(stack)"]
        self.depth = 1
        for e in self.system.equations.values():
            self._line(f"if key[0] == {e.number}:")
            self.depth += 1
            self._equation(e)
            self.depth -= 1
        self._line("return nan")
        return "\n".join(self.lines)

    def _equation(self, equation: Equation) -> None:
        self.names = {p: f"i{k}" for k, p in enumerate(equation.params)}
        for k in range(len(equation.params)):
            self._line(f"i{k} = key[{k + 1}]")
        for guards, expr in equation.cases:
            condition = " and ".join(self._condition(g) for g in guards)
            if condition:
                self._line(f"if {condition}:")
                self.depth += 1
            value = self._value(expr)
            self._line(f"return {value}")
            if condition:
                self.depth -= 1
        self._line("return nan")

    def _condition(self, guard: Expr) -> str:
        if isinstance(guard, AtLeastZero):
            return f"{self._index(guard.args[0])} >= 0"
        if isinstance(guard, IsZero):
            return f"{self._index(guard.args[0])} == 0"
        return f"({self._value(guard)}) > 0.5"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def _new(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def _index(self, expr: Expr) -> str:
        if expr.is_Integer:
            return str(int(expr))
        if isinstance(expr, Symbol):
            return self.names.get(expr) or python_name(expr.name)
        if isinstance(expr, Entry):
            return f"{self._entry(expr)}"
        if isinstance(expr, sympy.Add):
            return "(" + " + ".join(self._index(a) for a in expr.args) + ")"
        if isinstance(expr, sympy.Mul):
            top, bottom = expr.as_numer_denom()
            if bottom != 1:
                return f"({self._index(top)} / {self._index(bottom)})"
            return "(" + " * ".join(self._index(a) for a in expr.args) + ")"
        if isinstance(expr, sympy.floor):
            top, bottom = expr.args[0].as_numer_denom()
            return f"({self._index(top)} // {self._index(bottom)})"
        if isinstance(expr, sympy.Mod):
            return f"({self._index(expr.args[0])} % {self._index(expr.args[1])})"
        if isinstance(expr, sympy.Min | sympy.Max):
            name = "min" if isinstance(expr, sympy.Min) else "max"
            return f"{name}({', '.join(self._index(a) for a in expr.args)})"
        if isinstance(expr, sympy.Pow):
            return f"({self._index(expr.base)} ** {self._index(expr.exp)})"
        if isinstance(expr, AtLeastZero | IsZero):
            return f"(1 if {self._condition(expr)} else 0)"
        raise TypeError(f"no index: {expr}")

    def _entry(self, expr: Entry) -> str:
        name = python_name(self.program.inputs[int(expr.args[0])].name)
        return f"{name}[{', '.join(self._index(a) for a in expr.args[1:])}]"

    def _value(self, expr: Expr) -> str:
        match expr:
            case sympy.Integer() | sympy.Rational() | sympy.Float():
                return _number(expr)
            case Symbol():
                return self.names.get(expr) or python_name(expr.name)
            case Entry():
                return self._entry(expr)
            case AtLeastZero() | IsZero():
                return f"(1.0 if {self._condition(expr)} else 0.0)"
            case Call():
                return self._call(expr)
            case Expectation():
                return self._expectation(expr)
            case Total():
                return self._total(expr)
            case sympy.Add():
                return "(" + " + ".join(self._value(a) for a in expr.args) + ")"
            case sympy.Mul():
                return self._product(expr)
            case sympy.Pow():
                return self._power(expr)
        if is_constant(expr):
            return _number(expr)
        if isinstance(expr, sympy.Min | sympy.Max):
            name = "min" if isinstance(expr, sympy.Min) else "max"
            return f"{name}({', '.join(self._value(a) for a in expr.args)})"
        if isinstance(expr, sympy.floor | sympy.Mod):
            return self._index(expr)
        name = {"Abs": "abs"}.get(expr.func.__name__, expr.func.__name__)
        return f"{name}({', '.join(self._value(a) for a in expr.args)})"

    def _call(self, expr: Call) -> str:
        indices = [self._index(a) for a in expr.args[1:]]
        indices += ["0"] * (self.width - 1 - len(indices))
        name = self._new()
        key = ", ".join([str(int(expr.args[0])), *indices])
        self._line(f"{name} = get(memo, stack, ({key},))")
        return name

    def _expectation(self, expr: Expectation) -> str:
        number = int(expr.args[0])
        args = ", ".join(self._value(a) for a in expr.args[1:])
        self._line("if len(stack) > asked:")
        self._line("    return 0.0")
        name = self._new()
        if self.system.recipes[number].kind == "closed":
            self._line(f"{name} = mean_{number}({args})")
        else:
            self._line(f"{name}, {name}_error = mean_{number}({args})")
            self._line(f"worst[0] = max(worst[0], {name}_error)")
        return name

    def _total(self, expr: Total) -> str:
        body, var, start, stop = expr.args
        name = self._new()
        self.names[var] = f"j{name}"
        self._line(f"{name} = 0.0")
        self._line(f"for j{name} in range({self._index(start)}, {self._index(stop)}):")
        self.depth += 1
        value = self._value(body)
        self._line(f"{name} += {value}")
        self.depth -= 1
        return name

    def _product(self, expr: sympy.Mul) -> str:
        guards = [f for f in expr.args if isinstance(f, AtLeastZero | IsZero)]
        rest = [f for f in expr.args if f not in guards]
        if not guards:
            return "(" + " * ".join(self._value(f) for f in rest) + ")"
        name = self._new()
        self._line(f"{name} = 0.0")
        self._line(f"if {' and '.join(self._condition(g) for g in guards)}:")
        self.depth += 1
        value = self._value(sympy.Mul(*rest))
        self._line(f"{name} = {value}")
        self.depth -= 1
        return name

    def _power(self, expr: sympy.Pow) -> str:
        base = self._value(expr.base)
        if expr.exp == sympy.Rational(1, 2):
            return f"sqrt({base})"
        if expr.exp == sympy.Rational(-1, 2):
            return f"(1.0 / sqrt({base}))"
        if expr.exp.is_Integer:
            k = int(expr.exp)
            if 0 < k <= 4:
                name = self._new()
                self._line(f"{name} = {base}")
                return "(" + " * ".join([name] * k) + ")"
            return f"({base} ** {k})" if k > 0 else f"(1.0 / ({base}) ** {-k})"
        if expr.base == sympy.E:
            return f"exp({self._value(expr.exp)})"
        return f"({base} ** {self._value(expr.exp)})"

    # --- kernels over pairs of rows ---

    def _tiles(self) -> list[str]:
        return [section for k, t in enumerate(self.tiles) for section in tile_sections(t, f"_{k}")]

    # --- run ---

    def _run(self) -> str:
        extents = family_extents(self.program)
        lines = ["def run(data, *, only=None, limit=2_000_000, samples=None, replicates=None, seed=None,",
                 "        tolerance=None, threads=None, progress=None, **settings):",
                 '    """The limits of the outputs, and the errors of the quadratures behind them (0: none).',
                 "",
                 "    `only` names the outputs that are wanted.",
                 "",
                 "    Raises:",
                 "        TooLarge: if more than `limit` values would have to be kept.",
                 '    """',
                 "    env = bind(data, settings)"]
        declared = (*self.program.sizes, *self.program.params, *self.program.inputs)
        for s in declared:
            integer = s in self.program.sizes or getattr(s, "kind", "") == "int"
            wrapped = f"env[{s.name!r}]"
            if s in self.program.params:
                wrapped = f"{'int' if integer else 'float'}({wrapped})"
            elif s in self.program.sizes:
                wrapped = f"int({wrapped})"
            lines.append(f"    {python_name(s.name)} = {wrapped}")
        if not self.env:
            lines.append("    unused = 0")
        env = ", ".join(self.env) or "unused"
        lines += ["    memo, stack = table()", "    worst = np.zeros(2)", "    values, errors = {}, {}"]
        for k in range(len(self.tiles)):
            lines += [f"    for name, (value, error) in by_tiles_{k}(env, threads).items():",
                      "        values[name], errors[name] = value, np.full(value.shape, error)"]
        for output in self.program.outputs:
            if output.cell not in self.system.outputs:
                continue
            shape = [*extents.get(output.cell, ()), *(int_text(s) for s in output.cell.type.shape)]
            number = self.system.outputs[output.cell]
            pad = ", 0" * (self.width - 1 - len(shape))
            quadrature = any(r.kind == "quadrature" for r in self.system.needed(output.cell).recipes)
            lines += [f"    if {output.name!r} not in values and (only is None or {output.name!r} in only):",
                      f"        value = np.empty(({', '.join(shape)}{',' if len(shape) == 1 else ''}))",
                      "        for index in np.ndindex(value.shape):",
                      f"            value[index] = solve(({number}, *index{pad}), memo, stack, worst, limit, {env})",
                      "            if worst[1]:",
                      "                raise TooLarge",
                      f"        values[{output.name!r}] = value",
                      f"        errors[{output.name!r}] = np.full(value.shape, {'worst[0]' if quadrature else '0.0'})"]
        lines.append("    return values, errors")
        return "\n".join(lines)


def _compiled(source: str) -> str:
    imports, _, body = source.partition("def ")
    return imports.strip() + "\n\n\n@njit(cache=True, error_model=\"numpy\")\ndef " + body.strip("\n")


def _number(expr: Expr) -> str:
    value = float(expr)
    return repr(value) if value >= 0 else f"({value!r})"


def equation_lines(equation: Equation) -> list[str]:
    """An equation for a reader of the module."""
    names = {p: Symbol(f"i{k}") for k, p in enumerate(equation.params)}
    bound = {s for guards, expr in equation.cases for e in (*guards, expr) for s in e.atoms(sympy.Dummy)} - set(names)
    names |= {s: Symbol(f"j{k}") for k, s in enumerate(ordered(bound))}
    head = f"[{equation.number}] {equation.name}({', '.join(str(names[p]) for p in equation.params)})"
    lines = []
    for guards, expr in equation.cases:
        condition = f"  if {', '.join(str(g.xreplace(names)) for g in guards)}" if guards else ""
        text = str(expr.xreplace(names))
        lines.append(f"{head} = {text[:300]}{condition}".replace('"""', "'''"))
        head = " " * len(head)
    return lines
