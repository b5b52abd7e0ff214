"""Parallel loops run as one block give what they give one iteration after the other, on random programs."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from strategies import programs
from tensorprog import driver
from tensorprog.diagnostics import ProgramError, Reporter, Source
from tensorprog.finite import simulate
from tensorprog.ir.program import For, walk
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.simplify import simplify

EXAMPLES = int(os.environ.get("TENSORPROG_EXAMPLES", "60"))
QUICK = settings(deadline=None, derandomize=True, max_examples=EXAMPLES, database=None,
                 suppress_health_check=list(HealthCheck))


def assert_same_runs(found, expected):
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        finite = np.abs(expected[name][np.isfinite(expected[name])])
        scale = np.max(finite, initial=1.0)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9 * scale, err_msg=name)


@QUICK
@given(programs(steps=6, gradients=False))
def test_forward_programs(generated):
    checked = driver.front(Source("random", generated.text), Reporter(Source("random", generated.text)))
    expected = simulate(checked, generated.env, width=7, seeds=[1], blocks=False)
    marked = mark_parallel(simplify(checked))
    assert_same_runs(simulate(marked, generated.env, width=7, seeds=[1], blocks=False), expected)
    assert_same_runs(simulate(marked, generated.env, width=7, seeds=[1], blocks=True), expected)


@QUICK
@given(programs(steps=6))
def test_programs_with_gradients(generated):
    reporter = Reporter(Source("random", generated.text))
    checked = driver.front(reporter.source, reporter)
    try:
        plain = driver.differentiated(checked, reporter)
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


def parallel_loops(program):
    return [s for s in walk(program.body) if isinstance(s, For) and s.parallel]


@pytest.mark.parametrize("bounds", ["P", "P-1, -1, -1", "1, P", "0, P, 2", "P-1, 0, -2"])
def test_last_values_after_a_loop(bounds):
    source = Source("last", LAST_VALUES.format(bounds=bounds))
    checked = driver.front(source, Reporter(source))
    env = {"y": np.array([1.0, 2.0, 4.0]), "P": 3}
    expected = simulate(checked, env, width=5, seeds=[1], blocks=False)
    assert_same_runs(simulate(mark_parallel(simplify(checked)), env, width=5, seeds=[1], blocks=True), expected)


def test_sample_loops_are_blocks():
    text = """
width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1/n)
for a in range(P):
    h[0] = U @ X[a]
    for l in range(L):
        h[l+1] = W[l] @ tanh(h[l])
    f[a] = moment(h[L]**2)
output f
"""
    checked = driver.front(Source("sample", text), Reporter(Source("sample", text)))
    loops = parallel_loops(mark_parallel(simplify(checked)))
    assert any(loop.var == "a" for loop in loops)
