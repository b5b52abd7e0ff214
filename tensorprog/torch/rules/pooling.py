"""Pooling: a window for each tap, then a mean or maximum over taps."""

from __future__ import annotations

from collections.abc import Sequence

from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Lowering, rule
from tensorprog.torch.rules.linear import PerAxis, _nth, window
from tensorprog.torch.rules.reductions import reduce


def _pooled(low: Lowering, x: TracedValue, fn: str, kernel: PerAxis, stride: PerAxis | None, padding: PerAxis, rank: int) -> TracedValue:
    stride = stride or kernel
    found, sizes = x, low.out_sizes[-rank:]
    for k in range(rank):
        taps = (_nth(kernel, k),) * 2
        found = window(low, found, len(x.axes) - rank + k, sizes[k], taps, _nth(stride, k), _nth(padding, k))
    return reduce(low, fn, found, range(-rank, 0))


@rule("max_pool1d", "max_pool2d")
def _max_pool(
    low: Lowering,
    x: TracedValue,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> TracedValue:
    # Padding of a maximum is -inf, and that of a window zeros.
    if ceil_mode or set(_numbers(dilation)) != {1} or set(_numbers(padding)) != {0}:
        raise low.refuse("max pooling with padding, dilation or ceil_mode has no rule")
    return _pooled(low, x, "max", kernel, stride, 0, _rank(low))


@rule("avg_pool1d", "avg_pool2d")
def _avg_pool(
    low: Lowering,
    x: TracedValue,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: object = None,
) -> TracedValue:
    # Padding and what hangs over count into torch's mean or not, by the options: a mean over taps counts them.
    if ceil_mode or divisor or set(_numbers(padding)) != {0}:
        raise low.refuse("average pooling with padding, ceil_mode or a divisor has no rule")
    return _pooled(low, x, "mean", kernel, stride, 0, _rank(low))


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive(low: Lowering, x: TracedValue, output: object, *_: object) -> TracedValue:
    fn = "max" if "max" in low.operation else "mean"
    rank = _rank(low)
    sizes = [(s[0], o[0]) for s, o in zip(x.sizes[-rank:], low.out_sizes[-rank:], strict=True)]
    if any(size % out for size, out in sizes):
        raise low.refuse("adaptive pooling into parts that are not equal has no rule")
    kernel = [size // out for size, out in sizes]
    return _pooled(low, x, fn, kernel, kernel, 0, rank)


def _rank(low: Lowering) -> int:
    return 1 if low.operation.endswith("1d") else 2


def _numbers(value: PerAxis) -> list[int]:
    return list(value) if isinstance(value, Sequence) else [value]
