"""What a module computes, in a dozen operations on tensors whose axes are lists of factors.

    input | param | buffer | number | noise | position         the leaves; `noise` is 1 with probability `keep`, or 0;
                                                               `position` is where an entry is on its axis, 0 to 1
    map fn (x, ...)                                            coordinatewise, with broadcasting
    contract (x, w) labels                                     a sum over the axes whose label the result lacks
    reduce fn (x) dims | softmax (x) dim                       over axes
    gather (table, ids)                                        rows of a table
    view | permute | index | slice | cat | expand | window     the same numbers at other places
    carry (init) | step (x) | collect (x)                      a loop over a time axis: state, input and output of a
    step

`rules/` lowers the operations of torch to these, `exponents.py` counts powers of n on them, `emit.py` writes them as
text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorprog.torch.axes import Axis, leaves, sizes_of, widths
from tensorprog.torch.errors import SourceLine

# Operations that only move numbers: powers of n go through them unchanged.
MOVES = frozenset({"view", "permute", "index", "slice", "cat", "expand", "window", "step", "collect"})


@dataclass(eq=False, slots=True)
class TracedValue:
    """One tensor of the network. Its name is `base` with a number where several would have the same."""

    op: str
    args: tuple[TracedValue, ...]
    axes: tuple[Axis, ...]
    attrs: dict[str, object] = field(default_factory=dict)
    name: str = ""
    base: str = ""
    module: str = ""
    place: SourceLine | None = None

    def __getattr__(self, key: str) -> object:
        attrs = object.__getattribute__(self, "attrs")
        if key in attrs:
            return attrs[key]
        raise AttributeError(key)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The sizes of every axis at the two widths."""
        return tuple(sizes_of(axis) for axis in self.axes)

    @property
    def width_count(self) -> int:
        """The number of its entries is of the order of n to this power."""
        return sum(widths(axis) for axis in self.axes)

    @property
    def is_constant(self) -> bool:
        """Whether it depends on no input, parameter or draw: a number, or a table of numbers."""
        return self.op in ("number", "buffer", "position") or bool(self.attrs.get("table"))

    def leaves(self) -> tuple[Axis, ...]:
        """The factors of every axis."""
        return tuple(leaves(axis) for axis in self.axes)


@dataclass(eq=False, slots=True)
class TracedGraph:
    """A module's values in the order of computation, its output last."""

    values: list[TracedValue] = field(default_factory=list)
    output: TracedValue | None = None

    @property
    def params(self) -> dict[str, TracedValue]:
        """The parameters by name, a shared one under its first name."""
        return {v.name: v for v in self.values if v.op == "param"}

    def of(self, op: str) -> list[TracedValue]:
        """The values of one operation."""
        return [v for v in self.values if v.op == op]
