"""Sums of means of products, gathered: sum c_ij E[f_i(u) g_j(v)] is one mean E[F(u) G(v)] where c_ij = a_i b_j.

Equations multiply derivatives out: E[tanh'(u) tanh'(v)] comes as 1 - E[tanh(u)**2] - E[tanh(v)**2] +
E[tanh(u)**2 tanh(v)**2]. One mean costs one series, and for a function and its derivative they have a joint one.
"""

from __future__ import annotations

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.nodes import Node as Atom
from tensorprog.covariance.nodes import flat
from tensorprog.pairs.graph.graph import Graph, references, shift_of, shifted
from tensorprog.pairs.graph.graph import UsedDefinition as GraphNode
from tensorprog.pairs.nodes import At, Own, Two
from tensorprog.pairs.recognise.means import normalised

ONE = Integer(1)
# Coefficients are products of floats, equal but for rounding.
TOLERANCE = 1e-13

Pair = tuple[Expr, Expr]


def gathered(graph: Graph, duals: list[Pair]) -> Graph:
    """The graph with such sums made one mean; `duals` are the functions of means by number, which may get more."""
    gathering = _Gathering(graph, duals)
    for node in graph.nodes.values():
        node.expr = gathering.expression(node.expr, node.start if node.leveled else None)
    graph.outputs = [gathering.expression(e, None) for e in graph.outputs]
    return graph


class _Gathering:
    def __init__(self, graph: Graph, duals: list[Pair]):
        self.graph, self.duals = graph, duals

    def expression(self, expr: Expr, start: int | None) -> Expr:
        read = frozenset(references(expr))
        terms: dict[Expr, dict[tuple, dict[Pair, Expr]]] = {}
        rest: dict[Expr, Expr] = {}
        for term in sympy.Add.make_args(flat(expr)):
            number, factors = term.as_coeff_mul()
            means = {f: m for f in factors if (m := self._mean(f, start, read)) is not None}
            # Roots and pi are numbers here, which SymPy keeps apart from the rational factor.
            constants = [f for f in factors if not f.free_symbols and not f.atoms(Atom)]
            others = sympy.Mul(*(f for f in factors if f not in constants and f not in means))
            scale = number * sympy.Mul(*constants)
            if len(means) == 1:
                ((pair, args, factor),) = means.values()
                found = terms.setdefault(others, {}).setdefault(args, {})
                found[pair] = found.get(pair, Integer(0)) + scale * factor
            else:
                whole = sympy.Mul(*(f for f in factors if f not in constants))
                rest[whole] = rest.get(whole, Integer(0)) + scale
        changed = False
        result: Expr = Integer(0)
        for others, groups in terms.items():
            for args, found in groups.items():
                made = self._product(found, args) if len(found) > 1 else None
                if made is None:
                    result += others * sum(c * Two(self._number(p), *args) for p, c in found.items())
                    continue
                changed, (mean, constant) = True, made
                result += others * mean
                rest[others] = rest.get(others, Integer(0)) - constant
        return result + sum(c * e for e, c in rest.items()) if changed else expr

    def _mean(self, factor: Expr, start: int | None, read: frozenset[Expr]) -> tuple[Pair, tuple, Expr] | None:
        """A factor as a mean of two functions: these, its covariances, and a number that multiplies it."""
        if isinstance(factor, Two):
            return self.duals[int(factor.args[0])], factor.args[1:], ONE
        if not isinstance(factor, Own) or not isinstance(factor.args[1], At):
            return None
        side, ref = factor.args
        node = self.graph.nodes[int(ref.args[0])]
        shift = shift_of(ref)
        number, mean = node.expr.as_coeff_Mul()
        if node.leveled and not self._holds(node, start, shift, read):
            return None
        # Of three equal covariances u = v, and the mean is that of f g at one variable, of either side.
        if not isinstance(mean, Two) or len(set(mean.args[1:])) > 1:
            return None
        f, g = self.duals[int(mean.args[0])]
        return ((ONE, f * g) if side else (f * g, ONE)), shifted(mean, shift or 0).args[1:], number

    def _holds(self, node: GraphNode, start: int | None, shift: int | None, read: frozenset[Expr]) -> bool:
        """Whether a node's step can be put in at `shift` levels after those of a loop from `start` on, into an
        expression that has `read` anyway."""
        if start is None or shift is None or node.tops or start + shift < node.holds:
            return False
        return all((own := shift_of(r)) is not None and (start + shift + own >= self.graph.nodes[int(r.args[0])].start
                                                         or At(r.args[0], r.args[1] + shift) in read)
                   for r in references(node.expr))

    def _product(self, found: dict[Pair, Expr], args: tuple) -> tuple[Expr, Expr] | None:
        """A sum as one mean and the constant that this holds besides the sum; None if it is not one."""
        rows = list(dict.fromkeys(f for f, _ in found))
        columns = list(dict.fromkeys(g for _, g in found))
        # The constant function pairs with anything: only a pair without it fixes both factors.
        pivot = next(((f, g) for f, g in found if f != ONE and g != ONE), None)
        if pivot is None or len(rows) < 2 or len(columns) < 2:
            return None
        p, q = pivot
        for f in rows:
            for g in columns:
                # Of rank one, c_ij c_pq = c_iq c_pj, but for the constant, of which any amount can be added.
                target = found.get((p, g), Integer(0)) * found.get((f, q), Integer(0)) / found[pivot]
                if (f, g) != (ONE, ONE) and abs(float(found.get((f, g), 0) - target)) > TOLERANCE * abs(float(target)):
                    return None
        # F = sum c_iq f_i and G = sum c_pj g_j: F G / c_pq has all terms of the sum.
        left, a = normalised({f: found.get((f, q), Integer(0)) for f in rows})
        right, b = normalised({g: found.get((p, g), Integer(0)) for g in columns})
        both = ONE in rows and ONE in columns
        constant = found[ONE, q] * found[p, ONE] / found[pivot] - found.get((ONE, ONE), Integer(0)) if both else 0
        return a * b / found[pivot] * Two(self._number((left, right)), *args), constant

    def _number(self, pair: Pair) -> Integer:
        if pair not in self.duals:
            self.duals.append(pair)
        return Integer(self.duals.index(pair))
