"""The system of equations that a limit program amounts to: scalars, means and covariances as functions of integers.

Every number that an output needs is a function of loop indices, defined by cases over others: the covariance of two
Gaussians by bilinearity and by `Cov(Zhat^{Wx}, Zhat^{Wy}) = s E[Z^x Z^y]`, a mean as a closed form or a quadrature
in the covariances of the few Gaussians under it (`tensorprog.expectations`). Only what is needed is derived.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported, denied, known, simplify_guards, split_cases
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.nodes import (
    Call,
    Entry,
    Hat,
    Init,
    IsZero,
    Mean,
    Node,
    Product,
    Total,
    flat,
    fresh_index,
    total,
)
from tensorprog.covariance.unwind import Unwound
from tensorprog.covariance.writes import Site
from tensorprog.ir.program import Cell


class Expectation(Node):
    """A planned expectation: the recipe's number, then the values of its arguments."""


@dataclass(frozen=True)
class Needed:
    """What one output needs."""

    equations: frozenset[int]
    recipes: tuple


@dataclass(frozen=True)
class Equation:
    """A function of integers: the first case whose guards are all 1."""

    number: int
    name: str
    params: tuple[Symbol, ...]
    cases: tuple[tuple[tuple[Expr, ...], Expr], ...]


class System:
    """The equations behind the given outputs.

    Attributes:
        equations: number -> equation, in the order in which they were needed.
        outputs: output cell -> number of its equation.
        recipes: planned expectations.
        integrands: of each recipe, the integrand in z0, z1, ..., and the covariances {(z_i, z_j): symbol or number}.
        cancelling: whether responses cancel what recursions carry over (see `gaussian`).

    Raises:
        Unsupported: with the reason why the outputs are not functions of few Gaussians.
    """

    def __init__(self, unwound: Unwound, laws: Laws, outputs: list[Cell], cancelling: bool):
        self.unwound, self.laws, self.cancelling = unwound, laws, cancelling
        self.responses = Responses(unwound, cancelling)
        self.equations: dict[int, Equation] = {}
        self.recipes: list = []
        self.integrands: list[tuple[Expr, dict]] = []
        self._recipe_ids: dict = {}
        self._covariances: dict[tuple, int] = {}
        self._mean_functions: dict[int, int] = {}
        self._moments: dict[tuple, int] = {}
        self._linear_forms: dict[Expr, int] = {}
        self._resolved: dict[int, list] = {}
        self._resolving: set[int] = set()
        self._steps = 0
        self.outputs = {cell: self._output(cell) for cell in outputs}
        self._close()
        if not all(self._is_gaussian(number) for number in self.responses.assumed):
            raise Unsupported("a recursion of nonlinear functions responds to a transposed product")

    @property
    def symmetric(self) -> frozenset[int]:
        """The covariances of two elements of one family, which the two halves of the arguments may change places in."""
        return frozenset(number for (_, one, two), number in self._covariances.items() if one == two)

    # --- the closure ---

    def _output(self, cell: Cell) -> int:
        shape = cell.rank + len(cell.type.shape)
        params = tuple(fresh_index() for _ in range(shape))
        expr = self.unwound.output(cell)(params)
        return self.unwound.function(f"output {cell.display or cell.name}", params, False, lambda: [((), expr)])

    def _close(self) -> None:
        pending = list(self.outputs.values())
        while pending:
            number = pending.pop(0)
            if number in self.equations:
                continue
            if len(self.equations) > 80:
                raise Unsupported("the system of equations is too large")
            function = self.unwound.functions[number]
            cases = tuple((guards, self.number(expr)) for guards, expr in self.unwound.cases(number))
            if any(expr.has(sympy.nan, sympy.oo, sympy.zoo, -sympy.oo) for _, expr in cases):
                raise Unsupported(f"`{function.name}` begins with an infinite value")
            self.equations[number] = Equation(number, function.name, function.params, cases)
            for guards, expr in cases:
                for e in (*guards, expr):
                    pending += sorted({int(c.args[0]) for c in e.atoms(Call)} - set(self.equations))

    def needed(self, cell: Cell) -> Needed:
        """The equations and expectations behind an output."""
        reached: set[int] = set()
        recipes: set[int] = set()
        pending = [self.outputs[cell]]
        while pending:
            number = pending.pop()
            if number in reached:
                continue
            reached.add(number)
            for guards, expr in self.equations[number].cases:
                for e in (*guards, expr):
                    recipes |= {int(x.args[0]) for x in e.atoms(Expectation)}
                    pending += [int(c.args[0]) for c in e.atoms(Call)]
        return Needed(frozenset(reached), tuple(self.recipes[k] for k in sorted(recipes)))

    def number(self, expr: Expr) -> Expr:
        """A scalar expression with every mean as a function."""
        if expr.has(Hat, Product, Init):
            raise Unsupported("a random value stands where a number is needed")
        means = expr.atoms(Mean)
        return expr.xreplace({m: Call(Integer(self._mean(int(m.args[0]))), *m.args[1:]) for m in means})

    def _mean(self, number: int) -> int:
        if number not in self._mean_functions:
            params, integrand = self.unwound.means[number]
            facts = tuple(sorted(self.unwound.mean_facts[number], key=str))
            self._mean_functions[number] = self.unwound.function(
                f"E[{number}]", params, False, lambda: self._mean_cases(integrand, facts))
        return self._mean_functions[number]

    def _mean_cases(self, integrand: Expr, facts: tuple[Expr, ...]) -> list:
        cases = self.resolved(integrand, facts)
        return [(guards, self._expectation(expr)) for guards, expr in cases]

    # --- Z of an expression ---

    def resolved(self, expr: Expr, facts: tuple[Expr, ...], unfolded: frozenset[int] = frozenset()) -> list:
        """An expression in Hat, Init and Gaussian functions, by cases. `unfolded` are the functions that were replaced
        by their cases on the way."""
        self._steps += 1
        if self._steps > 400:
            raise Unsupported("it has too many cases")
        expr = flat(self.responses._inlined(expr))
        if expr.has(Product):
            return self._each_case(self._without_products(expr, facts), facts, unfolded)
        opaque = [c for c in sorted(_calls(expr, self.unwound), key=str) if not self._is_gaussian(int(c.args[0]))]
        if opaque:
            numbers = {int(c.args[0]) for c in opaque}
            if numbers & unfolded:
                name = self.unwound.functions[min(numbers & unfolded)].name
                raise Unsupported(f"`{name}` goes round a loop through nonlinear functions")
            return self._each_case(expr.xreplace({c: self._unfolded(c) for c in opaque}), facts, unfolded | numbers)
        return [((), expr)]

    def _each_case(self, expr: Expr, facts: tuple[Expr, ...], unfolded: frozenset[int]) -> list:
        out = []
        for guards, case in split_cases(expr, facts):
            more = tuple(itertools.chain.from_iterable(known(g) for g in guards))
            for inner_guards, inner in self.resolved(case, (*facts, *more), unfolded):
                out.append(((*guards, *inner_guards), inner))
        return out

    def _unfolded(self, call: Expr) -> Expr:
        """A function that is not Gaussian as the sum of its cases, each times its guards."""
        number = int(call.args[0])
        function = self.unwound.functions[number]
        cases = self.unwound.unfolding(number)
        template = self._template(number)
        if template is not None:
            return template.subs(dict(zip(function.params, call.args[1:])), simultaneous=True)
        mapping = dict(zip(function.params, call.args[1:]))
        result, remaining = Integer(0), Integer(1)
        for guards, expr in cases:
            guard = sympy.Mul(*guards).subs(mapping, simultaneous=True)
            result += remaining * guard * expr.subs(mapping, simultaneous=True)
            remaining *= 1 - guard
        return flat(result)

    def _template(self, number: int) -> Expr | None:
        """What the cases of a recursion of nonlinear functions have in common, as in relu(h_0), relu(W h_{t-1}): the
        function of one Gaussian recursion."""
        key = ("template", number)
        if key not in self._moments:
            self._moments[key] = self._make_template(number)
        return self._moments[key]

    def _make_template(self, number: int) -> Expr | None:
        function = self.unwound.functions[number]
        cases = [(g, self.responses._inlined(e)) for g, e in self.unwound.unfolding(number)]
        slots: dict[tuple, int] = {}
        skeleton = _common([e for _, e in cases], slots, self.unwound, function, [g for g, _ in cases])
        if skeleton is None or isinstance(skeleton, Call):
            return None
        return skeleton

    def _without_products(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        if not self.cancelling:
            return self.responses.expanded(expr)
        return self._sums_replaced(expr, facts)

    def _sums_replaced(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        """Every sum with matrix products as the hypothesis of cancellation has it, after checking it."""
        if self._takes_products(expr):
            return self._checked(expr, facts)
        if not expr.has(Product):
            return expr
        return expr.func(*(self._sums_replaced(a, facts) if isinstance(a, Expr) else a for a in expr.args))

    def _takes_products(self, expr: Expr) -> bool:
        """Whether an expression is a matrix product, or a sum with numbers times matrix products."""
        return any(self.responses.takes_product(t) for t in sympy.Add.make_args(flat(expr)))

    def _checked(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        guess = self.responses.hypothesis(flat(expr))
        full = flat(self.responses.expanded(flat(expr)))
        difference = flat(simplify_guards(flat(full - guess), facts))
        result, remaining = Integer(0), Integer(1)
        for guards, part in self._differences(difference, facts, 0):
            if any(self.unwound.is_random_or_hat(f) and not _initial_only(f, self.unwound)
                   for t in sympy.Add.make_args(part) for f in sympy.Mul.make_args(t)):
                raise Unsupported("responses do not cancel")
            guard = sympy.Mul(*guards)
            result += remaining * guard * part
            remaining *= 1 - guard
        return guess + result

    def _differences(self, difference: Expr, facts: tuple[Expr, ...], depth: int) -> list:
        """What a sum is more than the hypothesis says, by cases, nothing of it carried over from other iterations."""
        out = []
        for guards, part in split_cases(self.responses._inlined(difference), facts):
            more = (*facts, *itertools.chain.from_iterable(known(g) for g in guards))
            out += [((*guards, *inner), rest) for inner, rest in self._unfolded_difference(part, more, depth)]
        return out

    def _unfolded_difference(self, difference: Expr, facts: tuple[Expr, ...], depth: int) -> list:
        if not _needs_unfolding(difference, self.unwound):
            return [((), difference)]
        calls = [c for c in sorted(_calls(difference, self.unwound), key=str) if _linear_in(difference, c)]
        if depth > 3 or not calls:
            raise Unsupported("responses do not cancel")
        return self._differences(difference.xreplace({c: self._unfolded_plain(c) for c in calls}), facts, depth + 1)

    def _unfolded_plain(self, call: Expr) -> Expr:
        number = int(call.args[0])
        function = self.unwound.functions[number]
        mapping = dict(zip(function.params, call.args[1:]))
        result, remaining = Integer(0), Integer(1)
        for guards, expr in self.unwound.unfolding(number):
            guard = sympy.Mul(*guards).subs(mapping, simultaneous=True)
            result += remaining * guard * self.responses._inlined(expr).subs(mapping, simultaneous=True)
            remaining *= 1 - guard
        return flat(result)

    # --- Gaussian functions ---

    def _is_gaussian(self, number: int) -> bool:
        """Whether a random function of several cases is linear in Gaussians in every case."""
        if number in self._linear_forms.values():
            return True
        if number in self._resolved:
            return self._resolved[number] is not None
        if number in self._resolving:
            return True
        self._resolving.add(number)
        try:
            cases = self._gaussian_cases(number)
        finally:
            self._resolving.discard(number)
        self._resolved[number] = cases
        return cases is not None

    def _gaussian_cases(self, number: int) -> list | None:
        out = []
        facts = self.unwound.functions[number].facts
        excluded: tuple[Expr, ...] = ()
        for guards, expr in self.unwound.unfolding(number):
            here = (*facts, *excluded, *itertools.chain.from_iterable(known(g) for g in guards))
            if len(guards) == 1:
                excluded = (*excluded, *denied(guards[0], (*facts, *excluded)))
            if not self._may_be_linear(expr):
                return None
            for more, case in self.resolved(expr, here):
                case = flat(case)
                if not self._is_linear(case):
                    return None
                out.append(((*guards, *more), case))
        return out

    def _may_be_linear(self, expr: Expr) -> bool:
        """A quick look: no nonlinear function of something random."""
        expr = flat(self.responses._inlined(expr))
        for term in sympy.Add.make_args(expr):
            random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
            if self.cancelling:
                random = [f for f in random if isinstance(f, Hat | Product | Init | Call | Total)] or random[:1]
            if len(random) > 1 or random and not isinstance(random[0], Hat | Product | Init | Call | Total) \
                    and not self._takes_products(expr):
                return False
        return True

    def _is_linear(self, expr: Expr) -> bool:
        return all(self._linear_term(t) for t in sympy.Add.make_args(expr))

    def _linear_term(self, term: Expr) -> bool:
        random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
        if not random:
            return True
        if len(random) > 1:
            return all(isinstance(f, Init) and self.laws.discrete(f) for f in random)
        (f,) = random
        if isinstance(f, Total):
            return self._is_linear(flat(f.args[0]))
        return isinstance(f, Hat | Init) or isinstance(f, Call) and self._is_gaussian(int(f.args[0]))

    def gaussian_cases(self, number: int) -> list:
        """The cases of a Gaussian function, linear in Hat, Init and Gaussian functions."""
        self._is_gaussian(number)
        return self._resolved[number]

    # --- expectations ---

    def _expectation(self, expr: Expr) -> Expr:
        """E of an expression in Hat, Init and Gaussian functions."""
        expr = flat(expr)
        if isinstance(expr, sympy.Add):
            return sympy.Add(*(self._expectation(t) for t in expr.args))
        outside, inside = [], []
        for factor in sympy.Mul.make_args(expr):
            (inside if self.unwound.is_random_or_hat(factor) else outside).append(factor)
        if not inside:
            return expr
        sums = [f for f in inside if isinstance(f, Total)]
        if sums:
            from tensorprog.covariance.nodes import renamed

            body, var, start, stop = renamed(sums[0]).args
            rest = sympy.Mul(*(f for f in inside if f is not sums[0]))
            return sympy.Mul(*outside) * total(self._expectation(body * rest), var, start, stop)
        return sympy.Mul(*outside) * self._product_mean(sympy.Mul(*inside))

    def _product_mean(self, expr: Expr) -> Expr:
        expr = self._centred(expr)
        discrete = sorted((a for a in expr.atoms(Init) if self.laws.discrete(a)), key=str)
        if discrete:
            return self._enumerated(expr, discrete)
        if isinstance(flat(expr), sympy.Add):
            return self._expectation(expr)
        return self._gaussian_mean(expr)

    def _enumerated(self, expr: Expr, discrete: list[Expr]) -> Expr:
        """The mean over declared vectors of finitely many values."""
        for a, b in itertools.combinations(discrete, 2):
            if a.args[0] == b.args[0]:
                raise Unsupported("two elements of one family of discrete vectors are mixed")
        result = Integer(0)
        for values in itertools.product(*(self.laws.values(a) for a in discrete)):
            mapping = {a: value for a, (value, _) in zip(discrete, values)}
            weight = sympy.Mul(*(w for _, w in values))
            result += weight * self._expectation(expr.xreplace(mapping))
        return result

    def _centred(self, expr: Expr) -> Expr:
        """Declared vectors as their mean plus a centred one, Gaussian functions
        with discrete or constant parts split into those and the centred part."""
        mapping = {a: self.laws.centred(a) for a in expr.atoms(Init)}
        for call in _calls(expr, self.unwound):
            number = int(call.args[0])
            if number not in self._linear_forms.values():
                mapping[call] = self._split(call)
        return expr.xreplace({k: v for k, v in mapping.items() if v != k})

    def _split(self, call: Expr) -> Expr:
        number = int(call.args[0])
        targets = self._targets(number)
        parts = [Call(Integer(self._part(number, t)), *call.args[1:]) * (Integer(1) if t == 1 else t) for t in targets]
        return sympy.Add(call, *parts) if not parts else sympy.Add(self._centre(call), *parts)

    def _centre(self, call: Expr) -> Expr:
        number = int(call.args[0])
        key = ("centre", number)
        if key not in self._moments:
            function = self.unwound.functions[number]
            made = self.unwound.function(f"{function.name} centred", function.params, True,
                                         lambda: self.unwound.unfolding(number))
            self._moments[key] = made
            self._resolved[made] = [
                (g, sympy.Add(*(t for t in sympy.Add.make_args(e) if self._target(t) is None)))
                for g, e in self.gaussian_cases(number)]
            self._linear_forms[("centre", number)] = made
        return Call(Integer(self._moments[key]), *call.args[1:])

    def _targets(self, number: int, seen: frozenset = frozenset()) -> list[Expr]:
        """Products of discrete declared vectors, and 1, that a Gaussian function has a part of."""
        found: list[Expr] = []
        for _, expr in self.gaussian_cases(number):
            for term in sympy.Add.make_args(expr):
                target = self._target(term)
                if target is not None and target not in found:
                    found.append(target)
                for call in _calls(term, self.unwound):
                    inner = int(call.args[0])
                    if inner != number and inner not in seen:
                        found += [t for t in self._targets(inner, seen | {number}) if t not in found]
        return found

    def _target(self, term: Expr) -> Expr | None:
        """The discrete or constant part that a term of a Gaussian function is a multiple of."""
        if term == 0:
            return None
        random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
        if not random:
            return Integer(1)
        if all(isinstance(f, Init) and self.laws.discrete(f) for f in random):
            if any(len(f.args) > 1 for f in random):
                raise Unsupported("a recursion holds a family of discrete vectors")
            return sympy.Mul(*random)
        if any(isinstance(f, Init) and self.laws.centred(f) != f for f in random):
            raise Unsupported("a recursion holds a declared vector that is neither centred nor discrete")
        return None

    def _part(self, number: int, target: Expr) -> int:
        key = ("part", number, target)
        if key not in self._moments:
            function = self.unwound.functions[number]
            self._moments[key] = self.unwound.function(
                f"part of {function.name} along {target}", function.params, False,
                lambda: self._part_cases(number, target))
        return self._moments[key]

    def _part_cases(self, number: int, target: Expr) -> list:
        out = []
        for guards, expr in self.gaussian_cases(number):
            found = Integer(0)
            for term in sympy.Add.make_args(expr):
                own = self._target(term)
                if own is not None and own == target:
                    found += term / target
                found += self._part_of_calls(term, target)
            out.append((guards, found))
        return out

    def _part_of_calls(self, term: Expr, target: Expr) -> Expr:
        if isinstance(term, Total):
            body, var, start, stop = term.args
            return total(self._part_of_calls(body, target), var, start, stop)
        for factor in sympy.Mul.make_args(term):
            if isinstance(factor, Call) and self.unwound.is_random(factor):
                if target in self._targets(int(factor.args[0])):
                    return term / factor * Call(Integer(self._part(int(factor.args[0]), target)), *factor.args[1:])
            if isinstance(factor, Total) and term != factor:
                return term / factor * self._part_of_calls(factor, target)
        return Integer(0)

    def _gaussian_mean(self, expr: Expr) -> Expr:
        from tensorprog.covariance.integrand import planned

        return planned(self, expr)

    # --- covariances ---

    def covariance(self, a: Expr, b: Expr) -> Expr:
        """Cov of two centred Gaussians: Hat, Init or Gaussian functions."""
        if isinstance(a, Call) or isinstance(b, Call):
            return self._covariance_call(a, b)
        if isinstance(a, Init) and isinstance(b, Init):
            return self.laws.variance(a) * _same_indices(a, b) if a.args[0] == b.args[0] else Integer(0)
        if isinstance(a, Hat) and isinstance(b, Hat):
            return self._hats(a, b)
        return Integer(0)

    def _hats(self, a: Expr, b: Expr) -> Expr:
        if int(a.args[0]) > int(b.args[0]):
            a, b = b, a
        one, two = (self.unwound.sites[int(h.args[0])] for h in (a, b))
        if one.matrix is not two.matrix or one.transposed != two.transposed:
            return Integer(0)
        to_a, to_b = dict(zip(one.params, a.args[1:])), dict(zip(two.params, b.args[1:]))
        same = Integer(1)
        for x, y in zip(one.items, two.items):
            same *= IsZero(flat(x.subs(to_a, simultaneous=True) - y.subs(to_b, simultaneous=True)))
        if same == 0:
            return Integer(0)
        both = self._inputs_mean(one, two)
        return self.unwound.variance(one.matrix, one.transposed) * same * Call(Integer(both), *a.args[1:], *b.args[1:])

    def _inputs_mean(self, one: Site, two: Site) -> int:
        """E[Z^x Z^y] of what two sites apply their matrix to, as a function of the places of both."""
        if one.number > two.number:
            one, two = two, one
        key = ("inputs", one.number, two.number)
        if key not in self._moments:
            left, right = (tuple(fresh_index() for _ in site.params) for site in (one, two))
            product = (one.argument.subs(dict(zip(one.params, left)), simultaneous=True)
                       * two.argument.subs(dict(zip(two.params, right)), simultaneous=True))
            facts = (*one.facts(left), *two.facts(right))
            self._moments[key] = self.unwound.function(
                f"E[x_{one.number} x_{two.number}]", (*left, *right), False,
                lambda: [((), self.unwound.mean(product, facts))])
        return self._moments[key]

    def _covariance_call(self, a: Expr, b: Expr) -> Expr:
        kinds = [(type(x).__name__, int(x.args[0])) for x in (a, b)]
        if kinds[0] > kinds[1]:
            a, b, kinds = b, a, kinds[::-1]
        key = ("covariance", *kinds)
        if key not in self._covariances:
            left = tuple(fresh_index() for _ in a.args[1:])
            right = tuple(fresh_index() for _ in b.args[1:])
            left_atom, right_atom = a.func(a.args[0], *left), b.func(b.args[0], *right)
            name = f"Cov({self._name(a)}, {self._name(b)})"
            self._covariances[key] = self.unwound.function(
                name, (*left, *right), False, lambda: self._covariance_cases(left_atom, right_atom))
        return Call(Integer(self._covariances[key]), *a.args[1:], *b.args[1:])

    def _name(self, atom: Expr) -> str:
        if isinstance(atom, Call):
            return self.unwound.functions[int(atom.args[0])].name
        if isinstance(atom, Hat):
            site = self.unwound.sites[int(atom.args[0])]
            return f"Zhat_{atom.args[0]}^{site.matrix.display}{'.T' if site.transposed else ''}"
        return self.unwound.cells[int(atom.args[0])].display

    def _covariance_cases(self, a: Expr, b: Expr) -> list:
        if not isinstance(a, Call):
            return [(guards, expr) for guards, expr in self._covariance_cases(b, a)]
        number = int(a.args[0])
        mapping = dict(zip(self.unwound.functions[number].params, a.args[1:]))
        out = []
        for guards, expr in self.gaussian_cases(number):
            linear = expr.subs(mapping, simultaneous=True)
            guards = tuple(g.subs(mapping, simultaneous=True) for g in guards)
            out.append((guards, self._bilinear(linear, b)))
        return out

    def _bilinear(self, expr: Expr, b: Expr) -> Expr:
        result = Integer(0)
        for term in sympy.Add.make_args(flat(expr)):
            random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
            if not random or self._target(term) is not None:
                continue
            (atom,) = random
            if isinstance(atom, Total):
                body, var, start, stop = atom.args
                result += term / atom * total(self._bilinear(body, b), var, start, stop)
            else:
                result += term / atom * self.covariance(atom, b)
        return result

    def linear_form(self, expr: Expr) -> Expr:
        """A linear expression in Gaussians as one Gaussian function."""
        if isinstance(expr, Hat | Init) or isinstance(expr, Call) and expr.args:
            return expr
        free = self.unwound.free_indices(expr)
        canonical = {s: Symbol(f"_p{k}", integer=True) for k, s in enumerate(free)}
        key = expr.subs(canonical, simultaneous=True)
        if key not in self._linear_forms:
            number = self.unwound.function(f"G{len(self._linear_forms)}", tuple(canonical.values()), True,
                                           lambda: [((), key), ((), key)])
            self._linear_forms[key] = number
            self._resolved[number] = [((), flat(key))]
        return Call(Integer(self._linear_forms[key]), *free)


# --- helpers -------------------------------------------------------------------------------------------------


def _calls(expr: Expr, unwound: Unwound) -> set[Expr]:
    """Random functions that occur in an expression, outside of scalars."""
    if isinstance(expr, Call):
        return {expr} if unwound.is_random(expr) else set()
    if isinstance(expr, Mean | Entry | Hat | Product | Init):
        return set()
    return set().union(*(_calls(a, unwound) for a in expr.args)) if expr.args else set()


def _same_indices(a: Expr, b: Expr) -> Expr:
    return sympy.Mul(*(IsZero(flat(x - y)) for x, y in zip(a.args[1:], b.args[1:])))


def _needs_unfolding(expr: Expr, unwound: Unwound) -> bool:
    return expr.has(Hat, Product) or bool(_calls(expr, unwound))


def _linear_in(expr: Expr, call: Expr) -> bool:
    return any(call in sympy.Mul.make_args(t) for t in sympy.Add.make_args(expr))


def _initial_only(expr: Expr, unwound: Unwound) -> bool:
    return not expr.has(Hat, Product) and not _calls(expr, unwound)


def _common(exprs: list[Expr], slots: dict, unwound: Unwound, function, guards: list) -> Expr | None:
    """The part that expressions have in common; a subexpression in which they differ becomes a function by cases."""
    first = exprs[0]
    if all(e == first for e in exprs):
        return first
    if first.args and not isinstance(first, sympy.Add | Call | Hat | Product | Init | Mean | Total | Entry) and all(
            e.func == first.func and len(e.args) == len(first.args) for e in exprs):
        parts = [_common(list(column), slots, unwound, function, guards) for column in zip(*(e.args for e in exprs))]
        return None if any(p is None for p in parts) else first.func(*parts)
    if not any(unwound.is_random_or_hat(e) for e in exprs):
        return None
    key = tuple(exprs)
    if key not in slots:
        slots[key] = unwound.function(f"argument of {function.name}", function.params, True,
                                      lambda: list(zip(guards, exprs)))
    return Call(Integer(slots[key]), *function.params)
