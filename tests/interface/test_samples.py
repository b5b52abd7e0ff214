"""`output sample(x, y)`: joint draws of limit variables, beside known laws and the coordinates of networks."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

TRAINED = """
width n
size P, d
param eta = 0.5
param T : int = 5
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        h[t, a] = W @ tanh(U @ X[a])
        f[t, a] = moment(v * tanh(h[t, a]))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output loss
output sample(h[T-1, 0], h[0, 0], v) as neurons
output moment(h[T-1, 0]*v) as aligned, moment(h[T-1, 0]**4) as fourth
"""
DATA = {"X": np.array([[1.0, 0.5], [-0.3, 1.2], [0.8, -1.0]]), "y": np.array([1.0, -1.0, 1.0])}

INITIAL = """
width n
matrix W : [n, n] ~ normal(0, 2/n)
vector v : [n] ~ normal(0, 1)
vector s : [n] ~ rademacher()
vector k : [n] ~ constant(3)
x = W @ (v + s)
"""


def draws(text: str, data: dict | None = None, **options: object) -> np.ndarray:
    return tensorprog.compile(text).run(data, **options)["joint"]


def test_a_jointly_gaussian_vector():
    """x = W (v + s) has variance 2 (1 + 1), and is independent of v and s."""
    found = draws(INITIAL + "output sample(x, v, s, k) as joint")
    assert found.shape == (4096, 4)
    covariance = np.cov(found[:, :3], rowvar=False)
    np.testing.assert_allclose(covariance, np.diag([4.0, 1.0, 1.0]), atol=0.12)
    assert set(np.unique(found[:, 2])) == {-1.0, 1.0}
    assert set(found[:, 3]) == {3.0}
    assert abs(np.mean(found[:, 0] ** 4) / 48 - 1) < 0.1


def test_a_law_that_is_not_gaussian():
    """relu of a normal variable: half of it is at zero, its mean is 1/sqrt(2 pi)."""
    found = draws(INITIAL + "output sample(relu(v)) as joint")[:, 0]
    assert abs(np.mean(found == 0) - 0.5) < 0.01
    assert abs(found.mean() - 1 / np.sqrt(2 * np.pi)) < 0.01


def test_any_part_of_the_draws_is_a_sample():
    """Every k-th point of a quasi-random sequence is none."""
    found = draws(INITIAL + "output sample(v, x) as joint", samples=4096)
    for part in (found[::2], found[1::4], found[:512], found[-512:]):
        noise = np.array([1.0, 2.0]) / np.sqrt(len(part))
        assert (np.abs(part.mean(axis=0)) < 4 * noise).all()


def test_the_products_of_a_matrix_and_its_transpose_are_correlated_with_what_they_act_on():
    """x = W v, z = W.T tanh(x): E[z v] = 2 E[tanh'(x)], which is what `Zdot` gives."""
    text = INITIAL.replace("x = W @ (v + s)", "x = W @ v\nz = W.T @ tanh(x)")
    result = tensorprog.compile(text + "output sample(z, v) as joint\noutput moment(z*v) as exact").run()
    joint = result["joint"]
    assert abs(np.mean(joint[:, 0] * joint[:, 1]) - result["exact"]) < 0.05
    assert result["exact"] > 0.5


def test_trained_networks_have_the_draws_of_the_limit():
    program = tensorprog.compile(TRAINED)
    limit = program.run(DATA, samples=2048)
    network = program.simulate(DATA, width=2048, seeds=4)
    assert network["neurons"].shape == (4 * 2048, 3)
    assert network.samples["neurons"].shape == (4, 2048, 3)
    np.testing.assert_array_equal(network["neurons"], network.samples["neurons"].reshape(-1, 3))
    first, second = limit["neurons"], network["neurons"]
    np.testing.assert_allclose(np.cov(first, rowvar=False), np.cov(second, rowvar=False), atol=0.12)
    quantiles = np.linspace(0.05, 0.95, 7)
    np.testing.assert_allclose(np.quantile(first, quantiles, axis=0), np.quantile(second, quantiles, axis=0), atol=0.12)
    assert abs(np.mean(first[:, 0] * first[:, 2]) - limit["aligned"]) < 0.03
    assert abs(np.mean(first[:, 0] ** 4) / limit["fourth"] - 1) < 0.08


def test_outputs_are_the_same_without_samples():
    alone = tensorprog.compile("\n".join(line for line in TRAINED.splitlines() if "sample" not in line))
    both = tensorprog.compile(TRAINED)
    options = {"samples": 256, "replicates": 2}
    np.testing.assert_array_equal(alone.run(DATA, **options)["loss"], both.run(DATA, **options)["loss"])
    np.testing.assert_array_equal(alone.simulate(DATA, width=32, seeds=2)["loss"],
                                  both.simulate(DATA, width=32, seeds=2)["loss"])


@pytest.mark.parametrize(("program", "evaluator"), [
    (INITIAL + "output moment(tanh(x)**2) as q, sample(x, v) as joint", "covariance"),
    (INITIAL + "output moment(x*x) as q, sample(x, v) as joint", "span")])
def test_numbers_keep_their_exact_evaluator(program, evaluator):
    result = tensorprog.compile(program).run()
    assert result.method == {"q": evaluator, "joint": "particles"}
    assert result["joint"].shape == (4096, 2)
    plan = tensorprog.compile(program).emit("plan")
    assert f"output q: {evaluator}" in plan and "output joint: particles" in plan


def test_powers_of_n_of_each_vector():
    with pytest.raises(ProgramError, match="TP501"):
        tensorprog.compile(INITIAL + "output sample(v, n*x) as joint").run()
    program = tensorprog.compile(INITIAL + "output sample(v, x/n) as joint")
    result = program.run()
    assert any(w.code == "TP508" for w in result.warnings)
    assert (result["joint"][:, 1] == 0).all() and result["joint"][:, 0].std() > 0.9


def test_vectors_of_a_family_in_parallel_loops():
    text = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
for a in range(P):
    h[a] = tanh(U @ X[a])
output sample(h[0], h[P-1]) as joint
"""
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    program = tensorprog.compile(text)
    found = program.run({"X": X})["joint"]
    u = np.arctanh(found)
    np.testing.assert_allclose(np.cov(u, rowvar=False), [[0.5, 0.5], [0.5, 1.0]], atol=0.05)
    coordinates = program.simulate({"X": X}, width=4096, seeds=1)["joint"]
    np.testing.assert_allclose(np.cov(np.arctanh(coordinates), rowvar=False), [[0.5, 0.5], [0.5, 1.0]], atol=0.08)


def test_a_function_named_sample_wins():
    text = "width n\nvector v : [n] ~ normal(0, 1)\ndef sample(x) = moment(x*x)\noutput sample(v) as q"
    assert tensorprog.compile(text).run()["q"] == pytest.approx(1.0)


def test_a_scalar_at_a_jump_is_told_of():
    """v is independent of h: their product has the mean 0, whose sign is another one in each network."""
    text = "width n\nvector v : [n] ~ normal(0, 1)\nvector h : [n] ~ normal(0, 1)\nf = moment(v*h){0}\noutput sample(sign(f)*h) as joint"
    at_jump = tensorprog.compile(text.format(""))
    for seed in range(4):
        assert any(w.code == "TP513" and "`joint`" in w.message for w in at_jump.run(seed=seed).warnings)
    away = tensorprog.compile(text.format(" + 0.5")).run()
    assert not [w for w in away.warnings if w.code == "TP513"]
    np.testing.assert_array_equal(away["joint"].shape, (4096, 1))
    assert away["joint"].std() == pytest.approx(1.0, abs=0.02)


def test_a_program_of_draws_alone(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from tensorprog.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.tp").write_text(INITIAL + "output sample(x, v) as joint\n")

    def tpc(*arguments: str):
        return CliRunner().invoke(main, [*arguments[:1], "model.tp", *arguments[1:]])

    for arguments in (("check",), ("run", "--samples", "64", "--keep", "points"), ("run", "--samples", "64", "-o", "o.nc"),
                      ("simulate", "--width", "16"), ("derive",), ("scale",), ("compile", "--emit", "plan")):
        found = tpc(*arguments)
        assert found.exit_code == 0, found.output
        assert arguments[0] not in ("run", "simulate") or "joint [" in found.stdout
    written = tpc("compile", "-o", "m.py")
    assert written.exit_code == 0 and "'joint'" in written.stderr
    for arguments, code in ((("verify",), "TP710"), (("kernels",), "TP712")):
        found = tpc(*arguments)
        assert found.exit_code == 2 and code in found.stderr


def test_results_show_draws():
    result = tensorprog.compile(INITIAL + "output sample(x, v) as joint, moment(v*v) as q").run()
    table = result.table()
    assert "joint [4096, 2]  draws" in table and "correlations" in table
    assert result.columns == {"joint": ("x", "v")}
    assert np.isnan(result.error["joint"]).all()
    assert "deviation" in result._repr_html_()
    assert list(result.numbers()) == ["q"]


def test_verification_and_second_limits_leave_draws_out():
    program = tensorprog.compile("""
width n
size L
vector v : [n] ~ normal(0, 1)
x = v
for l in range(L):
    x += tanh(x) / L
output moment(x*x) as q, sample(x, v) as joint
""")
    found = program.verify(L=2, widths=(16, 32, 64, 128), seeds=4, samples=256)
    assert list(found.limit) == ["q"]
    result = program.run(limit={"L": [4, 8, 16, 32]}, samples=256, replicates=2)
    assert list(result) == ["q"]
    assert any("joint" in w.message for w in result.warnings)
