"""Horner's rule for a row of polynomials in one variable each, the inner loop of Hermite series.

    value[l] = sum_k a[k] second[begin + k, column + l] y[l]**k,    slope[l] = its derivative in y[l]

with a[k] = first[begin + k, i], or this times weights[begin + k] where the derivative is wanted as well: it takes one
more operation a term, less than a second sum.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from tensorprog.runtime.vectors import VECTOR_BYTES, VectorCode

#: Vectors whose sums run side by side, so that none has to wait for its own last step.
VECTORS = 4
#: Polynomials of a call in double precision.
BLOCK = VECTORS * VECTOR_BYTES // 8


def _horner(derivative: bool):
    """An intrinsic for the columns from `column` on, with y = c[j:], or its square where `square`, and results to
    value[j:] and slope[j:]."""

    @intrinsic
    def horner(typing, first, second, weights, begin, terms, i, column, c, square, value, slope, j):
        signature = types.void(first, second, weights, types.intp, types.intp, types.intp, types.intp, c, types.boolean,
                               value, slope, types.intp)
        return signature, lambda context, builder, signature, arguments: _Horner(
            context, builder, signature, arguments, derivative).write()

    return horner


horner, horner_with_slope = _horner(False), _horner(True)


class _Horner(VectorCode):
    """The code of such a function."""

    def __init__(self, context, builder, signature, arguments, derivative: bool) -> None:
        super().__init__(context, builder, signature.args, signature.args[1].dtype)
        (self.first, self.second, self.weights, self.begin, self.terms, self.i, self.column, self.c, self.square,
         self.value, self.slope, self.j) = arguments
        self.derivative = derivative
        self.vectors = BLOCK // self.lanes

    def write(self):
        builder = self.builder
        entry, loop = builder.block, builder.append_basic_block("terms")
        after = builder.append_basic_block("sums")
        c = self.load(self.row(self.c, 7, self.j), self.vectors)
        y = [builder.select(self.square, builder.fmul(x, x), x) for x in c]
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(self.terms.type)
        sums, slopes = ([builder.phi(self.vector) for _ in y] for _ in range(2))
        left = builder.sub(k, self.number(1))
        k.add_incoming(self.terms, entry)
        k.add_incoming(left, loop)
        new = [(self.fused(s, x, t), self.fused(d, x, s))
               for s, d, x, t in zip(sums, slopes, y, self._terms(builder.add(self.begin, left)))]
        for s, d, (total, slope) in zip(sums, slopes, new):
            for phi, following in ((s, total), (d, slope)):
                phi.add_incoming(self.zero, entry)
                phi.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed(">", left, self.number(0)), loop, after)

        builder.position_at_end(after)
        self.store(self.row(self.value, 9, self.j), [total for total, _ in new])
        if self.derivative:
            self.store(self.row(self.slope, 10, self.j), [slope for _, slope in new])
        return self.context.get_dummy_value()

    def _terms(self, m) -> list:
        """The coefficients of one power."""
        builder = self.builder
        factor = builder.load(self.row(self.first, 0, m, self.i))
        if self.derivative:
            factor = builder.fmul(factor, builder.load(self.row(self.weights, 2, m)))
        factor = self.spread(factor)
        return [builder.fmul(factor, b, flags=("contract",))
                for b in self.load(self.row(self.second, 1, m, self.column), self.vectors)]
