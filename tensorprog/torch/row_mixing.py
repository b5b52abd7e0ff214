"""Programs compute every row of a batch by itself: operations over the rows have no place in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.torch.errors import module_error
from tensorprog.torch.tracing import trace

if TYPE_CHECKING:
    from tensorprog.torch.graph import TracedValue
    from tensorprog.torch.tracing import Traced


ADVICE = "trace the module in eval mode, if it is a batch normalization; tables of muP have the operation"


def of_one_row(traced: Traced) -> Traced:
    """The module traced for one row of the example inputs.

    Raises:
        ProgramError: TP807, if it does not run on one row.
    """
    try:
        return trace(traced.make, tuple(x[:1] for x in traced.inputs), traced.widths, traced.train)
    except ProgramError as error:
        first = error.diagnostics[0]
        said = f"the module does not run on one row, of which a program is: {first.message}"
        raise ProgramError([Diagnostic("TP807", said, first.span, help=ADVICE)], error.source) from error


def refuse_mixed_rows(single: Traced, traced: Traced) -> None:
    """Find operations over the rows: those over an axis whose size depends on how many rows there are.

    Args:
        single: the module traced for one row.
        traced: the same for the example inputs.

    Raises:
        ProgramError: TP807, at the module's line.
    """
    if len(traced.inputs[0]) == 1:
        # A single row does not tell an axis of rows from one of size 1.
        several = tuple(torch.cat([x, x]) for x in traced.inputs)
        traced = trace(traced.make, several, traced.widths, traced.train)
    # As with an `if` on the number of rows.
    if len(single.graph.values) != len(traced.graph.values):
        raise module_error("TP807", "the module does something else for one row than for several")
    for one, many in zip(single.graph.values, traced.graph.values, strict=True):
        if any(a != b for a, b in zip(_sizes_gone(one), _sizes_gone(many), strict=True)):
            raise module_error(
                "TP807",
                "this mixes the rows of the batch, and a program is of one row",
                many.place,
                ADVICE,
            )


def _sizes_gone(v: TracedValue) -> list[int]:
    """The sizes of the axes that an operation runs over."""
    if v.op == "reduce":
        return [v.args[0].sizes[d][0] for d in v.dims]
    if v.op == "softmax":
        return [v.args[0].sizes[v.dim][0]]
    if v.op == "contract":
        left, right, result = v.labels
        first, second = v.args
        axes = [*zip(left, first.sizes, strict=True), *zip(right, second.sizes, strict=True)]
        return [size for label, (size, _) in sorted(axes) if label not in result]
    return []
