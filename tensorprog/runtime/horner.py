"""Power series of a block of pairs, the inner loop of Hermite series, by Horner's rule.

    t[k] = first[i, begin + k] second[block, begin + k, l]    for powers n = 0, start, start + step, ... of c = c[j + l]

The code gives the sum of terms t[k] c**n or, of joint series, that of t[k] (n + 1) c**n, and that of t[k] c**n as the
integral. Both are had from the second one and its derivative by Horner's rule for both, one operation a term less than
by two sums. The coefficients of a block are contiguous: where they were as far apart as rows, address translation would
take longer than the sums.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from tensorprog.runtime.compiling import intrinsic
from tensorprog.runtime.vectors import VECTOR_BYTES, VectorCode

#: Vectors whose sums run side by side, so that none has to wait for its own last step, and pairs of a block.
VECTORS = 4
BLOCK = VECTORS * VECTOR_BYTES // 8


def _series(joint: bool):
    """An intrinsic for the sum to value[j:] and, if `joint`, the integral to integral[j:]; of the term of power 0 and
    `terms` others."""

    @intrinsic
    def series(typing, first, second, i, block, begin, terms, start, step, c, value, integral, j):
        signature = types.void(first, second, *[types.intp] * 6, c, value, integral, types.intp)
        return signature, lambda context, builder, signature, arguments: _Series(
            context, builder, signature, arguments, joint).write()

    return series


one_sum, both_sums = _series(False), _series(True)


@intrinsic
def largest(typing, c, j):
    """The largest absolute value of a block c[j:]."""
    return c.dtype(c, types.intp), lambda context, builder, signature, arguments: _Largest(
        context, builder, signature, arguments).write()


class _Series(VectorCode):
    """The code of such sums."""

    def __init__(self, context, builder, signature, arguments, joint: bool) -> None:
        super().__init__(context, builder, signature.args, signature.args[0].dtype)
        (self.first, self.second, self.i, self.block, self.begin, self.terms, self.start, self.step,
         self.c, self.value, self.integral, self.j) = arguments
        self.joint, self.vectors = joint, BLOCK // self.lanes

    def write(self):
        builder = self.builder
        x = self.load(self.row(self.c, 8, self.j), self.vectors)
        squares = [builder.fmul(v, v) for v in x]
        y = self._choice(builder.icmp_signed("==", self.step, self.number(2)), squares, x)
        lead = self._choice(builder.icmp_signed("==", self.start, self.number(1)), x, squares)
        sums, slopes = self._polynomials(y)
        constants = self._terms(self.begin)
        if self.joint:
            self.store(self.row(self.integral, 10, self.j), list(map(self.fused, lead, sums, constants)))
            # n = start + step k: the terms times n + 1 are (start + 1) S plus step y dS/dy.
            sums = [self.fused(self._spread_int(self.step), builder.fmul(v, d), builder.fmul(self._following(), s))
                    for v, d, s in zip(y, slopes, sums)]
        self.store(self.row(self.value, 9, self.j), list(map(self.fused, lead, sums, constants)))
        return self.context.get_dummy_value()

    def _choice(self, condition, one: list, other: list) -> list:
        return [self.builder.select(condition, a, b) for a, b in zip(one, other)]

    def _following(self):
        """start + 1, which with multiples of the step is what multiplies terms."""
        return self._spread_int(self.builder.add(self.start, self.number(1)))

    def _spread_int(self, value):
        return self.spread(self.builder.sitofp(value, self.scalar))

    def _polynomials(self, y: list) -> tuple[list, list]:
        """Polynomials in y, the terms but for their leading power, and their derivatives."""
        builder = self.builder
        entry, loop = builder.block, builder.append_basic_block("terms")
        after = builder.append_basic_block("sums")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(self.terms.type)
        sums, slopes = ([builder.phi(self.vector) for _ in y] for _ in range(2))
        left = builder.sub(k, self.number(1))
        k.add_incoming(self.terms, entry)
        k.add_incoming(left, loop)
        terms = self._terms(builder.add(self.begin, k))
        totals, derivatives = list(map(self.fused, sums, y, terms)), list(map(self.fused, slopes, y, sums))
        for old, new in zip(sums + slopes, totals + derivatives):
            old.add_incoming(self.zero, entry)
            old.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed(">", left, self.number(0)), loop, after)
        builder.position_at_end(after)
        return totals, derivatives

    def _terms(self, m) -> list:
        """The coefficients at a place."""
        builder = self.builder
        factor = self.spread(builder.load(self.row(self.first, 0, self.i, m)))
        columns = self.row(self.second, 1, self.block, m, self.number(0))
        return [builder.fmul(factor, b, flags=("contract",)) for b in self.load(columns, self.vectors)]


class _Largest(VectorCode):
    def __init__(self, context, builder, signature, arguments) -> None:
        super().__init__(context, builder, signature.args, signature.args[0].dtype)
        self.c, self.j = arguments

    def write(self):
        builder = self.builder
        sizes = [self._larger(x, builder.fsub(self.zero, x))
                 for x in self.load(self.row(self.c, 0, self.j), BLOCK // self.lanes)]
        for size in sizes[1:]:
            sizes[0] = self._larger(sizes[0], size)
        index = ir.IntType(32)
        lanes = [builder.extract_element(sizes[0], ir.Constant(index, k)) for k in range(self.lanes)]
        while len(lanes) > 1:
            lanes = [self._larger(*pair) for pair in zip(lanes[::2], lanes[1::2])]
        return lanes[0]

    def _larger(self, a, b):
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)
