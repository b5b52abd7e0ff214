"""What readouts are averaged with before training: the part of a limit program that computes it.

The output at initialization is the average of a readout v (`passes.readouts`) times vectors, the features, that are
independent of v: zero in the limit. For particles it is zero if v is drawn orthogonal to the features, which therefore
have to be known first. They are computed by a program of their own, with the statements of the limit program that do not
depend on the readouts at the first pass through each training loop. (A loop is one of training if it makes something
depend on the readouts that did not at its first iteration.)

Without such a loop nothing is returned: the features are then as expensive as the whole program, and antithetic readouts
do the same. So it is where something odd in a readout is not a product of it with features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tensorprog.ir.integers import IntLit, int_bin
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    Expand,
    For,
    If,
    Let,
    Load,
    Moment,
    Op,
    Output,
    Pick,
    Program,
    Range,
    Statement,
    Store,
    SumAxis,
    Var,
    cells_read,
    cells_written,
    defined,
    names_used,
    operands,
    reads,
    walk,
    written,
)
from tensorprog.passes.simplify import remove_dead


@dataclass(frozen=True)
class InitialFeatures:
    """The program of the features, which stores them in the cells of `features`, each with its readout."""

    program: Program
    features: tuple[tuple[Cell, Cell], ...]


def initial_features(program: Program, readouts: frozenset[Cell]) -> InitialFeatures | None:
    """The features of a limit program's readouts; None if there are none, or not all are known."""
    laws = {i.cell: i.law.name for i in program.initials}
    readouts = frozenset(c for c in readouts if c in laws)
    # Only normal vectors have a law that stays the same given that they are orthogonal to others.
    if not readouts or any(laws[c] != "normal" for c in readouts):
        return None
    search = _Search(set(readouts), {c: (_Part(c),) for c in readouts}, names_used(program))
    body = search.first_pass(program.body)
    if not search.trains or not search.needed or LOST in search.needed:
        return None
    features = tuple(search.stored[k] for k in search.needed)
    outputs = tuple(Output(cell.name, cell) for cell, _ in features)
    initials = tuple(i for i in program.initials if i.cell not in readouts)
    found = remove_dead(replace(program, body=body, outputs=outputs, samples=(), initials=initials))
    used = {cell for s in walk(found.body) for cell in cells_read(s)} | cells_written(found.body)
    return InitialFeatures(replace(found, initials=tuple(i for i in initials if i.cell in used)), features)


#: The number of a feature whose factors are not known.
LOST = -1


@dataclass(frozen=True)
class _Part:
    """A term of a vector: a readout times factors, which do not depend on readouts. A term that comes from a cell has the
    number of the feature that keeps the product of its factors."""

    readout: Cell
    factors: tuple[Var, ...] = ()
    kept: int | None = None


@dataclass
class _Search:
    """`depends` are the temporaries and cells that depend on readouts, in whatever way; `parts` those that are sums of
    terms linear in them. `stored` are the cells of features, `needed` the numbers of those that are averaged with a
    readout; `trains` tells of a training loop."""

    depends: set[Var | Cell]
    parts: dict[Var | Cell, tuple[_Part, ...]]
    names: set[str]
    stored: list[tuple[Cell, Cell]] = field(default_factory=list)
    needed: dict[int, None] = field(default_factory=dict)
    trains: bool = False

    def first_pass(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The statements that do not depend on readouts, each followed by the features that are complete with it."""
        out: list[Statement] = []
        for statement in body:
            match statement:
                case For():
                    out += self._loop(statement)
                case If(then=then, orelse=orelse):
                    out.append(replace(statement, then=self.first_pass(then), orelse=self.first_pass(orelse)))
                case _ if self._is_touched(statement):
                    out += self._dependent(statement)
                case _:
                    out.append(statement)
        return tuple(out)

    def _loop(self, loop: For) -> list[Statement]:
        inner = self.first_pass(loop.body)
        # Iterations that do not see each other train nothing.
        if loop.parallel:
            return [replace(loop, body=inner)]
        kept = [s for s in walk(inner) if not isinstance(s, For | If)]
        while self._spread(loop.body):
            pass
        features = {cell for cell, _ in self.stored}
        # Something was computed without readouts in the first iteration, and depends on them in later ones.
        if any(self._is_touched(s) for s in kept if written(s) not in features):
            self.trains = True
            # One iteration alone: after it, all that is trained depends on the readouts.
            first = int_bin("+", loop.start, IntLit(1 if loop.step > 0 else -1))
            # No iteration at all, if the loop has none.
            return [replace(loop, body=inner, stop=int_bin("min" if loop.step > 0 else "max", loop.stop, first))]
        return [replace(loop, body=inner)]

    def _spread(self, body: tuple[Statement, ...]) -> bool:
        """Mark what depends on something that does; whether there was more of it."""
        before = len(self.depends)
        for statement in walk(body):
            if self._is_touched(statement):
                self._mark(statement)
        return len(self.depends) > before

    def _is_touched(self, statement: Statement) -> bool:
        return any(v in self.depends for v in (*reads(statement), *cells_read(statement)))

    def _mark(self, statement: Statement) -> None:
        made = defined(statement)
        if made is not None:
            self.depends.add(made)

    # --- terms ---

    def _dependent(self, statement: Statement) -> list[Statement]:
        """Note what a statement that depends on readouts makes; statements that keep features."""
        self._mark(statement)
        match statement:
            case Let(op=Moment(arg=arg)):
                stores, parts = self._keep(self.parts.get(arg, ()))
                self.needed |= {part.kept: None for part in parts if part.kept is not None}
                return stores
            case Let(var=var, op=op) if var.type.width:
                self.parts[var] = self._terms(op)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value) if self.parts.get(value):
                stores, parts = self._keep(self.parts[value])
                self.parts[cell] = tuple(dict.fromkeys((*self.parts.get(cell, ()), *parts)))
                return stores
        return []

    def _terms(self, op: Op) -> tuple[_Part, ...]:
        """The terms of an operation's result that are linear in a readout, as far as it is linear in them."""
        match op:
            case Load(cell=cell):
                return self.parts.get(cell, ())
            case Elementwise(fn="neg" | "add" | "sub", order=0, args=args):
                return tuple(dict.fromkeys(part for a in args for part in self.parts.get(a, ())))
            case Elementwise(fn="mul", order=0) | Contract():
                return self._product(*operands(op))
            case Elementwise(fn="div", order=0, args=(top, bottom)):
                return _lost(self.parts.get(top, ())) if bottom.type.width else self.parts.get(top, ())
            case SumAxis(arg=arg) | Expand(arg=arg):
                return self.parts.get(arg, ())
            case Pick(arg=arg, items=items):
                parts = self.parts.get(arg, ())
                whole = all(isinstance(i, Range) for i in items) or not any(p.factors for p in parts)
                return parts if whole else _lost(parts)
        return ()

    def _product(self, left: Var, right: Var) -> tuple[_Part, ...]:
        for terms, other in ((self.parts.get(left, ()), right), (self.parts.get(right, ()), left)):
            if terms and not other.type.width:
                return terms
            # What vanishes on average is v times a feature that does not depend on v; a product of two is none of
            # these.
            if terms and other not in self.depends:
                return tuple(replace(p, factors=(*p.factors, other)) if p.kept is None else _lost((p,))[0] for p in terms)
        return ()

    def _keep(self, parts: Iterable[_Part]) -> tuple[list[Statement], list[_Part]]:
        """Statements that store the features of terms, and the terms as what they are in a cell."""
        statements: list[Statement] = []
        terms: list[_Part] = []
        for part in parts:
            product = None if part.kept is not None or not part.factors else self._multiplied(part.factors, statements)
            if product is None:
                terms.append(_lost((part,))[0] if part.factors else part)
                continue
            cell = Cell(self._fresh("features"), product.type, role="hidden")
            statements.append(Store(cell, (), product))
            terms.append(_Part(part.readout, (), len(self.stored)))
            self.stored.append((cell, part.readout))
        return statements, terms

    def _multiplied(self, factors: tuple[Var, ...], statements: list[Statement]) -> Var | None:
        """The product of vectors, made by further statements; None if their finite axes differ."""
        product, *others = factors
        for other in others:
            wide, narrow = sorted((product, other), key=lambda v: len(v.type.shape), reverse=True)
            if narrow.type.shape not in ((), wide.type.shape):
                return None
            product = Var(self._fresh("feature"), wide.type)
            statements.append(Let(product, Elementwise("mul", (wide, narrow))))
        return product

    def _fresh(self, stem: str) -> str:
        number = next(k for k in range(len(self.names) + 1) if f"{stem}_{k}" not in self.names)
        name = f"{stem}_{number}"
        self.names.add(name)
        return name


def _lost(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    return tuple(_Part(part.readout, (), LOST) for part in parts)
