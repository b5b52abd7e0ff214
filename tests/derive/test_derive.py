"""Derivations: the equations of the papers, zeros and cancellations, and every program in every format."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import sympy
from click.testing import CliRunner
from places import ROOT

import tensorprog
from tensorprog.cli import main
from tensorprog.derive.rules import KINDS
from tensorprog.display.json import SCHEMA

PROGRAMS = sorted(path for folder in (ROOT / "examples", ROOT / "tests" / "programs") for path in folder.glob("*.tp"))
DOCUMENT = (ROOT / "docs" / "derivations.md").read_text(encoding="utf-8")


@cache
def limit_of(path):
    return tensorprog.compile(Path(path)).limit


def program(name):
    return limit_of(next(p for p in PROGRAMS if p.stem == name))


def equation(limit, left, number=0):
    """The right side of the `number`-th equation for a left side, as text."""
    found = [line.partition(" = ")[2] for line in map(str.strip, limit.text().split("\n"))
             if line.startswith(f"{left} = ")]
    return found[number]


def lefts(limit):
    return {line.strip().partition(" = ")[0] for line in limit.text().split("\n") if " = " in line}


def of_text(text):
    return tensorprog.compile(text).limit


# --- limits that are random ------------------------------------------------------------------------------------

RANDOM = """width n
size P, d
param eta = 0.1
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
matrix V : [2, n] ~ normal(0, 1/n)
vector b : [n] ~ normal(0, 1)
for t in range(3):
    for a in range(P):
        z = W @ tanh(U @ X[a]) / sqrt(n) + b
        f[t, a] = V @ relu(z)
        g[t, a] = dot(b, erf(U @ X[a])) / sqrt(n)
    W -= eta * grad(f[t, 0, 0], W)
output f, g
"""


def test_the_law_of_draws():
    """Every covariance that `tpc run` draws from, by the names of the equations above it."""
    text = of_text(RANDOM).text()
    laws = text[text.index("Gaussian numbers"):]
    assert ("Cov(f_drawn[draw,a,i], f_drawn[draw,c,j]) = "
            "E[Z^{V[i]}*Z^{V[j]}*relu(Z^{W z[a]} + Z^{b})*relu(Z^{W z[c]} + Z^{b})]") in laws
    assert "Cov(g_drawn[draw,a], f_drawn[draw,c,i]) = 0" in laws
    assert "Cov(g_drawn[draw,a], g_drawn[draw,c]) = E[Z^{b}**2*erf(" in laws
    assert text.count("Z^{z[a]} = tanh(") == 1 and text.count("Z^{b} ~ normal(0, 1)") == 1
    assert text.count("Cov(Zhat^{W z[a]}") == 1


# --- the papers' equations -----------------------------------------------------------------------------------


def test_a_limit_pickles():
    """Laws and nonlinearities are classes that are made at run time."""
    program = tensorprog.compile("width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\n"
                                 "f = moment(v * tanh(W.T @ tanh(W @ v)))\noutput f, sign(f) as s\n")
    limit = program.limit
    again = pickle.loads(pickle.dumps(limit))
    assert again.text() == limit.text() and again.latex() == limit.latex() and again.equations == limit.equations


def test_one_hidden_layer():
    """TP IV, Theorem 6.1."""
    limit = of_text(DOCUMENT.split("```tp\n")[1].split("```")[0])
    assert equation(limit, "f[t]") == "E[Z^{v[t]}*tanh(Z^{h[t]})]"
    assert equation(limit, "Z^{v[t+1]}") == "Z^{v[t]} - eta*(f[t] - y[t])*tanh(Z^{h[t]})"
    assert equation(limit, "Z^{U[t+1]}") == "Z^{U[t]} - eta*xi[t]*(f[t] - y[t])*Z^{v[t]}*tanh'(Z^{h[t]})"
    assert "Zhat" not in limit.text()


def test_two_hidden_layers():
    """TP IV, Theorem 6.4, with the term of the current iteration that the paper leaves out."""
    limit = program("mlp_mup")
    forward, backward = "tanh(Z^{h1[s,b]})", "Z^{dh2[s,b]}"
    assert equation(limit, "c_1[t,a,s,b]") == f"E[{forward}*tanh(Z^{{h1[t,a]}})]"
    assert equation(limit, "Z^{h2[t,a]}") == (
        "Zhat^{W tanh(h1[t,a])} + Zdot^{W tanh(h1[t,a])} - eta*sum_{s<t} sum_{b<P} "
        f"c_1[t,a,s,b]*{backward}")
    assert equation(limit, "Cov(Zhat^{W tanh(h1[t,a])}, Zhat^{W tanh(h1[s,b])})") == "c_1[t,a,s,b]"
    assert equation(limit, "c_2[t,a,s,b]") == f"E[{backward}*Z^{{dh2[t,a]}}]"
    assert equation(limit, "Z^{W[t].T dh2[t,a]}").endswith(
        f"- eta*sum_{{s<t}} sum_{{b<P}} c_2[t,a,s,b]*{forward}")
    assert equation(limit, "Cov(Zhat^{W.T dh2[t,a]}, Zhat^{W.T dh2[s,b]})") == "c_2[t,a,s,b]"
    assert equation(limit, "Zdot^{W tanh(h1[t,a])}") == (
        f"sum_{{s<t}} sum_{{b<P}} E[d(tanh(Z^{{h1[t,a]}}))/dZhat^{{W.T dh2[s,b]}}]*{backward}")
    assert equation(limit, "Zdot^{W.T dh2[t,a]}") == (
        "df[t,a]*E[Z^{v[t]}*tanh''(Z^{h2[t,a]})]*tanh(Z^{h1[t,a]}) + "
        f"sum_{{s<t}} sum_{{b<P}} E[dZ^{{dh2[t,a]}}/dZhat^{{W tanh(h1[s,b])}}]*{forward}")
    assert equation(limit, "Z^{dh2[t,a]}") == "df[t,a]*Z^{v[t]}*tanh'(Z^{h2[t,a]})"
    assert equation(limit, "df[t,a]") == "(f[t,a] - y[a])/P"
    assert equation(limit, "Z^{U[t+1,i]}") == (
        "Z^{U[t,i]} - eta*sum_{a<P} X[a,i]*Z^{W[t].T dh2[t,a]}*tanh'(Z^{h1[t,a]})")
    assert equation(limit, "W[t]") == "W - eta*sum_{s<t} sum_{a<P} outer(dh2[s,a], tanh(h1[s,a]))"


def test_the_response_to_the_current_iteration_is_the_output_response():
    """The coefficient in K28 is the quantity that the program puts out under that name."""
    limit = program("k28_tanh_two_hidden")
    assert equation(limit, "Zdot^{W.T dh[t]}").startswith(f"{equation(limit, 'response[t]')}*Z^{{x[t]}} + sum_{{s<t}}")


def test_wishart():
    """K13."""
    limit = program("k13_wishart_moments")
    assert equation(limit, "Z^{y}") == "Zhat^{A v}"
    assert equation(limit, "Z^{z}") == "Zhat^{A.T y} + Zdot^{A.T y}"
    assert equation(limit, "Zdot^{A.T y}") == "Z^{v}"


def test_transposed_response():
    """K17: E phi' where that exists, Stein's lemma at jumps, zero for an even function."""
    limit = program("k17_transpose_response")
    assert equation(limit, "Zdot^{W tanh(h)}") == "E[tanh'(Z^{h})]*Z^{v}"
    assert equation(limit, "Zdot^{W relu(h)}") == "E[step(Z^{h})]*Z^{v}"
    assert equation(limit, "Zdot^{W h**3}") == "3*E[Z^{h}**2]*Z^{v}"
    assert equation(limit, "Z^{q_square}") == "Zhat^{W h**2}"
    jump = next(r for r in limit.rules if r.kind == "dot" and "step" in str(r.left))
    assert "Stein" in jump.note
    assert equation(limit, "Zdot^{W step(h)}") == "E[d(step(Z^{h}))/dZhat^{W.T v}]*Z^{v}"


def test_gradient_independence_and_its_failure():
    """K18 (TP II, 6.3): the average readout has a response, the random one none."""
    limit = program("k18_gradient_independence")
    assert equation(limit, "Zdot^{W.T h}") == "Z^{x}"
    assert equation(limit, "Z^{W.T (h*v)}") == "Zhat^{W.T (h*v)}"
    assert equation(limit, "dxv_mean") == "0"
    assert equation(limit, "dx_mean") != "0"
    assert "odd-symmetry" in {s.name for s in limit.steps}


def test_backpropagation_at_initialization_has_no_response():
    """Prop. H.24 of TP IV: the readout is odd in everything that is sent back."""
    limit = program("x_backward_loop")
    assert not [rule for rule in limit.rules if rule.kind == "dot"]


def test_rectangular_factors():
    """Cov = s E for A, s rho E for its transpose, with s/n the variance and rho = m/n = 2."""
    limit = program("x_tied_rectangular")
    assert equation(limit, "Cov(Zhat^{A x}, Zhat^{A x})") == "E[Z^{x}**2]"
    assert equation(limit, "Cov(Zhat^{A.T tanh(h)}, Zhat^{A.T tanh(h)})") == "2*E[tanh(Z^{h})**2]"
    assert equation(limit, "Zdot^{A.T tanh(h)}") == "2*E[tanh'(Z^{h})]*Z^{x}"
    assert equation(limit, "Zdot^{A r}") == "tanh(Z^{h})"


# --- message passing -----------------------------------------------------------------------------------------


def test_onsager_cancellation_in_one_line():
    """K22."""
    limit = program("k22_onsager")
    assert equation(limit, "Z^{x2}") == (
        "sqrt(2)*Zhat^{W tanh(x1 + 1/2)}/2 + sqrt(2)*Zhat^{W.T tanh(x1 + 1/2)}/2")
    assert equation(limit, "dot") == "0"


def test_onsager_cancellation_by_induction():
    limit = program("z2_amp")
    assert equation(limit, "Z^{h[t+1]}") == (
        "sqrt(2)*lam*Zhat^{W m[t]}/2 + sqrt(2)*lam*Zhat^{W.T m[t]}/2 + lam**2*overlap[t]*Z^{x0}")
    limit = program("lasso_amp")
    assert equation(limit, "Z^{z[t+1]}") == "Z^{y} - Zhat^{A x[t+1]}"
    assert equation(limit, "Z^{r[t]}") == "Zhat^{A.T z[t]} + Z^{signal}"
    assert equation(limit, "Zdot^{A.T z[t]}") == "Z^{signal} - Z^{x[t]}"


@pytest.mark.parametrize("wrong", ["moment(m[t]**2)", "moment(1 - m[t]**2) / 2"])
def test_a_wrong_onsager_term_does_not_cancel(wrong):
    text = (ROOT / "examples" / "z2_amp.tp").read_text().replace("moment(1 - m[t]**2)", wrong)
    limit = of_text(text)
    assert "onsager-cancellation" not in {s.name for s in limit.steps}
    assert "m[t-1]" in equation(limit, "Z^{h[t+1]}")


# --- families ------------------------------------------------------------------------------------------------


def test_tied_and_untied_matrices():
    """K6, K8: one family over all times, or an independent matrix for each."""
    tied = program("k06_rnn_erf")
    assert equation(tied, "Cov(Zhat^{W erf(h[t-1])}, Zhat^{W erf(h[s-1])})") == "c_1[s-1,t-1]"
    assert equation(tied, "c_1[s,t]") == "E[erf(Z^{h[s]})*erf(Z^{h[t]})]"
    untied = equation(program("k06_rnn_erf_untied"), "Cov(Zhat^{W[t] erf(h[t-1])}, Zhat^{W[s] erf(h[s-1])})")
    assert untied == "[s = t]*E[erf(Z^{h[t-1]})**2]"


def test_the_response_does_not_depend_on_how_a_sum_is_written():
    """Remark F.1 of TP IV: W @ (y + z) and W @ y + W @ z."""
    head = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector y : [n] ~ normal(0, 1)\nvector z : [n] ~ normal(0, 1)\n"
    tail = "q = W.T @ tanh(h)\noutput moment(q * y) as qy\n"
    together = of_text(head + "s = y + z\nh = W @ s\n" + tail)
    apart = of_text(head + "h = W @ y + W @ z\n" + tail)
    assert equation(apart, "Zdot^{W.T tanh(h)}") == "c_1*Z^{y} + c_1*Z^{z}"
    assert equation(apart, "c_1") == "E[tanh'(Z^{h})]"
    assert equation(together, "Zdot^{W.T tanh(h)}") == "E[tanh'(Z^{h})]*Z^{s}"
    assert equation(together, "Z^{s}") == "Z^{y} + Z^{z}"


def test_momentum_and_decay_have_closed_forms():
    assert equation(program("x_momentum_matrix"), "M[t]") == "sum_{s<t} beta**(t-s-1)*outer(dh[s], u[s])"
    decayed = equation(program("x_weight_decay"), "W[t]")
    assert "W*(1 - decay*eta)**t" in decayed and "sum_{s<t}" in decayed


def test_family_members_respond_to_themselves_only():
    limit = program("deep_linear")
    assert equation(limit, "Zdot^{W[l] h[t,a,l]}") == (
        "sum_{s<t} sum_{b<P} E[dZ^{h[t,a,l]}/dZhat^{W[l].T dh[s,b,l+1]}]*Z^{dh[s,b,l+1]}")


# --- every program -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_every_program_in_every_format(path):
    limit = limit_of(path)
    text = limit.text(steps=True)
    assert not re.search(r"[@#]\d|Piecewise|Dummy|_tape|_bar\b", text), text
    outputs = {o.name for o in tensorprog.compile(path).program.outputs}
    assert outputs <= {re.split(r"[\[ ]", left)[0] for left in lefts(limit)}
    balanced(limit.latex(steps=True))
    balanced(limit.markdown(steps=True))
    assert all(isinstance(e, sympy.Eq) for e in limit.equations)
    found = json.loads(limit.json_text())
    assert found == limit.json()
    assert found["schema"] == SCHEMA
    assert len(found["rules"]) == len(limit.rules)
    assert {rule["kind"] for rule in found["rules"]} <= set(KINDS)


def balanced(text):
    """Braces, environments, dollars, and \\left with \\right."""
    plain = re.sub(r"\\[{}$%#&_]", "", text)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    assert plain.count("$") % 2 == 0
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    assert not re.search(r"\^\{[^{}]*\}\^", plain), "a double superscript"


def test_the_validator_finds_mistakes():
    for wrong in ("{", "}{", r"\begin{aligned}", r"\left(", "x^{2}^{3}", "$"):
        with pytest.raises(AssertionError):
            balanced(wrong)


def test_loops_stay_rolled():
    text = (ROOT / "examples" / "mlp_mup.tp").read_text()
    short, long = (of_text(text.replace("int = 50", f"int = {steps}")).text() for steps in (2, 5000))
    assert short == long


def test_hashes_do_not_matter():
    code = ("import tensorprog\n"
            "for name in ('mlp_mup', 'z2_amp', 'rnn'):\n"
            "    print(tensorprog.compile(f'examples/{name}.tp').limit.text(steps=True))\n")
    found = {subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}).stdout
             for seed in ("0", "1", "2")}
    assert len(found) == 1


# --- interface and documents ---------------------------------------------------------------------------------


def test_command_line(tmp_path):
    path = str(ROOT / "examples" / "z2_amp.tp")
    shown = CliRunner().invoke(main, ["derive", path])
    assert shown.exit_code == 0
    assert "Z^{h[t+1]} = " in shown.output
    assert "onsager" in CliRunner().invoke(main, ["derive", path, "--steps"]).output
    target = tmp_path / "z2.tex"
    assert CliRunner().invoke(main, ["derive", path, "--format", "latex", "-o", str(target)]).exit_code == 0
    assert target.read_text().startswith(r"\documentclass")
    emitted = CliRunner().invoke(main, ["compile", path, "--emit", "markdown"])
    assert emitted.output.startswith("## The infinite-width limit")


def test_notebook_display():
    compiled = tensorprog.compile(ROOT / "examples" / "mlp_mup.tp")
    assert compiled._repr_markdown_() == compiled.limit.markdown() == compiled.limit._repr_markdown_()
    assert compiled.limit._repr_latex_().startswith("$$\\begin{aligned}")
    assert "equations" in repr(compiled.limit)


def test_the_document_is_current():
    blocks = re.findall(r"```tp\n(# (\S+)\n.*?)```\n\n```text\n(.*?)```", DOCUMENT, re.S)
    assert len(blocks) == 3
    for text, name, shown in blocks:
        derived = of_text(text).text(steps=True).replace("<text>", name)
        assert shown == f"$ tpc derive {name} --steps\n{derived}"


TWO_PLACES = """
width n
size P, d
param T : int = 3
input X : [P, d]
input Y : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
def features(x):
    return tanh(W @ tanh(U @ x))
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * features(X[a]))
        held[t, a] = moment(v * features(Y[a]))
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= n * grad(loss, U)
    W -= grad(loss, W)
output f, held
"""


def test_what_goes_backwards_has_the_name_of_a_derivative():
    text = of_text(TWO_PLACES).text()
    assert "outer(dh[" in text
    assert "Z^{W[t].T dh[t,a]} = " in text
    assert not re.search(r"Z\^\{x\.\d", text)


def test_what_a_gradient_gives_has_the_name_of_what_it_is_taken_by():
    text = of_text(TWO_PLACES.replace(
        "        held[t, a] = moment(v * features(Y[a]))\n",
        "        z[a] = W @ tanh(U @ X[a])\n        g = moment(v * tanh(z[a]))\n"
        "        held[t, a] = moment((W.T @ (n*grad(g, z[a])))**2)\n")).text()
    assert "Z^{W[t].T dz[t,a]}" in text


def test_a_power_of_a_sum_has_parentheses():
    text = of_text(
        "width n\nsize d\ninput x : [d]\nmatrix U : [n, d] ~ normal(0, 1)\n"
        "output moment(tanh(U[:, 0])**2 * (U @ x)**2) as r").text()
    assert "(sum_{i<d} x[i]*Z^{U[i]})**2" in text
