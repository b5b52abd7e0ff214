"""The finite-width interpreter against NumPy, central differences, and itself (blocks against one by one)."""

import gc
import itertools
from fractions import Fraction

import numpy as np
import pytest

from tensorprog.diagnostics import ProgramError, Source, Span
from tensorprog.finite import simulate
from tensorprog.finite.blockable import blockable
from tensorprog.finite.initials import draw_initial
from tensorprog.finite.interpreter import Interpreter
from tensorprog.finite.tape import TapeNode, plain
from tensorprog.ir.functions import NONLINEARITIES as UNARY
from tensorprog.ir.integers import Comparison, IntLit, IntLoad, IntSym, int_bin
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    ConstExpr,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    GradStmt,
    If,
    Initial,
    InputRef,
    Law,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Moment,
    OuterTerm,
    Output,
    ParamRef,
    Pick,
    Place,
    Program,
    Range,
    Size,
    Store,
    SumAxis,
    TensorType,
    Var,
    Width,
    WidthConst,
    Zero,
)

N = TensorType("n")
NN = MatrixType("n", "n")
P = IntSym("P", "size")
D = IntSym("d", "size")
T = IntSym("T", "size")
SPAN = Span(1, 1, 1, 2)


def loop_var(name):
    return IntSym(name, "loop")


def shaped(*shape, width=None):
    return TensorType(width, shape)


def number(value):
    return ConstExpr("num", leaf=float(value))


def normal(variance):
    return Law("normal", (number(0), variance))


def over_width(value=1.0, width="n"):
    return ConstExpr("/", (number(value), ConstExpr("width", leaf=width)))


class Builder:
    """Builds a program statement by statement; `loop` and `branch` open nested blocks."""

    def __init__(self):
        self.bodies = [[]]
        self.initials = []
        self.outputs = []
        self.count = itertools.count()

    def emit(self, statement):
        self.bodies[-1].append(statement)

    def let(self, kind, op):
        var = Var(f"v{next(self.count)}", kind)
        self.emit(Let(var, op, span=SPAN))
        return var

    def cell(self, name, kind=SCALAR, rank=0, role="user"):
        return Cell(name, kind, rank, name, role)

    def initial(self, name, kind, law, extents=()):
        cell = self.cell(name, kind, len(extents), "initial")
        self.initials.append(Initial(cell, law, extents))
        return cell

    def const(self, value):
        return self.let(SCALAR, Const(Fraction(value)))

    def fn(self, name, *args, order=0):
        shape = next((a.type.shape for a in args if a.type.shape), ())
        width = next((a.type.width for a in args if a.type.width), None)
        return self.let(TensorType(width, shape), Elementwise(name, args, order))

    def load(self, cell, *items, kind=None):
        return self.let(kind or cell.type, Load(cell, items))

    def input(self, name, *items, shape=()):
        return self.let(TensorType(None, shape), InputRef(name, items))

    def matmul(self, matrix, arg, *items, transposed=False):
        return self.let(N, MatMul(matrix, items, transposed, arg))

    def moment(self, arg):
        return self.let(TensorType(None, arg.type.shape), Moment(arg))

    def first_layer(self, cell, xi):
        u = self.load(cell)
        return self.let(N, Contract(u, "i", xi, "i", ""))

    def store(self, cell, value, *items):
        self.emit(Store(cell, items, value, span=SPAN))

    def accum(self, cell, value, *items):
        self.emit(Accum(cell, items, value, span=SPAN))

    def matrix(self, cell, *terms, add=False, items=()):
        self.emit((MatAccum if add else MatStore)(cell, items, terms, span=SPAN))

    def grad(self, scalar, wrt, scalar_items=(), wrt_items=()):
        target = self.cell(f"g{next(self.count)}", wrt.type, role="hidden")
        self.emit(GradStmt(target, scalar, scalar_items, wrt, wrt_items, span=SPAN))
        return target

    def block(self, write):
        self.bodies.append([])
        write()
        return tuple(self.bodies.pop())

    def loop(self, stop, write, *, start=IntLit(0), step=1, parallel=False):
        name = f"i{next(self.count)}"
        body = self.block(lambda: write(loop_var(name)))
        self.emit(For(name, start, stop, step, body, parallel, span=SPAN))

    def output(self, cell, name=None):
        self.outputs.append(Output(name or cell.name, cell))

    def program(self, inputs=()):
        widths = (Width("n", None, "n"), Width("m", number(2), "n"))
        sizes = tuple(Size(name, None) for name in ("P", "d", "T"))
        return Program(Source("test.tp", "x\n"), widths, sizes, (), inputs, tuple(self.initials), tuple(self.bodies[0]),
                       tuple(self.outputs))


def run(builder, env=None, *, width=5, seeds=0, **options):
    return simulate(builder.program(), env or {}, width=width, seeds=seeds, **options)


# --- values --------------------------------------------------------------------------------------------------


def test_initial_laws_and_seeds():
    b = Builder()
    laws = {
        "normal": Law("normal", (number(3), number(4))),
        "rademacher": Law("rademacher"),
        "uniform": Law("uniform", (number(-1), number(3))),
        "bernoulli": Law("bernoulli", (number(0.25),)),
        "sparse": Law("sparse_normal", (number(0.5), number(2))),
        "constant": Law("constant", (number(7),)),
        "zero": Law("zero"),
    }
    for name, law in laws.items():
        v = b.initial(f"{name}_v", N, law)
        mean, square = b.cell(f"{name}_1"), b.cell(f"{name}_2")
        x = b.load(v)
        b.store(mean, b.moment(x))
        b.store(square, b.moment(b.fn("square", x)))
        b.output(mean)
        b.output(square)
    got = run(b, width=200_000, seeds=[0, 1])
    expected = {"normal": (3, 13), "rademacher": (0, 1), "uniform": (1, 7 / 3), "bernoulli": (0.25, 0.25),
                "sparse": (0, 1), "constant": (7, 49), "zero": (0, 0)}
    for name, (mean, square) in expected.items():
        assert got[f"{name}_1"] == pytest.approx([mean, mean], abs=0.03)
        assert got[f"{name}_2"] == pytest.approx([square, square], abs=0.09)
    again = run(b, width=200_000, seeds=1)
    assert again["normal_1"][0] == got["normal_1"][1] != got["normal_1"][0]


def test_streams_depend_on_names_only():
    def first(names):
        b = Builder()
        for name in names:
            cell, out = b.initial(name, N, normal(number(1)), (IntLit(2),)), b.cell(f"{name}_out", rank=1)
            for k in range(2):
                b.store(out, b.moment(b.load(cell, IntLit(k))), IntLit(k))
            b.output(out)
        return run(b)

    both, one = first("vw"), first("w")
    assert np.array_equal(both["w_out"], one["w_out"])
    assert len({*both["w_out"].flat, *both["v_out"].flat}) == 4


def test_widths_and_matmul_against_numpy():
    b = Builder()
    rectangular = b.initial("A", MatrixType("m", "n"), normal(over_width()))
    x = b.initial("x", N, normal(number(1)))
    fixed = b.initial("one", TensorType("m"), Law("constant", (number(1),)))
    y = b.let(TensorType("m"), MatMul(rectangular, (), False, b.load(x)))
    z = b.let(N, MatMul(rectangular, (), True, b.load(fixed)))
    names = {"left": b.moment(b.fn("mul", y, b.load(fixed))), "right": b.moment(b.fn("mul", z, b.load(x))),
             "wide": b.let(SCALAR, WidthConst("m"))}
    for name, value in names.items():
        cell = b.cell(name)
        b.store(cell, value)
        b.output(cell)
    got = run(b, width=6, seeds=3)
    assert got["wide"] == [12.0]
    assert 12 * got["left"] == pytest.approx(6 * got["right"])


@pytest.mark.parametrize("fn", UNARY)
def test_derivatives_of_primitives(fn):
    b = Builder()
    cells = [b.cell(f"o{k}", shaped(IntLit(3))) for k in range(3)]
    x = b.input("X", shape=(IntLit(3),))
    for order, cell in enumerate(cells):
        b.store(cell, b.fn(fn, x, order=order))
        b.output(cell)

    def at(points):
        return simulate(b.program(), {"X": points}, width=1, seeds=0)

    x_values = np.array([0.3, 1.1, 2.0])
    h = 1e-5
    for k in (0, 1):
        numeric = (at(x_values + h)[f"o{k}"] - at(x_values - h)[f"o{k}"]) / (2 * h)
        assert at(x_values)[f"o{k + 1}"] == pytest.approx(numeric, rel=1e-7, abs=1e-8)


def test_axes_operations():
    """Contract, SumAxis, Expand, Pick, Place, alignment of [K] with [n], slices, against NumPy."""
    b = Builder()
    u = b.initial("U", shaped(D, width="n"), Law("constant", (number(2),)))
    x = b.input("X", shape=(P, D))
    h = b.let(shaped(P, width="n"), Contract(x, "ai", b.load(u), "i", "a"))
    weights = b.input("X", Range(), IntLit(0), shape=(P,))
    scaled = b.fn("mul", weights, h)
    result = b.cell("result", shaped(P))
    b.store(result, b.moment(scaled))
    total = b.cell("total")
    b.store(total, b.moment(b.let(N, SumAxis(scaled, 0))))
    tail = b.let(shaped(IntLit(2)), Pick(b.let(shaped(D), Pick(x, (IntLit(1),))), (Range(IntLit(1), None),)))
    spread = b.let(shaped(IntLit(2), IntLit(4)), Expand(tail, 1, IntLit(4)))
    placed = b.cell("placed", shaped(IntLit(2), IntLit(6)))
    b.store(placed, b.let(placed.type, Place(spread, (Range(), Range(IntLit(1), IntLit(5))), placed.type.shape)))
    for cell in (result, total, placed):
        b.output(cell)
    data = np.arange(6.0).reshape(2, 3)
    got = run(b, {"P": 2, "d": 3, "X": data})
    assert got["result"][0] == pytest.approx(data[:, 0] * (2 * data.sum(1)))
    assert got["total"][0] == pytest.approx((data[:, 0] * (2 * data.sum(1))).sum())
    expected = np.zeros((2, 6))
    expected[:, 1:5] = data[1, 1:, None]
    assert np.array_equal(got["placed"][0], expected)


def test_families_control_flow_and_nan():
    b = Builder()
    f = b.cell("f", rank=2)

    def body(i):
        def even():
            b.store(f, b.let(SCALAR, FromInt(int_bin("*", i, i))), i, IntLit(1))

        then = b.block(even)
        b.emit(If(Comparison("==", int_bin("%", i, IntLit(2)), IntLit(0)), then, ()))

    b.loop(IntLit(-1), body, start=IntLit(4), step=-1)
    b.output(f)
    got = run(b)["f"]
    assert got.shape == (1, 5, 2)
    assert np.array_equal(got[0], [[np.nan, 0], [np.nan] * 2, [np.nan, 4], [np.nan] * 2, [np.nan, 16]], equal_nan=True)


def test_family_slices_and_partial_stores():
    b = Builder()
    f, part, grid = b.cell("f", rank=2), b.cell("part", shaped(IntLit(2))), b.cell("grid", shaped(IntLit(2), IntLit(3)))
    b.loop(IntLit(2), lambda i: b.loop(IntLit(3), lambda j: b.store(
        f, b.let(SCALAR, FromInt(int_bin("+", int_bin("*", IntLit(10), i), j))), i, j)))
    b.store(part, b.load(f, IntLit(1), Range(IntLit(1), None), kind=part.type))
    whole = b.load(f, kind=grid.type)
    b.store(grid, whole)
    b.store(grid, b.const(-1), IntLit(0), IntLit(2))
    b.accum(grid, b.const(5), IntLit(1), Range(IntLit(0), IntLit(2)))
    b.accum(f, whole)
    for cell in (f, part, grid):
        b.output(cell)
    got = run(b)
    assert np.array_equal(got["part"][0], [11, 12])
    assert np.array_equal(got["grid"][0], [[0, 1, -1], [15, 16, 12]])
    assert np.array_equal(got["f"][0], [[0, 2, 4], [20, 22, 24]])


def test_hidden_cells_accumulate_from_zero_and_others_do_not():
    b = Builder()
    hidden = b.cell("hidden", shaped(IntLit(2)), rank=1, role="hidden")
    b.accum(hidden, b.const(3), IntLit(1), IntLit(0))
    b.output(hidden)
    assert np.array_equal(run(b)["hidden"][0], [[np.nan, np.nan], [3, 0]], equal_nan=True)
    user = b.cell("user")
    b.accum(user, b.const(3))
    with pytest.raises(ProgramError) as caught:
        run(b)
    assert [(d.code, d.span) for d in caught.value.diagnostics] == [("TP601", SPAN)]


def test_zero_and_typed_constants():
    b = Builder()
    hidden = b.cell("hidden", N, rank=1, role="hidden")
    m, v = b.cell("M", NN, role="hidden"), b.initial("v", N, Law("constant", (number(1),)))
    b.store(hidden, b.let(N, Const(7)), IntLit(1))
    b.matrix(m, OuterTerm(None, b.load(v), b.load(v)))
    first, second, product = b.cell("first", shaped(IntLit(3))), b.cell("second", shaped(IntLit(3))), b.cell("product")
    b.accum(hidden, b.const(1), IntLit(0))
    b.accum(hidden, b.const(2), IntLit(2))
    stacked = b.load(hidden, kind=shaped(IntLit(3), width="n"))
    b.store(first, b.moment(stacked))
    b.emit(Zero(hidden))
    b.emit(Zero(m))
    b.accum(hidden, b.const(5), IntLit(1))
    b.store(second, b.moment(b.load(hidden, kind=stacked.type)))
    b.store(product, b.moment(b.matmul(m, b.load(v))))
    for cell in (first, second, product):
        b.output(cell)
    got = run(b)
    assert got["first"][0] == pytest.approx([1, 7, 2])
    assert got["second"][0].tolist() == [0, 5, 0]
    assert got["product"] == [0]


def test_cells_at_home_in_a_loop_are_new_in_each_iteration():
    b = Builder()
    local = Cell("local", SCALAR, 1, "local", "user", None, ("t",))

    def body():
        then = b.block(lambda: b.store(local, b.const(1), IntLit(0)))
        b.emit(If(Comparison("==", loop_var("t"), IntLit(0)), then, ()))
        b.load(local, IntLit(0))

    b.emit(For("t", IntLit(0), IntLit(2), 1, b.block(body)))
    with pytest.raises(ProgramError, match=r"local\[0\]"):
        run(b)


@pytest.mark.parametrize("index", [-1, 2, 5])
@pytest.mark.parametrize("access", ["load", "store_initial", "input", "entry", "pick"])
@pytest.mark.parametrize("parallel", [False, True])
def test_bad_indices(index, access, parallel):
    b = Builder()
    w = b.initial("w", N, normal(number(1)), (IntLit(2),))
    hidden = b.cell("sum", role="hidden")

    def body(i):
        at = int_bin("+", i, IntLit(index))
        match access:
            case "load":
                b.load(w, at)
            case "store_initial":
                b.store(w, b.load(w, IntLit(0)), at)
            case "input":
                b.input("X", at)
            case "entry":
                b.accum(hidden, b.input("X", IntLoad("ids", (at,))))
            case "pick":
                b.let(SCALAR, Pick(b.input("X", shape=(IntLit(2),)), (at,)))

    b.loop(IntLit(1), body, parallel=parallel)
    env = {"X": np.zeros(2), "ids": np.zeros(2, int)}
    with pytest.raises(ProgramError) as caught:
        run(b, env)
    assert caught.value.diagnostics[0].code == "TP601" and caught.value.diagnostics[0].span == SPAN


def test_divergence_goes_on():
    b = Builder()
    out = b.cell("out")
    b.store(out, b.fn("exp", b.const(10_000)))
    b.output(out)
    assert np.isinf(run(b)["out"][0])


def test_copies_are_independent():
    """A loaded value, or a copied matrix, is not touched by later updates in place."""
    b = Builder()
    w = b.initial("W", NN, Law("constant", (number(1),)))
    copy = b.cell("W1", NN)
    v = b.initial("v", N, Law("constant", (number(1),)))
    one = b.load(v)
    b.matrix(w, OuterTerm(None, one, one), add=True)
    b.matrix(copy, MatrixTerm(None, w, ()))
    b.accum(v, one)
    before = b.load(v)
    for _ in range(2):
        b.matrix(w, OuterTerm(None, one, one), add=True)
        b.accum(v, one)
    values = {"copy": b.matmul(copy, one), "new": b.matmul(w, one), "before": before, "after": b.load(v)}
    for name, value in values.items():
        out = b.cell(name)
        b.store(out, b.moment(value))
        b.output(out)
    got = run(b, width=5)
    assert {name: float(value[0]) for name, value in got.items()} == {"copy": 10, "new": 20, "before": 2, "after": 4}


# --- gradients -----------------------------------------------------------------------------------------------


def probe(b):
    """A random vector that is not differentiated."""
    return b.initial("probe", N, normal(number(1)))


def final(program, cell, width, shifted=None, delta=0.0):
    """The array that a cell of rank 0 holds after a run in which the element `shifted` (cell, index) starts at its draw
    plus `delta`."""
    interpreter = Interpreter(program, ENV, width, 0, True)
    storage = interpreter.storage
    if shifted is not None:
        storage.declare(*shifted, plain(storage.borrow(*shifted)) + delta)
    interpreter.run()
    return plain(storage.borrow(cell, ()))


def central_differences(program, loss, wrt, key, width, h=1e-5):
    """The gradient of the final value of the scalar cell `loss` with respect to the initial value of `wrt[key]`."""
    shape = (width,) if wrt.type == N else (width, width)
    result = np.zeros(shape)
    for index in np.ndindex(*shape):
        step = np.zeros(shape)
        step[index] = h
        up, down = (final(program, loss, width, (wrt, key), sign * step) for sign in (1, -1))
        result[index] = (up - down) / (2 * h)
    return result


ENV = {"P": 3, "d": 2, "T": 3, "X": np.random.default_rng(0).standard_normal((3, 2)), "y": np.array([0.3, -0.2, 0.9]),
       "ids": np.array([1, 1, 0])}


def check_gradient(write, width=5):
    """`write(b)` builds a scalar cell `loss` and returns it with (wrt cell, wrt index); compare with differences."""
    b = Builder()
    loss, wrt, key = write(b)
    target = b.grad(loss, wrt, wrt_items=tuple(IntLit(k) for k in key))
    got = final(b.program(), target, width)
    numeric = central_differences(b.program(), loss, wrt, key, width)
    assert np.abs(numeric).max() > 1e-4
    assert got == pytest.approx(numeric, rel=1e-6, abs=1e-8)


def network(b, w, v, h):
    return b.moment(b.fn("mul", b.load(v), b.fn("tanh", b.matmul(w, b.fn("tanh", h)))))


def declare_network(b):
    return (b.initial("U", shaped(D, width="n"), normal(number(1))), b.initial("W", NN, normal(over_width(2))),
            b.initial("v", N, normal(number(1))))


@pytest.mark.parametrize("which", ["W", "v"])
def test_gradient_of_a_loss_accumulated_in_a_loop(which):
    def write(b):
        u, w, v = declare_network(b)
        loss = b.cell("loss")
        b.store(loss, b.const(0))

        def body(a):
            f = network(b, w, v, b.first_layer(u, b.input("X", a, shape=(D,))))
            b.accum(loss, b.fn("square", b.fn("sub", f, b.input("y", a))))

        b.loop(P, body)
        return loss, {"W": w, "v": v}[which], ()

    check_gradient(write)


@pytest.mark.parametrize("fn", UNARY)
def test_gradient_of_each_unary_primitive(fn):
    def write(b):
        v = b.initial("v", N, Law("uniform", (number(0.5), number(2))))
        shift = b.fn("add", b.load(v), b.load(probe(b)) if fn not in ("log", "sqrt") else b.const(1))
        loss = b.cell("loss")
        b.store(loss, b.moment(b.fn("add", b.fn("mul", b.fn(fn, shift), b.load(v)), b.fn(fn, b.load(v), order=1))))
        return loss, v, ()

    check_gradient(write)


@pytest.mark.parametrize("fn", ["add", "sub", "mul", "div", "pow", "max", "min"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("other", ["vector", "scalar", "self"])
def test_gradient_of_each_binary_primitive(fn, side, other):
    def write(b):
        v = b.initial("v", N, Law("uniform", (number(0.5), number(2))))
        x = b.load(v)
        q = {"vector": lambda: b.load(b.initial("q", N, Law("uniform", (number(0.5), number(2))))),
             "scalar": lambda: b.const(Fraction(6, 5)), "self": lambda: b.moment(x)}[other]()
        loss = b.cell("loss")
        b.store(loss, b.moment(b.fn("exp", b.fn(fn, *((x, q) if side == 0 else (q, x))))))
        return loss, v, ()

    check_gradient(write)


def test_ties_of_maximum_go_to_the_second_argument():
    for fn in ("max", "min"):
        for swap in (False, True):
            b = Builder()
            v, one = b.initial("v", N, Law("constant", (number(1),))), b.const(1)
            loss = b.cell("loss")
            b.store(loss, b.moment(b.fn(fn, *((one, b.load(v)) if swap else (b.load(v), one)))))
            target = b.grad(loss, v)
            assert final(b.program(), target, 4) == pytest.approx(np.full(4, 0.25 if swap else 0.0))


def test_gradient_through_axes_and_family_slices():
    def write(b):
        w = b.initial("w", N, normal(number(1)), (IntLit(2),))
        family = b.cell("h", N, rank=1)
        for k in range(3):
            b.store(family, b.fn("tanh", b.load(w, IntLit(k % 2))), IntLit(k))
        stacked = b.load(family, kind=shaped(P, width="n"))
        x = b.input("X", shape=(P, D))
        mixed = b.let(shaped(D, width="n"), Contract(stacked, "a", x, "ai", "i"))
        picked = b.let(N, Pick(mixed, (IntLit(1),)))
        placed = b.let(shaped(P, width="n"), Place(mixed, (Range(IntLit(1), IntLit(3)),), (P,)))
        spread = b.let(shaped(P, width="n"), Expand(picked, 0, P))
        both = b.fn("mul", b.fn("add", placed, b.input("y", shape=(P,))), spread)
        squares = b.let(SCALAR, Contract(b.moment(both), "a", b.input("y", shape=(P,)), "a", ""))
        loss = b.cell("loss")
        b.store(loss, b.fn("add", squares, b.moment(b.fn("sin", b.let(N, SumAxis(both, 0))))))
        return loss, w, (1,)

    check_gradient(write)


def test_gradient_through_reassigned_and_partly_written_cells():
    def write(b):
        v, w = b.initial("v", N, normal(number(1))), b.initial("W", NN, normal(over_width()))
        h, rows = b.cell("h", N), b.cell("rows", shaped(IntLit(2), width="n"))
        b.store(h, b.load(v))
        b.loop(T, lambda t: (b.store(h, b.fn("tanh", b.matmul(w, b.load(h), transposed=True))), b.accum(h, b.load(v))))
        b.store(rows, b.let(rows.type, Expand(b.load(v), 0, IntLit(2))))
        b.store(rows, b.load(h), IntLit(1))
        b.accum(rows, b.fn("square", b.load(h)), IntLit(0))
        loss = b.cell("loss")
        b.store(loss, b.moment(b.fn("mul", b.load(rows, IntLit(0), kind=N), b.load(rows, IntLit(1), kind=N))))
        return loss, v, ()

    check_gradient(write)


@pytest.mark.parametrize("which", ["W", "v"])
def test_gradient_through_matrix_updates(which):
    """Matrix linear combinations: to the matrix, to a coefficient, to the operands of an outer product."""
    def write(b):
        v, w = b.initial("v", N, normal(number(1))), b.initial("W", NN, normal(over_width()))
        m = b.cell("M", NN)
        x = b.load(v)
        size = b.moment(b.fn("square", x))
        b.matrix(m, MatrixTerm(size, w, (), True), OuterTerm(size, x, b.fn("tanh", x)), MatrixTerm(None, w, ()))

        def body(t):
            z = b.matmul(m, b.load(v))
            b.matrix(m, OuterTerm(b.const(Fraction(1, 10)), z, b.load(v)), MatrixTerm(b.moment(z), w, ()), add=True)

        b.loop(IntLit(2), body)
        loss = b.cell("loss")
        b.store(loss, b.moment(b.fn("sin", b.matmul(m, x))))
        return loss, {"W": w, "v": v}[which], ()

    check_gradient(write)


@pytest.mark.parametrize("which", ["W", "v"])
def test_gradient_through_gradient(which):
    """One step of gradient descent on v and W inside, then the gradient of the new loss; W itself is a copy."""
    def write(b):
        v, w = b.initial("v", N, normal(number(1))), b.initial("W", NN, normal(over_width(2)))
        v1, w1, inner = b.cell("v1", N), b.cell("W1", NN), b.cell("inner")
        x = b.load(probe(b))
        b.store(inner, b.fn("square", network(b, w, v, x)))
        gv, gw = b.grad(inner, v), b.grad(inner, w)
        b.store(v1, b.fn("sub", b.load(v), b.fn("mul", b.const(2), b.load(gv))))
        b.matrix(w1, MatrixTerm(None, w, ()), MatrixTerm(b.const(-3), gw, ()))
        loss = b.cell("loss")
        b.store(loss, network(b, w1, v1, x))
        return loss, {"W": w, "v": v}[which], ()

    check_gradient(write)


def test_gradient_is_plain():
    b = Builder()
    v, x, loss = b.initial("v", N, normal(number(1))), b.initial("x", N, Law("constant", (number(3),))), b.cell("loss")
    b.store(loss, b.moment(b.fn("mul", b.load(v), b.load(x))))
    target = b.grad(loss, v)
    assert final(b.program(), target, 5) == pytest.approx(np.full(5, 3 / 5))


def test_gradient_as_the_value_stood():
    """Neither later nor earlier updates of v matter: the version counts that the scalar was last stored under."""
    b = Builder()
    v, loss = b.initial("v", N, Law("constant", (number(2),))), b.cell("loss")
    b.store(v, b.fn("mul", b.load(v), b.const(3)))
    b.store(loss, b.moment(b.fn("square", b.load(v))))
    first = b.grad(loss, v)
    b.store(v, b.fn("mul", b.load(v), b.const(10)))
    second = b.grad(loss, v)
    b.store(loss, b.moment(b.load(v)))
    third = b.grad(loss, v)
    program = b.program()
    for cell, expected in ((first, 2 * 6 / 4), (second, 2 * 6 / 4), (third, 1 / 4)):
        assert final(program, cell, 4) == pytest.approx(np.full(4, expected))


def test_gradient_of_what_the_scalar_does_not_depend_on():
    b = Builder()
    v, w, loss = b.initial("v", N, normal(number(1))), b.initial("W", NN, normal(number(1))), b.cell("loss")
    b.store(loss, b.moment(b.load(v)))
    target = b.grad(loss, w)
    assert np.array_equal(final(b.program(), target, 3), np.zeros((3, 3)))


def test_gradient_with_respect_to_an_intermediate_family_element():
    """d loss / d h[1], where h[2] was computed from h[1] and h[1] from h[0]."""
    b = Builder()
    v, h, loss = b.initial("v", N, normal(number(1))), b.cell("h", N, rank=1), b.cell("loss", rank=1)
    b.store(h, b.load(v), IntLit(0))
    b.loop(IntLit(3), lambda t: b.store(h, b.fn("square", b.load(h, int_bin("-", t, IntLit(1)))), t), start=IntLit(1))
    b.store(loss, b.moment(b.load(h, IntLit(2))), IntLit(0))
    targets = [b.grad(loss, h, (IntLit(0),), (IntLit(k),)) for k in range(3)]
    program = b.program()
    x = values_of(program, v, 4)
    for target, expected in zip(targets, (4 * x**3, 2 * x**2, np.ones(4))):
        assert final(program, target, 4) == pytest.approx(expected / 4)


def values_of(program, cell, width):
    """The first element that a declared cell draws."""
    initial = next(i for i in program.initials if i.cell is cell)
    return next(draw_initial(program, initial, ENV, width, 0))[1]


def test_training_does_not_keep_the_history():
    """Superseded versions are dropped: after many steps only a bounded number of nodes is alive."""
    def alive(steps):
        b = Builder()
        v, loss = b.initial("v", N, normal(number(1))), b.cell("loss")

        def body(t):
            b.store(loss, b.moment(b.fn("square", b.load(v))))
            b.store(v, b.fn("sub", b.load(v), b.load(b.grad(loss, v))))

        b.loop(IntLit(steps), body)
        interpreter = Interpreter(b.program(), ENV, 4, 0, True)
        interpreter.run()
        gc.collect()
        return sum(type(o) is TapeNode for o in gc.get_objects())

    assert alive(40) == alive(4)


def test_training_a_network_equals_numpy():
    """Full-batch gradient descent on all three layers, against the same written in NumPy."""
    b = Builder()
    u, w, v = declare_network(b)
    loss = b.cell("loss", rank=1)

    def step(t):
        b.store(loss, b.const(0), t)

        def sample(a):
            f = network(b, w, v, b.first_layer(u, b.input("X", a, shape=(D,))))
            b.accum(loss, b.fn("square", b.fn("sub", f, b.input("y", a))), t)

        b.loop(P, sample)
        gu, gw, gv = (b.grad(loss, cell, (t,)) for cell in (u, w, v))
        rate = b.fn("neg", b.let(SCALAR, WidthConst("n")))
        b.accum(u, b.fn("mul", rate, b.load(gu)))
        b.matrix(w, MatrixTerm(b.const(-1), gw, ()), add=True)
        b.accum(v, b.fn("mul", rate, b.load(gv)))

    b.loop(T, step)
    b.output(loss)
    program = b.program()
    got = simulate(program, ENV, width=6, seeds=0)["loss"][0]
    start = (values_of(program, cell, 6) for cell in (u, w, v))
    assert got == pytest.approx(train_numpy(*start))


def train_numpy(u, w, v):
    """The losses of gradient descent from u [d, n], w [n, n], v [n]."""
    n, u, losses = len(v), u.T, []
    for _ in range(ENV["T"]):
        x1 = np.tanh(u @ ENV["X"].T)
        x2 = np.tanh(w @ x1)
        error = v @ x2 / n - ENV["y"]
        losses.append((error**2).sum())
        g2 = 2 * error / n * v[:, None] * (1 - x2**2)
        g1 = (w.T @ g2) * (1 - x1**2)
        u, w, v = u - n * g1 @ ENV["X"], w - g2 @ x1.T, v - n * x2 @ (2 * error / n)
    return losses


# --- blocks --------------------------------------------------------------------------------------------------


def check_blocks(write, monkeypatch):
    """Blocks, one by one, and blocks cut into small pieces agree on the outputs."""
    b = Builder()
    write(b)
    loops = [s for s in b.bodies[0] if isinstance(s, For)]
    assert any(blockable(x) for x in loops) or any(blockable(y) for x in loops for y in x.body if isinstance(y, For))
    slow = run(b, ENV, blocks=False)
    fast = run(b, ENV)
    monkeypatch.setattr("tensorprog.finite.blocks.MAX_ENTRIES", 12)
    pieces = run(b, ENV)
    for name, value in slow.items():
        assert value.shape == fast[name].shape == pieces[name].shape
        assert fast[name] == pytest.approx(value, nan_ok=True, rel=1e-11, abs=1e-12)
        assert pieces[name] == pytest.approx(value, nan_ok=True, rel=1e-11, abs=1e-12)


def test_blocks_training_by_hand(monkeypatch):
    """A forward and backward pass over the samples, with families, outer products and updates, in an outer loop."""
    def write(b):
        u, w, v = declare_network(b)
        h, f, dm, du = b.cell("h", N, 2), b.cell("f", rank=2), b.cell("dM", NN, role="hidden"), b.cell(
            "dU", u.type, role="hidden")
        loss = b.cell("loss", rank=1)

        def step(t):
            b.store(loss, b.const(0), t)
            zero = b.load(u)
            b.store(du, b.fn("sub", zero, zero))
            b.loop(P, lambda a: forward(t, a), parallel=True)
            b.loop(P, lambda a: backward(t, a), parallel=True)
            b.matrix(w, MatrixTerm(b.const(Fraction(-1, 100)), dm, ()), add=True)
            b.accum(u, b.fn("mul", b.const(Fraction(-1, 10)), b.load(du)))

        def forward(t, a):
            b.store(h, b.first_layer(u, b.input("X", a, shape=(D,))), t, a)
            value = network(b, w, v, b.load(h, t, a))
            b.store(f, value, t, a)
            b.accum(loss, b.fn("square", b.fn("sub", value, b.input("y", a))), t)

        def backward(t, a):
            error = b.fn("sub", b.load(f, t, a), b.input("y", a))
            x = b.fn("tanh", b.load(h, t, a))
            g = b.fn("mul", error, b.fn("tanh", b.matmul(w, x), order=1))
            b.matrix(dm, OuterTerm(b.const(1), g, x), OuterTerm(None, b.load(v), x),
                     OuterTerm(error, b.load(v), b.load(v)), MatrixTerm(error, w, (), True), add=True)
            gh = b.matmul(w, g, transposed=True)
            outer = b.let(u.type, Contract(gh, "", b.input("X", a, shape=(D,)), "i", "i"))
            b.accum(du, b.fn("div", b.fn("neg", b.fn("mul", b.const(3), outer)), b.const(7)))

        b.loop(T, step)
        for cell in (loss, f):
            b.output(cell)
        norm = b.cell("norm")
        b.store(norm, b.moment(b.matmul(w, b.load(v))))
        b.output(norm)

    check_blocks(write, monkeypatch)


def test_blocks_nested_pairs(monkeypatch):
    """A kernel over pairs of samples, with sums inside and outside, and iterations that do not matter."""
    def write(b):
        v, k, total = b.initial("v", N, normal(number(1))), b.cell("k", rank=2), b.cell("total")
        rows, vec = b.cell("rows", rank=1), b.cell("vec", N)
        x = b.cell("x", N, 1)
        b.store(total, b.const(0))
        b.store(vec, b.load(v))
        b.loop(P, lambda a: b.store(x, b.fn("mul", b.load(v), b.input("y", a)), a), parallel=True)

        def outer(a):
            b.store(rows, b.const(0), a)

            def inner(c):
                value = b.moment(b.fn("mul", b.load(x, a), b.load(x, c)))
                b.store(k, value, a, c)
                b.accum(rows, value, a)
                b.accum(total, b.const(1))
                b.accum(total, value)
                b.accum(vec, b.fn("mul", b.input("y", a), b.fn("mul", b.load(x, c), b.fn("tanh", b.load(x, a)))))

            b.loop(P, inner, parallel=True)

        b.loop(P, outer, parallel=True)
        out = b.cell("out")
        b.store(out, b.moment(b.load(vec)))
        for cell in (k, rows, total, out):
            b.output(cell)

    check_blocks(write, monkeypatch)


def test_blocks_private_cells(monkeypatch):
    """Cells written first in each iteration: state of an inner loop, a family, part of an array; the last survives."""
    def write(b):
        w, v = b.initial("W", NN, normal(over_width())), b.initial("v", N, normal(number(1)))
        h, scratch, rows = b.cell("h", N), b.cell("scratch", rank=1), b.cell("rows", shaped(IntLit(2)))
        f, fixed = b.cell("f", rank=1), b.cell("fixed")

        def body(a):
            b.store(h, b.load(v))
            b.store(fixed, b.const(4))
            b.store(rows, b.let(rows.type, Expand(b.const(1), 0, IntLit(2))))
            b.loop(T, lambda t: (
                b.store(scratch, b.moment(b.load(h)), t),
                b.store(h, b.fn("tanh", b.matmul(w, b.fn("mul", b.load(h), b.input("y", a))))),
                b.accum(h, b.load(v)),
                b.accum(rows, b.load(scratch, t), IntLit(1)),
            ))
            b.store(rows, b.input("y", a), IntLit(0))
            every = b.load(scratch, kind=shaped(T))
            total = b.let(SCALAR, SumAxis(every, 0))
            dot = b.let(SCALAR, Contract(b.load(rows), "i", b.load(rows), "i", ""))
            b.store(f, b.fn("add", b.fn("add", total, dot), b.moment(b.load(h))), a)

        b.loop(P, body, parallel=True)
        last = b.cell("last")
        b.store(last, b.moment(b.load(h)))
        for cell in (f, scratch, rows, fixed, last):
            b.output(cell)

    check_blocks(write, monkeypatch)


def test_blocks_private_accumulators(monkeypatch):
    """Hidden cells that are new in each iteration (by their home, or by Zero) accumulate without having been stored."""
    def write(b):
        v, f, g = b.initial("v", N, normal(number(1))), b.cell("f", rank=1), b.cell("g", rank=1)
        zeroed = b.cell("zeroed", N, 1, "hidden")
        local = Cell("local", N, 0, "local", "hidden", None, ("a",))

        def body():
            a = loop_var("a")
            b.emit(Zero(zeroed))

            def step(t):
                b.accum(local, b.fn("mul", b.load(v), b.input("y", a)))
                b.accum(zeroed, b.fn("mul", b.load(v), b.fn("add", b.input("y", a), b.let(SCALAR, FromInt(t)))), t)

            b.loop(T, step, parallel=True)
            b.accum(local, b.load(v))
            b.store(f, b.moment(b.fn("square", b.load(local))), a)
            everything = b.load(zeroed, kind=shaped(int_bin("+", T, IntLit(1)), width="n"))
            b.store(g, b.let(SCALAR, SumAxis(b.moment(b.fn("square", everything)), 0)), a)

        b.emit(For("a", IntLit(0), P, 1, b.block(body), True))
        b.output(f)
        b.output(g)

    check_blocks(write, monkeypatch)


def test_blocks_data_dependent_indices(monkeypatch):
    """Entries of an integer input as indices of finite axes and of families, read and accumulated with repetition."""
    def write(b):
        table = b.initial("E", shaped(D, width="n"), normal(number(1)))
        words = b.initial("w", N, normal(number(1)), (IntLit(2),))
        f, table_out, word_out = b.cell("f", rank=1), b.cell("t", shaped(D)), b.cell("wo", rank=1)

        delta, shift = b.cell("delta", table.type, role="hidden"), b.cell("shift", N, 1, "hidden")

        def body(a):
            at = IntLoad("ids", (a,))
            x = b.fn("add", b.load(table, at, kind=N), b.load(words, at))
            b.accum(delta, b.fn("mul", x, b.input("y", a)), at)
            b.accum(shift, b.fn("tanh", x), at)
            row = b.input("X", a, shape=(D,))
            b.store(f, b.fn("add", b.moment(x), b.let(SCALAR, Pick(row, (at,)))), a)
            placed = b.let(shaped(D, width="n"), Place(x, (at,), (D,)))
            b.accum(delta, placed)
            flat = b.let(shaped(IntLit(2)), Pick(b.input("X", shape=(P, D)), (a, Range())))
            b.accum(delta, b.let(table.type, Expand(b.let(N, Contract(flat, "i", b.load(table), "i", "")), 0, D)))
            b.accum(f, b.let(SCALAR, FromInt(int_bin("+", at, a))), a)

        b.loop(P, body, parallel=True)
        b.accum(table, b.load(delta))
        for k in (0, 1):
            b.accum(words, b.load(shift, IntLit(k)), IntLit(k))
        b.store(table_out, b.moment(b.load(table)))
        b.loop(IntLit(2), lambda k: b.store(word_out, b.moment(b.load(words, k)), k), parallel=True)
        for cell in (f, table_out, word_out):
            b.output(cell)

    check_blocks(write, monkeypatch)


def test_blocks_family_slices(monkeypatch):
    """Slices of families written inside a block, and written as slices."""
    def write(b):
        v, h, s = b.initial("v", N, normal(number(1))), b.cell("h", N, 2), b.cell("s", rank=2)
        out = b.cell("out", rank=1)

        def fill(a):
            b.loop(IntLit(2), lambda k: b.store(h, b.fn("mul", b.load(v), b.fn(
                "add", b.input("y", a), b.let(SCALAR, FromInt(k)))), a, k), parallel=True)
            row = b.load(h, a, kind=shaped(IntLit(2), width="n"))
            b.store(s, b.moment(row), a)
            b.accum(s, b.moment(b.fn("square", row)), a, Range())
            b.store(out, b.let(SCALAR, SumAxis(b.load(s, a, kind=shaped(IntLit(2))), 0)), a)

        b.loop(P, fill, parallel=True)
        b.output(s)
        b.output(out)

    check_blocks(write, monkeypatch)


def test_loops_that_stay_sequential():
    """Matrices selected by the variable, replaced matrices, triangular loops: same results, run one by one."""
    b = Builder()
    w, v = b.initial("W", NN, normal(over_width()), (P,)), b.initial("v", N, normal(number(1)))
    f, m, total = b.cell("f", rank=1), b.cell("M", NN), b.cell("total", role="hidden")
    b.loop(P, lambda a: b.store(f, b.moment(b.matmul(w, b.load(v), a)), a), parallel=True)
    b.loop(P, lambda a: b.matrix(m, MatrixTerm(b.input("y", a), w, (a,))), parallel=True)
    b.loop(P, lambda a: b.loop(a, lambda c: b.accum(total, b.input("y", c)), parallel=True), parallel=True)
    assert not any(blockable(s) for s in b.bodies[0])
    b.output(f)
    b.output(total)
    got = run(b, ENV)
    assert got["f"].shape == (1, 3)
    assert got["total"][0] == pytest.approx(2 * ENV["y"][0] + ENV["y"][1])


def test_progress_and_parameters():
    b = Builder()
    out = b.cell("out")
    b.store(out, b.let(SCALAR, ParamRef("eta")))
    b.output(out)
    calls = []
    got = run(b, {"eta": 0.5}, seeds=range(3), progress=lambda *at: calls.append(at))
    assert got["out"].tolist() == [0.5] * 3
    assert calls == [(1, 3), (2, 3), (3, 3)]
