"""The formulas of orthogonal matrices, evaluated with random numbers as they are printed, against the covariance evaluator, which
has the rules in another form, and the sampled operator, which has none."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from test_derive_numbers import SAMPLES, Evaluator

import tensorprog
from tensorprog.derive.symbols import E, Response


class SteinEvaluator(Evaluator):
    """Reads E[dx/dZhat] by Stein's lemma: the moments of x with the Gaussian parts of a family are those of the parts times the
    expected derivatives, that is, they are the coefficients of its regression."""

    KINDS = (*Evaluator.KINDS, "rest", "start", "update")

    def of(self, expr):
        if isinstance(expr, E) and isinstance(expr.args[0], Response):
            return self.slope(*(a.xreplace(self.sizes) for a in expr.args[0].args))
        return super().of(expr)

    def slope(self, value, hat):
        value = self.of(value)
        self.of(hat)
        family = [h for h in self.drawn if h.args[:2] == hat.args[:2]]
        parts = np.array([self.values[h] for h in family])
        slopes = np.linalg.lstsq(parts @ parts.T / SAMPLES, parts @ value / SAMPLES, rcond=1e-9)[0]
        return slopes[family.index(hat)]


HEAD = """
width n
width m = {ratio}*n
param T : int = 3
matrix O : [m, n] ~ orthogonal({gain})
vector v : [n] ~ normal(0, 1)
"""

STRAIGHT = {
    "there and back": """
x = O.T @ tanh(O @ v)
output moment(x*x) as a, moment(x*v) as b
""",
    "twice": """
x1 = O @ v
x2 = O.T @ tanh(x1)
x3 = O @ relu(x2)
x4 = O.T @ tanh(x3 + x1)
output moment(x2*x2) as a, moment(x3*x3) as b, moment(x4*x4) as c, moment(x4*v) as d, moment(x3*x1) as e
""",
    "two arguments": """
x1 = O @ tanh(v)
x2 = O @ relu(v)
x3 = O.T @ relu(x1 - x2)
output moment(x3*x3) as a, moment(x3*v) as b, moment((O @ tanh(x3))**2) as c
""",
}


@pytest.mark.parametrize(("ratio", "gain"), [(1, 1), (2, 1.2), (0.5, 3)])
@pytest.mark.parametrize("name", STRAIGHT)
def test_straight_programs_against_equations(name, ratio, gain):
    program = tensorprog.compile(HEAD.format(ratio=ratio, gain=gain) + STRAIGHT[name])
    expected = program.run(method="covariance")
    found = SteinEvaluator(program.limit.rules).run()
    for output in expected:
        assert float(found[output]) == pytest.approx(float(expected[output]), rel=0.02, abs=0.006), output


LOOPS = {
    "there and back": """
x[0] = v
for t in range(T):
    y[t] = O @ tanh(x[t])
    x[t+1] = v + O.T @ tanh(y[t])
    q[t] = moment(x[t+1]**2)
    r[t] = moment(y[t]**2)
output q, r
""",
    "carried": """
x = v
for t in range(T):
    y = O @ tanh(x)
    x = x + O.T @ relu(y)
    q[t] = moment(x**2)
    r[t] = moment(y**2)
output q, r
""",
    "trained": """
vector w : [m] ~ normal(0, 1)
for t in range(T):
    y[t] = O @ tanh(v)
    q[t] = moment(w * tanh(y[t]))
    r[t] = moment(y[t]**2)
    loss[t] = (q[t] - 1)**2 / 2
    v -= n * grad(loss[t], v)
    w -= n * grad(loss[t], w)
    O -= grad(loss[t], O)
output q, r
""",
}


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("name", LOOPS)
def test_loops_against_the_sampled_operator(name, ratio):
    program = tensorprog.compile(HEAD.format(ratio=ratio, gain=1.2) + LOOPS[name])
    sampled = program.run(method="particles", samples=2048, replicates=4)
    evaluator = SteinEvaluator(program.limit.rules, T=3)
    for output in "qr":
        family = sympy.IndexedBase(sympy.Symbol(output))
        for t in range(3):
            found, slack = float(evaluator.of(family[t])), 4 * float(sampled.error[output][t])
            assert abs(found - float(sampled[output][t])) < slack + 0.02 * abs(found) + 0.005, (output, t)


def test_every_format_has_the_rest_and_its_source():
    limit = tensorprog.compile(HEAD.format(ratio=2, gain=1) + STRAIGHT["there and back"]).limit
    assert "R^{O.T tanh(x)} = " in limit.text() or "R^{O.T tanh(O v)} = " in limit.text()
    assert "R^{" in limit.markdown() and "R^{" in limit.latex()
    for text in (limit.text(), limit.markdown(), limit.latex(), limit.json_text()):
        assert text.count("arXiv 2008.11892") == 1
    assert [rule["kind"] for rule in limit.json()["rules"]].count("rest") == 1


def test_independent_entries_have_no_rest():
    program = HEAD.format(ratio=1, gain=1).replace("orthogonal(1)", "normal(0, 1/n)") + STRAIGHT["twice"]
    assert "R^{" not in tensorprog.compile(program).limit.text()


def test_a_matrix_without_closed_form_is_refused():
    program = tensorprog.compile("""
width n
matrix O : [n, n] ~ orthogonal(1)
vector v : [n] ~ normal(0, 1)
for t in range(3):
    q[t] = moment(tanh(O @ v)**2)
    O = 0.5 * O.T
output q
""")
    with pytest.raises(tensorprog.ProgramError, match="TP726") as raised:
        program.limit.text()
    assert "a loop makes a matrix of it" in str(raised.value)


def test_two_loops_over_one_variable_keep_their_times_apart():
    """The first loop responds to nothing: the transpose is applied in the second."""
    program = tensorprog.compile("""
width n
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
x = v
for t in range(2):
    x = tanh(W @ x)
for t in range(2):
    x = v + W.T @ x
output moment(x*x) as q, moment(x*v) as r
""")
    found = SteinEvaluator(program.limit.rules).run()
    expected = program.run(method="particles", samples=4096, replicates=4)
    for output in "qr":
        assert float(found[output]) == pytest.approx(float(expected[output]), abs=0.03)
    assert sum(rule.kind == "dot" for rule in program.limit.rules) == 1


def test_a_matrix_trained_by_two_loops_has_the_updates_of_both():
    program = tensorprog.compile("""
width n
matrix O : [n, n] ~ orthogonal(1)
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
for t in range(2):
    f[t] = moment(w * tanh(O @ tanh(v)))
    O -= grad((f[t] - 1)**2, O)
for t in range(2):
    g[t] = moment(w * tanh(O @ tanh(v)))
    O -= grad((g[t] + 1)**2, O)
output f, g
""")
    sampled = program.run(method="particles", samples=2048, replicates=4)
    evaluator = SteinEvaluator(program.limit.rules)
    for output in "fg":
        family = sympy.IndexedBase(sympy.Symbol(output))
        for t in range(2):
            slack = 4 * float(sampled.error[output][t]) + 0.01
            assert float(evaluator.of(family[t])) == pytest.approx(float(sampled[output][t]), abs=slack)
