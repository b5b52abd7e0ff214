"""Generalized approximate message passing for labels y = sign(A @ signal): state evolution by equations, in several spellings.

Reference: p and A @ signal are jointly Gaussian; the recursion of their covariance by SciPy's quadrature (Rangan, "Generalized
approximate message passing for estimation with random linear mixing", 2011).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

import tensorprog

HEAD = """width n
width m = 2*n
param T : int = 5
matrix A : [m, n] ~ normal(0, 1/n)
vector signal : [n] ~ normal(0, 1)
def gout(p, y, v) = {channel}
y = sign(A @ signal)
"""
FAMILIES = HEAD + """x[0] = 0*signal
v[0] = 1
g[0] = 0*y
for t in range(T):
    p[t] = A @ x[t] - v[t]*g[t]
    g[t+1] = gout(p[t], y, v[t])
    slope[t] = moment(gout'(p[t], y, v[t]))
    tr[t] = -1/(2*slope[t])
    r[t] = x[t] + tr[t]*(A.T @ g[t+1])
    x[t+1] = r[t]/(1 + tr[t])
    v[t+1] = tr[t]/(1 + tr[t])
    q[t] = moment(x[t+1]*signal)
    s[t] = moment(x[t+1]**2)
output q, s
"""
NAMES = HEAD + """x = 0*signal
v = 1
g = 0*y
for t in range(T):
    p = A @ x - v*g
    g = gout(p, y, v)
    tr = -1/(2*moment(gout'(p, y, v)))
    x = (x + tr*(A.T @ g))/(1 + tr)
    v = tr/(1 + tr)
    q[t] = moment(x*signal)
    s[t] = moment(x**2)
output q, s
"""
FIRST_APART = HEAD + """for t in range(T):
    if t == 0:
        p = 0*y
        v[t] = 1
        before = 0*signal
    else:
        before = x[t-1]
        v[t] = w[t-1]
        p = A @ before - v[t]*g[t-1]
    g[t] = gout(p, y, v[t])
    tr = -1/(2*moment(gout'(p, y, v[t])))
    x[t] = (before + tr*(A.T @ g[t]))/(1 + tr)
    w[t] = tr/(1 + tr)
    q[t] = moment(x[t]*signal)
    s[t] = moment(x[t]**2)
output q, s
"""

CHANNELS = {
    "y*sigmoid(-y*p/sqrt(v))/sqrt(v)": lambda p, y, v: y * expit(-y * p / np.sqrt(v)) / np.sqrt(v),
    "(y - tanh(p))/(1 + v)": lambda p, y, v: (y - np.tanh(p)) / (1 + v),
    # The posterior mean: the density of a normal variable over its distribution function.
    "y*exp(-p**2/(2*v))/(sqrt(3.141592653589793*v/2)*(1 + erf(y*p/sqrt(2*v))))": lambda p, y, v: y * np.exp(
        norm.logpdf(p / np.sqrt(v)) - norm.logcdf(y * p / np.sqrt(v))) / np.sqrt(v),
    "softplus(-y*p)*y": lambda p, y, v: np.logaddexp(0.0, -y * p) * y}


def evolved(channel, steps):
    """q = E x s and s = E x**2: with u = A @ signal of variance 1, p has covariance q with it, and variance s."""
    q, s, v, found = 0.0, 0.0, 1.0, []
    for _ in range(steps):
        deviation = np.sqrt(s)

        def mean(f, q=q, s=s, deviation=deviation):
            """E f(p, y), with the label's law given p."""
            def integrand(z):
                side = 0.0 if s == 0 else q / deviation * z / np.sqrt(1 - q * q / s)
                return norm.pdf(z) * sum(norm.cdf(y * side) * f(deviation * z, y) for y in (1.0, -1.0))
            return sum(quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12, limit=400)[0] for a, b in ((-10, 0), (0, 10)))

        def with_signal(f, q=q, s=s, deviation=deviation):
            """E u f(p, y): E[u; y | p] is the mean of a half normal variable."""
            def integrand(z):
                centre, spread = (0.0 if s == 0 else q / deviation * z), np.sqrt(1 - (q * q / s if s else 0.0))
                upper = spread * norm.pdf(centre / spread) + centre * norm.cdf(centre / spread)
                return norm.pdf(z) * (upper * f(deviation * z, 1.0) + (centre - upper) * f(deviation * z, -1.0))
            return sum(quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12, limit=400)[0] for a, b in ((-10, 0), (0, 10)))

        h = 1e-5
        slope = mean(lambda p, y, v=v: (channel(p + h, y, v) - channel(p - h, y, v)) / (2 * h))
        tr = -1 / (2 * slope)
        # A.T @ g = 2 (a signal + slope x) + noise of variance 2 E g**2; E u g = a + slope q.
        a = with_signal(lambda p, y, v=v: channel(p, y, v)) - slope * q
        noise = 2 * mean(lambda p, y, v=v: channel(p, y, v)**2)
        q = tr * 2 * a / (1 + tr)
        s = tr**2 * ((2 * a)**2 + noise) / (1 + tr)**2
        v = tr / (1 + tr)
        found.append((q, s))
    return np.array(found)


@pytest.mark.quick("FAMILIES-y*sigmoid(-y*p/sqrt(v))/sqrt(v)")
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("text", [FAMILIES, NAMES, FIRST_APART], ids=["FAMILIES", "NAMES", "FIRST_APART"])
def test_state_evolution_of_signs(text, channel):
    found = tensorprog.compile(text.format(channel=channel)).run()
    wanted = evolved(CHANNELS[channel], 5)
    assert set(found.method.values()) == {"covariance"}
    # Of the reference, the difference quotient is the coarsest part.
    assert np.abs(found["q"] - wanted[:, 0]).max() < 1e-8 and np.abs(found["s"] - wanted[:, 1]).max() < 1e-8
    assert max(found.error[name].max() for name in ("q", "s")) < 1e-10
