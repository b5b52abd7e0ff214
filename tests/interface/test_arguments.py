"""Wrong names and types of arguments, everywhere in the Python interface: an error of our own that says what to write."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog import ProgramError
from tensorprog.abc import classify

TEXT = """width n
size P, d
param c = 1
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    f[a] = dot(v, relu(c*(U @ X[a]))) / sqrt(n)
for a in range(P):
    for b in range(P):
        nngp[a, b] = cov(f[a], f[b])
output nngp
"""
X = np.eye(2)
PROGRAM = tensorprog.compile(TEXT)

CALLS = {
    "kernels(X=X)": (lambda: PROGRAM.kernels(X=X), "kernels({'X': X})"),
    "kernels()": (lambda: PROGRAM.kernels(), "kernels(first, second=None"),
    "kernels(out=3)": (lambda: PROGRAM.kernels(X, out=3), "'out' of `kernels` is a mapping"),
    "run(X)": (lambda: PROGRAM.run(X), "run({'X': X})"),
    "run(3)": (lambda: PROGRAM.run(3), "run({'X': X})"),
    "run('file')": (lambda: PROGRAM.run("file"), "run({'X': X})"),
    "run({1: X})": (lambda: PROGRAM.run({1: X}), "run({'X': X})"),
    "run(X=X)": (lambda: PROGRAM.run(X=X), "X is an input"),
    "run(data, 3)": (lambda: PROGRAM.run({"X": X}, 3), "too many positional arguments"),
    "run(method=3)": (lambda: PROGRAM.run({"X": X}, method=3), "'method' of `run` is a word"),
    "run(progress=3)": (lambda: PROGRAM.run({"X": X}, progress=3), "or True"),
    "run(budget='a')": (lambda: PROGRAM.run({"X": X}, budget="a"), "seconds"),
    "run(windows='a')": (lambda: PROGRAM.run({"X": X}, windows="a"), "True or False"),
    "run(checkpoint=3)": (lambda: PROGRAM.run({"X": X}, checkpoint=3), "a path"),
    "simulate()": (lambda: PROGRAM.simulate(), "width"),
    "simulate(widths=3)": (lambda: PROGRAM.simulate({"X": X}, widths=3), "width"),
    "simulate(X)": (lambda: PROGRAM.simulate(X, width=4), "simulate({'X': X})"),
    "verify(widths=3)": (lambda: PROGRAM.verify({"X": X}, widths=3), "verify(widths=[64, 128, 256, 512])"),
    "verify(X)": (lambda: PROGRAM.verify(X), "verify({'X': X})"),
    "sweep(X)": (lambda: PROGRAM.sweep(X, c=[1, 2]), "sweep({'X': X})"),
    "scale(3)": (lambda: PROGRAM.scale(3), "scale({'X': X})"),
    "scale(widths=3)": (lambda: PROGRAM.scale(widths=3), "widths"),
    "mup(3)": (lambda: PROGRAM.mup(3), "'optimizer' of `mup` is a word"),
    "mup(optimiser=1)": (lambda: PROGRAM.mup(optimiser="adam"), "did you mean `optimizer=...`?"),
    "emit()": (lambda: PROGRAM.emit(), "emit(stage)"),
    "emit(3)": (lambda: PROGRAM.emit(3), "'stage' of `emit` is a word"),
    "write_module(3)": (lambda: PROGRAM.write_module(3), "a path"),
    "compile(3)": (lambda: tensorprog.compile(3), "a path"),
    "compile(None)": (lambda: tensorprog.compile(None), "a path"),
    "compile(bytes)": (lambda: tensorprog.compile(TEXT.encode()), "a path"),
    "compile(text, 3)": (lambda: tensorprog.compile(TEXT, 3), "compile(settings={'eta': 0.1})"),
    "compile(text, setings=)": (lambda: tensorprog.compile(TEXT, setings={}), "did you mean `settings=...`?"),
    "classify(3)": (lambda: classify(3), "named('muP', 2)"),
    "classify()": (lambda: classify(), "classify(p)")}


@pytest.mark.parametrize("call", CALLS)
def test_what_does_not_fit_says_what_to_write(call):
    function, said = CALLS[call]
    with pytest.raises(ProgramError) as error:
        function()
    assert said in str(error.value)
    assert error.value.diagnostics[0].help or "not" in str(error.value)


def test_what_fits_is_taken():
    assert PROGRAM.kernels({"X": X})["nngp"] == pytest.approx(X / 2 + (1 - X) / (2 * np.pi))
    assert PROGRAM.run(data={"X": X.tolist()}, progress=None)["nngp"].shape == (2, 2)


@pytest.mark.parametrize("found", [PROGRAM.kernels(X), PROGRAM.run({"X": X})])
def test_outputs_that_are_not_there(found):
    with pytest.raises(KeyError, match="nngp"):
        found["ntk"]
