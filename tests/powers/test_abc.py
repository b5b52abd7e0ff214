"""The classification of parametrizations: the papers' tables, the dichotomy and uniqueness on a grid of rationals."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from strategies import QUICK

from tensorprog.abc import Parametrization, classify, named
from tensorprog.abc.exponents import exponent
from tensorprog.abc.region import stable_region, substituted
from tensorprog.abc.report import to_json, to_latex, to_text
from tensorprog.cli import main

HALF = Fraction(1, 2)
DEPTHS = [1, 2, 3, 5]
GRID = [Fraction(k, 2) for k in range(-2, 5)]


# --- the tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name, r, learns", [("SP", HALF, False), ("NTP", HALF, False), ("muP", 0, True)])
def test_table_1_of_tp4(name, r, learns, depth):
    p = named(name, depth)
    found = classify(p)
    # with one hidden layer SP's only r_l is that of the input weights, whose gradients' sum has one n less
    assert found.r == (r if (name, depth) != ("SP", 1) else Fraction(3, 2))
    assert (found.stable, found.nontrivial, found.feature_learning, found.kernel_regime) == (True, True, learns, not learns)
    assert 2 * p.a[-1] + p.c[-1] == 1 and p.spread(depth + 1) + r == 1
    assert found.maximal is learns and name in found.names
    assert found.random_output is not learns


def test_the_mean_field_parametrization_is_mup_of_one_hidden_layer():
    assert classify(named("MFP", 1)).names == ("MFP", "muP")
    with pytest.raises(ValueError, match="one hidden layer"):
        named("MFP", 2)


def test_sp_with_a_constant_learning_rate_is_unstable():
    """TP IV, Theorem 4.1."""
    found = classify(Parametrization.of([0, 0, 0], [0, HALF, HALF], 0))
    assert not found.stable
    assert {r.said for r in found.requirements if not r.holds} == {"r_2 >= 0", "2 a_3 + c_3 >= 1", "a_3 + b_3 + r >= 1"}


@pytest.mark.parametrize("depth", DEPTHS)
def test_table_1_of_tp4b(depth):
    mup, ntp, sp = (classify(named(name, depth, adaptive=True)) for name in ("muP", "NTP", "SP"))
    assert (mup.stable, mup.faithful, mup.feature_learning, mup.maximal, mup.r) == (True, True, True, True, 0)
    assert (ntp.stable, ntp.faithful, ntp.kernel_regime, ntp.r) == (True, True, True, HALF)
    assert (sp.stable, sp.faithful) == (False, False)


def test_adam_in_sp_with_learning_rate_1_over_n_learns_features():
    found = classify(Parametrization.of([0, 0, 0], [0, HALF, HALF], 1, 0))
    assert (found.r, found.r_l) == (0, (1, 0))
    assert [layer.learns_features for layer in found.layers] == [False, False, None] or not found.stable


# --- the theorems --------------------------------------------------------------------------------------------


def _grid(depth):
    """abc-parametrizations that are right at initialization, on a grid; others cannot be stable."""
    for out, b_out, c, first, *inner in itertools.product(GRID, GRID, GRID, *[[-HALF, Fraction(0), HALF]] * depth):
        a = [first, *inner, out]
        yield Parametrization.of(a, [-first, *(HALF - x for x in inner), b_out], c)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_dichotomy_and_the_uniqueness_of_mup(depth):
    """Corollary 3.9, Theorems 3.4, 3.8 and 5.6."""
    found = [classify(p) for p in _grid(depth)]
    for k in found:
        if k.nontrivial:
            assert k.feature_learning != k.kernel_regime
            assert not (k.feature_learning and k.random_output)  # Corollary 3.10
        if k.maximal:
            assert "muP" in k.names
        if "muP" in k.names:
            assert k.maximal
    assert any(k.maximal for k in found) and any(k.kernel_regime for k in found)
    assert any(k.stable and not k.nontrivial for k in found)


small = st.fractions(-2, 2, max_denominator=4)


@QUICK
@given(st.data(), st.integers(1, 3), st.booleans())
def test_the_symmetry_changes_nothing(data, depth, adaptive):
    layers = depth + 1
    a, b, c, d = (data.draw(st.lists(small, min_size=layers, max_size=layers)) for _ in range(4))
    p = Parametrization.of(a, b, c, d if adaptive else None)
    q = p.shifted(data.draw(st.lists(small, min_size=layers, max_size=layers)))
    one, two = classify(p), classify(q)
    assert p.is_equivalent(q)
    assert (one.r_l, one.stable, one.nontrivial, one.names) == (two.r_l, two.stable, two.nontrivial, two.names)
    assert [r.holds for r in one.requirements if r.of == "stable"] == [
        r.holds for r in two.requirements if r.of == "stable"]


@QUICK
@given(small, small, small)
def test_symbols_give_conditions_that_agree_with_numbers(x, y, z):
    p = Parametrization.of(["0", "0", "x"], ["0", "1/2", "y"], "z")
    values = {"x": x, "y": y, "z": z}
    q = substituted(p, values)
    open_one, known = classify(p), classify(q)
    for attribute in ("stable", "nontrivial", "feature_learning", "kernel_regime"):
        condition = getattr(open_one, attribute)
        decided = condition if isinstance(condition, bool) else bool(condition.subs(
            {s: exponent(values[s.name]) for s in condition.free_symbols}))
        assert decided == getattr(known, attribute), attribute


# --- the region ----------------------------------------------------------------------------------------------


def test_the_region_has_mup_and_ntp_as_corners():
    p = Parametrization.of(["-1/2", "0", "1/2"], ["1/2", "1/2", "b"], "c")
    region = stable_region(p, ("b", "c"), ((-1, 2), (-1, 2)))
    assert {(Fraction(0), Fraction(1)), (HALF, Fraction(0))} <= set(region.corners)
    assert {said for _, _, said in region.edges} == {"a_3 + b_3 >= 1/2", "a_3 + b_3 + r >= 1", "r_1 >= 0"}
    for corner in itertools.product(GRID, GRID):
        known = classify(substituted(p, dict(zip("bc", corner)))).stable
        assert known == _inside(region.corners, corner), corner


def _inside(corners, point):
    turns = [(q[0] - p[0]) * (point[1] - p[1]) - (q[1] - p[1]) * (point[0] - p[0])
             for p, q in zip(corners, corners[1:] + corners[:1])]
    return all(t >= 0 for t in turns)


def test_a_plane_without_stable_points():
    p = Parametrization.of(["1", "0", "x"], ["0", "1/2", "1/2"], "y")
    assert stable_region(p, ("x", "y"), ((-1, 2), (-1, 2))).corners == ()


# --- text, JSON, LaTeX, the command --------------------------------------------------------------------------


def test_reports():
    found = classify(named("NTP", 2))
    assert "kernel regime: r = 1/2 > 0" in to_text(found)
    assert r"\tfrac12" in to_latex(found)
    data = json.loads(json.dumps(to_json(found)))
    assert (data["r"], data["r_l"], data["stable"], data["names"]) == ("1/2", ["1/2", "1/2"], True, ["NTP"])
    unfaithful = to_text(classify(named("SP", 2, adaptive=True)))
    assert "not faithful: the gradients of W^1" in unfaithful and "unstable: the learning rate of W^2" in unfaithful


def test_the_command(tmp_path):
    done = CliRunner().invoke(main, ["classify", "-a", "-1/2,0,1/2", "-b", "1/2,1/2,y", "-c", "x", "--plot",
                                     str(tmp_path / "region.png"), "--json"])
    assert done.exit_code == 0 and (tmp_path / "region.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(done.stdout)["stable"] != "True"
    assert json.loads(CliRunner().invoke(main, ["classify", "mup", "--json"]).stdout)["feature_learning"] is True


@pytest.mark.parametrize("arguments, words", [
    (["nothing"], "there is no parametrization"), ([], "neither a name nor exponents"),
    (["muP", "-a", "0"], "both a name and exponents"), (["-a", "0,0", "-b", "0,1/2"], "-c is missing"),
    (["-a", "0", "-b", "0", "-c", "0"], "at least one hidden layer"), (["muP", "--depth", "0"], "at least one hidden"),
    (["-a", "0,0", "-b", "0,1/2,1/2", "-c", "1"], "`b` has 3 exponents"),
    (["-a", "0,1/0", "-b", "0,0", "-c", "1"], "divides by zero"), (["NTP", "--plot", "x.png"], "two unknown"),
    (["-a", "0,x", "-b", "0,y", "-c", "1", "--plot", "x.png", "--frame", "1:0,0:1"], "wrong order"),
    (["-a", "0,x", "-b", "0,y", "-c", "1", "--plot", "x.doc"], "TP715"),
])
def test_mistakes(arguments, words):
    done = CliRunner().invoke(main, ["classify", *arguments])
    assert done.exit_code == 2 and words in done.stderr and "TP715" in done.stderr
