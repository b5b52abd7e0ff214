"""Names whose first assignment a later iteration does not pass, and numbers that Python's operators refuse."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog

HEAD = "width n\nvector a : [n] ~ normal(0, 1)\n"

CARRIED = {
    "a branch that is taken once": ("""
for t in range(4):
    if t == 0:
        x = a
    x = 0.5*x + a
    f[t] = moment(x*a)
""", [1.5, 1.75, 1.875, 1.9375]),
    "a number": ("""
for t in range(4):
    if t == 0:
        x = 0
    x += moment(a*a)
    f[t] = x
""", [1, 2, 3, 4]),
    "an inner loop that runs once": ("""
for t in range(3):
    for s in range(1 - t):
        x = a
    x = 0.5*x
    f[t] = moment(x*a)
""", [.5, .25, .125]),
    "an inner loop with a branch": ("""
for t in range(4):
    for s in range(2):
        if s + t == 0:
            x = 2*a
    x = 0.5*x
    f[t] = moment(x*a)
""", [1, .5, .25, .125]),
    "names used anew in each iteration": ("""
for t in range(3):
    for s in range(2):
        x = (s + 1)*a
        g[t, s] = moment(x*a)
    x = (t + 1)*a
    f[t] = moment(x*a) + g[t, 1]
""", [3, 4, 5]),
}


@pytest.mark.parametrize("name", CARRIED)
@pytest.mark.parametrize("method", ["span", "particles"])
def test_what_a_loop_carries(name, method):
    body, expected = CARRIED[name]
    program = tensorprog.compile(f"{HEAD}{body}output f\n")
    assert program.run(method=method)["f"] == pytest.approx(expected, abs=1e-9)
    finite = program.simulate(width=50, seeds=1)["f"]
    assert finite / finite[0] == pytest.approx(np.array(expected) / expected[0], rel=1e-9 if "anew" not in name else .2)


def test_a_parallel_range_with_a_negative_end_is_empty():
    program = tensorprog.compile("""
width n
size T
input count : [T] int
vector u[5] : [n] ~ normal(0, 1)
for t in range(T):
    f[t] = sum(moment(u[c]*u[c]) for c in range(1, count[t] - 2))
    h = sum(u[c] for c in range(count[t] - 3)) + u[0]
    g[t] = moment(h*h)
output f, g
""")
    data = {"count": [5, 1, 0, 3]}
    found = program.run(data)
    assert found["f"] == pytest.approx([2, 0, 0, 0], abs=1e-12)
    assert found["g"] == pytest.approx([5, 1, 1, 1], abs=1e-12)
    sampled = program.run(data, method="particles", samples=256)
    assert sampled["g"] == pytest.approx(found["g"], abs=1e-9)


def test_dividing_by_zero_is_infinite_and_reported():
    outputs = "moment(a*a) / eta as f, moment(a*a) * 0**(eta - 1) as g"
    program = tensorprog.compile(f"{HEAD}param eta = 0\noutput {outputs}\n")
    for method in ("span", "particles"):
        found = program.run(method=method)
        assert np.isinf(found["f"]) and np.isinf(found["g"])
        assert {w.code for w in found.warnings} == {"TP640"}
