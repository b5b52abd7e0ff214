"""Maximal update parametrizations found by powers of n, against the tables of TP IV, TP IVb and TP V."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from scaled_programs import RNN, perceptron, transformer

import tensorprog
from tensorprog import ProgramError
from tensorprog.abc import Parametrization, classify, named
from tensorprog.cli import main
from tensorprog.powers.tables import abc, table_8

# Kinds of objects (theory of TP IV, 5, and TP V, Tables 3 and 8): spread, then the rates of SGD, Adam, Muon, the rates
# of torch.optim.Muon ("original", "match_rms_adamw"), Adam's epsilon, and AdamW's decay.
KINDS = {
    "input": ("0", "1", "0", "1/2", ("0", "0"), "-1", "0"),
    "embedding": ("0", "1", "0", "1/2", ("1/2", "0"), "-1", "0"),
    "hidden": ("-1/2", "0", "-1", "0", ("0", "-1/2"), "-1", "1"),
    "readout": ("-1", "-1", "-1", "-1/2", ("-1/2", "-1"), "0", "1"),
    "vector": ("0", "1", "0", "0", None, "-1", "0"),
    "readout vector": ("-1", "-1", "-1", "-1", None, "0", "1"),
    "output bias": ("0", "0", "0", "0", None, "0", "0"),
}
BLOCK = {"E": "embedding", **dict.fromkeys("QKVOAB", "hidden"), "g": "vector", "b": "vector"}
NETWORKS = {
    "perceptron": (perceptron(2), {"U": "input", "W2": "hidden", "v": "readout vector"}),
    "averaged readout": (perceptron(3, "relu", "moment"),
                         {"U": "input", "W2": "hidden", "W3": "hidden", "v": "readout vector"}),
    "RNN": (RNN, {"U": "input", "W": "hidden", "V": "readout", "b": "vector", "c": "output bias"}),
    "tied transformer": (transformer(True), BLOCK),
    "transformer": (transformer(False), BLOCK | {"R": "readout"}),
}
DATA = {"X": np.array([[1.0, 0.5], [-0.4, 1.2]]), "y": np.array([1.0, -1.0])}
OPTIMIZERS = ("sgd", "adam", "adamw", "muon")


def found(text: str, optimizer: str) -> dict:
    return json.loads(tensorprog.compile(text).mup(optimizer).to_json())


@pytest.mark.parametrize("network", NETWORKS)
def test_tables_of_networks(network):
    text, kinds = NETWORKS[network]
    program = tensorprog.compile(text)
    tables = {optimizer: json.loads(program.mup(optimizer).to_json()) for optimizer in OPTIMIZERS}
    for name, kind in kinds.items():
        spread, sgd, adam, muon, torch, epsilon, decay = KINDS[kind]
        rates = [tables[o][name]["lr"] for o in OPTIMIZERS]
        assert rates == [sgd, adam, adam, muon], name
        assert {tables[o][name]["std"] for o in OPTIMIZERS} == {spread}
        assert tables["adam"][name]["eps"] == epsilon
        assert tables["adamw"][name]["decay"] == decay
        assert tuple(tables["muon"][name].get("torch.optim.Muon", {}).values()) == (torch or ())
        assert tables["sgd"][name]["multiplier"] == ("-1" if (network, name) == ("tied transformer", "E") else "0")
    assert tables["sgd"]["gradient clipping"]["threshold"] == ("0" if network == "tied transformer" else "1/2")


@pytest.mark.parametrize("law, scaled", [
    ("orthogonal(2)", "orthogonal(2)"), ("orthogonal(n)", "orthogonal(n / n)"),
    ("symmetric_normal(0, 1/n)", "symmetric_normal(0, 1/n)"), ("symmetric_normal(0, 3)", "symmetric_normal(0, 3 / n)"),
    ("uniform(-1, 1)", "uniform((-1) / n**(1/2), 1 / n**(1/2))"),
    ("sparse_normal(0.5, 1/n)", "sparse_normal(0.5, 1/n)")])
def test_ensembles_are_hidden_matrices(law, scaled):
    text = perceptron(2).replace("W2 : [n, n] ~ normal(0, 1/n)", f"W2 : [n, n] ~ {law}")
    for optimizer in OPTIMIZERS:
        rows = [{name: (e["std"], e["lr"], e["decay"]) for name, e in found(t, optimizer).items() if name in "UW2v"}
                for t in (text, perceptron(2))]
        assert rows[0] == rows[1]
    assert f"matrix W2 : [n, n] ~ {scaled}\n" in tensorprog.compile(text).mup("adam").rewritten()


@pytest.mark.parametrize("logit", ["dot(q[i], k[j])", "dot(q[i], k[j]) / sqrt(n)", "moment(q[i] * k[j])"])
def test_attention_logits_are_divided_by_the_width(logit):
    table = found(transformer(False, logit), "adam")
    assert table[logit.removesuffix(" / sqrt(n)") if "dot" in logit else "q[i] * k[j]"]["multiplier"] == "-1"


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_table_1_of_tp4(depth):
    result = tensorprog.compile(perceptron(depth)).mup("sgd")
    a, b, c = zip(*(abc(e) for e in result.entries))
    mup = named("muP", depth)
    assert (a, b, c) == (mup.a, mup.b, mup.c)
    assert classify(Parametrization.of(a, b, c)).maximal


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_abcd_of_tp4b(depth):
    a, b, c, d = zip(*(abc(e) for e in tensorprog.compile(perceptron(depth)).mup("adam").entries))
    mup = named("muP", depth, adaptive=True)
    assert (a, b, c, d) == (mup.a, mup.b, mup.c, mup.d)


def test_table_8_has_a_readout_with_a_multiplier():
    readout = table_8(tensorprog.compile(perceptron(2)).mup("adam")["v"])
    assert (readout.multiplier, readout.spread, readout.rate) == (-1, 0, 0)


def test_it_is_the_only_one_up_to_the_symmetry():
    """Theorem 5.6 of TP IV, by the closed theory: of a grid around the solution only equivalent points are maximal."""
    a, b, c = zip(*(abc(e) for e in tensorprog.compile(perceptron(1)).mup("sgd").entries))
    steps = [Fraction(k, 2) for k in range(-2, 3)]
    maximal = [Parametrization.of((a[0] + i, a[1] + j), (b[0] + k, b[1] + m), c[0]) for i in steps for j in steps
               for k in steps for m in steps
               if classify(Parametrization.of((a[0] + i, a[1] + j), (b[0] + k, b[1] + m), c[0])).maximal]
    assert maximal and all(p.is_equivalent(named("muP", 1)) for p in maximal)


def test_names_and_the_programs_own_powers_do_not_matter():
    standard = perceptron(2)
    ntk = standard.replace("normal(0, 1/n)", "normal(0, 1)").replace("W2 @ tanh(h1)", "W2 @ tanh(h1) / sqrt(n)")
    renamed = standard.replace("W2", "embedding").replace("U", "readout")
    for optimizer in OPTIMIZERS:
        rows = [[(e.plain, e.gradient and e.plain.gradient) for e in tensorprog.compile(t).mup(optimizer).entries]
                for t in (standard, ntk, renamed)]
        assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_rewritten_program_needs_no_change(network):
    text = tensorprog.compile(NETWORKS[network][0]).mup("sgd").rewritten()
    assert text != NETWORKS[network][0]
    assert tensorprog.compile(text).mup("sgd").rewritten() == text


CLIPPED = """s = dot(gU, gU) + dot(gW, gW) + dot(gv, gv)
    c = CLIP
    U -= eta * c * gU
    W2 -= eta * c * gW
    v -= eta * c * gv
"""


def _with_steps(steps: str, defined: str = "") -> str:
    text = perceptron(2)
    updates = text[text.index("    U -= "):text.index("output")]
    gradients = "    gU = grad(loss[t], U)\n    gW = grad(loss[t], W2)\n    gv = grad(loss[t], v)\n"
    return text.replace(updates, gradients + "    " + steps).replace("def net", f"{defined}\ndef net")


@pytest.mark.parametrize("step", ["g / (sqrt(g**2) + eps)", "g / (eps + abs(g))", "g / max(abs(g), eps)",
                                  "g / sqrt(g*g + eps**2)"])
def test_an_epsilon_goes_with_the_gradient(step):
    """Beside gradients of entries 1/n the epsilon of W and U gets 1/n, and the rates are those of Adam."""
    text = _with_steps("".join(f"{w} -= eta * {step.replace('g', g).replace('s' + g + 'rt', 'sqrt')}\n    "
                               for w, g in (("U", "gU"), ("W2", "gW"), ("v", "gv"))).rstrip() + "\n")
    text = text.replace("param eta = 0.1", "param eta = 0.1\nparam eps = 1e-8")
    found = tensorprog.compile(text).mup("adam")
    assert [c.power for c in found.constants] == ([-2, -2] if "eps**2" in step else [-1, -1])
    new = found.rewritten()
    rates = {line.split()[0]: line for line in new.splitlines() if "-= eta" in line}
    assert rates["W2"].endswith(" / n") and rates["v"].endswith(" / n") and "n * eta" not in new
    scale = tensorprog.compile(new).scale(DATA, measure=True, widths=(32, 64, 128), seeds=4, tolerance=0.2, T=2)
    assert scale.passed, scale.to_text()


@pytest.mark.parametrize("clip", ["min(1, 3/sqrt(s))", "3 / max(3, sqrt(s))", "1 / sqrt(1 + s/9)"])
def test_a_threshold_goes_with_the_gradients_norm(clip):
    found = tensorprog.compile(_with_steps(CLIPPED.replace("CLIP", clip))).mup("sgd")
    power = {"min(1, 3/sqrt(s))": Fraction(-1, 2), "3 / max(3, sqrt(s))": Fraction(1, 2), "1 / sqrt(1 + s/9)": 1}[clip]
    assert [c.power for c in found.constants] == [power]
    again = tensorprog.compile(found.rewritten()).mup("sgd")
    assert not again.constants and all(u.power == again[u.name].update for u in again.updates)


@pytest.mark.parametrize("step, constants", [
    ("eta * tanh(g / 0.1)", 0), ("eta * clip(g, -1, 1)", 4), ("eta * min(1, (t+1)/10) * g", 0), ("eta * sign(g)", 0),
    ("eta * g / (1 + abs(g))", 2), ("eta * erf(g) / sqrt(dot(g, g) + 1e-6)", 2)])
def test_other_functions_of_gradients(step, constants):
    """The rewritten program's slopes are the powers that it was rewritten for."""
    lines = [f"{w} -= " + "".join(g if part == "g" else part for part in re.split(r"\b(g)\b", step)) + "\n"
             for w, g in (("U", "gU"), ("W2", "gW"), ("v", "gv"))]
    found = tensorprog.compile(_with_steps("    ".join(lines))).mup("sgd")
    assert len(found.constants) == constants
    scale = tensorprog.compile(found.rewritten()).scale(DATA, measure=True, widths=(32, 64, 128), seeds=4, T=2,
                                                       tolerance=0.2)
    wanted = {"U": 0, "W2": -1, "v": -1}
    for name, power in wanted.items():
        change = scale[name].changes["one step"]
        assert change.power == power and change.slope.exponent == pytest.approx(power, abs=0.25), scale.to_text()


def test_one_number_for_gradients_of_different_sizes_is_refused():
    text = _with_steps("U -= eta * unit(gU)\n    W2 -= eta * unit(gW)\n    v -= eta * unit(gv)\n",
                       "def unit(g):\n    return g / (sqrt(g*g) + 1e-8)")
    with pytest.raises(ProgramError, match="different sizes"):
        tensorprog.compile(text).mup("adam").rewritten()


MATRIX_STEPS = {
    "adam": """M = 0.9*M + 0.1*n*grad(loss[t], W2)
    S = 0.99*S + 0.01*(n*grad(loss[t], W2))**2
    W2 -= eta * M / sqrt(S + 1e-4)
""",
    "muon": "M = 0.9*M + grad(loss[t], W2)\n    W2 -= eta * polar(M)\n",
    "newton": "M = grad(loss[t], W2) / norm(grad(loss[t], W2))\n    W2 -= eta * (1.5*M - 0.5*M @ M.T @ M)\n",
    "lion": "W2 -= eta * sign(0.9*M + grad(loss[t], W2))\n    M = 0.9*M + grad(loss[t], W2)\n",
}


@pytest.mark.parametrize("step, optimizer, factor", [("adam", "adam", " / n"), ("lion", "adamw", " / n"),
                                                     ("muon", "muon", ""), ("newton", "muon", "")])
def test_steps_that_the_program_writes_out(step, optimizer, factor):
    """The table is that of the network; the rewritten update is as large as it may be."""
    text = perceptron(2).replace("    W2 -= eta * grad(loss[t], W2)\n", "    " + MATRIX_STEPS[step]).replace(
        "vector v", "matrix M : [n, n] = 0\nmatrix S : [n, n] = 0\nvector v")
    program = tensorprog.compile(text)
    own, expected = found(text, optimizer), found(perceptron(2), optimizer)
    for name in ("U", "W2", "v"):
        assert [own[name][key] for key in ("std", "multiplier", "lr")] == [expected[name][key] for key in ("std", "multiplier", "lr")]
    before = next(line for line in text.splitlines() if "W2 -=" in line)
    after = next(line for line in program.mup(optimizer).rewritten().splitlines() if "W2 -=" in line)
    assert after.replace(" ", "") == (before + factor).replace(" ", "")


def test_momentum_and_copies_are_no_objects():
    text = perceptron(1).replace("for t in range(T):\n", "vector m : [n] = 0\nfor t in range(T):\n", 1).replace(
        "    v -= eta * grad(loss[t], v)\n",
        "    m = 0.9*m + grad(loss[t], v)\n    v1 = v - eta*m\n    v -= eta * m\n")
    result = tensorprog.compile(text).mup("sgd")
    assert [e.name for e in result.entries] == ["U", "v"]
    assert result["v"].plain.rate == -1


def test_a_momentum_that_is_declared_as_a_constant_zero_is_no_object():
    text = perceptron(1).replace("vector v", "vector m : [n] ~ constant(0)\nvector v").replace(
        "    v -= eta * grad(loss[t], v)\n", "    m = 0.9*m + grad(loss[t], v)\n    v -= eta * m\n")
    assert [e.name for e in tensorprog.compile(text).mup("sgd").entries] == ["U", "v"]


UNDECIDED = perceptron(1).replace("vector v", "vector w : [n] ~ normal(0, 1)\nvector v").replace(
    "dot(v, ", "dot(v * w, ").replace("output", "    w -= eta * grad(loss[t], w)\noutput")


@pytest.mark.parametrize("text, optimizer, code", [
    (UNDECIDED, "sgd", "TP720"),
    ("width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v)\n", "sgd", "TP721"),
    (perceptron(1), "adan", "TP722"),
])
def test_mistakes(text, optimizer, code):
    with pytest.raises(ProgramError, match=code):
        tensorprog.compile(text).mup(optimizer)


def test_what_cannot_be_rewritten():
    text = perceptron(1).replace("vector v : [n] ~ normal(0, 1/n)", "vector v : [n] ~ rademacher()")
    with pytest.raises(ProgramError, match="TP723.*\n.*rademacher"):
        tensorprog.compile(text).mup("sgd").rewritten()


# --- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "model.tp"
    path.write_text(perceptron(2))
    return path


def run(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_command_prints_tables_and_reasons(program):
    result = run("mup", program, "--optimizer", "muon", "--base-width", "256")
    assert result.exit_code == 0
    assert "r = n / 256" in result.stdout and "W2  r^(-1/2)" in result.stdout
    assert "`W2 @ tanh(h1)` (line 13) is n^(1/2) times an initial entry" in result.stdout


def test_command_writes_json_and_latex(program):
    assert json.loads(run("mup", program, "--json").stdout)["W2"]["lr"] == "-1"
    assert r"$r^{-1/2}$" in run("mup", program, "--format", "latex").stdout


def test_command_rewrites(program, tmp_path):
    new = tmp_path / "new.tp"
    assert run("mup", program, "--optimizer", "sgd", "--rewrite", new).exit_code == 0
    assert "U -= n * eta * grad(loss[t], U)" in new.read_text()
    assert run("check", new).exit_code == 0


def test_command_refuses_with_a_caret(tmp_path):
    path = tmp_path / "undecided.tp"
    path.write_text(UNDECIDED)
    result = run("mup", path)
    assert result.exit_code == 2 and "^^^" in result.stderr and not result.stdout
    assert json.loads(run("mup", path, "--json").stdout)["errors"][0]["code"] == "TP720"
