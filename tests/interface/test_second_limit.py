"""A second limit: extrapolation of known sequences, infinite depth, gradient flow, and what is refused.

Known answers: (1 + a^2/L)^L -> exp(a^2) for linear residual blocks; gradient flow of a product of two vectors, an ordinary
differential equation.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.integrate import solve_ivp

import tensorprog
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.extrapolate import extrapolate

BLOCKS = """\
width n
size L = 8
param a = 1.0
vector x0 : [n] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1/n)
x = x0
for l in range(L):
    x += {} * (W[l] @ x)
    squares[l] = moment(x**2)
output moment(x**2) as square, squares
"""

FLOW = """\
width n
param T : int = 8
param s = 1.0
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    loss = (moment(u*v) - 1)**2 / 2
    du = grad(loss, u)
    v -= s/T * n * grad(loss, v)
    u -= s/T * n * du
output moment(u*v) as f
"""

SIZES = (8, 16, 32, 64)
L = np.array(SIZES, dtype=float)


# --- sequences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values, limit, error", [
    ((1 + 1/L)**L, np.e, 2e-4),
    ((1 + 0.25/L)**L, np.exp(0.25), 1e-6),
    (1 + 2/np.sqrt(L), 1.0, 5e-3),
    (np.exp(1/(1 + np.sqrt(L))), 1.0, 5e-3),
    (3 - 1/L + 1/L**1.5, 3.0, 1e-2),
    (1e9*(2 + np.tanh(1/L)), 2e9, 1e6),
])
def test_a_sequence_with_a_limit(values, limit, error):
    found = extrapolate(SIZES, values, np.zeros(4))
    assert not found.refused
    assert abs(found.value - limit) < 2 * found.error < 2 * error


@pytest.mark.parametrize("values", [np.log(L), np.log(L) + 2/L, np.sqrt(L), L, L**-0.25, np.sin(L**2), 2.0**L])
def test_a_sequence_without_a_limit(values):
    assert extrapolate(SIZES, values, np.zeros(4)).refused


def test_a_constant_is_its_own_limit():
    found = extrapolate(SIZES, np.full(4, 0.3), np.zeros(4))
    assert (found.value, found.error, found.refused) == (0.3, 0.0, False)


@pytest.mark.parametrize("values, limit, widest", [
    ((1 + 1/L)**L, np.e, 30.0), (1 + 2/np.sqrt(L), 1.0, 40.0), (np.ones(4), 1.0, 2.0)])
@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_errors_cover_noisy_sequences(values, limit, noise, widest):
    drawn = values[:, None] + noise * np.random.default_rng(0).normal(size=(4, 400))
    found = extrapolate(SIZES, drawn, np.full_like(drawn, noise))
    assert (np.abs(found.value - limit) < 2 * found.error).mean() > 0.93
    assert found.refused.mean() < 0.01
    assert np.median(found.error) < widest * noise


def test_elements_that_are_missing_or_infinite_stay_so():
    values = np.stack([(1 + 1/L)**L, np.full(4, np.nan), np.where(L > 20, np.inf, L)], axis=1)
    found = extrapolate(SIZES, values, np.zeros((4, 3)))
    assert np.isfinite(found.value).tolist() == [True, False, False]
    assert not found.refused.any()


# --- programs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks():
    return tensorprog.compile(BLOCKS.format("a/sqrt(L)"))


def test_infinite_depth_of_linear_blocks(blocks):
    found = blocks.run(limit={"L": [128, 64, 32, 16, 8]})
    assert abs(found["square"] - np.e) < 1e-6
    assert abs(found["square"] - np.e) < 2 * found.error["square"] < 1e-5
    assert list(found) == ["square"]
    assert [w.code for w in found.warnings] == ["TP716"]
    assert found.settings["limit"] == {"L": [8, 16, 32, 64, 128]} and "L" not in found.settings
    np.testing.assert_allclose(found.approach.values["square"], [(1 + 1/k)**k for k in found.approach.at], rtol=1e-12)


def test_larger_blocks_have_larger_errors(blocks):
    small, large = (blocks.run(limit={"L": SIZES}, a=a) for a in (0.5, 1.4))
    assert small.error["square"] < 1e-5 < 1e-3 < large.error["square"]
    for found, a in ((small, 0.5), (large, 1.4)):
        assert abs(found["square"] - np.exp(a**2)) < 2 * found.error["square"]


def test_infinite_depth_of_networks(blocks):
    """At a finite width the mean is that of the limit, with an error that shrinks with the number of networks."""
    found = blocks.simulate(limit={"L": [2, 4, 8, 16]}, width=48, seeds=40)
    assert abs(found["square"] - np.e) < 2.5 * found.error["square"] < 1.5
    assert found.method["square"] == "finite"


def test_gradient_flow():
    found = tensorprog.compile(FLOW).run(limit={"T": [8, 16, 32, 64, 128]}, s=1.5)
    # u + v grows by exp(g) and u - v shrinks by it, where g' = 1 - f and f = sinh(2 g).
    flow = solve_ivp(lambda time, g: 1 - np.sinh(2*g), (0, 1.5), [0.0], rtol=1e-11, atol=1e-13)
    exact = np.sinh(2 * flow.y[0, -1])
    assert abs(found["f"] - exact) < 2 * found.error["f"] < 1e-4


def test_a_trained_linear_network_agrees_with_a_deeper_one():
    program = tensorprog.compile(TRAINED)
    found = program.run(limit={"L": [3, 6, 12, 24]})
    deep = program.run(L=96)
    steps = found["f"] - found.approach.values["f"][-1]
    assert np.abs(steps).max() > 1e-3
    # What is left of the distance at a depth four times as large is a quarter of it.
    np.testing.assert_allclose(found["f"] - deep["f"], steps / 4, rtol=0.15, atol=2 * found.error["f"].max())


TRAINED = """\
width n
size L = 4
param T : int = 3
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1/n)
for t in range(T):
    x = u
    for l in range(L):
        x += (W[l] @ x) / sqrt(L)
    f[t] = moment(v * x)
    loss = (f[t] - 1)**2 / 2
    v -= 0.2 * n * grad(loss, v)
    for l in range(L):
        W[l] -= 0.2 * grad(loss, W[l])
output f
"""


@pytest.mark.parametrize("scale", ["a", "a / L**0.25"])
def test_blocks_without_a_limit_are_refused(scale):
    found = tensorprog.compile(BLOCKS.format(scale)).run(limit={"L": [8, 16, 32, 64]})
    assert np.isnan(found["square"])
    assert "no limit" in found.table()
    assert "TP644" in [w.code for w in found.warnings]
    assert "does not converge" in next(w.message for w in found.warnings if w.code == "TP644")


@pytest.mark.parametrize("limit, code, words", [
    ({"L": [8, 16]}, "TP716", "at least 3"),
    ({"L": [8, 16, 16]}, "TP716", "at least 3"),
    ({"L": [0, 8, 16]}, "TP716", "from 1"),
    ({"L": [8, 16.5, 32]}, "TP716", "whole numbers"),
    ({"L": 8}, "TP716", "whole numbers"),
    ({"a": [8, 16, 32]}, "TP716", "real parameter"),
    ({"LL": [8, 16, 32]}, "TP631", "did you mean 'L'"),
    ({}, "TP716", "one size"),
    ({"L": [8, 16, 32], "T": [1, 2, 3]}, "TP716", "one size"),
])
def test_mistakes(blocks, limit, code, words):
    with pytest.raises(ProgramError) as error:
        blocks.run(limit=limit)
    assert error.value.diagnostics[0].code == code
    assert words in str(error.value)


def test_what_tends_to_infinity_is_not_set(blocks):
    with pytest.raises(ProgramError, match="TP716"):
        blocks.run(limit={"L": SIZES}, L=4)


def test_outputs_that_all_depend_on_it_are_refused():
    program = tensorprog.compile(BLOCKS.format("a/sqrt(L)").replace("moment(x**2) as square, ", ""))
    with pytest.raises(ProgramError, match="depends on L"):
        program.run(limit={"L": SIZES})


# --- the command line ----------------------------------------------------------------------------------------


@pytest.fixture()
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blocks.tp").write_text(BLOCKS.format("a/sqrt(L)"))
    (tmp_path / "growing.tp").write_text(BLOCKS.format("a"))


def tpc(*arguments):
    return CliRunner().invoke(main, arguments)


def test_command(files):
    done = tpc("run", "blocks.tp", "--limit", "L=8,16,32,64", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert abs(shown["results"]["square"]["value"] - np.e) < 1e-4
    assert shown["settings"]["limit"] == {"L": [8, 16, 32, 64]}


def test_command_that_refuses(files):
    done = tpc("run", "growing.tp", "--limit", "L=2,4,8,16")
    assert done.exit_code == 1
    assert "no limit" in done.stdout and "does not converge" in done.stderr


@pytest.mark.parametrize("text", ["L", "L=8,x", "L=8;16"])
def test_misspelt_limits(files, text):
    done = tpc("run", "blocks.tp", "--limit", text)
    assert done.exit_code == 2 and "L=8,16,32,64" in done.stderr
