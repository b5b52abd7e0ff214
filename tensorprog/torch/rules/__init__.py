"""The rules of torch's operations, one file a family; importing this fills `RULES`."""

from tensorprog.torch.lowering import RULES
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
    "RULES", "attention", "comparisons", "linear", "picking", "pointwise", "pooling", "recurrent", "reductions", "tables", "views"
]
