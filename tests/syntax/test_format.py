"""The formatter: canonical layout, comments kept, the tree unchanged."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorprog.diagnostics import ProgramError, Source
from tensorprog.syntax import format_text, parse


def formatted(text: str) -> str:
    result = format_text(Source("test.tp", text))
    assert format_text(Source("test.tp", result)) == result
    return result


@pytest.mark.parametrize("before, after", [
    ("x=1", "x = 1\n"),
    ("x   =   a+b", "x = a + b\n"),
    ("W -= eta/n * outer(dh,x)", "W -= eta/n * outer(dh, x)\n"),
    ("x = a* b", "x = a * b\n"),
    ("x = - a ** - 2", "x = -a**-2\n"),
    ("x = y [ t-1 , 1 : 2 ]", "x = y[t-1, 1:2]\n"),
    ("x = y[:,2] + z[a , :]", "x = y[:, 2] + z[a, :]\n"),
    ("x = W . T@y", "x = W.T@y\n"),
    ("x = tanh'' ( h )", "x = tanh''(h)\n"),
    ("x = ntk(f,g;U,W)", "x = ntk(f, g; U, W)\n"),
    ("x = (a)if(b<c)else(not d)", "x = (a) if (b < c) else (not d)\n"),
    ("x = sum(-e for a in range (P) if a!=b)", "x = sum(-e for a in range(P) if a != b)\n"),
    ("param T:int=20", "param T : int = 20\n"),
    ("input order:[T]int", "input order : [T] int\n"),
    ("vector w [L]:[n]~normal (0,1/n)", "vector w[L] : [n] ~ normal(0, 1/n)\n"),
    ("if a==b :x=1", "if a == b: x = 1\n"),
    ("def f ( x,y ) :return x,-y", "def f(x, y): return x, -y\n"),
    ("def phi(u)=u", "def phi(u) = u\n"),
    ("output f,g as h", "output f, g as h\n"),
    ("\ufeff\n\nx = 1\r\n", "x = 1\n"),
    ("", ""),
    ("# only\n\n", "# only\n"),
])
def test_spacing(before, after):
    assert formatted(before) == after


def test_indentation_is_four_spaces():
    before = "for a in range(2):\n  if a:\n  \tx = 1\n  else:\n     y = 2\nz = 3\n"
    after = "for a in range(2):\n    if a:\n        x = 1\n    else:\n        y = 2\nz = 3\n"
    assert formatted(before) == after


def test_at_most_two_blank_lines_stay():
    assert formatted("x = 1\n\n\n\n\ny = 2\n\nz = 3\n\n\n") == "x = 1\n\n\ny = 2\n\nz = 3\n"


def test_line_breaks_inside_brackets_stay():
    before = "x = f(a,\n b,  # b\n g(\n1),\n  # end\n )\n"
    after = "x = f(a,\n    b,  # b\n    g(\n        1),\n    # end\n)\n"
    assert formatted(before) == after


def test_comments_keep_their_block():
    before = textwrap.dedent("""\
        # head
        for a in range(2):
        # first
          x = 1 # one
          # last of the block
        # after the block
        y = 2
          # end
        """)
    after = textwrap.dedent("""\
        # head
        for a in range(2):
            # first
            x = 1  # one
            # last of the block
        # after the block
        y = 2
        # end
        """)
    assert formatted(before) == after


def test_comments_in_one_column_stay_in_one_column():
    before = "width n      # a\nsize P,d     # b\nx=1\nparam eta=0.125  # c\n"
    assert formatted(before) == "width n    # a\nsize P, d  # b\nx = 1\nparam eta = 0.125  # c\n"


def test_a_program_that_does_not_parse_is_refused():
    with pytest.raises(ProgramError):
        format_text(Source("test.tp", "x = (\n"))


PIECES = ["x", "-", "+", "*", "**", "@", " ", "  ", "(", ")", "[", "]", ",", ":", "=", "\n", "\n  ", "\n\t", "# c\n",
          "if", "for a in range(2):", "else:", "1", "2.", "f(", ".T", "'", "not ", " if ", " else ", "def f(x) = x"]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_formatting_is_idempotent_and_keeps_the_tree(text):
    source = Source("test.tp", text)
    try:
        module = parse(source)
    except ProgramError:
        return
    assert parse(Source("test.tp", formatted(text))) == module


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x = 1", "x=(1,\n  2)", "if a: x = 1", "pass"]),
                          st.sampled_from(["", " # c", "   # c", "\n# own", "\n      # own", "\n\n\n\n"])), max_size=8))
def test_formatting_nested_programs_is_idempotent(parts):
    text, depth = "", 0
    for wanted, line, comment in parts:
        while depth < wanted:
            text += "  " * depth + "for t in range(3):\n"
            depth += 1
        depth = wanted
        text += "  " * depth + line + comment + "\n"
    result = formatted(text)
    assert parse(Source("test.tp", result)) == parse(Source("test.tp", text))
