"""TP1xx: reading the text."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

ENTRIES = {
    "TP100": CatalogEntry(
        "text that does not fit here",
        "The line reads like a program up to the marked place, and what stands there cannot follow. The language is "
        "small: it has Python's expressions, `for` over a range, `if`, `def` and assignments, and none of Python's "
        "lists, methods, keyword arguments or default values. Several statements do not share a line.",
        "h = W @ v; g = W.T @ v",
        "h = W @ v\ng = W.T @ v"),
    "TP101": CatalogEntry(
        "wrong indentation",
        "Blocks are made by indentation, as in Python: the lines of a loop, branch or function are indented by the "
        "same amount under their header, and every other line starts where its block starts. Tabs and spaces do not "
        "mix.",
        "for t in range(T):\nf[t] = moment(v*v)",
        "for t in range(T):\n    f[t] = moment(v*v)"),
    "TP102": CatalogEntry(
        "brackets that do not match",
        "Every `(` and `[` needs its own `)` and `]`. A line goes on until its brackets are closed, so a missing one "
        "may be noticed only at the next statement.",
        "h = tanh(W @ (v + 1)",
        "h = tanh(W @ (v + 1))"),
    "TP103": CatalogEntry(
        "a sign that the language does not have",
        "The text holds a character or an operator without a meaning here. There are no strings. Powers are written "
        "`**`, products `*` (of numbers and coordinates) or `@` (with a matrix).",
        "second = moment(v^2)",
        "second = moment(v**2)"),
    "TP104": CatalogEntry(
        "a missing colon",
        "`for`, `if`, `elif`, `else` and `def` end their line with `:`. A declaration has one between the name and the "
        "shape.",
        "for t in range(T)\n    f[t] = moment(v*v)",
        "for t in range(T):\n    f[t] = moment(v*v)"),
    "TP105": CatalogEntry(
        "`=` and `==` confused",
        "`=` gives a name its value; `==` compares two integers in a condition.",
        "h == W @ v",
        "h = W @ v"),
    "TP106": CatalogEntry(
        "not a number",
        "Numbers are written `12`, `0.5` or `1e-3`, and go up to 1.8e308. A product needs its `*`: `2*h`, not `2h`.",
        "h = 2v",
        "h = 2*v"),
    "TP107": CatalogEntry(
        "a reserved word as a name",
        "The words of the language (`input`, `size`, `vector`, `in`, ...) cannot name values.",
        "input = W @ v",
        "input_ = W @ v"),
    "TP108": CatalogEntry(
        "a statement of another language",
        "There is no `while`, `break`, `import`, `print`, `lambda` or `class`. The number of steps of a program must "
        "not depend on its values: in the limit every step is an operation on distributions, and the compiler has to "
        "know which ones there are. So loops run over a `range` of integers.",
        "x = v\nwhile moment(x*x) < 2:\n    x = x + W @ x",
        "x = v\nfor t in range(10):\n    x = x + W @ x"),
    "TP109": CatalogEntry(
        "nested too deeply",
        "An expression or the blocks are nested more deeply than the compiler follows.",
        "c = " + "-" * 110 + "eta",
        "c = -eta"),
    "TP110": CatalogEntry(
        "a loop over something else than a range",
        "Loops, also those inside `sum(... for ...)`, run over a `range` of integers with one variable. Data and "
        "families are indexed by that variable.",
        "for x in X:\n    h = U @ x",
        "for a in range(P):\n    h = U @ X[a]"),
    "TP111": CatalogEntry(
        "assignment to something that is no name",
        "The left side of `=` is a name, an element of a family, or several of these. A function is defined with "
        "`def`.",
        "phi(u) = u * sigmoid(u)",
        "def phi(u) = u * sigmoid(u)"),
}
