"""Which case of an equation applies to a pair of rows, and which covariances are zero."""

from __future__ import annotations

import sympy
from sympy import Expr

from tensorprog.covariance.guards import known, simplify_guards
from tensorprog.covariance.nodes import AtLeastZero, Call, IsZero, Total, flat
from tensorprog.covariance.system import System
from tensorprog.pairs.nodes import NotPairs, RowSymbols, Undecided

#: Equations that a proof of a zero unfolds, one inside of another. Recursions in levels are `vanish`'s.
MOST_UNFOLDINGS = 8
# Guards on sizes, as on L - 2, are decided as for sizes like this; what that assumes is checked at every run.
LARGE = 10**6


class DecidedGuards:
    """Decides guards under `_facts`, linear expressions that are known to be >= 0.

    Attributes:
        assumed: expressions in sizes that are taken to be >= 0.
    """

    def __init__(self, system: System, rows: RowSymbols):
        self.system, self.rows = system, rows
        self.assumed: list[Expr] = []
        self._facts: tuple[Expr, ...] = ()
        self._assuming = True

    def _unfolded(self, call: Expr) -> Expr:
        """The case of an equation that applies."""
        equation = self.system.equations[int(call.args[0])]
        mapping = dict(zip(equation.params, call.args[1:]))
        for guards, expr in equation.cases:
            decided = [self._decided(g.xreplace(mapping)) for g in guards]
            if any(g == 0 for g in decided):
                continue
            for g in decided:
                if g != 1:
                    raise Undecided(g)
            return expr.xreplace(mapping)
        raise NotPairs(f"{equation.name} is not defined at {call.args[1:]}")

    def _decided(self, expr: Expr) -> Expr:
        """An expression with the guards decided that the facts decide, and those on sizes alone."""
        expr = simplify_guards(expr, self._facts)
        for guard in sorted(expr.atoms(AtLeastZero, IsZero), key=str) if self._assuming else ():
            fact = self._of_large_sizes(guard)
            if fact is not None:
                self.assumed.append(fact)
                self._facts = (*self._facts, fact)
        return simplify_guards(expr, self._facts)

    def _of_large_sizes(self, guard: Expr) -> Expr | None:
        """A fact that decides a guard on sizes as it is where they are large."""
        e = guard.args[0]
        # Rows are dummies: on them, and on levels, cases really differ.
        if not e.free_symbols or not all(s.is_nonnegative and not isinstance(s, sympy.Dummy) for s in e.free_symbols):
            return None
        if any(s.name in self.rows.names for s in e.free_symbols):
            return None
        large = e.subs(dict.fromkeys(e.free_symbols, LARGE))
        if isinstance(guard, AtLeastZero):
            # Of integers: what is not e >= 0 is -e - 1 >= 0.
            return e if large >= 0 else flat(-e - 1)
        # The sign that e has where sizes are large: e >= 1 or -e >= 1.
        return flat(abs(large) / large * e - 1) if large != 0 else None

    def _is_zero(self, expr: Expr, facts: tuple[Expr, ...], depth: int) -> bool:
        """Whether a covariance is zero in every case that the facts leave."""
        expr = flat(simplify_guards(expr, facts))
        return all(t == 0 or any(isinstance(f, Call) and self._call_is_zero(f, facts, depth)
                                 or isinstance(f, Total) and self._is_zero(f.args[0], facts, depth)
                                 for f in sympy.Mul.make_args(t)) for t in sympy.Add.make_args(expr))

    def _call_is_zero(self, call: Expr, facts: tuple[Expr, ...], depth: int) -> bool:
        # A recursion would go on without end.
        if depth > MOST_UNFOLDINGS:
            return False
        equation = self.system.equations[int(call.args[0])]
        mapping = dict(zip(equation.params, call.args[1:]))
        for guards, expr in equation.cases:
            decided = [simplify_guards(g.xreplace(mapping), facts) for g in guards]
            more = (*facts, *(f for g in decided for f in known(g)))
            value = expr.xreplace(mapping)
            if all(g != 0 for g in decided) and not self._is_zero(value, more, depth + 1):
                return False
            # A case that certainly applies hides those after it.
            if all(g == 1 for g in decided):
                break
        return True
