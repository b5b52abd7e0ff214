"""The operations of the interpreter on arrays or tape nodes, each with its backward rule.

Arrays have their finite axes first and their width axis last.
"""

from __future__ import annotations

import numpy as np

from tensorprog.finite.functions import BINARY, apply_unary
from tensorprog.finite.tape import Value, plain, primitive
from tensorprog.runtime.polar import polar_differential as polar_differential_of

#: A singular value that is smaller than this, relative to the largest, is rounding.
# Zeros of a matrix of low rank come out at about 1e-16, and more where it was summed over many steps.
SMALLEST = 1e-8

# --- coordinatewise ------------------------------------------------------------------------------------------


def _unary_vjp(i: int, g: Value, out: Value, x: Value, fn: str, order: int = 0) -> Value:
    return binary(g, unary(x, fn=fn, order=order + 1), fn="mul")


@primitive(_unary_vjp)
def unary(x: Value, *, fn: str, order: int = 0) -> Value:
    """The `order`-th derivative of a one-argument primitive at each entry."""
    return apply_unary(fn, order, x)


def _binary_vjp(i: int, g: Value, out: Value, a: Value, b: Value, fn: str) -> Value:
    return _sum_to(_binary_cotangent(i, g, out, a, b, fn), np.shape(plain((a, b)[i])))


@primitive(_binary_vjp)
def binary(a: Value, b: Value, *, fn: str) -> Value:
    """A two-argument primitive, with broadcasting."""
    return BINARY[fn](a, b)


def add(a: Value, b: Value) -> Value:
    """a + b, with broadcasting."""
    return binary(a, b, fn="add")


def mul(a: Value, b: Value) -> Value:
    """a * b, with broadcasting."""
    return binary(a, b, fn="mul")


def _binary_cotangent(i: int, g: Value, out: Value, a: Value, b: Value, fn: str) -> Value:
    match fn, i:
        case ("add", _) | ("sub", 0):
            return g
        case "sub", _:
            return unary(g, fn="neg")
        case "mul", _:
            return mul(g, a if i else b)
        case "div", 0:
            return binary(g, b, fn="div")
        case "div", _:
            return unary(binary(mul(g, out), b, fn="div"), fn="neg")
        case "pow", 0:
            return _power_cotangent(g, a, b)
        case "pow", _:
            return mul(g, mul(out, unary(a, fn="log")))
        case "max", _:
            return mul(g, _share(i, a, b))
        case _:
            return mul(g, _share(i, b, a))


def _power_cotangent(g: Value, a: Value, b: Value) -> Value:
    """g * d a**b / d a; zero where the exponent is zero, even at a = 0."""
    # 0 * 0**(-1) would be NaN, and 0 * 0**0 is not.
    lower = binary(b, np.where(plain(b) == 0, 0.0, 1.0), fn="sub")
    return mul(g, mul(b, binary(a, lower, fn="pow")))


def _share(i: int, larger: Value, smaller: Value) -> Value:
    """The derivative of a maximum to its first (`i` = 0) or second argument; a tie goes to the second."""
    first = unary(binary(larger, smaller, fn="sub"), fn="step")
    return binary(1.0, first, fn="sub") if i else first


def _sum_to(g: Value, shape: tuple[int, ...]) -> Value:
    """The sum of `g` over the axes along which an array of `shape` was broadcast."""
    while np.ndim(plain(g)) > len(shape):
        g = sum_axis(g, axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and plain(g).shape[axis] != 1:
            g = expand(sum_axis(g, axis=axis), axis=axis, size=1)
    return g


# --- axes ----------------------------------------------------------------------------------------------------


def _sum_axis_vjp(i: int, g: Value, out: Value, x: Value, axis: int) -> Value:
    return expand(g, axis=axis, size=plain(x).shape[axis])


@primitive(_sum_axis_vjp)
def sum_axis(x: Value, *, axis: int) -> Value:
    """The sum over one axis."""
    return np.sum(x, axis=axis)


def _expand_vjp(i: int, g: Value, out: Value, x: Value, axis: int, size: int) -> Value:
    return sum_axis(g, axis=axis)


@primitive(_expand_vjp)
def expand(x: Value, *, axis: int, size: int) -> Value:
    """`x` repeated along a new axis; a negative `axis` counts from the end of the result."""
    shape = list(np.shape(x))
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, size)
    return np.broadcast_to(np.expand_dims(x, axis), shape)


def _pick_vjp(i: int, g: Value, out: Value, x: Value, index: tuple) -> Value:
    return place(g, index=index, shape=np.shape(plain(x)))


@primitive(_pick_vjp)
def pick(x: Value, *, index: tuple) -> Value:
    """`x[index]` with basic indices (no entry twice)."""
    return x[index]


def _place_vjp(i: int, g: Value, out: Value, x: Value, index: tuple, shape: tuple[int, ...]) -> Value:
    return pick(g, index=index)


@primitive(_place_vjp)
def place(x: Value, *, index: tuple, shape: tuple[int, ...]) -> Value:
    """Zeros of `shape` with `x` at `index`."""
    result = np.zeros(shape)
    result[index] = x
    return result


def _replace_vjp(i: int, g: Value, out: Value, x: Value, part: Value, index: tuple) -> Value:
    return pick(g, index=index) if i else replace(g, 0.0, index=index)


@primitive(_replace_vjp)
def replace(x: Value, part: Value, *, index: tuple) -> Value:
    """A copy of `x` with `part` at `index`."""
    result = np.array(x)
    result[index] = part
    return result


def _stack_vjp(i: int, g: Value, out: Value, *xs: Value) -> Value:
    return pick(g, index=(i,))


@primitive(_stack_vjp)
def stack(*xs: Value) -> Value:
    """Arrays of one shape along a new first axis."""
    return np.stack(xs)


def _reshape_vjp(i: int, g: Value, out: Value, x: Value, shape: tuple[int, ...]) -> Value:
    return reshape(g, shape=np.shape(plain(x)))


@primitive(_reshape_vjp)
def reshape(x: Value, *, shape: tuple[int, ...]) -> Value:
    """The entries of `x` in another shape."""
    return np.reshape(x, shape)


def _contract_vjp(i: int, g: Value, out: Value, a: Value, b: Value, axes: tuple[str, str, str]) -> Value:
    own, other, result = axes[i], axes[1 - i], axes[2]
    known = "".join(letter for letter in own if letter in other or letter in result)
    value = contract(g, (a, b)[1 - i], axes=(result, other, known))
    # A letter of one operand only was summed out: each entry has the same cotangent.
    for axis, letter in enumerate(own):
        if letter not in known:
            value = expand(value, axis=axis, size=np.shape(plain((a, b)[i]))[axis])
    return value


@primitive(_contract_vjp)
def contract(a: Value, b: Value, *, axes: tuple[str, str, str]) -> Value:
    """The einsum `axes[0], axes[1] -> axes[2]`; no letter twice in one operand."""
    return np.einsum(f"{axes[0]},{axes[1]}->{axes[2]}", a, b)


# --- matrices ------------------------------------------------------------------------------------------------


def _matmul_vjp(i: int, g: Value, out: Value, m: Value, x: Value) -> Value:
    return matmul(transpose(m), g) if i else outer(g, x)


@primitive(_matmul_vjp)
def matmul(m: Value, x: Value) -> Value:
    """`m @ x` on the last axis of `x`: [r, c] and [..., c] to [..., r]."""
    return x @ m.T


def _outer_vjp(i: int, g: Value, out: Value, u: Value, v: Value) -> Value:
    return matmul(transpose(g), u) if i else matmul(g, v)


@primitive(_outer_vjp)
def outer(u: Value, v: Value) -> Value:
    """The sum of outer products over all leading axes: [..., r] and [..., c] to [r, c]."""
    return u.reshape(-1, u.shape[-1]).T @ v.reshape(-1, v.shape[-1])


def _transpose_vjp(i: int, g: Value, out: Value, m: Value) -> Value:
    return transpose(g)


@primitive(_transpose_vjp)
def transpose(m: Value) -> Value:
    """[r, c] to [c, r]."""
    return m.T


def _polar_vjp(i: int, g: Value, out: Value, m: Value) -> Value:
    return polar_differential(m, g)


@primitive(_polar_vjp)
def polar(m: Value) -> Value:
    """The orthogonal polar factor: singular values below `SMALLEST` times the largest become 0, all others 1."""
    # The singular value decomposition raises an exception at NaN; diverged training goes on with NaN.
    if not np.all(np.isfinite(m)):
        return np.full(m.shape, np.nan)
    u, _, vh = _singular(m)
    return u @ vh


def _polar_differential_vjp(i: int, g: Value, out: Value, m: Value, *directions: Value) -> Value:
    """Differentials of the polar factor are symmetric in their directions and in what they are multiplied with."""
    others = directions[: max(i - 1, 0)] + directions[i:] if i else directions
    return polar_differential(m, *others, g)


@primitive(_polar_differential_vjp)
def polar_differential(m: Value, *directions: Value) -> Value:
    """The differential of the polar factor at matrices of the same rank, of as high an order as there are directions."""
    if not all(np.all(np.isfinite(x)) for x in (m, *directions)):
        return np.full(m.shape, np.nan)
    u, s, vh = _singular(m)
    maps = [lambda x, transposed, b=b: x @ (b if transposed else b.T) for b in directions]
    one, other = polar_differential_of(u.T, s, vh, maps)
    return one.T @ other


def _singular(m: Value) -> Value:
    """The singular vectors and values of `m` but for those that are rounding: [r, k], [k] and [k, c]."""
    basis = _range(m)
    u, s, vh = np.linalg.svd(basis.T @ m, full_matrices=False)
    kept = s > SMALLEST * s[0] if s.size and s[0] > 0 else np.zeros(len(s), bool)
    return basis @ u[:, kept], s[kept], vh[kept]


def _range(m: Value) -> Value:
    """Orthonormal columns whose span holds those of `m`, but for less than a tenth of `SMALLEST`: of few random
    combinations of them if the rank is low, as that of gradients is (Halko, Martinsson and Tropp, 2011)."""
    # A seed of its own, always the same: a matrix has one polar factor, whatever was drawn before.
    generator, size, count = np.random.default_rng(0), np.linalg.norm(m), 32
    # At width 1024, rank 30 takes a tenth of the time of the whole decomposition, rank 120 two thirds; beyond that,
    # nothing is saved.
    while 4 * count < min(m.shape):
        basis = np.linalg.qr(m @ generator.standard_normal((m.shape[1], count)))[0]
        # `size` is at most sqrt(rank) times the largest singular value, and the rank is at most `count`.
        if np.linalg.norm(m - basis @ (basis.T @ m)) < 0.1 * SMALLEST * size / np.sqrt(count):
            return basis
        count *= 2
    return np.eye(len(m))
