"""A division by a number that is known to be 0 is refused wherever it is written."""

import pytest

import tensorprog

PROGRAM = """
width n
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
x = moment(v*v)
{}
output x, moment(v * (W @ v)) as y
"""


@pytest.mark.parametrize("statement", ["x = x / 0", "x /= 0", "x /= 0.0", "W /= 0", "W = W / 0", "W1 = W / (1 - 1)"])
def test_division_by_zero(statement):
    with pytest.raises(tensorprog.ProgramError) as caught:
        tensorprog.compile(PROGRAM.format(statement))
    assert [d.code for d in caught.value.diagnostics] == ["TP322"]


@pytest.mark.parametrize("statement", ["x /= 2", "W /= 2", "W = W / 0.5"])
def test_other_divisors(statement):
    tensorprog.compile(PROGRAM.format(statement))
