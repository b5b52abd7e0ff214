"""The emitted module of the covariance evaluator: every equation a branch of one Numba function, values in a
table.

A value is computed when it is first asked for: `compute` puts what it misses on a stack and is called again later, so
that the depth of a recursion costs no call stack and loops stay rolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy
from sympy import Expr, Symbol

from tensorprog.codegen.binding import bind_text
from tensorprog.codegen.extents import family_extents
from tensorprog.codegen.names import int_text, python_name
from tensorprog.codegen.quoting import quoted, quoted_name
from tensorprog.covariance.contraction import contracted
from tensorprog.covariance.naming import named
from tensorprog.covariance.nodes import Call, Expectation, ordered
from tensorprog.covariance.printer import EquationPrinter, key_text
from tensorprog.covariance.rows import find_rows
from tensorprog.covariance.system import Equation, System, is_sum
from tensorprog.covariance.tape_emit import tape_sections
from tensorprog.ir.program import Output, Program
from tensorprog.runtime.table import KEY_LENGTH

_HEADER = '''"""Infinite-width limit of {name}, by covariances.

Written by tensorprog; running it needs NumPy, Numba and `tensorprog`.

    values, errors = run(data)

Every number is a function of integers, defined by the equation with its number in `compute`:

{equations}
"""

from math import cos, erf, exp, floor, inf, log, log1p, nan, pi, sin, sqrt, tanh

import numpy as np

{imports}from tensorprog.runtime import integers, lengths
from tensorprog.runtime.compiling import njit
from tensorprog.runtime import tape, tape_grams, tape_keys
from tensorprog.runtime.table import {runtime}
from tensorprog.runtime.solving import Solver
from tensorprog.runtime.expectations import gelu, relu, sigmoid, sigmoid_slope, sign, silu, softplus, step, tanh_slope
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

_SOLVE = '''@njit(cache=True, error_model="numpy")
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


@dataclass(frozen=True)
class Tile:
    """The text of a kernel over pairs of rows in a module: what it imports, and its definitions, among them `by_tiles_<number>`."""

    imports: str
    sections: tuple[str, ...]


def emit_module(program: Program, original: Program, system: System, tiles: Sequence[Tile] = (),
                varying: Sequence[str] = ()) -> str:
    """The source of the module that computes the outputs of `system`, those of `tiles` as kernels over pairs of rows
    where these apply.

    If there are parameters in which many runs will differ (`varying`), `run` takes a table with what they share, and
    finds no errors then; the module lists the equations that the parameters enter as VARYING.
    """
    return _Module(program, original, named(contracted(system), every=bool(varying)), tiles, varying).text()


class _Compute(EquationPrinter):
    """The function `compute`, in which what is not known yet stands as 0 until it is: no division may raise."""

    def __init__(self, program: Program, system: System, width: int) -> None:
        super().__init__(program)
        self.system, self.width = system, width
        self.sums = system.sums(system.outputs)
        self.watched = False
        self.found: dict[int, dict[Expr, str]] = {}

    def text(self, env: str) -> str:
        self.lines = ['@njit(cache=True, error_model="numpy")', f"def compute(key, memo, stack, worst, {env}):",
                      '    """The value of an equation at some integers, or 0 after asking for what it needs."""',
                      "    asked = len(stack)"]
        self.depth = 1
        self.write_equations(self.system.equations.values(), "return nan")
        return "\n".join(self.lines)

    def line(self, text: str) -> None:
        """A line; it ends the blocks that are further in, and what was found there is no longer known."""
        for depth in [d for d in self.found if d > self.depth]:
            del self.found[depth]
        super().line(text)

    def write_cases(self, equation: Equation) -> None:
        self.watched = equation.number in self.sums
        super().write_cases(equation)

    def value(self, expr: Expr) -> str:
        """Source text of a number; calls and expectations are found once in a block and those inside it."""
        if self.watched and is_sum(expr):
            return self._sum(expr)
        if not isinstance(expr, Call | Expectation):
            return super().value(expr)
        known = next((names[expr] for depth, names in self.found.items() if depth <= self.depth and expr in names),
                     None)
        if known is None:
            known = super().value(expr)
            self.found.setdefault(self.depth, {})[expr] = known
        return known

    def _sum(self, expr: Expr) -> str:
        """A sum, with what is lost to rounding where its terms cancel in the errors."""
        terms = []
        for term in expr.args:
            value = self.value(term)
            terms.append(self.new())
            self.line(f"{terms[-1]} = {value}")
        name = self.new()
        self.line(f"{name} = {' + '.join(terms)}")
        # What is not known yet stands as 0: then terms need not cancel in truth.
        self.line("if len(stack) == asked:")
        self.line(f"    {name} = rounded({name}, {' + '.join(f'abs({t})' for t in terms)}, worst)")
        return name

    def write_result(self, expr: Expr) -> None:
        self.line(f"return {self.value(expr)}")

    def write_call(self, expr: Call) -> str:
        name = self.new()
        self.line(f"{name} = get(memo, stack, {key_text(self, expr, self.width)})")
        return name

    def write_expectation(self, number: int, args: Sequence[Expr]) -> str:
        watched, self.watched = self.watched, False
        values = ", ".join(self.value(a) for a in args)
        self.watched = watched
        # What is not known yet stands as 0 until it is asked for again: no quadrature is to be done for such arguments.
        self.line("if len(stack) > asked:")
        self.line("    return 0.0")
        return self.mean(number, values, not self.system.recipes[number].inexact)


class _Module:
    def __init__(self, program: Program, original: Program, system: System, tiles: Sequence[Tile],
                 varying: Sequence[str]):
        self.program, self.original, self.system, self.tiles = program, original, system, tiles
        self.varying = varying
        self.width = max(KEY_LENGTH, 1 + max(len(e.params) for e in system.equations.values()))
        self.env = [python_name(s.name) for s in program.declared]
        self.rows = find_rows(system)

    @property
    def long_keys(self) -> bool:
        """Whether keys are longer than those that the runtime has a table for."""
        return self.width > KEY_LENGTH

    def _runtime(self) -> list[str]:
        """What the module takes from `runtime.table`."""
        conditions = ["CANCELS", "NotCancelling"] if self.system.conditions else []
        sums = ["rounded"] if self.system.sums(self.system.outputs) else []
        return [*conditions, "TooLarge", *(() if self.long_keys else ("get", "table")), *sums, "with_errors"]

    def text(self) -> str:
        listed = "\n".join(f"    {line}" for e in self.system.equations.values() for line in equation_lines(e))
        header = _HEADER.format(name=quoted_name(self.original.source.name), equations=quoted(listed),
                                imports=f"{self.tiles[0].imports}\n" if self.tiles else "",
                                runtime=", ".join(self._runtime()))
        env = ", ".join(self.env) or "unused"
        if self.long_keys:
            header += _TABLE.format(length=self.width)
        parts = [header, *(r.emit(f"mean_{k}", cached=True) for k, r in enumerate(self.system.recipes)),
                 _Compute(self.program, self.system, self.width).text(env), _SOLVE.format(env=env),
                 *self._tape(env), bind_text(self.program, "integers"),
                 *(section for tile in self.tiles for section in tile.sections), *self._varying(), self._run()]
        return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"

    # --- kernels over pairs of rows ---

    def _tape(self, env: str) -> list[str]:
        return tape_sections(self.program, self.system, self.rows, self.width, env) if self.rows.outputs else []

    def _varying(self) -> list[str]:
        if not self.varying:
            return []
        return [f"# Equations that {' and '.join(self.varying)} enter.\n"
                f"VARYING = np.array({sorted(self.system.depending(self.varying))}, dtype=np.int64)"]

    # --- run ---

    def _checked(self, number: int) -> list[str]:
        """Lines that make sure of a condition at all of its indices; its excess becomes part of the error."""
        condition = self.system.conditions[number]
        printer = EquationPrinter(self.program)
        printer.names = {b.symbol: f"j{k}" for k, b in enumerate(condition.bindings)}
        lines = ["if shift == 0.0:"]
        lines += ["    " * (k + 1) + f"for j{k} in range({printer.index(b.start)}, {printer.index(b.stop)}):"
                  for k, b in enumerate(condition.bindings)]
        indices = ", ".join([*printer.names.values(), *["0"] * (self.width - 1 - len(printer.names))])
        inner = "    " * len(lines)
        return [*lines, f"{inner}found = solver.value(({number}, {indices}))",
                f"{inner}if worst[1]:", f"{inner}    raise TooLarge",
                f"{inner}if not found <= CANCELS:", f"{inner}    raise NotCancelling(",
                f'{inner}        f"responses do not cancel what is carried over: {{found:.3g}} of it is left")',
                f"{inner}excess[0] = max(excess[0], found)"]

    def _run(self) -> str:
        extents = family_extents(self.program)
        lines = ["def run(data, *, only=None, limit=2_000_000, samples=None, replicates=None, seed=None,",
                 "        tolerance=None, threads=None, progress=None, between=None, "
                 f"{'known=None, ' * bool(self.varying)}**settings):",
                 '    """The limits of the outputs, and the errors of the quadratures behind them (0: none).',
                 "",
                 "    `only` names the outputs that are wanted. With `between`, kernels are computed for pairs of one",
                 "    of so many rows with one of the others, and other outputs are left out.",
                 *(["    `known` is a table of values, which is filled; no errors are found then."]
                   if self.varying else []),
                 "",
                 "    Raises:",
                 "        TooLarge: if more than `limit` values would have to be kept.",
                 *(["        NotCancelling: if responses do not cancel, so that the equations do not hold."]
                   if self.system.conditions else []),
                 '    """',
                 "    env = bind(data, settings)"]
        for s in self.program.declared:
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
        if self.tiles:
            lines.append("    done, known = {}, {}")
        for k in range(len(self.tiles)):
            lines += [f"    tiled = by_tiles_{k}(env, threads) if between is None else {{}}",
                      "    done |= {name: value for name, (value, _) in tiled.items()}",
                      "    known |= {name: np.full(value.shape, error) for name, (value, error) in tiled.items()}"]
        if self.system.conditions:
            lines.append("    excess = np.zeros(1)")
        lines += [f"    solver = Solver(compute, solve, table, ({env},), limit)", "", "    def at(shift):",
                  "        worst, values = np.array([0.0, 0.0, shift]), {}",
                  f"        solver.begin(worst{', known' * bool(self.varying)})"]
        for number in self.system.conditions:
            lines += ["        " + line for line in self._checked(number)]
        for output in self.program.outputs:
            if output.cell in self.system.outputs:
                lines += ["        " + line for line in self._output(output, extents, env)]
        lines += ["        return values, worst[0]", ""]
        if self.varying:
            lines += ["    if known is not None:", "        return at(0.0)[0], {}"]
        inexact = [o.name for o in self.program.outputs if o.cell in self.system.outputs
                   and (self.system.sums([o.cell]) or any(r.inexact for r in self.system.needed(o.cell).recipes))]
        lines.append(f"    values, errors = with_errors(at, {inexact})")
        if self.system.conditions:
            # The excess is relative to what cancels; what is above CANCELS has raised an error.
            lines.append("    errors = {name: e + excess[0] * np.abs(values[name]) for name, e in errors.items()}")
        lines.append("    return done | values, known | errors" if self.tiles else "    return values, errors")
        return "\n".join(lines)

    def _output(self, output: Output, extents: dict, env: str) -> list[str]:
        """Statements that compute an output, if it is wanted."""
        shape = [*extents.get(output.cell, ()), *(int_text(s) for s in output.cell.tensor.shape)]
        name, number = repr(output.name), self.system.outputs[output.cell]
        pad = ", 0" * (self.width - 1 - len(shape))
        text = f"lengths({', '.join(shape)})"
        known = f" and {name} not in done" if self.tiles else ""
        lines = [f"if (only is None or {name} in only){known}:", "    found = None"]
        if output.cell in self.rows.outputs:
            pair = self.rows.outputs[output.cell]
            lines += [f"    found = tape.values(TAPE, {number}, {text}, {pair}, limit, threads, ({env},), between, shift)",
                      "    if found is not None:",
                      f"        values[{name}], worst[0] = found[0], max(worst[0], found[1])"]
        return [*lines,
                "    if found is None and between is None:",
                f"        values[{name}] = np.empty({text})",
                f"        for index in np.ndindex(values[{name}].shape):",
                f"            values[{name}][index] = solver.value(({number}, *index{pad}))",
                "            if worst[1]:",
                "                raise TooLarge"]


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
