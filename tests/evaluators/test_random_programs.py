"""Limits of random programs against wide finite networks, the adjointness of W and W.T, and reproducibility.

`TENSORPROG_EXAMPLES=300 pytest tests/evaluators/test_random_programs.py` searches further.
"""

import ast
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from places import HELPERS
from strategies import SIZES, Generator, programs, quick, random_program

import tensorprog
from tensorprog.codegen.finite import emit_finite_module
from tensorprog.diagnostics import ProgramError
from tensorprog.evaluators import covariance, particles, span
from tensorprog.evaluators.plan import plan_of
from tensorprog.evaluators.tiles import tiles_of

WIDTH, SEEDS = 800, 8


def assert_limit(text, data, *, width=WIDTH, seeds=SEEDS, samples=2048, method="particles"):
    """The limit and the finite networks agree within their errors and O(1/width)."""
    try:
        program = tensorprog.compile(text, SIZES)
        limit = program.run(data, samples=samples, replicates=8, method=method)
    except ProgramError as error:
        assert {d.code for d in error.diagnostics} <= {"TP420", "TP421"}
        assume(False)
    try:
        finite = program.simulate(data, width=width, seeds=seeds)
    except ProgramError as error:
        assert "when the scalar was computed" in str(error)
        assume(False)
    for name in limit:
        assert limit[name].shape == finite[name].shape, name
        scale = np.maximum(1.0, np.abs(finite[name]))
        allowed = 5 * np.hypot(limit.error[name], finite.error[name]) + 30 / width * scale
        excess = np.abs(limit[name] - finite[name]) - allowed
        np.testing.assert_array_equal(np.isnan(limit[name]), np.isnan(finite[name]), err_msg=name)
        assert not np.any(excess > 0), f"{name}: {limit[name]}, at width {width}: {finite[name]}, allowed {allowed}"


@quick(4)
@given(programs(steps=4, gradients=False))
def test_forward_programs(generated):
    assert_limit(generated.text, generated.data)


@quick(3)
@given(programs(steps=3, gradients=False))
def test_covariances_particles_and_networks_agree(generated):
    program = tensorprog.compile(generated.text, SIZES)
    names = program.plan.names("covariance")
    assume(names)
    assert_limit(generated.text, generated.data, method="auto")
    exact, sampled = program.run(generated.data), program.run(generated.data, method="particles", samples=2048)
    for name in names:
        assert exact.method[name] == "covariance"
        allowed = 5 * sampled.error[name] + 3e-3 * np.maximum(1, np.abs(exact[name]))
        assert np.all(np.abs(exact[name] - sampled[name]) <= allowed), (name, exact[name], sampled[name])


@quick(4)
@given(programs(steps=4))
def test_training_programs(generated):
    assert_limit(generated.text, generated.data)


@pytest.mark.slow
@quick(6)
@given(programs(steps=4))
def test_training_programs_against_very_wide_networks(generated):
    assert_limit(generated.text, generated.data, width=4096, seeds=16, samples=4096)


# --- W.T is the adjoint of W -----------------------------------------------------------------------------------


@st.composite
def adjoint_programs(draw):
    """Two random vectors of one program and both sides of <x, W y> = <W.T x, y>."""
    generator = Generator(lambda k: draw(st.integers(0, k - 1)), gradients=False, steps=3)
    lines = generator.program().splitlines()
    body = [line for line in lines if not line.startswith("output")]
    m = "A" if generator.rectangular else "W"
    rows = "m" if generator.rectangular else "n"
    body += [f"xx = {generator.vector(rows, 2)}", f"yy = {generator.vector('n', 2)}"]
    factor = "" if rows == "n" else "1/ratio * "
    body += [f"output moment(xx * ({m} @ yy)) as left, {factor}moment(({m}.T @ xx) * yy) as right"]
    text = "\n".join(body) + "\n"
    if rows == "m":
        ratio = next(line for line in lines if line.startswith("width m")).split("=")[1].split("*")[0].strip()
        text = text.replace("1/ratio", f"1/{ratio}")
    return text, draw(st.integers(0, 3))


@quick(12)
@given(adjoint_programs())
def test_adjoint(generated):
    text, seed = generated
    data = random_program(seed, steps=1).data
    result = tensorprog.compile(text, SIZES).run(data, samples=1024, replicates=4, tolerance=0.0,
                                                  method="particles")
    np.testing.assert_allclose(result["left"], result["right"], atol=1e-8, rtol=1e-8)


# --- reproducibility -------------------------------------------------------------------------------------------


@quick(4)
@given(programs(steps=4, gradients=False))
def test_same_seed_same_result(generated):
    program = tensorprog.compile(generated.text, SIZES)
    runs = [program.run(generated.data, samples=256, replicates=4, seed=3, threads=threads, method="particles")
            for threads in (1, 2, 1)]
    for name in runs[0]:
        for run in runs[1:]:
            np.testing.assert_array_equal(run[name], runs[0][name])


@quick(4)
@given(programs(steps=4))
def test_every_emitted_module_is_python(generated):
    try:
        compiled = tensorprog.compile(generated.text, SIZES).compiled_for({})
    except ProgramError:
        assume(False)
    texts = [particles.emit(compiled), emit_finite_module(compiled.differentiated, compiled.original)]
    if compiled.linear.program is not None:
        texts.append(span.emit(compiled))
    system = plan_of(compiled).system
    if system is not None:
        texts += [covariance.emit(compiled, system),
                  covariance.emit(compiled, system, tiles_of(compiled, system).for_module())]
    for text in texts:
        ast.parse(text or "")


_EMIT = """
import sys
sys.path.insert(0, {folder!r})
import tensorprog
from strategies import SIZES, random_program
for seed in (1, 5, 9):
    print(tensorprog.compile(random_program(seed, steps=6, gradients=seed != 5).text, SIZES).emit("kernel"))
"""


@pytest.mark.slow
def test_emitted_text_does_not_depend_on_hashes():
    texts = set()
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        code = _EMIT.format(folder=HELPERS)
        texts.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                                 check=True).stdout)
    assert len(texts) == 1


# --- odd but legal ---------------------------------------------------------------------------------------------

HEADER = """
width n
size P, d, T, K, L
input X : [P, d]
input y : [P]
input order : [T] int
param eta = 0.3
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
matrix B[L] : [n, n] ~ normal(0, 1/n)
matrix V : [K, n] ~ normal(0, 1/n**2)
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
"""

ODD = {
    "symmetric_fill": """
        for a in range(P):
            for b in range(a, P):
                f[a,b] = moment((U@X[a])*(U@X[b]))
                f[b,a] = f[a,b]
        output f
        """,
    "transposed_family": """
        for a in range(T):
            for b in range(T):
                f[a,b] = a + 10*b + moment(u*u)
                g[b,a] = f[a,b]
        output f, g
        """,
    "empty_sum": """
        s = 1
        for a in range(0):
            s += moment(u*u)
        for a in range(3, 1):
            s += moment(u*u)
        output s
        """,
    "names_that_clash": """
        None = moment(u*u)
        np_ = moment(v*v)+1
        True = moment(u*u)+2
        lambda_ = 3*np_
        lambda = 2*np_
        print = 3*np_
        defaultdict = u
        x = defaultdict
        seeds = W @ x
        output lambda, lambda_, print, moment(seeds**2) as q, moment(x**2) as xx
        """,
    "softmax": """
        for a in range(P):
            s[a] = moment((U@X[a])*(U@X[0]))
        Z = sum(exp(s[a]) for a in range(P))
        x = sum(exp(s[a])/Z * (U@X[a]) for a in range(P))
        output moment(x*x) as xx, Z, max(s[a] for a in range(P)) as ms
        """,
    "finite_transpose": """
        z = U.T @ u / n
        zz = U.T @ (U @ X[0]) / n
        M0 = dot(u,u)/n
        output z, zz, M0
        """,
    "outer_with_an_array": """
        U -= eta * outer(u, X[0])
        U += eta * outer(v, X[1])
        output V @ u as a, moment((U@X[0])*v) as b, moment((U@X[1])**2) as c
        """,
    "if_over_both_loops": """
        for a in range(P):
            for b in range(P):
                if a < b:
                    f[a,b] = moment((U@X[a])*(U@X[b]))
                elif a == b:
                    f[a,b] = 1
                else:
                    f[a,b] = 0
        output f
        """,
    "transposed_store": """
        for a in range(P):
            for b in range(T):
                g[b,a] = moment(tanh(U@X[a])*u) + b
        output g
        """,
    "triangle_from_the_diagonal": """
        for a in range(P):
            for b in range(a, P):
                f[a,b] = moment((U@X[a])*(U@X[b]))
        output f
        """,
    "last_value_of_an_empty_loop": """
        x = u
        s = 2
        for a in range(P-2):
            x = U @ X[a]
            s = y[a]
        output moment(x*x) as a, s
        """,
    "gradient_after_the_loop": """
        for t in range(T):
            for a in range(P):
                f[t,a] = moment(v * tanh(U @ X[a]) * (t+1))
            loss[t] = mean((f[t,i] - y[i])**2 for i in range(P)) / 2
        g = n * grad(loss[2], v)
        output moment(g*v) as q, loss
        """,
    "names_with_underscores": """
        np_ = tanh(u)
        np = W @ np_
        x = np_ + np
        output moment(x*np_) as a, moment(x*np) as b
        """,
    "three_loops": """
        for a in range(P):
            for b in range(P):
                for c in range(T):
                    f[a,b,c] = moment((U@X[a])*tanh(U@X[b]) + c*u*u)
        output f
        """,
    "reversed_index": """
        for a in range(P):
            for j in range(d):
                f[a,j] = X[a,d-1-j] * moment(u*u) + y[P-1-a]
        output f
        """,
    "family_in_a_sample_loop": """
        for a in range(P):
            h[0] = U @ X[a]
            for l in range(L):
                h[l+1] = B[l] @ tanh(h[l])
            f[a] = moment(v*tanh(h[L]))
            q[a] = moment(h[L]**2)
        output f, q, moment(h[L]*h[0]) as z, moment(h[1]**2) as z1
        """,
    "batch_training_with_a_family": """
        for t in range(T):
            for a in range(P):
                h[0] = U @ X[a]
                for l in range(L):
                    h[l+1] = B[l] @ tanh(h[l])
                f[t,a] = moment(v*tanh(h[L]))
            loss[t] = mean((f[t,a]-y[a])**2 for a in range(P))
            U -= eta*n*grad(loss[t],U)
            v -= eta*n*grad(loss[t],v)
            for l in range(L):
                B[l] -= eta*grad(loss[t],B[l])
        output f, loss
        """,
    "sample_training_with_a_family": """
        for t in range(T):
            for a in range(P):
                h[0] = U @ X[a]
                for l in range(L):
                    h[l+1] = B[l] @ tanh(h[l])
                f = moment(v*tanh(h[L]))
                loss = (f-y[a])**2
                U -= eta*n*grad(loss,U)
                v -= eta*n*grad(loss,v)
                for l in range(L):
                    B[l] -= eta*grad(loss,B[l])
            e[t] = loss
        output e, f
        """,
    "last_value": """
        for a in range(P):
            x = U @ X[a]
            s = moment(x*x)
            f[a] = s
        output f, s, moment(x*u+x**2) as q
        """,
    "last_value_downwards": """
        for a in range(P-1,-1,-1):
            x = U @ X[a]
            s = moment(x*x)
        output s, moment(x*u+x**2) as q
        """,
    "empty_loop": """
        s = 0
        x = u
        for a in range(2, 2):
            s += moment(u*u)
            x = W @ x
            z = U @ X[a-2]
        output s + 1 as s1, moment(x*x) as xx
        """,
    "names_of_the_module": """
        lambda = moment(u*u)
        np = U @ X[0]
        rt = tanh(np)
        samples = W @ rt
        seed = moment(samples*samples)
        float = moment(samples*np)
        env = 2*moment(np*np)
        for spaces in range(P):
            ratios[spaces] = moment((U@X[spaces])**2)
        for class in range(P):
            list[class] = moment((U@X[class])**2)+class
        range_ = moment(u**2) + 1
        output lambda, seed, float, env, ratios, list, range_
        """,
    "arrays_in_families": """
        for t in range(T):
            f[t] = V @ (t*u) + y[0]
            g[t] = sum(f[t])
            h[t] = f[t][0] + f[t,1]
        s = sum(f[t][k] for t in range(T) for k in range(K))
        output f, g, h, s, f[1] as f1, f[0:2] as f01
        """,
    "slices_of_families": """
        for t in range(T):
            for a in range(P):
                f[t,a] = moment(u*u)*(t+1) + a
        for t in range(T):
            g[t] = f[t] @ y
            h[t] = sum(f[t] * y)
        output g, h
        """,
    "gram_matrix": """
        for a in range(P):
            k[a] = X @ X[a]
            kk[a] = X[a] @ X[a]
            x[a] = U @ X[a]
        G = X @ X[0]
        output k, kk, G
        """,
    "clip_max_min": """
        x = clip(u, -0.5, 1)
        z = max(u, v, 0)
        w = min(max(u, 0.2), v)
        output moment(x) as a, moment(z*z) as b, moment(w*u) as c, max(1, 2, moment(u*u)) as m
        """,
    "powers_of_n": """
        x = W @ u * n**0.5 / sqrt(n)
        z = n**0.5 * (u / n**0.5)
        output moment(x*x) as a, moment(z*z) as b, (n**2*moment(u*u))/n**2 as c
        """,
    "data_index": """
        for t in range(T):
            s[order[t]] = moment(u*u)*t
        for t in range(T):
            q[t] = X[order[t],0] * moment(v*v) + y[order[T-1-t]]
        c[0] = 0
        c[1] = 0
        for t in range(T):
            c[order[t]] += moment(u*u)
        output q, c
        """,
    "data_index_of_vectors": """
        for a in range(P):
            z[a] = U @ X[a]
        for t in range(T):
            z[order[t]] += 0.1*(W @ z[order[t]])
            for b in range(P):
                m[t,b] = moment(z[order[t]]*z[b])
        output m
        """,
    "sums_in_loops": """
        g = 0*u
        acc = 0
        for a in range(P):
            for b in range(T):
                g += y[a]*tanh(U@X[a]) + b
                acc += X[a,1]*b
        output moment(g*g) as gg, acc
        """,
    "if_in_loops": """
        for a in range(P):
            for b in range(T):
                if b % 2 == 0:
                    f[a,b] = moment((U@X[a])**2)
                else:
                    f[a,b] = -y[a]
                g[a,b] = (1 if a == b else 2) * y[a]
        output f, g
        """,
    "triangle": """
        for a in range(T):
            for b in range(a+1):
                f[a,b] = moment(u*u)*a+b
        output f
        """,
    "steps_of_two": """
        for a in range(0, 5, 2):
            x = a*u
            f[a] = moment(x*x)
        s = a + moment(x*x)
        for b in range(5, 0, -2):
            g[b] = b + moment(u*u)
        output f, s, g, b as lb
        """,
    "downwards": """
        h[T] = u
        for t in range(T-1,-1,-1):
            h[t] = W @ tanh(h[t+1]) + U @ X[t % P]
        for t in range(T+1):
            q[t] = moment(h[t]**2)
            r[t] = moment(h[T-t]*h[t])
        output q, r
        """,
    "shifted_families": """
        for t in range(T):
            for a in range(P):
                h[t,a] = U @ X[a] + t*u
        for t in range(1, T):
            for a in range(P):
                g[t,a] = W @ h[t-1,P-1-a] + h[T-1-t,a]
        for t in range(1, T):
            for a in range(P):
                q[t,a] = moment(g[t,a]*h[0,a])
        output q
        """,
    "diagonal": """
        for a in range(P):
            for b in range(P):
                h[a,b] = (U@X[a])*tanh(U@X[b])
        for a in range(P):
            q[a] = moment(h[a,a]) + moment(h[a,P-1-a])
        output q
        """,
    "functions": """
        def f(x, k):
            z[0] = x
            for i in range(k):
                z[i+1] = W @ tanh(z[i])
            if k > 2:
                return z[k]
            else:
                return z[0]
        def g(a) = moment((U @ X[a])**2)
        for a in range(P):
            o[a] = moment(f(U@X[a], 3)**2)
            q[a] = g(P-1-a)
        output o, q
        """,
    "sums_of_arrays": """
        m = sum(X[a] for a in range(P))
        c = mean(X)
        e = X[0] * X[1]
        x = U @ (e + m)
        k = sum(X[a,i]*X[b,i] for a in range(P) for b in range(P) for i in range(d) if a != b)
        output m, e, moment(x*x) as xx, k, c
        """,
    "matrix_updates_in_loops": """
        for t in range(T):
            for a in range(P):
                z = U @ X[a]
                W -= eta/n * outer(u, z)
                W += 0.1/n * outer(tanh(z), v)
            q[t] = moment((W @ v)*u)
        output q, moment((W.T @ u)**2) as r
        """,
    "name_carried_inwards": """
        for a in range(P):
            x = U @ X[a]
            for b in range(P):
                x = W @ tanh(x)
                f[a,b] = moment(x*x)
        output f, moment(x*x) as z
        """,
    "family_updates": """
        for a in range(P):
            z[a] = U @ X[a]
        for t in range(T):
            for a in range(P):
                z[a] -= 0.1*(W @ tanh(z[a]))
            q[t] = mean(moment(z[a]*z[b]) for a in range(P) for b in range(P))
        output q
        """,
    "prod_max_min_outputs": """
        output prod(y[a] for a in range(P)) as p, max(y[a]*X[a,0] for a in range(P)) as m
        output min(moment(u*u)*y[a] for a in range(P)) as w
        """,
    "finite_by_width_training": """
        for t in range(T):
            o = n * (V @ tanh(U@X[0])) / n
            l = sum((o[k]-1)**2 for k in range(K)) + moment(u*tanh(W@u))
            V -= eta/n * grad(l, V)
            U -= eta*n*grad(l,U)
            q[t] = l
        output q, o
        """,
}


@pytest.mark.parametrize("case", ODD)
def test_odd_programs(case):
    assert_limit(HEADER + textwrap.dedent(ODD[case]), random_program(1, steps=1).data, width=600, seeds=6, samples=1024)
