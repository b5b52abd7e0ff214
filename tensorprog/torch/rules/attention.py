"""Scaled dot product attention: two contractions with a softmax in between."""

from __future__ import annotations

import torch

from tensorprog.torch.axes import both
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule
from tensorprog.torch.rules.linear import contract, letters
from tensorprog.torch.rules.pointwise import added, dropped
from tensorprog.torch.rules.views import repeated


@rule("scaled_dot_product_attention")
def _attention(
    low: Lowering,
    q: TracedValue,
    k: TracedValue,
    v: TracedValue,
    mask: TracedValue | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | Both | None = None,
    enable_gqa: bool = False,
) -> TracedValue:
    if enable_gqa:
        k, v = (_repeated(low, z, q.sizes[-3]) for z in (k, v))
    if scale is None:
        first, second = (size**-0.5 for size in q.sizes[-1])
        scale = first if first == second else Both(first, second)
    batch = letters(len(q.axes) - 2)
    logits = contract(low, q, k, batch + "xz", batch + "yz", batch + "xy", "products")
    logits = low.map("mul", logits, scale, suffix="logits")
    if causal:
        mask = _triangle(low, q.name, q.sizes[-2][0], k.sizes[-2][0])
    if mask is not None:
        logits = _masked(low, logits, mask)
    weights = low.emit("softmax", (logits,), logits.axes, "weights", dim=len(logits.axes) - 1)
    if dropout:
        weights = dropped(low, weights, weights.axes, dropout)
    return contract(low, weights, v, batch + "xy", batch + "yz", batch + "xz")


def _repeated(low: Lowering, x: TracedValue, heads: tuple[int, int]) -> TracedValue:
    """Every head several times, one after another, as there are query heads."""
    counts = both(a // b for a, b in zip(heads, x.sizes[-3], strict=True))
    return repeated(low, x, len(x.axes) - 3, counts)


def _triangle(low: Lowering, name: str, rows: int, columns: int) -> TracedValue:
    # With more keys than queries torch aligns the triangle with the first key.
    kept = torch.ones(rows, columns, dtype=torch.bool).tril()
    return low.buffer(f"{name}_mask", (kept, kept))


def _masked(low: Lowering, logits: TracedValue, mask: TracedValue) -> TracedValue:
    if mask.op == "buffer" and mask.pair[0].dtype == torch.bool:
        # Boolean masks of torch say what is kept, `masked_fill` what is not.
        dropped = tuple(~kept for kept in mask.pair)
        inverse = low.buffer(f"{mask.name}_dropped", dropped)
        return low.map("masked_fill", logits, inverse, suffix="masked", value=float("-inf"))
    if mask.is_truth:
        return low.map("masked_fill", logits, low.map("not", mask), suffix="masked", value=float("-inf"))
    return added(low, logits, mask, "masked")
