"""Z of an expression, by cases: matrix products as Gaussians and responses, other functions unfolded."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.cancellation import Cancellation
from tensorprog.covariance.cases import Case, cases_at, sum_of_cases
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported, known, split_cases, under
from tensorprog.covariance.nodes import Call, Entry, Hat, Init, Mean, Product, Total, flat
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import FunctionDef

#: Of an expression that is looked at further.
MOST_NODES = 20_000


class Resolution:
    """Expressions in Hat, Init and functions that are linear in Gaussians.

    Args:
        unwound: the unwound program.
        responses: products as Zhat + Zdot.
        is_linear: whether the function with a number is linear in Gaussians in every case.
    """

    def __init__(self, unwound: Unwound, responses: Responses, is_linear: Callable[[int], bool]):
        self.unwound, self.responses, self.is_linear = unwound, responses, is_linear
        self.cancellation = Cancellation(unwound, responses)
        self._templates: dict[int, Expr | None] = {}
        self._round: dict[int, bool] = {}

    def resolved(self, expr: Expr, facts: tuple[Expr, ...], unfolded: frozenset[int] = frozenset()) -> list[Case]:
        """An expression in Hat, Init and linear functions, by cases. `facts` are >= 0; `unfolded` are the functions
        that were replaced by their cases on the way.

        Raises:
            Unsupported: with the reason why it is not such an expression.
        """
        expr = flat(self.responses.inlining.inlined(expr))
        if sum(1 for _ in itertools.islice(sympy.preorder_traversal(expr), MOST_NODES)) == MOST_NODES:
            raise Unsupported("an expression is too large")
        if expr.has(Product):
            return self._each_case(self._without_products(expr, facts), facts, unfolded)
        nonlinear = [c for c in self.unwound.random_calls(expr) if not self.is_linear(int(c.args[0]))]
        if not nonlinear:
            return [((), expr)]
        numbers = {int(c.args[0]) for c in nonlinear}
        # It comes back in its own cases: a recursion of something nonlinear is no Gaussian at any step.
        if numbers & unfolded:
            name = self.unwound.functions[min(numbers & unfolded)].name
            raise Unsupported(f"`{name}` goes round a loop through nonlinear functions")
        return self._each_case(expr.xreplace({c: self._opened(c, facts) for c in nonlinear}), facts, unfolded | numbers)

    def carried(self, expr: Expr) -> list[Expr]:
        """The nonlinear functions in an expression that go round a loop, or end one."""
        return [c for c in self.unwound.random_calls(expr) if self._goes_round(int(c.args[0]))]

    def _goes_round(self, number: int) -> bool:
        """Whether unfolding a function leads to one that leads back to itself, by ways that are not linear."""
        if number not in self._round:
            self._round[number] = not self.is_linear(number) and any(
                k in self._leads_to(k) for k in (number, *self._leads_to(number)))
        return self._round[number]

    def _leads_to(self, number: int) -> set[int]:
        found: set[int] = set()
        pending = [Call(Integer(number), *self.unwound.functions[number].params)]
        while pending:
            for call in self.unwound.random_calls(self._step(pending.pop())):
                if int(call.args[0]) not in found and not self.is_linear(int(call.args[0])):
                    found.add(int(call.args[0]))
                    pending.append(call)
        return found

    def _step(self, call: Expr) -> Expr:
        """What a function is unfolded to. Under the hypothesis of cancellation, products are replaced: only then does it
        show what is carried."""
        expr = flat(self.responses.inlining.inlined(self.unfolded(call)))
        return self.cancellation.replaced(expr, ()) if self.responses.cancelling else expr

    def stepped(self, rest: Expr, call: Expr, facts: tuple[Expr, ...]) -> list[Case]:
        """`rest` times a function that goes round a loop, with this one unfolded once, by cases."""
        expr = flat(self.responses.inlining.inlined(rest * self._opened(call, facts)))
        return split_cases(self._without_products(expr, facts), facts)

    def _opened(self, call: Expr, facts: tuple[Expr, ...]) -> Expr:
        """A function as its cases. Of a sum that is kept whole, its products are replaced before it is multiplied with anything: in
        the terms of r f(r), nothing of what r takes over would cancel."""
        expr = self.unfolded(call)
        if self.responses.cancelling and int(call.args[0]) in self.unwound.sums.values():
            return self.cancellation.replaced(flat(self.responses.inlining.inlined(expr)), facts)
        return expr

    def _without_products(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        if self.responses.cancelling:
            return self.cancellation.replaced(expr, facts)
        return self.responses.expanded(expr)

    def _each_case(self, expr: Expr, facts: tuple[Expr, ...], unfolded: frozenset[int]) -> list[Case]:
        out = []
        for guards, case in split_cases(expr, facts):
            more = tuple(itertools.chain.from_iterable(known(g) for g in guards))
            for inner_guards, inner in self.resolved(case, (*facts, *more), unfolded):
                out.append(((*guards, *inner_guards), inner))
        return out

    def unfolded(self, call: Expr) -> Expr:
        """A function as its cases, or as what its cases have in common."""
        number = int(call.args[0])
        function = self.unwound.functions[number]
        template = self._template(number)
        if template is not None:
            return function.at(template, call.args[1:])
        return sum_of_cases(cases_at(function, self.unwound.unfolding(number), call.args[1:]))

    def _template(self, number: int) -> Expr | None:
        """What the cases of a recursion of nonlinear functions have in common, as in relu(h_0), relu(W h_{t-1}): the
        function of one linear recursion."""
        if number not in self._templates:
            cases = [(guards, self.responses.inlining.inlined(expr)) for guards, expr in self.unwound.unfolding(number)]
            found = _Template(self.unwound, self.unwound.functions[number], [guards for guards, _ in cases])
            skeleton = found.common([expr for _, expr in cases])
            # A skeleton that is a single call is the function itself by another name.
            self._templates[number] = None if isinstance(skeleton, Call) else skeleton
        return self._templates[number]


class _Template:
    """The part that the cases of a function have in common."""

    def __init__(self, unwound: Unwound, function: FunctionDef, guards: list[tuple[Expr, ...]]):
        self.unwound, self.function, self.guards = unwound, function, guards
        self._slots: dict[tuple[Expr, ...], int] = {}

    def common(self, exprs: list[Expr]) -> Expr | None:
        """The common part; a random subexpression in which they differ becomes a function by cases. None if a number
        differs."""
        first = exprs[0]
        if all(e == first for e in exprs):
            return first
        if _alike(exprs):
            parts = [self.common(list(column)) for column in zip(*(e.args for e in exprs))]
            return None if any(p is None for p in parts) else first.func(*parts)
        general = self._general(exprs)
        if general is not None:
            return general
        if not any(self.unwound.is_random_or_hat(e) for e in exprs):
            return None
        return Call(Integer(self._slot(tuple(exprs))), *self.function.params)

    def _general(self, exprs: list[Expr]) -> Expr | None:
        """An expression that is each of them in its case: s_l is s_0 where l = 0."""
        return next((e for e in reversed(exprs)
                     if all(under(e, guards) == under(x, guards) for guards, x in zip(self.guards, exprs))), None)

    def _slot(self, exprs: tuple[Expr, ...]) -> int:
        if exprs not in self._slots:
            self._slots[exprs] = self.unwound.function(f"argument of {self.function.name}", self.function.params, True,
                                                       lambda: list(zip(self.guards, exprs)))
        return self._slots[exprs]


def _alike(exprs: list[Expr]) -> bool:
    """Whether expressions are one function, of as many arguments."""
    first = exprs[0]
    if not first.args or isinstance(first, sympy.Add | Call | Hat | Product | Init | Mean | Total | Entry):
        return False
    return all(e.func == first.func and len(e.args) == len(first.args) for e in exprs)
