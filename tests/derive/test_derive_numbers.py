"""Derivations evaluated with random numbers: the equations, read one after the other, against known answers.

The evaluator knows nothing of the program: it draws the Gaussian families from the printed covariances and puts the
printed responses in.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from places import PROGRAMS, ROOT

import tensorprog
from tensorprog.derive.derive import written_out
from tensorprog.derive.symbols import Atom, Cov, E, GaussianPart, NonlinearityBase

SAMPLES = 400_000

FUNCTIONS = {("tanh", 0): np.tanh, ("tanh", 1): lambda x: 1 - np.tanh(x) ** 2,
             ("tanh", 2): lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2), ("relu", 0): lambda x: np.maximum(x, 0),
             ("step", 0): lambda x: (x > 0).astype(float), ("sign", 0): np.sign}


class Evaluator:
    """Values of a derivation: arrays of samples for limit variables, numbers for scalars. An element of a family is
    worked out when it is asked for, by the equation whose left side it is at some values of the indices; `sizes` are
    the numbers for the symbols."""

    KINDS = ("initial", "expectation", "nonlin", "moment", "matmul", "dot", "covariance")

    def __init__(self, rules, **sizes):
        self.sizes = {symbol: sympy.sympify(sizes[symbol.name]) for rule in rules for symbol in rule.left.free_symbols
                      | rule.right.free_symbols | bounds(rule) if symbol.name in sizes}
        self.rules = [rule for rule in rules if rule.kind in self.KINDS]
        self.values = {}
        self.drawn = []
        self.random = np.random.default_rng(1)

    def run(self):
        """The scalars without indices."""
        found = [rule.left for rule in self.rules if isinstance(rule.left, sympy.Symbol)]
        return {str(left): self.of(left) for left in found}

    def law(self, law):
        args = [float(a.subs(self.sizes)) for a in law.args]
        if type(law).__name__ == "constant":
            return np.full(SAMPLES, args[0])
        assert type(law).__name__ == "normal"
        return args[0] + np.sqrt(args[1]) * self.random.standard_normal(SAMPLES)

    def of(self, expr):
        if isinstance(expr, (Atom, sympy.Indexed, sympy.Symbol)):
            return self.named(expr.xreplace(self.sizes))
        if isinstance(expr, E):
            return np.mean(self.of(expr.args[0]))
        if isinstance(expr, NonlinearityBase):
            return FUNCTIONS[expr.fn, expr.order](*map(self.of, expr.args))
        if isinstance(expr, sympy.Sum):
            (symbol, low, high), = expr.limits
            first, last = (int(end.subs(self.sizes)) for end in (low, high))
            return sum((self.of(expr.function.subs(symbol, n)) for n in range(first, last + 1)), 0.0)
        if isinstance(expr, sympy.KroneckerDelta):
            return float(expr.subs(self.sizes))
        if expr.is_number:
            return float(expr)
        values = list(map(self.of, expr.args))
        return {sympy.Add: sum, sympy.Mul: product,
                sympy.Pow: lambda pair: pair[0] ** pair[1]}[expr.func](values)

    def named(self, name):
        if name not in self.values:
            self.values[name] = self.new(name)
        return self.values[name]

    def new(self, name):
        if name.is_number:
            return float(name)
        if isinstance(name, GaussianPart):
            return self.draw(name)
        rule, right = self.equation(name)
        return self.law(right) if rule.is_law else self.of(right)

    def equation(self, left):
        """The one equation for a left side, and its right side there."""
        found = [(rule, right) for rule in self.rules if (right := self.at(rule, left)) is not None]
        assert len(found) == 1, left
        return found[0]

    def at(self, rule, left):
        """The right side of a rule at the indices that make its left side another one."""
        if rule.left.func != left.func:
            return None
        symbols = [each.symbol for each in rule.indices]
        ranges = []
        for each in rule.indices:
            low, high = (end.subs(self.sizes) for end in (each.low, each.high))
            ranges.append((low, high))
        for numbers in self.tuples(symbols, ranges):
            if rule.left.subs(numbers).xreplace(self.sizes) == left:
                return rule.right.subs(numbers)
        return None

    def tuples(self, symbols, ranges):
        if not symbols:
            yield {}
            return
        low, high = ranges[0]
        for number in range(int(low), int(high) + 1):
            rest = [(a.subs(symbols[0], number), b.subs(symbols[0], number)) for a, b in ranges[1:]]
            for others in self.tuples(symbols[1:], rest):
                yield {symbols[0]: number, **others}

    def draw(self, hat):
        """A new member of a Gaussian family, given those drawn so far. (Its variance comes first: for that its argument
        is worked out, which may draw other members.)"""
        self.covariance(hat, hat)
        gram = np.array([[self.covariance(a, b) for b in (*self.drawn, hat)] for a in (*self.drawn, hat)])
        known, with_new = gram[:-1, :-1], gram[:-1, -1]
        weights = np.linalg.lstsq(known, with_new, rcond=1e-9)[0] if self.drawn else np.zeros(0)
        variance = max(0.0, gram[-1, -1] - weights @ with_new)
        value = sum(w * self.values[h] for w, h in zip(weights, self.drawn, strict=True))
        self.drawn.append(hat)
        self.values[hat] = value + np.sqrt(variance) * self.random.standard_normal(SAMPLES)
        return self.values[hat]

    def covariance(self, a, b):
        rights = [right for rule in self.rules if isinstance(rule.left, Cov)
                  for pair in ((a, b), (b, a)) if (right := self.at(rule, Cov(*pair))) is not None]
        return float(self.of(rights[0])) if rights else 0.0


def bounds(rule):
    """The symbols in the ranges of a rule's indices."""
    return {symbol for each in rule.indices for end in (each.low, each.high) for symbol in end.free_symbols}


def product(values):
    out = values[0]
    for value in values[1:]:
        out = out * value
    return out


def evaluated(text):
    return Evaluator(tensorprog.compile(text).limit.rules).run()


KNOWN = {
    "k18_gradient_independence": {"dx_mean": 2, "dx_second": 8, "dxv_mean": 0, "dxv_second": 4, "g_second": 8},
    "k22_onsager": {"dot": 0},
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name):
    found = evaluated(PROGRAMS / f"{name}.tp")
    for output, value in KNOWN[name].items():
        assert found[output] == pytest.approx(value, abs=0.06), output


def test_wishart_moments_without_a_loop():
    """K13: the Catalan numbers 1, 2, 5."""
    text = """width n
matrix A : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
p = A.T @ (A @ v)
q = A.T @ (A @ p)
r = A.T @ (A @ q)
output moment(v*p) as one, moment(v*q) as two, moment(v*r) as three
"""
    found = evaluated(text)
    assert [found[k] for k in ("one", "two", "three")] == pytest.approx([1, 2, 5], abs=0.15)


SMOOTH_RESPONSE = """width n
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
h = W.T @ v
q = W @ tanh(h)
r = W @ h**3
output moment(v*q) as vq, moment(q**2) as qq, moment(v*r) as vr, moment(r**2) as rr
"""


def test_transposed_response():
    """K17, for tanh and the cube."""
    found = evaluated(SMOOTH_RESPONSE)
    assert found["vq"] == pytest.approx(0.605705509602, abs=0.01)
    assert found["qq"] == pytest.approx(0.761173654760, abs=0.02)
    assert found["vr"] == pytest.approx(3, abs=0.1)
    assert found["rr"] == pytest.approx(24, rel=0.1)


TWO_STEPS = """width n
matrix W : [n, n] ~ normal(0, 1/n)
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
x = tanh(u)
h = W @ x
g = v * tanh'(h)
u1 = u + tanh'(u) * (W.T @ g)
v1 = v + tanh(h)
x1 = tanh(u1)
h1 = W @ x1 + moment(x * x1) * g
output moment(v1 * tanh(h1)) as f1
"""


@pytest.mark.slow_cases("two steps")
@pytest.mark.parametrize("source", ["two steps", "rectangular"])
def test_against_the_evaluator_that_needs_no_derivative(source):
    """The lazily sampled operator of `tpc run`, which never sees a response as such. The first program is one step of
    training (K28, eta = 1) written out: f_1 = .5616704."""
    text = TWO_STEPS if source == "two steps" else PROGRAMS / "x_tied_rectangular.tp"
    found = evaluated(text)
    result = tensorprog.compile(text).run(samples=4096, replicates=4)
    for name in result:
        assert found[name] == pytest.approx(float(result[name]), abs=0.03), name
    if source == "two steps":
        assert found["f1"] == pytest.approx(0.5616704, abs=0.01)


RECURRENT = """width n
param T : int = 3
matrix W : [n, n] ~ normal(0, 1/n)
matrix V : [n, n] ~ normal(0, 1/n)
vector u : [n] ~ normal(0, 1)
h[0] = u
for t in range(1, T):
    h[t] = u + W @ tanh(h[t-1]) + moment(tanh(h[t-1])**2) * (V @ tanh(h[t-1]))
for s in range(T):
    for t in range(T):
        K[s, t] = moment(tanh(h[s]) * tanh(h[t]))
output K
"""


def test_named_families():
    """One family of overlaps for two matrices and an output: numbers by the names, numbers with the names put back in,
    and those of the evaluator that knows no formulas."""
    compiled = tensorprog.compile(RECURRENT)
    named, written = compiled.limit.rules, written_out(compiled.compiled).rules
    assert [str(r.left) for r in named if r.kind == "expectation"]
    assert not [r for r in written if r.kind == "expectation"]
    expected = compiled.run(samples=4096, replicates=4)["K"]
    overlap = next(r.left.base for r in named if r.kind == "moment")
    for rules in (named, written):
        evaluator = Evaluator(rules, T=3)
        found = [[evaluator.of(overlap[s, t]) for t in range(3)] for s in range(3)]
        np.testing.assert_allclose(found, np.asarray(expected), atol=0.02)


def test_training_is_not_taken_for_symmetric():
    """The readout is odd in v at the start, and in nothing later."""
    for name in ("examples/maml.tp", "examples/two_layer_relu.tp", "examples/mlp_mup.tp"):
        limit = tensorprog.compile(ROOT / name).limit
        assert not [s for s in limit.steps if s.name == "odd-symmetry"], name
