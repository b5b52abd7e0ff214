"""Long formulas are broken at sums, and every line is LaTeX of its own that fits on a page."""

from __future__ import annotations

import random
import re

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

import tensorprog
from tensorprog.display.breaking import WIDTH, broken, seen
from tensorprog.display.latex import name_latex

#: Points of a line in the article class, at 10 points.
PAGE = 345.0

DEEP = """
width n
size P, d
param eta = 0.1
param T : int = 5
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 2/n)
vector v : [n] ~ normal(0, 1)
def norm2(h) = (h - moment(h)) / sqrt(moment((h - moment(h))**2) + 0.01)
for t in range(T):
    for a in range(P):
        h1 = U @ X[a]
        h2 = W @ relu(norm2(h1)) + h1 + 0.5*tanh(h1) - 0.25*sin(h1) + 0.125*cos(h1) + 0.3*erf(h1)
        f[t, a] = moment(v * relu(norm2(h2)))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
output loss
"""


def without_sizes(text: str) -> str:
    return re.sub(r"\\(?:left|right|bigl|bigr)(?![A-Za-z])|\s", "", text)


def balanced(line: str) -> bool:
    braces = re.sub(r"\\[{}]", "", line)
    return (braces.count("{") == braces.count("}") and len(re.findall(r"\\left(?![a-z])", line)) ==
            len(re.findall(r"\\right(?![a-z])", line)))


def random_formula(rng: random.Random, depth: int) -> str:
    """Sums of products of names, fractions, functions and brackets, as the printer writes them."""
    terms = []
    for _ in range(rng.randint(1, 5)):
        factors = []
        for _ in range(rng.randint(1, 3)):
            kind = rng.randint(0, 4) if depth else 0
            inner = random_formula(rng, depth - 1) if kind else ""
            factors.append({0: rng.choice(["x_{t, a + 1}", r"\eta", r"Z^{h_{t - 1}}", r"\sum_{a < P} y_{a}"]),
                            1: rf"\left({inner}\right)", 2: rf"\frac{{{inner}}}{{\sqrt{{c + 1}}}}",
                            3: rf"\mathbb{{E}}\left[{inner}\right]", 4: rf"\mathrm{{tanh}}\left({inner}\right)"}[kind])
        terms.append(" ".join(factors))
    return terms[0] + "".join(f" {rng.choice('+-')} {term}" for term in terms[1:])


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_and_every_line_is_whole(seed):
    rng = random.Random(seed)
    text = random_formula(rng, 3)
    width = rng.choice([20, 40, WIDTH])
    lines = broken(text, width, width)
    assert without_sizes("".join(lines)) == without_sizes(text)
    assert all(balanced(line) for line in lines)
    assert len(lines) == 1 or seen(text) > width
    for line in lines[1:]:
        assert line[0] in "+-"
    for line in lines:
        # What is longer has no sum outside of groups that it could be broken at.
        assert seen(line) <= width or re.search(r"\S [+-] ", _outside_of_groups(line)) is None


def _outside_of_groups(line: str) -> str:
    depth, kept = 0, []
    for token in re.findall(r"\\.|[{}]|.", line):
        depth += (token == "{") - (token == "}")
        kept.append(token if depth == 0 else "")
    return "".join(kept)


def test_short_formulas_stay():
    assert broken(r"\left(a + b\right) c + d") == [r"\left(a + b\right) c + d"]


def test_outer_sums_are_broken_first():
    term = r"\left(aaaaaaaa + bbbbbbbb\right)"
    assert broken(f"{term} + {term} + {term}", 20, 20) == [term, f"+ {term}", f"+ {term}"]
    assert broken(term, 10, 10) == [r"\bigl(aaaaaaaa", r"+ bbbbbbbb\bigr)"]


def test_lines_fit_on_a_page():
    """As TeX sets them: matplotlib's Computer Modern measures the lines of a derivation."""
    text = tensorprog.compile(DEEP).limit.latex()
    lines = [line for block in re.findall(r"\\begin\{align\*\}\n(.*?)\\end\{align\*\}", text, re.S) for line in block.splitlines()]
    assert any(line.startswith("&") for line in lines)
    left, widths = 0.0, []
    for line in lines:
        begin, _, rest = line.removesuffix(r"\\").partition("&")
        left = measured(begin) if begin.strip() else left
        widths.append(left + measured(rest.replace(r"\quad", "")) + 10)
    assert len(widths) > 20 and max(widths) < 1.1 * PAGE


def measured(formula: str) -> float:
    if not formula.strip():
        return 0.0
    known = re.sub(r"\\big[lr](.)", r"\1", formula).replace(r"\top", "T")
    known = known.replace(r"\operatorname", r"\mathrm").replace(r"\text", r"\mathrm")
    return MathTextParser("path").parse(f"${known.strip()}$", dpi=72, prop=FontProperties(size=10, math_fontfamily="cm")).width


@pytest.mark.parametrize(("name", "latex"), [
    ("h2", r"\mathit{h2}"), ("eta", r"\eta"), ("eta2", r"\eta\mathit{2}"), ("c_1", r"{c_{1}}"), ("h", "h"), ("loss", r"\mathit{loss}"),
    ("h.2", r"{h}^{(2)}"), ("h2.3", r"{\mathit{h2}}^{(3)}"), ("dh_out", r"\mathit{dh\_out}"), ("lam", r"\lambda")])
def test_digits_of_names_are_no_powers(name, latex):
    assert name_latex(name) == latex
