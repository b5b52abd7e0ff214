"""The kernel regime with functions of gradients' entries (SignSGD, Adam: the operator regime of TP IVb), polar factors (Muon) and norms:
against closed forms and networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

import tensorprog
from tensorprog.diagnostics import ProgramError

X = np.array([[1, 0, 1.0], [0, 1, 1], [1, 1, 0], [0.5, -1, 1]])
Y = np.array([1, -1, 1, -1.0])

SOURCE = """width n
size P, d
param eta = 0.3
param T : int = 3
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
{declared}
for t in range(T):
    for a in range(P):
        f[t, a] = dot(v, tanh(W @ tanh(U @ X[a]) / sqrt(n))) / sqrt(n)
    loss = {loss}
{step}
output f
"""
SQUARES = "mean((f[t, a] - y[a])**2 for a in range(P)) / 2"


def program(step: str, declared: str = "", loss: str = SQUARES) -> tensorprog.CompiledProgram:
    step = "\n".join(f"    {line}" for line in step.strip().splitlines())
    return tensorprog.compile(SOURCE.format(step=step, declared=declared, loss=loss))


def density(x: float, s: float) -> float:
    return float(np.exp(-x * x / (2 * s)) / np.sqrt(2 * np.pi * s))


@pytest.mark.parametrize("step", ["W -= eta / n * sign(n * grad(loss, W))",
                                  "G = grad(loss, W)\nW -= eta / n * sign(G)",
                                  "G = n * grad(loss, W)\nS = G**2\nW -= eta / n * G / sqrt(S)"])
def test_a_step_by_the_signs_of_one_example(step):
    """sign(a b) = sign(a) sign(b): f moves by eta E|v| E phi'(h') E sign(z) z', for z = tanh(u) and a loss that always falls with f."""
    found = program(step, loss="-f[t, 0]").run({"X": X, "y": Y}, samples=2048, T=2)
    moved = found["f"][1] - found["f"][0]
    cov = X @ X.T / 3
    second = [quad(lambda u, s=cov[a, a]: np.tanh(u)**2 * density(u, s), -12, 12)[0] for a in range(4)]
    slope = [quad(lambda h, s=s: density(h, s) / np.cosh(h)**2, -12, 12)[0] for s in second]
    overlap = []
    for a in range(4):
        rho = cov[0, a] / cov[0, 0]
        rest = max(cov[a, a] - rho * cov[0, a], 0.0)
        value = quad(lambda u, r=rho: abs(np.tanh(r * u)) * density(u, cov[0, 0]), -12, 12)[0] if rest < 1e-12 else dblquad(
            lambda w, u, r=rho, s=rest: np.sign(u) * np.tanh(r * u + np.sqrt(s) * w) * density(w, 1) * density(u, cov[0, 0]),
            -12, 12, -8, 8, epsabs=1e-7)[0]
        overlap.append(value)
    expected = 0.3 * np.sqrt(2 / np.pi) * np.array(slope) * np.array(overlap)
    assert np.all(np.abs(moved - expected) < 4 * found.error["f"][1] + 2e-4), (moved, expected)


STEPS = {
    "smooth signs of all": ("""
G = n * grad(loss, W)
W -= eta / n * G / sqrt(G**2 + 0.01)
g = sqrt(n) * grad(loss, v)
v -= eta / sqrt(n) * g / sqrt(g**2 + 0.01)
h = sqrt(n) * grad(loss, U)
U -= eta / sqrt(n) * h / sqrt(h**2 + 0.01)
""", ""),
    "adam": ("""
G = n * grad(loss, W)
M = 0.9*M + 0.1*G
S = 0.99*S + 0.01*G**2
W -= eta / n * (M / (1 - 0.9**(t+1))) / (sqrt(S / (1 - 0.99**(t+1)) + 0.01))
""", "matrix M : [n, n] = 0\nmatrix S : [n, n] = 0"),
    "muon": ("W -= eta * polar(grad(loss, W))", ""),
    "nuclear": ("G = grad(loss, W)\ns = dot(polar(G), G)\nW -= eta * grad(s, W)", ""),
    "clipped": ("G = grad(loss, W)\nW -= eta * G / max(norm(G), 0.3)", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_networks_have_the_mean_of_the_limit(name):
    step, declared = STEPS[name]
    compiled = program(step, declared)
    limit = compiled.run({"X": X, "y": Y}, samples=512, replicates=4, draws=32)
    network = compiled.simulate({"X": X, "y": Y}, width=256, seeds=150)
    assert limit.method["f"] == "particles"
    # f - f[0] scatters less than f; the limit's draws of f[0] have mean zero by symmetry.
    error = np.hypot(limit.error["f"], network.error["f"])
    assert np.all(np.abs(limit["f"] - network["f"]) < 4 * error + 0.02)


def test_what_the_series_of_functions_does_not_have_is_said():
    with pytest.raises(ProgramError, match="TP515"):
        program("G = sqrt(n) * grad(loss, W)\nW -= eta / n * G / sqrt(G**2 + 0.01)").compiled_for({})
    with pytest.raises(ProgramError, match="TP501"):
        program("W -= eta / sqrt(n) * sign(n * grad(loss, W))").compiled_for({})
