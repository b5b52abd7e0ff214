"""Functions, laws of matrices and formats from outside of the package, through every stage."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import sympy
from scipy.integrate import quad

import tensorprog
from tensorprog import DerivationFormat, Ensemble, Nonlinearity, ResultFormat, resume
from tensorprog.ensembles.ensemble import number
from tensorprog.evaluators.choice import Choice
from tensorprog.evaluators.evaluator import Share
from tensorprog.ir.functions.bounds import between, rectified
from tensorprog.ir.functions.expr import X, add, call, div, mul, num, sub
from tensorprog.ir.program import ConstExpr
from tensorprog.registry import digest


@pytest.fixture
def registered():
    """Registers for one test."""
    found = []

    def register(extension):
        tensorprog.register(extension)
        found.append(extension)
        return extension

    yield register
    for extension in reversed(found):
        tensorprog.unregister(extension)


def gudermann(**changed):
    """atan(sinh(x)): bounded, odd, smooth, and in no table; its derivative is 1/cosh(x)."""
    known = {
        "name": "gudermann", "description": "atan(sinh(x))", "scalar": "atan(sinh({x}))",
        "derivative": div(num(2), add(call("exp"), call("exp", call("neg")))), "bound": between(-1.5708, 1.5708, zero_at_zero=True),
        "parity": "odd", "lipschitz": True}
    return Nonlinearity(**known | changed)


def leaky(**changed):
    """x above 0, x/4 below, with a kink."""
    def formula(x):
        return (5 * x + 3 * abs(x)) / 8

    known = {
        "name": "leaky", "description": "x or x/4", "scalar": "{x} if {x} > 0.0 else 0.25 * {x}", "formula": formula, "degree": 1,
        "kink": "kink",
        "derivative": add(num(0.25), mul(num(0.75), call("step"))), "bound": rectified(-np.inf, 1.0), "lipschitz": True}
    return Nonlinearity(**known | changed)


KERNELS = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 2)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    f[a] = dot(v, PHI(W @ PHI(U @ X[a]) / sqrt(n))) / sqrt(n)
for a in range(P):
    for b in range(P):
        k[a, b] = cov(f[a], f[b])
        t[a, b] = ntk(f[a], f[b]; U, W, v)
output k, t
"""
TRAINED = """
width n
param T : int = 5
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1/n**2)
for t in range(T):
    h[t] = PHI(u)
    f[t] = dot(v, h[t])
    loss = (f[t] - 1)**2
    u = u - 0.5 * n * grad(loss, u)
    v = v - 0.5 / n * grad(loss, v)
output f
"""
WRITTEN_OUT = "def phi(x) = 0.25*x + 0.75*relu(x)\n"


def with_phi(text, name):
    return text.replace("PHI", name)


@pytest.mark.slow
def test_a_kinked_function_is_the_one_written_out_by_others(registered, rng=np.random.default_rng(1)):
    registered(leaky())
    data = {"X": rng.standard_normal((3, 2))}
    own = tensorprog.compile(with_phi(KERNELS, "leaky"))
    other = tensorprog.compile(WRITTEN_OUT + with_phi(KERNELS, "phi"))
    one, two = own.run(data), other.run(data)
    for name in "kt":
        assert one.method[name] == "covariance"
        assert one[name] == pytest.approx(two[name], rel=1e-12)
    kernels = own.kernels(data)
    assert kernels["k"] == pytest.approx(one["k"], rel=1e-12)
    trained = with_phi(TRAINED, "leaky"), WRITTEN_OUT + with_phi(TRAINED, "phi")
    first, second = (tensorprog.compile(text).run()["f"] for text in trained)
    assert first == pytest.approx(second, abs=2e-3)


def test_a_smooth_function_goes_through_every_stage(registered, tmp_path):
    registered(gudermann())
    data = {"X": np.array([[1.0, 0.5], [0.3, -2.0], [30.0, 7.0]])}
    program = tensorprog.compile(with_phi(KERNELS, "gudermann"))
    found = program.run(data)
    assert found.method["k"] == "covariance"
    particles = program.run(data, method="particles", samples=4096, replicates=4)
    for name in "kt":
        assert np.all(np.abs(found[name] - particles[name]) <= 5 * particles.error[name] + 1e-3 * np.abs(found[name]))
    assert program.kernels(data)["k"] == pytest.approx(found["k"], rel=1e-9)
    # one layer of it, by a quadrature of its own
    one = tensorprog.compile("width n\nparam s = 1\nvector u : [n] ~ normal(0, 1)\noutput moment(gudermann(s*u)**2) as q\n").run(s=3.0)
    right, _ = quad(lambda z: np.arctan(np.sinh(3 * z))**2 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi), -30, 30, points=[0], epsabs=1e-13)
    assert one["q"] == pytest.approx(right, rel=1e-9)
    assert "gudermann" in program.emit("text") and "gudermann" in program.emit("limit")
    trained = tensorprog.compile(with_phi(TRAINED, "gudermann"))
    limit = trained.run()["f"]
    networks = trained.simulate(width=4096, seeds=8)
    assert np.all(np.abs(limit - networks["f"]) <= 5 * networks.error["f"] + 5e-3)
    trained.write_module(tmp_path / "limit.py")
    assert "gudermann" in (tmp_path / "limit.py").read_text()


def test_the_diagnostics_know_a_new_function(registered):
    with pytest.raises(tensorprog.ProgramError, match="no function `gudermann`"):
        tensorprog.compile("width n\nvector u : [n] ~ normal(0, 1)\noutput moment(gudermann(u)**2) as q\n")
    registered(gudermann())
    with pytest.raises(tensorprog.ProgramError, match="function of the language"):
        tensorprog.compile("width n\nvector gudermann : [n] ~ normal(0, 1)\noutput moment(gudermann**2) as q\n")


def test_kept_points_and_checkpoints_are_those_of_the_same_function(tmp_path):
    source = "width n\nparam s\nvector u : [n] ~ normal(0, 1)\noutput moment(bent(s*u)) as q\n"
    found, identities = [], []
    for slope in (0.5, 2.0):
        extension = leaky(name="bent", scalar=f"{{x}} if {{x}} > 0.0 else {slope} * {{x}}",
                          formula=lambda x, c=sympy.Rational(slope): ((1 + c) * x + (1 - c) * abs(x)) / 2,
                          derivative=add(num(slope), mul(num(1 - slope), call("step"))))
        tensorprog.register(extension)
        try:
            program = tensorprog.compile(source)
            found.append(program.sweep(s=[3.0], keep=tmp_path)["q"])
            identities.append(resume._identity(program.source, {"s": 1.0}, ()))
        finally:
            tensorprog.unregister(extension)
    # E of x above 0 and c x below is (1 - c)/sqrt(2 pi) times the spread.
    assert found[0] == pytest.approx(0.5 / np.sqrt(2 * np.pi) * np.array([3.0]))
    assert found[1] == pytest.approx(-1.0 / np.sqrt(2 * np.pi) * np.array([3.0]))
    assert identities[0] != identities[1]


@pytest.mark.parametrize("make, said", [
    (lambda: gudermann(name="tanh"), "there already"),
    (lambda: gudermann(name="no word"), "is a word"),
    (lambda: gudermann(scalar="atan(("), "not the value"),
    (lambda: gudermann(parity="even"), "even"),
    (lambda: gudermann(degree=1), "degree 1"),
    (lambda: gudermann(derivative=sub(num(1), call("square", call("gudermann", X)))), "`derivative`"),
    (lambda: leaky(formula=None), "kink"),
    (lambda: leaky(formula=lambda x: x), "formula"),
])
def test_what_is_not_true_of_a_function_is_refused(make, said):
    before = digest()
    with pytest.raises(ValueError, match=said):
        tensorprog.register(make())
    assert digest() == before


def test_a_law_of_matrices_from_outside(registered):
    """Entries 3/sqrt(n) or -1/(3 sqrt(n)) with mean 0 and variance 1/n: universality."""
    def draw(rng, args, shape):
        return args[0] * np.where(rng.random(shape) < 0.1, 3.0, -1.0 / 3.0)

    registered(Ensemble("skewed", ("size",), lambda args, type: ConstExpr("**", (args[0], number(2, args))), draw, spread={0: 1}))
    text = """
width n
matrix W : [n, n] ~ LAW
vector x : [n] ~ normal(0, 1)
h = W @ tanh(W @ x)
output moment(h**2) as q, moment(h * (W.T @ h)) as r
"""
    normal = tensorprog.compile(text.replace("LAW", "normal(0, 1/n)"))
    skewed = tensorprog.compile(text.replace("LAW", "skewed(n**(-1/2))"))
    assert skewed.run()["q"] == normal.run()["q"]
    networks = skewed.simulate(width=1024, seeds=8)
    assert networks["q"] == pytest.approx(normal.run()["q"], abs=5 * networks.error["q"] + 0.02)
    with pytest.raises(tensorprog.ProgramError, match="takes 1 argument"):
        tensorprog.compile(text.replace("LAW", "skewed()"))


def test_a_law_with_an_operator_of_its_own(registered):
    """Twice the orthogonal operator: particles follow it, equations and formulas do not claim to know it."""
    from tensorprog.ensembles.orthogonal import ORTHOGONAL
    from tensorprog.runtime.haar import haar_matrix

    registered(Ensemble("rotation", ("g",), ORTHOGONAL.variance, ORTHOGONAL.draw, operator=haar_matrix))
    text = """
width n
matrix W : [n, n] ~ LAW(2)
vector x : [n] ~ normal(0, 1)
h = W.T @ (W @ x)
output moment(tanh(h) * x) as q
"""
    own, known = tensorprog.compile(text.replace("LAW", "rotation")), tensorprog.compile(text.replace("LAW", "orthogonal"))
    found = own.run()
    assert found.method["q"] == "particles"
    assert found["q"] == pytest.approx(known.run(method="covariance")["q"], abs=5 * found.error["q"] + 1e-3)
    with pytest.raises(tensorprog.ProgramError, match="TP726|no formulas"):
        own.emit("text")


def test_formats_from_outside(registered, tmp_path):
    registered(DerivationFormat("titles", "left sides alone", lambda derivation, steps: "\n".join(
        str(rule.left) for rule in derivation.rules) + "\n"))
    registered(ResultFormat(".txt", "names and values", lambda result, file: file.write(
        "".join(f"{name} {value}\n" for name, value in result.items()).encode())))
    program = tensorprog.compile("width n\nvector u : [n] ~ normal(0, 1)\nq = moment(tanh(u)**2)\noutput q\n")
    assert program.emit("titles") == "Z(u)\nq\n"
    program.run().save(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text().startswith("q 0.39")


def test_the_command_line_knows_extensions(tmp_path):
    (tmp_path / "shapes.py").write_text("""
import tensorprog
from tensorprog.ir.functions.bounds import between
from tensorprog.ir.functions.expr import X, add, call, div, mul, num

tensorprog.register(tensorprog.Nonlinearity(
    name="cauchy", description="1 / (1 + x**2)", scalar="1.0 / (1.0 + {x} * {x})",
    derivative=div(mul(num(-2), X), call("square", add(num(1), call("square", X)))), bound=between(0.0, 1.0), parity="even",
    lipschitz=True))
""")
    (tmp_path / "model.tp").write_text("width n\nvector u : [n] ~ normal(0, 1)\noutput moment(cauchy(u)) as q\n")
    run = subprocess.run([sys.executable, "-m", "tensorprog", "run", str(tmp_path / "model.tp"), "--json"], cwd=tmp_path,
                         env={**__import__("os").environ, "TENSORPROG_EXTENSIONS": "shapes", "PYTHONPATH": str(tmp_path)},
                         capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["results"]["q"]["value"] == pytest.approx(0.6556795424, rel=1e-9)


# --- evaluators ----------------------------------------------------------------------------------------------------

TWO = """
width n
matrix W : [n, n] ~ normal(0, 1/n)
vector x : [n] ~ normal(0, 1)
output moment(tanh(W @ tanh(x))**2) as known, moment(tanh(x)**2) as other
"""


def of_known(values, **changed):
    """An evaluator of outputs called `known`; where it turns out to have no value, it gives none."""
    def share(analysis, outputs, asked):
        return Share(tuple(o.name for o in outputs if o.name == "known"),
                     {o.cell: "it is not `known`" for o in outputs if o.name != "known"}, "kept with the plan")

    def run(analysis, share, task):
        assert share.names == ("known",) and share.found == "kept with the plan"
        return values, dict.fromkeys(values, np.zeros(())), dict.fromkeys(values, "by_name")

    def choice(analysis, output, shares):
        return Choice(output, "by_name", "it is `known`", "exact", "none")

    return tensorprog.Evaluator(**{"name": "by_name", "exact": True, "share": share, "choice": choice, "run": run,
                                   "emit": lambda analysis, share: ""} | changed)


def test_an_evaluator_from_outside_is_planned_where_no_other_exact_one_covers_an_output(registered):
    registered(of_known({"known": np.array(.25)}, exact=False))
    program = tensorprog.compile(TWO)
    assert [c.evaluator for c in program.plan.choices] == ["covariance", "covariance"]
    with pytest.raises(tensorprog.ProgramError, match="it is not `known`"):
        program.run(method="by_name")
    only = tensorprog.compile(TWO.replace(", moment(tanh(x)**2) as other", ""))
    assert float(only.run(method="by_name")["known"]) == .25


def test_what_it_has_no_value_of_goes_to_the_next(registered):
    trained = TWO.replace("output moment(tanh(W @ tanh(x))**2)", "f = moment(x * (W @ tanh(x)))\nW -= grad(f, W)\n"
                          "output moment(tanh(W @ tanh(W @ x))**2)")
    usual = tensorprog.compile(trained).run(samples=256)
    registered(of_known({}))
    found = tensorprog.compile(trained).run(samples=256)
    assert found["known"] == usual["known"] and found.method == usual.method


def test_its_name_is_checked(registered):
    with pytest.raises(ValueError, match="no name of an evaluator"):
        registered(of_known({}, name="auto"))
    with pytest.raises(ValueError, match="is there already"):
        registered(of_known({}, name="span"))
    with pytest.raises(tensorprog.ProgramError, match="by_name"):
        tensorprog.compile(TWO).run(method="by_name")
