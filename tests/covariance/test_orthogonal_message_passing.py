"""Message passing with Haar matrices, by denoisers that are free of divergence: covariances beside scalar recursions.

References: Ma and Ping, "Orthogonal AMP" (2017); Rangan, Schniter and Fletcher, "Vector approximate message passing" (2019),
whose state evolutions are numbers, here computed by Gauss-Legendre rules.
"""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog

SIGNAL = """width n
width m = 0.5*n
param T : int = 4
vector active : [n] ~ bernoulli(0.1)
vector signs : [n] ~ rademacher()
signal = active * signs
def soft(x, c) = relu(x - c) - relu(-x - c)
"""

ROWS = SIGNAL + """matrix O : [m, n] ~ orthogonal(1)
vector noise : [m] ~ normal(0, 0.01)
y = O @ signal + noise
"""

FAMILIES = ROWS + """x[0] = 0 * signal
for t in range(T):
    r[t] = x[t] + 2 * (O.T @ (y - O @ x[t]))
    tau2[t] = moment((r[t] - signal)**2)
    c[t] = sqrt(tau2[t])
    h = soft(r[t], c[t])
    d = moment(soft'(r[t], c[t]))
    x[t+1] = (h - d * r[t]) / (1 - d)
    mse[t] = moment((h - signal)**2)
output tau2, mse
"""

NAMES = ROWS + """x = 0 * signal
for t in range(T):
    z = y - O @ x
    r = x + O.T @ z / 0.5
    tau2[t] = (moment(z**2) - 0.01) * (1 / 0.5 - 1) + 0.01 / 0.5
    h = soft(r, sqrt(tau2[t]))
    d = {slope}
    x = (h - d * r) / (1 - d)
    mse[t] = moment((h - signal)**2)
output tau2, mse
"""

FIRST_APART = ROWS + """for t in range(T):
    if t == 0:
        r[t] = 2 * (O.T @ y)
    else:
        r[t] = x[t-1] + 2 * (O.T @ (y - O @ x[t-1]))
    tau2[t] = moment((r[t] - signal)**2)
    c[t] = sqrt(tau2[t])
    h[t] = soft(r[t], c[t])
    d[t] = moment(soft'(r[t], c[t]))
    x[t] = (h[t] - d[t] * r[t]) / (1 - d[t])
    mse[t] = moment((h[t] - signal)**2)
output tau2, mse
"""

#: The matrix diag(s) V, and as its linear step the posterior mean.
VECTORS = SIGNAL + """matrix V : [n, n] ~ orthogonal(1)
{spectrum}
vector noise : [n] ~ normal(0, 0.01)
y = s * (V @ signal) + noise
x = 0 * signal
v = 0.1
for t in range(T):
    share = moment(1 / (100*v*s**2 + 1))
    better = {better}
    r = (better - share * x) / (1 - share)
    tau2[t] = share * v / (1 - share)
    h = soft(r, sqrt(tau2[t]))
    d = moment(soft'(r, sqrt(tau2[t])))
    x = (h - d * r) / (1 - d)
    v = moment((x - signal)**2)
    mse[t] = moment((h - signal)**2)
output tau2, mse
"""
GAIN = "x + V.T @ (100*v*s*(y - s*(V @ x)) / (100*v*s**2 + 1))"
POSTERIOR = "V.T @ ((100*v*s*y + V @ x) / (100*v*s**2 + 1))"
TWO_VALUES = "vector b : [n] ~ bernoulli(0.5)\ns = 0.5 + b"
UNIFORM = "vector s : [n] ~ uniform(0.5, 1.5)"


def over_signs(f, tau):
    """E f(r, s) over signals s and r = s + tau g, for functions with kinks at -tau and tau."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    total = 0.0
    for s, probability in ((0.0, 0.9), (1.0, 0.05), (-1.0, 0.05)):
        ends = np.unique([*np.linspace(-12, 12, 49), -1 - s / tau, 1 - s / tau])
        middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
        g = middle[:, None] + half[:, None] * nodes
        total += probability * np.sum(half[:, None] * weights * f(s + tau * g, s) * np.exp(-g * g / 2)) / np.sqrt(2 * np.pi)
    return total


def evolution(linear, steps=4):
    """tau2 and the mean squared errors; `linear` is the variance of r from that of x."""
    v, found = 0.1, []
    for _ in range(steps):
        tau2 = linear(v)
        tau = np.sqrt(tau2)

        def soft(r, tau=tau):
            return np.sign(r) * np.maximum(abs(r) - tau, 0)

        d = over_signs(lambda r, s, tau=tau: abs(r) > tau, tau)
        found.append((tau2, over_signs(lambda r, s, soft=soft: (soft(r) - s)**2, tau)))
        v = over_signs(lambda r, s, soft=soft, d=d: ((soft(r) - d * r) / (1 - d) - s)**2, tau)
    return np.array(found)


def posterior(values, weights):
    """The variance that the linear step leaves, with singular values of these weights."""
    def linear(v):
        share = np.sum(weights / (100 * v * values**2 + 1))
        return share * v / (1 - share)
    return linear


def assert_evolves(text, linear):
    found, expected = tensorprog.compile(text).run(), evolution(linear)
    assert set(found.method.values()) == {"covariance"}
    assert found["tau2"] == pytest.approx(expected[:, 0], abs=1e-11)
    assert found["mse"] == pytest.approx(expected[:, 1], abs=1e-11)
    assert max(error.max() for error in found.error.values()) < 1e-11


@pytest.mark.quick("names")
@pytest.mark.parametrize("text", [FAMILIES, FIRST_APART, NAMES.format(slope="moment(soft'(r, sqrt(tau2[t])))"),
                                  NAMES.format(slope="moment(step(abs(r) - sqrt(tau2[t])))")],
                         ids=["families", "first apart", "names", "counted"])
def test_orthogonal_rows(text):
    assert_evolves(text, lambda v: v * (1 / 0.5 - 1) + 0.01 / 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("better", [GAIN, POSTERIOR], ids=["gain", "posterior"])
def test_a_spectrum_of_two_values(better):
    assert_evolves(VECTORS.format(spectrum=TWO_VALUES, better=better), posterior(np.array([0.5, 1.5]), 0.5))


@pytest.mark.slow
def test_a_uniform_spectrum():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    assert_evolves(VECTORS.format(spectrum=UNIFORM, better=POSTERIOR), posterior(1 + nodes / 2, weights / 2))


def test_denoisers_with_divergence_have_no_equations():
    plan = tensorprog.compile(NAMES.format(slope="0.0")).plan
    assert set(plan.names("particles")) == {"tau2", "mse"}
