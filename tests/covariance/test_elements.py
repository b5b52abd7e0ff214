"""Elements of arrays that loops store to and add to, read at different times: exact limits beside the particles."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

import tensorprog

HEADER = """
width n
matrix A : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
vector u[4] : [n] ~ normal(0, 1)
"""
PROGRAMS = {
    "read_before_an_addition_of_another_loop": """
        for s in range(3):
            h[s] = v
        for s in range(3):
            g[s] = relu(h[s])
        for s in range(3):
            h[s] += u[0]
        """,
    "read_before_the_next_iteration_adds": """
        for s in range(4):
            h[s] = v
        for s in range(3):
            h[s] += u[0]
            g[s] = relu(h[s+1])
        """,
    "read_while_descending": """
        for s in range(4):
            h[s] = v
        for s in range(3, 0, -1):
            h[s] += u[0]
            g[s-1] = relu(h[s-1])
        """,
    "one_element_read_by_all": """
        for s in range(3):
            h[s] = v
        for s in range(3):
            g[s] = relu(h[2])
            h[s] += u[s]
        """,
    "additions_that_read_ahead": """
        for s in range(6):
            h[s] = 0.0 * v
        for s in range(3):
            h[s] += u[0]
            h[s+1] += 0.5 * (A @ h[s+2])
        for s in range(3):
            g[s] = relu(h[s])
        """,
    "stores_that_overlap": """
        for s in range(3):
            h[s] = 2 * u[0]
            h[s+1] = v
        for s in range(3):
            g[s] = relu(h[s])
        """,
    "scaled_and_stored": """
        for s in range(4):
            h[s] = v
        for s in range(3):
            h[s] *= 0.6
            h[s+1] = u[0]
        for s in range(3):
            g[s] = relu(h[s])
        """,
    "addition_before_the_store": """
        h[0] = v
        for s in range(1, 4):
            h[s-1] += u[0]
            h[s] = v
        for s in range(3):
            g[s] = relu(h[s])
        """,
    "stored_then_added_to": """
        for s in range(3):
            h[s] = v
            for k in range(4):
                h[s] += 0.5 * (A @ u[k])
            g[s] = relu(h[s])
        """,
    "scattered": """
        for s in range(6):
            h[s] = v
        for s in range(3):
            for k in range(3):
                h[s+k] += u[k]
        for s in range(3):
            g[s] = relu(h[s+1])
        """,
}
OUTPUT = """
for s in range(3):
    K[s] = moment(g[s] * g[s])
    M[s] = moment(g[s] * (v + u[0]))
output K, M
"""


@pytest.mark.slow_cases("read_before_an_addition_of_another_loop")
@pytest.mark.parametrize("case", PROGRAMS)
def test_near_the_particles(case):
    program = tensorprog.compile(HEADER + textwrap.dedent(PROGRAMS[case]) + OUTPUT)
    found, drawn = program.run(), program.run(method="particles", samples=4096)
    assert found.method["K"] == "covariance"
    for name in "KM":
        assert np.all(np.abs(found[name] - drawn[name]) <= 5 * drawn.error[name] + 2e-3), case
