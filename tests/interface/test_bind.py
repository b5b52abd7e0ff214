"""Data and settings against declarations: what is accepted, and what every mistake says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tensorprog.bind import bind
from tensorprog.diagnostics import ProgramError, Source, Span
from tensorprog.ir.integers import IntBin, IntLit, IntSym
from tensorprog.ir.program import Cell, Initial, Input, Law, MatrixType, Param, Program, Size, Width

P, D, K = (IntSym(name, "size") for name in "PdK")
T, L = (IntSym(name, "param") for name in "TL")


def program(*, sizes=(), params=(), inputs=(), initials=()):
    return Program(Source("test.tp", "input X : [P, d]\n"), (Width("n", None, "n"),), sizes, params, inputs, initials,
                   (), ())


PERCEPTRON = program(
    sizes=(Size("P", None), Size("d", None), Size("K", 10)),
    params=(Param("eta", "real", 0.2), Param("T", "int", 5)),
    inputs=(Input("X", (P, D), "real", span=Span(1, 1, 1, 17)), Input("y", (P,), "real"),
            Input("ids", (IntBin("+", T, IntLit(1)),), "int")),
)
GOOD = {"X": np.zeros((4, 3)), "y": np.arange(4), "ids": [0, 1, 2, 3, 4, 5]}


def mistakes(built, data=None, settings=None):
    """Code and message of everything that is wrong."""
    with pytest.raises(ProgramError) as caught:
        bind(built, data, settings)
    return [(d.code, d.message) for d in caught.value.diagnostics]


def changed(**changes):
    return {k: v for k, v in {**GOOD, **changes}.items() if v is not None}


def only(built, data=None, settings=None):
    found = mistakes(built, data, settings)
    assert len(found) == 1, found
    return found[0]


# --- accepted ------------------------------------------------------------------------------------------------


def test_everything_has_its_kind():
    env = bind(PERCEPTRON, GOOD)
    assert {k: env[k] for k in ("P", "d", "K", "eta", "T")} == {"P": 4, "d": 3, "K": 10, "eta": 0.2, "T": 5}
    assert all(type(env[k]) is int for k in "PdKT")
    assert type(env["eta"]) is float
    assert env["y"].dtype == np.float64
    assert env["ids"].dtype == np.int64


def test_settings_override_defaults():
    env = bind(PERCEPTRON, changed(ids=[0, 0]), {"eta": 1, "T": 1.0, "K": np.int64(3)})
    assert (env["eta"], env["T"], env["K"]) == (1.0, 1, 3)
    assert type(env["eta"]) is float
    assert type(env["T"]) is int


def test_arrays_are_made_contiguous_and_keep_their_values():
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    bound = bind(PERCEPTRON, changed(X=X))["X"]
    assert bound.flags.c_contiguous
    assert np.array_equal(bound, X)


def test_scalar_inputs_and_other_number_types():
    built = program(params=(Param("c", "real", None),), inputs=(Input("s", (), "real"),))
    env = bind(built, {"s": 2}, {"c": Fraction(1, 2)})
    assert env["s"].shape == ()
    assert env["c"] == 0.5


def test_whole_floats_may_be_indices():
    assert bind(PERCEPTRON, changed(ids=np.arange(6.0)))["ids"].tolist() == [0, 1, 2, 3, 4, 5]


# --- settings ------------------------------------------------------------------------------------------------


def test_unknown_setting():
    with pytest.raises(ProgramError) as caught:
        bind(PERCEPTRON, GOOD, {"et": 1, "X": 2, "n": 3, "zzz": 4})
    advice = {d.message.split("'")[1]: d.help for d in caught.value.diagnostics}
    assert {d.code for d in caught.value.diagnostics} == {"TP631"}
    assert advice["et"] == "did you mean 'eta'?"
    assert "input" in advice["X"]
    assert "width" in advice["n"]
    assert "'eta', 'T', 'P', 'd', 'K'" in advice["zzz"]


def test_missing_parameter():
    built = program(params=(Param("eta", "real", None),))
    assert only(built) == ("TP627", "the real parameter 'eta' has no value and no default")


@pytest.mark.parametrize("value", [2.5, "many", True, float("nan"), [3], np.ones(2), 2**70, 1j])
def test_integer_parameters_take_whole_numbers(value):
    code, message = only(program(params=(Param("T", "int", 5),)), None, {"T": value})
    assert code == "TP628"
    assert message.startswith("the parameter 'T' must be a whole number, not ")


@pytest.mark.parametrize("value", ["fast", False, float("inf"), [0.1], {}])
def test_real_parameters_take_finite_numbers(value):
    code, message = only(program(params=(Param("eta", "real", 1.0),)), None, {"eta": value})
    assert code == "TP628"
    assert message.startswith("the parameter 'eta' must be a finite real number, not ")


# --- inputs --------------------------------------------------------------------------------------------------


def test_missing_and_unknown_inputs_in_one_run():
    assert mistakes(PERCEPTRON, {"x": GOOD["X"], "y": GOOD["y"], "ids": GOOD["ids"]}) == [
        ("TP621", "the program has no input 'x'"),
        ("TP620", "the input 'X : [P, d]' is missing; the data has 'x', 'y', 'ids'")]


def test_settings_among_the_data():
    assert only(PERCEPTRON, changed(eta=0.1)) == ("TP621", "'eta' is not an input but a parameter or size")


def test_wrong_number_of_axes():
    code, message = only(PERCEPTRON, changed(y=np.zeros((4, 1))))
    assert code == "TP622"
    assert message == "the input 'y' is declared [P], with 1 axis, but has shape [4, 1], with 2 axes"


def test_nan_and_infinity_by_index():
    X = np.zeros((4, 3))
    X[2, 1], X[3, 0] = np.nan, np.inf
    assert only(PERCEPTRON, changed(X=X)) == ("TP624", "X[2, 1] is nan (the first of 2 such entries)")


@pytest.mark.parametrize(("value", "words"), [
    (["a", "b", "c", "d"], "has strings"),
    ([None] * 4, "has entries of type object"),
    (np.zeros(4, complex), "is complex"),
    ([[1], [1, 2]], "is not a rectangular array"),
    (np.ma.masked_equal([1, 2, 3, 4], 2), "has masked entries"),
    (np.zeros(4, "datetime64[s]"), "has entries of type datetime64"),
])
def test_arrays_of_something_else(value, words):
    code, message = only(PERCEPTRON, changed(y=value))
    assert code == "TP625"
    assert words in message


@pytest.mark.parametrize(("value", "first"), [
    ([0, 1, 2.5, 3, 4, 5], "ids[2] is 2.5"),
    ([0, 1, 2, 1e300, 4, 5], "ids[3] is 1e+300"),
    (np.array([0, 1, 2, 3, 4, 2**63], np.uint64), "ids[5] is 9223372036854775808"),
])
def test_integer_inputs_take_whole_numbers(value, first):
    assert only(PERCEPTRON, changed(ids=value)) == ("TP626", f"'ids' is an integer input, but {first}")


# --- sizes ---------------------------------------------------------------------------------------------------


def test_inconsistent_sizes_name_both_inputs():
    with pytest.raises(ProgramError) as caught:
        bind(PERCEPTRON, changed(y=np.zeros(5)))
    (found,) = caught.value.diagnostics
    assert found.code == "TP623"
    assert found.message == "axis 0 of the input 'y' has length 5, but is declared P = 4"
    assert found.notes[0].message == "P = 4: 'X' has 4 on axis 0"
    assert found.notes[0].span == Span(1, 1, 1, 17)


def test_a_setting_against_the_data():
    with pytest.raises(ProgramError) as caught:
        bind(PERCEPTRON, GOOD, {"d": 7})
    assert caught.value.diagnostics[0].message == "axis 1 of the input 'X' has length 3, but is declared d = 7"
    assert caught.value.diagnostics[0].notes[0].message == "d = 7: it was set to 7"


def test_expressions_are_checked():
    assert only(PERCEPTRON, changed(ids=[0, 1])) == (
        "TP623", "axis 0 of the input 'ids' has length 2, but is declared T + 1 = 6")


def test_undetermined_size():
    assert only(program(sizes=(Size("K", None),))) == (
        "TP629", "nothing determines the size 'K': it has no default, and no input has it as an axis")


def test_a_size_of_a_missing_input_is_not_reported_twice():
    assert mistakes(PERCEPTRON, {"ids": GOOD["ids"]}) == [
        ("TP620", "the input 'y : [P]' is missing; the data has 'ids'"),
        ("TP620", "the input 'X : [P, d]' is missing; the data has 'ids'")]


def test_sizes_are_positive():
    assert only(program(sizes=(Size("K", 1),)), None, {"K": 0}) == (
        "TP630", "the size 'K' is 0, but a size must be at least 1 (it was set to 0)")
    built = program(sizes=(Size("P", None),), inputs=(Input("y", (P,), "real"),))
    assert only(built, {"y": []}) == (
        "TP630", "the size 'P' is 0, but a size must be at least 1 ('y' has 0 on axis 0)")


def test_parameters_used_as_sizes_are_positive():
    cell = Cell("W", MatrixType("n", "n"), 1, "W", "initial")
    layers = program(params=(Param("L", "int", 0),), initials=(Initial(cell, Law("zero"), (L,)),))
    assert only(layers) == ("TP630", "the integer parameter 'L' is 0, but a size must be at least 1")
    between = program(params=(Param("L", "int", 1),),
                      initials=(Initial(cell, Law("zero"), (IntBin("-", L, IntLit(1)),)),))
    assert bind(between)["L"] == 1
    assert only(between, None, {"L": 0}) == ("TP630", "'W' is declared with L - 1 = -1 entries")


def test_loop_counts_may_be_zero():
    assert bind(program(params=(Param("T", "int", 0),)))["T"] == 0


@pytest.mark.parametrize(("law", "says"), [("normal(0, s)", "its variance is -1"), ("bernoulli(s)", "its probability is -1"),
                                           ("uniform(0, s)", "its interval is from 0 to -1"),
                                           ("sparse_normal(0.5, s)", "its variance is -1")])
def test_laws_must_make_sense(law, says):
    from tensorprog import compile

    program = compile(f"width n\nparam s = -1\nvector v : [n] ~ {law}\noutput moment(v*v) as m\n")
    with pytest.raises(ProgramError, match=f"TP633.*{says}"):
        program.run()
