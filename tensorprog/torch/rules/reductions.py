"""Sums and means over axes, softmax, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import torch

from tensorprog.torch.axes import both, fresh, unify
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule

Dims = int | list[int] | None


def reduce(low: Lowering, fn: str, x: TracedValue, dims: Sequence[int] | None, keep: bool = False, suffix: str = "") -> TracedValue:
    """`fn` is sum, mean or max."""
    rank = len(x.axes)
    chosen = tuple(range(rank)) if dims is None else tuple(sorted(d % rank for d in dims))
    axes = [() if k in chosen else axis for k, axis in enumerate(x.axes) if keep or k not in chosen]
    return low.emit("reduce", (x,), axes, suffix, fn=fn, dims=chosen, keep=keep)


def _dims(dim: Dims) -> list[int] | None:
    return [dim] if isinstance(dim, int) else dim or None


@rule("mean")
def _mean(low: Lowering, x: TracedValue, dim: Dims = None, keepdim: bool = False, **__: object) -> TracedValue:
    return reduce(low, "mean", x, _dims(dim), keepdim)


@rule("sum")
def _sum(low: Lowering, x: TracedValue, dim: Dims = None, keepdim: bool = False, **__: object) -> TracedValue:
    return reduce(low, "sum", x, _dims(dim), keepdim)


@rule("linalg_vector_norm", "norm", "frobenius_norm")
def _norm(low: Lowering, x: TracedValue, order: float = 2, dim: Dims = None, keepdim: bool = False, **__: object) -> TracedValue:
    if order not in (2, None):
        raise low.refuse(f"a norm of order {order} has no rule", "use the Euclidean norm")
    return low.map("sqrt", reduce(low, "sum", low.map("square", x, suffix="squares"), _dims(dim), keepdim, "total"))


@rule("var")
def _var(low: Lowering, x: TracedValue, *args: Any, **options: Any) -> TracedValue:
    return _variance(low, x, *args, **options)


@rule("std")
def _std(low: Lowering, x: TracedValue, *args: Any, **options: Any) -> TracedValue:
    return low.map("sqrt", _variance(low, x, *args, **options))


@rule("var_mean")
def _var_mean(low: Lowering, x: TracedValue, *args: Any, **options: Any) -> tuple[TracedValue, TracedValue]:
    dims, keep = _dims(args[0] if args and not isinstance(args[0], bool) else None), options.get("keepdim", False)
    return _variance(low, x, *args, **options), reduce(low, "mean", x, dims, keep, "mean")


def _variance(
    low: Lowering,
    x: TracedValue,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> TracedValue:
    """torch divides by the number of elements less `correction`; along an axis that grows, this makes no difference."""
    if isinstance(dim, bool):
        dims, unbiased = None, dim
    else:
        dims = _dims(dim)
    centered = low.map("sub", x, reduce(low, "mean", x, dims, True, "mean"), suffix="centered")
    found = reduce(low, "mean", low.map("square", centered, suffix="squares"), dims, keepdim, "var")
    less = float(unbiased) if correction is None else correction
    sizes = [x.sizes[d] for d in (range(len(x.axes)) if dims is None else dims)]
    count = math.prod(size[0] for size in sizes)
    if not less or any(a != b for a, b in sizes):
        return found
    return low.map("mul", found, count / (count - less), suffix="var")


@rule("cosine_similarity")
def _cosine_similarity(low: Lowering, x: TracedValue, y: TracedValue, dim: int = 1, eps: float = 1e-8) -> TracedValue:
    """The mean of the product, divided by the root mean squares: all of order one."""
    product = reduce(low, "mean", low.map("mul", x, y, suffix="product"), (dim,), False, "mean")
    sizes = [_root_mean_square(low, z, dim, eps) for z in (x, y)]
    return low.map("div", product, low.map("mul", *sizes, suffix="sizes"))


def _root_mean_square(low: Lowering, x: TracedValue, dim: int, eps: float) -> TracedValue:
    squares = reduce(low, "mean", low.map("square", x, suffix="squares"), (dim,), False, "mean")
    return low.map("clamp", low.map("sqrt", squares, suffix="size"), suffix="size", ends=(eps, None))


@rule("amax")
def _amax(low: Lowering, x: TracedValue, dim: Dims = None, keepdim: bool = False) -> TracedValue:
    return reduce(low, "max", x, _dims(dim), keepdim)


@rule("softmax", "_softmax", "special_softmax")
def _softmax(low: Lowering, x: TracedValue, dim: int, *_: object, **__: object) -> TracedValue:
    return low.emit("softmax", (x,), x.axes, dim=dim % len(x.axes))


@rule("log_softmax")
def _log_softmax(low: Lowering, x: TracedValue, dim: int, *_: object, **__: object) -> TracedValue:
    return low.map("log", low.emit("softmax", (x,), x.axes, dim=dim % len(x.axes)))


@rule("layer_norm")
def _layer_norm(
    low: Lowering,
    x: TracedValue,
    shape: list[object],
    weight: TracedValue | None = None,
    bias: TracedValue | None = None,
    eps: float = 1e-5,
    *_: object,
) -> TracedValue:
    dims = range(-len(shape), 0)
    centered = low.map("sub", x, reduce(low, "mean", x, dims, True, "mean"), suffix="centered")
    return _scaled(low, _over_root(low, centered, dims, eps), weight, bias)


@rule("rms_norm", "_fused_rms_norm")
def _rms_norm(
    low: Lowering, x: TracedValue, shape: list[object], weight: TracedValue | None = None, eps: float | None = None
) -> TracedValue:
    # torch's default for `eps=None`.
    floor = torch.finfo(low.dtype).eps if eps is None else eps
    return _scaled(low, _over_root(low, x, range(-len(shape), 0), floor), weight, None)


def _over_root(low: Lowering, x: TracedValue, dims: Sequence[int], eps: float) -> TracedValue:
    squares = reduce(low, "mean", low.map("square", x, suffix="squares"), dims, True, "var")
    return low.map("div", x, low.map("sqrt", low.map("add", squares, eps, suffix="var"), suffix="std"), suffix="normed")


def _scaled(low: Lowering, x: TracedValue, weight: TracedValue | None, bias: TracedValue | None) -> TracedValue:
    scaled = x if weight is None else low.map("mul", x, weight)
    return scaled if bias is None else low.map("add", scaled, bias)


@rule("group_norm")
def _group_norm(
    low: Lowering,
    x: TracedValue,
    groups: int | Both,
    weight: TracedValue | None = None,
    bias: TracedValue | None = None,
    eps: float = 1e-5,
    *_: object,
) -> TracedValue:
    """Channels are [groups, channels of a group]; mean and variance are over the latter and all places."""
    count = (groups.first, groups.second) if isinstance(groups, Both) else (groups, groups)
    group, inner = fresh(count), fresh(both(size // g for size, g in zip(x.sizes[1], count, strict=True)))
    unify(x.axes[1], (*group, *inner))
    parts = low.emit("view", (x,), (x.axes[0], group, inner, *x.axes[2:]), "groups")
    dims = range(2, len(parts.axes))
    centered = low.map("sub", parts, reduce(low, "mean", parts, dims, True, "mean"), suffix="centered")
    normed = low.emit("view", (_over_root(low, centered, dims, eps),), x.axes, "normed")
    rank = len(x.axes) - 2
    return _scaled(low, normed, lifted(low, weight, rank), lifted(low, bias, rank))


@overload
def lifted(low: Lowering, value: TracedValue, rank: int) -> TracedValue: ...


@overload
def lifted(low: Lowering, value: TracedValue | None, rank: int) -> TracedValue | None: ...


def lifted(low: Lowering, value: TracedValue | None, rank: int) -> TracedValue | None:
    """Numbers of channels, for the places behind them."""
    return None if value is None else low.emit("view", (value,), (*value.axes, *((),) * rank), "lifted")


@rule("batch_norm")
def _batch_norm(
    low: Lowering,
    x: TracedValue,
    weight: TracedValue | None,
    bias: TracedValue | None,
    mean: TracedValue,
    var: TracedValue,
    training: bool,
    _momentum: float,
    eps: float,
    *_: object,
) -> TracedValue:
    rank = len(x.axes) - 2
    if training:
        # The statistics of the batch itself: over its rows and all places.
        dims = (0, *range(2, len(x.axes)))
        centered = low.map("sub", x, reduce(low, "mean", x, dims, True, "mean"), suffix="centered")
        # By the variance with 1/N: only torch's running one has 1/(N - 1).
        normed = _over_root(low, centered, dims, eps)
    else:
        root = low.map("sqrt", low.map("add", lifted(low, var, rank), eps, suffix="var"), suffix="std")
        normed = low.map("div", low.map("sub", x, lifted(low, mean, rank), suffix="centered"), root, suffix="normed")
    return _scaled(low, normed, lifted(low, weight, rank), lifted(low, bias, rank))
