"""Programs that the evaluator of linear programs once got wrong."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError
from tensorprog.runtime import loops


def limits(monkeypatch, text, data=None, **settings):
    """The outputs by compiled loops, and by single steps."""
    program = tensorprog.compile(text)
    found = []
    for few in (1, 10**9):
        monkeypatch.setattr(loops, "FEW", few)
        found.append(program.run(data, method="span", **settings))
    return found


# --- names ---------------------------------------------------------------------------------------------------

NAMED = """
width n
param {0} = 0.3
vector a : [n] ~ normal(0, 1)
vector w[3] : [n] ~ normal(1, 2)
x = a + 2
for t in range(7):
    x = {0}*x + w[t % 3] + 1
    y = x + moment(x*a)
    f[t] = moment(y*x)
    x -= 0.1*f[t]*a
output f
"""


@pytest.mark.parametrize("name", ["width_n__", "row_0__", "lane__0", "real_0__", "i__", "zero_", "loop_0",
                                  "one_in_space_0"])
def test_names_that_a_compiled_loop_uses_itself(monkeypatch, name):
    expected = tensorprog.compile(NAMED.format("plain")).run(method="span")["f"]
    for found in limits(monkeypatch, NAMED.format(name)):
        assert found["f"] == pytest.approx(expected, rel=1e-12)


# --- cells before, between and inside compiled loops ---------------------------------------------------------


def test_a_name_whose_first_assignment_was_left_out(monkeypatch):
    text = """
    width n
    param k : int = 3
    vector a : [n] ~ normal(0, 1)
    if k > 5:
        x = a
        c = 7
    for t in range(4):
        x = t*a
        c = 2*t
        f[t] = moment(x*a) + c
    output f, c
    """.replace("\n    ", "\n")
    for found in limits(monkeypatch, text):
        assert found["f"] == pytest.approx([0, 3, 6, 9])
        assert found["c"] == pytest.approx(6)


def test_what_a_compiled_loop_inside_another_loop_carries_on(monkeypatch):
    text = """
    width n
    matrix W : [n, n] ~ normal(0, 1/n)
    vector a : [n] ~ normal(0, 1)
    for s in range(3):
        for t in range(4):
            if s + t == 0:
                x = a
                c = 1
            else:
                x = 0.5*x + a
                c = 0.5*c + 1
            f[s, t] = moment(x*a)
            g[s, t] = c
        y = W @ x
        r[s] = moment(y*y)
    output f, g, r
    """.replace("\n    ", "\n")
    expected = 2 - 0.5**np.arange(12).reshape(3, 4)
    for found in limits(monkeypatch, text):
        assert found["f"] == pytest.approx(expected)
        assert found["g"] == pytest.approx(expected)
        assert found["r"] == pytest.approx(expected[:, -1]**2)


def test_adjoints_of_a_family_inside_a_compiled_loop(monkeypatch):
    """One step at a time: h_k = k u + w, f_k = <h_k, v>, whose gradient by u is sum_k 2 (f_k - 1) k v."""
    text = """
    width n
    size T
    input order : [T, 2] int
    vector u[3] : [n] ~ normal(0, 1)
    vector v : [n] ~ normal(0, 1)
    for t in range(T):
        for k in range(3):
            h[t, k] = k*u[order[t, 0]] + u[order[t, 1]]
        for k in range(3):
            f[t, k] = moment(h[t, k]*v)
        loss = sum((f[t, k] - 1)**2 for k in range(3))
        u[order[t, 0]] -= 0.05*n*grad(loss, u[order[t, 0]])
    output f
    """.replace("\n    ", "\n")
    order = np.array([[0, 1], [0, 2], [1, 2], [2, 0], [0, 1]])
    means, expected = np.zeros(3), np.zeros((5, 3))
    for t, (i, j) in enumerate(order):
        expected[t] = np.arange(3) * means[i] + means[j]
        means[i] -= .05 * float(np.sum(2 * (expected[t] - 1) * np.arange(3)))
    for found in limits(monkeypatch, text, {"order": order}):
        assert found["f"] == pytest.approx(expected)


# --- checkpoints ---------------------------------------------------------------------------------------------

TWO_LOOPS = """
width n
param T : int = 300
vector a : [n] ~ normal(0, 1)
vector b : [n] ~ normal(0, 1)
x = a
for t in range(T):
    x = 0.9*x + 0.1*b
    f[t] = moment(x*a)
for t in range(T):
    x = 0.9*x + 0.2*a
    g[t] = moment(x*a)
output f, g
"""


def stop_after(calls):
    """A watch during one of whose calls Ctrl-C comes."""
    seen = []

    def watch(outputs):
        seen.append(None)
        if len(seen) == calls:
            raise KeyboardInterrupt
    return watch


def test_a_later_state_is_not_lost_by_a_stop_before_it(monkeypatch, tmp_path):
    monkeypatch.setattr(loops, "CHUNK", 0)
    program, path = tensorprog.compile(TWO_LOOPS), tmp_path / "state.npz"
    for calls in (400, 40):
        with pytest.raises(KeyboardInterrupt):
            program.run(checkpoint=path, every=1e6, watch=stop_after(calls))
        with np.load(path) as state:
            assert int(state["loop"]) == 2
    again, whole = program.run(checkpoint=path, every=1e6), program.run()
    assert all(np.array_equal(again[name], whole[name]) for name in "fg")


def test_progress_ends_with_everything_done():
    told = []
    tensorprog.compile(TWO_LOOPS).run(progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]


def test_a_missing_folder_is_told_before_the_run(tmp_path):
    with pytest.raises(ProgramError) as error:
        tensorprog.compile(TWO_LOOPS).run(checkpoint=tmp_path / "nowhere" / "state.npz",
                                          watch=lambda outputs: pytest.fail("it runs"))
    assert error.value.diagnostics[0].code == "TP707"


def test_other_failures_are_not_blamed_on_the_checkpoint(tmp_path):
    def watch(outputs):
        raise BrokenPipeError("somebody's pipe")

    with pytest.raises(BrokenPipeError):
        tensorprog.compile(TWO_LOOPS).run(checkpoint=tmp_path / "state.npz", watch=watch)
