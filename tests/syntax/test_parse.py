"""The parser, its diagnostics, and the round trip through `unparse`."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import DOCS, ROOT

from tensorprog.diagnostics import ProgramError, Source, Span
from tensorprog.syntax import format_text, parse, tree, unparse
from tensorprog.syntax.tokens import KEYWORDS

NETWORK = """\
width n
width m = 2*n                          # another
size P, d
size K = 10
param eta = 0.1
param T : int = 20
param beta
input X : [P, d]
input order : [T] int
matrix U : [n, d] ~ normal(0, 1/d)
matrix M : [n, n] = 0
vector w[L] : [n] ~ sparse_normal(0.5, 1)

def net(xi):
    h1 = U @ xi
    return moment(v * tanh'(W.T @ h1)), h1

def phi(u) = u * sigmoid(u)

for t in range(T):
    for a in range(P): f[t, a], h = net(X[a, :])
    if order[t] == 0 and not t < 1 <= T:
        loss[t] = mean((f[t, a] - y[a])**2 for a in range(P) if a != t for b in range(a, P)) / 2
    elif t % 2 == 1:
        pass
    else:
        u[ids[t]] -= eta*n*grad(loss[t], U) if t // 2 > -1 else 0.
output f, ntk(f[a], f[b]; U, W) as K0
"""


def parse_text(text: str) -> tree.Module:
    return parse(Source("test.tp", text))


def statement(text: str) -> tree.Statement:
    (only,) = parse_text(text).statements
    return only


def expr(text: str) -> tree.Expr:
    found = statement(f"x = {text}\n")
    assert isinstance(found, tree.Assign)
    return found.value


def name(text: str) -> tree.Name:
    return tree.Name(text)


def problems(text: str) -> list[tuple[str, int, int]]:
    """Code, line and column of each diagnostic, in order of place."""
    with pytest.raises(ProgramError) as caught:
        parse_text(text)
    found = sorted(caught.value.diagnostics, key=lambda d: d.span)
    assert all(d.help for d in found)
    return [(d.code, d.span.line, d.span.column) for d in found]


# --- trees ---------------------------------------------------------------------------------------------------


def test_a_program_parses_and_round_trips():
    module = parse_text(NETWORK)
    assert len(module.statements) == 16
    assert parse_text(unparse(module)) == module


DOC = DOCS / "language.md"


@pytest.mark.parametrize("example", re.findall(r"```\n(.*?)```", DOC.read_text(encoding="utf-8"), re.S)
                         if DOC.exists() else [])
def test_examples_of_the_reference_parse(example):
    module = parse_text(example.replace("...", "pass"))
    assert module.statements
    assert parse_text(unparse(module)) == module


PROGRAMS = sorted(path for folder in ("examples", "tests/programs")
                  for path in (ROOT / folder).glob("*.tp"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_checked_in_programs_round_trip_and_are_formatted(path):
    text = path.read_text(encoding="utf-8")
    module = parse_text(text)
    assert parse_text(unparse(module)) == module
    assert format_text(Source(path.name, text)) == text


@pytest.mark.parametrize("text, value", [("12", 12), ("0.5", 0.5), (".5", 0.5), ("2.", 2.0), ("1e-3", 1e-3),
                                         ("1_000", 1000), ("0", 0)])
def test_numbers(text, value):
    number = expr(text)
    assert number == tree.NumberExpr(value)
    assert type(number.value) is type(value)


@pytest.mark.parametrize("text, grouped", [
    ("a - b - c", "(a - b) - c"), ("a**b**c", "a**(b**c)"), ("-a**b", "-(a**b)"), ("a**-b", "a**(-b)"),
    ("a * b @ c", "(a * b) @ c"), ("a + b * c", "a + (b * c)"), ("-a * b", "(-a) * b"), ("a // b % c", "(a // b) % c"),
    ("W.T @ x", "(W.T) @ x"), ("not a == b", "not (a == b)"), ("a or b and c", "a or (b and c)"),
    ("a if b else c if d else e", "a if b else (c if d else e)"), ("W[0].T @ x[1]", "((W[0]).T) @ (x[1])"),
])
def test_precedence(text, grouped):
    assert expr(text) == expr(grouped)


def test_comparisons_are_chained_and_kept_apart_by_parentheses():
    assert expr("a < b <= c") == tree.Compare((name("a"), name("b"), name("c")), ("<", "<="))
    assert expr("(a < b) <= c") == tree.Compare((expr("a < b"), name("c")), ("<=",))


def test_calls():
    assert expr("tanh''(h)") == tree.CallExpr("tanh", 2, (name("h"),))
    assert expr("rademacher()") == tree.CallExpr("rademacher", 0, ())
    assert expr("ntk(f[a], f[b]; U, W)") == tree.CallExpr("ntk", 0, (expr("f[a]"), expr("f[b]")), (name("U"), name("W")))
    loop = tree.Clause("a", (name("P"),), (expr("a != b"), expr("a > 0")))
    assert expr("sum(e for a in range(P) if a != b if a > 0)") == tree.Comprehension("sum", name("e"), (loop,))


def test_indices_and_slices():
    assert expr("X[a, :]") == tree.IndexExpr(name("X"), (name("a"), tree.Slice(None, None)))
    assert expr("y[1:P]") == tree.IndexExpr(name("y"), (tree.Slice(tree.NumberExpr(1), name("P")),))
    assert expr("y[:P]") == tree.IndexExpr(name("y"), (tree.Slice(None, name("P")),))
    assert expr("y[1:]") == tree.IndexExpr(name("y"), (tree.Slice(tree.NumberExpr(1), None),))


def test_statements():
    assert statement("a, b = f(x)") == statement("(a, b) = f(x)")
    assert statement("output f, g as h") == tree.OutputStmt(
        ((name("f"), None), (name("g"), tree.Declared("h"))))
    assert statement("def f(x): return x, 1") == tree.FuncDef(
        tree.Declared("f"), (tree.Declared("x"),),
        (tree.Return(tree.TupleExpr((name("x"), tree.NumberExpr(1)))),), None)
    assert statement("def phi(u) = u") == tree.FuncDef(tree.Declared("phi"), (tree.Declared("u"),), (), name("u"))
    assert statement("matrix M[L] : [n, n] = 0").law is None
    assert statement("input order : [T] int").kind == "int"
    assert statement("param T : int = 20") == tree.ParamDecl(tree.Declared("T"), "int", tree.NumberExpr(20))


def test_empty_programs():
    for text in ("", "\n", "  # nothing\n\t\n", "\ufeff"):
        assert parse_text(text) == tree.Module(())


def test_newlines_tabs_and_marks_of_other_systems():
    plain = "for a in range(2):\n    if a:\n        x = f(a,\n  1)\ny = 2\n"
    assert parse_text(plain.replace("\n", "\r\n")) == parse_text(plain)
    assert parse_text("\ufeff" + plain) == parse_text(plain)
    assert parse_text(plain.replace("    ", "\t")) == parse_text(plain)
    assert parse_text(plain.rstrip("\n")) == parse_text(plain)


def test_comments_and_brackets_do_not_change_the_layout():
    assert parse_text("if a:\n# c\n  x = 1\n    # d\n  y = (\n2\n)\n") == parse_text("if a:\n  x = 1\n  y = 2\n")


def test_greek_names_are_one_name_in_every_spelling():
    assert expr("\u00b5 * x\u0302_1") == expr("\u03bc * x\u0302_1")


def test_names_of_functions_are_ordinary_names():
    assert statement("sum = moment + tanh + True").target == name("sum")


# --- spans ---------------------------------------------------------------------------------------------------


def test_spans_are_exact():
    module = parse_text("if a:\n    y = (b + c)*tanh''( h )\n")
    block = module.statements[0]
    assignment = block.branches[0][1][0]
    product = assignment.value
    assert block.span == Span(1, 1, 2, 28)
    assert assignment.span == Span(2, 5, 2, 28)
    assert product.span == Span(2, 9, 2, 28)
    assert product.left.span == Span(2, 9, 2, 16)
    assert product.left.left.span == Span(2, 10, 2, 11)
    assert product.right.span == Span(2, 17, 2, 28)
    assert product.right.func_span == Span(2, 17, 2, 23)


def test_spans_of_loops_and_declarations():
    loop = statement("for t in range(3): x = sum(e for ab in range(P))")
    assert loop.var_span == Span(1, 5, 1, 6)
    assert loop.body[0].value.clauses[0].var_span == Span(1, 34, 1, 36)
    declaration = statement("vector w[L] : [n] ~ normal(0, 1)")
    assert declaration.name.span == Span(1, 8, 1, 12)
    assert declaration.law.span == Span(1, 21, 1, 33)


def nodes(node):
    """Every node of a tree."""
    if isinstance(node, tree.TreeNode):
        yield node
        for field in node.__dataclass_fields__:
            yield from nodes(getattr(node, field))
    elif isinstance(node, tuple):
        for item in node:
            yield from nodes(item)


def test_every_node_has_a_span():
    assert all(node.span for node in nodes(parse_text(NETWORK)))


# --- diagnostics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, code, line, column", [
    ("x = 1 +", "TP100", 1, 8),
    ("width", "TP100", 1, 6),
    ("width n, m", "TP100", 1, 8),
    ("size P, d = 3", "TP100", 1, 1),
    ("f(x)", "TP100", 1, 1),
    ("x = 1; y = 2", "TP100", 1, 6),
    ("x = y = 2", "TP100", 1, 7),
    ("x = (a, b) + 1", "TP100", 1, 12),
    ("x = f((a, b))", "TP100", 1, 9),
    ("x = [a, b]", "TP100", 1, 5),
    ("x = np.tanh(h)", "TP100", 1, 8),
    ("x = y.t", "TP100", 1, 6),
    ("x = 2 .T", "TP100", 1, 5),
    ("x = a b", "TP100", 1, 7),
    ("x = a is b", "TP100", 1, 7),
    ("x = X[0:1:2]", "TP100", 1, 10),
    ("x = tanh' + 1", "TP100", 1, 5),
    ("x = normal(mean=0)", "TP100", 1, 16),
    ("x ~ normal(0, 1)", "TP100", 1, 3),
    ("def f(x=1): return x", "TP100", 1, 8),
    ("matrix M : [n, n] = 1", "TP100", 1, 21),
    ("input X", "TP100", 1, 8),
    ("return", "TP100", 1, 7),
    ("else:\n    x = 1", "TP100", 1, 1),
    ("x = 1\n  y = 2\n  z = 3", "TP101", 2, 1),
    ("if a:\nx = 1", "TP101", 2, 1),
    ("if a:", "TP101", 1, 6),
    ("if a:\n    x = 1\n  y = 2", "TP101", 3, 1),
    ("if a:\n    if b:\n\tx = 1\n        y = 1", "TP101", 3, 1),
    ("x = (1 + 2\ny = 3", "TP102", 1, 5),
    ("x = f[1, (2\noutput x", "TP102", 1, 10),
    ("x = 1)", "TP102", 1, 6),
    ("x = (1]", "TP102", 1, 7),
    ("x = a ? b", "TP103", 1, 7),
    ("x = x\u00b2", "TP103", 1, 6),
    ("x = a \u2212 b", "TP103", 1, 7),
    ("x = a && b", "TP103", 1, 7),
    ('x = "text"', "TP103", 1, 5),
    ("x = 'text'", "TP103", 1, 5),
    ("x = a + \\\n    b", "TP103", 1, 9),
    ("x **= 2", "TP103", 1, 3),
    ("if a == b\n    x = 1", "TP104", 1, 10),
    ("def f(x)\n    return x", "TP104", 1, 9),
    ("for t in range(3) x = 1", "TP104", 1, 18),
    ("vector v [n] ~ normal(0, 1)", "TP104", 1, 13),
    ("input X [P]", "TP104", 1, 8),
    ("if a = b:\n    x = 1", "TP105", 1, 6),
    ("x = sum(e for a in range(P) if a = b)", "TP105", 1, 34),
    ("x == 3", "TP105", 1, 1),
    ("x = 2n", "TP106", 1, 5),
    ("x = 012", "TP106", 1, 5),
    ("x = 1.2.3", "TP106", 1, 5),
    ("x = 1e", "TP106", 1, 5),
    ("x = 1e999", "TP106", 1, 5),
    ("x = 0x1F", "TP106", 1, 5),
    ("x = " + "9" * 5000, "TP106", 1, 5),
    ("size = 3", "TP107", 1, 1),
    ("param range = 3", "TP107", 1, 7),
    ("x = input + 1", "TP107", 1, 5),
    ("for in in range(3): pass", "TP107", 1, 5),
    ("x = \uff46\uff4f\uff52", "TP107", 1, 5),
    ("while a:\n    x = 1", "TP108", 1, 1),
    ("import numpy", "TP108", 1, 1),
    ("from numpy import tanh", "TP108", 1, 1),
    ("class A:\n    x = 1", "TP108", 1, 1),
    ("break", "TP108", 1, 1),
    ("print(x)", "TP108", 1, 1),
    ("x = lambda u: u", "TP108", 1, 5),
    ("if a:\n    x = 1\nelse if b:\n    x = 2", "TP108", 3, 6),
    ("for t in order:\n    x = 1", "TP110", 1, 10),
    ("for a, b in range(3):\n    x = 1", "TP110", 1, 6),
    ("for t in range(1, 2, 3, 4):\n    x = 1", "TP110", 1, 10),
    ("f(x) = 3", "TP111", 1, 1),
    ("a, b += 3", "TP111", 1, 1),
    ("a += 1, 2", "TP111", 1, 6),
])
def test_one_error(text, code, line, column):
    assert problems(text) == [(code, line, column)]


def test_several_errors_in_one_run():
    text = "x = 2n\nif a = b:\n    y = 1 +\nelse:\n    z = (1\nwhile x:\n    w = 1\noutput w w\n"
    assert problems(text) == [("TP106", 1, 5), ("TP105", 2, 6), ("TP100", 3, 12), ("TP102", 5, 9), ("TP108", 6, 1),
                              ("TP100", 8, 10)]


@pytest.mark.parametrize("text", ["x = " + "(" * 5000, "x = " + "(" * 5000 + "1" + ")" * 5000,
                                  "x = " + "-" * 5000 + "1", "x = " + "not " * 5000 + "a", "x = a" + " + a" * 5000,
                                  "x = a" + "**a" * 5000,
                                  "x = a" + "[0]" * 5000, "x = a" + ".T" * 5000, "x = a" + " if a else a" * 5000,
                                  "x = " + "f(" * 5000 + ")" * 5000])
def test_too_deep(text):
    (found,) = problems(text)
    assert found[0] in ("TP102", "TP109")


def test_blocks_too_deep():
    text = "".join(" " * i + "if a:\n" for i in range(200))
    assert problems(text)[0][0] == "TP109"


def test_long_is_not_deep():
    parse_text("x = f(" + "a + b, " * 5000 + "c)\n" + "y = 1\n" * 5000)


def test_hopeless_text_is_given_up():
    assert len(problems("x = (\n" * 20000)) <= 20


# --- properties ----------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "f", "x1", "φ", "T", "sum", "λ_2"])
numbers = st.builds(tree.NumberExpr, st.integers(0, 10**30) | st.floats(0, allow_infinity=False, allow_nan=False))


def tuples(strategy, smallest=0, largest=3):
    return st.lists(strategy, min_size=smallest, max_size=largest).map(tuple)


def compounds(inner):
    slices = st.builds(tree.Slice, st.none() | inner, st.none() | inner)
    clauses = st.builds(tree.Clause, names, tuples(inner, 1), tuples(inner, 0, 2))
    primaries = inner.filter(lambda node: not isinstance(node, tree.NumberExpr))
    return st.one_of(
        st.builds(tree.IndexExpr, inner, tuples(inner | slices, 1)),
        st.builds(tree.CallExpr, names, st.integers(0, 2), tuples(inner)),
        st.builds(tree.CallExpr, names, st.integers(0, 2), tuples(inner, 1), tuples(inner, 1)),
        st.builds(tree.TransposeExpr, primaries),
        st.builds(tree.Unary, st.sampled_from("+-"), inner),
        st.builds(tree.Binary, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "@"]), inner, inner),
        st.lists(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), min_size=1, max_size=3).flatmap(
            lambda ops: st.builds(tree.Compare, tuples(inner, len(ops) + 1, len(ops) + 1), st.just(tuple(ops)))),
        st.builds(tree.BoolOp, st.sampled_from(["and", "or"]), tuples(inner, 2)),
        st.builds(tree.Not, inner),
        st.builds(tree.IfExp, inner, inner, inner),
        st.builds(tree.Comprehension, names, inner, tuples(clauses, 1, 2)),
    )


exprs = st.recursive(numbers | st.builds(tree.Name, names), compounds, max_leaves=12)
values = exprs | st.builds(tree.TupleExpr, tuples(exprs, 2))
declared = st.builds(tree.Declared, names)
families = st.builds(tree.Declared, names, tuples(exprs, 0, 2))
laws = st.none() | st.builds(tree.LawExpr, names, tuples(exprs))
kinds = st.sampled_from(["int", "real"])
targets = st.builds(tree.Name, names) | st.builds(tree.IndexExpr, st.builds(tree.Name, names), tuples(exprs, 1))
lines = st.one_of(
    st.builds(tree.WidthDecl, declared, st.none() | exprs),
    st.builds(tree.SizeDecl, tuples(declared, 1), st.none()),
    st.builds(tree.SizeDecl, tuples(declared, 1, 1), exprs),
    st.builds(tree.ParamDecl, declared, kinds, st.none() | exprs),
    st.builds(tree.InputDecl, declared, tuples(exprs, 1), kinds),
    st.builds(tree.MatrixDecl, families, tuples(exprs, 1), laws),
    st.builds(tree.VectorDecl, families, tuples(exprs, 1), laws),
    st.builds(tree.Assign, targets, st.sampled_from(["+=", "-=", "*=", "/="]), exprs),
    st.builds(tree.Assign, targets | st.builds(tree.TupleExpr, tuples(targets, 2)), st.just("="), values),
    st.builds(tree.FuncDef, declared, tuples(declared), st.just(()), exprs),
    st.builds(tree.Return, values),
    st.builds(tree.OutputStmt, tuples(st.tuples(exprs, st.none() | declared), 1)),
    st.builds(tree.Pass),
)


def blocks(inner):
    body = tuples(inner, 1)
    return st.one_of(
        st.builds(tree.ForStmt, names, tuples(exprs, 1), body),
        st.builds(tree.IfStmt, tuples(st.tuples(exprs, body), 1), tuples(inner)),
        st.builds(tree.FuncDef, declared, tuples(declared), body, st.none()),
    )


modules = st.builds(tree.Module, tuples(st.recursive(lines, blocks, max_leaves=6), 0, 5))


@settings(deadline=None)
@given(modules)
def test_unparse_then_parse_is_the_identity(module):
    text = unparse(module)
    assert parse_text(text) == module
    assert format_text(Source("test.tp", text)) == text


def parse_or_refuse(text: str) -> None:
    try:
        parse_text(text)
    except ProgramError as error:
        assert error.diagnostics
        assert str(error)


words = [*sorted(KEYWORDS), *keyword.kwlist, *"()[]{}+-*/%@<>=!,:;.~'\"#\\|&^", "**", "//", "==", "+=", "->", "\n",
         "\n    ", "\n\t", "\r\n", " ", "x", "f'", "1", "2.5", "1e", "²", "λ", "\ufeff", "\u2028", "\x00"]


@settings(deadline=None, max_examples=300)
@given(st.text() | st.lists(st.sampled_from(words)).map(" ".join) | st.lists(st.sampled_from(words)).map("".join))
@example("\x0c\r\r\n\t \x0b")
@example("\ud800")
def test_arbitrary_text_raises_nothing_else(text):
    parse_or_refuse(text)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(NETWORK)), st.integers(0, 12), st.sampled_from(["", *words]))
def test_damaged_programs_raise_nothing_else(place, length, insertion):
    parse_or_refuse(NETWORK[:place] + insertion + NETWORK[place + length:])


def test_parsing_imports_no_heavy_library():
    code = ("import sys; from tensorprog.diagnostics import Source; from tensorprog.syntax import parse; "
            "parse(Source('t', 'width n')); print(sorted({'sympy', 'numba', 'numpy', 'scipy'} & set(sys.modules)))")
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
