"""Kernels over pairs of rows by tapes: recurrent and convolutional networks, and what a loop adds to elements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tape_programs import KERNELS, RECURRENT

import tensorprog
from tensorprog.diagnostics import ProgramError
from tensorprog.runtime import tape

CONVOLUTION = """
width n
size P, S, d, L
input X : [P, S, d]
matrix U[3] : [n, d] ~ normal(0, 1)
matrix W[L, 3] : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    for s in range(S):
        h[a, 0, s] = sqrt(1/(3*d)) * sum(U[k] @ X[a, (s + k) % S] for k in range(3))
    for l in range(1, L):
        for s in range(S):
            h[a, l, s] = sqrt(2/(3*n)) * sum(W[l, k] @ relu(h[a, l-1, (s + k) % S]) for k in range(3))
    f[a] = dot(v, mean(relu(h[a, L-1, s]) for s in range(S))) / sqrt(n)
""" + KERNELS.format("U, W, v")
ADDED = CONVOLUTION.replace(
    "h[a, 0, s] = sqrt(1/(3*d)) * sum(U[k] @ X[a, (s + k) % S] for k in range(3))",
    """h[a, 0, s] = 0.0 * v
        for k in range(3):
            h[a, 0, s] += sqrt(1/(3*d)) * (U[k] @ X[a, (s + k) % S])""").replace(
    "h[a, l, s] = sqrt(2/(3*n)) * sum(W[l, k] @ relu(h[a, l-1, (s + k) % S]) for k in range(3))",
    """h[a, l, s] = 0.0 * v
            for k in range(3):
                h[a, l, s] += sqrt(2/(3*n)) * (W[l, k] @ relu(h[a, l-1, (s + k) % S]))""")
PROGRAMS = {"recurrent": (RECURRENT, {}), "convolution": (CONVOLUTION, {"L": 3}), "added": (ADDED, {"L": 2})}


@pytest.fixture(autouse=True)
def also_few_pairs(monkeypatch):
    monkeypatch.setattr(tape, "FEW_PAIRS", 0)


def data(rows: int, positions: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    return {"X": np.random.default_rng(seed).standard_normal((rows, positions, 3))}


def by_table(program, given, monkeypatch, **settings):
    with monkeypatch.context() as patch:
        patch.setattr(tape, "values", lambda *arguments: None)
        return program.run(given, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_tape_gives_what_the_table_does(name, monkeypatch):
    text, settings = PROGRAMS[name]
    program = tensorprog.compile(text)
    for rows in (1, 2, 5):
        found = program.run(data(rows), **settings)
        expected = by_table(program, data(rows), monkeypatch, **settings)
        for output in "KT":
            assert found.method[output] == "covariance"
            assert found[output] == pytest.approx(expected[output], rel=1e-12, abs=1e-14)


def test_pairs_are_computed_some_at_a_time(monkeypatch):
    program = tensorprog.compile(RECURRENT)
    expected = program.run(data(23))
    monkeypatch.setattr(tape, "LEAST_PAIRS", 1)
    for most, threads in ((1, 3), (16, 1), (37, 3)):
        monkeypatch.setattr(tape, "MOST_PAIRS", most)
        found = program.run(data(23), threads=threads)
        assert all(found[name] == pytest.approx(expected[name], rel=1e-13, abs=1e-15) for name in "KT")


def relu_means(kaa: float, kac: float, kcc: float) -> tuple[float, float]:
    """E relu(u) relu(v) and E step(u) step(v) (Cho and Saul 2009)."""
    c = kac / np.sqrt(kaa * kcc)
    angle = np.arccos(c) if c < 1 - 1e-14 else 0.0  # an input beside itself
    return (np.sqrt(kaa * kcc) * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi), (np.pi - angle) / (2 * np.pi))


def convolutional_kernels(x: np.ndarray, y: np.ndarray, depth: int) -> tuple[float, float]:
    """NNGP and NTK of CONVOLUTION for two inputs [S, d], by the recursion of Arora et al. (arXiv 1904.11955, section 4)
    for circular filters of three weights and average pooling."""
    size = len(x)

    def filtered(kernel):
        return sum(np.roll(kernel, (-k, -k), (0, 1)) for k in range(3)) / 3

    inputs = np.concatenate([x, y])
    covariance = np.zeros((2 * size, 2 * size))
    tangent = np.zeros((2 * size, 2 * size))
    blocks = list(itertools.product((slice(0, size), slice(size, 2 * size)), repeat=2))
    gram = inputs @ inputs.T / x.shape[1]
    for block in blocks:
        covariance[block] = filtered(gram[block])
        tangent[block] = covariance[block]
    for layer in range(depth):
        values, slopes = np.empty_like(covariance), np.empty_like(covariance)
        for i, j in np.ndindex(covariance.shape):
            values[i, j], slopes[i, j] = relu_means(covariance[i, i], covariance[i, j], covariance[j, j])
        if layer == depth - 1:
            cross = (slice(0, size), slice(size, 2 * size))
            return values[cross].mean(), (values + tangent * slopes)[cross].mean()
        for block in blocks:
            covariance[block] = 2 * filtered(values[block])
            tangent[block] = covariance[block] + 2 * filtered((tangent * slopes)[block])


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_convolutional_tangent_kernel(depth):
    given = data(3, positions=5)
    found = tensorprog.compile(CONVOLUTION).run(given, L=depth)
    for a, c in np.ndindex(3, 3):
        kernel, tangent = convolutional_kernels(given["X"][a], given["X"][c], depth)
        assert found["K"][a, c] == pytest.approx(kernel, rel=1e-11)
        assert found["T"][a, c] == pytest.approx(tangent, rel=1e-11)


@pytest.mark.slow
def test_sums_written_as_additions():
    plain, added = (tensorprog.compile(text).run(data(3), L=3) for text in (CONVOLUTION, ADDED))
    assert all(added[name] == pytest.approx(plain[name], rel=1e-12) for name in "KT")


@pytest.mark.slow
def test_rows_of_two_inputs(monkeypatch):
    program = tensorprog.compile("""
width n
size P, Q, d
input X : [P, d]
input Y : [Q, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
for a in range(P):
    h[a] = W @ relu(U @ X[a]) + U @ X[a]
for c in range(Q):
    g[c] = W @ erf(U @ Y[c])
for a in range(P):
    for c in range(Q):
        K[a, c] = moment(relu(h[a]) * g[c])
output K
""")
    for rows in ((1, 1), (3, 1), (7, 4), (2, 5), (3, 3)):
        given = {name: np.random.default_rng(k).standard_normal((n, 2)) for k, (name, n) in enumerate(zip("XY", rows))}
        expected = by_table(program, given, monkeypatch)["K"]
        calls = []
        with monkeypatch.context() as patch:
            original = tape.values
            patch.setattr(tape, "values", lambda *args: calls.append(original(*args)) or calls[-1])
            assert program.run(given)["K"] == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert all(c is not None for c in calls)


HEADER = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
"""
DIFFERING = {
    "rows_in_turn": """
        h[0] = U @ X[0]
        for a in range(1, P):
            h[a] = W @ relu(h[a-1]) + U @ X[a]
        """,
    "first_rows": """
        for a in range(P):
            h[a] = U @ X[a]
            if a < 2:
                h[a] += W @ v
        """,
    "one_row": """
        for a in range(P):
            h[a] = U @ X[a] if a == 1 else 0.5 * (U @ X[a])
        """,
    "elements_of_one_cell": """
        x = U @ X[0]
        for a in range(P):
            h[a] = 0.0 * v
            for s in range(3):
                h[a] += 0.5 * (W @ x)
                x = relu(h[a]) + U @ X[a]
        """,
}


@pytest.mark.quick("one_row")
@pytest.mark.parametrize("case", DIFFERING)
def test_rows_that_differ(case):
    """No tape, and the right values."""
    body = "\n".join(line[8:] for line in DIFFERING[case].split("\n"))
    program = tensorprog.compile(HEADER + body + """
for a in range(P):
    for c in range(P):
        K[a, c] = moment(relu(h[a]) * relu(h[c]))
output K
""")
    given = {"X": np.random.default_rng(2).standard_normal((4, 2))}
    found, drawn = program.run(given), program.run(given, method="particles", samples=8192)
    assert np.all(np.abs(found["K"] - drawn["K"]) <= 5 * np.hypot(drawn.error["K"], found.error["K"]) + 1e-9)


@pytest.mark.quick("recurrent")
@pytest.mark.parametrize("name", ["recurrent", "convolution"])
def test_kernels_of_two_data_sets(name):
    text, settings = PROGRAMS[name]
    program = tensorprog.compile(text)
    first, second = data(4)["X"], data(3, seed=1)["X"]
    whole = program.run({"X": np.concatenate([first, second])}, **settings)
    out = {"K": np.empty((4, 3)), "T": np.empty((4, 3))}
    found = program.kernels(first, second, out=out, **settings)
    for output in "KT":
        assert found[output] is out[output]
        assert found[output] == pytest.approx(whole[output][:4, 4:], rel=1e-13)
        own = program.kernels(first, dtype="float32", **settings)[output]
        assert own.dtype == np.float32 and own == pytest.approx(whole[output][:4, :4], rel=1e-6)


def test_mistakes_in_the_second_data_set():
    program = tensorprog.compile(RECURRENT)
    with pytest.raises(ProgramError) as caught:
        program.kernels(data(4)["X"], data(3, positions=5)["X"])
    assert caught.value.diagnostics[0].code == "TP623"
    with pytest.raises(ValueError, match="C-contiguous"):
        program.kernels(data(4)["X"], out={"K": np.empty((4, 3)), "T": np.empty((4, 4))})
