"""Functions, means and integers of symbolic execution (see `unwind`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.budget import TooMuch
from tensorprog.covariance.families import single_assignment
from tensorprog.covariance.guards import Unsupported, decide, under
from tensorprog.covariance.integers import Factors, size_symbol
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.nodes import (
    Call,
    Entry,
    Hat,
    Init,
    Mean,
    Product,
    Total,
    by_linearity,
    flat,
    fresh_index,
    ordered,
)
from tensorprog.covariance.writes import AxisExpression, Binding, Frame, FunctionDef, Site
from tensorprog.ir.integers import BoolExpr, IntExpr
from tensorprog.ir.laws import centre
from tensorprog.ir.program import Cell, Program, Range, Var, cells_written


class Unwound:
    """A limit program as expressions, and what its symbolic execution (`unwind`) knows while it runs: loops and guards.

    Attributes:
        functions, sites, means: by number; of a mean its parameters and what it is the mean of.
        cells, inputs: what Init and Entry number.
        sums: the functions that stand for sums kept whole.
        read: what a cell holds, at its indices, where the execution stands: after it, at the end of the program.
    """

    read: Callable[[Cell, tuple[Expr, ...]], Expr]

    def __init__(self, program: Program, laws: Laws, keep_sums: bool = False):
        self.program, self.laws, self.keep_sums = program, laws, keep_sums
        self.sums: dict[Expr, int] = {}
        self.functions: list[FunctionDef] = []
        self.sites: list[Site] = []
        self.means: list[tuple[tuple[Symbol, ...], Expr]] = []
        self.mean_facts: list[frozenset[Expr]] = []
        self._mean_ids: dict[Expr, int] = {}
        self.cells: list[Cell] = [i.cell for i in program.initials]
        # The position of a mask in this list is its number in `laws.masks`.
        self.cells += [replace(self.cells[number], name=f"{self.cells[number].name} mask") for number in laws.masks]
        self.inputs: list[str] = [i.name for i in program.inputs]
        self.notation = Factors(self.inputs)
        self.initial = {i.cell: number for number, i in enumerate(program.initials)}
        self.values: dict[Var, AxisExpression] = {}
        self.ranges: dict[Symbol, Binding] = {}
        self.guards: list[Expr] = []
        self.order = 0
        self.updated = cells_written(program.body)
        self.single = single_assignment(program)
        self.family: dict[Cell, int] = {}
        self.frames = [Frame(None, set())]

    def output(self, cell: Cell) -> Callable[[tuple[Expr, ...]], Expr]:
        """An output's value as a function of its indices."""
        return lambda items: self.read(cell, items)

    def cases(self, number: int) -> list[tuple[tuple[Expr, ...], Expr]]:
        """The definition of a function, resolved when it is first asked for."""
        function = self.functions[number]
        if function.resolve is not None:
            resolve, function.resolve = function.resolve, None
            try:
                function.cases = [(guards, under(expr, guards)) for guards, expr in resolve()]
            except Unsupported as reason:
                # What exceeded a budget may be asked for again with another one; other refusals are final.
                function.resolve = resolve if isinstance(reason, TooMuch) else partial(_refuse, str(reason))
                raise
        return function.cases

    def unfolding(self, number: int) -> list[tuple[tuple[Expr, ...], Expr]]:
        """The cases for an element that is known to exist: of a family, whose cases exclude each other, the one with
        the longest condition comes last and without it."""
        function = self.functions[number]
        cases = self.cases(number)
        if not function.family or not cases:
            return cases
        cases = sorted(cases, key=lambda case: len(case[0]))
        # For an element that exists, some case holds: if all others do not, it is the last.
        return [*cases[:-1], ((), cases[-1][1])]

    def is_random(self, expr: Expr) -> bool:
        """Whether an expression holds a random variable."""
        if isinstance(expr, Product | Init):
            return True
        if isinstance(expr, Call):
            return self.functions[int(expr.args[0])].random
        if isinstance(expr, Mean | Entry):
            return False
        return any(self.is_random(a) for a in expr.args)

    def mean(self, integrand: Expr, facts: tuple[Expr, ...] = ()) -> Expr:
        """E of an expression, term by term; factors that are not random and sums stand outside. Equal means share a
        number. `facts` are known to be >= 0, besides what the ranges of loop variables say."""
        return by_linearity(integrand, self.is_random_or_hat, lambda product: self._numbered_mean(product, facts))

    def _numbered_mean(self, integrand: Expr, given: tuple[Expr, ...]) -> Expr:
        free = self.free_indices(integrand)
        # Equal but for the names of indices: one mean.
        canonical = {s: Symbol(f"_p{k}", integer=True) for k, s in enumerate(free)}
        key = integrand.xreplace(canonical)
        number = self._mean_ids.get(key)
        facts = frozenset(f.xreplace(canonical) for f in (*self.facts(free), *given)
                          if f.free_symbols <= set(free) | self.constants)
        if number is None:
            number = self._mean_ids[key] = len(self.means)
            self.means.append((tuple(canonical.values()), key))
            self.mean_facts.append(facts)
        else:
            # A mean with several uses may rely on what holds at all of them.
            self.mean_facts[number] &= facts
        return Mean(Integer(number), *free)

    def facts(self, symbols: list[Symbol]) -> list[Expr]:
        """Linear expressions that are >= 0 by the ranges of loop variables, in these symbols alone."""
        found = []
        for s in symbols:
            if s in self.ranges:
                b = self.ranges[s]
                found += [f for f in (flat(s - b.start), flat(b.stop - 1 - s))
                          if f.free_symbols <= set(symbols) | self.constants]
        return found

    def is_random_or_hat(self, expr: Expr) -> bool:
        return self.is_random(expr) or expr.has(Hat)

    def random_calls(self, expr: Expr) -> list[Expr]:
        """The random functions that occur in an expression, outside of scalars."""
        return ordered(self._random_calls(expr))

    def _random_calls(self, expr: Expr) -> set[Expr]:
        if isinstance(expr, Call):
            return {expr} if self.is_random(expr) else set()
        if isinstance(expr, Mean | Entry | Hat | Product | Init):
            return set()
        return set().union(*map(self._random_calls, expr.args))

    def takes_product(self, term: Expr) -> bool:
        """Whether a term is a number times a matrix product."""
        random = [f for f in sympy.Mul.make_args(term) if self.is_random_or_hat(f)]
        return len(random) == 1 and isinstance(random[0], Product)

    def is_carried(self, term: Expr) -> bool:
        """Whether a term has a factor that is a function of what earlier iterations left."""
        return any(not isinstance(f, Product | Hat | Init) and any(self.is_random(c) for c in f.atoms(Call))
                   for f in sympy.Mul.make_args(term))

    def is_carried_sum(self, expr: Expr) -> bool:
        """Whether an expression is a sum of matrix products and of what is carried."""
        return isinstance(expr, sympy.Add) and any(map(self.takes_product, expr.args)) \
            and any(map(self.is_carried, expr.args))

    def free_indices(self, expr: Expr) -> list[Symbol]:
        """The index symbols that an expression depends on, in a fixed order."""
        found = [s for s in expr.free_symbols if s.is_integer and s not in self.constants and not is_bound(expr, s)]
        return sorted(found, key=lambda s: (s.name, str(s)))

    @property
    def constants(self) -> set[Symbol]:
        """Sizes and integer parameters."""
        if not hasattr(self, "_constant_set"):
            names = [s.name for s in self.program.sizes] + [p.name for p in self.program.params if p.kind == "int"]
            self._constant_set = {size_symbol(n) for n in names}
        return self._constant_set

    def is_symmetric(self, number: int) -> bool:
        """Whether the Init of a declared vector, which is centred, has a law that a change of sign leaves as it is."""
        if number >= len(self.program.initials):  # the mask of a sparse vector
            return False
        return centre(self.program.initials[number].law) is not None

    def answering(self, site: Site) -> list[int]:
        """The sites that apply the transpose of a site's matrix."""
        return [o.number for o in self.sites if o.matrix is site.matrix and o.transposed != site.transposed]

    def function(self, name: str, params: tuple[Symbol, ...], random: bool, resolve: Callable[[], list],
                 opaque: bool = False) -> int:
        """A new function; `resolve` gives its cases when they are needed."""
        self.functions.append(FunctionDef(name, params, random, resolve=resolve, opaque=opaque))
        return len(self.functions) - 1

    def decided(self, guard: Expr) -> Expr:
        return decide(guard, self.ranges)

    def items(self, items: tuple, missing: int) -> tuple[tuple[Expr, ...], list[Symbol]]:
        """Index expressions, and symbols for sliced and missing trailing axes."""
        exprs: list[Expr] = []
        axes: list[Symbol] = []
        for item in items:
            if isinstance(item, Range):
                axis = fresh_index()
                axes.append(axis)
                exprs.append(axis + (self.integer(item.start) if item.start is not None else 0))
            else:
                exprs.append(self.integer(item))
        while len(axes) < missing:
            axis = fresh_index()
            axes.append(axis)
            exprs.append(axis)
        return tuple(exprs), axes

    def sizes(self, var: Var) -> tuple[Expr, ...]:
        return tuple(self.integer(s) for s in var.type.shape)

    def integers(self, items: tuple) -> tuple[Expr, ...]:
        return tuple(self.integer(i) for i in items)

    def integer(self, expr: IntExpr) -> Expr:
        return self.notation.integer(expr)

    def condition(self, condition: BoolExpr) -> Expr:
        return self.decided(self.notation.condition(condition))


def _refuse(reason: str) -> NoReturn:
    raise Unsupported(reason)


def is_bound(expr: Expr, symbol: Symbol) -> bool:
    return isinstance(symbol, sympy.Dummy) and any(t.args[1] == symbol for t in expr.atoms(Total))
