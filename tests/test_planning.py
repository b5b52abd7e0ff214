"""Planning is bounded work, the same on every machine; its verdict is kept; an output that has no equations hinders none."""

import numpy as np
import pytest

import tensorprog
from tensorprog.covariance import build
from tensorprog.covariance.budget import Budget, TooMuch, limited, require_expandable, shared, size, spend

GRU = """
width n
size P, S, d
input X : [P, S, d]
matrix W : [n, n] ~ normal(0, 1)
matrix U : [n, d] ~ normal(0, 1/d)
vector h0 : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)

def net(x):
    h = h0
    for s in range(S):
        z = sigmoid(W @ h / sqrt(n) + U @ x[s])
        h = (1 - z) * h + z * tanh(U @ x[s])
    return dot(v, h) / sqrt(n)

for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for b in range(P):
        nngp[a, b] = cov(f[a], f[b])
        theta[a, b] = ntk(f[a], f[b]; W, U, v)
output nngp, theta, moment(tanh(h0)**2) as simple
"""

SIGNS = """
width n
size B, d
param T : int = 3
param eta = 0.5
input X : [B, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector a : [n] ~ rademacher()

for t in range(T):
    for b in range(B):
        f[t, b] = moment(a * (U @ X[b])**2)
    loss[t] = mean((f[t, b] - 1)**2 for b in range(B))
    U -= eta * n * grad(loss[t], U)
output f
"""


def spent(program, monkeypatch) -> float:
    """The steps that planning takes."""
    budgets = []
    monkeypatch.setattr(build, "Budget", lambda steps: budgets.append(Budget(steps)) or budgets[-1])
    program.compiled.covered
    return budgets[0].spent


def test_planning_gives_up_at_the_first_expectation_that_cannot_be_closed(monkeypatch):
    program = tensorprog.compile(GRU)
    steps = spent(program, monkeypatch)
    plan = {c.output.name: c.evaluator for c in program.compiled.plan.choices}
    assert plan == {"nngp": "particles", "theta": "particles", "simple": "covariance"}
    assert steps < build.MOST_STEPS / 10
    assert spent(tensorprog.compile(GRU), monkeypatch) == steps


def test_an_output_without_equations_leaves_nothing_behind():
    system = tensorprog.compile(GRU).compiled.covered.system
    (cell,) = system.outputs
    assert set(system.equations) == system.needed(cell).equations
    assert len(system.equations) == 2


def test_planning_stops_when_its_budget_is_used_up(monkeypatch):
    monkeypatch.setattr(build, "MOST_STEPS", 400)
    compiled = tensorprog.compile(GRU).compiled
    assert set(compiled.covered.reasons.values()) == {"finding its equations takes too much work"}


def test_powers_of_signs_close_recursions():
    """a**2 is 1: the kernel M = U.T U, by signs, follows gradient flow in d x d numbers,
    U <- U - (2 eta / B) sum_b (f_b - 1) 2 a (U x_b) x_b."""
    X = np.random.default_rng(0).normal(size=(3, 2)) / 2
    program = tensorprog.compile(SIGNS)
    found = program.run({"X": X})
    assert set(found.method.values()) == {"covariance"}
    halves = {sign: np.eye(2) for sign in (1, -1)}  # U of a coordinate with this sign is its initial value times this
    for t in range(3):
        gram = {sign: A @ A.T / 2 for sign, A in halves.items()}
        f = np.array([x @ (gram[1] - gram[-1]) @ x / 2 for x in X])
        assert found["f"][t] == pytest.approx(f, abs=1e-13)
        step = sum(2 * (fb - 1) * np.outer(x, x) for fb, x in zip(f, X)) / 3
        halves = {sign: A - 0.5 * sign * 2 * step @ A for sign, A in halves.items()}


def test_a_budget_is_shared_and_counted():
    with limited(Budget(10)) as budget:
        with shared(1 / 2):
            spend(4)
        assert (budget.left, budget.spent) == (6, 4)
        with pytest.raises(TooMuch), shared(1 / 2):
            spend(4)
    spend(1e9)  # no budget at hand


def test_sums_that_would_explode_are_not_multiplied_out():
    import sympy

    x = sympy.symbols("x:12")
    with pytest.raises(build.Unsupported):
        require_expandable(sympy.Add(*x) ** 12)
    assert require_expandable(sympy.Add(*x) ** 2) == 15 == size(sympy.Add(*x) ** 2)
