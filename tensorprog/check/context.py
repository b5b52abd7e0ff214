"""The state of the checker: the open scope, blocks and loops, and how a mistake is reported and survived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tensorprog.check.scope import Scope
from tensorprog.diagnostics import Note, Reporter, Span, near_miss
from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, linear_form, loop_names
from tensorprog.ir.program import Cell, Initial, Input, Output, Param, Sample, Size, Store, Type, Width


class Abandon(Exception):
    """The statement at hand cannot be checked further; its mistake has been reported."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a name holds that is read before the statement that assigns it: the kind of value, how many indices, and how far they
    reach."""

    type: Type
    rank: int
    extents: tuple[IntExpr | None, ...]


class Context:
    """One checking run. Holds the declarations found so far and the typed program under construction.

    Args:
        reporter: gets the mistakes.
        differentiated: names that gradients are taken with respect to.
        names_ahead: by the id of a loop, the names that it reads before it assigns them.
        kinds_ahead: what these hold.
        trying: whether this run is to find that out, in which a mistake is no reason to distrust a name.
    """

    def __init__(self, reporter: Reporter, differentiated: frozenset[str], names_ahead: Mapping[int, tuple[str, ...]],
                 kinds_ahead: Mapping[str, Ahead], trying: bool = False):
        self.names_ahead, self.kinds_ahead, self.trying = names_ahead, kinds_ahead, trying
        self.reporter = reporter
        self.builder = Builder()
        self.globals = Scope()
        self.scope = self.globals
        self.differentiated = differentiated
        self.widths: list[Width] = []
        self.sizes: list[Size] = []
        self.params: list[Param] = []
        self.inputs: list[Input] = []
        self.initials: list[Initial] = []
        #: The real inputs and parameters that gradients are taken with respect to, as storage.
        self.data: dict[str, Cell] = {}
        self.loops: list[tuple[str, IntExpr, IntExpr, int]] = []
        self.block_path: tuple[int, ...] = ()
        self.loop_paths: list[tuple[int, ...]] = []
        self.calls: list[str] = []
        self.call_spans: list[Span | None] = []
        self.later: dict[str, Span | None] = {}
        self.functions: frozenset[str] = frozenset()
        self.outputs: list[Output] = []
        self.samples: list[Sample] = []
        self.reassigned: frozenset[str] = frozenset()
        self.zeros: dict[Cell, tuple[list, Store]] = {}
        self.extents: dict[Cell, list[IntExpr | None]] = {}
        self._block_count = 0
        #: What calls expanded to, by all that it depends on; with what the keys are made of, so that no id is used again.
        self.expanded: dict[tuple, tuple] = {}
        self.made_before_call = 0

    # --- mistakes ---

    def error(self, code: str, message: str, span: Span | None, *, notes: tuple[Note, ...] = (),
              help: str | None = None) -> None:
        if any((d.code, d.message, d.span) == (code, message, span) for d in self.reporter.found):
            return  # a function's mistake, met again in another call
        # A name that is not there is a matter of the body, whoever calls it.
        if code not in ("TP201", "TP404"):
            places = [(name, place) for name, place in zip(self.calls, self.call_spans) if place]
            notes += tuple(Note(f"in this call of `{name}`", place) for name, place in reversed(places[-2:]))
        self.reporter.error(code, message, span, notes=notes, help=help)

    def fail(self, code: str, message: str, span: Span | None, *, notes: tuple[Note, ...] = (),
             help: str | None = None) -> NoReturn:
        """Report and give up on the statement."""
        self.error(code, message, span, notes=notes, help=help)
        raise Abandon

    def unknown_name(self, name: str, span: Span | None, others: tuple[str, ...] = ()) -> NoReturn:
        later = self.later.get(name)
        if later and span and later > span:
            self.fail("TP201", f"`{name}` is used before it is assigned", span,
                      notes=(Note("it is assigned only here", later),), help="move the assignment above its first use")
        guess = near_miss(name, [*self.scope.names(), *others])
        help = f"did you mean `{guess}`?" if guess else "declare it, or assign it before this line"
        # There is no such constant, and what was meant is plain.
        if name == "pi":
            help = "write `3.141592653589793`"
        self.fail("TP201", f"`{name}` is not defined here", span, help=help)

    # --- blocks and loops ---

    @contextmanager
    def block(self) -> Iterator[list]:
        """Open a nested block of statements."""
        self._block_count += 1
        path, self.block_path = self.block_path, (*self.block_path, self._block_count)
        try:
            with self.builder.nested() as statements:
                yield statements
        finally:
            self.block_path = path

    @property
    def loop_names(self) -> tuple[str, ...]:
        return tuple(name for name, *_ in self.loops)

    # --- family extents ---

    def note_store(self, cell: Cell, items: tuple[IntExpr, ...]) -> None:
        """Remember how far a family reaches, from the indices that are assigned."""
        known = self.extents.setdefault(cell, [IntLit(0)] * len(items))
        for position, item in enumerate(items):
            top = self._largest(item)
            known[position] = _larger(known[position], None if top is None else int_bin("+", top, IntLit(1)))

    def _largest(self, item: IntExpr) -> IntExpr | None:
        """The largest value of an index over the loops around it; None when it depends on data."""
        # From the innermost loop outwards, because its bounds may hold variables of those around it.
        for name, start, stop, step in reversed(self.loops):
            coefficient = _coefficient(item, name)
            if coefficient is None:
                return None
            if coefficient:
                last = int_bin("-", stop, IntLit(1)) if step > 0 else start
                first = start if step > 0 else int_bin("+", stop, IntLit(1))
                item = _replace_linear(item, name, last if coefficient > 0 else first)
        return item

    def extent(self, cell: Cell, position: int) -> IntExpr | None:
        """The extent of a family along one index, as far as the program up to here tells."""
        for initial in self.initials:
            if initial.cell is cell:
                return initial.extents[position]
        known = self.extents.get(cell)
        return known[position] if known else None


def _coefficient(item: IntExpr, name: str) -> int | None:
    """The coefficient of a loop variable in a linear index; None when the index is not linear in it."""
    total = 0
    for atom, c in linear_form(item).items():
        if atom == IntSym(name, "loop"):
            total += c
        elif name in loop_names(atom):
            return None
    return total


def _replace_linear(item: IntExpr, name: str, value: IntExpr) -> IntExpr:
    result: IntExpr = IntLit(0)
    for atom, c in linear_form(item).items():
        term = value if atom == IntSym(name, "loop") else atom
        result = int_bin("+", result, int_bin("*", IntLit(c), term))
    return result


def _larger(known: IntExpr | None, new: IntExpr | None) -> IntExpr | None:
    if known is None or new is None:
        return None
    difference = linear_form(int_bin("-", new, known))
    # Equal, or less by a number.
    if not difference or set(difference) == {IntLit(1)} and difference[IntLit(1)] < 0:
        return known
    # (0 is the extent of a family before its first store.)
    if set(difference) == {IntLit(1)} or known == IntLit(0):
        return new
    return int_bin("max", known, new)
