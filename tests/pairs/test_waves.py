"""Kernels of polynomials times waves at every variance, against their characteristic function in 140 digits."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from pair_programs import ONE_LAYER

import tensorprog

PROGRAM = ONE_LAYER + """        theta[a, c] = ntk(f[a], f[c]; U, v)
output nngp, theta
"""
ROWS = np.array([[1.0, 0.0], [0.6, 0.8], [0.28, 0.96], [-0.6, 0.8]])

Terms = dict[tuple[int, int], mp.mpc]  # of x**p exp(i w x)
SIN: Terms = {(0, 1): mp.mpc(0, -0.5), (0, -1): mp.mpc(0, 0.5)}
COS: Terms = {(0, 1): mp.mpc(0.5), (0, -1): mp.mpc(0.5)}
LINEAR: Terms = {(1, 0): mp.mpc(1)}


def product(*factors: Terms) -> Terms:
    found: Terms = {(0, 0): mp.mpc(1)}
    for factor in factors:
        found = added(*({(p + q, v + w): a * b} for (p, v), a in found.items() for (q, w), b in factor.items()))
    return found


def added(*parts: Terms) -> Terms:
    found: Terms = {}
    for part in parts:
        for key, value in part.items():
            found[key] = found.get(key, 0) + value
    return found


def slope(f: Terms) -> Terms:
    return added(*({(p - 1, w): p * a} for (p, w), a in f.items() if p), *({(p, w): mp.mpc(0, w) * a} for (p, w), a in f.items()))


def moment(p, r, mx, my, qa, k, qb):
    if p == 0 and r == 0:
        return mp.mpf(1)
    if p == 0:
        return moment(r, 0, my, mx, qb, k, qa)
    found = mx * moment(p - 1, r, mx, my, qa, k, qb)
    found += (p - 1) * qa * moment(p - 2, r, mx, my, qa, k, qb) if p > 1 else 0
    return found + (r * k * moment(p - 1, r - 1, mx, my, qa, k, qb) if r else 0)


def expectation(f: Terms, g: Terms, qa, k, qb):
    return mp.re(sum(a * b * mp.exp(-(v*v*qa + 2*v*w*k + w*w*qb) / 2)
                     * moment(p, r, mp.mpc(0, 1) * (v*qa + w*k), mp.mpc(0, 1) * (v*k + w*qb), qa, k, qb)
                     for (p, v), a in f.items() for (r, w), b in g.items()))


FUNCTIONS = {
    "x + sin(x)**2": added(LINEAR, product(SIN, SIN)), "x*sin(x)": product(LINEAR, SIN), "x*sin(x)**2": product(LINEAR, SIN, SIN),
    "sin(x)*cos(x)**2": product(SIN, COS, COS), "x**2*cos(x)": product(LINEAR, LINEAR, COS),
    "sin(x)**3 + x**3": added(product(SIN, SIN, SIN), product(LINEAR, LINEAR, LINEAR))}


def check(phi, found, rows):
    """Errors are relative to the roots of both rows' own values."""
    f = FUNCTIONS[phi]
    g, count = slope(f), len(rows)
    with mp.workdps(140):
        exact = [[mp.mpf(float(x)) for x in row] for row in rows]
        gram = [[sum(x * y for x, y in zip(a, b)) for b in exact] for a in exact]
        nngp = [[expectation(f, f, gram[i][i], gram[i][j], gram[j][j]) for j in range(count)] for i in range(count)]
        theta = [[nngp[i][j] + gram[i][j] * expectation(g, g, gram[i][i], gram[i][j], gram[j][j]) for j in range(count)]
                 for i in range(count)]
    for name, reference in (("nngp", nngp), ("theta", theta)):
        wanted = np.array([[float(x) for x in row] for row in reference])
        size = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
        assert np.all(np.abs(found[name] - wanted) <= 1e-12 * size), name
        assert np.all(found.error[name] <= 1e-10 * size), name


@pytest.mark.quick("x*sin(x)**2")
@pytest.mark.parametrize("phi", FUNCTIONS)
def test_every_variance(phi):
    program = tensorprog.compile(PROGRAM.format(phi=phi))
    for scale in (1e-7, 1.0, 30.0, 1e4, 1e8):
        check(phi, program.kernels(scale * ROWS), scale * ROWS)


def test_a_run_has_the_same_values():
    rows = 1e5 * ROWS
    check("x + sin(x)**2", tensorprog.compile(PROGRAM.format(phi="x + sin(x)**2")).run({"X": rows}), rows)


def test_rows_of_very_different_norms():
    rows = ROWS * np.array([1e-4, 1.0, 1e8, 1e3])[:, None]
    check("x + sin(x)**2", tensorprog.compile(PROGRAM.format(phi="x + sin(x)**2")).kernels(rows), rows)


@pytest.mark.parametrize("phi", ["x**3/(1 + x**2)", "x**3*exp(-x**2)"])
def test_functions_that_vanish_to_third_order_at_small_variances(phi):
    """phi is x**3 there: E (u v)**3 = 9 qa qb k + 6 k**3."""
    found = tensorprog.compile(PROGRAM.format(phi=phi)).kernels(1e-8 * ROWS)
    k = 1e-16 * ROWS @ ROWS.T
    q = np.diag(k)
    cubes = 9 * np.outer(q, q) * k + 6 * k**3
    np.testing.assert_allclose(found["nngp"], cubes, rtol=1e-11)
    np.testing.assert_allclose(found["theta"], cubes + 9 * k * (np.outer(q, q) + 2 * k**2), rtol=1e-11)
