"""Scalars whose limit lies on a jump: no value where there is no limit, the right one where there is, and a warning.

The references are the limits of the scalars' laws: f tends to 0 and has either sign, |f| tends to 0.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import tensorprog
from tensorprog.evaluators.covariance import evaluated_often
from tensorprog.jumps import SIDES, _all_sides
from tensorprog.modules import load_module
from tensorprog.passes.jumps import find_jumps

HEAD = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector a : [n] ~ normal(0, {s})\nvector b : [n] ~ normal(0, 1)\n" \
    "vector v : [n] ~ normal(0, 1)\nf = moment(a*{h})\ng = moment(b*{h})\n"

# Expressions of f and g, and their limits: None where there is none.
OF_SCALARS = {
    "sign(f)": None, "step(f)": None, "sign(sign(f))": None, "sign(f*g)": None, "f/g": None, "log(f)": None,
    "sqrt(f)": None, "log(f*f)": None, "1/f": None, "step(moment(v*v) - 1)": None, "sign(f)**2": 1.0, "step(f) + step(-f)": 1.0,
    "f*step(f)": 0.0, "sqrt(f*f)": 0.0, "abs(f)": 0.0, "f*f/f": 0.0, "exp(-1/(f*f))": 0.0, "max(f, g)": 0.0,
    "clip(f, 0, 1)": 0.0, "f/abs(f)": None, "2*step(f) + 2*step(-f)": 2.0, "tanh(f)/f": 1.0,
    "sign(f - g)*(f - g)": 0.0, "step(moment(v*v) - 0.99)": 1.0, "f/moment(v*v)": 0.0}

OF_VECTORS = {"moment(sign(f*v)*v)": None, "moment(relu(f*v))": 0.0, "moment(sign(f*v)*sign(v)*sign(f))": 1.0}


def program(expressions, h: str, s: str = "1") -> str:
    names = ", ".join(f"{e} as q{k}" for k, e in enumerate(expressions))
    return HEAD.format(h=h, s=s) + f"output {names}\n"


def check(result, expressions):
    for k, (expression, expected) in enumerate(expressions.items()):
        name = f"q{k}"
        value, error = float(result[name]), float(result.error[name])
        if expected is None:
            assert result.unresolved.get(name, False), expression
            assert np.isnan(value) and np.isnan(error), expression
        else:
            assert name not in result.unresolved, expression
            assert abs(value - expected) <= 4 * error + 1e-12, expression
            assert error < 1e-3, expression  # of particles, the resolution of an average of jumps


@pytest.mark.parametrize("method, h, expressions", [
    ("span", "(W @ v)", OF_SCALARS), ("covariance", "tanh(W @ v)", OF_SCALARS | OF_VECTORS),
    ("particles", "tanh(W @ v)", OF_SCALARS | OF_VECTORS)])
def test_every_evaluator_knows_which_limits_there_are(method, h, expressions):
    check(tensorprog.compile(program(expressions, h)).run(method=method), expressions)


@pytest.mark.parametrize("scale", ["1e-12", "1e12"])
def test_scales_do_not_matter(scale):
    wanted = {"sign(f)": None, "sign(f)**2": 1.0, "step(moment(a*a))": 1.0, f"step(moment(a*a) - {scale})": None}
    check(tensorprog.compile(program(wanted, "tanh(v)", scale)).run(), wanted)


ABS_LOSS = """width n
param eta = 0.5
param T : int = 3
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    f[t] = moment(v * {h})
    loss[t] = abs(f[t])
    u -= eta * n * grad(loss[t], u)
    v -= eta * n * grad(loss[t], v)
output f, loss
"""


@pytest.mark.parametrize("method, dtype", [("span", "float64"), ("span", "float32"), ("particles", "float64")])
def test_the_jump_is_met_at_one_step(method, dtype):
    """f[0] is 0, of either sign s; then f[1] = -2 eta s = -s, and the third step goes back."""
    result = tensorprog.compile(ABS_LOSS.format(h="u")).run(method=method, dtype=dtype)
    assert result.unresolved.keys() == {"f"} and result.unresolved["f"].tolist() == [False, True, False]
    assert result["loss"] == pytest.approx([0, 1, 0], abs=1e-4)
    assert result["f"][[0, 2]] == pytest.approx([0, 0], abs=1e-4)
    assert not result.diverged
    assert [w.code for w in result.warnings] == ["TP513"]
    assert "`f[1]` has no limit" in result.warnings[0].message and result.warnings[0].span.line == 8


def test_networks_agree_where_there_is_a_limit():
    """A loss has one by symmetry where its network has none: each sign is as likely, and their losses are the same."""
    compiled = tensorprog.compile(ABS_LOSS.format(h="tanh(u)"))
    result, networks = compiled.run(), compiled.simulate(width=20000, seeds=24)
    assert result.unresolved["f"].tolist() == [False, True, True]
    assert networks.samples["f"][:, 1:].std(axis=0).min() > 0.03
    assert "loss" not in result.unresolved
    # The mean of |f| is of order 1/sqrt(n) beside its limit.
    assert np.abs(networks["loss"] - result["loss"]).max() < 3 / np.sqrt(20000)


def test_signed_descent():
    """u changes by -s/5 sign(v) and back: E u^2 = 1 + 1/25, 1, 1 + 1/25."""
    result = tensorprog.compile(
        "width n\nparam T : int = 3\nvector u : [n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\n"
        "for t in range(T):\n    f[t] = moment(v*u)\n    loss[t] = f[t]**2\n    gu = n*grad(loss[t], u)\n"
        "    u -= 0.2*sign(gu)\n    q[t] = moment(u*u)\noutput f, q\n").run()
    assert result.unresolved["f"].tolist() == [False, True, False]
    assert result["q"] == pytest.approx([1.04, 1.0, 1.04], abs=1e-7)


@pytest.mark.parametrize("pair", ["f, g", "g, f"])
def test_a_tie_of_two_has_no_gradient(pair):
    result = tensorprog.compile(
        "width n\nvector u : [n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\nf = moment(u*u)\ng = moment(v*v)\n"
        f"l = max({pair})\nu -= 0.5*n*grad(l, u)\noutput moment(u*u) as q, l\n").run()
    assert list(result.unresolved) == ["q"]
    assert float(result["l"]) == 1 and float(result.error["l"]) == 0


@pytest.mark.parametrize("law, expected", [("normal(0, 1)", None), ("rademacher()", 1.0)])
def test_a_hinge_at_its_margin(law, expected):
    """E u^2 is 1 up to fluctuations, or in every network."""
    result = tensorprog.compile(f"width n\nvector u : [n] ~ {law}\nf = moment(u*u)\nloss = relu(1 - f)\n"
                                "u -= 0.5*n*grad(loss, u)\noutput loss, moment(u*u) as q\n").run()
    assert float(result["loss"]) == 0
    assert ("q" in result.unresolved) == (expected is None)
    assert expected is None or float(result["q"]) == expected


def test_single_indices():
    result = tensorprog.compile("width n\nvector w[3] : [n] ~ normal(0, 1)\nfor i in range(3):\n"
                                "    s[i] = sign(moment(w[i]*w[1]))\noutput s\n").run()
    assert result.unresolved["s"].tolist() == [True, False, True] and result["s"][1] == 1
    assert "no limit  1  no limit" in result.table() and "no limit" in result._repr_html_()
    shown = json.loads(result.to_json())["results"]["s"]
    assert shown["value"] == [None, 1, None] and shown["no_limit"] == [True, False, True]


ACCURACY = """width n
param T : int = 2
matrix W : [n, n] ~ normal(0, 1/n)
vector x : [n] ~ normal(0, 1)
vector v : [n] ~ {law}
for t in range(T):
    f = moment(v*tanh(W @ x)) {centre}
    acc[t] = mean(step(f*(1 - 2*k)) for k in range(2))
    hit[t] = step(f)
    loss = (f - 1)**2
    v -= 0.1*n*grad(loss, v)
output hit, acc
"""


def test_an_accuracy_at_initialization():
    result = tensorprog.compile(ACCURACY.format(law="normal(0, 1)", centre="")).run(method="particles", samples=1024)
    assert result.unresolved.keys() == {"hit"} and result.unresolved["hit"].tolist() == [True, False]
    assert result["hit"][1] == 1 and result["acc"] == pytest.approx([0.5, 0.5])
    warning = next(w for w in result.warnings if w.code == "TP513")
    assert "`step` tends to 0" in warning.message


@pytest.mark.slow
def test_an_accuracy_at_initialization_by_equations():
    program = tensorprog.compile(ACCURACY.format(law="normal(0, 1)", centre="").replace("(1 - 2*k)", "(1 + k)"))
    other = program.run(samples=1024)
    assert other.unresolved["acc"].tolist() == [True, False]
    assert any("at initialization" in w.help for w in other.warnings if w.code == "TP513")


@pytest.mark.parametrize("rows, enough", [
    ([[1e-9, 2e-9, 0.0], [-1e-9, -2e-9, 0.0]], True),  # multiples of one scalar, and one that does not move
    ([[1.0, 2.0], [-1.0, -2.0], [3.0, -1.0], [-3.0, 1.0]], True), ([[1.0, 2.0], [-1.0, -2.0], [3.0, 1.0]], False),
    ([[1.0], [2.0]], False), (np.eye(SIDES + 1) - 0.5, False)])
def test_which_runs_show_all_sides(rows, enough):
    """A scalar at its jump has to be seen on both sides, two in all four combinations."""
    found = [{"f": np.array(row)} for row in rows]
    assert _all_sides(found, {"f": np.ones(len(rows[0]), bool)}) == enough


def test_runs_that_share_what_a_parameter_does_not_enter():
    program = tensorprog.compile(HEAD.format(h="tanh(v)", s="1").replace("width n", "width n\nparam c = 1.0") + (
        "q = moment(tanh(v)**2)\nfor t in range(2):\n    e[t] = moment(tanh(v)**2 * relu(c*q*b + t)**2)\noutput e, q\n"))
    values = evaluated_often(program.compiled, ["e", "q"], None, ("c",))
    for c in (0.5, 2.0, 0.5):
        found, expected = values({"c": c}), program.run(method="covariance", c=c)
        assert all(found[name] == pytest.approx(expected[name], rel=1e-12) for name in ("e", "q"))


@pytest.mark.quick("constant(0)-")
@pytest.mark.parametrize("law, centre", [("constant(0)", ""), ("normal(0, 1)", "- moment(v*tanh(W @ x))")])
def test_what_is_zero_in_every_network_has_a_limit(law, centre):
    """A readout that begins at 0, and a difference of the same: step(0) is 0."""
    result = tensorprog.compile(ACCURACY.format(law=law, centre=centre)).run(T=1)
    assert not result.unresolved and result["hit"][0] == 0 and result["acc"][0] == 0


@pytest.mark.parametrize("body", [
    "output moment(tanh(W @ a)**2)/moment(b*b)", "output moment(abs(W @ relu(a))) / sqrt(moment(a*a) - moment(a)**2)",
    "for k in range(3):\n    e[k] = exp(moment(a*tanh(b)))\ns = sum(e[k] for k in range(3))\noutput log(s), e[0]/s",
    "for t in range(2):\n    l = moment(a*relu(b))**2\n    a -= n*grad(l, a)\noutput moment(a*a)"])
def test_ordinary_programs_have_no_probes(body):
    """Denominators that are sums of exponentials, variances or second moments are positive."""
    compiled = tensorprog.compile(HEAD.format(h="tanh(v)", s="1") + body + "\n").compiled
    assert find_jumps(compiled.limit, compiled.env) == ()


def test_watching_and_long_loops():
    """In a compiled loop; its probes are not shown."""
    seen = []
    result = tensorprog.compile(ABS_LOSS.format(h="u")).run(T=400, watch=lambda found: seen.append(set(found)))
    assert result["loss"][:3] == pytest.approx([0, 1, 0], abs=1e-6) and all(names <= {"f", "loss"} for names in seen)


def test_verify_does_not_agree_with_what_has_no_limit():
    compiled = tensorprog.compile(program({"sign(f)": None, "f": 0.0}, "tanh(v)"))
    verification = compiled.verify(seeds=8, widths=(32, 64, 128, 256))
    assert verification.findings["q0"].verdict == "no limit" and verification.findings["q1"].verdict == "agrees"
    assert "q0 has no limit" in verification.table() and verification.passed


def test_undefined_is_not_divergence():
    head = "width n\nvector u : [n] ~ normal(0, 1)\n"
    undefined = tensorprog.compile(head + "z = moment(u*u) - moment(u*u)\noutput z/z as q\n").run()
    assert [w.code for w in undefined.warnings if w.code.startswith("TP64")] == ["TP641"]
    growing = tensorprog.compile(head + "f[0] = moment(u*u)\nfor t in range(9):\n    f[t+1] = (10*f[t])**2\n"
                                 "output f\n").run()
    assert [w.code for w in growing.warnings] == ["TP640"] and "learning rate" in growing.warnings[0].help
    large = tensorprog.compile(head + "output exp(exp(10))*moment(u*u) as q\n").run()
    assert [w.code for w in large.warnings] == ["TP640"]
    assert "diverged" not in large.warnings[0].message and "learning rate" not in large.warnings[0].help


def written(text):
    return load_module(tensorprog.compile(text).emit("kernel"))


@pytest.mark.parametrize("text, options, outputs", [
    (ABS_LOSS.format(h="u"), {}, "f, loss"), (ABS_LOSS.format(h="tanh(u)"), {"samples": 64}, "f, loss"),
    (program({"sign(f)": None, "f": 0.0}, "tanh(v)"), {}, "q0"),
    (program({"sign(f)": None, "f": 0.0}, "tanh(v)"), {"only": ["q0"]}, "q0")])
def test_written_modules_warn(text, options, outputs):
    """By every evaluator; what tells of the jump is not shown."""
    with pytest.warns(RuntimeWarning, match=f"tends to 0 here, where it jumps: {outputs} may have no limit"):
        values, errors = written(text).run({}, **options)
    assert values.keys() == errors.keys() and not any("probe" in name for name in values)


@pytest.mark.parametrize("text", [
    program({"sign(f)": None, "f": 0.0}, "tanh(v)").replace("sign(f)", "sign(f - 0.5)"),
    "width n\nvector u : [n] ~ normal(0, 1)\nfor t in range(3):\n    if t > 0:\n        f[t] = moment(u*u)\n"
    "        s[t] = sign(f[t] - 0.5)\noutput s\n"])
def test_written_modules_do_not_warn_of_what_is_not_met(text):
    """Nor of elements that are never assigned, which are 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written(text).run({})


def test_kernels_warn_of_places():
    program = tensorprog.compile(
        "width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\nfor a in range(P):\n"
        "    for c in range(P):\n        q = moment((U @ X[a])*(U @ X[c]))\n        K[a, c] = sign(q)\n"
        "        S[a, c] = tanh(q)\noutput K, S\n")
    with pytest.warns(RuntimeWarning, match="'K' for which a scalar tends to the jump of `sign` here have no limit"):
        found = program.kernels(np.eye(3))
    assert [(w.code, w.span.line) for w in found.warnings] == [("TP513", 8)]


def test_a_scalar_that_a_vector_of_zeros_makes_a_vector():
    """sign(c + 0*u) is sign(c) in every coordinate: +1 or -1 by network. Its mean with u is 0 either way, by the law of
    large numbers, and both sides of a step add up to 1."""
    program = tensorprog.compile("""width n
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
c = moment(u*v)
output moment(sign(c + 0*u)) as side, moment(sign(0*u + c)*u) as none, moment(step(c + 0*u) + step(0*v - c)) as both
""")
    found = program.run()
    assert np.isnan(found["side"])
    assert "TP513" in [warning.code for warning in found.warnings]
    assert found["none"] == pytest.approx(0, abs=1e-12)
    assert found["both"] == pytest.approx(1, abs=1e-12)
    networks = program.simulate(width=400, seeds=20)
    assert set(np.unique(networks.samples["side"])) == {-1.0, 1.0}
