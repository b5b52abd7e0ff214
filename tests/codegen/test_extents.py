"""Families whose largest index is below what bounds of its parts tell: outputs have the elements that are stored, in the limit as in
networks."""

import numpy as np
import pytest

import tensorprog

PROGRAM = """
width n
param P : int = 4
vector v : [n] ~ normal(0, 1)
for i in range(P):
    if i > {least}:
        f[{index}] = moment(v*v) * i
output f
"""
NAN = np.nan

#: The index, beyond which i a store is made, and the values.
CASES = {
    "a divisor that is 0 where nothing is stored": ("6 // i", 0, [NAN, NAN, 3, 2, NAN, NAN, 1]),
    "an even power of a negative number": ("(i - 2)**2", -1, [2, 3, NAN, NAN, 0]),
    "a power of two": ("2**i", -1, [NAN, 0, 1, NAN, 2, NAN, NAN, NAN, 3]),
    "a choice": ("i if i < 2 else 9 - i", -1, [0, 1, NAN, NAN, NAN, NAN, 3, 2]),
    "a choice that fills all": ("i if i < 2 else 5 - i", -1, [0, 1, 3, 2]),
    "a product of negative numbers": ("(i - 4) * (1 - i)", 2, [NAN, NAN, 3]),
    "a remainder": ("(7 - 3*i) % 5", -1, [NAN, 2, 0, 3, 1]),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_have_the_elements_that_are_stored(case):
    index, least, wanted = CASES[case]
    program = tensorprog.compile(PROGRAM.format(index=index, least=least))
    found = [program.run(method="span"), program.run(method="covariance"),
             program.run(method="particles", samples=64, replicates=2), program.simulate(width=64, seeds=2)]
    for result, tolerance in zip(found, (1e-9, 1e-9, 0.5, 1.5)):
        np.testing.assert_allclose(result["f"], wanted, atol=tolerance)
        assert result.error["f"].shape == (len(wanted),)
        assert not result.warnings and not result.diverged
    assert found[-1].samples["f"].shape == (2, len(wanted))


# `steps` and `low` have other names in modules.
@pytest.mark.parametrize("name", ["ids", "steps", "low"])
@pytest.mark.parametrize("entries, wanted", [((), [1]), ((0, 3), [2, NAN, NAN, 2])])
def test_entries_of_inputs_as_indices(name, entries, wanted):
    program = tensorprog.compile(f"""
width n
size P
input {name} : [P - 1] int
input y : [P]
vector v : [n] ~ normal(0, 1)
f[0] = moment(v*v)
for i in range(P - 1):
    f[{name}[i]] = 2*moment(v*v)
output f
""")
    data = {name: np.array(entries, int), "y": np.zeros(len(entries) + 1)}
    for method in ("span", "covariance"):
        np.testing.assert_allclose(program.run(data, method=method)["f"], wanted, rtol=1e-9)
