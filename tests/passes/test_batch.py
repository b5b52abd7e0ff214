"""Parallel loops run as one block give what they give one iteration after the other, on random programs."""

import numpy as np
import pytest
from hypothesis import assume, given
from strategies import QUICK, programs

import tensorprog
from tensorprog.check import front
from tensorprog.diagnostics import ProgramError, Reporter, Source
from tensorprog.finite import simulate
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.simplify import simplify
from tensorprog.pipeline import differentiated


def assert_same_runs(found, expected):
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        finite = np.abs(expected[name][np.isfinite(expected[name])])
        scale = np.max(finite, initial=1.0)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9 * scale, err_msg=name)


@QUICK
@given(programs(steps=6, gradients=False))
def test_forward_programs(generated):
    source = Source("random", generated.text)
    checked = front(source, Reporter(source))
    expected = simulate(checked, generated.env, width=7, seeds=[1], blocks=False)
    marked = mark_parallel(simplify(checked))
    assert_same_runs(simulate(marked, generated.env, width=7, seeds=[1], blocks=False), expected)
    assert_same_runs(simulate(marked, generated.env, width=7, seeds=[1], blocks=True), expected)


@QUICK
@given(programs(steps=6))
def test_programs_with_gradients(generated):
    reporter = Reporter(Source("random", generated.text))
    checked = front(reporter.source, reporter)
    try:
        plain = differentiated(checked, reporter)
        expected = simulate(plain, generated.env, width=7, seeds=[1], blocks=False)
    except ProgramError:
        assume(False)
    assume(all(np.nanmax(np.abs(v), initial=0.0) < 1e6 for v in expected.values()))
    assert_same_runs(simulate(plain, generated.env, width=7, seeds=[1], blocks=True), expected)


LAST_VALUES = """
width n
size P
input y : [P]
vector u : [n] ~ normal(0, 1)
s = 7
x = u
for a in range({bounds}):
    s = y[a] * moment(u*u)
    x = y[a] * u
    f[a] = s
output s, moment(x*u) as q
"""


@pytest.mark.parametrize("bounds", ["P", "1, P", "0, P, 2", "P-1, 0, -2"])
def test_last_values_after_a_loop(bounds):
    source = Source("last", LAST_VALUES.format(bounds=bounds))
    checked = front(source, Reporter(source))
    env = {"y": np.array([1.0, 2.0, 4.0]), "P": 3}
    expected = simulate(checked, env, width=5, seeds=[1], blocks=False)
    assert_same_runs(simulate(mark_parallel(simplify(checked)), env, width=5, seeds=[1], blocks=True), expected)


@pytest.mark.parametrize("steps", [-3, 0, 2])
@pytest.mark.parametrize("method", ["particles", "auto", "finite"])
def test_loops_without_iterations_store_nothing(steps, method):
    """An integer parameter may be below zero; then loops up to it are empty, whatever evaluates them."""
    program = tensorprog.compile("""
width n
param T : int = 5
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    h[t] = tanh(u) * v
    q[t] = moment(h[t]**2)
    for s in range(T):
        k[t, s] = moment(h[t] * u)
output q, k
""")
    found = program.simulate(width=8, seeds=1, T=steps) if method == "finite" else program.run(
        T=steps, method=method, samples=64, replicates=2)
    assert (found["q"].shape, found["k"].shape) == ((max(steps, 0),), (max(steps, 0),) * 2)
