"""Matrices in symbolic execution (see `unwind`)."""

from __future__ import annotations

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import IsZero, Product, flat, fresh_index, total
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import AxisExpression, Binding, MatrixPart, Site, Write, solve, substituted
from tensorprog.ir.program import Cell, FunctionTerm, MatMul, MatrixTerm, OuterTerm


class Matrices:
    """Products with a matrix as it stands: initial matrices make sites, updates make sums."""

    def __init__(self, unwound: Unwound):
        self.unwound = unwound

    def matmul(self, op: MatMul) -> AxisExpression:
        value = self.unwound.values[op.arg]
        items = self.unwound.integers(op.items)
        axis_bindings = [Binding(a, Integer(0), n) for a, n in zip(value.axes, value.sizes)]
        expr = self._apply(op.matrix, items, op.transposed, value.expr, axis_bindings)
        return AxisExpression(expr, value.axes, value.sizes)

    def _apply(self, cell: Cell, items: tuple[Expr, ...], transposed: bool, x: Expr, axes: list[Binding]) -> Expr:
        if cell in self.unwound.initial and cell not in self.unwound.updated:
            return self._product(cell, items, transposed, x, axes)
        terms = self._read_matrix(cell, items)
        parts = []
        for bindings, guards, term in terms:
            if term.outer is not None:
                left, right = term.outer[::-1] if transposed else term.outer
                # outer(u, v) @ x = (what is summed over, in units of n) Z^u E[Z^v Z^x].
                summed = self.unwound.laws.ratio(cell.matrix.rows if transposed else cell.matrix.cols)
                part = term.coef * summed * left * self.unwound.mean(flat(right * x))
            else:
                matrix, matrix_items, flipped = term.matrix
                if bindings:
                    raise Unsupported(f"`{cell.display}` collects multiples of matrices in a loop")
                part = term.coef * self._apply(matrix, matrix_items, flipped != transposed, x, axes)
            part *= sympy.Mul(*guards)
            for b in bindings:
                part = total(part, b.symbol, b.start, b.stop)
            parts.append(part)
        return sympy.Add(*parts)

    def _product(self, cell: Cell, items: tuple, transposed: bool, x: Expr, axes: list[Binding]) -> Expr:
        initial = self.unwound.program.initials[self.unwound.initial[cell]]
        if initial.law.name == "zero" or x == 0:
            return Integer(0)
        bindings = (*(f.binding for f in self.unwound.frames if f.binding), *axes)
        loops = tuple(f.binding.symbol.name for f in self.unwound.frames if f.binding)
        site = Site(len(self.unwound.sites), cell, items, transposed, x, bindings, loops, tuple(self.unwound.guards), self.unwound.order)
        self.unwound.sites.append(site)
        return Product(Integer(site.number), *site.params)

    def terms(self, terms: tuple) -> tuple[MatrixPart, ...]:
        out = []
        for term in terms:
            if isinstance(term, FunctionTerm):
                raise Unsupported(f"'{term.fn}' of a matrix has no equations" if not term.entrywise else
                                  f"'{term.fn}' of the entries of a matrix has no equations")
            coef = self.unwound.values[term.coef].expr if term.coef is not None else Integer(1)
            if isinstance(term, MatrixTerm):
                out.append(MatrixPart(coef, matrix=(term.cell, self.unwound.integers(term.items), term.transposed)))
            elif isinstance(term, OuterTerm):
                left, right = self.unwound.values[term.left], self.unwound.values[term.right]
                if left.axes or right.axes:
                    raise Unsupported("a matrix is updated by a block of outer products")
                out.append(MatrixPart(coef, outer=(left.expr, right.expr)))
        return tuple(out)

    def _read_matrix(self, cell: Cell, items: tuple[Expr, ...]) -> list:
        """The matrix as it stands: [(bindings, guards, term)]."""
        found: list = []
        # From here outwards: the last write that covers the element decides.
        for frame in reversed(self.unwound.frames):
            done = self._matrix_log(frame.log.get(cell, []), items, found, cell)
            if done:
                return found
            if frame.binding is not None and cell in frame.written:
                raise Unsupported(f"the matrix `{cell.display}` changes from one iteration to the next")
        if cell in self.unwound.initial:
            law = self.unwound.program.initials[self.unwound.initial[cell]].law
            if law.name != "zero":
                found.append(((), (), MatrixPart(Integer(1), matrix=(cell, items, False))))
        if any(term.matrix is not None and term.matrix[0] is cell for _, _, term in found):
            raise Unsupported(f"the matrix `{cell.display}` is trained")
        return found

    def _matrix_log(self, log: list[Write], items: tuple, found: list, cell: Cell) -> bool:
        for write in reversed(log):
            if write.kind == "zero":
                return True
            if write.kind == "loop":
                for inner in write.body:
                    self._matrix_add(inner, write.bindings, items, found, cell)
                continue
            guards = [g for g in write.guards if g not in self.unwound.guards]
            matched = [IsZero(flat(a - b)) for a, b in zip(write.items, items)]
            if any(m == 0 for m in matched):
                continue
            guards += [m for m in matched if m != 1]
            if write.kind == "store" and guards:
                raise Unsupported(f"it cannot be seen which value of the matrix `{cell.display}` is used")
            found += [((), tuple(guards), t) for t in write.terms]
            if write.kind == "store":
                return True
        return False

    def _matrix_add(self, write: Write, outer: tuple[Binding, ...], items: tuple, found: list, cell: Cell) -> None:
        if write.kind == "loop":
            for inner in write.body:
                self._matrix_add(inner, (*outer, *write.bindings), items, found, cell)
            return
        if write.kind == "zero":
            raise Unsupported(f"the matrix `{cell.display}` is set anew in every iteration")
        solved = solve(outer, write.items, items)
        if solved is None:
            return
        values, guards, free = solved
        if write.kind == "store" and free:
            raise Unsupported(f"the matrix `{cell.display}` is set anew in every iteration")
        rename = {b.symbol: fresh_index() for b in free}
        mapping = {**values, **rename}
        bindings = tuple(Binding(rename[b.symbol], b.start.xreplace(mapping), b.stop.xreplace(mapping)) for b in free)
        guards = [*guards, *(g.xreplace(mapping) for g in write.guards)]
        for term in write.terms:
            found.append((bindings, tuple(g for g in guards if g != 1), substituted(term, mapping)))
