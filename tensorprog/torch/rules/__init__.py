"""The rules of torch's operations, one file a family; importing this fills `lowering.RULES`."""

from tensorprog.torch.rules import (
    attention,
    comparisons,
    linear,
    picking,
    pointwise,
    pooling,
    recurrent,
    reductions,
    tables,
    views,
)

__all__ = [
    "attention", "comparisons", "linear", "picking", "pointwise", "pooling", "recurrent", "reductions", "tables", "views"
]
