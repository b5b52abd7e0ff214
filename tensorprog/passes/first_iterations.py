"""First iterations that are written apart, as iterations like the others: `if t == 0: z[t] = y` beside `else: z[t] = y - A @ x[t-1]`
is the second line with an x[-1] that is 0.

What a loop reads of the iteration before gets a value for the first one, such that the branch for later iterations does at the
first what the branch for it says: a value that this takes over (`v[t] = 1` beside `v[t] = w[t-1]`), else 0. Families move up by
one element, whose first is that value. Where the two do not come out the same, symbol by symbol, the branches stay.

For equations: recursions by cases are harder to see through than those of states that begin at 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite

from tensorprog.ir.build import Names
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.integers import COMPARISONS, BoolExpr, Comparison, IntExpr, IntLit, IntSym, int_bin, linear_form, substitute
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Elementwise,
    For,
    If,
    Item,
    Let,
    Load,
    MatMul,
    MatrixType,
    Op,
    Program,
    Range,
    Statement,
    Store,
    Var,
    cells_written,
    operands,
    single,
    walk,
    written,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks, map_cells, map_items, map_op_indices, map_op_vars

#: Iterations at which a condition is looked at.
LOOKED_AT = 4

#: A value up to what it is called: an operation on others, by number; and the number of zero.
Key = int
ZERO: Key = 0

#: An element with its indices at the first iteration.
Element = tuple[Cell, tuple[Item, ...]]


class _NotCompared(Exception):
    """A statement whose results are not followed."""


def first_iterations(program: Program) -> Program:
    """The program with the branches of first iterations merged in its outermost loops, where that can be."""
    for number in range(sum(isinstance(s, For) for s in program.body)):
        # Statements are others after each.
        at = [k for k, s in enumerate(program.body) if isinstance(s, For)][number]
        loop = program.body[at]
        if isinstance(loop, For) and loop.step == 1:
            joined = replace(loop, body=_joined(loop))
            program = _merged(program.with_body((*program.body[:at], joined, *program.body[at + 1:])), joined)
    return program


@dataclass(frozen=True, slots=True)
class _Apart:
    """An `if` of a loop that tells its first iteration from the others."""

    statement: If
    first: tuple[Statement, ...]
    others: tuple[Statement, ...]


def _joined(loop: For) -> tuple[Statement, ...]:
    """The loop's body with an `if` for the first iteration and one for the others behind it as one of two branches."""
    body: list[Statement] = []
    for statement in loop.body:
        before, after = ((_apart(s, loop) if isinstance(s, If) else None) for s in (body[-1] if body else None, statement))
        if before is not None and after is not None and not before.others and not after.first:
            condition = before.statement.condition
            first_is_then = before.first is before.statement.then
            sides = (before.first, after.others) if first_is_then else (after.others, before.first)
            body[-1] = If(condition, *sides, span=before.statement.span)
        else:
            body.append(statement)
    return tuple(body)


def _merged(program: Program, loop: For) -> Program:
    apart = [found for s in loop.body if isinstance(s, If) and (found := _apart(s, loop)) is not None]
    carried = _carried(program, loop) if apart else {}
    if not carried:
        return program
    outside = _outside(program)
    symbolic = _Iteration(loop, outside, carried)
    begin: dict[Cell, _Value] = {}
    for one in apart:
        begin = symbolic.taken_over(one) | begin
    first = _Iteration(loop, outside, carried, begin, symbolic.numbers)
    merged = [one for one in apart if first.same(one)]
    return _rewritten(program, loop, merged, first) if first.met else program


def _apart(statement: If, loop: For) -> _Apart | None:
    held = [_holds(statement.condition, loop, after) for after in range(LOOKED_AT)]
    if None in held or len(set(held[1:])) > 1 or held[0] == held[1]:
        return None
    sides = (statement.then, statement.orelse)
    return _Apart(statement, *(sides if held[0] else sides[::-1]))


def _holds(condition: BoolExpr, loop: For, after: int) -> bool | None:
    """Whether a condition holds so many iterations after the first; None if that depends on more."""
    if not isinstance(condition, Comparison):
        return None
    place = {loop.var: int_bin("+", loop.start, IntLit(after))}
    difference = linear_form(int_bin("-", substitute(condition.left, place), substitute(condition.right, place)))
    if difference.keys() - {IntLit(1)}:
        return None
    return bool(COMPARISONS[condition.op](difference.get(IntLit(1), 0), 0))


def _carried(program: Program, loop: For) -> dict[Cell, int | None]:
    """The cells that the loop alone writes, and that it may read of the iteration before: for families of one index, by how much
    that of what is written exceeds the loop's variable; None for plain names."""
    writes: dict[Cell, list[Statement]] = {}
    for statement in walk(loop.body):
        if (cell := written(statement)) is not None:
            writes.setdefault(cell, []).append(statement)
    inside = {id(s) for own in writes.values() for s in own}
    others = {cell for s in walk(program.body) if (cell := written(s)) is not None and id(s) not in inside}
    others |= {i.cell for i in program.initials}
    found: dict[Cell, int | None] = {}
    for cell, own in writes.items():
        if cell in others or isinstance(cell.type, MatrixType) or cell.home or cell.rank > 1:
            continue
        offsets = {_offset(s.items[0], loop) for s in own if isinstance(s, Store | Accum) and cell.rank}
        if all(isinstance(s, Store | Accum) for s in own) and (cell.rank == 0 or len(offsets) == 1 and None not in offsets):
            found[cell] = next(iter(offsets), None)
    return found


def _outside(program: Program) -> dict[Var, Op]:
    """The temporaries of no loop that are made of what is written once."""
    times = Counter(cell for s in walk(program.body) if (cell := written(s)) is not None)
    times.update(i.cell for i in program.initials)
    # (What a loop writes is written more than once.)
    times.update(cells_written(tuple(s for s in program.body if isinstance(s, For | If))))
    found: dict[Var, Op] = {}
    for statement in program.body:
        if isinstance(statement, Let):
            op = statement.op
            same = times[op.cell] == 1 if isinstance(op, Load) else times[op.matrix] == 1 if isinstance(op, MatMul) else True
            if same and all(v in found for v in operands(op)):
                found[statement.var] = op
    return found


def _offset(item: Item, loop: For) -> int | None:
    """k of an index t + k."""
    if isinstance(item, Range):
        return None
    rest = int_bin("-", item, IntSym(loop.var, "loop"))
    return rest.value if isinstance(rest, IntLit) else None


# --- values of the first iteration -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """What an element holds, and the temporary that was stored there, if one was."""

    key: Key
    var: Var | None = None


@dataclass
class _Numbers:
    """Numbers for values."""

    found: dict[tuple, Key] = field(default_factory=lambda: {("zero",): ZERO})

    def of(self, *described: object) -> Key:
        return self.found.setdefault(described, len(self.found))


@dataclass
class _Iteration:
    """What a loop computes in its first iteration.

    Attributes:
        outside: temporaries from before the loop that are the same wherever they are computed.
        begin: what carried cells hold before it, of others 0; None: symbols.
        met: the carried cells that were read so.
    """

    loop: For
    outside: Mapping[Var, Op]
    carried: Mapping[Cell, int | None]
    begin: Mapping[Cell, _Value] | None = None
    numbers: _Numbers = field(default_factory=_Numbers)
    met: set[Cell] = field(default_factory=set)
    lets: dict[Var, Op] = field(default_factory=dict)
    _keys: dict[Var, Key] = field(default_factory=dict)
    _clouded: set[Cell] = field(default_factory=set)

    def taken_over(self, one: _Apart) -> dict[Cell, _Value]:
        """What the branch for the first iteration has where that for others hands on what is carried."""
        try:
            before = self._before(one.statement)
            first, others = self._run(one.first, before), self._run(one.others, before)
        except _NotCompared:
            return {}
        symbols = {self.numbers.of("begin", cell): cell for cell in self.carried}
        return {symbols[value.key]: first[element] for element, value in others.items()
                if value.key in symbols and element in first and self._made_outside(first[element].var)}

    def same(self, one: _Apart) -> bool:
        """Whether both branches do the same in the first iteration."""
        known = set(self.met)
        try:
            before = self._before(one.statement)
            first, others = self._run(one.first, before), self._run(one.others, before)
        except _NotCompared:
            return False
        same = all(self._at(first, *e).key == self._at(others, *e).key for e in first.keys() | others.keys())
        self.met = self.met if same else known
        return same

    def _made_outside(self, var: Var | None) -> bool:
        """Whether a temporary is made of what the loop does not write."""
        if var is None or var not in self.lets:
            return var is not None
        op = self.lets[var]
        reads_inside = isinstance(op, Load) and op.cell in cells_written(self.loop.body)
        return not reads_inside and all(map(self._made_outside, operands(op)))

    def _before(self, end: If) -> dict[Element, _Value]:
        """The elements that the loop's body has written before a statement."""
        elements: dict[Element, _Value] = {}
        self._clouded = set()
        for statement in self.loop.body:
            if statement is end:
                break
            if isinstance(statement, Let | Store | Accum):
                elements = self._run((statement,), elements)
            else:
                # Whatever it has written is the same for both branches.
                self._clouded |= cells_written((statement,))
        return elements

    def _run(self, statements: tuple[Statement, ...], elements: dict[Element, _Value]) -> dict[Element, _Value]:
        elements = dict(elements)
        for statement in statements:
            match statement:
                case Let(var=var, op=op):
                    self.lets[var], self._keys[var] = op, self._op(op, elements)
                case Store(cell=cell, items=items, value=value):
                    elements[cell, self._moved(items)] = _Value(self._key(value), value)
                case Accum(cell=cell, items=items, value=value):
                    element = cell, self._moved(items)
                    elements[element] = _Value(self._sum(self._at(elements, *element).key, self._key(value)))
                case _:
                    raise _NotCompared
        return elements

    def _moved(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        return map_items(items, {self.loop.var: self.loop.start})

    def _at(self, elements: dict[Element, _Value], cell: Cell, items: tuple[Item, ...]) -> _Value:
        if cell not in self._clouded and (cell, items) in elements:
            return elements[cell, items]
        return _Value(self.numbers.of("load", cell, items))

    def _load(self, cell: Cell, items: tuple[Item, ...], elements: dict[Element, _Value]) -> Key:
        moved = self._moved(items)
        if cell not in self.carried or (cell, moved) in elements or cell in self._clouded:
            return self._at(elements, cell, moved).key
        offset, rest = self.carried[cell], moved[cell.rank:]
        if offset is not None and _offset(items[0], self.loop) != offset - 1:
            return self._at(elements, cell, moved).key
        self.met.add(cell)
        if self.begin is None:
            begin = self.numbers.of("begin", cell)
        else:
            begin = self.begin[cell].key if cell in self.begin else ZERO
        return begin if not rest or begin == ZERO else self.numbers.of("part", begin, rest)

    def _op(self, op: Op, elements: dict[Element, _Value]) -> Key:
        if isinstance(op, Load):
            return self._load(op.cell, op.items, elements)
        keys = tuple(self._key(v) for v in operands(op))
        if isinstance(op, Const) and op.value == 0:
            return ZERO
        if isinstance(op, Elementwise):
            return self._elementwise(op, keys)
        # All others are linear in what they are of.
        if ZERO in keys:
            return ZERO
        moved = map_op_indices(op, {self.loop.var: self.loop.start})
        described = (getattr(moved, f.name) for f in fields(moved))
        return self.numbers.of(type(op), *(None if isinstance(d, Var) else d for d in described), *keys)

    def _key(self, var: Var) -> Key:
        if var not in self._keys:
            op = self.outside.get(var)
            # What is read before the loop may be another value than what is read in it.
            self._keys[var] = self.numbers.of("outside", var) if op is None else self._op(op, {})
        return self._keys[var]

    def _elementwise(self, op: Elementwise, keys: tuple[Key, ...]) -> Key:
        if not _is_defined(op, keys):
            raise _NotCompared  # 0 times it would not be 0
        match op.fn, keys:
            case "add", (one, two):
                return self._sum(one, two)
            case "sub", (one, two):
                return self._sum(one, self._negative(two))
            case "neg", (one,):
                return self._negative(one)
            case "mul", _:
                return ZERO if ZERO in keys else self.numbers.of("mul", *sorted(keys))
            case "div", (0, _):
                return ZERO
            case _ if op.order == 0 and keys == (ZERO,) and NONLINEARITIES[op.fn].vanishes_at_zero:
                return ZERO
        return self.numbers.of(op.fn, op.order, *keys)

    def _sum(self, one: Key, two: Key) -> Key:
        if ZERO in (one, two):
            return one + two  # the other one
        if two == self._negative(one) or one == self._negative(two):
            return ZERO
        return self.numbers.of("add", *sorted((one, two)))

    def _negative(self, one: Key) -> Key:
        return ZERO if one == ZERO else self.numbers.of("neg", one)


def _is_defined(op: Elementwise, keys: tuple[Key, ...]) -> bool:
    """Whether a function is finite at arguments of which some are 0."""
    if op.fn in ("div", "pow"):
        return keys[1 if op.fn == "div" else 0] != ZERO
    if keys != (ZERO,) or op.fn not in NONLINEARITIES:
        return True
    return isfinite(NONLINEARITIES[op.fn].at(0.0)) and (op.order == 0 or op.fn != "sqrt")


# --- the program with merged branches --------------------------------------------------------------------------


def _rewritten(program: Program, loop: For, merged: list[_Apart], first: _Iteration) -> Program:
    names = used_names(program)
    cells = sorted(first.met, key=lambda c: c.name)
    longer = {c: Cell(names.fresh(c.name), c.type, 1, c.display, c.role, c.span) for c in cells if c.rank}
    others = {id(one.statement): one.others for one in merged}
    inner = replace(loop, body=tuple(s for outer in loop.body for s in others.get(id(outer), (outer,))))
    start: list[Statement] = []
    for cell in cells:
        # An element moves up by one, so that the first is that before the loop.
        index = () if cell not in longer else (int_bin("+", loop.start, IntLit(first.carried[cell] or 0)),)
        begin = (first.begin or {}).get(cell)
        lets, value = (_zero(cell, names) if begin is None or begin.var is None else
                       _copied(begin.var, first.lets, {loop.var: loop.start}, names))
        start += [*lets, Store(longer.get(cell, cell), index, value, span=cell.span)]
    at = next(k for k, s in enumerate(program.body) if s is loop)
    body = map_cells((*program.body[:at], inner, *program.body[at + 1:]), {c: (n, _moved_up) for c, n in longer.items()})
    shown = {longer[c]: c for c in longer if c in program.results}
    body = _with_results(body, shown)
    return program.with_body((*body[:at], *start, *body[at:]))


def _moved_up(items: tuple[Item, ...], by: int = 1) -> tuple[Item, ...]:
    index = items[0]
    assert not isinstance(index, Range), "families are indexed one element at a time"
    return (int_bin("+", index, IntLit(by)), *items[1:])


def _zero(cell: Cell, names: Names) -> tuple[list[Let], Var]:
    var = Var(names.fresh("c"), cell.tensor)
    return [Let(var, Const(0), span=cell.span)], var


def _copied(var: Var, lets: Mapping[Var, Op], values: Mapping[str, IntExpr], names: Names) -> tuple[list[Let], Var]:
    """The statements that compute a temporary, once more."""
    made: dict[Var, Var] = {}
    found: list[Let] = []

    def copy(old: Var) -> Var:
        if old not in lets:  # it is made before the loop
            return old
        if old not in made:
            op = map_op_indices(map_op_vars(lets[old], copy), values)
            made[old] = Var(names.fresh(old.name), old.type)
            found.append(Let(made[old], op))
        return made[old]

    return found, copy(var)


def _with_results(body: tuple[Statement, ...], shown: Mapping[Cell, Cell]) -> tuple[Statement, ...]:
    """The statements with what is written to families that are longer now also written to the results that these were."""

    def both(statements: tuple[Statement, ...]) -> Iterator[Statement]:
        for statement in statements:
            yield map_blocks(statement, lambda block: tuple(both(block)))
            if isinstance(statement, Store | Accum) and statement.cell in shown:
                yield replace(statement, cell=shown[statement.cell], items=single(_moved_up(statement.items, -1)))

    return tuple(both(body)) if shown else body
