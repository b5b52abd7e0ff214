"""Gradients of gradients, with respect to data, through factors and functions of matrices.

Each case computes a scalar `s` that depends on the parameter h, and its derivative `g` by h, as gradients of the
language: `g` is compared with finite differences of `s` in networks (float64), with gradients on a tape, and the
limit with wide networks.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import Generated, Generator, quick
from test_differentiate import assert_close, both_programs

import tensorprog
from tensorprog.diagnostics import ProgramError, Source
from tensorprog.finite import simulate

HEADER = """
width n
size P, d
param h = 0.3
param eta = 0.4
param T : int = 2
input X : [P, d]
input y : [P]
input R : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
matrix Q : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
vector b : [n] ~ normal(0, 1)     # so that nothing vanishes by symmetry

def net(xi) = moment((v + b) * tanh(W @ tanh(U @ xi) + b))
"""

#: `s` and `g`, the derivative of `s` by h.
CASES = {
    "by_a_parameter": """
        s = moment(tanh(h*v) * v) + h**2 * moment(tanh(W @ tanh(v + h*w))**2)
        g = grad(s, h)
        """,
    "by_an_input": """
        def shifted(xi, t, r) = moment((v + b) * tanh(W @ tanh(U @ xi + t*(U @ r)) + b))
        s = grad(shifted(X[0], h, R[1]), X[0]) @ R[2]
        g = grad(s, h)
        """,
    "hessian_vector_product": """
        B = outer(v, tanh(U @ X[1]))
        W1 = W + h/n * B
        for a in range(P):
            f[a] = moment((v + b) * tanh(W1 @ tanh(U @ X[a]) + b))
        loss = mean((f[a] - y[a])**2 for a in range(P)) / 2
        G = grad(loss, W1)
        s = dot(G, outer(tanh(v), U @ X[0])) / n
        H = grad(s, W1)
        g = dot(H, B) / n
        """,
    "hessian_of_vectors": """
        u1 = v + h*w + 0.5
        loss = moment(tanh(W @ u1)**2 * u1) + moment(u1**3)*moment(tanh(u1))
        G = n*grad(loss, u1)
        s = moment(G * tanh(v))
        g = dot(grad(s, u1), w)
        """,
    "norm_of_a_gradient": """
        W1 = W + h/n * outer(v, w)
        loss = moment((v + b) * tanh(W1 @ tanh(w) + b))
        s = norm(grad(loss, W1))**2 + norm(grad(loss, W1))
        g = grad(s, h)
        """,
    "learning_rate": """
        for t in range(T):
            for a in range(P):
                f[t, a] = net(X[a])
            loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
            U -= h * n * grad(loss[t], U)
            v -= h * n * grad(loss[t], v)
            W -= h * grad(loss[t], W)
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "momentum_and_decay": """
        M = 0 * outer(v, v)
        for t in range(T):
            loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
            M = h*M + n*grad(loss, W)
            W *= 1 - h*eta
            W -= eta/n * M
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "adam": """
        M = 0 * outer(v, v)
        S = 0 * outer(v, v)
        for t in range(T):
            loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
            G = n * grad(loss, W)
            M = h*M + (1 - h)*G
            S = 0.9*S + 0.1*G**2
            W -= eta/n * M / sqrt(S + h**2)
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "smoothed_signs": """
        loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
        G = n * grad(loss, W)
        W -= eta/n * tanh(h*G) + eta/n * exp(-G**2) * erf(G.T).T + eta/n * (h - max(G, h*tanh(G)))
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "powers_and_quotients": """
        A = outer(exp(h*tanh(v)), 1 + tanh(w)**2)
        B = 1.5 + tanh(outer(w, h + v))
        s = norm(A / B)/n + dot(A**h, sqrt(B))/n**2 + dot(h / B, sin(A))/n**2
        g = grad(s, h)
        """,
    "polar": """
        for t in range(T):
            loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
            G = n * grad(loss, W) + h*outer(v, tanh(h*w))
            W -= eta * polar(G)
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "polar_twice": """
        B = outer(v + b, tanh(w))/n
        M = outer(v, tanh(h*w))/n + outer(tanh(W @ v), w + b)/n + h*B
        q = moment((v + b) * tanh(polar(M) @ (w + b) + b))
        s = dot(grad(q, M), B) + norm(grad(q, M))
        g = grad(s, h)
        """,
    "newton_schulz": """
        loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
        G = grad(loss, W) + h/n*outer(v, w)
        N = G / norm(G)
        for k in range(3):
            N = 1.5*N - 0.5*N @ N.T @ N
        W -= eta * N
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
    "inner_product_with_a_random_matrix": """
        W *= h
        loss = mean((net(X[a]) - y[a])**2 for a in range(P)) / 2
        s = dot(grad(loss, W), W) + dot(grad(loss, W).T, Q)
        g = grad(s, h)
        """,
    "sharpness": """
        A = outer(v, tanh(U @ X[1]))
        c = tanh(v)
        for k in range(T):
            W1 = W + h/n * outer(v, tanh(U @ X[0]))
            v1 = v
            loss = mean((moment((v1 + b) * tanh(W1 @ tanh(U @ X[a]) + b)) - y[a])**2 for a in range(P)) / 2
            q = dot(grad(loss, W1), A)/n + dot(grad(loss, v1), c)
            A = n * grad(q, W1)
            c = n * grad(q, v1)
            r = sqrt(norm(A)**2/n**2 + moment(c**2))
            A = A/r
            c = c/r
        s = r
        g = grad(s, h)
        """,
    "gradient_penalty": """
        for t in range(T):
            for a in range(P):
                x = U @ X[a]
                f[a] = moment((v + b) * tanh(W @ tanh(x) + b))
                p[a] = n*moment(grad(f[a], x)**2)*n
            loss = mean((f[a] - y[a])**2 + h*p[a] for a in range(P))
            W -= eta * grad(loss, W)
            U -= eta * n * grad(loss, U)
        s = mean((net(X[a]) - y[a])**2 for a in range(P))
        g = grad(s, h)
        """,
}


def text_of(case: str) -> str:
    return HEADER + textwrap.dedent(CASES[case]) + "output s, g\n"


def data(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {"X": generator.standard_normal((3, 2)), "R": generator.standard_normal((3, 2)),
            "y": generator.standard_normal(3)}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_differences_of_networks(case):
    source = Source("case.tp", text_of(case))
    checked, plain = both_programs(source)
    env = {**data(), "P": 3, "d": 2, "T": 2, "eta": 0.4, "h": 0.3}
    found = simulate(plain, env, width=12, seeds=3)
    assert_close(found, simulate(checked, env, width=12, seeds=3))
    values = [simulate(plain, {**env, "h": 0.3 + step}, width=12, seeds=3)["s"] for step in (-1e-5, 1e-5)]
    np.testing.assert_allclose(found["g"], (values[1] - values[0]) / 2e-5, rtol=1e-5, atol=1e-7)


@pytest.mark.quick("learning_rate", "adam", "hessian_vector_product")
@pytest.mark.parametrize("case", CASES)
def test_limits_are_limits_of_networks(case):
    program = tensorprog.compile(text_of(case))
    limit = program.run(data(), samples=512, replicates=8)
    networks = program.simulate(data(), width=512, seeds=8)
    for name in ("s", "g"):
        allowed = 5 * np.hypot(limit.error[name], networks.error[name]) + 5 / 512 * max(1, abs(limit[name]))
        assert abs(limit[name] - networks[name]) <= allowed, (name, limit[name], networks[name], allowed)


@pytest.mark.slow_cases("polar", "newton_schulz", "momentum_and_decay", "smoothed_signs", "gradient_penalty")
@pytest.mark.parametrize("case", CASES)
def test_gradients_of_limits_are_their_finite_differences(case):
    """With common random numbers, so that most of the noise of `s` cancels; what does not is small against more particles and a
    larger step."""
    program = tensorprog.compile(text_of(case))
    samples, step = (4096, 0.05) if case in ("smoothed_signs", "gradient_penalty") else (1024, 0.01)
    run = lambda h: program.run(data(), samples=samples, replicates=4, method="particles", tolerance=1e-6, h=h)
    found, below, above = (run(h) for h in (0.3, 0.3 - step, 0.3 + step))
    difference = (above["s"] - below["s"]) / (2 * step)
    assert abs(found["g"] - difference) <= found.error["g"] / 2 + abs(difference) / 50, (found["g"], difference)


@st.composite
def second_gradients(draw):
    """A random program with a scalar, a scalar made of its gradients, and the gradients of that."""
    generator = Generator(lambda k: draw(st.integers(0, k - 1)), steps=3)
    lines = [line for line in generator.program().splitlines() if not line.startswith("output")]
    one, two, x, z = generator.scalar(), generator.scalar(), generator.vector("n", 1), generator.vector("n", 1)
    lines += [f"first = {one} + moment(tanh(W @ u) * {x})",
              f"second = n*moment(grad(first, u) * {z}) + dot(grad(first, W), outer({x}, tanh(u)))/n + {two}",
              "third = moment(tanh(n*grad(second, u))) + norm(grad(second, W))**2",
              "output first, second, third, n*moment(grad(second, u) * v) as by_vector",
              "output dot(grad(second, W), outer(v, u))/n as by_matrix, sum(grad(second, X)) as by_input",
              "output moment(n*grad(third, u) * v) as by_vector_again"]
    return Generated("\n".join(lines) + "\n", draw(st.integers(0, 3)))


@quick(12)
@given(second_gradients())
def test_random_second_gradients(generated):
    checked, plain = both_programs(Source("random.tp", generated.text))
    assume(plain is not None)
    try:
        expected = simulate(checked, generated.env, width=5, seeds=2)
    except ProgramError as error:
        assert "when the scalar was computed" in str(error)
        assume(False)
    assert_close(simulate(plain, generated.env, width=5, seeds=2), expected, tolerance=1e-7)
