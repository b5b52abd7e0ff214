"""The series of functions of matrices that are made by updates: their largest terms (operator regime of the kernel regime, TP IVb).

The entries of such a matrix are of the order of its operator over n. A function of them has the largest terms of these as its
own largest term, where no output needs the next ones: an update enters the outputs of a network in the kernel regime once. The next
terms are refused, which matters only if an output asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

from tensorprog.ir.primitives import degree as homogeneous_degree
from tensorprog.ir.primitives import parity
from tensorprog.ir.program import (
    PRODUCT,
    Cell,
    FunctionTerm,
    MatDot,
    MatrixTerm,
    MatrixType,
    MatStore,
    TensorType,
    Var,
)
from tensorprog.passes.powers import PowerError, mistake_of_entries
from tensorprog.series.parts import HALF, ONE, SeriesPart, merged, product, through
from tensorprog.series.term_recipe import FINITE_WIDTH, Node, TermRecipe, Writer, refusal

NEXT_TERMS = "this needs the next terms of a function of a matrix in powers of n, of which only the largest are followed"

Argument = Var | MatrixTerm


class MatrixFunctions:
    """Recipes of functions of matrices. `parts` gives the parts of a node, of a matrix as an operator; `number` the value of an
    exponent, if it is known."""

    def __init__(self, parts: Callable[[Node], tuple[SeriesPart, ...]], number: Callable[[Var], Fraction | None]):
        self.parts, self.number = parts, number

    def of(self, term: FunctionTerm) -> list[TermRecipe]:
        """The recipes of a function; what they emit is a matrix of its own.

        Raises:
            PowerError: entries that are not of the orders that it wants.
        """
        if term.fn == PRODUCT:
            return list(self._products(term))
        largest = [self._largest(a) for a in term.args]
        part = self._entrywise(term, largest) if term.entrywise else self._polar(largest)
        if part is None:
            return []
        needs = tuple((_node(a), p) for a, parts in zip(term.args, largest) for p in parts)
        found = [TermRecipe(part, needs, lambda w: self._emit(w, term, largest))]
        return found + [refusal(lower, NEXT_TERMS) for lower in self._next(term, largest, part)]

    def inner(self, op: MatDot, type: TensorType) -> Iterator[TermRecipe]:
        """The recipes of the inner product of two matrices, an average over pairs of coordinates."""
        left, right = op.left, op.right
        for a in self.parts(left.cell):
            for b in self.parts(right.cell):
                part = product((a, b))
                # As any average over pairs of coordinates it fluctuates, by n**(-1/2) of its size.
                below = SeriesPart(part.power - HALF)
                if part.vanishes_on_average:
                    # Its expectation is zero: nothing but the fluctuation is left.
                    yield refusal(below, FINITE_WIDTH)
                    continue
                yield TermRecipe(SeriesPart(part.power), ((left.cell, a), (right.cell, b)), partial(_inner, op, a, b, type))
                yield refusal(below, FINITE_WIDTH)

    # --- the largest term ---

    def _largest(self, arg: Argument) -> tuple[SeriesPart, ...]:
        parts = self.parts(_node(arg))
        return tuple(p for p in parts if p.power == parts[0].power)

    def _of_entries(self, arg: Argument, largest: tuple[SeriesPart, ...]) -> SeriesPart:
        """The sum of the largest parts of an argument, of a matrix of its entries; there must be some."""
        # As an operator a matrix is n times as large as its entries.
        return merged(largest) if isinstance(arg, Var) else merged(largest).scaled(Fraction(-1))

    def _polar(self, largest: list[tuple[SeriesPart, ...]]) -> SeriesPart | None:
        """Of the polar factor and its differentials. That is odd and of order one whatever the matrix is, so that each derivative
        has the inverse power of the matrix, and changes the parity."""
        if not all(largest):
            return None
        matrix, *directions = map(merged, largest)
        flat = SeriesPart(-matrix.power, matrix.odd, matrix.unsure)
        return product((matrix, SeriesPart(-matrix.power), *(part for b in directions for part in (flat, b))))

    def _entrywise(self, term: FunctionTerm, largest: list[tuple[SeriesPart, ...]]) -> SeriesPart | None:
        """The part of the function as an operator; None if it is zero.

        Raises:
            PowerError: entries of other orders than the function wants.
        """
        own = [self._of_entries(a, parts) if parts else None for a, parts in zip(term.args, largest)]
        mistake = mistake_of_entries(term, [None if p is None else p.power for p in own])
        if mistake is not None:
            raise PowerError("TP515", *mistake)
        part = self._value(term, own)
        return None if part is None else part.scaled(Fraction(1))

    def _value(self, term: FunctionTerm, own: list[SeriesPart | None]) -> SeriesPart | None:
        known = [p for p in own if p is not None]
        match term.fn:
            case "add" | "sub" | "max" | "min":
                whole = merged(known) if known else None
                # The larger of two is no linear function: which one it is differs from entry to entry.
                return whole if whole is None or term.fn in ("add", "sub") else through(whole, "none")
            case "mul":
                return product(known) if len(known) == len(own) else None
            case "div":
                top, bottom = own
                bottom = bottom or ONE
                return None if top is None else product((top, SeriesPart(-bottom.power, bottom.odd, bottom.unsure)))
            case "pow":
                return self._power(term, own[0])
        around = own[0]
        degree = Fraction(1, 2) if term.fn == "sqrt" else homogeneous_degree(term.fn)
        even_or_odd = parity(term.fn, term.order)
        # Of a zero matrix: f(0), which is zero for an odd function, and of x**d with d above the order.
        if around is None:
            return None if even_or_odd == "odd" or degree is not None and degree > term.order else ONE
        power = Fraction(0) if degree is None else (degree - term.order) * around.power
        return through(SeriesPart(Fraction(0), around.odd, around.unsure), even_or_odd).scaled(power)

    def _power(self, term: FunctionTerm, base: SeriesPart | None) -> SeriesPart | None:
        exponent = term.args[1]
        number = self.number(exponent) if isinstance(exponent, Var) else None
        if base is None:
            # 0**0 is 1.
            return None if number is None or number > 0 else ONE
        if base.power and number is None:
            raise PowerError("TP503", "a power of n whose exponent is computed by the program",
                             "write the exponent as a number or a parameter, as in `n**(1/2)`")
        kind = "none" if number is None or number.denominator != 1 else "even" if number % 2 == 0 else "odd"
        return through(SeriesPart(Fraction(0), base.odd, base.unsure), kind).scaled((number or 0) * base.power)

    def _next(self, term: FunctionTerm, largest: list[tuple[SeriesPart, ...]], part: SeriesPart) -> Iterator[SeriesPart]:
        """What the smaller terms of the arguments would add."""
        bits = part.odd | part.unsure
        for a, top in zip(term.args, largest):
            for p in self.parts(_node(a)):
                if p not in top:
                    unsure = bits | p.odd | p.unsure | merged(top).odd | merged(top).unsure if top else bits
                    yield SeriesPart(part.power + p.power - (top[0].power if top else 0), 0, unsure)

    # --- emission ---

    def _products(self, term: FunctionTerm) -> Iterator[TermRecipe]:
        left, right = term.matrices
        for a in self.parts(left.cell):
            for b in self.parts(right.cell):
                yield TermRecipe(product((a, b)), ((left.cell, a), (right.cell, b)), partial(_product, left, right, a, b))

    def _emit(self, w: Writer, term: FunctionTerm, largest: list[tuple[SeriesPart, ...]]) -> MatrixTerm:
        args = tuple(w.total(a, parts) if isinstance(a, Var) else _whole(w, a, parts) for a, parts in zip(term.args, largest))
        return _own(w, FunctionTerm(term.fn, args, term.order), MatrixType(*term.matrices[0].shape))


def _node(arg: Argument) -> Node:
    return arg if isinstance(arg, Var) else arg.cell


def _as_part(w: Writer, matrix: MatrixTerm, part: SeriesPart) -> MatrixTerm:
    return MatrixTerm(None, w.cell(matrix.cell, part), matrix.items, matrix.transposed)


def _whole(w: Writer, matrix: MatrixTerm, parts: tuple[SeriesPart, ...]) -> MatrixTerm:
    """The sum of parts of a matrix."""
    if len(parts) == 1:
        return _as_part(w, matrix, parts[0])
    return _own_sum(w, tuple(_as_part(w, matrix, p) for p in parts), MatrixType(*matrix.shape))


def _inner(op: MatDot, a: SeriesPart, b: SeriesPart, type: TensorType, w: Writer) -> Var:
    return w.builder.let(MatDot(_as_part(w, op.left, a), _as_part(w, op.right, b)), type)


def _product(left: MatrixTerm, right: MatrixTerm, a: SeriesPart, b: SeriesPart, w: Writer) -> MatrixTerm:
    term = FunctionTerm(PRODUCT, (_as_part(w, left, a), _as_part(w, right, b)))
    return _own(w, term, MatrixType(left.shape[0], right.shape[1]))


def _own(w: Writer, term: FunctionTerm, type: MatrixType) -> MatrixTerm:
    """A function as a matrix of its own."""
    return _stored(w, MatStore(_cell(w, type), (), (term,)))


def _own_sum(w: Writer, terms: tuple[MatrixTerm, ...], type: MatrixType) -> MatrixTerm:
    return _stored(w, MatStore(_cell(w, type), (), terms))


def _cell(w: Writer, type: MatrixType) -> Cell:
    return w.builder.cell("entries", type)


def _stored(w: Writer, statement: MatStore) -> MatrixTerm:
    w.builder.append(statement)
    return MatrixTerm(None, statement.cell, (), False)
