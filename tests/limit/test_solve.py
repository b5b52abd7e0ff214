"""Loop variables from the indices that were stored to, against trying all integers."""

from __future__ import annotations

import itertools

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

from tensorprog.limit.solve import solve_indices

I, J, P, Q = sympy.symbols("i j p q", integer=True)
SLOPES = st.integers(-3, 3)


@quick(150)
@given(st.lists(st.tuples(SLOPES, SLOPES, st.integers(-2, 2)), min_size=1, max_size=3), st.data())
def test_every_solution_satisfies_what_is_left_and_no_other_does(patterns, data):
    stored = tuple(a * I + b * J + c for a, b, c in patterns)
    i, j = data.draw(st.integers(-4, 4)), data.draw(st.integers(-4, 4))
    wanted = tuple(sympy.Integer(a * i + b * j + c) for a, b, c in patterns)
    found = solve_indices({I, J}, stored, wanted)
    for point in itertools.product(range(-4, 5), repeat=2):
        at = dict(zip((I, J), point))
        reached = all(s.subs(at) == w for s, w in zip(stored, wanted))
        said = (all(v.subs(at) == at[k] for k, v in found.values.items())
                and all(m.subs(at) % s == 0 for m, s in found.divisible)
                and all(p.subs(at) == q for p, q in found.equal))
        assert reached == said, point


def test_an_index_found_first_leaves_one_unknown_in_another():
    found = solve_indices({I, J}, (I + 2 * J, J - 1), (P, Q))
    assert found.values == {J: Q + 1, I: P - 2 * Q - 2} and not found.divisible and not found.equal


def test_what_must_be_divisible_is_said():
    found = solve_indices({I}, (2 * I + 1,), (P,))
    assert found.divisible == ((P - 1, 2),)
    assert [found.values[I].subs(P, k) for k in (1, 3, 7)] == [0, 1, 3]


@pytest.mark.parametrize("entry", [sympy.Indexed(sympy.IndexedBase("order"), P)])
def test_entries_of_data_stay_as_they_are(entry):
    assert solve_indices({I}, (I + 1,), (entry,)).values == {I: entry - 1}
