"""Coordinatewise operations."""

from __future__ import annotations

import math
from typing import Any

import torch

from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule
from tensorprog.torch.rules.reductions import lifted

# torch's name -> the function's name in programs, of one argument and without options.
UNARY = {
    "relu": "relu",
    "relu_": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "silu_": "silu",
    "erf": "erf",
    "exp": "exp",
    "sin": "sin",
    "cos": "cos",
    "sqrt": "sqrt",
    "abs": "abs",
    "neg": "neg",
    "log": "log",
    "sign": "sign",
    "square": "square",
    "rsqrt": "rsqrt",
    "reciprocal": "reciprocal",
    "tanh_": "tanh",
    "sigmoid_": "sigmoid",
}
# Operations that give the numbers that they get.
SAME = (
    "contiguous",
    "clone",
    "detach",
    "alias",
    "to",
    "_to_copy",
    "type_as",
    "float",
    "lift_fresh_copy",
    "detach_",
)


def _unary(fn: str):
    def lower(low: Lowering, x: TracedValue, *_: object, **__: object) -> TracedValue:
        return low.map(fn, x)

    return lower


for _name, _fn in UNARY.items():
    rule(_name)(_unary(_fn))


@rule("dropout", "dropout_")
def _dropout(low: Lowering, x: TracedValue, p: float, train: bool) -> TracedValue:
    return dropped(low, x, x.axes, p) if train and p else x


@rule("feature_dropout", "feature_dropout_")
def _feature_dropout(low: Lowering, x: TracedValue, p: float, train: bool) -> TracedValue:
    """Whole channels are dropped."""
    return dropped(low, x, (*x.axes[:2], *((),) * (len(x.axes) - 2)), p) if train and p else x


@rule("alpha_dropout", "feature_alpha_dropout")
def _alpha_dropout(low: Lowering, x: TracedValue, p: float, train: bool) -> TracedValue:
    if train and p:
        raise low.refuse("alpha dropout has no rule in training", "use dropout, or trace the module in eval mode")
    return x


def dropped(low: Lowering, x: TracedValue, axes: tuple, p: float) -> TracedValue:
    """Every entry is kept with probability 1 - p, and divided by that."""
    kept = low.emit("noise", (), axes, "kept", keep=1 - p)
    return low.map("div", low.map("mul", x, kept, suffix="thinned"), 1 - p)


@rule(*SAME)
def _same(low: Lowering, x: TracedValue, *_: object, **__: object) -> TracedValue:
    return x


@rule("add", "add_")
def _add(low: Lowering, x: TracedValue, y: TracedValue | float | Both, *, alpha: float = 1) -> TracedValue:
    return added(low, x, y if alpha == 1 else low.map("mul", y, alpha))


def added(low: Lowering, x: TracedValue, y: TracedValue | float | Both, suffix: str = "") -> TracedValue:
    """A sum; a table of 0 and -inf is a mask."""
    if isinstance(y, TracedValue) and _is_mask(x):
        x, y = y, x
    if isinstance(y, TracedValue) and _is_mask(y):
        dropped = tuple(table.isinf() for table in y.pair)
        return low.map("masked_fill", x, low.buffer(f"{y.name}_dropped", dropped), suffix=suffix, value=float("-inf"))
    return low.map("add", x, y, suffix=suffix)


def _is_mask(x: TracedValue) -> bool:
    return x.op == "buffer" and bool(x.pair[0].isinf().any())


@rule("sub", "sub_")
def _sub(low: Lowering, x: TracedValue, y: TracedValue | float | Both, *, alpha: float = 1) -> TracedValue:
    return low.map("sub", x, y if alpha == 1 else low.map("mul", y, alpha))


@rule("rsub")
def _rsub(low: Lowering, x: TracedValue, y: TracedValue | float | Both, alpha: float = 1) -> TracedValue:
    return low.map("sub", y, x if alpha == 1 else low.map("mul", x, alpha))


@rule("mul", "mul_")
def _mul(low: Lowering, x: TracedValue, y: TracedValue | float | Both) -> TracedValue:
    return x if isinstance(y, int | float) and y == 1 else low.map("mul", x, y)


@rule("div", "div_")
def _div(low: Lowering, x: TracedValue, y: TracedValue | float | Both) -> TracedValue:
    return low.map("div", x, y)


@rule("pow", "pow_")
def _pow(low: Lowering, x: TracedValue | float, exponent: object) -> TracedValue:
    if isinstance(x, int | float) and x > 0 and isinstance(exponent, TracedValue):
        return low.map("exp", low.map("mul", exponent, math.log(x), suffix="exponent"))
    if not isinstance(exponent, int | float):
        raise low.refuse("a power whose exponent is a tensor or depends on the width has no rule")
    return low.map("pow", x, suffix="", exponent=exponent)


@rule("gelu")
def _gelu(low: Lowering, x: TracedValue, approximate: str = "none") -> TracedValue:
    return low.map("gelu" if approximate == "none" else "gelu_tanh", x)


@rule("mish", "mish_")
def _mish(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("mul", x, low.map("tanh", low.map("softplus", x, suffix="softplus"), suffix="gate"))


@rule("softsign")
def _softsign(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("div", x, low.map("add", low.map("abs", x, suffix="size"), 1.0, suffix="denominator"))


@rule("log_sigmoid")
def _log_sigmoid(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("neg", low.map("softplus", low.map("neg", x, suffix="negative"), suffix="softplus"))


@rule("relu6", "relu6_")
def _relu6(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("clamp", x, ends=(0.0, 6.0))


@rule("hardsigmoid", "hardsigmoid_")
def _hardsigmoid(low: Lowering, x: TracedValue) -> TracedValue:
    moved = low.map("add", low.map("div", x, 6.0, suffix="sixth"), 0.5, suffix="moved")
    return low.map("clamp", moved, ends=(0.0, 1.0))


@rule("hardswish", "hardswish_")
def _hardswish(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("mul", x, _hardsigmoid(low, x))


@rule("selu", "selu_")
def _selu(low: Lowering, x: TracedValue) -> TracedValue:
    """Klambauer et al. 2017, with the constants of torch."""
    return low.map("mul", low.map("elu", x, alpha=1.6732632423543772), 1.0507009873554805)


@rule("leaky_relu", "leaky_relu_")
def _leaky(low: Lowering, x: TracedValue, slope: float = 0.01) -> TracedValue:
    return low.map("leaky_relu", x, slope=slope)


@rule("elu", "elu_")
def _elu(low: Lowering, x: TracedValue, alpha: float = 1.0, *_: object) -> TracedValue:
    return low.map("elu", x, alpha=alpha)


@rule("softplus")
def _softplus(low: Lowering, x: TracedValue, beta: float = 1, threshold: float = 20) -> TracedValue:
    # Above the threshold torch gives x itself: at 20, log(1 + exp(-20)) = 2e-9 less.
    if beta == 1:
        return low.map("softplus", x)
    return low.map("div", low.map("softplus", low.map("mul", x, beta, suffix="steep"), suffix="softplus"), beta)


@rule("prelu")
def _prelu(low: Lowering, x: TracedValue, slope: TracedValue) -> TracedValue:
    """max(x, 0) + slope * min(x, 0), with a slope for each channel or one for all."""
    positive = low.map("relu", x, suffix="positive")
    negative = low.map("sub", x, positive, suffix="negative")
    return low.map("add", positive, low.map("mul", negative, lifted(low, slope, len(x.axes) - 2), suffix="scaled"))


@rule("log1p")
def _log1p(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("log", low.map("add", x, 1.0, suffix="moved"))


@rule("expm1")
def _expm1(low: Lowering, x: TracedValue) -> TracedValue:
    return low.map("sub", low.map("exp", x, suffix="exp"), 1.0)


@rule("hardtanh", "hardtanh_", "clamp", "clip")
def _clamp(
    low: Lowering, x: TracedValue, low_end: float | None = -1.0, high_end: float | None = 1.0, **bounds: float
) -> TracedValue:
    return low.map("clamp", x, ends=(bounds.get("min", low_end), bounds.get("max", high_end)))


@rule("clamp_min", "clamp_min_")
def _clamp_min(low: Lowering, x: TracedValue, low_end: float) -> TracedValue:
    return low.map("clamp", x, ends=(low_end, None))


@rule("clamp_max", "clamp_max_")
def _clamp_max(low: Lowering, x: TracedValue, high_end: float) -> TracedValue:
    return low.map("clamp", x, ends=(None, high_end))


@rule("masked_fill", "masked_fill_")
def _masked_fill(low: Lowering, x: TracedValue, mask: TracedValue, value: float) -> TracedValue:
    # Numbers as -1e9 are meant as -inf: a softmax makes either 0.
    return low.map("masked_fill", x, mask, value=value) if value < -1e4 else low.map("where", mask, value, x)


@rule("new_zeros", "zeros_like", "new_ones", "ones_like", "new_full", "full_like")
def _filled(low: Lowering, x: TracedValue, *args: Any, **options: Any) -> TracedValue:
    name = low.operation
    value = 0.0 if "zeros" in name else 1.0 if "ones" in name else options.get("fill_value", args[-1] if args else 0.0)
    shapes = zip(*low.out_sizes, strict=True) if low.out_sizes else ((), ())
    return low.buffer(f"{name}_{len(low.graph.values)}", tuple(torch.full(tuple(s), float(value)) for s in shapes))


@rule("embedding")
def _embedding(
    low: Lowering, table: TracedValue, ids: TracedValue, padding: int = -1, *_: object, **__: object
) -> TracedValue:
    """Rows of a table; that of padding is zero at the start, and has no gradient."""
    axes = (*ids.axes, *table.axes[1:])
    if padding < 0:
        return low.emit("gather", (table, ids), axes)
    rows = low.emit("gather", (table, ids), axes, "rows")
    real = low.map("ne", ids, padding, suffix="real")
    return low.map("where", low.emit("view", (real,), (*real.axes, ()), "real"), rows, 0.0)
