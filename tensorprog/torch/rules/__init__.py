"""The rules of torch's operations, one file a family; importing this fills `lowering.RULES`."""

from tensorprog.torch.rules import (
    attention,
    linear,
    pointwise,
    pooling,
    recurrent,
    reductions,
    tables,
    views,
)

__all__ = ["attention", "linear", "pointwise", "pooling", "recurrent", "reductions", "tables", "views"]
