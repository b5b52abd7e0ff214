"""First iterations that are written apart, merged with the others: networks compute the same, and the branches are gone where
they can be."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.finite.interpreter import Interpreter
from tensorprog.ir.program import If, walk
from tensorprog.passes.first_iterations import first_iterations
from tensorprog.passes.unit_steps import unit_steps

HEAD = """width n
size k = 1
param T : int = 4
matrix A : [n, n] ~ normal(0, 1/n)
vector y : [n] ~ normal(0, 1)
vector u : [n] ~ normal(0, 1)
"""

MERGED = {
    "families": """for t in range(T):
    if t == 0:
        z[t] = y
    else:
        z[t] = y - A @ x[t-1] + b[t-1] * z[t-1]
    x[t] = tanh(A.T @ z[t])
    b[t] = moment(1 - x[t]**2)
    q[t] = moment(x[t]*y)
output q, b
""",
    "an addition": """for t in range(T):
    z[t] = y + 0.5 * (A @ u)
    if t >= 1:
        z[t] -= 0.3 * b * old
    old = tanh(A @ z[t])
    b = moment(old**2)
    q[t] = moment(old*y)
output q
""",
    "values that are taken over": """for t in range(T):
    if 0 != t:
        now = x[t-1]
        v[t] = w[t-1]
        p = A @ now - v[t] * z[t-1]
    else:
        now = 0*y
        v[t] = 2
        p = 0*y
    z[t] = sin(p + y) / v[t]
    x[t] = now + A.T @ z[t]
    w[t] = moment(z[t]**2)
    q[t] = moment(x[t]*y)
output q, w
""",
    "a beginning that is computed": """for t in range(T):
    if t < 1:
        x = tanh(A @ y) + u
    else:
        x = last
    last = tanh(A @ x) + y
    q[t] = moment(last*y)
output q
""",
    "another start": """for t in range(2, T + 2):
    if t == 2:
        z[t] = y
    else:
        z[t] = y - A @ x[t-1]
    x[t] = tanh(z[t])
    q[t-2] = moment(x[t]*y)
output q
output moment(x[T+1]**2) as final
""",
    "a start with a name": """for t in range(k, T + k):
    if t == k:
        z[t] = y
    if t > k:
        z[t] = y + x[t-1]
    x[t] = tanh(A @ z[t])
    q[t-k] = moment(x[t]*y)
output q
""",
    "steps of two": """for t in range(0, 2*T, 2):
    if t == 0:
        z[t] = y
    else:
        z[t] = y + x[t-2]
    x[t] = tanh(A @ z[t])
    q[t//2] = moment(x[t]*y)
output q
"""}

APART = {
    "another first value": """for t in range(T):
    if t == 0:
        z[t] = 2*y
    else:
        z[t] = y - A @ x[t-1]
    x[t] = tanh(z[t])
    q[t] = moment(x[t]*y)
output q
""",
    "a second iteration": """for t in range(T):
    if t < 2:
        z[t] = y
    else:
        z[t] = y - A @ x[t-1]
    x[t] = tanh(z[t])
    q[t] = moment(x[t]*y)
output q
""",
    "a state from before the loop": """x = u
for t in range(T):
    if t == 0:
        z = y
    else:
        z = y - A @ x
    x = tanh(z)
    q[t] = moment(x*y)
output q
""",
    "a quotient of two that are carried": """for t in range(T):
    if t == 0:
        now = 0*y
    else:
        now = x[t-1] / w[t-1]
    x[t] = tanh(A @ now + u)
    w[t] = moment(x[t]**2)
    q[t] = moment(x[t]*y)
output q
""",
    "a product with a quotient": """for t in range(T):
    z = y
    if t > 0:
        z += (1/(w - v)) * x
    x = tanh(A @ z)
    w = moment(x**2)
    v = 2*w
    q[t] = moment(x*y)
output q
""",
    "what the iteration itself computes": """for t in range(T):
    z = tanh(A @ u) + t*y
    if t == 0:
        x = z
    else:
        x = y + last
    last = x
    q[t] = moment(x*z)
output q
"""}


def check(text: str, merged: bool) -> None:
    program = unit_steps(tensorprog.compile(HEAD + text).compiled.differentiated)
    changed = first_iterations(program)
    assert any(isinstance(s, If) for s in walk(changed.body)) != merged
    env = {"T": 4, "k": 1}
    for seed in range(2):
        one, two = (Interpreter(p, env, 20, seed, False).run() for p in (program, changed))
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", MERGED)
def test_branches_are_merged(name):
    check(MERGED[name], True)


@pytest.mark.parametrize("name", APART)
def test_branches_that_differ_stay(name):
    check(APART[name], False)
