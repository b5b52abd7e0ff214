"""Names that a loop reads in later iterations, before the statement that assigns them."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

HEAD = """width n
size P = 2
param T : int = 4
matrix W : [n, n] ~ normal(0, 1/n)
vector u : [n] ~ normal(0, 1)
vector w[2] : [n] ~ normal(0, 1)
"""

#: The same with names that are there before the loop.
PAIRS = {
    "a name": ("""for t in range(T):
    h = W @ u
    if t > 0:
        h -= b * old
    old = tanh(h)
    b = moment(old**2)
    q[t] = moment(old*u)
output q
""", """b = 0.0
old = 0*u
for t in range(T):
    h = W @ u - b*old
    old = tanh(h)
    b = moment(old**2)
    q[t] = moment(old*u)
output q
"""),
    "a family": ("""for t in range(T):
    if t > 0:
        h[t] = W @ x[t-1]
    else:
        h[t] = u
    x[t] = tanh(h[t])
    q[t] = moment(x[t]*u)
output q
""", """h[0] = u
x[0] = tanh(u)
q[0] = moment(x[0]*u)
for t in range(1, T):
    h[t] = W @ x[t-1]
    x[t] = tanh(h[t])
    q[t] = moment(x[t]*u)
output q
"""),
    "a sum over what was before": ("""for t in range(T):
    h = u + sum(c[s] * (W @ x[s]) for s in range(t))
    x[t] = tanh(h)
    c[t] = moment(x[t]**2)
    q[t] = moment(x[t]*u)
output q
""", """for t in range(T):
    h = u
    for s in range(t):
        h += back[s]
    x[t] = tanh(h)
    back[t] = moment(x[t]**2) * (W @ x[t])
    q[t] = moment(x[t]*u)
output q
"""),
    "a choice": ("""for t in range(T):
    for a in range(P):
        h = (x[t-1, a] if t > 0 else w[a]) + u
        x[t, a] = tanh(W @ h)
        q[t, a] = moment(x[t, a]*u)
output q
""", """for a in range(P):
    x[0, a] = w[a]
for t in range(T):
    for a in range(P):
        x[t+1, a] = tanh(W @ (x[t, a] + u))
        q[t, a] = moment(x[t+1, a]*u)
output q
"""),
    "two that wait for each other": ("""for t in range(T):
    if t > 0:
        a = W @ d
        d = a - c*u
    else:
        d = u
    c = moment(d**2)
    q[t] = moment(d*u)
output q
""", """d = u
c = moment(d**2)
q[0] = moment(d*u)
for t in range(1, T):
    d = W @ d - c*u
    c = moment(d**2)
    q[t] = moment(d*u)
output q
""")}


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_networks(name):
    one, two = (tensorprog.compile(HEAD + text).simulate(width=30, seeds=2)["q"] for text in PAIRS[name])
    assert np.abs(one - two).max() < 1e-12


@pytest.mark.parametrize("body", [
    "    h = W @ x\n    x = tanh(h)\n", "    h = W @ x[t]\n    x[t] = tanh(h)\n",
    "    if t == 0:\n        h = W @ x\n    else:\n        h = u\n    x = tanh(h)\n",
    "    for a in range(P):\n        h = W @ x\n    x = tanh(h)\n"])
def test_what_the_first_iteration_reads_is_a_mistake(body):
    with pytest.raises(ProgramError) as error:
        tensorprog.compile(HEAD + "for t in range(T):\n" + body + "output moment(h*u)\n")
    assert "TP201" in [d.code for d in error.value.diagnostics]


@pytest.mark.parametrize("condition, position", [("t < 2", "x[-1]"), ("t != 1", "x[-1]")])
def test_what_is_read_too_early_is_found_before_a_run(condition, position):
    program = tensorprog.compile(HEAD + f"for t in range(T):\n    if {condition}:\n        h = u\n    else:\n        h = W @ x[t+1]\n"
                                 "    x[t] = tanh(h)\n    q[t] = moment(x[t]*u)\noutput q\n")
    with pytest.raises(ProgramError) as error:
        program.simulate(width=10, seeds=1)
    assert error.value.diagnostics[0].code == "TP602"
