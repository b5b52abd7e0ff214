"""The audit of indices, on programs built by hand and on random ones against a plain interpreter."""

from __future__ import annotations

import random
import re
import time
from fractions import Fraction

import numpy as np
import pytest

from tensorprog.audit import audit_indices, family_extents, unassigned_outputs
from tensorprog.diagnostics import ProgramError, Source
from tensorprog.ir.integers import (
    Comparison,
    IntBin,
    IntLit,
    IntLoad,
    IntSym,
    Logic,
    evaluate_bool,
    evaluate_int,
)
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    For,
    FromInt,
    If,
    Initial,
    Input,
    InputRef,
    Law,
    Let,
    Load,
    MatrixTerm,
    MatrixType,
    MatStore,
    Output,
    Pick,
    Program,
    Range,
    Store,
    TensorType,
    Var,
)

T, P = IntSym("T", "size"), IntSym("P", "size")
t, a, b = (IntSym(name, "loop") for name in "tab")
ONE, ZERO = IntLit(1), IntLit(0)


def plus(left, right):
    return IntBin("+", left, IntLit(right) if isinstance(right, int) else right)


def family(name, rank=1, role="user", type=SCALAR):
    return Cell(name, type, rank, name, role)


def loop(var, stop, *body, start=ZERO, step=1):
    return For(var.name, start, stop, step, body)


def load(cell, *items):
    return Let(Var("x", SCALAR), Load(cell, items))


def store(cell, *items):
    return Store(cell, items, Var("x", SCALAR))


def program(*body, initials=(), inputs=(), outputs=()):
    return Program(Source("test.tp", ""), (), (), (), inputs, initials, body, outputs)


def mistakes(built, **env):
    """Codes and messages of what the audit finds."""
    try:
        audit_indices(built, env)
    except ProgramError as error:
        return [(d.code, d.message) for d in error.diagnostics]
    return []


# --- order ---------------------------------------------------------------------------------------------------


def test_a_recursion_that_starts_is_accepted():
    h = family("h")
    assert mistakes(program(store(h, ZERO), loop(t, T, load(h, plus(t, -1)), store(h, t), start=ONE)), T=5) == []


def test_reading_the_element_that_is_assigned_next():
    h = family("h", 2)
    body = program(loop(t, T, loop(a, P, load(h, plus(t, 1), a), store(h, t, a))))
    assert mistakes(body, T=5, P=3) == [("TP602", "h[1, 0] is read before it is assigned (t = 0, a = 0)")]


def test_reading_what_is_never_assigned():
    h = family("h")
    body = program(loop(t, T, store(h, t)), loop(a, plus(T, 1), load(h, a)))
    assert mistakes(body, T=3) == [("TP602", "h[3] is read but never assigned (a = 3)")]


def test_a_name_assigned_only_in_a_loop_that_does_not_run():
    x = family("x", 0)
    body = program(loop(t, T, store(x)), load(x))
    assert mistakes(body, T=1) == []
    assert mistakes(body, T=0) == [("TP602", "x is read but never assigned")]


def test_descending_loops():
    g = family("g")
    body = program(store(g, T), loop(t, IntLit(-1), load(g, plus(t, 1)), store(g, t), start=plus(T, -1), step=-1))
    assert mistakes(body, T=4) == []
    ascending = program(store(g, T), loop(t, T, load(g, plus(t, 1)), store(g, t)))
    assert mistakes(ascending, T=4) == [("TP602", "g[1] is read before it is assigned (t = 0)")]


def test_branches():
    h = family("h")
    later = Comparison(">", t, ZERO)
    guarded = program(loop(t, T, If(later, (load(h, plus(t, -1)),), ()), store(h, t)))
    assert mistakes(guarded, T=4) == []
    otherwise = program(loop(t, T, If(later, (), (load(h, t),)), store(h, t)))
    assert mistakes(otherwise, T=4) == [("TP602", "h[0] is read before it is assigned (t = 0)")]


def test_conditions_stop_early_as_in_python():
    order = Input("order", (T,), "int")
    seen = Comparison("==", IntLoad("order", (plus(t, -1),)), ONE)
    h = family("h")
    body = program(loop(t, T, store(h, t), If(Logic("and", (Comparison(">", t, ZERO), seen)), (load(h, t),), ())),
                   inputs=(order,))
    assert mistakes(body, T=3, order=np.array([0, 1, 0])) == []
    unguarded = program(loop(t, T, If(seen, (), ())), inputs=(order,))
    assert mistakes(unguarded, T=3, order=np.array([0, 1, 0]))[0][0] == "TP601"


def test_indices_from_integer_inputs():
    f = family("f")
    body = program(loop(t, T, store(f, IntLoad("ids", (t,))), load(f, IntLoad("ids", (plus(T, -1),)))))
    assert mistakes(body, T=3, ids=np.array([2, 0, 2])) == []
    assert mistakes(body, T=3, ids=np.array([1, 0, 2])) == [
        ("TP602", "f[2] is read before it is assigned (t = 0)")]


def test_accumulation_needs_an_assignment_unless_hidden():
    user, hidden = family("u"), family("u", role="hidden")
    assert mistakes(program(Accum(user, (ZERO,), Var("x", SCALAR)))) == [("TP602", "u[0] is read but never assigned")]
    assert mistakes(program(Accum(hidden, (ZERO,), Var("x", SCALAR)))) == []


def test_a_matrix_may_not_read_itself_before_it_exists():
    w = family("W1", 0, type=MatrixType("n", "n"))
    body = program(MatStore(w, (), (MatrixTerm(None, w, ()),)))
    assert mistakes(body) == [("TP602", "W1 is read before it is assigned")]


def test_whole_axes_of_a_family():
    f = family("f", 2)
    square = program(loop(t, T, loop(a, P, store(f, t, a)), load(f, t)))
    assert mistakes(square, T=3, P=4) == []
    triangle = program(loop(t, T, loop(a, plus(t, 1), store(f, t, a)), load(f, t)))
    assert mistakes(triangle, T=3) == [("TP602", "f[0, 1] is read but never assigned (t = 0)")]
    part = program(loop(t, T, loop(a, plus(t, 1), store(f, t, a)), load(f, t, Range(ZERO, plus(t, 1)))))
    assert mistakes(part, T=3) == []


def test_outputs():
    f, g = family("f"), family("g", 0)
    body = program(loop(t, T, store(f, t), store(g), start=ONE), outputs=(Output("f", f), Output("g", g)))
    assert mistakes(body, T=3) == []
    assert unassigned_outputs(body, {"T": 3})["f"].tolist() == [True, False, False]
    assert mistakes(body, T=1) == [("TP602", "the output 'g' is never assigned")]


def test_the_note_points_at_the_assignment_and_loops_have_their_written_names():
    h = family("h")
    renamed = IntSym("t_1", "loop")
    source = Source("test.tp", "for t in range(T): h[t] = h[t+1]")
    body = (loop(renamed, T, load(h, plus(renamed, 1)), store(h, renamed)),)
    found = pytest.raises(ProgramError, audit_indices, Program(source, (), (), (), (), (), body, ()), {"T": 3}).value
    assert found.diagnostics[0].message.endswith("(t = 0)")


# --- ranges --------------------------------------------------------------------------------------------------


def test_declared_families_have_their_extents():
    w = family("W", 1, "initial", MatrixType("n", "n"))
    initial = Initial(w, Law("zero"), (P,))
    body = program(loop(t, plus(P, 1), MatStore(w, (t,), ())), initials=(initial,))
    assert mistakes(body, P=2) == [("TP601", "index 2 is out of range for 'W', whose indices are 0 to 1 (t = 2)")]
    negative = program(loop(t, P, MatStore(w, (plus(t, -1),), ())), initials=(initial,))
    assert mistakes(negative, P=2) == [("TP601", "index -1 is out of range for 'W', whose indices are 0 to 1 (t = 0)")]


def test_finite_axes_of_an_element():
    u = Cell("u", TensorType("n", (P,)), 1, "u", "initial")
    body = program(loop(t, T, loop(a, T, load(u, t, a))), initials=(Initial(u, Law("zero"), (T,)),))
    assert mistakes(body, T=2, P=2) == []
    assert mistakes(body, T=3, P=2) == [
        ("TP601", "index 2 is out of range for axis 1 of 'u', whose indices are 0 to 1 (t = 0, a = 2)")]


def test_negative_indices_of_user_families():
    h = family("h")
    assert mistakes(program(store(h, ZERO), loop(t, T, load(h, plus(t, -1)))), T=1) == [
        ("TP601", "index -1 of 'h' is negative (t = 0)")]
    assert mistakes(program(loop(t, T, store(h, plus(t, -1)))), T=2) == [
        ("TP601", "index -1 of 'h' is negative (t = 0)")]


def test_inputs_and_temporaries():
    x = Let(Var("v", TensorType(None, (P,))), InputRef("X", (t,)))
    body = program(loop(t, T, x, Let(Var("w", SCALAR), Pick(x.var, (plus(t, 1),)))))
    assert mistakes(body, T=2, P=3, X=np.zeros((2, 3))) == []
    assert mistakes(body, T=2, P=2, X=np.zeros((2, 2))) == [
        ("TP601", "index 2 is out of range for the array, whose indices are 0 to 1 (t = 1)")]
    assert mistakes(body, T=3, P=4, X=np.zeros((2, 4)))[0][1] == (
        "index 2 is out of range for the input 'X', whose indices are 0 to 1 (t = 2)")


def test_slices():
    v = Let(Var("v", TensorType(None, (plus(t, 1),))), InputRef("y", (Range(None, plus(t, 1)),)))
    body = program(loop(t, T, v))
    assert mistakes(body, T=3, y=np.zeros(3)) == []
    assert mistakes(body, T=4, y=np.zeros(3)) == [
        ("TP601", "the slice 0:4 does not fit the input 'y', which has length 3 (t = 3)")]


def test_integer_arithmetic():
    quotient = Let(Var("q", SCALAR), FromInt(IntBin("//", T, plus(t, -2))))
    assert mistakes(program(loop(t, T, quotient)), T=4) == [("TP603", "integer division by zero in `//` (t = 2)")]
    power = Let(Var("q", SCALAR), FromInt(IntBin("**", IntLit(2), t)))
    assert mistakes(program(loop(t, T, power)), T=10) == []
    assert mistakes(program(loop(t, T, power)), T=65)[0][0] == "TP603"


def test_an_entry_used_as_a_loop_bound():
    body = program(loop(t, T, loop(a, IntLoad("count", (plus(t, 1),)), Let(Var("c", SCALAR), Const(Fraction(1))))))
    assert mistakes(body, T=2, count=np.array([1, 2])) == [
        ("TP601", "index 2 is out of range for the input 'count', whose indices are 0 to 1 (t = 1)")]


# --- extents -------------------------------------------------------------------------------------------------


def test_family_extents():
    f, g, w = family("f", 2), family("g", 1), family("w", 1, "initial")
    body = program(loop(t, T, loop(a, t, store(f, t, a))), load(g, ZERO), initials=(Initial(w, Law("zero"), (P,)),))
    assert family_extents(body, {"T": 4, "P": 7}) == {f: (4, 3), g: (0,), w: (7,)}
    assert family_extents(body, {"T": 0, "P": 7})[f] == (0, 0)


def test_extents_include_hidden_accumulators():
    hidden = family("adjoint", 1, "hidden")
    body = program(loop(t, T, Accum(hidden, (t,), Var("x", SCALAR))))
    assert family_extents(body, {"T": 4}) == {hidden: (4,)}


# --- size ----------------------------------------------------------------------------------------------------


def test_millions_of_instances_are_quick():
    h = family("h", 2)
    body = program(loop(a, P, store(h, ZERO, a)),
                   loop(t, T, loop(a, P, loop(b, P, load(h, plus(t, -1), b)), store(h, t, a)), start=ONE))
    begin = time.perf_counter()
    assert mistakes(body, T=1500, P=1500) == []
    assert time.perf_counter() - begin < 5
    late = program(body.body[0], loop(t, T, loop(a, P, load(h, t, IntBin("//", plus(a, t), IntLit(2)))),
                                      loop(a, P, store(h, t, a)), start=ONE))
    assert mistakes(late, T=1500, P=1500)[0][1] == "h[1, 0] is read before it is assigned (t = 1, a = 0)"


def test_the_range_test_survives_huge_spaces():
    x = Let(Var("v", SCALAR), InputRef("X", (a, b)))
    body = program(loop(t, IntLit(10**9), loop(a, P, loop(b, P, x))))
    assert mistakes(body, P=30, X=np.zeros((30, 30))) == []
    assert mistakes(body, P=31, X=np.zeros((31, 30)))[0][1].endswith("(t = 0, a = 0, b = 30)")


# --- against a plain interpreter -----------------------------------------------------------------------------


class Failed(Exception):
    """The first failing access of a run."""


def run_plainly(statements, env, stored):
    """Execute index by index; raises Failed for an access that the audit must find."""
    for s in statements:
        match s:
            case For(var, start, stop, step, body):
                for value in range(evaluate_int(start, env), evaluate_int(stop, env), step):
                    run_plainly(body, env | {var: value}, stored)
            case If(condition, then, orelse):
                run_plainly(then if evaluate_bool(condition, env) else orelse, env, stored)
            case Store(cell, items):
                stored.add((cell, checked(items, env)))
            case Let(op=Load(cell, items)):
                if (cell, checked(items, env)) not in stored:
                    raise Failed


def checked(items, env):
    indices = tuple(evaluate_int(item, env) for item in items)
    if min(indices) < 0:
        raise Failed
    return indices


class Maker:
    """Random nests of loops and branches over two families."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.cells = [family("f", 1), family("g", 2)]
        self.count = 0

    def index(self, variables):
        pick = self.random.random()
        base = self.random.choice(variables) if variables and pick < 0.8 else IntLit(self.random.randint(0, 3))
        if pick < 0.1:
            base = IntLoad("ids", (IntBin("%", plus(base, 8), IntLit(4)),))
        offset = self.random.choice([0, 0, 0, 1, -1])
        return plus(base, offset) if offset else base

    def statement(self, variables, depth):
        kind = self.random.random()
        if depth < 3 and kind < 0.35:
            self.count += 1
            var = IntSym(f"i{self.count}", "loop")
            down = self.random.random() < 0.2
            start, stop = IntLit(self.random.randint(0, 1)), self.index(variables)
            body = self.block([*variables, var], depth + 1)
            return For(var.name, stop, plus(start, -1), -1, body) if down else For(var.name, start, stop, 1, body)
        if depth < 3 and kind < 0.45 and variables:
            condition = Comparison(self.random.choice(["<", "==", ">="]), self.index(variables), self.index(variables))
            return If(condition, self.block(variables, depth + 1), self.block(variables, depth + 1))
        cell = self.random.choice(self.cells)
        items = [self.index(variables) for _ in range(cell.rank)]
        return store(cell, *items) if self.random.random() < 0.6 else load(cell, *items)

    def block(self, variables, depth):
        return tuple(self.statement(variables, depth) for _ in range(self.random.randint(1, 4)))


@pytest.mark.parametrize("chunk", range(10))
def test_random_programs_agree_with_a_plain_interpreter(chunk, monkeypatch):
    if chunk % 2:
        monkeypatch.setattr("tensorprog.iterations.PIECE", 3)
    verdicts = set()
    for seed in range(chunk * 150, chunk * 150 + 150):
        body = Maker(seed).block([], 0)
        env = {"ids": np.array([2, 0, 1, 3])}
        try:
            run_plainly(body, env, set())
            good = True
        except Failed:
            good = False
        found = mistakes(program(*body), **env)
        assert (not found) == good, (seed, found)
        assert all(re.fullmatch("TP60[12]", code) for code, _ in found)
        verdicts.add(good)
    assert verdicts == {True, False}
