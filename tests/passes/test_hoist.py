"""Passes that move code must leave what a network computes as it is."""


import numpy as np
import pytest
from places import EXAMPLES

from tensorprog.check import front
from tensorprog.diagnostics import Reporter, Source
from tensorprog.finite import simulate
from tensorprog.ir.program import For, Let, MatMul, walk
from tensorprog.ir.text import program_text
from tensorprog.ir.verify import verify
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.hoist import hoist
from tensorprog.passes.pull_numbers import pull_numbers
from tensorprog.passes.simplify import remove_unused, simplify
from tensorprog.pipeline import differentiated

HEAD = """\
width n
size P, d
param T : int = 3
input X : [P, d]
input y : [P]
input ids : [T] int
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
matrix V[2] : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
"""
TRAINED = """\
for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    W1 -= 0.5 * grad(loss, W1)
    v -= 0.5 * n * grad(loss, v)
output f
"""
PROGRAMS = {
    "nothing moves": HEAD + "x = v\nfor t in range(T):\n    x = tanh(W @ x)\n    m[t] = moment(x*x)\noutput m\n",
    "all but a sum": HEAD + "s = 0\nfor t in range(T):\n    for a in range(P):\n        x = tanh(W @ (U @ X[a]))\n"
                            "        s += moment(x*x) * y[a] + t\noutput s\n",
    "a name with two values": HEAD + "s = 0\nfor t in range(T):\n    x = U @ X[0]\n    s += t*moment(x*x)\n"
                                     "    x = W @ x\n    s += (t + 1)*moment(x*v) + moment(x*x)\noutput s\n",
    "carried from the iteration before": HEAD + "x = v\ns = 0\nfor t in range(T):\n    s += moment(x*x)\n"
                                                "    x = W @ v\noutput s\n",
    "layers in a family": HEAD + "s = 0\nz = v\nfor t in range(T):\n    for a in range(P):\n        h[0] = U @ X[a]\n"
                                 "        for l in range(2):\n            h[l+1] = h[l] + V[l] @ relu(h[l])\n"
                                 "        z += y[a] * h[2]\n    s += t*moment(v*z)\noutput s\n",
    "a family that is read after its loop": HEAD + "s = 0\nz = v\nfor t in range(T):\n    for a in range(P):\n"
                                            "        h[0] = U @ X[a]\n        for l in range(2):\n"
                                            "            h[l+1] = h[l] + V[l] @ relu(h[l])\n        z += y[a] * h[2]\n"
                                            "    s += t*moment(h[1]*z)\noutput s\n",
    "by index": HEAD + "s = 0\nfor t in range(T):\n    x = tanh(U @ X[ids[t]])\n    for a in range(P):\n"
                       "        s += moment(x * (W @ (U @ X[a])))\noutput s\n",
    "a branch": HEAD + "s = 0\nfor t in range(T):\n    for a in range(P):\n        x = U @ X[a]\n        if a > 0:\n"
                       "            x = W @ x\n        s += (t + 1)*moment(x*x)\noutput s\n",
    "only some iterations": HEAD + "s = 0\nfor t in range(T):\n    for a in range(P):\n        if a > t:\n"
                                   "            s += moment((U @ X[a])*v)\n        s += moment((W @ v)*v)\noutput s\n",
    "numbers that change": HEAD + "x = 0*v\nfor t in range(T):\n    c[t] = moment(v*x) + t + 1\n"
                                  "    x += c[t] * (W.T @ (c[t] * (W @ v) / 2))\n    x -= -(c[t] * v)\noutput moment(x*x)\n",
    "trained": HEAD + "def net(x):\n    return moment(v * tanh(W1 @ relu(U @ x)))\nW1 = W\n" + TRAINED,
    "trained, recurrent": HEAD + "def net(x):\n    h[0] = U @ x\n    for s in range(2):\n        h[s+1] = tanh(W1 @ h[s])\n"
                                 "    return moment(v * h[2])\nW1 = W\n" + TRAINED,
}


def plain(text):
    source = Source("test.tp", text)
    reporter = Reporter(source)
    program = differentiated(front(source, reporter), reporter)
    reporter.raise_errors()
    return program


def values(program):
    rng = np.random.default_rng(5)
    env = {"P": 3, "d": 2, "T": 3, "X": rng.standard_normal((3, 2)), "y": rng.standard_normal(3),
           "ids": np.array([0, 2, 2])}
    return simulate(program, env, width=7, seeds=[1, 2])


def same(program, other):
    verify(other)
    one, two = values(program), values(other)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-10, atol=1e-12)


def moved(program):
    return simplify(contract_cells(simplify(hoist(mark_parallel(program)))))


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_hoisting_changes_no_value(text):
    program = plain(text)
    same(program, mark_parallel(moved(program)))


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_pulling_numbers_changes_no_value(text):
    program = plain(text)
    pulled = pull_numbers(program)
    same(program, pulled)
    same(program, mark_parallel(moved(simplify(pulled))))


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_hoisting_ends(text):
    """A second time there is nothing left to move but what the first one brought together."""
    program = moved(plain(text))
    assert len(program_text(moved(program))) <= 1.5 * len(program_text(program))


def products_in_loops(program):
    return sum(isinstance(s, Let) and isinstance(s.op, MatMul) for loop in program.body
               if isinstance(loop, For) and not loop.parallel for s in walk(loop.body))


@pytest.mark.parametrize("name, left", [("nothing moves", 1), ("all but a sum", 0), ("layers in a family", 0),
                                        ("a name with two values", 0), ("numbers that change", 0)])
def test_products_that_do_not_change_are_moved(name, left):
    assert products_in_loops(moved(simplify(pull_numbers(plain(PROGRAMS[name]))))) == left


def test_what_only_training_reads_is_unused():
    text = HEAD + "x = v\nfor t in range(T):\n    x += W @ x\noutput moment(v*v)\n"
    assert not any(isinstance(s, For) for s in remove_unused(plain(text)).body)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.tp")), ids=lambda p: p.stem)
def test_examples_stay_well_formed(path):
    program = pull_numbers(plain(path.read_text(encoding="utf-8")))
    verify(moved(simplify(program)))
