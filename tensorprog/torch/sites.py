"""Which use of a weight, and which softmax, a site of a multiplier is: what `multipliers.py` has to scale when the module runs."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from tensorprog.torch.exponents import Counting, MultiplierSite, is_number
from tensorprog.torch.graph import MOVES, VIEWS, TracedGraph, TracedValue

#: torch's names of products of two factors, and of what has a softmax in it whose argument can be scaled.
PRODUCT_OPERATIONS = {"linear", "matmul", "mm", "einsum"}
SOFTMAX_OPERATIONS = {"softmax", "_softmax", "special_softmax", "scaled_dot_product_attention"}
#: Numbers below it, added to logits, are meant as minus infinity.
MASKED = -1e3


def product_of(graph: TracedGraph, site: MultiplierSite) -> tuple[str, int] | None:
    """The parameter of a product, and its axis that is summed over; None, if the site is not behind one product with a plain
    parameter."""
    value = site.value
    if len(site.params) != 1:
        return None
    while value.op != "contract":
        linear = [a for a in value.args if not is_number(a)]
        if not _is_linear(value) or len(linear) != 1 or len(graph.users(linear[0])) != 1:
            return None
        value = linear[0]
    if value.operation not in PRODUCT_OPERATIONS:
        return None
    axes = list(_summed_axes(value, site.params[0]))
    return (site.params[0], axes[0]) if len(axes) == 1 else None


def _is_linear(value: TracedValue) -> bool:
    """Whether what multiplies the value's argument multiplies the value."""
    match value.op:
        case "map":
            return value.fn in ("neg", "mul") or value.fn == "div" and is_number(value.args[1])
        case "reduce":
            return value.fn in ("sum", "mean")
    return value.op in MOVES


def _summed_axes(product: TracedValue, name: str) -> Iterator[int]:
    """The axes of a parameter that a product sums over, if the parameter or a transpose of it is one of the factors."""
    for factor, labels in zip(product.args, product.labels, strict=False):
        axes, source = list(range(len(factor.axes))), factor
        while source.op == "permute":
            axes, source = [source.order[k] for k in axes], source.args[0]
        if source.op == "param" and source.name == name:
            yield from (axes[k] for k, label in enumerate(labels) if label not in product.labels[2])


def is_used_without(counting: Counting, name: str, axis: int) -> bool:
    """Whether another product sums over the same axis of a parameter, and needs no multiplier: calls do not tell them apart."""
    uses = [u.value for u in counting.uses[name] if not u.multiplier]
    return any(axis in _summed_axes(value, name) for value in uses if value.op == "contract")


def softmax_of(graph: TracedGraph, value: TracedValue) -> TracedValue | None:
    """The softmax that a value goes into, if to scale what goes into that, but for masks, is to scale the value."""
    logits = value
    while True:
        # Whoever reads logits gets the multiplier, but nothing comes of it for comparisons and for the maximum that is subtracted.
        users = [u for u in graph.users(value) if not (u.is_truth or _is_maximum(u, logits))]
        if len(users) != 1:
            return None
        (user,) = users
        if user.op == "softmax":
            return user if user.operation in SOFTMAX_OPERATIONS else None
        if user.op not in VIEWS and not (user.op == "map" and _keeps(user, value, logits)):
            return None
        value = user


def _keeps(user: TracedValue, value: TracedValue, logits: TracedValue) -> bool:
    """Whether a function multiplies, or adds nothing but masks and the maximum of the logits."""
    others = [a for a in user.args if a is not value]
    match user.fn:
        case "mul":
            return len(others) == 1
        case "div" | "masked_fill":
            return len(others) == 1 and user.args[0] is value
        case "where":
            return len(others) == 2 and user.args[0] is not value and _is_mask(others[1])
        case "add" | "sub":
            # Of torch's own attention the queries are scaled, so that what it adds afterwards stays.
            own = user.operation == "scaled_dot_product_attention"
            return own or len(others) == 1 and (_is_mask(others[0]) or user.fn == "sub" and _is_maximum(others[0], logits))
    return False


def _is_mask(x: TracedValue) -> bool:
    """Whether it is made of zeros and of numbers that are meant as minus infinity."""
    x = x.moved
    if x.op == "buffer":
        return all(bool(((table == 0) | (table < MASKED)).all()) for table in x.pair)
    if x.op != "map":
        return _is_lowest(x)
    # Of the input: (1 - kept) * -1e9, or zeros that are filled.
    return x.fn in ("mul", "where") and any(map(_is_lowest, x.args)) or x.fn == "masked_fill" and _is_mask(x.args[0])


def _is_lowest(x: TracedValue) -> bool:
    if x.op == "number":
        return max(x.numbers) < MASKED
    return x.op == "buffer" and not x.axes and max(float(x.pair[0]), float(x.pair[1])) < MASKED


def _is_maximum(x: TracedValue, logits: TracedValue) -> bool:
    """Whether it is the maximum of what the logits became."""
    x = x.moved
    if x.op != "reduce" or x.fn != "max":
        return False
    x = x.args[0]
    while x is not logits and x.args and x.op in ("map", *VIEWS):
        x = x.args[0]
    return x is logits


def common_path(left: str, right: str) -> str:
    """The path of the innermost module that two are in."""
    return ".".join(os.path.commonprefix([left.split("."), right.split(".")]))
