"""Gradients by source transformation against gradients on a tape, on random programs.

`TENSORPROG_EXAMPLES=2000 pytest tests/passes/test_differentiate.py` searches further (and shrinks what it finds).
"""

import textwrap

import numpy as np
import pytest
from declarations import DECLARATIONS
from hypothesis import assume, given
from strategies import QUICK, SIZES, programs, random_program

import tensorprog
from tensorprog.check import front
from tensorprog.diagnostics import ProgramError, Reporter, Source
from tensorprog.finite import simulate
from tensorprog.ir.program import Program
from tensorprog.pipeline import differentiated

HEADER = DECLARATIONS + """
matrix Q : [n, n] ~ normal(0, 1/n)
"""

CASES = {
    "gradient_through_gradients": """
        s = moment(v * tanh(W @ u))
        g = n * grad(s, u)
        r = moment(g**2 * v)
        k = n * grad(r, v)
        G = grad(r, W)
        q = moment(u * (G @ u)) + moment(k * u)
        output moment(grad(q, u)**2) as a, moment(k**2) as b, q
        """,
    "copies_trained_in_a_loop": """
        for a in range(P):
            W1 = W
            x1 = U @ X[a]
            for t in range(T):
                e = moment(v * tanh(W1 @ x1))
                W1 -= eta * grad(e, W1)
                x1 -= eta * n * grad(e, x1)
            f[a] = moment(v * tanh(W1 @ x1))
        loss = mean((f[a] - y[a])**2 for a in range(P))
        output f, loss, moment(u * (grad(loss, W) @ v)) as g, moment(grad(loss, U)[:, 0] * u) as h
        """,
    "tied_transposed_and_updated_matrix": """
        x = u
        for t in range(T):
            x = W.T @ tanh(W @ x)
            W += 0.5/n * outer(tanh(x), v)
            W *= 0.9
        s = moment(x * v)
        output moment(grad(s, u)**2) as a, moment(grad(s, v)**2) as b
        """,
    "earlier_iterations_of_a_family": """
        h[0] = u
        for t in range(T):
            h[t+1] = tanh(h[t])
            s = moment(h[t+1]*v)
            q[t] = moment(grad(s, u)*v)
        output q
        """,
    "earlier_iterations_of_a_name": """
        h = u
        for t in range(T):
            s = moment(h*v)
            g = grad(s, u)
            h = 0.5*h
        output moment(g*v) as q
        """,
    "family_element_in_the_loop_that_fills_it": """
        h[0] = u
        for t in range(T):
            h[t+1] = tanh(h[t])
            s = moment(h[t+1]*v)
            q[t] = n*moment(grad(s, h[t])*v)
            r[t] = n*moment(grad(s, h[0])*v)
        output q, r
        """,
    "second_order_of_a_quotient": """
        s = moment(v / (1 + u**2))
        g = n*grad(s, u)
        r = moment(g**2*v)
        output moment(grad(r,u)*v) as q
        """,
    "scaled_matrix": """
        M = W
        M *= 0.5
        s = moment((M @ u) * v)
        output moment((grad(s, W) @ u) * v) as q
        """,
    "name_carried_through_a_loop": """
        h = u
        for t in range(T):
            h = W @ tanh(h) + U @ X[order[t]]
        s = moment(v * h)
        a = grad(s, u)
        G = grad(s, W)
        output moment(a*v) as a0, moment(u * (G @ v)) as g0, moment(grad(s, U) @ X[0]) as gu
        """,
    "loop_that_counts_down": """
        h[T] = u
        for t in range(T-1, -1, -1):
            h[t] = B[t % L].T @ tanh(h[t+1])
        s = moment(v * h[0])
        for l in range(L):
            q[l] = moment(u * (grad(s, B[l]) @ v))
        for t in range(T+1):
            r[t] = moment(grad(s, h[t])**2)
        output q, r
        """,
    "loops_in_loops": """
        for a in range(P):
            h = U @ X[a]
            for t in range(1, T):
                for l in range(L-1, -1, -1):
                    h = 0.5*h + B[l] @ erf(h + y[a]*w[l])
            f[a] = moment(v * h)
        loss = mean((f[a] - y[a])**2 for a in range(P))
        for l in range(L):
            p[l] = moment(grad(loss, w[l])**2)
            q[l] = moment(u * (grad(loss, B[l]) @ v))
        output p, q, moment(grad(loss, v)**2) as r, moment(grad(loss, U)[:, 1]**2) as s
        """,
    "local_family_of_a_function": """
        def net(x, depth):
            g[0] = x
            for l in range(depth):
                g[l+1] = W @ tanh(g[l]) + g[0]
            return moment(v * g[depth])
        for t in range(T):
            for a in range(P):
                f[t, a] = net(U @ X[a], 2)
            loss[t] = sum((f[t, a] - y[a])**2 for a in range(P))
            U -= eta * n * grad(loss[t], U)
            W -= eta * grad(loss[t], W)
            v -= eta * n * grad(loss[t], v)
        output f, loss
        """,
    "branches": """
        x = u
        for t in range(T):
            if t == 0:
                x = W @ x
            elif t % 2 == 0:
                x = tanh(W.T @ x)
            else:
                x = x * (v if t == 1 else u)
        s = moment(x**2)
        output moment(grad(s, u)**2) as a, moment(grad(s, v)**2) as b, moment(u * (grad(s, W) @ v)) as c
        """,
    "comprehensions": """
        x = sum(y[a] * tanh(U @ X[a] * u) for a in range(P)) + prod(w[l] for l in range(L))
        z = max(w[l] * x for l in range(L)) - min(tanh(w[l]) for l in range(L))
        s = mean(moment(z * w[i] * w[j]) for i in range(L) for j in range(L) if i < j)
        s += max(moment(w[l]*x) for l in range(L))
        for l in range(L):
            q[l] = moment(grad(s, w[l]) * v)
        output q, moment(grad(s, u)**2) as r, s
        """,
    "scalar_of_an_earlier_iteration": """
        for t in range(T):
            loss[t] = moment(tanh(W @ u * (t + 1)) * v)
        for t in range(T):
            q[t] = moment(grad(loss[T-1-t], u) * v)
        output q, moment(grad(loss[1], W) @ u * v) as r
        """,
    "several_scalars_and_variables": """
        x = W @ tanh(u)
        z = Q.T @ tanh(x)
        a = moment(x * z)
        b = moment(z * v) * a
        output moment(grad(a, x)**2) as p, moment(grad(b, x)**2) as q, moment(grad(b, z)**2) as r
        output moment(grad(a, u)*grad(b, u)) as s, moment(v * (grad(b, Q) @ u)) as t0, moment(grad(b, v)*u) as t1
        """,
    "finite_by_width": """
        for t in range(T):
            o[t] = V @ tanh(U @ X[order[t]])
            loss[t] = sum((o[t, k] - y[0])**2 for k in range(K))
            V -= eta/n * grad(loss[t], V)
            U -= eta * grad(loss[t], U)
        output o, loss, moment(grad(loss[T-1], V)[0] * u) as g
        """,
}


def both_programs(source: Source) -> tuple[Program, Program | None]:
    """The checked program, and the one without gradients; None where a diagnostic says why there is none."""
    reporter = Reporter(source)
    checked = front(source, reporter)
    try:
        plain = differentiated(checked, reporter)
    except ProgramError as error:
        assert {d.code for d in error.diagnostics} <= {"TP420", "TP421"}
        return checked, None
    return checked, plain


def assert_close(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        with np.errstate(invalid="ignore", over="ignore"):
            scale = max(1.0, np.max(np.abs(expected[name]), initial=0.0, where=np.isfinite(expected[name])))
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of(case):
    source = Source(case, HEADER + textwrap.dedent(CASES[case]))
    env = random_program(0, steps=1).env
    checked, plain = both_programs(source)
    assert plain is not None
    expected = simulate(checked, env, width=6, seeds=[1, 2])
    assert all(np.all(np.isfinite(v)) for v in expected.values())
    assert_close(simulate(plain, env, width=6, seeds=[1, 2], blocks=False), expected)


@QUICK
@given(programs(steps=6))
def test_random_gradients(generated):
    checked, plain = both_programs(Source("random", generated.text))
    assume(plain is not None)
    try:
        expected = simulate(checked, generated.env, width=6, seeds=[1])
    except ProgramError as error:
        assert {d.code for d in error.diagnostics} == {"TP601"} and "when the scalar was computed" in str(error)
        assume(False)
    assume(all(np.nanmax(np.abs(v), initial=0.0) < 1e6 for v in expected.values()))
    assert_close(simulate(plain, generated.env, width=6, seeds=[1], blocks=False), expected)


def test_sizes_of_the_random_programs_cover_the_data():
    env = random_program(5, steps=1).env
    assert env["X"].shape == (SIZES["P"], SIZES["d"])
    assert env["order"].max() < SIZES["P"]


@pytest.mark.parametrize("method", ["auto", "particles"])
def test_the_derivative_of_a_linear_function_is_a_vector(method):
    program = tensorprog.compile("""
width n
param a = 2.5
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
def phi(x) = a*x
h = W @ v
output moment(phi'(h)) as c, moment((phi'(h)*h)**2) as d, moment(1 - tanh(phi'(h))) as e
""")
    found = program.run(method=method, samples=256, replicates=2)
    assert [float(found[name]) for name in "cde"] == pytest.approx([2.5, 6.25, 1 - np.tanh(2.5)])
    assert float(program.simulate(width=8, seeds=2)["c"]) == 2.5
