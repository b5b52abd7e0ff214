"""Readouts' signs come as late as possible: the order of statements for the particles.

A readout v is sampled with both signs, so that what is odd in it has the mean zero exactly. What a matrix makes of a
vector that depends on v, as in a backward pass, is however a sample of its own, and its inner product with any other
vector, which is zero in the limit, is not zero for particles: the matrix' next product with a new vector has a small part
that depends on v (`runtime.matrices`, Zdot). So products that have nothing of v in them come first, wherever the program
allows it: outputs at initialization do not depend on whether they are computed before or after a gradient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from tensorprog.ir.program import (
    Accum,
    Cell,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatStore,
    Program,
    Statement,
    Store,
    Var,
    cells_read,
    reads,
    walk,
    written,
)
from tensorprog.passes.rewrite import map_blocks


def readouts_late(program: Program, readouts: frozenset[Cell]) -> Program:
    """The same program with products of matrices and vectors that depend on `readouts` after those that do not."""
    if not readouts:
        return program
    late = _Dependence(set(readouts)).products(program.body)
    return program.with_body(_ordered(program.body, late)) if late else program


@dataclass(slots=True)
class _Dependence:
    """What depends on the readouts, coordinate by coordinate, at the first pass through every loop: later ones depend on
    everything, and scalars do not count."""

    cells: set[Cell]
    vars: set[Var] = field(default_factory=set)

    def products(self, body: tuple[Statement, ...]) -> set[Var]:
        """The results of products with vectors that depend on the readouts."""
        found = set()
        for statement in walk(body):
            depends = any(v in self.vars for v in reads(statement)) or any(c in self.cells for c in cells_read(statement))
            match statement:
                case Let(var=var, op=op) if depends and (var.type.width or isinstance(op, Load)):
                    self.vars.add(var)
                    if isinstance(op, MatMul) and op.arg in self.vars:
                        found.add(var)
                case Store(cell=cell, value=value) | Accum(cell=cell, value=value) if value in self.vars:
                    self.cells.add(cell)
                case MatStore(cell=cell) | MatAccum(cell=cell) if depends:
                    self.cells.add(cell)
        return found


def _ordered(body: tuple[Statement, ...], late: set[Var]) -> tuple[Statement, ...]:
    """A block with its statements in an order that keeps every dependence, late ones as far back as they may be."""
    body = tuple(map_blocks(s, lambda b: _ordered(b, late)) for s in body)
    is_late = [any(isinstance(s, Let) and s.var in late for s in walk((statement,))) for statement in body]
    if True not in is_late:
        return body
    after, missing = _dependences(body)
    # Of what is ready, early statements come first, in the order in which they stand.
    # A heap of pairs: what is not late before what is, and each in the order of the program.
    ready = [(is_late[i], i) for i, count in enumerate(missing) if not count]
    heapify(ready)
    order = []
    while ready:
        _, i = heappop(ready)
        order.append(body[i])
        for j in after[i]:
            missing[j] -= 1
            if not missing[j]:
                heappush(ready, (is_late[j], j))
    return tuple(order)


def _dependences(body: tuple[Statement, ...]) -> tuple[list[set[int]], list[int]]:
    """For each statement those that must come after it, and how many must come before it: what reads a temporary or a
    cell keeps its place among what writes it."""
    after: list[set[int]] = [set() for _ in body]
    writers: dict[object, int] = {}
    readers: dict[object, list[int]] = defaultdict(list)
    for i, statement in enumerate(body):
        inner = list(walk((statement,)))
        made = _made(inner)
        used: set[object] = {x for s in inner for x in (*reads(s), *cells_read(s))}
        # What a statement writes as well keeps its place as a write, below.
        for x in used - made:
            if x in writers:
                after[writers[x]].add(i)
            readers[x].append(i)
        for x in made:
            for j in (*readers.pop(x, ()), *((writers[x],) if x in writers else ())):
                after[j].add(i)
            writers[x] = i
    missing = [0] * len(body)
    for targets in after:
        for j in targets:
            missing[j] += 1
    return after, missing


def _made(statements: Iterable[Statement]) -> set[object]:
    made: set[object] = set()
    for s in statements:
        if isinstance(s, Let):
            made.add(s.var)
        elif (cell := written(s)) is not None:
            made.add(cell)
    return made
