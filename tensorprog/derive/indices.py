"""Index letters as in a paper: t, a for an equation's own indices; s, b for those that are summed over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import sympy
from sympy import Expr

from tensorprog.derive.names import loop_stem
from tensorprog.derive.symbols import index

# As papers have it: t, s, r, q for steps, a, b, c for examples, i, j, k, m for coordinates.
ALTERNATES = {"t": "srq", "s": "rqp", "a": "bce", "b": "cea", "i": "jkm", "j": "kmi", "k": "jmi", "l": "kmj"}


def choices(stem: str) -> Iterator[str]:
    """Names for an index, best first."""
    yield stem
    yield from ALTERNATES.get(stem, "")
    yield from (f"{stem}{n}" for n in itertools.count(2))


def stem_of(symbol: sympy.Symbol) -> str:
    return loop_stem(symbol.name.split("#")[0])



class Renaming:
    """Readable names for the indices of one equation. `loops` are index symbols, other integers are sizes."""

    def __init__(self, loops: set[sympy.Symbol], taken: set[str]):
        self.loops, self.taken = loops, taken

    def free(self, symbols: tuple[sympy.Symbol, ...]) -> dict[Expr, Expr]:
        """Names for the equation's own indices."""
        used: set[str] = set()
        mapping: dict[Expr, Expr] = {}
        for symbol in symbols:
            name = self._choose(symbol, used)
            used.add(name)
            mapping[symbol] = index(name)
        return mapping

    def apply(self, expr: Expr, mapping: dict[Expr, Expr], used: frozenset[str]) -> Expr:
        """The expression with all indices renamed, those of sums apart from everything around them."""
        if not isinstance(expr, sympy.Sum | sympy.Product):
            # Building an expression anew would evaluate what was left alone, as `(2*n) % 2`, which SymPy makes 0.
            if not expr.args:
                return mapping.get(expr, expr)
            return _rebuilt(expr, [self.apply(a, mapping, used) for a in expr.args])
        inner = dict(mapping)
        limits = []
        # From the outermost sum on: the ends of an inner one may hold its variable, which needs its name by then.
        for symbol, low, high in reversed(expr.limits):
            low, high = (self.apply(end, inner, used) for end in (low, high))
            name = self._choose(symbol, used)
            used = used | {name}
            inner[symbol] = index(name)
            limits.append((inner[symbol], low, high))
        return expr.func(self.apply(expr.function, inner, used), *reversed(limits))

    def _choose(self, symbol: sympy.Symbol, used: frozenset[str] | set[str]) -> str:
        return next(n for n in choices(stem_of(symbol)) if n not in used and n not in self.taken)


def _rebuilt(expr: Expr, args: list[Expr]) -> Expr:
    return expr if list(expr.args) == args else expr.func(*args)
