"""Sums over the axes of inputs carried out first, common expectations named once: the same numbers, by fewer steps."""

from __future__ import annotations

import types

import numpy as np
import pytest
from tape_programs import KERNELS, RECURRENT

import tensorprog
from tensorprog.covariance import emit
from tensorprog.covariance.contraction import contracted
from tensorprog.covariance.naming import named
from tensorprog.covariance.nodes import Call, Entry, Expectation, Total
from tensorprog.runtime import tape

RESIDUAL = """
width n
size P, S, d
input X : [P, S, d]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    h[a, 0] = sqrt(1/d) * (U @ X[a, 0])
    for t in range(1, S):
        h[a, t] = 0.5*h[a, t-1] + sqrt(1/d) * (U @ X[a, t])
    f[a] = dot(v, relu(h[a, S-1])) / sqrt(n)
""" + KERNELS.format("U, v")
COLUMNS = """
width n
size P, S, d
input X : [d, S, P]
input w : [d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    h[a, 0] = U @ X[:, 0, a] / sqrt(d)
    for t in range(1, S):
        h[a, t] = (W @ erf(h[a, t-1])) / sqrt(n) + U @ (w * X[:, t, a]) / sqrt(d)
    f[a] = dot(v, erf(h[a, S-1])) / sqrt(n)
""" + KERNELS.format("U, v")
ATTENTION = """
width n
size P, S, d
input X : [P, S, d]
input M : [S, S]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    for s in range(S):
        h[a, s] = sum(M[s, t] * (U @ X[a, t]) for t in range(S)) / sqrt(d)
    f[a] = dot(v, mean(relu(h[a, s]) for s in range(S))) / sqrt(n)
""" + KERNELS.format("U, v")
THRESHOLDS = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    h[a] = U @ X[a]
    th[a] = moment(erf(h[a])**2)
for a in range(P):
    for c in range(P):
        K[a, c] = moment(step(h[a] - th[a]) * step(h[c] - th[a]))
        T[a, c] = moment(v**2 * step(h[a] - th[a]) * step(h[c] - th[a]))
output K, T
"""
PROGRAMS = {"thresholds": THRESHOLDS, "recurrent": RECURRENT, "residual": RESIDUAL, "columns": COLUMNS,
            "attention": ATTENTION}


def data(name: str, rows: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(3).standard_normal((rows, 3, 4))
    more = {"columns": {"w": np.linspace(-1, 1, 4)}, "attention": {"M": np.linspace(-1, 1, 9).reshape(3, 3)}}
    shaped = {"columns": values.transpose(2, 1, 0), "thresholds": values[:, 0] * np.arange(1, rows + 1)[:, None]}
    return {"X": shaped.get(name, values), **more.get(name, {})}


def interpreted(text: str) -> types.ModuleType:
    """An emitted module that is not compiled, which takes longer than running it on small data."""
    module = types.ModuleType("interpreted")
    exec(text.replace("from tensorprog.runtime.compiling import njit",
                      "njit = lambda *args, **options: args[0] if args else lambda f: f"),
         module.__dict__)
    read = module.get
    module.get = lambda *args: np.float64(read(*args))  # which may be divided by 0 while it is not known
    return module


def module_text(text: str) -> str:
    compiled = tensorprog.compile(text).compiled_for({})
    return emit.emit_module(compiled.limit, compiled.original, compiled.covered.system)


@pytest.mark.slow_cases("thresholds")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_numbers_are_the_same(name, monkeypatch):
    monkeypatch.setattr(tape, "FEW_PAIRS", 4)
    module = interpreted(module_text(PROGRAMS[name]))
    monkeypatch.setattr(emit, "contracted", lambda system: system)
    monkeypatch.setattr(emit, "named", lambda system, every: system)
    reference = interpreted(module_text(PROGRAMS[name]))
    for rows in (2, 3):  # by a table; by a tape
        with np.errstate(all="ignore"):
            expected, found_here = (m.run(data(name, rows))[0] for m in (reference, module))
        for output, found in found_here.items():
            assert found == pytest.approx(expected[output], rel=1e-11, abs=1e-13)


@pytest.mark.slow
def test_recurrent_networks_agree_with_finite_ones():
    found = tensorprog.compile(RECURRENT).run(data("recurrent", 3))
    finite = tensorprog.compile(RECURRENT).simulate(data("recurrent", 3), width=2048, seeds=8, seed=1)
    for output in "KT":
        assert np.all(np.abs(found[output] - finite[output]) <= 5 * finite.error[output] + 0.01)


def test_a_function_of_one_row_s_threshold_is_not_symmetric():
    system = prepared(THRESHOLDS)
    named_once = [n for n, e in system.equations.items() if e.name.startswith("mean")]
    assert named_once and not system.symmetric & set(named_once)


def prepared(text: str):
    compiled = tensorprog.compile(text).compiled_for({})
    return named(contracted(compiled.covered.system))


@pytest.mark.parametrize("text", [RECURRENT, RESIDUAL])
def test_only_gram_products_run_over_an_axis(text):
    system = prepared(text)
    sums = {number: [t for _, expr in e.cases for t in expr.atoms(Total) if str(t.args[3]) == "d"]
            for number, e in system.equations.items()}
    assert any(sums.values())
    for number, found in sums.items():
        assert all(isinstance(f, Entry) for t in found for f in t.args[0].args)
        assert not found or len(system.equations[number].cases) == 1


def test_a_sum_for_each_of_two_factors_stays_under_that_over_the_axis():
    """With A = sum_r M[s, r] X[a, r, j], sum_j A(a, s, j) A(c, t, j) would become S**2 products instead of d terms."""
    totals = [t for e in prepared(ATTENTION).equations.values() for _, expr in e.cases for t in expr.atoms(Total)
              if str(t.args[3]) == "d"]
    assert totals and all(isinstance(f, Call) for t in totals for f in t.args[0].args)


def test_expectations_are_named_once():
    system = prepared(RECURRENT)
    shapes = [e for equation in system.equations.values() for _, expr in equation.cases
              for e in expr.atoms(Expectation)]
    assert len(shapes) == len({int(e.args[0]) for e in shapes}) == 2  # E erf erf and E erf' erf'
