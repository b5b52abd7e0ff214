"""The covariance of two Gaussians as functions of integers.

    By bilinearity over the cases of linear functions, down to
    Cov(Zhat^{W x}, Zhat^{W y}) = s E[Z^x Z^y]    (TP IV, Definition 7.3, ZHat)
"""

from __future__ import annotations

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.cases import Case, cases_at
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.nodes import Call, Hat, Init, Total, equal_indices, flat, fresh_index, total
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import Site

_Kind = tuple[str, int]


class Covariances:
    """Covariances of Hat, Init and linear functions, which share a function for all indices."""

    def __init__(self, unwound: Unwound, laws: Laws, linear: LinearFunctions, parts: Parts):
        self.unwound, self.laws, self.linear, self.parts = unwound, laws, linear, parts
        self.sources = linear.responses.sources
        self._functions: dict[tuple[_Kind, _Kind], int] = {}
        self._inputs: dict[tuple[int, int], int] = {}
        self._squares: dict[int, int] = {}
        self._variances: dict[_Kind, int] = {}

    @property
    def symmetric(self) -> frozenset[int]:
        """The covariances of two elements of one family, which the two halves of the arguments may change places in."""
        return frozenset(number for (one, two), number in self._functions.items() if one == two)

    def covariance(self, a: Expr, b: Expr) -> Expr:
        """Cov of two centred Gaussians."""
        if self.sources.independent(a, b):
            return Integer(0)
        if a == b and self.unwound.sums:
            return self._variance(a)
        if isinstance(a, Call) or isinstance(b, Call):
            return self._of_functions(a, b)
        if isinstance(a, Init) and isinstance(b, Init):
            if a.args[0] == b.args[0]:
                # Elements of a declared family are independent.
                return self.laws.variance(a) * equal_indices(a.args[1:], b.args[1:])
        elif isinstance(a, Hat) and isinstance(b, Hat):
            return self._of_hats(a, b)
        return Integer(0)

    def _variance(self, a: Expr) -> Expr:
        """The variance of a Gaussian, apart from the covariances of those at different indices where sums are kept
        whole: in message passing they are functions of one Gaussian and not of two."""
        if isinstance(a, Init):
            return self.laws.variance(a)
        if isinstance(a, Hat):
            site = self.unwound.sites[int(a.args[0])]
            return self.laws.matrix_variance(site.matrix, site.transposed) * self._square(site, a.args[1:])
        # The variance of a sum is made of covariances at different indices.
        if any(expr.has(Total) for _, expr in self.linear.cases(int(a.args[0]))):
            return self._of_functions(a, a)
        kind = (type(a).__name__, int(a.args[0]))
        if kind not in self._variances:
            params = tuple(fresh_index() for _ in a.args[1:])
            atom = a.func(a.args[0], *params)
            self._variances[kind] = self.unwound.function(
                f"Var({self._name(a)})", params, False, lambda: self._variance_cases(atom))
        return Call(Integer(self._variances[kind]), *a.args[1:])

    def _square(self, site: Site, indices: tuple[Expr, ...]) -> Expr:
        """E of the square of what a site applies its matrix to."""
        if site.number not in self._squares:
            params = tuple(fresh_index() for _ in site.params)
            square = site.at(site.argument, params) * site.at(self.linear.responses.untold(site), params)
            self._squares[site.number] = self.unwound.function(f"E[x_{site.number}**2]", params, False,
                                                               lambda: [((), self.unwound.mean(square, site.facts(params)))])
        return Call(Integer(self._squares[site.number]), *indices)

    def _same_site(self, site: Site, left: tuple[Expr, ...], right: tuple[Expr, ...]) -> list[Case]:
        """The case of equal iterations, of which the square has a recursion of its own: as that of two Gaussians that are equal but
        for rounding, it would lose half of its digits at every jump. (Not for rows of data, whose recursions hand rows on.)"""
        rows = {self.unwound.integer(i.shape[0]) for i in self.unwound.program.inputs if i.shape}
        if len(left) != 1 or not self.unwound.sums or site.bindings[0].stop in rows:
            return []
        return [((equal_indices(left, right),), self._square(site, left))]

    def _same_function(self, a: Expr, b: Expr) -> list[Case]:
        """The same for a function that is one of the iteration before."""
        if len(a.args) != 2 or not self.unwound.sums or not self._steps(a):
            return []
        variance = self._variance(a)
        # That of a sum over iterations is made of covariances itself.
        own = isinstance(variance, Call) and int(variance.args[0]) in self._variances.values()
        return [((equal_indices(a.args[1:], b.args[1:]),), variance)] if own else []

    def _steps(self, a: Expr) -> bool:
        """Whether a function of one index has values at others in it, by a number of steps."""
        number, index = int(a.args[0]), a.args[1]
        cases = cases_at(self.unwound.functions[number], self.linear.cases(number), (index,))
        steps = {flat(node.args[1] - index) for _, expr in cases for node in expr.atoms(Call, Hat) if len(node.args) == 2}
        return any(step.is_Integer and step != 0 for step in steps)

    def _variance_cases(self, a: Expr) -> list[Case]:
        number = int(a.args[0])
        cases = cases_at(self.unwound.functions[number], self.linear.cases(number), a.args[1:])
        return [(guards, sum((c * self._bilinear(expr, atom) for c, atom in self._terms(expr)), Integer(0)))
                for guards, expr in cases]

    def _terms(self, expr: Expr) -> list[tuple[Expr, Expr]]:
        """The Gaussians that a linear expression is a sum of, without what is discrete, each with its factor."""
        found = []
        for term in sympy.Add.make_args(flat(expr)):
            random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
            if random and self.parts.target(term) is None:
                # Linear in Gaussians: a term has one of them.
                (atom,) = random
                found.append((term / atom, atom))
        return found

    def _of_hats(self, a: Expr, b: Expr) -> Expr:
        # Covariances are symmetric: one function for both orders of the arguments.
        if int(a.args[0]) > int(b.args[0]):
            a, b = b, a
        one, two = (self.unwound.sites[int(h.args[0])] for h in (a, b))
        # W and W.T count as different matrices in ZHat.
        if one.matrix is not two.matrix or one.transposed != two.transposed:
            return Integer(0)
        same = equal_indices((one.at(x, a.args[1:]) for x in one.items), (two.at(y, b.args[1:]) for y in two.items))
        if same == 0:
            return Integer(0)
        both = Call(Integer(self._inputs_mean(one, two)), *a.args[1:], *b.args[1:])
        return self.laws.matrix_variance(one.matrix, one.transposed) * same * both

    def _inputs_mean(self, one: Site, two: Site) -> int:
        """E[Z^x Z^y] of what two sites apply their matrix to, as a function of the places of both; of an orthogonal matrix
        without what its transpose has told of one of them (`gaussian`)."""
        key = (one.number, two.number)
        if key not in self._inputs:
            left, right = (tuple(fresh_index() for _ in site.params) for site in (one, two))
            # One factor of the two is enough: for a projection P, <P x, P y> = <P x, y>.
            product = one.at(self.linear.responses.untold(one), left) * two.at(two.argument, right)
            facts = (*one.facts(left), *two.facts(right))
            self._inputs[key] = self.unwound.function(
                f"E[x_{one.number} x_{two.number}]", (*left, *right), False,
                lambda: [*(self._same_site(one, left, right) if one is two else []), ((), self.unwound.mean(product, facts))])
        return self._inputs[key]

    def _of_functions(self, a: Expr, b: Expr) -> Expr:
        one, two = ((type(x).__name__, int(x.args[0])) for x in (a, b))
        if one > two:
            a, b, one, two = b, a, two, one
        if (one, two) not in self._functions:
            left, right = (tuple(fresh_index() for _ in x.args[1:]) for x in (a, b))
            left_atom, right_atom = a.func(a.args[0], *left), b.func(b.args[0], *right)
            name = f"Cov({self._name(a)}, {self._name(b)})"
            self._functions[one, two] = self.unwound.function(
                name, (*left, *right), False,
                lambda: [*(self._same_function(left_atom, right_atom) if one == two else []), *self._cases(left_atom, right_atom)])
        return Call(Integer(self._functions[one, two]), *a.args[1:], *b.args[1:])

    def _name(self, atom: Expr) -> str:
        if isinstance(atom, Call):
            return self.unwound.functions[int(atom.args[0])].name
        if isinstance(atom, Hat):
            site = self.unwound.sites[int(atom.args[0])]
            return f"Zhat_{atom.args[0]}^{site.matrix.display}{'.T' if site.transposed else ''}"
        return self.unwound.cells[int(atom.args[0])].display

    def _cases(self, a: Expr, b: Expr) -> list[Case]:
        if not isinstance(a, Call):
            a, b = b, a
        number = int(a.args[0])
        cases = cases_at(self.unwound.functions[number], self.linear.cases(number), a.args[1:])
        return [(guards, self._bilinear(expr, b)) for guards, expr in cases]

    def _bilinear(self, expr: Expr, b: Expr) -> Expr:
        result = Integer(0)
        for factor, atom in self._terms(expr):
            if isinstance(atom, Total):
                # Cov(sum_j x_j, y) = sum_j Cov(x_j, y).
                body, var, start, stop = atom.args
                result += factor * total(self._bilinear(body, b), var, start, stop)
            else:
                result += factor * self.covariance(atom, b)
        return result
