"""Kernels over all pairs: closed forms, series and programs against quadrature, and what the driver promises."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref

import mpmath
import numpy as np
import pytest
import sympy
from pair_programs import (
    ERF,
    GELU,
    RELU,
    SIGMOID,
    SOFTPLUS,
    STEP,
    SWISH,
    TANH,
    X,
    dual,
    interpret,
    load,
    mlp_pair_program,
    two_point,
)

import tensorprog
from tensorprog.ir.integers import IntLit, IntSym, int_bin
from tensorprog.pairs.codegen import (
    AddTo,
    Diagonal,
    Gram,
    Number,
    PairLoop,
    PairProduct,
    PairProgram,
    Power,
    Quotient,
    Ref,
    RowInput,
    RunParameter,
    ScratchArray,
    Set,
    Sum,
    UnsupportedDual,
    emit_pair_kernel,
    restrict,
)
from tensorprog.pairs.codegen.arcsine import SERIES
from tensorprog.pairs.codegen.pieces import Piece, decompose
from tensorprog.runtime import pairs as runtime_pairs

NTP = {"sw2": 2.0, "sb2": 0.0, "scale": 0.5}


def test_polynomial_agrees_with_the_arcsine():
    for w in np.linspace(0, 0.25, 300)[1:]:
        root = mpmath.sqrt(mpmath.mpf(w))
        exact = mpmath.asin(root) / mpmath.sqrt(w * (1 - mpmath.mpf(w)))
        assert abs(1 + w * np.polynomial.polynomial.polyval(w, SERIES) - exact) < 4e-16


def dual_program(*pairs) -> PairProgram:
    """E[phi(u) psi(v)] for pairs of functions, with the Gram matrix as the covariance; outputs e0, e1, ..."""
    places = [Ref(f"e{k}") for k in range(len(pairs))]
    body = tuple(Set(e, dual(*pair)) for e, pair in zip(places, pairs))
    outputs = tuple((e.name, e) for e in places)
    return PairProgram("duals", (Gram("k", "X", "X"),), (), (), body, outputs, symmetric=False)


def rows_with(kaa: float, kab: float, kbb: float) -> np.ndarray:
    first = np.array([np.sqrt(kaa), 0.0])
    slope = kab / first[0] if kaa else 0.0
    return np.array([first, [slope, np.sqrt(max(kbb - slope**2, 0.0))]])


# K2 of the theory notes: the values at (kaa, kab, kbb) = (1, .5, 1), (1, -.7, 2) and (1, 1, 1).
KNOWN = {
    "step": (STEP, 1 / 3, 0.167588652419980, 0.5), "relu": (RELU, 0.304498890522115, 0.078260811631307, 0.5),
    "sign": (sympy.sign(X), 1 / 3, -0.329645390320078, 1.0), "abs": (abs(X), 0.717995562088459, 1.013043246525228, 1.0),
    "erf": (ERF, 0.216346895938785, -0.235455780264993, 0.464559054397540),
    "erf'": (ERF.diff(X), 0.450158158078553, 0.352591081462358, 0.569410034733742),
    "gelu": (GELU, 0.227294915021992, -0.012644905872921, 0.425221482570299),
    "gelu'": (GELU.diff(X), 0.342267242459443, 0.155709646241200, 0.455850865649287),
    "sin": (sympy.sin(X), 0.191700249782102, -0.169262902877444, 0.432332358381694),
    "cos": (sympy.cos(X), 0.414830409930532, 0.280066061239778, 0.567667641618306),
    "exp": (sympy.exp(X), 4.481689070338065, 2.225540928492468, float(np.e**2)),
    "square": (X**2, 1.5, 2.98, 3.0),
}


@pytest.mark.slow
def test_known_two_point_functions(tmp_path):
    module = load(dual_program(*((phi, phi) for phi, *_ in KNOWN.values())), tmp_path)
    for position, covariance in enumerate(((1, 0.5, 1), (1, -0.7, 2), (1, 1, 1))):
        rows = rows_with(*covariance)
        result = module.kernels({"X": rows[:1]}, {"X": rows[1:]})
        own = module.kernels({"X": rows[:1]})
        for k, (name, (_, *values)) in enumerate(KNOWN.items()):
            assert result[f"e{k}"][0, 0] == pytest.approx(values[position], abs=2e-14), name
            assert own[f"e{k}"][0, 0] == pytest.approx(values[2], abs=2e-15), name


MIXED = [
    (RELU, RELU), (RELU, STEP), (sympy.Rational(11, 20) * X + sympy.Rational(9, 20) * abs(X), X**2 - abs(X) / 3),
    (abs(X), X**4), (sympy.sign(X), X**3 + 1), (ERF, X**3), (GELU, X**2 + X), (GELU, GELU.diff(X)), (GELU, ERF),
    (sympy.erf(2 * X), sympy.erf(X / 3)),
    (X * sympy.erf(2 * X), sympy.exp(-X**2 / 3) - 2), (sympy.exp(-X**2), sympy.exp(-2 * X**2)),
    (X * sympy.exp(-X**2), X * sympy.exp(-2 * X**2)), (sympy.sin(2 * X) + sympy.cos(X), sympy.exp(X / 2) + X),
    (sympy.cos(X) * sympy.sin(X), sympy.sin(X + 1)), (sympy.sinh(X), sympy.cosh(X) + X), (TANH, TANH), (SIGMOID, SWISH),
    (SOFTPLUS, SOFTPLUS.diff(X)), (TANH, RELU), (STEP, SWISH), (X**2 * SIGMOID, GELU),
]


@pytest.mark.quick("0")
@pytest.mark.parametrize("part", range(3))
def test_two_point_functions_agree_with_quadrature(part, tmp_path):
    pairs = MIXED[part::3]
    module = load(dual_program(*pairs), tmp_path)
    for covariance in ((1, 0.5, 1), (0.4, -0.3, 0.9), (1.7, 0.01, 0.2), (0.8, 0.0, 0.5)):
        rows = rows_with(*covariance)
        result = module.kernels({"X": rows[:1]}, {"X": rows[1:]})
        for k, pair in enumerate(pairs):
            assert result[f"e{k}"][0, 0] == pytest.approx(two_point(*pair, *covariance), abs=3e-11), pair


def test_multiples_of_an_angle_are_pieces():
    assert decompose(sympy.sin(3 * X)) == {Piece("sin", 3.0): 1.0}
    assert decompose(sympy.cos(-2 * X)) == {Piece("cos", 2.0): 1.0}
    shifted = decompose(sympy.cos(2 * X + 1))
    assert shifted[Piece("cos", 2.0)] == pytest.approx(np.cos(1), rel=1e-15)
    assert shifted[Piece("sin", 2.0)] == pytest.approx(-np.sin(1), rel=1e-15)


def test_zero_inputs_give_the_value_at_zero(tmp_path):
    functions = (RELU, GELU, TANH, SWISH)
    module = load(dual_program(*((phi, phi + 1) for phi in functions)), tmp_path)
    result = module.kernels({"X": np.array([[0.0, 0.0], [1.0, 0.0]])})
    for k, phi in enumerate(functions):
        assert result[f"e{k}"][0, 0] == pytest.approx(0.0, abs=1e-15)
        assert result[f"e{k}"][0, 1] == pytest.approx(0.0, abs=1e-15)
        assert result[f"e{k}"][1, 0] == pytest.approx(two_point(phi, phi * 0 + 1, 1, 0, 0), abs=1e-12)


def test_relu_kernels_of_all_depths(tmp_path):
    """K4 and K5: the recursions from correlations 1/2, 0 and 1."""
    module = load(mlp_pair_program(RELU), tmp_path)
    rows = {"X": np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)], [0.0, 1.0]])}
    half = [0.608997781044, 0.683905650899, 0.738128192301, 0.778895137394, 0.810454201005]
    zero = [0.318309886184, 0.493731090200, 0.604825720113, 0.680953533356, 0.735946350628]
    half_ntk = [0.942331114378, 1.351479561123, 1.737844679215, 2.107112538397, 2.462893132458]
    zero_ntk = [0.318309886184, 0.685708636283, 1.060388106803, 1.430390497210, 1.792195966845]
    for depth in range(1, 6):
        result = module.kernels(rows, params=NTP | {"blocks": depth})
        for name, values in (("nngp", (half, zero)), ("ntk", (half_ntk, zero_ntk))):
            assert result[name][0, 1] == pytest.approx(values[0][depth - 1], abs=1e-11)
            assert result[name][0, 2] == pytest.approx(values[1][depth - 1], abs=1e-11)
        assert np.abs(np.diag(result["ntk"]) - (depth + 1)).max() < 1e-14 * depth


def inputs(n: int, d: int = 6, seed: int = 0, **more) -> dict:
    generator = np.random.default_rng(seed)
    return {"X": generator.standard_normal((n, d)) * generator.uniform(0.4, 1.3, (n, 1))} | more


PARAMS = {"sw2": 1.3, "sb2": 0.1, "scale": 1 / 6, "blocks": 2}


@pytest.mark.quick("(x/2 + Abs(x)/2, tanh(x))")
@pytest.mark.parametrize("activations", [(RELU, TANH), (ERF, GELU, RELU), (SWISH, abs(X), SOFTPLUS, SIGMOID)], ids=str)
def test_mixed_perceptrons_agree_with_the_interpreter(activations, tmp_path):
    program = mlp_pair_program(*activations)
    data = inputs(5)
    result = load(program, tmp_path).kernels(data, params=PARAMS)
    for i, j in ((0, 1), (2, 4), (3, 3)):
        expected = interpret(program, *({"X": data["X"][k]} for k in (i, j)), PARAMS)
        for name, value in expected.items():
            assert result[name][i, j] == pytest.approx(value, rel=1e-9)


class Generated:
    """A random pair program: two Gram products, biases, skip sums, loops, two recursions that feed each other."""

    functions = (RELU, ERF, GELU, TANH, SWISH, abs(X), sympy.sin(X), X**2 / 4 + X)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.layer = IntSym("layer", "loop")

    def program(self) -> PairProgram:
        size, start = IntSym("depth", "size"), IntLit(0)
        biases = PairProduct((RowInput("bias", "a"), RowInput("bias", "b")))
        body = [Set(Ref("k"), Sum((PairProduct((RunParameter("s"), Ref("g"))), biases))),
                Set(Ref("h"), Sum((Ref("k"), PairProduct((Number(0.5), Ref("f")))))), Set(Ref("K", (start,)), Ref("k"))]
        following = int_bin("+", self.layer, IntLit(1))
        inner = [self.statement() for _ in range(self.random.randrange(2, 5))]
        inner.append(Set(Ref("K", (following,)), Sum((Ref("k"), PairProduct((Number(0.25), Ref("K", (self.layer,))))))))
        body += [PairLoop("layer", start, size, 1, tuple(inner)), Set(Ref("out"), Number(0.0)),
                 PairLoop("layer", size, IntLit(-1), -1, (
                     AddTo(Ref("out"), PairProduct((Ref("K", (self.layer,)), RowInput("gain", "a", (self.layer,)),
                                                RowInput("gain", "b", (self.layer,))))),))]
        return PairProgram("random", (Gram("g", "X", "X"), Gram("f", "Y", "Y")), ("s",), ("depth",), tuple(body),
                           (("k", Ref("k")), ("h", Ref("h")), ("out", Ref("out"))),
                           (ScratchArray("K", (int_bin("+", size, IntLit(1)),)),), ("bias", "gain"))

    def statement(self):
        target = Ref(self.random.choice("kh"))
        phi, other = self.random.choice(self.functions), self.random.choice("kh")
        value = PairProduct((RunParameter("s"), dual(phi, phi, other)))
        match self.random.randrange(4):
            case 0:
                return Set(target, Sum((value, Number(0.1))))
            case 1:
                return Set(target, Sum((PairProduct((Number(0.5), Ref(target.name))), value)))
            case 2:
                cosine = PairProduct(tuple(Power(Diagonal(Ref(other), side), -0.5) for side in "ab"))
                return Set(target, Sum((Number(0.2), PairProduct((Ref(other), cosine)))))
            case _:
                return Set(target, Quotient(Sum((value, Ref("g"))), Number(2.0)))


@pytest.mark.quick("0", "2")
@pytest.mark.parametrize("seed", range(6))
def test_random_programs_agree_with_the_interpreter(seed, tmp_path):
    program = Generated(seed).program()
    generator = np.random.default_rng(seed)
    data = inputs(4, seed=seed, Y=generator.standard_normal((4, 3)), bias=generator.standard_normal(4),
                  gain=generator.standard_normal((4, 4)))
    params = {"s": 0.4, "depth": 2}
    result = load(program, tmp_path).kernels(data, params=params)
    for i, j in ((0, 1), (3, 2), (1, 1)):
        expected = interpret(program, *({name: array[k] for name, array in data.items()} for k in (i, j)), params)
        for name, value in expected.items():
            assert result[name][i, j] == pytest.approx(value, rel=1e-9, abs=1e-10)


@pytest.mark.quick("x/2 + Abs(x)/2")
@pytest.mark.parametrize("phi", [RELU, GELU, TANH], ids=str)
def test_what_the_driver_promises(phi, tmp_path):
    """Rectangles, threads, precisions, output arrays: one result."""
    module = load(mlp_pair_program(phi), tmp_path)
    data = inputs(700, 20)
    params = PARAMS | {"scale": 1 / 20}
    square = module.kernels(data, params=params, threads=1)
    again = module.kernels(data, params=params, threads=3)
    parts = module.kernels({"X": data["X"][:300]}, {"X": data["X"][100:]}, params)
    single = module.kernels(data, params=params, dtype="float32")
    out = {name: np.full((700, 700), np.nan) for name in square}
    returned = module.kernels(data, params=params, out=out)
    for name, values in square.items():
        assert np.array_equal(values, values.T)
        assert np.array_equal(values, again[name])
        assert returned[name] is out[name] and np.array_equal(values, out[name])
        assert np.abs(parts[name] - values[:300, 100:]).max() < 2e-12
        assert single[name].dtype == np.float32
        assert np.abs(single[name] - values).max() < 1e-4 * np.abs(values).max()


def test_nearly_equal_and_opposite_rows_of_a_series(tmp_path):
    """Correlations at both ends, where the series needs all of its terms."""
    program = mlp_pair_program(TANH)
    row = inputs(1)["X"][0]
    data = {"X": np.array([row, row * (1 + 1e-9), -row, 3 * row])}
    result = load(program, tmp_path).kernels(data, params=PARAMS)
    for i, j in ((0, 1), (0, 2), (1, 3), (2, 3)):
        expected = interpret(program, *({"X": data["X"][k]} for k in (i, j)), PARAMS)
        for name, value in expected.items():
            assert result[name][i, j] == pytest.approx(value, abs=1e-9)


def test_output_arrays_must_fit(tmp_path):
    module = load(mlp_pair_program(RELU), tmp_path)
    wrong = {name: np.empty((5, 4)) for name in ("nngp", "ntk")}
    with pytest.raises(ValueError, match="C-contiguous"):
        module.kernels(inputs(5), params=PARAMS, out=wrong)


def test_one_output_needs_only_its_statements(tmp_path):
    program = mlp_pair_program(RELU)
    only = restrict(program, ("nngp",))
    assert not only.arrays and "D" not in emit_pair_kernel(only)
    full, part = (load(p, tmp_path).kernels(inputs(9), params=PARAMS) for p in (program, only))
    assert list(part) == ["nngp"] and np.array_equal(full["nngp"], part["nngp"])


@pytest.mark.slow
def test_memory_beyond_the_outputs(tmp_path):
    module = load(mlp_pair_program(RELU), tmp_path)
    data = inputs(3000, 16)
    out = module.kernels(data, params=PARAMS)
    tracemalloc.start()
    module.kernels(data, params=PARAMS | {"blocks": 10}, out=out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


KINKED = [(f, f) for f in (abs(X - 1), abs(X) * TANH, sympy.Max(X, sympy.tanh(X)), sympy.Min(sympy.Max(X, -1), 2))]


def test_kinks_without_a_closed_form_are_series(tmp_path):
    module = load(dual_program(*KINKED), tmp_path)
    rows = rows_with(1, 0.5, 2)
    result = module.kernels({"X": rows[:1]}, {"X": rows[1:]})
    for k, (phi, _) in enumerate(KINKED):
        expected = mean_by_halves(phi, 1, 0.5, 2)
        assert result[f"e{k}"][0, 0] == pytest.approx(expected, rel=1e-11), phi


def mean_by_halves(phi, kaa: float, kab: float, kbb: float) -> float:
    """E[phi(u) phi(v)] by Gauss-Legendre rules between the kinks, which are integers, of both variables."""
    f = sympy.lambdify(X, phi, "numpy")
    x, w = np.polynomial.legendre.leggauss(40)
    cuts = np.arange(-16.0, 17.0) / 2
    z, weights = (np.concatenate([m + 0.25 * x for m in cuts[:-1] + 0.25]), np.tile(0.25 * w, len(cuts) - 1))
    det = kaa * kbb - kab**2
    u, v = z[:, None], z[None, :] * 1.0
    v = v * 2  # panels of length 1, to 16
    density = np.exp(-(kbb * u**2 - 2 * kab * u * v + kaa * v**2) / (2 * det)) / (2 * np.pi * np.sqrt(det))
    return float((weights @ (f(u) * f(v) * density) @ weights) * 2)


def test_functions_with_infinitely_many_kinks_are_refused():
    with pytest.raises(UnsupportedDual):
        emit_pair_kernel(dual_program((sympy.floor(X), sympy.floor(X))))


ARCSINE = sympy.erf(X / sympy.sqrt(2))
FAR = [(1e-16, 1e-12, 0.3), (1e-8, 1e4, -0.9), (4.0, 1e16, 0.99), (1e8, 1e8, 0.5), (1e16, 1e16, 0.2), (1e4, 1e2, 0.95)]


def far_rows(qa: float, qb: float, c: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[np.sqrt(qa), 0.0]]), np.sqrt(qb) * np.array([[c, np.sqrt((1 - c) * (1 + c))]])


def test_variances_of_all_sizes(tmp_path):
    """A series of the error function, which a summand without a closed form makes of it, beside the arcsine formula."""
    mpmath.mp.dps = 40
    gauss = sympy.exp(-X**2)
    as_series = ARCSINE + sympy.Float("1e-300") * TANH
    module = load(dual_program((as_series, as_series), (ARCSINE, ARCSINE), (gauss, gauss), (GELU, GELU)), tmp_path)
    for qa, qb, c in FAR:
        first, second = far_rows(qa, qb, c)
        a, b = (mpmath.mpf(float(r[0] @ r[0])) for r in (first, second))
        k = mpmath.mpf(float(first[0] @ second[0]))
        result = module.kernels({"X": first}, {"X": second})
        arcsine = 2 / mpmath.pi * mpmath.asin(k / mpmath.sqrt((1 + a) * (1 + b)))
        own = [float(2 / mpmath.pi * mpmath.asin(q / (1 + q))) for q in (a, b)]
        assert abs(result["e0"][0, 0] - arcsine) < 1e-12 * np.sqrt(own[0] * own[1])
        assert abs(result["e1"][0, 0] / arcsine - 1) < 1e-13
        assert abs(result["e2"][0, 0] * mpmath.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * k**2) - 1) < 1e-10
        assert abs(result["e3"][0, 0] - gelu_kernel(a, b, k)) < 1e-12 * mpmath.sqrt(a * b)


def gelu_kernel(a, b, k):
    """E[gelu(u) gelu(v)] (Tsuchida et al. 2020, with the determinant written out)."""
    det = (1 + a) * (1 + b) - k**2
    angle = mpmath.asin(k / mpmath.sqrt((1 + a) * (1 + b)))
    rest = (a * b * (1 + a) * (1 + b) + k**2 * (1 - a * b)) / ((1 + a) * (1 + b) * mpmath.sqrt(det))
    return k / 4 + (k * angle + rest) / (2 * mpmath.pi)


def test_saturated_rows_agree_with_their_limit(tmp_path):
    """tanh of rows of norm 1e8 is their sign, up to 1e-8; and that of nearly equal ones of norm 100 a quadrature."""
    module = load(dual_program((TANH, TANH)), tmp_path)
    first, second = far_rows(1e16, 1e16, 0.5)
    assert module.kernels({"X": first}, {"X": second})["e0"][0, 0] == pytest.approx(1 / 3, rel=1e-7)
    first, second = far_rows(1e4, 1e4, 0.9999)
    found, errors = runtime_pairs.evaluate_with_error(module.KERNEL, {"X": first}, {"X": second})
    error = errors["e0"].dense(found["e0"])[0, 0]
    assert error < 1e-10
    assert found["e0"][0, 0] == pytest.approx(saturated_tanh(1e4, 0.9999), abs=error + 1e-12)


def saturated_tanh(q: float, c: float) -> float:
    """E[tanh(u) tanh(v)] = 1 - E(tanh u - tanh v)**2/2 - E sech**2 by a rule in the sum and the difference of u and v,
    whose integrand is short: the first variable is cut off at 40."""
    x, w = np.polynomial.legendre.leggauss(60)
    m = np.concatenate([0.5 * k + 0.25 * x for k in range(-100, 100)])
    t = np.concatenate([0.25 * k + 0.125 * x for k in range(-36, 36)])
    sm, st = np.sqrt(q * (1 + c) / 2), np.sqrt(q * (1 - c) / 2)
    wm, wt = np.tile(0.25 * w, 200), np.tile(0.125 * w, 72)
    u, v = m[:, None] + st * t, m[:, None] - st * t
    density = np.exp(-m**2 / (2 * sm**2))[:, None] * np.exp(-t**2 / 2) / (2 * np.pi * sm)
    return float(1 - wm @ ((1 - np.tanh(u) * np.tanh(v)) * density) @ wt)


@pytest.mark.quick("tanh(x)")
@pytest.mark.parametrize("phi", [RELU, ERF, GELU, TANH, sympy.sin(10 * X)], ids=str)
def test_equal_rows_have_the_value_of_the_diagonal(phi, tmp_path):
    module = load(mlp_pair_program(phi), tmp_path)
    data = inputs(9)
    data["X"][7] = data["X"][2]
    params = PARAMS | {"blocks": 6}
    own = module.kernels(data, params=params)
    between = module.kernels(data, {"X": data["X"][:4].copy()}, params)
    for name, values in own.items():
        assert values[2, 7] == values[7, 2] == values[2, 2] == values[7, 7]
        assert all(between[name][k, k] == values[k, k] for k in range(4))


@pytest.mark.quick("tanh(x)")
@pytest.mark.parametrize("phi", [RELU, ERF, TANH], ids=str)
def test_errors_of_nearly_equal_rows_hold(phi, tmp_path):
    """Rows that differ in the last digits, beside the same rows between two data sets in another order of summation."""
    module = load(mlp_pair_program(phi), tmp_path)
    row = inputs(1)["X"][0]
    data = {"X": np.array([row * (1 + delta * np.eye(len(row))[0]) for delta in (0, 1e-15, 1e-12, 1e-9)])}
    turned = {"X": np.ascontiguousarray(data["X"][:, ::-1])}
    params = PARAMS | {"blocks": 3}
    (found, errors), (again, others) = (runtime_pairs.evaluate_with_error(module.KERNEL, x, params=params)
                                        for x in (data, turned))
    for name, values in found.items():
        error, other = errors[name].dense(values), others[name].dense(again[name])
        off = ~np.eye(len(row), dtype=bool)[:4, :4]
        assert np.all(np.abs(values - again[name])[off] <= (error + other)[off] + 1e-14 * values[0, 0])
        assert np.all(error < 1e-6 * values[0, 0])


def test_an_element_does_not_depend_on_other_rows(tmp_path):
    module = load(mlp_pair_program(TANH), tmp_path)
    data = inputs(40)
    data["X"] *= np.geomspace(1e-3, 1e3, 40)[:, None]
    whole = module.kernels(data, params=PARAMS)
    for some in ([0, 1], [0, 39], [20, 39], [5, 20]):
        part = module.kernels({"X": data["X"][some]}, params=PARAMS)
        for name, values in part.items():
            own = np.sqrt(np.outer(*2 * [np.diag(values)]))
            assert np.abs(values - whole[name][np.ix_(some, some)] <= 1e-12 * own).all()


def test_the_text_does_not_depend_on_when_it_is_made():
    assert emit_pair_kernel(mlp_pair_program(GELU, TANH)) == emit_pair_kernel(mlp_pair_program(GELU, TANH))


def test_kernels_are_freed_without_the_collector_of_cycles():
    """Blocks of a large kernel would stay until it runs."""
    program = tensorprog.compile(
        "width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\nvector v : [n] ~ normal(0, 1/n)\n"
        "for a in range(P):\n    f[a] = dot(v, relu(U @ X[a]))\n"
        "for a in range(P):\n    for c in range(P):\n        nngp[a, c] = cov(f[a], f[c])\noutput nngp\n"
    )
    gc.disable()
    try:
        found = program.kernels(np.random.default_rng(0).standard_normal((5, 3)))
        assert found.error["nngp"].max() < 1e-12
        kept = weakref.ref(found["nngp"])
        del found
        assert kept() is None
    finally:
        gc.enable()
