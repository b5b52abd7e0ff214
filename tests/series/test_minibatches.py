"""The kernel regime with minibatches, momentum and weight decay, against kernel gradient descent with the arc-cosine kernel (Cho and
Saul 2009) in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.bind import bind
from tensorprog.diagnostics import Reporter
from tensorprog.finite.interpreter import simulate
from tensorprog.passes.by_rows import by_rows
from tensorprog.pipeline import differentiated

X = np.array([[1, 0, 1.0], [0, 1, 1], [1, 1, 0], [0.5, -1, 1], [2, 0.1, -1]])
Y = np.array([1, -1, 1, -1.0, 0.5])
T, B, ETA = 9, 2, 0.7
ORDER = np.random.default_rng(3).integers(len(Y), size=(T, B))
DATA = {"X": X, "y": Y}

HEAD = f"""width n
size P, d
param T : int = {T}
param B : int = {B}
input X : [P, d]
input y : [P]
{{inputs}}
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
def net(x):
    return dot(v, relu(U @ x)) / sqrt(n)
"""
F = "    for a in range(P):\n        f[t, a] = net(X[a])\n"
STEP = f"    U -= {ETA} * grad(l, U)\n    v -= {ETA} * grad(l, v)\n"


def kernels() -> tuple[np.ndarray, np.ndarray]:
    """E relu(h) relu(h') for h = U x, and with <x, x'> E step(h) step(h') added, the tangent kernel."""
    gram = X @ X.T
    size = np.sqrt(np.diag(gram))
    angle = np.arccos(np.clip(gram / np.outer(size, size), -1, 1))
    np.fill_diagonal(angle, 0.0)
    first = np.outer(size, size) / X.shape[1] * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return first, first + gram * (np.pi - angle) / (2 * np.pi)


def kernel_gradient_descent(rows_of, steps: int = T, momentum: float = 0.0, kept: float = 1.0) -> np.ndarray:
    """The mean of f[t], where step t has the loss of `rows_of(t)`, and weights are multiplied by `kept` in each."""
    kernel, weights, velocity, found = kernels()[1], np.zeros(len(Y)), np.zeros(len(Y)), []
    for t in range(steps):
        f = kept**t * kernel @ weights
        found.append(f)
        gradient = np.zeros(len(Y))
        for row in (rows := list(rows_of(t))):
            gradient[row] += (f[row] - Y[row]) / len(rows)
        velocity = momentum * velocity + kept**t * gradient
        weights = kept * weights - ETA * velocity
    return np.array(found)


def of_rows(t: int) -> np.ndarray:
    return ORDER[t]


def one_row(t: int) -> np.ndarray:
    return ORDER[t, :1]


def loss_of(rows: str) -> str:
    return f"    l = mean((net(X[{rows}]) - y[{rows}])**2 for b in range(B)) / 2\n"


LOOP = "for t in range(T):\n" + F
# A name, its inputs, the program after its head, and what rows the steps have.
PICKED = "input order : [T, B] int"
SPELLINGS = {
    "all rows": ("", LOOP + "    l = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2\n" + STEP, lambda t: range(len(Y))),
    "rows in turn": ("", LOOP + loss_of("(t*B + b) % P") + STEP, lambda t: [(t * B + b) % len(Y) for b in range(B)]),
    "an order": (PICKED, LOOP + loss_of("order[t, b]") + STEP, of_rows),
    "a loop over a sum": (PICKED, LOOP + """
    l = 0
    for b in range(B):
        i = order[t, b]
        g = net(X[i])
        l += (g - y[i])**2 / 2 / B
""" + STEP, of_rows),
    "a family of outputs": (PICKED, LOOP + """
    for b in range(B):
        g[t, b] = net(X[order[t, b]])
    l = sum((g[t, b] - y[order[t, b]])**2 for b in range(B)) / (2*B)
""" + STEP, of_rows),
    "outputs of all rows": (PICKED, LOOP + """
    l = mean((f[t, order[t, b]] - y[order[t, b]])**2 for b in range(B)) / 2
""" + STEP, of_rows),
    "one row": (PICKED, LOOP + "    l = (net(X[order[t, 0]]) - y[order[t, 0]])**2 / 2\n" + STEP, one_row),
    "new rows in every step": ("input Z : [T, B, d]\ninput z : [T, B]",
                               LOOP + "    l = mean((net(Z[t, b]) - z[t, b])**2 for b in range(B)) / 2\n" + STEP, of_rows),
    "a family of losses": (PICKED, "for t in range(T):\n" + F + loss_of("order[t, b]").replace("l =", "l[t] =")
                           + STEP.replace("(l,", "(l[t],"), of_rows),
}
ALSO = {"Z": X[ORDER], "z": Y[ORDER], "order": ORDER}


def program_of(name: str) -> tuple[tensorprog.CompiledProgram, dict[str, np.ndarray]]:
    inputs, body, _ = SPELLINGS[name]
    program = tensorprog.compile(HEAD.format(inputs=inputs) + body + "output f\n")
    return program, DATA | {k: v for k, v in ALSO.items() if f"input {k} " in inputs}


@pytest.mark.slow_cases("new rows in every step")
@pytest.mark.parametrize("name", SPELLINGS)
def test_minibatches_are_kernel_gradient_descent_on_their_rows(name):
    program, data = program_of(name)
    found = program.run(data)
    assert found.method["f"] == "covariance"
    np.testing.assert_allclose(found["f"], kernel_gradient_descent(SPELLINGS[name][2]), rtol=1e-9, atol=1e-9)


def test_epochs_of_single_rows():
    program = tensorprog.compile(HEAD.format(inputs="") + """
for e in range(3):
    for a in range(P):
        f[e, a] = net(X[a])
    for i in range(P):
        l = (net(X[i]) - y[i])**2 / 2
""" + STEP.replace("    ", "        ") + "output f\n")
    found = program.run(DATA)
    assert found.method["f"] == "covariance"
    expected = kernel_gradient_descent(lambda t: [t % len(Y)], steps=3 * len(Y))[::len(Y)]
    np.testing.assert_allclose(found["f"], expected, rtol=1e-9, atol=1e-9)


def test_momentum_of_minibatches():
    body = LOOP + loss_of("order[t, b]") + f"""
    mu = 0.9*mu + grad(l, U)
    mv = 0.9*mv + grad(l, v)
    U -= {ETA} * mu
    v -= {ETA} * mv
output f
"""
    found = tensorprog.compile(HEAD.format(inputs=f"{PICKED}\nmatrix mu : [n, d] = 0\nvector mv : [n] = 0") + body).run(
        DATA | {"order": ORDER})
    assert found.method["f"] == "covariance"
    np.testing.assert_allclose(found["f"], kernel_gradient_descent(of_rows, momentum=0.9), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("decay", ["    U *= 1 - lam\n    v *= 1 - lam\n" + STEP,
                                   f"    U -= {ETA} * grad(l, U) + lam*U\n    v -= {ETA} * grad(l, v) + lam*v\n"])
def test_weight_decay_of_order_one_changes_the_kernel(decay):
    """A network of relu is homogeneous: after t steps, its features are kept**t times the first ones."""
    text = HEAD.format(inputs=PICKED + "\nparam lam = 0.1") + LOOP + loss_of("order[t, b]") + decay + "output f\n"
    found = tensorprog.compile(text).run(DATA | {"order": ORDER}, samples=2048)
    expected = kernel_gradient_descent(of_rows, kept=0.9)
    assert found.method["f"] == "particles"
    assert np.all(np.abs(found["f"] - expected) < 4 * found.error["f"] + 1e-4) and found.error["f"].max() < 1e-2


def test_decay_that_vanishes_with_the_width_changes_nothing():
    text = HEAD.format(inputs=PICKED) + LOOP + loss_of("order[t, b]") + "    U *= 1 - 0.1/n\n    v *= 1 - 0.1/sqrt(n)\n" + STEP
    found = tensorprog.compile(text + "output f\n").run(DATA | {"order": ORDER})
    np.testing.assert_allclose(found["f"], kernel_gradient_descent(of_rows), rtol=1e-9, atol=1e-9)


def test_the_covariance_of_what_minibatches_train():
    """f is affine in its draw at initialization: covariance A C A.T, with the arc-cosine kernel as C."""
    program, data = program_of("an order")
    found = program.run(data)
    first, kernel = kernels()
    slope = np.eye(len(Y))
    for t in range(T):
        np.testing.assert_allclose(found.spread["f"].covariance[t, :, t, :], slope @ first @ slope.T, rtol=1e-8, atol=1e-9)
        picked = np.zeros((len(Y), len(Y)))
        for row in ORDER[t]:
            picked[row, row] += 1 / B
        slope = slope - ETA * kernel @ picked @ slope


@pytest.mark.parametrize("name", ["rows in turn", "one row", "a loop over a sum", "new rows in every step"])
def test_networks_compute_the_same_by_rows(name):
    """What is computed of all rows is what the step computed of its own: the same numbers in every network."""
    program, data = program_of(name)
    other = by_rows(program.program)
    assert other is not program.program
    env = bind(program.program, data)
    found = [simulate(differentiated(p, Reporter(program.source)), env, width=16, seeds=2)["f"] for p in (program.program, other)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


@pytest.mark.parametrize("decay, rows, why", [("0.9", "", "vectors that depend on the step"), ("1", " if (a + t) % 2 == 0", "a condition")])
def test_the_plan_says_why_training_moves_vectors(decay, rows, why):
    loss = f"    l = mean((f[t, a] - y[a])**2 for a in range(P){rows})\n"
    text = f"{HEAD.format(inputs='')}for t in range(T):\n{F}{loss}    U *= {decay}\n{STEP}output f\n"
    plan = tensorprog.compile(text).emit("plan")
    assert "training: moves vectors" in plan and why in plan
