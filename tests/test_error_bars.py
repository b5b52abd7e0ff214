"""Two error bars of the particles cover the limit, or a warning says that they may not."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.passes.averages import resolutions

DISCRETE = """
width n
vector b : [n] ~ bernoulli(0.3)
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
f[0] = moment(b)
f[1] = moment(b * step(v))
f[2] = moment(step(v - 1.7))
f[3] = moment(step(v) * step(v + w))
f[4] = moment(b)**2
f[5] = moment(b * v * v)
g = {scale} * moment(step(v - 0.3))
output f, g
"""
RIGHT, TAIL = [.3, .15, 0.044565462758542996, .375, .09, .3], 0.3820885778110474


@pytest.mark.parametrize("samples, replicates", [(64, 2), (64, 8)])
def test_averages_of_jumps_have_a_resolution(samples, replicates):
    """All replicates may agree on the same wrong multiple of 1/samples."""
    program, inside = tensorprog.compile(DISCRETE.format(scale="1e-4")), []
    for seed in range(25):
        found = program.run(method="particles", samples=samples, replicates=replicates, seed=seed)
        assert not found.warnings
        right = {"f": np.array(RIGHT), "g": 1e-4 * TAIL}
        inside.append(np.append(*[np.abs(found[k] - right[k]) <= 2 * found.error[k] for k in "fg"]))
        assert found.error["g"] >= 1e-5 / samples  # on the scale of the output
    coverage = np.mean(inside, axis=0)
    assert np.all(coverage >= 0.8) and np.mean(coverage) >= 0.93


def test_smooth_averages_and_networks_have_none():
    text = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\nvector u : [n] ~ normal(0, 1)\n"
    text += "f = moment(tanh(W @ sign(v))**2)\nq = moment(u * relu(W @ v))\noutput f, q\n"
    program = tensorprog.compile(text)
    assert program.run(method="particles", samples=1024, replicates=4).error["q"] < 1e-14
    assert resolutions(program.compiled.limit, program.compiled.env) == {}


@pytest.mark.parametrize("inside, heavy", [
    ("exp(2*v)", True), ("v**4", True), ("(v*w)**2", True), ("square(v)*v*exp(-v)", True), ("v*v", False),
    ("relu(v)*w", False), ("tanh(v)**8", False), ("exp(-v*v)", False), ("(W @ relu(v)) * v * w", False),
    ("exp(tanh(v))", False)])
def test_heavy_tails_are_told(inside, heavy):
    text = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\nvector w : [n] ~ normal(0, 1)\n"
    program = tensorprog.compile(f"{text}q = moment({inside})\noutput q\n")
    found = program.run(method="particles", samples=32, replicates=2)
    assert ("TP643" in [d.code for d in found.warnings]) == heavy
