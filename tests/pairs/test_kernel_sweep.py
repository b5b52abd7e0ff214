"""Kernels of all kinds of functions at norms from 1e-8 to 1e8 and correlations up to 1 - 1e-15: right to ten digits, or with an error
that holds, and that is not much more than what the last digits of the data make."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from kernel_references import ACTIVATIONS, expectation, geometry
from pair_programs import ONE_LAYER

import tensorprog

PROGRAM = ONE_LAYER + """        tangent[a, c] = ntk(f[a], f[c]; U)
output nngp{more}
"""
DEEP = """width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 2.25)
matrix W[2] : [n, n] ~ normal(0, 2.25/n)
vector b[3] : [n] ~ normal(0, 0.1)
vector v : [n] ~ normal(0, 1)
def phi(x) = {phi}
for a in range(P):
    h[0, a] = U @ X[a] + b[0]
    for l in range(2):
        h[l+1, a] = W[l] @ phi(h[l, a]) + b[l+1]
    f[a] = dot(v, phi(h[2, a])) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
output nngp
"""
SCALES = (1e-8, 1e-3, 1.0, 30.0, 1e4, 1e8)
CORRELATIONS = (0.5, -0.9, 1 - 1e-6, 1 - 1e-12, 1 - 1e-15, 0.0)
#: Of an error, relative to the roots of the diagonal: a jump at nearly equal rows is known to 1e-8, a bell of width 1 on
#: variables of deviation 1e8 to 1e-5.
LARGEST_ERROR = 1e-4


def rows() -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Rows in the plane, and pairs of equal and very different norms at every correlation."""
    found, pairs = [(s, 0.0) for s in SCALES], [(i, i) for i in range(len(SCALES))]
    for k, c in enumerate(CORRELATIONS):
        for j in range(3):
            one, two = (k + 2 * j) % len(SCALES), (k + 2 * j + 3 * (j == 0)) % len(SCALES)
            pairs.append((two, len(found)))
            found.append((SCALES[one] * c, SCALES[one] * math.sqrt(1 - c * c)))
    return np.array(found), pairs


def kernels(text: str, data: np.ndarray, method: str) -> tensorprog.Result:
    program = tensorprog.compile(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # they say how large errors are
        return program.kernels({"X": data}) if method == "kernels" else program.run({"X": data}, method="covariance")


def compare(name: str, method: str, data: np.ndarray, pairs: list[tuple[int, int]], slopes: bool = True) -> None:
    """A network of one layer against the references."""
    activation = ACTIVATIONS[name]
    slopes = slopes and activation.slope is not None
    found = kernels(PROGRAM.format(phi=activation.text, more=", tangent" if slopes else ""), data, method)
    for i, j in pairs:
        s, a, b, product = geometry(data[i], data[j])
        for output, f, factor in (("nngp", activation.value, 1.0), ("tangent", activation.slope, product)):
            if output == "tangent" and not slopes:
                continue
            expected, size = expectation(f, activation.kinks, s, a, b, activation.finest)
            value, error = float(found[output][i, j]), float(found.error[output][i, j])
            what = f"{output} of {data[i]} and {data[j]}"
            assert abs(value - factor*expected) <= 1e-10*abs(factor*expected) + error + 1e-13*abs(factor)*size, what
            assert error <= LARGEST_ERROR*math.sqrt(found[output][i, i]*found[output][j, j]), what


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kernels", "run"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all(name, method):
    compare(name, method, *rows())


@pytest.mark.parametrize("name", ["min", "quick_gelu"])
def test_some(name):
    compare(name, "kernels", np.array([[30.0, 0], [1 - 1e-6, math.sqrt(2e-6)]]), [(0, 1)], slopes=False)


def test_what_saturates_at_small_and_large_variances_by_equations():
    """The mean over one variable is a sum of terms that cancel, 1e8 times as large at either."""
    compare("clip", "run", np.array([[1e-8, 0], [-0.9e8, 4e7]]), [(0, 0), (0, 1), (1, 1)], slopes=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "tanh", "quick_gelu", "clip", "cauchy", "late_ramp"])
def test_elements_do_not_hang_on_other_rows(name):
    data, pairs = rows()
    text = PROGRAM.format(phi=ACTIVATIONS[name].text, more=", tangent")
    whole = kernels(text, data, "kernels")
    for i, j in pairs[::4]:
        part = kernels(text, data[[i, j]], "kernels")
        for output in ("nngp", "tangent"):
            one, two = (np.array([r[output][k], r.error[output][k]]) for r, k in ((whole, (i, j)), (part, (0, 1))))
            assert abs(one[0] - two[0]) <= one[1] + two[1] + 1e-12*abs(one[0]), (output, data[i], data[j])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kernels", "run"])
@pytest.mark.parametrize("name", ["relu", "tanh", "quick_gelu", "softsign", "clip", "soft_threshold"])
def test_three_layers_with_biases(name, method):
    """The kernels of every layer from those of the one before; rows are far enough from each other for their Gram matrix."""
    activation = ACTIVATIONS[name]
    data = np.array([[1.0, 0], [0.5, 0.8], [-200.0, 90.0], [1e-4, 2e-4]])
    gram = 2.25*data @ data.T + 0.1
    for layer in range(3):
        if layer:
            gram = 2.25*gram + 0.1
        gram = np.array([[expectation(activation.value, activation.kinks, math.sqrt(p), k/math.sqrt(p),
                                      math.sqrt(max(q - k*k/p, 0.0)) if i != j else 0.0)[0]
                          for j, (k, q) in enumerate(zip(gram[i], np.diag(gram)))] for i, p in enumerate(np.diag(gram))])
    found = kernels(DEEP.format(phi=activation.text), data, method)
    assert (np.abs(found["nngp"] - gram) <= 1e-10*np.abs(gram) + found.error["nngp"]).all()
    assert found.error["nngp"].max() <= 1e-9*gram.max()
