"""Matrices that loops train are found where symbolic execution of the whole program gives up because of them, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tensorprog
from tensorprog.covariance.build import _unwound
from tensorprog.covariance.guards import Unsupported
from tensorprog.passes.changing_matrices import changing_matrix

HEAD = """width n
size P = 2
vector u : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
matrix V[3] : [n, n] ~ normal(0, 1/n)
matrix M : [n, n] = 0
"""
TRAINED = "for t in range(3):\n    f[t] = moment(u*tanh(W @ u))\n    W -= 0.1*grad(f[t], W)\noutput f\n"
PROGRAMS = {
    "trained": (TRAINED, True),
    "an inner loop": ("for t in range(3):\n    h = u\n    for s in range(2):\n        h = tanh(W @ h)\n    W -= 0.1/n*outer(h, u)\n"
                      "output moment(h*u) as q\n", True),
    "momentum": ("for t in range(3):\n    f = moment(u*tanh(W @ u))\n    M = 0.9*M + grad(f, W)\n    W -= 0.1*M\noutput f\n", True),
    "layer by layer": ("h[0] = u\nfor l in range(3):\n    h[l+1] = tanh(V[l] @ h[l])\n    V[l] -= 0.1/n*outer(h[l+1], h[l])\n"
                       "output moment(h[3]*h[3]) as q\n", True),
    "not trained": ("h = u\nfor t in range(3):\n    h = tanh(W @ h)\noutput moment(h*h) as q\n", False),
    "a sum of outer products, applied later": (
        "for t in range(3):\n    M += 1/n*outer(W @ u, u)\noutput moment((M @ u)**2) as q\n", False),
    "set anew": ("for t in range(3):\n    M = 1/n*outer(u, u)\n    h = M @ u\noutput moment(h*h) as q\n", False),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_where_symbolic_execution_gives_up(name):
    text, changing = PROGRAMS[name]
    compiled = tensorprog.compile(HEAD + text).compiled_for({})
    found = changing_matrix(compiled.limit)
    assert (found is not None) == changing
    if found is not None:
        with pytest.raises(Unsupported, match=f"the matrix `{found.display}` changes from one iteration to the next"):
            _unwound(compiled, True)
    else:
        _unwound(compiled, True)


def test_planning_of_training_does_without_sympy(tmp_path):
    path = tmp_path / "trained.tp"
    path.write_text(HEAD + TRAINED)
    text = ("import sys, tensorprog\nfound = tensorprog.compile(sys.argv[1]).run(samples=64, replicates=2)\n"
            "print(found.method['f'], 'sympy' in sys.modules)\n")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text, path], capture_output=True, text=True, check=True)
    assert done.stdout == "particles False\n"
