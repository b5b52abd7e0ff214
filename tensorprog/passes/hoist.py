"""Move what a loop computes again and again in front of it.

    for t in range(T):                         for a in range(P):
        for a in range(P):                         x = tanh(U @ X[a]);  x_kept[a] = x
            x = tanh(U @ X[a])           ->    for t in range(T):
            v += f[t, a] * x                       for a in range(P):
                                                       v += f[t, a] * x_kept[a]

Loops inside are split in two. A family is moved with all its statements if they compute the same in every iteration and
no iteration reads what an earlier one wrote (`Cell.home`). What is moved is computed even if the loop has no iterations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntSym, loop_names
from tensorprog.ir.program import (
    Cell,
    Const,
    Contract,
    For,
    FromInt,
    If,
    InputRef,
    Let,
    Load,
    MatrixType,
    ParamRef,
    Program,
    Range,
    Statement,
    Store,
    Var,
    WidthConst,
    Zero,
    access_indices,
    blocks,
    cells_read,
    cells_written,
    integers,
    operands,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.batch import private_index
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.regions import written_first
from tensorprog.passes.rewrite import map_blocks, map_cells, map_indices, map_op_vars, map_vars

#: Numbers that are as cheap to compute as to keep.
_CHEAP = (Const, WidthConst, FromInt, ParamRef, InputRef, Load)


def hoist(program: Program) -> Program:
    """The program with what is the same in every iteration in front of each loop."""
    fixed = _fixed(program)
    builder = Builder(used_names(program))

    def block(body: tuple[Statement, ...], around: tuple[str, ...]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for statement in body:
            # From the inside outwards: what is moved in front of an inner loop may move on.
            inner = (*around, statement.var) if isinstance(statement, For) else around
            statement = map_blocks(statement, lambda b, inner=inner: block(b, inner))
            if isinstance(statement, For):
                before, left = hoisted(spread(statement, fixed, builder), builder,
                                       lambda c, loop: c not in fixed and is_new(c, loop), around)
                found += before if left is None else (*before, left)
            else:
                found.append(statement)
        return tuple(found)

    return program.with_body(block(program.body, ()))


def _fixed(program: Program) -> set[Cell]:
    """Outputs, declared objects, and what is touched outside of a single outermost statement."""
    # What two outermost statements touch has to be there between them.
    counts = Counter(c for s in program.body for c in {c for t in walk((s,)) for c in touched(t)})
    shared = {c for c, count in counts.items() if count > 1}
    return {o.cell for o in program.outputs} | {i.cell for i in program.initials} | shared


def is_new(cell: Cell, loop: For) -> bool:
    """Whether no iteration reads what an earlier one wrote."""
    return loop.var in cell.home or written_first(loop.body, cell)


def spread(loop: For, fixed: set[Cell], builder: Builder) -> For:
    """The loop with an element for each iteration of the loops inside it of what is new in each of these, so that they
    can be split."""
    for inner in [s for s in walk(loop.body) if isinstance(s, For)]:
        # Loops keep their variables, not their identity, while cells are replaced.
        inner = next(s for s in walk(loop.body) if isinstance(s, For) and s.var == inner.var)
        cells = _local(inner, loop, fixed)
        if cells:
            index = IntSym(inner.var, "loop")
            changes = {c: (replace(c, rank=c.rank + 1, home=tuple(h for h in c.home if h != inner.var)),
                           lambda items: (index, *items)) for c in cells}
            loop = replace(loop, body=map_cells(_without_zeros(loop.body, cells, builder), changes))
    return loop


def _local(inner: For, loop: For, fixed: set[Cell]) -> list[Cell]:
    """The cells that each iteration of a loop inside another fills anew and that nothing else touches."""
    everywhere = Counter(c for s in walk(loop.body) for c in touched(s))
    inside = Counter(c for s in walk(inner.body) for c in touched(s))
    zeroed = {s.cell for s in walk(inner.body) if isinstance(s, Zero)}
    # Zeroing a family reaches beyond the iteration's own element.
    return [c for c in inside if inside[c] == everywhere[c] and c not in fixed and is_new(c, inner)
            and c in cells_written(inner.body) and not isinstance(c.type, MatrixType)
            and not (c.rank and c in zeroed)]


def _without_zeros(body: tuple[Statement, ...], cells: list[Cell], builder: Builder) -> tuple[Statement, ...]:
    """The statements with zeros stored where single cells are zeroed."""
    found: list[Statement] = []
    for statement in body:
        if isinstance(statement, Zero) and statement.cell in cells:
            with builder.nested() as made:
                builder.span = statement.span
                builder.append(Store(statement.cell, (), builder.const(0, statement.cell.tensor), span=statement.span))
            found += made
        else:
            found.append(map_blocks(statement, lambda b: _without_zeros(b, cells, builder)))
    return tuple(found)


def hoisted(
    loop: For, builder: Builder, is_new: Callable[[Cell, For], bool], around: tuple[str, ...] = ()
) -> tuple[tuple[Statement, ...], For | None]:
    """What a loop does in every iteration alike, and the rest of it; None if nothing is left. Families that keep numbers are
    new in every iteration of the loops `around`."""
    same = _same(loop, is_new)
    split = _Split(same, builder, around)
    before, after = split.block(loop.body, ())
    # A cell whose loop was split lives in the new loop of the first half.
    homes = {c: tuple(split.renamed.get(h, h) for h in c.home if h != loop.var) for c in same.cells}
    changes = {c: (replace(c, home=home), lambda items: items) for c, home in homes.items() if home != c.home}
    before, after = map_cells(before, changes), map_cells(after, changes)
    return before, replace(loop, body=after) if after else None


@dataclass(frozen=True, slots=True)
class _Same:
    """What does not depend on the iteration: temporaries, and the cells that are written alike in each."""

    loop: For
    vars: frozenset[Var]
    cells: frozenset[Cell]
    often: frozenset[Cell]

    def seen_again(self, load: Let) -> bool:
        """Whether a load gives the same when the loop is split before it."""
        assert isinstance(load.op, Load)
        cell = load.op.cell
        return cell not in self.cells or cell not in self.often and _is_split(cell, load, self.loop)

    def statement(self, statement: Statement) -> bool:
        """Whether a statement, but for its blocks, does the same in every iteration."""
        match statement:
            case Let(var=var):
                return var in self.vars
            case _:
                return written(statement) in self.cells


def _same(loop: For, is_new: Callable[[Cell, For], bool]) -> _Same:
    """Begin with all that may be, and take away what depends on something else until nothing is left to take."""
    flat = list(_with_conditions(loop.body, loop.var))
    local = {s.var for s, _ in flat if isinstance(s, Let)}
    vars = set(local)
    own = cells_written(loop.body)
    cells = {c for c in own if is_new(c, loop)}
    # Of a cell that is written twice, a reader in between would see the last value once the loop is split.
    writes = Counter(c for s, _ in flat if (c := written(s)) is not None)
    often = frozenset(c for c, count in writes.items() if count > 1)
    while True:
        size = len(vars) + len(cells)
        for statement, varies in flat:
            varies = varies or any(v in local and v not in vars for v in reads(statement)) \
                or any(c in own and c not in cells for c in cells_read(statement)) or _mentions(statement, loop.var)
            if not varies:
                continue
            # After the loop is split, this sees what the cells hold at the end.
            cells -= {c for c in cells_read(statement) if c in often or not _is_split(c, statement, loop)}
            if isinstance(statement, Let):
                vars.discard(statement.var)
            elif (cell := written(statement)) is not None:
                cells.discard(cell)
        if len(vars) + len(cells) == size:
            return _Same(loop, frozenset(vars), frozenset(cells), often)


def _is_split(cell: Cell, reader: Statement, loop: For) -> bool:
    """Whether each of the loops around a statement that also write a cell writes an element of its own."""
    accesses = [i for s in walk(loop.body) for i in access_indices(s, cell)]
    return all(any(private_index(accesses, p, inner.var) for p in range(cell.rank))
               for inner in walk(loop.body) if isinstance(inner, For) and cell in cells_written(inner.body)
               and any(s is reader for s in walk(inner.body)))


def _with_conditions(body: tuple[Statement, ...], loop: str) -> Iterator[tuple[Statement, bool]]:
    """The statements without blocks of their own, and whether a loop or condition around one depends on `loop`."""
    for statement in body:
        match statement:
            case For(start=start, stop=stop, body=block):
                depends = loop in loop_names(start) | loop_names(stop)
                yield from ((s, v or depends) for s, v in _with_conditions(block, loop))
            case If(condition=condition, then=then, orelse=orelse):
                depends = loop in loop_names(condition)
                yield from ((s, v or depends) for s, v in _with_conditions((*then, *orelse), loop))
            case _:
                yield statement, False


def _mentions(statement: Statement, loop: str) -> bool:
    """Whether an index, a number or a length depends on the loop's variable."""
    if any(loop in loop_names(e) for e in integers(statement)):
        return True
    lengths = statement.var.type.shape if isinstance(statement, Let) else ()
    items = [i for c in touched(statement) for items in access_indices(statement, c) for i in items]
    ends = [e for i in items for e in ((i.start, i.stop) if isinstance(i, Range) else (i,))]
    return any(isinstance(e, IntExpr) and loop in loop_names(e) for e in (*ends, *lengths))


_Sides = tuple[tuple[Statement, ...], tuple[Statement, ...]]


class _Split:
    """Splits blocks; temporaries that are needed on both sides are kept in families over the loops around them."""

    def __init__(self, same: _Same, builder: Builder, around: tuple[str, ...]):
        self.same, self.builder, self.around = same, builder, around
        self.renamed: dict[str, str] = {}

    def block(self, body: tuple[Statement, ...], loops: tuple[str, ...]) -> _Sides:
        first: list[Statement] = []
        rest: list[Statement] = []
        for statement in body:
            if isinstance(statement, For | If):
                self._nested(statement, loops, first, rest)
            elif self.same.statement(statement):
                first.append(statement)
            else:
                rest.append(statement)
        return self._joined(first, rest, loops)

    def _nested(self, statement: For | If, loops: tuple[str, ...], first: list[Statement], rest: list[Statement]) -> None:
        inner = (*loops, statement.var) if isinstance(statement, For) else loops
        befores, afters = zip(*(self.block(block, inner) for block in blocks(statement)))
        # Both halves may have the loop, or the branch, whose condition is then asked in each.
        for found, side in ((befores, first), (afters, rest)):
            if any(found):
                made = _with_blocks(statement, found)
                side.append(self._renamed_loop(made) if side is first and isinstance(made, For) else made)

    def _renamed_loop(self, loop: For) -> For:
        """A loop with a variable of its own."""
        # Both halves of a loop that is split stand in the program.
        name = self.builder.names.fresh(loop.var)
        self.renamed[loop.var] = name
        new = IntSym(name, "loop")
        return replace(loop, var=name, body=tuple(map_indices(s, {loop.var: new}) for s in loop.body))

    def _joined(self, first: list[Statement], rest: list[Statement], loops: tuple[str, ...]) -> _Sides:
        """Both sides, with what the second needs of the first: cheap numbers again, others from where they are kept."""
        made = {s.var: s for s in first if isinstance(s, Let)}
        wanted = [v for s in walk(tuple(rest)) for v in reads(s) if v in made]
        copies: list[Statement] = []
        new: dict[Var, Var] = {}
        for var in dict.fromkeys(wanted):
            self._again(made[var], loops, first, copies, made, new)
        if new:
            rest = list(_renamed(tuple(rest), new))
        return tuple(first), (*copies, *rest)

    def _again(self, let: Let, loops: tuple[str, ...], first: list[Statement], copies: list[Statement],
               made: Mapping[Var, Let], new: dict[Var, Var]) -> None:
        """Make a temporary of the first side available on the second, as `new` then says."""
        if let.var in new:
            return
        var = Var(self.builder.names.fresh(let.var.name), let.var.type)
        # Operands of what is computed again have to be on the first side, too.
        if self._is_cheap(let) and all(v in made for v in operands(let.op)):
            for v in operands(let.op):
                self._again(made[v], loops, first, copies, made, new)
            copies.append(Let(var, map_op_vars(let.op, lambda v: new[v]), span=let.span))
        else:
            items = tuple(IntSym(v, "loop") for v in loops)
            copies.append(Let(var, Load(self._kept(let, items, first), items), span=let.span))
        new[let.var] = var

    def _is_cheap(self, let: Let) -> bool:
        """Whether to compute something again rather than keep it: numbers, what is kept already, and a vector times a
        finite array, which would be kept as many vectors."""
        match let.op:
            case Load():
                return self.same.seen_again(let)
            case Contract(left=left, right=right):
                return bool(let.var.type.width) and not (left.type.width and right.type.width) \
                    and len(let.var.type.shape) > max(len(v.type.shape) for v in (left, right) if v.type.width)
            case op:
                return isinstance(op, _CHEAP)

    def _kept(self, let: Let, items: tuple[IntExpr, ...], first: list[Statement]) -> Cell:
        """The family that keeps a temporary for all iterations."""
        # The program may keep it by itself.
        for s in first:
            if isinstance(s, Store) and s.value is let.var and s.items == items and s.cell not in self.same.often:
                return s.cell
        cell = self.builder.cell(f"{let.var.name}_kept", let.var.type, len(items), display=let.var.name, home=self.around)
        first.append(Store(cell, items, let.var, span=let.span))
        return cell


def _renamed(body: tuple[Statement, ...], new: dict[Var, Var]) -> tuple[Statement, ...]:
    return tuple(map_blocks(map_vars(s, lambda v: new.get(v, v)), lambda b: _renamed(b, new)) for s in body)


def _with_blocks(statement: For | If, found: Iterable[tuple[Statement, ...]]) -> For | If:
    """The statement with other blocks."""
    parts = iter(found)
    return map_blocks(statement, lambda _: next(parts))
