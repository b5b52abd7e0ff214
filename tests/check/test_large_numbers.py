"""Numbers that are too large for 64 bits: a diagnostic at the place, or an infinite value with a warning; never a crash."""

import numpy as np
import pytest
import sympy

import tensorprog
from tensorprog.expectations.source import ExpectationPrinter

HEAD = "width n\nsize K = 3\nparam c = 2.0\nvector v : [n] ~ normal(0, 1)\n"


@pytest.mark.parametrize("line, code, place", [
    ("output 10**400 * moment(v*v) as q", "TP311", 8),
    ("output moment(v**(10**400)) as q", "TP311", 18),
    ("output moment(v*v) + 9**9**9**9 as q", "TP311", 25),
    ("output (-2)**5001 * moment(v*v) as q", "TP311", 8),
    ("output 2.0**5000 * moment(v*v) as q", "TP106", 8),
    ("output 0.5**-5000 * moment(v*v) as q", "TP106", 8),
    ("output moment(tanh(1e200*1e200*v)) as q", "TP106", 20),
    ("output moment(v*v) / 1e-200 * (1e200/1e-200) as q", "TP106", 31),
    ("output 1e400 * moment(v*v) as q", "TP106", 8),
])
def test_a_constant_that_is_too_large_is_a_mistake_at_its_place(line, code, place):
    with pytest.raises(tensorprog.ProgramError) as error:
        tensorprog.compile(HEAD + line + "\n")
    first = error.value.diagnostics[0]
    assert (first.code, first.span.line, first.span.column) == (code, 5, place)


def test_an_integer_power_of_a_size_too():
    for text in ("K**(K**(K**K)) * moment(v*v)", "K**1000 * moment(v*v)"):
        with pytest.raises(tensorprog.ProgramError, match="TP603"):
            tensorprog.compile(f"{HEAD}output {text} as q\n").run()


@pytest.mark.parametrize("expression", ["moment((2 + v*v)**1100)", "c**5000 * moment(v*v)", "moment((1e300*v)**2)",
                                        "moment((v*v + 2)**1100.5)", "moment((c*1e200*v)**2)"])
def test_a_value_that_is_too_large_is_infinite_with_a_warning(expression):
    compiled = tensorprog.compile(f"{HEAD}output {expression} as q\n")
    result = compiled.run(method="particles", samples=64, replicates=2)
    assert result["q"] == np.inf
    assert any(w.code == "TP640" and w.span.line == 5 for w in result.warnings)
    assert compiled.simulate(width=8, seeds=2)["q"] == np.inf
    for style in ("text", "latex", "markdown"):
        assert compiled.limit.show(style)


def test_a_high_power_of_a_sum_is_no_formula():
    """Multiplied out, it has a thousand terms of a thousand digits; its values at far nodes are infinite, with the weight 0."""
    result = tensorprog.compile(HEAD + "output moment((2 + v*v)**1100) as q\n").run(samples=64, replicates=2)
    assert result["q"] == np.inf and [w.code for w in result.warnings] == ["TP640"]


@pytest.mark.parametrize("line", ["output moment(v**20000000000000) as q", "output moment(v**-1100) as q"])
def test_formulas_with_large_exponents_are_written_at_once(line):
    exponent = line.split("**")[1].split(")")[0]
    assert exponent in tensorprog.compile(HEAD + line).limit.show("text")


def test_a_factorial_in_a_loop_overflows_where_numbers_do():
    text = HEAD + "s = 1\nfor i in range(K):\n    s = s*(i + 1)\noutput s*moment(v*v) as q\n"
    for size, value in ((5, 120.0), (170, 7.257415615307999e306), (200, np.inf)):
        assert tensorprog.compile(text).run(K=size)["q"] == pytest.approx(value, rel=1e-12)


def test_numbers_in_formulas_for_numba():
    x = sympy.Symbol("x", real=True)
    printed = ExpectationPrinter().doprint
    # Numba's power with a negative whole exponent raises an exception at 0.
    assert printed(x**-1100) == "(1.0/x**1100)"
    assert printed(sympy.Integer(10)**400) == printed(sympy.Rational(10**400, 3)) == "1e999"
    assert printed(-sympy.Integer(10)**400) == "-1e999"
    assert printed(sympy.Integer(2)**62) == str(2**62)
