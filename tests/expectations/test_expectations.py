"""Expectations of functions of Gaussians: known values, singular covariances, quadrature, and random products."""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from sympy import (
    Abs,
    Function,
    Max,
    Min,
    cos,
    erf,
    exp,
    log,
    pi,
    sign,
    sin,
    sqrt,
    symbols,
    tanh,
)

from tensorprog.expectations import (
    K11,
    K12,
    NoRecipe,
    Recipe,
    U,
    V,
    from_primitive,
    plan_expectation,
    register,
    unregister,
)
from tensorprog.expectations.functions import (
    gelu,
    normal_cdf,
    relu,
    sigmoid,
    silu,
    softplus,
    step,
)
from tensorprog.ir.functions import NONLINEARITIES as UNARY

z1, z2, z3, a, b, eps = symbols("z1 z2 z3 a b eps")
k11, k12, k13, k22, k23, k33 = symbols("k11 k12 k13 k22 k23 k33")
COVARIANCE = {(z1, z1): k11, (z1, z2): k12, (z3, z1): k13, (z2, z2): k22, (z2, z3): k23, (z3, z3): k33}
EQUAL = {"k11": 1.0, "k22": 1.0, "k33": 1.0, "k12": 0.5, "k13": 0.5, "k23": 0.5}
PAIRS = [(1, 0.5, 1), (1, -0.7, 2), (1, 1, 1)]


def planned(integrand) -> Recipe:
    return plan_expectation(integrand, (z1, z2, z3), COVARIANCE)


@cache
def compiled(source: str):
    scope: dict = {}
    exec(source, scope)
    return njit(scope["chosen"])


def evaluate(recipe: Recipe, **values: float):
    return compiled(recipe.emit("chosen"))(*(float(values[s.name]) for s in recipe.arguments))


def value(integrand, **values: float) -> float:
    return number(planned(integrand), **values)


def number(recipe: Recipe, **values: float) -> float:
    found = evaluate(recipe, **values)
    return found[0] if isinstance(found, tuple) else found


def pair(covariance) -> dict[str, float]:
    return dict(zip(("k11", "k12", "k22"), covariance))


def by_panels(function, covariance, *, kinks=((1, 0, 0), (0, 1, 0)), panels=24, order=30) -> float:
    """E function(u, v) by Gauss-Legendre panels, split at the lines p u + q v + r = 0."""
    c11, c12, c22 = covariance
    s1 = math.sqrt(c11)
    slope, s2 = (c12 / s1, math.sqrt(max(c22 - c12**2 / c11, 0.0)))
    lines = [(p * s1 + q * slope, q * s2, r) for p, q, r in kinks]
    corners = [-r / p for p, q, r in lines if q == 0 and p != 0]
    corners += [(q * t - r * w) / (p * w - q * v) for p, q, r in lines for v, w, t in lines if p * w != q * v]
    total = 0.0
    for x, weight in zip(*panel_rule(corners, panels, order)):
        y, w = panel_rule([-(r + p * x) / q for p, q, r in lines if q != 0], panels, order)
        total += weight * np.sum(w * function(s1 * x, slope * x + s2 * y))
    return total


gauss_legendre = cache(np.polynomial.legendre.leggauss)


def panel_rule(breaks, panels, order):
    nodes, weights = gauss_legendre(order)
    ends = np.unique(np.concatenate([np.linspace(-12, 12, panels + 1), [t for t in breaks if -12 < t < 12]]))
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    x = middle + half * nodes
    return x.ravel(), (half * weights * np.exp(-x**2 / 2) / math.sqrt(2 * math.pi)).ravel()


@pytest.mark.parametrize(("integrand", "expected"), [
    (relu(z1), 0.398942280401), (relu(z1)**2, 0.5), (Abs(z1), 0.797884560803), (erf(z1)**2, 0.464559054397540),
    (tanh(z1)**2, 0.394294490397841), (tanh(z1)**4, 0.252991883243951), (1 - tanh(z1)**2, 0.605705509602159),
    ((1 - tanh(z1)**2)**2, 0.464402902448268), (sigmoid(z1)**2, 0.293379035858), (silu(z1), 0.206620964142),
    (silu(z1)**2, 0.355775519817), (softplus(z1), 0.806059183347), (softplus(z1)**2, 0.921245908859),
    (sigmoid(z1), 0.5), (tanh(z1), 0.0), (z1**4, 3.0), (z1 * step(z1), 0.398942280401),
])
def test_one_gaussian(integrand, expected):
    assert value(integrand, k11=1) == pytest.approx(expected, abs=2e-12)


@pytest.mark.parametrize(("function", "expected"), [
    (step, (1 / 3, 0.167588652419980, 1 / 2)),
    (relu, (0.304498890522115, 0.078260811631307, 1 / 2)),
    (lambda x: relu(x)**2, (0.706748335783172, 0.088711160728426, 3 / 2)),
    (sign, (1 / 3, -0.329645390320078, 1)),
    (Abs, (0.717995562088459, 1.013043246525228, 1)),
    (erf, (0.216346895938785, -0.235455780264993, 0.464559054397540)),
    (lambda x: from_primitive("erf", 1, (x,)), (0.450158158078553, 0.352591081462358, 0.569410034733742)),
    (gelu, (0.227294915021992, -0.012644905872921, 0.425221482570299)),
    (lambda x: x * normal_cdf(x), (0.227294915021992, -0.012644905872921, 0.425221482570299)),
    (lambda x: from_primitive("gelu", 1, (x,)), (0.342267242459443, 0.155709646241200, 0.455850865649287)),
    (sin, (0.191700249782102, -0.169262902877444, 0.432332358381694)),
    (cos, (0.414830409930532, 0.280066061239778, 0.567667641618306)),
    (exp, (4.481689070338065, 2.225540928492468, math.exp(2))),
    (lambda x: x**2, (3 / 2, 2.98, 3)),
])
def test_kernels(function, expected):
    recipe = planned(function(z1) * function(z2))
    assert recipe.kind == "closed" and recipe.dimension == 0
    for covariance, reference in zip(PAIRS, expected):
        assert number(recipe, **pair(covariance)) == pytest.approx(reference, abs=2e-15, rel=5e-15)
    plain = recipe.formula.subs({k11: 1, k12: -sympy.Rational(7, 10), k22: 2}).evalf(20)
    assert float(plain) == pytest.approx(expected[1], abs=2e-15)


def test_other_known_kernels():
    assert value(tanh(z1) * tanh(z2), **EQUAL) == pytest.approx(0.186324413203, abs=1e-12)
    assert value(relu(z1) * step(z2), **EQUAL) == pytest.approx(0.299206710301, abs=1e-12)
    angle = math.acos(-0.7 / math.sqrt(2))
    expected = 2 * (math.pi - angle + math.cos(angle) * math.sin(angle)) / (2 * math.pi)
    assert value(step(z1) * relu(z2)**2, **pair(PAIRS[1])) == pytest.approx(expected, rel=1e-14)
    assert value(step(z1) * step(z2) * step(z3), **EQUAL) == pytest.approx(1 / 4, rel=1e-15)


@pytest.mark.parametrize(("function", "covariance", "expected"), [
    (relu, (1, 1, 1), 1 / 2), (relu, (1, -1, 1), 0), (relu, (0, 0, 1), 0), (relu, (0, 0, 0), 0),
    (relu, (1, 1 + 4e-16, 1), 1 / 2), (relu, (3.3, math.sqrt(3.3 * 0.7), 0.7), math.sqrt(3.3 * 0.7) / 2),
    (erf, (0, 0, 1), 0), (step, (0, 0, 1), 0), (step, (1, 1, 1), 1 / 2), (step, (1, -1, 1), 0), (sign, (0, 0, 0), 0),
    (Abs, (2, -2, 2), 2), (gelu, (0, 0, 0), 0), (lambda x: relu(x)**2, (1, -1, 1), 0), (tanh, (0, 0, 1), 0),
])
def test_singular_covariances(function, covariance, expected):
    assert value(function(z1) * function(z2), **pair(covariance)) == pytest.approx(expected, abs=2e-15)


@pytest.mark.parametrize("b_value", [0.3, -1.7])
@pytest.mark.parametrize("variance", [1.0, 1.3, 0.07])
def test_singular_covariances_with_shifts(variance, b_value):
    """Two variables that are equal only in their values: the jump of one meets that of the other."""
    expected = value(relu(z1 + b), k11=variance, b=b_value)
    found = value(relu(z1 + b) * step(z2 + b), b=b_value, **pair((variance, variance, variance)))
    assert found == pytest.approx(expected, rel=1e-14)
    square = value(relu(z1 + b)**2, k11=variance, b=b_value)
    found = value(relu(z1 + b) * relu(z2 + b), b=b_value, **pair((variance, variance, variance)))
    assert found == pytest.approx(square, abs=1e-15)


@pytest.mark.parametrize("gap", [1e-4, 1e-8, 1e-12])
def test_angles_near_one(gap):
    """asin loses half of the digits near 1; the kernels must not."""
    import mpmath
    covariance = (2.5, 2.5 * (1 - gap), 2.5)
    with mpmath.workdps(40):
        c = mpmath.mpf(covariance[1]) / mpmath.mpf(2.5)
        angle = mpmath.acos(c)
        degree0 = float((mpmath.pi - angle) / (2 * mpmath.pi))
        degree1 = float(mpmath.mpf(2.5) * (mpmath.sin(angle) + (mpmath.pi - angle) * c) / (2 * mpmath.pi))
    assert value(step(z1) * step(z2), **pair(covariance)) == pytest.approx(degree0, rel=1e-15)
    assert value(relu(z1) * relu(z2), **pair(covariance)) == pytest.approx(degree1, rel=1e-15)


def test_layernorm():
    """K9: E y = 0, and the kernel of (relu - m) / s."""
    m, s = symbols("m s", positive=True)
    moments = {"m": 1 / math.sqrt(2 * math.pi), "s": math.sqrt(1 / 2 - 1 / (2 * math.pi))}
    assert value((relu(z1) - m) / s, k11=1, **moments) == pytest.approx(0, abs=1e-15)
    product = (relu(z1) - m) * (relu(z2) - m) / s**2
    for c, expected in [(0.5, 0.426422342013), (0, 0), (-0.5, -0.307048761449), (1, 1)]:
        assert value(product, **pair((1, c, 1)), **moments) == pytest.approx(expected, abs=1e-12)


def test_batchnorm_of_two():
    mean = (z1 + z2) / 2
    norm = sqrt(((z1 - mean)**2 + (z2 - mean)**2) / 2 + eps)
    first, second = relu((z1 - mean) / norm), relu((z2 - mean) / norm)
    for covariance in [(1, 0.5, 1), (1, -0.7, 2)]:
        assert value(first**2, eps=0, **pair(covariance)) == pytest.approx(1 / 2, abs=1e-13)
        assert value(first * second, eps=0, **pair(covariance)) == pytest.approx(0, abs=1e-14)


@pytest.mark.slow
def test_batchnorm_of_three():
    mean = (z1 + z2 + z3) / 3
    norm = sqrt(sum((z - mean)**2 for z in (z1, z2, z3)) / 3 + eps)
    recipe = planned(relu((z1 - mean) / norm) * relu((z2 - mean) / norm))
    assert (recipe.kind, recipe.dimension) == ("quadrature", 2)
    found, error = evaluate(recipe, eps=0, **EQUAL)
    assert found == pytest.approx(0.054498890522, abs=1e-12) and error < 1e-12
    found, error = evaluate(recipe, eps=1e-5, **EQUAL)
    assert 0.05448 < found < 0.0545 and error < 1e-9
    assert value(relu((z1 - mean) / norm)**2, eps=0, **EQUAL) == pytest.approx(1 / 2, abs=1e-13)


@pytest.mark.parametrize(("integrand", "expected"), [
    (relu(z1 - b), math.exp(-0.045) / math.sqrt(2 * math.pi) - 0.3 * math.erfc(0.3 / math.sqrt(2)) / 2),
    (step(z1 - b), math.erfc(0.3 / math.sqrt(2)) / 2),
    (step(Abs(z1) - b), math.erfc(0.3 / math.sqrt(2))),
    (step(Abs(z1) + b), 1.0),
    (sign(Max(z1, -z1) - 5 * b)**2, 1.0),
])
def test_shifts(integrand, expected):
    recipe = planned(integrand)
    assert recipe.kind == "closed"
    assert number(recipe, k11=1, b=0.3) == pytest.approx(expected, abs=1e-15)


SHIFTED = [
    (relu(z1 - b)**2 * relu(z2 + b), lambda u, v: np.maximum(u - 0.3, 0)**2 * np.maximum(v + 0.3, 0),
     ((1, 0, -.3), (0, 1, .3))),
    (Abs(z1 - b) * step(z2 - b), lambda u, v: np.abs(u - 0.3) * (v > 0.3), ((1, 0, -.3), (0, 1, -.3))),
    (sign(z1) * relu(Abs(z1) - b) * z2, lambda u, v: np.sign(u) * np.maximum(np.abs(u) - 0.3, 0) * v,
     ((1, 0, -.3), (1, 0, .3), (1, 0, 0))),
    (exp(a * z1) * relu(z2), lambda u, v: np.exp(0.7 * u) * np.maximum(v, 0), ((0, 1, 0),)),
    (exp(z1 - 2 * z1**2) * gelu(a * z1 + z2), lambda u, v: np.exp(u - 2 * u**2) * np_gelu(0.7 * u + v), ()),
    (sin(z1 + b) * cos(a * z2) * z2, lambda u, v: np.sin(u + 0.3) * np.cos(0.7 * v) * v, ()),
    (Max(z1, a * z2, b), lambda u, v: np.maximum(np.maximum(u, 0.7 * v), 0.3),
     ((1, 0, -.3), (0, .7, -.3), (1, -.7, 0))),
    (Min(z1, z2) * z1, lambda u, v: np.minimum(u, v) * u, ((1, -1, 0),)),
    (erf(a * z1)**2 * relu(z2)**2, lambda u, v: np_erf(0.7 * u)**2 * np.maximum(v, 0)**2, ((0, 1, 0),)),
    (tanh(z1) * relu(z2 - b), lambda u, v: np.tanh(u) * np.maximum(v - 0.3, 0), ((0, 1, -.3),)),
    (tanh(z1) * relu(z1 + b) * z2**2, lambda u, v: np.tanh(u) * np.maximum(u + 0.3, 0) * v**2, ((1, 0, .3),)),
    (sin(z1) * Abs(z2), lambda u, v: np.sin(u) * np.abs(v), ((0, 1, 0),)),
    (sin(z1)**2 * Abs(z1), lambda u, v: np.sin(u)**2 * np.abs(u) * np.ones_like(v), ((1, 0, 0),)),
    (tanh(Max(z1, z2)), lambda u, v: np.tanh(np.maximum(u, v)), ((1, -1, 0),)),
    (tanh(Abs(z1 - b) + z2), lambda u, v: np.tanh(np.abs(u - 0.3) + v), ((1, 0, -.3),)),
    (log(1 + z1**2) * softplus(z2), lambda u, v: np.log(1 + u**2) * np.logaddexp(0, v), ()),
    (silu(a * z1 + b) * sigmoid(z2),
     lambda u, v: (0.7 * u + 0.3) / (1 + np.exp(-0.7 * u - 0.3)) / (1 + np.exp(-v)), ()),
]

np_erf = np.vectorize(math.erf)


def np_gelu(x):
    return x * (1 + np_erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize(("integrand", "function", "kinks"), SHIFTED, ids=[str(case[0]) for case in SHIFTED])
def test_against_panels(integrand, function, kinks):
    covariance = (1.3, 0.4, 0.8)
    found = evaluate(planned(integrand), a=0.7, b=0.3, **pair(covariance))
    found, error = found if isinstance(found, tuple) else (found, 0.0)
    assert found == pytest.approx(by_panels(function, covariance, kinks=kinks), abs=2e-11 + 2 * error)
    assert error < 1e-8


def test_three_dimensions():
    recipe = planned(tanh(z1) * tanh(z2 + b) * tanh(z3 - b))
    assert recipe.dimension == 3
    found, error = evaluate(recipe, b=0.3, **EQUAL)
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(np.zeros(3), 0.5 + 0.5 * np.eye(3), 400_000)
    draws = np.tanh(x[:, 0]) * np.tanh(x[:, 1] + 0.3) * np.tanh(x[:, 2] - 0.3)
    assert found == pytest.approx(draws.mean(), abs=5 * draws.std() / math.sqrt(len(draws)))
    assert error < 1e-10
    shifted, _ = evaluate(recipe, b=0.0, **EQUAL)
    assert shifted == pytest.approx(0, abs=1e-14)


@pytest.mark.slow
def test_kinks_in_three_dimensions():
    """A norm in three dimensions: E max(|z1|, z2, z3) / |z| is a mean over the sphere."""
    norm = sqrt(z1**2 + z2**2 + z3**2)
    recipe = planned(Max(Abs(z1), z2, z3) / norm)
    found, error = evaluate(recipe, k11=1, k22=1, k33=1, k12=0, k13=0, k23=0)
    same = value(Max(Abs(z1), z2, z3), k11=1, k22=1, k33=1, k12=0, k13=0, k23=0)
    mean_norm = math.sqrt(8 / math.pi)
    assert found == pytest.approx(same / mean_norm, abs=1e-9) and error < 1e-9


def test_degenerate_quadrature():
    for function in (tanh, lambda x: softplus(x)):
        one = value(function(z1)**2, k11=1.7)
        assert value(function(z1) * function(z2), k11=1.7, k12=1.7, k22=1.7) == pytest.approx(one, abs=1e-13)
        at_zero = value(function(z1) * function(z2), k11=0, k12=0, k22=0)
        assert at_zero == pytest.approx(float(function(0))**2, abs=1e-14)


def test_linearity_keeps_few_quadratures():
    recipe = planned((tanh(z1) + z1 + b)**2 + sigmoid(z1) * z2)
    assert recipe.dimension == 1 and "q0_, e0_ = gaussian_expectation(" in recipe.source and "q1_" not in recipe.source
    x, w = panel_rule([], 24, 30)
    expected = np.sum(w * ((np.tanh(x) + x + 0.3)**2 + 0.5 * x / (1 + np.exp(-x))))
    assert evaluate(recipe, b=0.3, **EQUAL)[0] == pytest.approx(expected, abs=1e-12)


def test_independent_groups():
    zero = {**COVARIANCE, (z1, z2): 0}
    recipe = plan_expectation(tanh(z1)**2 * tanh(z2)**2 * relu(z2), (z1, z2), zero)
    assert recipe.dimension == 1 and "independence" in recipe.steps
    found, error = evaluate(recipe, k11=1, k22=1)
    assert found == pytest.approx(0.394294490397841 * value(tanh(z2)**2 * relu(z2), k22=1), rel=1e-13)
    assert 0 < error < 1e-12


def test_too_many_dimensions():
    z = symbols("g0:5")
    covariance = {(x, y): symbols("c1") if x == y else symbols("c0") for x in z for y in z}
    with pytest.raises(NoRecipe, match="more than 3"):
        plan_expectation(tanh(z[0]) * tanh(z[1]) * tanh(z[2]) * tanh(z[3]), z, covariance)


def test_parameters_constants_and_names():
    assert planned(b).formula == b and evaluate(planned(b), b=2) == 2.0
    lambda_, dotted, total = map(sympy.Symbol, ("lambda", "K[1,1]", "total"))
    recipe = plan_expectation(lambda_ * relu(z1)**2 + tanh(total * z1)**2, (z1,), {(z1, z1): dotted})
    assert set(recipe.arguments) == {lambda_, dotted, total}
    found, _ = evaluate(recipe, **{"lambda": 3, "K[1,1]": 1, "total": 1})
    assert found == pytest.approx(1.5 + 0.394294490397841, abs=1e-12)


def test_deltas():
    """The derivative of a step is a Dirac delta, which conditions."""
    delta = from_primitive("step", 1, (z1 - b,))
    density = math.exp(-0.09 / (2 * 1.3)) / math.sqrt(2 * math.pi * 1.3)
    mean, variance = 0.4 / 1.3 * 0.3, 0.8 - 0.16 / 1.3
    found = value(delta * z2**2, b=0.3, **pair((1.3, 0.4, 0.8)))
    assert found == pytest.approx(density * (variance + mean**2), rel=1e-14)


def test_module_with_cache(tmp_path):
    """Emitted functions are part of a module that Numba caches."""
    sources = [planned(relu(z1) * relu(z2)).emit("kernel"), planned(tanh(z1) * tanh(z2)).emit("smooth")]
    text = "from numba import njit\n" + "\n".join(sources)
    text += "\nkernel, smooth = njit(cache=True)(kernel), njit(cache=True)(smooth)\n"
    text += "@njit(cache=True)\ndef both(x, y, z):\n    return kernel(x, y, z)[0] + smooth(x, y, z)[0]\n"
    path = tmp_path / "emitted_expectations.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("emitted_expectations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.both(1.0, 0.5, 1.0) == pytest.approx(0.304498890522115 + 0.186324413203, abs=1e-12)
    assert list(tmp_path.glob("__pycache__/*.nb*"))


def test_primitives_match_the_program_form():
    x = symbols("x", real=True)
    for name in UNARY:
        for order in (0, 1, 2):
            derivative = from_primitive(name, order, (x,))
            at = derivative.subs(x, sympy.Rational(7, 10)).evalf()
            assert float(at) == pytest.approx(float(numeric_derivative(name, order, 0.7)), rel=1e-9), (name, order)
    assert from_primitive("max", 0, (z1, z2)) == Max(z1, z2)
    for name in ("step", "sign", "relu", "abs"):
        assert from_primitive(name, 0, (sympy.S.Zero,)) == 0
    assert from_primitive("relu", 1, (sympy.S.Zero,)) == 0
    with pytest.raises(ValueError, match="no primitive"):
        from_primitive("softmax", 0, (x,))


def numeric_derivative(name: str, order: int, at: float) -> float:
    from tensorprog.ir.primitives import derivative
    return _numeric(derivative(name, order), at)


def _numeric(expr, x: float) -> float:
    args = [_numeric(arg, x) for arg in expr.args]
    if expr.fn in ("x", "num"):
        return x if expr.fn == "x" else expr.value
    return float(from_primitive(expr.fn, 0, tuple(map(sympy.Float, args))).evalf())


def test_user_rows():
    class hermite2(Function):
        pass

    row = register(hermite2(U) * hermite2(V), 2 * K12**2, name="kernel of He2", source="Mehler (1866)",
                   validity="K11 = K22 = 1")
    single = register(hermite2(U) * U, 0 * K11, name="mean of He2 x", source="orthogonality")
    try:
        recipe = planned(3 * hermite2(z1) * hermite2(z2) + relu(z1)**2)
        assert "kernel of He2" in recipe.steps
        assert evaluate(recipe, **EQUAL) == pytest.approx(3 * 2 * 0.25 + 0.5, rel=1e-15)
        assert evaluate(planned(hermite2(z1) * z1)) == 0.0
    finally:
        unregister(row)
        unregister(single)
    assert "kernel of He2" not in planned(relu(z1)**2).steps
    for integrand, formula in [(U + V, K11), (relu(V), K11), (relu(U), K12), (sympy.Integer(1), K11), (relu(z1), K11)]:
        with pytest.raises(ValueError, match="integrand|formula"):
            register(integrand, formula, name="wrong", source="none")


def test_user_row_wins():
    row = register(relu(U) * relu(V), 7 * K11, name="not relu", source="none")
    try:
        assert evaluate(planned(relu(z1) * relu(z2)), **EQUAL) == 7.0
    finally:
        unregister(row)


FACTORS = {
    "u": (z1, lambda u, v: u), "v": (z2, lambda u, v: v), "relu": (relu(z1), lambda u, v: np.maximum(u, 0)),
    "relu v": (relu(z2), lambda u, v: np.maximum(v, 0)), "sign": (sign(z2), lambda u, v: np.sign(v)),
    "abs": (Abs(z1), lambda u, v: np.abs(u)), "step": (step(-z2), lambda u, v: np.where(v < 0, 1.0, 0.0)),
    "erf": (erf(z1 / 2), lambda u, v: np_erf(u / 2)), "gelu": (gelu(z2), lambda u, v: np_gelu(v)),
    "exp": (exp(z1 / 2), lambda u, v: np.exp(u / 2)), "sin": (sin(z1), lambda u, v: np.sin(u)),
    "difference": (relu(z1 - z2), lambda u, v: np.maximum(u - v, 0)), "tanh": (tanh(z1), lambda u, v: np.tanh(u)),
    "shift": (relu(z2 - sympy.Rational(1, 2)), lambda u, v: np.maximum(v - 0.5, 0)),
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(FACTORS)), min_size=1, max_size=3), st.floats(0.2, 2), st.floats(0.2, 2),
       st.floats(-0.95, 0.95))
def test_random_products(names, c11, c22, correlation):
    covariance = (c11, correlation * math.sqrt(c11 * c22), c22)
    recipe = planned(sympy.prod(FACTORS[name][0] for name in names))
    found = evaluate(recipe, **pair(covariance))
    found, error = found if isinstance(found, tuple) else (found, 0.0)

    def function(u, v):
        return np.prod([FACTORS[name][1](u, v) * np.ones_like(v) for name in names], axis=0)

    kinks = ((1, 0, 0), (0, 1, 0), (0, 1, -0.5), (1, -1, 0))
    expected = by_panels(function, covariance, kinks=kinks, panels=12, order=24)
    assert found == pytest.approx(expected, abs=1e-10 + 2 * error) and error < 1e-8


def test_formula_prints():
    formula = planned(relu(z1) * relu(z2)).formula
    assert formula.has(sympy.acos) and "arc1" not in sympy.latex(formula)
    assert sympy.simplify(planned(erf(z1) * erf(z2)).formula
                          - 2 * sympy.asin(2 * k12 / sqrt((1 + 2 * k11) * (1 + 2 * k22))) / pi) == 0


@pytest.mark.parametrize("gap", [-1e-13, 0.0, 1e-16, 1e-15, 1e-14, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("shifts", [(0.9, 0.9), (-0.9, -0.9), (0.9, 0.9 + 1e-7), (0.3, 0.6)])
def test_shifted_kinks_of_nearly_equal_variables(gap, shifts):
    """What state evolution asks for: E relu(u + a) relu(v + b), u and v equal but for rounding errors. By an integral over
    v - E[v | u] in closed form and one over u with 30 digits; correlations above 1 are taken to be 1."""
    import mpmath
    one, two = 0.35, 0.35 * (shifts[1] / shifts[0])**2
    joint = math.sqrt(one * two) * (1 - gap)
    with mpmath.workdps(30):
        deviation, rest = mpmath.sqrt(one), two - mpmath.mpf(joint)**2 / one
        left, slope = mpmath.sqrt(max(rest, 0)), mpmath.mpf(joint) / one

        def inner(mean):
            if left == 0:
                return max(mean, mpmath.mpf(0))
            return mean * mpmath.ncdf(mean / left) + left * mpmath.npdf(mean / left)

        kink = -shifts[1] / slope
        start, stop = mpmath.mpf(-shifts[0]), 12 * deviation
        points = {start, stop, *(p for k in (-20, -5, 0, 5, 20) if start < (p := kink + k * left) < stop),
                  *(start + (stop - start) * k / 8 for k in range(8))}
        expected = mpmath.quad(lambda u: (u + shifts[0]) * inner(slope * u + shifts[1]) * mpmath.npdf(u / deviation)
                               / deviation, sorted(points))
    found = value(relu(z1 + a) * relu(z2 + b), a=shifts[0], b=shifts[1], **pair((one, joint, two)))
    assert found == pytest.approx(float(expected), rel=1e-11)


NEARLY_PARALLEL = {
    "signs": (sign(z1) * sign(z2), lambda c, s: 1 - 2*s.angle/s.pi),
    "steps": (step(z1) * step(z2), lambda c, s: (s.pi - s.angle)/(2*s.pi)),
    "half": (relu(z1)**2 * step(z2), lambda c, s: s.one*(s.pi - s.angle + c*s.sin(s.angle))/(2*s.pi)),
    "mixed": (relu(z1) * step(z2), lambda c, s: s.sqrt(s.one)*(1 + c)/(2*s.sqrt(2*s.pi))),
    "ramps": (relu(z1) * relu(z2),
              lambda c, s: s.sqrt(s.one*s.two)*(s.sin(s.angle) + (s.pi - s.angle)*c)/(2*s.pi)),
    "slopes": (exp(-z1**2) * exp(-z2**2),
               lambda c, s: 1/s.sqrt((1 + 2*s.one)*(1 + 2*s.two) - 4*c**2*s.one*s.two))}


@pytest.mark.parametrize("name", NEARLY_PARALLEL)
def test_errors_where_variables_are_nearly_multiples(name):
    """Of (r, 0) and q (cos a, sin a), whose Gram matrix is rounded: what that changes is within the error, and the error is
    no more than some last digits make."""
    import mpmath
    integrand, formula = NEARLY_PARALLEL[name]
    recipe = planned(integrand)
    with mpmath.workdps(40):
        for r, q, angle in [(r, q, a) for r in (1.0, 3e8) for q in (0.7, 1e-7)
                            for a in (0.0, 1e-9, 1e-8, 3e-8, 1e-6, 1e-3, 0.5, 3.0, math.pi - 1e-6, math.pi - 1e-8)]:
            x, y = mpmath.mpf(q)*mpmath.cos(angle), mpmath.mpf(q)*mpmath.sin(angle)
            covariance = (r*r, r*float(x), float(x)**2 + float(y)**2)
            scope = SimpleNamespace(one=mpmath.mpf(r)**2, two=mpmath.mpf(q)**2, angle=mpmath.mpf(angle), pi=mpmath.pi,
                                    sin=mpmath.sin, sqrt=mpmath.sqrt)
            expected = formula(mpmath.cos(angle), scope)
            found, error = evaluate(recipe, **pair(covariance))
            assert abs(found - expected) <= error + 1e-12*abs(expected), (r, q, angle)
            turned = formula(mpmath.cos(scope.angle) - 3e-15*mpmath.sign(mpmath.cos(scope.angle)),
                             SimpleNamespace(**vars(scope) | {"angle": mpmath.acos(
                                 mpmath.cos(scope.angle) - 3e-15*mpmath.sign(mpmath.cos(scope.angle)))}))
            assert error <= 2*abs(turned - expected) + 1e-13*abs(expected), (r, q, angle)
