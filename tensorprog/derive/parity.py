"""Zeros by symmetry.

The limit's law does not change when an initial vector with a symmetric law changes its sign while everything else is
held fixed, nor when all Gaussian parts of one matrix (or of one transposed matrix) change theirs, because these are
independent of all others. An expectation of something odd under such a flip is zero. This covers zeros by
independence, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr

from tensorprog.derive.responses import ResponsePiece, ResponsePieces
from tensorprog.derive.symbols import OPAQUE, Atom, Cases, Dot, E, Hat, NonlinearityBase, Response, Rest, Z
from tensorprog.derive.system import LimitSystem
from tensorprog.ir import parities
from tensorprog.ir.parities import of_product, of_sum
from tensorprog.ir.primitives import parity

Flip = frozenset[tuple[str, ...]]
"""What changes its sign: some of ('vector', name) and ('matrix', name, '0' or '1')."""


@dataclass(slots=True)
class Parity:
    """The parity of every equation's left side and every response under one flip: the least solution, from below.
    `vectors` are the names of all initial vectors, which are also what loops start from."""

    system: LimitSystem
    responses: ResponsePieces
    flip: Flip
    vectors: frozenset[str]
    of_equation: list[str] = field(default_factory=list)
    of_dot: list[str] = field(default_factory=list)

    def solve(self) -> Parity:
        # From below: nothing is known to be other than zero, which is even and odd.
        self.of_equation = [parities.ZERO] * len(self.system.equations)
        self.of_dot = [parities.ZERO] * len(self.system.hats)
        changed = True
        while changed:
            changed = False
            for number, equation in enumerate(self.system.equations):
                if isinstance(equation.left, Atom):
                    changed |= self._raise(self.of_equation, number, self.of(equation.right))
            for number in range(len(self.system.hats)):
                found = of_sum(map(self._piece, self.responses.pieces[number]))
                changed |= self._raise(self.of_dot, number, found)
        return self

    def _piece(self, piece: ResponsePiece) -> str:
        """A term of a response."""
        return parities.ZERO if self._has_no(piece) else self.of(piece.y)

    def _has_no(self, piece: ResponsePiece) -> bool:
        """Whether the coefficient of a term is zero, by induction over the order of execution."""
        factors = [f.args[0] for f in sympy.Mul.make_args(piece.coefficient) if isinstance(f, E)]
        return any(self.of(f) in (parities.ODD, parities.ZERO) for f in factors)

    def _raise(self, table: list[str], number: int, found: str) -> bool:
        new = of_sum((table[number], found))
        changed = new != table[number]
        table[number] = new
        return changed

    def of(self, expr: Expr) -> str:
        """The parity of an expression; numbers and scalars are even."""
        if isinstance(expr, Atom):
            return self._atom(expr)
        if isinstance(expr, E) and isinstance(expr.args[0], Response):
            return parities.EVEN
        if isinstance(expr, Response):
            # A derivative changes its sign with what is differentiated, and with what it is taken by.
            return of_product(map(self.of, expr.args))
        if expr == 0:
            return parities.ZERO
        if isinstance(expr, OPAQUE) or not expr.args or isinstance(expr, sympy.Indexed):
            return parities.EVEN
        if expr.is_Add:
            return of_sum(map(self.of, expr.args))
        if expr.is_Mul:
            return of_product(map(self.of, expr.args))
        if isinstance(expr, sympy.Sum):
            return self.of(expr.function)
        if isinstance(expr, Cases):
            return of_sum((self.of(expr.args[0]), self.of(expr.args[2])))
        if expr.is_Pow and expr.exp.is_Integer:
            return of_product([self.of(expr.base)] * (1 if expr.exp.is_odd else 2))
        return self._function(expr)

    def _function(self, expr: Expr) -> str:
        inner = [self.of(a) for a in expr.args if isinstance(a, Expr)]
        if all(p in (parities.EVEN, parities.ZERO) for p in inner):
            return parities.EVEN
        if len(inner) == 1 and inner[0] == parities.ODD:
            name, order = (expr.fn, expr.order) if isinstance(expr, NonlinearityBase) else (type(expr).__name__, 0)
            own = parity(name, order)
            if own != "none":
                return parities.ODD if own == "odd" else parities.EVEN
            if name == "Abs":
                return parities.EVEN
        return parities.NEITHER

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Hat | Dot | Rest):
            place = self.system.site_of(atom)
            if place is None:
                return parities.NEITHER
            site = place[0]
            number = self.system.hats.index(site)
            if isinstance(atom, Dot):
                return self.of_dot[number]
            if isinstance(atom, Rest):
                told = (self.of(p.hat) for p in self.responses.pieces[number] if not self._has_no(p))
                return of_sum([self.of(site.arg), *told])
            changes = ("matrix", site.matrix, str(int(site.transposed))) in self.flip
            return parities.ODD if changes else parities.EVEN
        found = [self.of_equation[number] for number, _, _ in self.system.numbered_definitions(atom)]
        if isinstance(atom, Z) and (name := str(atom.args[0])) in self.vectors:
            found.append(parities.ODD if ("vector", name) in self.flip else parities.EVEN)
        return of_sum(found) if found else parities.NEITHER


class Flips:
    """The flips of a system that are tried: each vector, each Gaussian family, each vector with all families of one
    direction (which is what a readout flips, backwards), all families, and everything."""

    def __init__(self, system: LimitSystem, responses: ResponsePieces, vectors: frozenset[str], symmetric: frozenset[str]):
        self.system, self.responses, self.vectors = system, responses, vectors
        families = [("matrix", *pair) for pair in sorted({(s.matrix, str(int(s.transposed))) for s in system.hats})]
        singles = [("vector", name) for name in sorted(symmetric)]
        flips = [frozenset({one}) for one in (*singles, *families)]
        for direction in ("1", "0"):
            some = [f for f in families if f[2] == direction]
            flips += [frozenset({vector, *some}) for vector in singles if some]
        flips += [frozenset(families), frozenset(families) | frozenset(singles)]
        self.flips = [flip for flip in dict.fromkeys(flips) if flip]
        self._solved: dict[Flip, Parity] = {}

    def vanishing(self, inner: Expr) -> str | None:
        """What the contents of an expectation are odd in, in words; None if nothing was found."""
        for flip in self.flips:
            if flip not in self._solved:
                self._solved[flip] = Parity(self.system, self.responses, flip, self.vectors).solve()
            if self._solved[flip].of(inner) in (parities.ODD, parities.ZERO):
                return flip_text(flip)
        return None


def flip_text(flip: Flip) -> str:
    """What changes its sign."""
    names = [f"Z^{{{g[1]}}}" if g[0] == "vector" else f"Zhat^{{{g[1]}{'.T' if g[2] == '1' else ''} .}}"
             for g in sorted(flip, reverse=True)]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) + (" together" if names[1:] else "")
