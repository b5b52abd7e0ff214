"""Zeros by symmetry.

The limit's law does not change when an initial vector with a symmetric law changes its sign while everything else is
held fixed, nor when all Gaussian parts of one matrix (or of one transposed matrix) change theirs, because these are
independent of all others (`limit/parity.py`). This covers zeros by independence, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr

from tensorprog.derive.responses import ResponsePiece, ResponsePieces
from tensorprog.derive.symbols import OPAQUE, Atom, Cases, Dot, E, GaussianPart, NonlinearityBase, Response, Rest, Z
from tensorprog.derive.system import LimitSystem
from tensorprog.expectations.functions import parity_of
from tensorprog.ir import parities
from tensorprog.ir.parities import of_product, of_sum
from tensorprog.ir.primitives import parity
from tensorprog.limit.parity import Parities

Flip = frozenset[tuple[str, ...]]
"""What changes its sign: some of ('vector', name) and ('matrix', name, '0' or '1')."""


@dataclass(slots=True)
class Parity(Parities):
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
                    changed |= self._raise(self.of_equation, number, self.parity(equation.right))
            for number in range(len(self.system.hats)):
                found = of_sum(map(self._piece, self.responses.pieces[number]))
                changed |= self._raise(self.of_dot, number, found)
        return self

    def _piece(self, piece: ResponsePiece) -> str:
        """A term of a response."""
        return parities.ZERO if self._has_no(piece) else self.parity(piece.y)

    def _has_no(self, piece: ResponsePiece) -> bool:
        """Whether the coefficient of a term is zero, by induction over the order of execution."""
        factors = [f.args[0] for f in sympy.Mul.make_args(piece.coefficient) if isinstance(f, E)]
        return any(self.parity(f) in (parities.ODD, parities.ZERO) for f in factors)

    def _raise(self, table: list[str], number: int, found: str) -> bool:
        new = of_sum((table[number], found))
        changed = new != table[number]
        table[number] = new
        return changed

    def leaf(self, expr: Expr) -> str | None:
        """The parity of limit variables and of what is read as a number; numbers and scalars are even."""
        if isinstance(expr, Atom):
            return self._atom(expr)
        if isinstance(expr, Response):
            # A derivative changes its sign with what is differentiated, and with what it is taken by.
            return of_product(map(self.parity, expr.args))
        if expr == 0:
            return parities.ZERO
        if isinstance(expr, OPAQUE) or not expr.args or isinstance(expr, sympy.Indexed):
            return parities.EVEN
        if isinstance(expr, sympy.Sum):
            return self.parity(expr.function)
        if isinstance(expr, Cases):
            return of_sum((self.parity(expr.args[0]), self.parity(expr.args[2])))
        return None

    def of_kind(self, expr: Expr) -> str:
        """'odd', 'even' or 'none': of a function of one argument, or of one of its derivatives."""
        if isinstance(expr, NonlinearityBase):
            return parity(expr.fn, expr.order)
        return parity_of(expr.func)

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, GaussianPart | Dot | Rest):
            place = self.system.site_of(atom)
            if place is None:
                return parities.NEITHER
            site = place[0]
            number = self.system.hats.index(site)
            if isinstance(atom, Dot):
                return self.of_dot[number]
            if isinstance(atom, Rest):
                told = (self.parity(p.hat) for p in self.responses.pieces[number] if not self._has_no(p))
                return of_sum([self.parity(site.arg), *told])
            changes = ("matrix", site.matrix, str(int(site.transposed))) in self.flip
            return parities.ODD if changes else parities.EVEN
        # Start and steps of what a loop carries have to agree.
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
            if self._solved[flip].parity(inner) in (parities.ODD, parities.ZERO):
                return flip_text(flip)
        return None


def flip_text(flip: Flip) -> str:
    """What changes its sign."""
    names = [f"Z^{{{g[1]}}}" if g[0] == "vector" else f"Zhat^{{{g[1]}{'.T' if g[2] == '1' else ''} .}}"
             for g in sorted(flip, reverse=True)]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) + (" together" if names[1:] else "")
