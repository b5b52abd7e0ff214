"""Planning is bounded work, the same on every machine; its verdict is kept; an output that has no equations hinders none."""

import numpy as np
import pytest
from scipy.integrate import quad

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
    plan = {c.output.name: c.evaluator for c in program.plan.choices}
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


@pytest.mark.quick("6")
@pytest.mark.parametrize("depth", [6, 10])
def test_functions_that_call_one_another_are_expanded(depth):
    text = "width n\nvector v : [n] ~ normal(0, 1)\ndef f0(x) = x / sqrt(1 + x*x)\n"
    text += "".join(f"def f{k}(x) = f{k - 1}(f{k - 1}(x))\n" for k in range(1, depth + 1))
    result = tensorprog.compile(f"{text}output moment(f{depth}(v)**2) as q\n").run(method="particles", samples=512)
    times = 2**depth  # f0 applied so often is x / sqrt(1 + times x**2)
    expected, _ = quad(lambda x: x**2 / (1 + times * x**2) * np.exp(-x**2 / 2) / np.sqrt(2 * np.pi), -np.inf, np.inf)
    assert abs(result["q"] - expected) < 5 * result.error["q"] + 1e-4 * expected


def test_equal_calls_are_expanded_once():
    text = "width n\nvector v : [n] ~ normal(0, 1)\ndef f0(x) = tanh(x)\n"
    text += "".join(f"def f{k}(x) = f{k - 1}(x) - f{k - 1}(x) / 2\n" for k in range(1, 31))
    program = tensorprog.compile(f"{text}output moment(f30(v)**2) * 2**60 as q, moment(tanh(v)**2) as once\n")
    result = program.run()
    assert result["q"] == pytest.approx(result["once"], rel=1e-12)


def test_what_is_stored_between_calls_is_seen():
    text = ("width n\nparam c = 1.0\nvector v : [n] ~ normal(0, 1)\ns = 1.0\ndef f(x) = s * x\n"
            "a = f(v)\ns = 3.0\nb = f(v)\noutput moment(a*b) as ab, moment(b*b) as bb\n")
    result = tensorprog.compile(text).run()
    assert (float(result["ab"]), float(result["bb"])) == (3.0, 9.0)


def test_derivatives_go_through_calls_that_were_expanded_before():
    text = ("width n\nvector v : [n] ~ normal(0, 1)\ndef f(x) = x*x\ndef g(x) = f(x) + f'(x) + f''(x)\n"
            "def h(x) = g(x) + g'(x)\noutput moment(h(v)) as q\n")
    assert float(tensorprog.compile(text).run()["q"]) == pytest.approx(1 + 2 + 2)  # x^2 + 2x + 2, and 2x + 2


def test_outputs_are_judged_linear_one_by_one():
    lines = [f"q{k} = moment({'tanh(v)*v' if k % 2 else 'v*v'} * {k + 1})" for k in range(30)]
    text = "width n\nvector v : [n] ~ normal(0, 1)\n" + "\n".join(lines)
    program = tensorprog.compile(f"{text}\noutput {', '.join(f'q{k}' for k in range(30))}\n")
    evaluators = [c.evaluator for c in program.plan.choices]
    assert evaluators == ["span", "covariance"] * 15


def test_reasons_speak_of_the_program():
    program = tensorprog.compile("""width n
vector a : [n] ~ normal(0, 1)
vector b[4] : [n] ~ normal(0, 1)
vector s : [n] ~ sparse_normal(0.1, 1)
matrix W : [n, n] ~ normal(0, 1/n)
h = W @ tanh(a)
output moment(tanh(h*b[0] + b[1]*b[2]) * relu(b[3]*s + a*b[1])) as q
""")
    (choice,) = program.plan.choices
    assert choice.evaluator == "particles" and "`W @ ...`" in choice.reason and "`s`" in choice.reason
    assert "z0" not in choice.reason
