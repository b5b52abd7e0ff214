"""Declared laws and constants, of which powers of n keep the leading terms: by formulas, equations and particles."""

from __future__ import annotations

import math

import pytest
import sympy

import tensorprog
from tensorprog.derive.integers import RELATIONS
from tensorprog.limit.laws import DeclaredLaws

PROGRAM = """
width n
width m = 2*n
param s = 0.5
{declaration}
a = {value}
output a
"""

#: declaration, the value looked at, what the formulas say of the law, the limit
CASES = [
    ("vector v : [n] ~ normal(0, 1 + 1/n)", "moment(v*v)", "Z^{v} ~ normal(0, 1)", 1),
    ("vector v : [n] ~ normal(0, (s + n**(-1/2))/n)", "n*moment(v*v)", "Z^{v} ~ normal(0, s)", .5),
    ("vector v : [n] ~ normal(0, s - 3/m)", "moment(v*v)", "Z^{v} ~ normal(0, s)", .5),
    ("vector v : [n] ~ normal(n**(-1/2), 2)", "moment(v)", "Z^{v} ~ normal(0, 2)", 0),
    ("vector v : [n] ~ normal(s + 1/n, 2)", "moment(v)", "Z^{v} ~ normal(s, 2)", .5),
    ("vector v : [n] ~ uniform(-1 - 1/n, s)", "moment(v)", "Z^{v} ~ uniform(-1, s)", -.25),
    ("vector v : [n] ~ normal(0, m/n)", "moment(v*v)", "Z^{v} ~ normal(0, 2)", 2),
]


@pytest.mark.parametrize(("declaration", "value", "law", "limit"), CASES)
def test_formulas_and_equations_take_the_leading_term(declaration, value, law, limit):
    program = tensorprog.compile(PROGRAM.format(declaration=declaration, value=value))
    assert law in program.emit("text").splitlines()
    assert math.isclose(float(program.run(method="covariance")["a"]), limit, abs_tol=1e-14)


def test_matrices_keep_the_leading_term_of_their_variance():
    program = tensorprog.compile("""
width n
width m = 2*n
matrix W : [n, m] ~ normal(0, (1 + 1/n)/n)
vector z : [m] ~ normal(n**(-1/2), 1)
vector u : [n] ~ normal(0, 1)
a = moment((W @ z)**2)
b = moment((W.T @ u)**2)
c = moment(z)
output a, b, c
""")
    text = program.emit("text")
    assert "Cov(Zhat^{W z}, Zhat^{W z}) = 2*E[Z^{z}**2]" in text
    assert "Cov(Zhat^{W.T u}, Zhat^{W.T u}) = E[Z^{u}**2]" in text
    assert "c = 0" in text.splitlines()
    run = program.run(method="covariance")
    assert [float(run[k]) for k in "abc"] == pytest.approx([2, 1, 0], abs=1e-14)


def test_a_term_that_is_zero_has_no_power():
    found = tensorprog.compile(PROGRAM.format(declaration="vector v : [n] ~ normal(0, 0*n + s)", value="moment(v*v)")).compiled
    laws = DeclaredLaws(found.limit, found.powers, found.env, RELATIONS)
    assert laws.arguments(found.limit.initials[0]) == [0, sympy.Symbol("s")]
