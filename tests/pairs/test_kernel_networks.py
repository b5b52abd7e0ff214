"""Exact kernels of networks beside the particles, finite networks, and the same kernels by the table of values."""

from __future__ import annotations

import importlib.util
import re
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_networks import CONVOLUTION, FOOTER, HEADER, NETWORKS, network, rows

import tensorprog
from tensorprog.covariance.emit import emit_module
from tensorprog.diagnostics import ProgramError
from tensorprog.modules import load_module
from tensorprog.runtime import pairs

TILES = [name for name in NETWORKS if name not in ("input_in_every_layer", "bias_with_a_mean", "layer_normalization")]


@contextmanager
def tiles_of_few_pairs():
    """Tiles even for as few pairs as are usually computed in lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "FEW_PAIRS", 0)
        yield


def agree(found, sampled, names, errors=4.5):
    for name in names:
        allowed = errors * np.maximum(sampled.error[name], 1e-9) + 0.01 * np.max(np.abs(found[name]))
        assert np.all(np.abs(found[name] - sampled[name]) <= allowed), name


@pytest.mark.quick("residual_with_readouts")
@pytest.mark.parametrize("name", NETWORKS)
def test_near_the_particles(name):
    program, data = network(name), {"X": rows(3)}
    found = program.run(data, L=3)
    assert found.method["K"] == found.method["T"] == "covariance"
    agree(found, program.run(data, L=3, method="particles", samples=2048), "KT")


@pytest.mark.quick("residual_with_readouts")
@pytest.mark.parametrize("name", ["residual_with_biases", "residual_with_readouts", "layer_normalization"])
def test_near_finite_networks(name):
    program, data = network(name), {"X": rows(3)}
    agree(program.run(data, L=2), program.simulate(data, L=2, width=500, seeds=60), "KT", errors=5)


@pytest.mark.slow
def test_a_convolution_over_two_axes():
    program, data = tensorprog.compile(CONVOLUTION), {"X": np.random.default_rng(1).standard_normal((2, 3, 3, 3))}
    found = program.run(data)
    assert found.method["T"] == "covariance"
    assert found["T"] == pytest.approx(found["T"].T, rel=1e-12)
    agree(found, program.run(data, method="particles", samples=2048), "KT")


@pytest.mark.quick("residual_with_readouts")
@pytest.mark.parametrize("name", TILES)
def test_tiles_and_the_table(name):
    program, data = network(name), {"X": rows(4)}
    compiled = program.compiled
    table = load_module(emit_module(compiled.limit, compiled.original, compiled.covered.system))
    for depth in (1, 2, 5):
        expected, _ = table.run({**data, "L": depth})
        with tiles_of_few_pairs():
            tiles = program.kernels(data, L=depth)
        for output in "KT":
            for found in (tiles, program.kernels(data, L=depth)):
                scale = np.max(np.abs(expected[output]))
                assert found[output] == pytest.approx(expected[output], rel=1e-10, abs=1e-13 * scale)
    first, second = {"X": rows(4)}, {"X": rows(3, seed=1)}
    whole = program.kernels({"X": np.concatenate([first["X"], second["X"]])}, L=2)["T"]
    with tiles_of_few_pairs():
        tiles = program.kernels(first, second, L=2)
    for found in (tiles, program.kernels(first, second, L=2)):
        assert found["T"] == pytest.approx(whole[:4, 4:], rel=1e-11, abs=1e-12)


@pytest.mark.quick("residual")
@pytest.mark.parametrize("name", ["residual", "gelu"])
def test_a_written_module_uses_tiles(name, tmp_path):
    program, path = network(name), tmp_path / "written.py"
    program.write_module(path)
    assert "PairKernel" in path.read_text()
    spec = importlib.util.spec_from_file_location("written", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = {"X": rows(5)}
    for depth in (1, 3):
        values, errors = module.run(data, L=depth)
        found = program.run(data, L=depth)
        for output in "KT":
            assert np.array_equal(values[output], found[output]) and np.all(errors[output] == 0)
    large = {"X": np.random.default_rng(0).standard_normal((1500, 3))}
    assert module.run(large, L=1)[0]["K"].shape == (1500, 1500)


def test_linear_kernels_need_no_directions():
    program = network("linear_residual")
    assert "tiles of pairs" in program.emit("plan")
    data = {"X": rows(4)}
    exact = program.run(data, L=3, method="span")
    found = program.run(data, L=3)
    assert found.method["K"] == "covariance"
    assert found["T"] == pytest.approx(exact["T"], rel=1e-12)


def test_mistakes_in_the_arguments():
    program = network("residual")
    with pytest.raises(ProgramError, match="TP623"):
        program.kernels({"X": rows(3)}, {"X": np.ones((2, 4))}, L=2)
    with pytest.raises(ProgramError, match="there is no dtype 'float16'"):
        program.kernels({"X": rows(3)}, L=2, dtype="float16")
    with pytest.raises(ValueError, match="has no array for 'K', 'T'"):
        program.kernels({"X": rows(3)}, L=2, out={})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite(value):
    program = network("residual")
    given, out = rows(70), {name: np.full((70, 70), 7.0) for name in "KT"}
    given[66, 1] = value
    with pytest.raises(ProgramError, match=r"TP624(.|\n)*X\[66, 1\]"):
        program.kernels({"X": given}, L=2, out=out)
    assert all((array == 7.0).all() for array in out.values())
    with pytest.raises(ProgramError, match="TP624"):
        program.kernels({"X": rows(3)}, {"X": given}, L=2)


def test_an_input_that_no_kernel_reads_is_looked_at_too():
    body, variables = NETWORKS["residual"]
    text = HEADER.replace("input X : [P, d]", "input X : [P, d]\ninput y : [P]") + body + FOOTER.format(variables)
    program = tensorprog.compile(text)
    with pytest.raises(ProgramError, match="TP624"):
        program.kernels({"X": rows(3), "y": np.array([0.0, np.nan, 0.0])}, L=2)


def test_large_entries_are_finite():
    program = network("residual")
    with np.errstate(over="ignore"):
        found = program.kernels({"X": rows(3) * 1e200}, L=2)
    assert not np.isfinite(found["K"]).any()


READOUT = """width n
size P, d
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for t in range(6):
    for a in range(P):
        f[t, a] = moment(v * relu(U @ X[a]))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    v -= 0.5 * n * grad(loss[t], v)
output f
"""


def test_training_a_readout_is_gradient_descent_in_the_kernel():
    program, X, y = tensorprog.compile(READOUT), rows(3), np.array([1.0, -0.5, 0.3])
    found = program.run({"X": X, "y": y})
    assert found.method["f"] == "covariance"
    gram = X @ X.T / 3
    norm = np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    angle = np.arccos(np.clip(gram / norm, -1, 1))
    kernel = norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    f = np.zeros(3)
    for values in found["f"]:
        assert values == pytest.approx(f, abs=1e-7)
        f = f - 0.5 / 3 * kernel @ (f - y)


WIDTHS = """width n
width m = 2*n
matrix B : [n, m] ~ normal(0, 1/n)
matrix C : [m, n] ~ normal(0, 1/m)
vector u : [m] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
B1 = B - 0.5/n * outer(w, tanh(u))
z = B1 @ tanh(u)
y = B1.T @ tanh(w)
s = C @ tanh(z) / 2
r = (B / sqrt(m/n)) @ u
output moment(z*z) as a, moment(y*y) as b, moment(y*u) as c, moment(s*s) as e
output dot(u, tanh(u)) / n as q, moment(r*r) as g
"""


@pytest.mark.slow
def test_two_widths():
    program = tensorprog.compile(WIDTHS)
    found = program.run()
    assert found.method["b"] == "covariance"
    assert found["g"] == pytest.approx(1) and found["q"] == pytest.approx(2 * 0.605705509602, rel=1e-9)
    agree(found, program.run(method="particles"), "abce")
    assert "2*E[tanh(Z^{u})**2]" in program.limit.text() or "2*k_1" in program.limit.text()


ACTIVATIONS = ("relu", "erf", "gelu", "abs", "sin", "tanh")


@st.composite
def layers(draw) -> tuple[str, str]:
    """The body of a network with a loop over layers of a random kind, and what its kernel differentiates by."""
    phi, psi, last = (draw(st.sampled_from(ACTIVATIONS)) for _ in range(3))
    scale = draw(st.sampled_from(("1", "0.7", "sqrt(2)")))
    step = draw(st.sampled_from((
        f"{scale} * W[l] @ {phi}(h) / sqrt(n)",
        f"{scale} * W[l] @ ({phi}(h) + 0.3*h) / sqrt(n)",
        f"0.8 * M[l] @ {psi}({scale} * W[l] @ {phi}(h) / sqrt(n)) / sqrt(n)",
        f"W[l] @ {phi}(h) / sqrt(n) + 0.2*b[l]")))
    update = draw(st.sampled_from((f"h = {step}", f"h = h + {step}", f"h += 0.5 * ({step})")))
    readout = draw(st.sampled_from((f"dot(v, {last}(h))", "dot(v, h)", f"dot(v, {last}(h) + 0.1*h)")))
    used = [name for name in ("U", "W", "M", "b", "v") if re.search(rf"\b{name}\b", f"U {update} {readout}")]
    body = f"\n    h = U @ x\n    for l in range(L):\n        {update}\n    return {readout} / sqrt(n)\n"
    return body, ", ".join(used)


def check_random_network(made, depth):
    body, variables = made
    program, data = tensorprog.compile(HEADER + body + FOOTER.format(variables)), {"X": rows(3)}
    found = program.run(data, L=depth)
    if set(found.method.values()) != {"covariance"}:
        return
    agree(found, program.run(data, L=depth, method="particles", samples=1024), "KT", errors=6)
    if "tiles of pairs" in program.emit("plan"):
        with tiles_of_few_pairs():
            tiles = program.kernels(data, L=depth)
        for name in tiles:
            assert tiles[name] == pytest.approx(found[name], rel=1e-9, abs=1e-12)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(layers(), st.integers(2, 3))
def test_random_networks(made, depth):
    check_random_network(made, depth)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(layers(), st.integers(1, 4))
def test_many_random_networks(made, depth):
    check_random_network(made, depth)
