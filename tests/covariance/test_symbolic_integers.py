"""The parts that decide about integers and structure in equations, each by itself: guards, the index solver, reach, signs."""

from __future__ import annotations

import itertools

import pytest
import sympy
from sympy import Integer, Symbol

import tensorprog
from tensorprog.covariance.guards import decide, denied, known, nonnegative, simplify_guards, split_cases, under
from tensorprog.covariance.integers import size_symbol
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.nodes import AtLeastZero, IsZero, index_symbol
from tensorprog.covariance.reach import Reach
from tensorprog.covariance.signs import Signs, Symmetries
from tensorprog.covariance.unwind import unwind
from tensorprog.covariance.writes import Binding, solve
from tensorprog.ir.parities import EVEN, NEITHER, ODD
from tensorprog.passes.unit_steps import unit_steps

I, J = index_symbol("i"), index_symbol("j")
T = size_symbol("T")
RANGE = range(-4, 7)


def at(expr, **values):
    """An expression at integers."""
    names = {"i": I, "j": J, "T": T}
    return sympy.sympify(expr).subs({names[name]: value for name, value in values.items()}).doit()


# --- guards --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", [AtLeastZero(I - J - 1), 1 - AtLeastZero(I - J - 1), IsZero(I - 2 * J)])
def test_what_a_guard_says_is_true_where_it_holds(guard):
    for i, j in itertools.product(RANGE, repeat=2):
        if at(guard, i=i, j=j) == 1:
            assert all(at(e, i=i, j=j) >= 0 for e in known(guard))


@pytest.mark.parametrize("guard, facts", [
    (AtLeastZero(I - J), ()), (IsZero(I - J), (I - J,)), (IsZero(I - J), (J - I,)), (IsZero(I - J), ())])
def test_what_follows_from_a_guard_that_does_not_hold(guard, facts):
    for i, j in itertools.product(RANGE, repeat=2):
        if at(guard, i=i, j=j) == 0 and all(at(f, i=i, j=j) >= 0 for f in facts):
            assert all(at(e, i=i, j=j) >= 0 for e in denied(guard, facts))


@pytest.mark.parametrize("expr", [
    I + AtLeastZero(I - 2) * J, IsZero(I - J) * (I + 3 * J) + AtLeastZero(J) * I,
    AtLeastZero(I - J) * AtLeastZero(J - I) * (I - 5 * J) + IsZero(J - 1)])
def test_cases_are_the_expression_and_exclude_each_other(expr):
    cases = split_cases(expr, ())
    for i, j in itertools.product(RANGE, repeat=2):
        true = [value for guards, value in cases if all(at(g, i=i, j=j) == 1 for g in guards)]
        assert [at(value, i=i, j=j) for value in true] == [at(expr, i=i, j=j)]


def test_facts_decide_guards():
    assert simplify_guards(AtLeastZero(I + 3), (I + 1,)) == 1
    assert simplify_guards(AtLeastZero(-I - 1), (I,)) == 0
    assert simplify_guards(IsZero(I + 2), (I,)) == 0
    assert simplify_guards(AtLeastZero(I - 3), (I,)) == AtLeastZero(I - 3)
    assert under(I * AtLeastZero(I - J) + J, (IsZero(I - J),)) in (I + J, 2 * J, 2 * I)


def test_ranges_of_loops_decide_guards():
    ranges = {I: Binding(I, Integer(0), T), J: Binding(J, I, T)}
    assert nonnegative(J - I, {J: ranges[J]}) and nonnegative(T - 1 - I, {I: ranges[I]})
    assert decide(AtLeastZero(J), ranges) == 1
    assert decide(AtLeastZero(-I - 1), ranges) == 0
    assert decide(AtLeastZero(I - 1), ranges) == AtLeastZero(I - 1)


# --- the index solver ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [(I, J), (2 * I + 1, J), (J - I, I), (I, I + J), (3 - I, 2 * J), (I, 1 + 0 * J), (I, I)])
@pytest.mark.parametrize("stops", [(3, 4), (5, 2)])
def test_the_iteration_that_wrote_an_element(stored, stops):
    """By trying all of them."""
    bindings = tuple(Binding(s, Integer(low), Integer(stop)) for s, low, stop in zip((I, J), (0, 1), stops))
    written: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i, j in itertools.product(range(stops[0]), range(1, stops[1])):
        written.setdefault(tuple(int(at(e, i=i, j=j)) for e in stored), []).append((i, j))
    for wanted in itertools.product(range(-1, 8), repeat=2):
        found = solve(bindings, stored, tuple(map(Integer, wanted)))
        if found is None:
            assert wanted not in written
            continue
        values, guards, free = found
        holds = all(g.subs(values).doit() == 1 for g in guards)
        assert holds == (wanted in written)
        if holds:
            for i, j in written[wanted]:
                assert values.get(I, i) == i and values.get(J, j) == j
            assert len(written[wanted]) == 1 or free


def test_an_element_at_a_symbol_is_written_where_guards_say():
    k, = [Symbol("k", integer=True)]
    values, guards, free = solve((Binding(I, Integer(0), T),), (I + 1,), (k,))
    assert values == {I: k - 1} and not free
    assert set(guards) == {AtLeastZero(k - 1), AtLeastZero(T - k)}


# --- reach and signs -----------------------------------------------------------------------------------------

NETWORK = """
width n
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
vector b : [n] ~ bernoulli(0.5)
matrix W : [n, n] ~ normal(0, 1/n)
x = tanh(u)
h = W @ x
g = W.T @ (v * tanh'(h))
y = W @ g
output moment(x*u) as a, moment(h*h) as c, moment(g*g) as d, moment(y*h) as e, moment(b*u) as f
"""


@pytest.fixture(scope="module")
def network():
    """The unwound program, and the products in the order in which they are taken."""
    compiled = tensorprog.compile(NETWORK).compiled
    laws = Laws(compiled.limit, compiled.powers, compiled.env)
    return unwind(unit_steps(compiled.limit), laws)


def cells(network, *names):
    found = {i.cell.display: i.cell for i in network.program.initials}
    return [found[name] for name in names]


def test_what_products_can_depend_on(network):
    reach = Reach(network, responses=True)
    forward, backward, again = network.sites
    u, v = cells(network, "u", "v")
    of = {site: reach.of(site.argument) for site in network.sites}
    assert of[forward] == {u}
    assert of[backward] == {v, forward.number}  # nothing of the forward pass depends on the backward one
    assert backward.number in of[again]


def test_what_is_independent(network):
    reach = Reach(network, responses=True)
    forward, backward, _ = network.sites
    assert reach.independent(forward.argument, sympy.Symbol("c"))
    assert not reach.independent(forward.argument, forward.argument)
    assert not reach.reaches(forward.argument, backward.number)


def test_signs_of_values(network):
    forward, backward, _ = network.sites
    u, v, b = cells(network, "u", "v", "b")
    assert Signs(network, frozenset({u})).of(forward.argument) == ODD
    assert Signs(network, frozenset({v})).of(forward.argument) == EVEN
    assert Signs(network, frozenset({v})).of(backward.argument) == ODD
    assert Signs(network, frozenset({u})).of(backward.argument) in (EVEN, NEITHER)  # tanh' is even


def test_derivatives_that_are_odd_have_no_mean(network):
    from tensorprog.covariance.nodes import Hat

    symmetries = Symmetries(network)
    forward, backward, _ = network.sites
    # d(v tanh'(h)) / dZhat^h is odd in v; d tanh(u) by it is nothing.
    assert symmetries.derivative_is_odd(backward.argument, Hat(Integer(forward.number)))


def test_common_factors_do_not_hide_where_an_expression_is_zero():
    assert IsZero(2 * I) == IsZero(I) and IsZero(4 * I - 6 * J) == IsZero(2 * I - 3 * J)
    assert IsZero(2 * I - 1) != IsZero(I)
    for i, j in itertools.product(RANGE, RANGE):
        assert at(IsZero(4 * I - 6 * J), i=i, j=j) == int(4 * i == 6 * j)
