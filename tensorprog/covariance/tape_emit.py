"""Evaluation of all pairs of rows by one tape, in the emitted module of the covariance evaluator.

    needs      appends the keys that an equation reads, with 0 and 1 for the rows of a pair
    order      all keys behind some, each after those that it reads: the tape
    replay     an equation for many pairs at once, with what it reads from a table
    execute    a tape

See `tape.py` for how they are used. Equations without sums and expectations are written out where they are called,
instead of being entries of the tape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sympy
from sympy import Expr, Symbol

from tensorprog.covariance.integers import CONSTANTS
from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, Expectation, Total, factors_of
from tensorprog.covariance.printer import EquationPrinter, key_text
from tensorprog.covariance.rows import RowArguments, split_bound
from tensorprog.covariance.system import Equation, System
from tensorprog.ir.program import Program
from tensorprog.runtime import tape_grams

#: Cases of an equation that is written out where it is called, with those of what it calls.
LONGEST = 12

_ORDER = '''@njit(cache=True)
def order(roots, extents, limit, flags, {env}):
    """Keys, the places of what each reads, and where those of each begin."""
    places, stack = table()
    keys, found, operands, starts = tape_keys.begun(stack)
    for k in range(len(roots)):
        tape_keys.ask(stack, ({root},))
    while tape_keys.unknown(places, stack, flags):
        found.clear()
        needs(stack[-1], found, extents, flags, {env})
        tape_keys.note(places, stack, keys, found, operands, starts)
        flags[1] = len(keys) + len(stack) > limit
    return tape_keys.packed(keys), tape_keys.listed(operands), tape_keys.listed(starts)
'''

_EXECUTE = '''@njit(cache=True, nogil=True)
def execute(keys, operands, starts, values, before, rows, worst, {env}):
    """Fills values[before:, pairs], entry by entry."""
    for k in range(len(keys)):
        replay(keys[k], operands, starts[k], values, rows, values[before + k], worst, {env})
'''

_TAPE = '''TAPE = tape.Tape(order, execute, {positions}, {width}, {{{grams}}})'''


def tape_sections(program: Program, system: System, rows: RowArguments, width: int, env: str) -> list[str]:
    """The definitions of the functions above, for the equations that rows reach."""
    needed = frozenset().union(*(system.needed(cell).equations for cell in rows.outputs))
    reached = {number: e for number, e in system.equations.items() if number in needed}
    direct = _direct(reached)
    entries = [e for e in reached.values() if e.number not in direct]
    positions = {number: tuple(sorted(p)) for number, p in sorted(rows.positions.items()) if number in reached and p}
    return [_Needs(program, system, rows, direct, width, env).text(entries),
            _ORDER.format(env=env, root=", ".join(f"roots[k, {i}]" for i in range(width))),
            _Replay(program, system, rows, direct, env).text(entries), _EXECUTE.format(env=env),
            _TAPE.format(positions=positions, width=width, grams=", ".join(_grams(program, entries, positions)))]


def _grams(program: Program, equations: Sequence[Equation], positions: Mapping[int, Sequence[int]]) -> Iterator[str]:
    """The equations that are Gram products of two inputs' rows, with their factors, as items of a dictionary."""
    for e in equations:
        (guards, expr), *more = e.cases
        if more or guards or not isinstance(expr, Total):
            continue
        body, var, start, stop = expr.args
        rows = [e.params[k] for k in positions.get(e.number, ())]
        entries = factors_of(body)
        factors = [text for entry in entries
                   if (text := _factor(program, e, entry, var, (start, stop), rows)) is not None]
        if len(factors) == len(entries) == 2:
            yield f"{e.number}: ({', '.join(factors)})"


def _factor(program: Program, equation: Equation, entry: Expr, var: Symbol, ends: tuple[Expr, Expr],
            rows: Sequence[Symbol]) -> str | None:
    """An entry of an input with one axis of rows and one that is summed over, to its end; None if it is none."""
    number, *indices = entry.args
    if not isinstance(entry, Entry) or indices.count(var) != 1 or sum(s in rows for s in indices) != 1:
        return None
    declared = program.inputs[int(number)]
    # The whole axis, so that the sums of all pairs of rows are one product of matrices.
    if declared.kind == "int" or ends != (0, CONSTANTS.integer(declared.shape[indices.index(var)])):
        return None
    if not all(s == var or s in equation.params for s in indices):
        return None
    axes = tuple(tape_grams.SUMMED if s == var else 1 + equation.params.index(s) for s in indices)
    place = len(program.sizes) + len(program.params) + int(number)
    row = next(k for k, s in enumerate(indices) if s in rows)
    return f"tape_grams.Factor({place}, {axes}, {row})"


def _direct(equations: dict[int, Equation]) -> frozenset[int]:
    """Equations that are short, written out: without expectations and sums, and with calls to such equations only."""
    calls = {}
    for number, equation in equations.items():
        parts = [e for guards, expr in equation.cases for e in (*guards, expr)]
        if not any(e.has(Expectation, Total) for e in parts):
            calls[number] = [int(node.args[0]) for e in parts for node in sympy.preorder_traversal(e)
                             if isinstance(node, Call)]
    lengths: dict[int, int] = {}
    # From below: an equation is ready after all that it calls, so that a recursion never is.
    while ready := [k for k, called in calls.items() if set(called) <= set(lengths)]:
        for k in ready:
            length = len(equations[k].cases) + sum(lengths[c] for c in calls.pop(k))
            if length <= LONGEST:
                lengths[k] = length
    return frozenset(lengths)


class _Needs(EquationPrinter):
    """`needs`: the statements of an equation, of which only the calls do something."""

    def __init__(self, program: Program, system: System, rows: RowArguments, direct: frozenset[int], width: int,
                 env: str) -> None:
        super().__init__(program)
        self.system, self.rows, self.direct, self.width, self.env = system, rows, direct, width, env
        self.judging = False

    def text(self, equations: Sequence[Equation]) -> str:
        self.lines = ['@njit(cache=True, error_model="numpy")', f"def needs(key, found, extents, flags, {self.env}):",
                      '    """Appends the keys that the equation of `key` reads, in its order."""']
        self.depth = 1
        self.write_equations(equations, "return")
        return "\n".join(self.lines)

    def write_cases(self, equation: Equation) -> None:
        self.symbols = self.rows.symbols(equation)
        super().write_cases(equation)

    def write_result(self, expr: Expr) -> None:
        self.value(expr)
        self.line("return")

    def value(self, expr: Expr) -> str:
        # Conditions alone need values here; of all else only the calls count, and 0.0 stands for it.
        return super().value(expr) if self.judging or self._reads(expr) or not expr.args else "0.0"

    def _reads(self, expr: Expr) -> bool:
        return any(int(call.args[0]) not in self.direct for call in expr.atoms(Call))

    def write_call(self, expr: Call) -> str:
        if int(expr.args[0]) not in self.direct:
            self.line(f"tape_keys.{self._asked(expr)}")
        return "0.0"

    def _asked(self, expr: Call) -> str:
        """Appends a key; of a symmetric equation the lesser of two."""
        number, *arguments = expr.args
        key, half = key_text(self, expr, self.width), len(arguments) // 2
        rows = self.rows.positions.get(int(number), frozenset())
        # K(a, c) = K(c, a) share an entry, if the rows of one half of the arguments are those of the other.
        symmetric = int(number) in self.system.symmetric and all((k + half) % (2 * half) in rows for k in rows)
        if not symmetric or arguments[:half] == arguments[half:]:
            return f"ask(found, {key})"
        swapped = key_text(self, Call(number, *arguments[half:], *arguments[:half]), self.width)
        return f"ask_lesser(found, {key}, {swapped})"

    def write_expectation(self, number: int, args: Sequence[Expr]) -> str:
        for argument in args:
            self.value(argument)
        return "0.0"

    def condition(self, guard: Expr) -> str:
        if isinstance(guard, AtLeastZero):
            row, slope, rest = split_bound(guard, self.symbols)
            if row is not None:
                return f"tape_keys.bound({slope}, {self.index(rest)}, extents[{self.names[row]}], flags)"
        outer, self.judging = self.judging, True
        text = super().condition(guard)
        self.judging = outer
        return text


class _Replay(EquationPrinter):
    """`replay`: the cases of an equation in a loop over pairs."""

    def __init__(self, program: Program, system: System, rows: RowArguments, direct: frozenset[int], env: str) -> None:
        super().__init__(program)
        self.system, self.rows, self.direct, self.env = system, rows, direct, env

    def text(self, equations: Sequence[Equation]) -> str:
        self.lines = ['@njit(cache=True, nogil=True, error_model="numpy")',
                      f"def replay(key, operands, start, values, rows, out, worst, {self.env}):",
                      '    """out[pair] = the value of the equation of `key`, with what it reads from `values`."""']
        self.depth = 1
        for e in equations:
            self._equation(e)
        return "\n".join(self.lines)

    def _equation(self, equation: Equation) -> None:
        self.line(f"if key[0] == {equation.number}:")
        self.line("    for pair in range(len(out)):")
        self.depth += 2
        self.line("at = start")
        row = self.rows.positions.get(equation.number, ())
        self.names = {p: f"i{k}" for k, p in enumerate(equation.params)}
        for k in range(len(equation.params)):
            self.line(f"i{k} = rows[key[{k + 1}], pair]" if k in row else f"i{k} = key[{k + 1}]")
        self.write_cases(equation)
        self.line("out[pair] = nan")
        self.depth -= 2
        self.line("    return")

    def write_result(self, expr: Expr) -> None:
        self.line(f"out[pair] = {self.value(expr)}")
        self.line("continue")

    def write_call(self, expr: Call) -> str:
        name = self.new()
        if int(expr.args[0]) in self.direct:
            self._write_out(self.system.equations[int(expr.args[0])], expr.args[1:], name)
            return name
        self.line(f"{name} = values[operands[at], pair]")
        self.line("at += 1")
        return name

    def _write_out(self, equation: Equation, arguments: Sequence[Expr], name: str) -> None:
        """Statements that give `name` the value of an equation."""
        inner = {p: self.new() for p in equation.params}
        for p, argument in zip(equation.params, arguments):
            self.line(f"{inner[p]} = {self.index(argument)}")
        outer, self.names = self.names, inner
        depth = self.depth
        self.line(f"{name} = nan")
        for guards, expr in equation.cases:
            condition = " and ".join(self.condition(g) for g in guards)
            if condition:
                self.line(f"if {condition}:")
                self.depth += 1
            self.line(f"{name} = {self.value(expr)}")
            if not condition:
                break
            self.depth -= 1
            self.line("else:")
            self.depth += 1
            self.line("pass")
        self.depth, self.names = depth, outer

    def write_expectation(self, number: int, args: Sequence[Expr]) -> str:
        values = ", ".join(self.value(a) for a in args)
        return self.mean(number, values, not self.system.recipes[number].inexact)
