"""Common expectations: each is named once, before it is used, and the names can be put back in."""

from __future__ import annotations

from collections import Counter

import pytest
import sympy
from places import ROOT
from sympy import preorder_traversal, symbols

import tensorprog
from tensorprog.derive.common import STEP, name_common_expectations
from tensorprog.derive.derive import written_out
from tensorprog.derive.formula import formula
from tensorprog.derive.instances import canonical, skeleton, values_of
from tensorprog.derive.rules import Index
from tensorprog.derive.spans import joined
from tensorprog.derive.symbols import E, Z, nonlinearity

PROGRAMS = sorted(path for folder in (ROOT / "examples", ROOT / "tests" / "programs") for path in folder.glob("*.tp"))


def limit_of(text):
    return tensorprog.compile(text).limit


def right(limit, left):
    """The right side of an equation, as text."""
    return next(formula(r.right) for r in limit.rules if formula(r.left) == left)


def lefts(limit):
    return [formula(r.left) for r in limit.rules]


def base(expr):
    return expr.base if isinstance(expr, sympy.Indexed) else expr


def arguments(expr):
    return expr.indices if isinstance(expr, sympy.Indexed) else ()


def put_back(expr, definitions):
    """The expression with every name replaced by what it stands for."""
    if isinstance(expr, sympy.Indexed | sympy.Symbol) and base(expr) in definitions:
        left, value = definitions[base(expr)]
        return put_back(value.xreplace(dict(zip(arguments(left), arguments(expr), strict=True))), definitions)
    if not expr.args or isinstance(expr, sympy.Indexed):
        return expr
    return expr.func(*(put_back(a, definitions) for a in expr.args))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_the_names_can_be_put_back(path):
    """The rules before and after differ by definitions only; each of these comes before its uses, and the program's own
    names for expectations are put back on both sides."""
    before = written_out(tensorprog.compile(path).compiled).rules
    after = name_common_expectations(before, ())
    marked = [r for r in after if any(s.name == STEP for s in r.steps)]
    definitions = {base(r.left): (r.left, r.right) for r in marked}
    kept = [r for r in after if r.kind != "expectation"]
    own = {name: pair for name, pair in definitions.items() if pair[0] in {r.left for r in kept}}
    assert [(r.kind, r.left, r.indices, r.condition) for r in kept] \
        == [(r.kind, r.left, r.indices, r.condition) for r in before]
    for old, new in zip(before, kept, strict=True):
        found, expected = (canonical(put_back(e, d)) for e, d in ((new.right, definitions), (old.right, own)))
        assert found == expected, formula(new.left)
    new = {base(r.left) for r in after if r.kind == "expectation"}
    seen = set()
    for rule in after:
        used = {base(e) for e in preorder_traversal(rule.right) if isinstance(e, sympy.Indexed | sympy.Symbol)}
        assert used & new <= seen, formula(rule.left)
        seen.add(base(rule.left))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_no_expectation_is_written_twice(path):
    limit = tensorprog.compile(path).limit
    count = Counter(canonical(e) for r in limit.rules for e in preorder_traversal(r.right) if isinstance(e, E))
    assert not [formula(e) for e, times in count.items() if times > 1]


# --- which places belong together ----------------------------------------------------------------------------


HEAD = "width n\nparam T : int = 5\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector u : [n] ~ normal(0, 1)\n"


def test_two_times_and_one():
    """q[t] is the diagonal of the covariance; the times are shifted by one."""
    limit = limit_of(HEAD + "h[0] = u\nfor t in range(1, T):\n    h[t] = u + W @ tanh(h[t-1])\n"
                            "for t in range(T):\n    q[t] = 2 * moment(tanh(h[t])**2)\noutput q\n")
    name = next(r for r in limit.rules if r.kind == "expectation")
    assert [(formula(i.low), formula(i.high)) for i in name.indices] == [("0", "T-1"), ("0", "T-1")]
    assert formula(name.right) == "E[tanh(Z^{h[s]})*tanh(Z^{h[t]})]"
    assert right(limit, "q[t]") == "2*c_1[t,t]"
    assert right(limit, "Cov(Zhat^{W tanh(h[t-1])}, Zhat^{W tanh(h[s-1])})") == "c_1[t-1,s-1]"


def test_an_expectation_twice_in_one_equation():
    limit = limit_of(HEAD + "h = W @ u\n"
                            "output moment(u * tanh(h + u)) * (1 + moment(u * tanh(h + u))) as twice\n")
    assert right(limit, "twice") == "c_1*(c_1 + 1)"
    assert right(limit, "c_1") == "E[Z^{u}*tanh(Z^{h} + Z^{u})]"


def test_the_programs_own_name_is_kept_if_it_comes_first():
    early = limit_of(HEAD + "h = W @ u\nq = moment(tanh(h)**2)\ng = W @ tanh(h)\noutput q, moment(g**2) as r\n")
    assert right(early, "Cov(Zhat^{W tanh(h)}, Zhat^{W tanh(h)})") == "q"
    assert [r.left.name for r in early.rules if any(s.name == STEP for s in r.steps)] == ["q"]
    assert not [r for r in early.rules if r.kind == "expectation"]
    late = limit_of(HEAD + "h = W @ u\nr = 3 * moment(tanh(h)**2)\ng = W @ tanh(h)\n"
                           "output r, moment(tanh(h)**2) as q, moment(g**2) as s\n")
    assert right(late, "r") == "3*c_1"
    assert right(late, "q") == "c_1"


@pytest.mark.parametrize(("declared", "stem"), [("size c", "k"), ("param c_1 = 2", "k"), ("param c_7 = 2", "k"),
                                                ("size c, k", "e"), ("param cc = 2", "c")])
def test_names_do_not_clash(declared, stem):
    used = declared.split()[1].strip(",")
    limit = limit_of(HEAD + declared + "\nh = W.T @ u\n"
                     f"output {used} * {'k *' if ', k' in declared else ''} moment(tanh(h)**2) as a, "
                     "3 * moment(tanh(h)**2) as b\n")
    assert [str(r.left) for r in limit.rules if r.kind == "expectation"] == [f"{stem}_1"]


def test_powers_and_functions_are_not_confused():
    limit = limit_of(HEAD + "h = W @ u\noutput 2 * moment(h**2) as a, 2 * moment(h**3 * u) as b, "
                            "2 * moment(u * tanh(h + 1)) as c, 2 * moment(tanh(2 * h)**2) as d, "
                            "2 * moment(tanh(3 * h)**2) as e\n")
    assert not [r for r in limit.rules if r.kind == "expectation"]


T, S = symbols("T S", integer=True)
t, s = symbols("t s", integer=True)


def x(*indices):
    return Z(sympy.Symbol("x"), *indices)


def test_matching_tries_every_order():
    tanh = nonlinearity("tanh")
    pattern = E(tanh(x(t)) * tanh(x(s)) * x(s, 1))
    for a, b in ((T, S), (S, T), (T - 1, T + 3), (sympy.Integer(0), T)):
        assert values_of(pattern, E(tanh(x(a)) * tanh(x(b)) * x(b, 1)), (t, s)) == {t: a, s: b}
    assert values_of(pattern, E(tanh(x(T)) ** 2 * x(T, 1)), (t, s)) == {t: T, s: T}
    assert values_of(pattern, E(tanh(x(T)) ** 2 * x(S, 1)), (t, s)) is None
    assert values_of(pattern, E(tanh(x(T)) * tanh(x(S)) * x(S, 2)), (t, s)) is None


def test_matching_knows_that_the_variable_of_a_sum_is_bound():
    def total(variable, time):
        return canonical(E(x(time) * sympy.Sum(x(variable), (variable, 0, time - 1))))
    assert values_of(total(s, t), total(symbols("r", integer=True), T), (t,)) == {t: T}
    assert skeleton(total(s, t)) == skeleton(total(t, s))


RANGES = {
    "the last time too": (Index(t, sympy.Integer(0), T - 1), T, ("0", "T")),
    "the first time too": (Index(t, sympy.Integer(1), T - 1), sympy.Integer(0), ("0", "T-1")),
    "inside": (Index(t, sympy.Integer(0), T - 1), sympy.Integer(0), ("0", "T-1")),
    "a gap": (Index(t, sympy.Integer(2), T - 1), sympy.Integer(0), None),
    "a gap at the end": (Index(t, sympy.Integer(0), T - 2), T, None),
    "not known": (Index(t, sympy.Integer(0), T - 1), S, None),
}


@pytest.mark.parametrize("case", RANGES)
def test_ranges_grow_without_gaps(case):
    index, value, expected = RANGES[case]
    found = joined((index,), {t: value}, (), [{t}])
    assert (None if found is None else (formula(found[0].low), formula(found[0].high))) == expected


def test_ranges_grow_without_new_combinations():
    """x[0, 0] lies outside of x[t, s] for t, s >= 1, and so do x[0, s] and x[t, 0]."""
    one = sympy.Integer(1)
    box = (Index(t, one, T), Index(s, one, S))
    values = {t: sympy.S.Zero, s: sympy.S.Zero}
    assert joined(box, values, (), [{t, s}]) is None
    apart = joined(box, values, (), [{t}, {s}])
    assert [(i.low, i.high) for i in apart] == [(0, T), (0, S)]
    row = symbols("r", integer=True)
    whole = joined(box, {t: sympy.S.Zero, s: row}, (Index(row, one, S),), [{t, s}])
    assert [(i.low, i.high) for i in whole] == [(0, T), (1, S)]
    triangle = (Index(t, sympy.S.Zero, T), Index(s, sympy.S.Zero, t - 1))
    assert joined(triangle, {t: T, s: T}, (), [{t, s}]) is None
    assert [(i.low, i.high) for i in joined(triangle, {t: T, s: T}, (), [{t}, {s}])] == [(0, T), (0, T)]


# --- formats -------------------------------------------------------------------------------------------------


def test_every_format_has_the_names():
    limit = tensorprog.compile(ROOT / "examples" / "mlp_mup.tp").limit
    name = "c_1[t,a,s,b]"
    assert f"  {name} = E[" in limit.text()
    assert r"{c_{1}}_{t, a, s, b} &= \mathbb{E}" in limit.latex()
    assert r"{c_{1}}_{t, a, s, b} &= \mathbb{E}" in limit.markdown()
    found = [r for r in limit.json()["rules"] if r["kind"] == "expectation"]
    assert [r["left"] for r in found] == [name, "c_2[t,a,s,b]"]
    assert [i["name"] for i in found[0]["indices"]] == ["t", "a", "s", "b"]
    assert found[0]["steps"][0]["name"] == STEP
    equation = next(e for e in limit.equations if formula(e.lhs) == name)
    assert isinstance(equation.rhs, E)
    assert sum(e.rhs.has(equation.lhs.base) for e in limit.equations) == 2
    assert f"{STEP}: {name}" in limit.text(steps=True)
    assert STEP not in limit.text()
