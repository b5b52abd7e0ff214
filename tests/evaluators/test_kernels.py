"""`ntk` and `cov`: against gradients on a tape, against differences of simulations, and against known limits."""

import textwrap

import numpy as np
import pytest
from declarations import DECLARATIONS
from strategies import random_program

import tensorprog
from tensorprog.check import front
from tensorprog.diagnostics import Reporter, Source
from tensorprog.finite import simulate
from tensorprog.finite.interpreter import Interpreter
from tensorprog.ir.program import GradRecord, KernelStmt, walk
from tensorprog.ir.verify import verify
from tensorprog.pipeline import differentiated

HEADER = DECLARATIONS + """
width m = 2*n
matrix R : [m, d] ~ normal(0, 1/d)
matrix A : [m, n] ~ normal(0, 1/n)
"""

CASES = {
    "one_hidden_layer": """
        for a in range(P):
            f[a] = moment(v * tanh(U @ X[a]))
        for a in range(P):
            for b in range(P):
                K0[a, b] = ntk(f[a], f[b]; U, v)
        output K0, ntk(f[0], f[1]; U) as k1, ntk(f[0], f[1]; v) as k2
        """,
    "family_of_layers": """
        for a in range(P):
            h[0] = U @ X[a]
            for l in range(L):
                h[l+1] = B[l] @ tanh(h[l] + w[l])
            f[a] = moment(v * h[L])
        for a in range(P):
            for b in range(a + 1):
                K0[a, b] = ntk(f[a], f[b]; U, B, w, v)
        for l in range(L):
            k1[l] = ntk(f[0], f[1]; B[l])
            k2[l] = ntk(f[0], f[1]; w[L-1-l])
        output K0, k1, k2, ntk(f[1], f[1]; B[1]) as k3
        """,
    "tied_weights": """
        for a in range(P):
            h = 0*u
            for t in range(T):
                h = W @ tanh(h) + U @ (X[a] * (t + 1))
            f[a] = moment(v * h)
        for a in range(P):
            for b in range(P):
                K0[a, b] = ntk(f[a], f[b]; U, W, v)
        output K0
        """,
    "transposes_and_widths": """
        for a in range(P):
            x = tanh(R @ X[a])
            for t in range(2):
                z = A.T @ x
                x = tanh(A @ z) + x
            f[a] = moment(x * x) + moment(u * z)
        output ntk(f[0], f[1]; A, R, u) as k, ntk(f[1], f[1]; A) as k1
        """,
    "array_of_outputs": """
        for a in range(P):
            f[a] = V @ tanh(W @ tanh(U @ X[a]))
        for a in range(P):
            for b in range(P):
                for i in range(K):
                    for j in range(K):
                        K0[a, i, b, j] = ntk(f[a, i], f[b, j]; U, W, V)
        g = V @ u
        output K0, ntk(g[1], f[1, 1]; V) as k, ntk(g[1], g[1]; V, u) as k1
        """,
    "arrays_and_families_at_once": """
        for a in range(P):
            f[a] = V @ tanh(W @ (U @ X[a]))
            g[a] = moment(v * (U @ X[a])**2)
            r[a] = ntk(f[a], g[a]; U) @ f[a]
        output ntk(f, f; W, V) as k, ntk(f[0], g; U) as k1, ntk(g, g; v) as k2, ntk(g[0], f[1, 0]; U) as k3
        output ntk(V @ u, V @ v; V) as k4, r
        """,
    "different_scalars": """
        for a in range(P):
            x[a] = tanh(U @ X[a])
            f[a] = moment(v * (W @ x[a]))
        for t in range(T):
            g[t] = moment(u * (W.T @ tanh(W @ x[order[t]])))
        for a in range(P):
            for t in range(T):
                K0[a, t] = ntk(f[a], g[t]; W, U, v)
        output K0, ntk(moment(u*v), f[0]; v) as k, ntk(f[0] + 2*g[1], f[0]; W, U) as k1
        """,
    "inside_a_training_loop": """
        for t in range(T):
            for a in range(P):
                f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
            for a in range(P):
                for b in range(P):
                    K0[t, a, b] = ntk(f[t, a], f[t, b]; U, W, v)
                    if t > 0:
                        k1[t, a, b] = ntk(f[t, a], f[t-1, b]; U, W, v)
            loss[t] = sum((f[t, a] - y[a])**2 for a in range(P))
            U -= eta * n * grad(loss[t], U)
            v -= eta * n * grad(loss[t], v)
            W -= eta * grad(loss[t], W)
        output K0, k1
        """,
    "one_name_in_a_loop": """
        for t in range(T):
            f = moment(v * tanh(W @ u)) * (t + 1)
            g = f**2
            q[t] = ntk(f, g; W, v)
            W -= eta * grad(g, W)
        output q
        """,
    "scalar_stored_in_several_places": """
        x = u
        f[0] = moment(v * tanh(W @ x))
        for t in range(1, T):
            x = tanh(W @ x) + U @ X[order[t]]
            f[t] = moment(v * x)
        for s in range(T):
            for t in range(T):
                K0[s, t] = ntk(f[s], f[t]; W, v, U, u)
        output K0
        """,
    "branches": """
        for t in range(T):
            if t == 0:
                f[t] = moment(v * (W @ u))
            else:
                x = u
                for s in range(T):
                    if s % 2 == 0:
                        x = tanh(W @ x)
                    else:
                        x = W.T @ x + v
                f[t] = moment(x**2)
        for s in range(T):
            for t in range(T):
                K0[s, t] = ntk(f[s], f[t]; W, v, u)
        output K0
        """,
    "accumulated_scalar": """
        for a in range(P):
            f = 0.0
            for l in range(L):
                f += moment(w[l] * tanh(B[l] @ (U @ X[a])))
            g[a] = f
            q[a] = ntk(f, f; w, B, U)
        output q, ntk(g[0], g[1]; w, B, U) as k
        """,
    "length_depends_on_the_index": """
        for t in range(T):
            x = u
            for s in range(t + 1):
                x = tanh(W @ x) + w[s % L]
            f[t] = moment(v * x)
        for s in range(T):
            for t in range(T):
                K0[s, t] = ntk(f[s], f[t]; W, w, u)
        output K0
        """,
    "counts_down_and_wraps": """
        for a in range(P):
            h[T] = U @ X[a]
            for t in range(T-1, -1, -1):
                h[t] = B[t % L].T @ tanh(h[t+1])
            f[a] = moment(v * h[0])
        output ntk(f[0], f[1]; B, U) as k, ntk(f[0], f[1]; B[1]) as k1
        """,
    "shifted_families": """
        for a in range(P):
            x = B[0] @ (U @ X[a])
            for l in range(1, L):
                x = tanh(B[l] @ x)
            f[a] = moment(v * x)
            z = U @ X[a]
            for l in range(L - 1):
                z = tanh(B[l+1] @ z)
            g[a] = moment(v * z)
        output ntk(f[0], f[1]; B) as k, ntk(f[0], g[1]; B) as k1, ntk(g[0], f[1]; B, U) as k2
        """,
    "tensor_used_in_two_ways": """
        for a in range(P):
            f[a] = moment(v * tanh(U @ X[a])) + a * moment(U[:, 0] * v)
            g[a] = moment(u * (U @ X[a]))
        output ntk(f[0], g[1]; U) as k, ntk(g[0], f[1]; U, v) as k1, ntk(f[0], f[1]; U) as k2
        """,
    "values_of_the_program": """
        x = tanh(U @ X[0])
        M = 0.5*W + outer(u, v)/n
        s = moment(v * (M @ x))
        z = M.T @ x
        r = moment(z * x)
        c = 2*s
        q = c**2 * moment(x*x)
        output ntk(s, r; M, x) as k, ntk(s, r; x) as k1, ntk(q, q; c, x) as k2
        """,
    "kernel_in_a_gradient": """
        f = moment(v * tanh(W @ u))
        k = n * ntk(f, f; v, u)
        g = n * grad(k, u)
        output moment(g*v) as q, k
        """,
    "gradient_in_a_kernel": """
        f = moment(v * tanh(W @ u))
        g = n * grad(f, u)
        s = moment(g * g)
        output ntk(s, f; W, u, v) as k, ntk(s, s; W) as k1
        """,
    "finite_products_in_loops": """
        for a in range(P):
            x = 0*u
            for t in range(T):
                x = tanh(x + U @ X[order[t]] * (1 + y[a]))
            f[a] = moment(v * x)
        output ntk(f[0], f[1]; U) as k
        """,
}


def lowered(text):
    """The program as checked, and without kernels and gradients."""
    source = Source("case.tp", HEADER + textwrap.dedent(text))
    reporter = Reporter(source)
    checked = front(source, reporter)
    plain = differentiated(checked, reporter)
    verify(checked)
    verify(plain)
    assert not any(isinstance(s, KernelStmt | GradRecord) for s in walk(plain.body))
    return checked, plain


@pytest.mark.parametrize("case", CASES)
def test_kernels_are_inner_products_of_gradients(case):
    checked, plain = lowered(CASES[case])
    env = random_program(0, steps=1).env
    expected = simulate(checked, env, width=5, seeds=[1, 2])
    for blocks in (False, True):
        found = simulate(plain, env, width=5, seeds=[1, 2], blocks=blocks)
        for name, values in expected.items():
            assert np.nanmax(np.abs(values)) > 0, name
            np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-12, err_msg=name)


def test_kernels_are_inner_products_of_differences():
    """Every entry of every weight moved a little, in simulations of width 4."""
    _, plain = lowered("""
        for a in range(P):
            h[0] = U @ X[a]
            for l in range(L):
                h[l+1] = B[l] @ tanh(h[l]) + B[0].T @ h[l]
            f[a] = dot(v, tanh(h[L])) / sqrt(n)
        for a in range(P):
            for b in range(P):
                K0[a, b] = ntk(f[a], f[b]; U, B, v)
        output f, K0
        """)
    env, step = random_program(0, steps=1).env, 1e-5
    declared = {i.cell.display: i.cell for i in plain.initials}

    def run(moved=None, by=0.0):
        interpreter = Interpreter(plain, env, 4, 7, True)
        if moved is not None:
            name, key, index = moved
            value = np.array(interpreter.storage.read(declared[name], key))
            value[index] += by
            interpreter.storage.declare(declared[name], key, value)
        return interpreter.run()

    start = Interpreter(plain, env, 4, 7, True).storage
    entries = [(name, key, index) for name in ("U", "B", "v") for key, value in start.elements(declared[name]).items()
               for index in np.ndindex(value.shape)]
    slopes = np.array([(run(entry, step)["f"] - run(entry, -step)["f"]) / (2 * step) for entry in entries])
    assert len(entries) == 4 * 2 + 2 * 16 + 4
    np.testing.assert_allclose(run()["K0"], slopes.T @ slopes, rtol=1e-7)


# --- cov -----------------------------------------------------------------------------------------------------

COVARIANCES = {
    "readout_of_variance_one_over_n": ("f = V @ tanh(U @ X[0])", "f[0], f[0]", "moment(tanh(U @ X[0])**2)"),
    "two_rows_are_independent": ("f = V @ tanh(U @ X[0])", "f[0], f[1]", "0.0"),
    "two_readouts": ("f = dot(v, tanh(W @ u)) / sqrt(n) + sqrt(n) * moment(w[0] * u)", "f, f",
                     "moment(tanh(W @ u)**2) + moment(u**2)"),
    "scaled_in_a_loop": ("f = 0.0\nfor a in range(P):\n    f += y[a] * dot(v, tanh(U @ X[a])) / sqrt(n)", "f, f",
                         "moment(sum(y[a]*tanh(U @ X[a]) for a in range(P))**2)"),
    "different_scalars": ("f = dot(v, tanh(W @ u)) / sqrt(n)\ng = dot(2*w[0] - v, W @ u) / sqrt(n)", "f, g",
                          "-moment(tanh(W @ u) * (W @ u))"),
    "constant_part": ("f = dot(v, u) / sqrt(n) + 3*moment(tanh(u)**2) + 1", "f, f", "moment(u*u)"),
    "linear_network": ("f = dot(v, W @ (U @ X[0])) / sqrt(n)", "f, f", "moment((W @ (U @ X[0]))**2)"),
    "readout_behind_a_matrix": ("f = dot(u, W.T @ v) / sqrt(n)", "f, f", "moment((W @ u)**2)"),
    "only_the_matrix_is_free": ("f = dot(tanh(u), W @ tanh(u)) / sqrt(n)", "f, f", "moment(tanh(u)**2)**2"),
    "vector_that_is_also_an_input": ("f = dot(w[0], W @ (U @ X[0])) / sqrt(n) + dot(u, W @ tanh(u)) / sqrt(n)", "f, f",
                                     "moment(tanh(u)**2) * moment(u**2) + moment((U @ X[0])**2) * moment(w[0]**2)"
                                     " + 2*moment(tanh(u) * (U @ X[0])) * moment(w[0]*u)"),
    "parameter_in_the_variance": ("f = dot(r, u)", "f, f", "eta**2 * moment(u*u)"),
    "rademacher": ("f = dot(s, u) / sqrt(n)", "f, f", "moment(u*u)"),
    "sparse": ("f = dot(p, u) / sqrt(n)", "f, f", "0.75 * moment(u*u)"),
    "uniform": ("f = dot(q, u) / sqrt(n)", "f, f", "4/3 * moment(u*u)"),
    "before_training": ("f = dot(v, tanh(U @ X[0])) / sqrt(n)\ng = moment(v * tanh(U @ X[0]))\n"
                        "v -= eta * n * grad((g - y[0])**2, v)", "f, f", "moment(tanh(U @ X[0])**2)"),
}
LAWS = """
vector r : [n] ~ normal(0, eta**2/n)
vector s : [n] ~ rademacher()
vector p : [n] ~ sparse_normal(0.25, 3)
vector q : [n] ~ uniform(-2, 2)
"""


@pytest.mark.parametrize("case", COVARIANCES)
def test_covariance_given_everything_else(case):
    """`cov` at a finite width is the conditional covariance, an average that can be written out."""
    code, scalars, written_out = COVARIANCES[case]
    _, plain = lowered(f"{LAWS}\n{code}\noutput cov({scalars}) as found, {written_out} as expected")
    result = simulate(plain, random_program(0, steps=1).env, width=20, seeds=[1, 2])
    np.testing.assert_allclose(result["found"], result["expected"], rtol=1e-10)


@pytest.mark.slow
def test_covariance_over_many_networks():
    """The scalars themselves, over networks that differ in everything, have the covariance in the limit."""
    source = HEADER + textwrap.dedent("""
        for a in range(P):
            f[a] = dot(v, relu(W @ relu(U @ X[a]))) / sqrt(n)
        for a in range(P):
            for b in range(P):
                product[a, b] = f[a] * f[b]
                limit[a, b] = cov(f[a], f[b])
        """)
    env = random_program(0, steps=1).env
    data = {name: env[name] for name in ("X", "y", "order")}
    sizes = {name: env[name] for name in ("K", "L")}
    result = tensorprog.compile(source + "output product").simulate(data, width=200, seeds=1500, **sizes)
    limit = tensorprog.compile(source + "output limit").run(data, **sizes)
    gap = np.abs(result["product"] - limit["limit"])
    assert np.all(gap < 4 * np.hypot(result.error["product"], limit.error["limit"]) + 0.02)


# --- the limit -----------------------------------------------------------------------------------------------

LIMITS = {
    "array_of_outputs": """
        for a in range(P):
            f[a] = V @ tanh(A.T @ relu(A @ (U @ X[a])))
        for a in range(P):
            for b in range(P):
                for i in range(K):
                    K0[a, b, i] = ntk(f[a, i], f[b, 1]; A, U, V) / n
                    S[a, b, i] = cov(f[a, i], f[b, 1])
        output K0, S
        """,
    "feature_learning": """
        for t in range(T):
            for a in range(P):
                f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
            for a in range(P):
                for b in range(P):
                    K0[t, a, b] = ntk(f[t, a], f[t, b]; W)
                    K1[t, a, b] = n * ntk(f[t, a], f[t, b]; U, v)
            loss[t] = sum((f[t, a] - y[a])**2 for a in range(P))
            U -= eta * n * grad(loss[t], U)
            v -= eta * n * grad(loss[t], v)
            W -= eta * grad(loss[t], W)
        output K0, K1
        """,
    "several_stores_and_lengths": """
        f[0] = dot(v, tanh(u)) / sqrt(n)
        for t in range(1, T):
            if t == 1:
                x = tanh(W @ u) + u
                f[t] = dot(v, x) / sqrt(n)
            else:
                x = u
                for s in range(t):
                    x = tanh(W @ x) + w[s % L] + U @ X[order[s]]
                f[t] = dot(v, x) / sqrt(n)
        for s in range(T):
            for t in range(T):
                K0[s, t] = ntk(f[s], f[t]; W) / n
                K1[s, t] = ntk(f[s], f[t]; v, u, w, U)
                S[s, t] = cov(f[s], f[t])
        output K0, K1, S
        """,
    "convolution": """
        for a in range(P):
            for i in range(3):
                h[i] = U @ (X[a] + i)
            for i in range(1, 3):
                z[i] = relu(B[0] @ relu(h[i]) + B[1] @ relu(h[i-1]))
            f[a] = dot(v, mean(z[i] for i in range(1, 3))) / sqrt(n)
        for a in range(P):
            for b in range(P):
                K0[a, b] = ntk(f[a], f[b]; B) / n
                K1[a, b] = ntk(f[a], f[b]; U, v)
        output K0, K1
        """,
}


@pytest.mark.quick("several_stores_and_lengths")
@pytest.mark.parametrize("case", LIMITS)
def test_limit_of_simulations(case):
    """The particles against networks of width 1500."""
    env = random_program(0, steps=1).env
    data = {name: env[name] for name in ("X", "y", "order")}
    sizes = {name: env[name] for name in ("K", "L")}
    program = tensorprog.compile(HEADER + textwrap.dedent(LIMITS[case]))
    limit = program.run(data, method="particles", **sizes)
    wide = program.simulate(data, width=1500, seeds=8, **sizes)
    for name in limit:
        scale = np.max(np.abs(wide[name]))
        assert scale > 0.05
        gap = np.abs(limit[name] - wide[name])
        assert np.all(gap <= 4 * np.hypot(limit.error[name], wide.error[name]) + 0.01 * scale), (name, gap)
