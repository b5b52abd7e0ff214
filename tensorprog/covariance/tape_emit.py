"""Evaluation of all pairs of rows by one tape, in the emitted module of the covariance evaluator.

    needs      appends the keys that an equation reads, with 0 and 1 for the rows of a pair
    order      all keys behind some, each after those that it reads: the tape
    replay     an equation for many pairs at once, with what it reads from a table
    execute    a tape

See `tape.py` for how they are used. Equations without calls and expectations are functions of their own instead of
entries of the tape."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr

from tensorprog.covariance.nodes import AtLeastZero, Call, Expectation, Total
from tensorprog.covariance.printer import Printer, key_text
from tensorprog.covariance.rows import Rows, split_bound
from tensorprog.covariance.system import Equation, System
from tensorprog.ir.program import Program

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

_TAPE = '''TAPE = tape.Tape(order, execute, {positions}, {width})'''


def tape_sections(program: Program, system: System, rows: Rows, width: int, env: str) -> list[str]:
    """The definitions of the functions above, for the equations that rows reach."""
    reached = {number: system.equations[number] for number in _reached(system, rows)}
    direct = _direct(reached)
    entries = [e for e in reached.values() if e.number not in direct]
    positions = {number: tuple(sorted(p)) for number, p in sorted(rows.positions.items()) if number in reached and p}
    return [*(_Direct(program, direct, env).text(e) for e in reached.values() if e.number in direct),
            _Needs(program, system, rows, direct, width, env).text(entries),
            _ORDER.format(env=env, root=", ".join(f"roots[k, {i}]" for i in range(width))),
            _Replay(program, system, rows, direct, env).text(entries), _EXECUTE.format(env=env),
            _TAPE.format(positions=positions, width=width)]


def _reached(system: System, rows: Rows) -> list[int]:
    """The equations behind the outputs that have rows, those that are called before those that call them."""
    found: dict[int, None] = {}

    def visit(number: int) -> None:
        stack = [(number, iter(system.equations[number].numbers(Call)))]
        opened = {number}
        while stack:
            top, calls = stack[-1]
            following = next((k for k in calls if k not in found and k not in opened), None)
            if following is None:
                found[top] = None
                stack.pop()
            else:
                opened.add(following)
                stack.append((following, iter(system.equations[following].numbers(Call))))

    for cell in rows.outputs:
        if system.outputs[cell] not in found:
            visit(system.outputs[cell])
    return list(found)


def _direct(equations: dict[int, Equation]) -> frozenset[int]:
    """Equations whose values cost little: without expectations and sums, and with calls to such equations only."""
    found: set[int] = set()
    for number, equation in equations.items():  # what is called comes first
        plain = not any(e.has(Expectation, Total) for guards, expr in equation.cases for e in (*guards, expr))
        if plain and set(equation.numbers(Call)) <= found:
            found.add(number)
    return frozenset(found)


class _Direct(Printer):
    """The functions of equations that are no entries of the tape."""

    def __init__(self, program: Program, direct: frozenset[int], env: str) -> None:
        super().__init__(program)
        self.direct, self.env = direct, env

    def text(self, equation: Equation) -> str:
        arguments = ", ".join([*(f"i{k}" for k in range(len(equation.params))), self.env])
        self.lines = ['@njit(cache=True, error_model="numpy")', f"def direct_{equation.number}({arguments}):"]
        self.depth = 1
        self.names = {p: f"i{k}" for k, p in enumerate(equation.params)}
        self.write_cases(equation)
        self.line("return nan")
        return "\n".join(self.lines)

    def write_result(self, expr: Expr) -> None:
        self.line(f"return {self.value(expr)}")

    def write_call(self, expr: Call) -> str:
        arguments = ", ".join([*(self.index(a) for a in expr.args[1:]), self.env])
        return f"direct_{int(expr.args[0])}({arguments})"


class _Needs(Printer):
    """`needs`: the statements of an equation, of which only the calls do something."""

    def __init__(self, program: Program, system: System, rows: Rows, direct: frozenset[int], width: int,
                 env: str) -> None:
        super().__init__(program)
        self.system, self.rows, self.direct, self.width, self.env = system, rows, direct, width, env
        self.judging = False

    def text(self, equations: Sequence[Equation]) -> str:
        self.lines = ['@njit(cache=True, error_model="numpy")', f"def needs(key, found, extents, flags, {self.env}):",
                      '    """Appends the keys that the equation of `key` reads, in its order."""']
        self.depth = 1
        for e in equations:
            self.line(f"if key[0] == {e.number}:")
            self.depth += 1
            self.symbols = self.rows.symbols(e)
            self.names = {p: f"i{k}" for k, p in enumerate(e.params)}
            for k in range(len(e.params)):
                self.line(f"i{k} = key[{k + 1}]")
            self.write_cases(e)
            self.line("return")
            self.depth -= 1
        self.line("return")
        return "\n".join(self.lines)

    def write_result(self, expr: Expr) -> None:
        self.value(expr)
        self.line("return")

    def value(self, expr: Expr) -> str:
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


class _Replay(Printer):
    """`replay`: the cases of an equation in a loop over pairs."""

    def __init__(self, program: Program, system: System, rows: Rows, direct: frozenset[int], env: str) -> None:
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
        if int(expr.args[0]) in self.direct:
            arguments = ", ".join([*(self.index(a) for a in expr.args[1:]), self.env])
            return f"direct_{int(expr.args[0])}({arguments})"
        name = self.new()
        self.line(f"{name} = values[operands[at], pair]")
        self.line("at += 1")
        return name

    def write_expectation(self, number: int, args: Sequence[Expr]) -> str:
        values = ", ".join(self.value(a) for a in args)
        name = self.new()
        if self.system.recipes[number].kind == "closed":
            self.line(f"{name} = mean_{number}({values})")
        else:
            self.line(f"{name}, {name}_error = mean_{number}({values})")
            self.line(f"worst[0] = max(worst[0], {name}_error)")
        return name
