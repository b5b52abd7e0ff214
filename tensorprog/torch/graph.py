"""What a module computes, in a dozen operations on tensors whose axes are lists of factors.

    input | param | buffer | number | noise | position         the leaves; `noise` is 1 with probability `keep`, or 0;
                                                               `position` is where an entry is on its axis, 0 to 1
    map fn (x, ...)                                            coordinatewise, with broadcasting
    contract (x, w) labels                                     a sum over the axes whose label the result lacks
    reduce fn (x) dims | softmax (x) dim                       over axes
    gather (table, ids)                                        rows of a table
    choice (mask)                                              an index that is computed: where, along an axis, the mask is 1
    view | permute | index | slice | cat | expand | window     the same numbers at other places
    carry (init) | step (x) | collect (x)                      a loop over a time axis: state, input and output of a
    step

`rules/` lowers the operations of torch to these, `exponents.py` counts powers of n on them, `emit.py` writes them as
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from tensorprog.torch.axes import Axis, leaves, sizes_of, widths
from tensorprog.torch.errors import SourceLine

if TYPE_CHECKING:
    import torch

# Comparisons, as programs write them, and what joins truth values.
COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGIC = frozenset({"and", "or", "not"})
# Operations that only move numbers: powers of n go through them unchanged.
VIEWS = frozenset({"view", "permute", "index", "expand"})
MOVES = frozenset({"view", "permute", "index", "slice", "cat", "expand", "window", "step", "collect"})


class Details(TypedDict, total=False):
    """What an operation says of itself, but for the function of a map or a reduction; which of these it has depends on the operation.

    Attributes:
        exponent, ends, slope, alpha, value: of functions: of pow, of clamp, of leaky_relu, of elu, what to fill with.
        labels: the axes of both factors of a contraction and of its result, as letters.
        dim, dims: the axis of a softmax, an index, a slice, a cat or a window; those of a reduction (`keep`: as axes of size 1).
        keep: of noise, the probability.
        order: of permute, where each axis was.
        at: of index.
        blocks, start, step: of slice, how many blocks the axis has, and which are taken.
        counts: of cat, how many blocks each part has.
        stride, padding, dilation, size, transposed: of window.
        loop, time, backwards, next: of loops: which one, its axis, its direction, and what a carried value is next.
        numbers, pair: the number or the table at the two widths.
        table: it is made of constants alone.
        dtype: torch's, of an input.
    """

    labels: tuple[str, str, str]
    dim: int
    dims: Sequence[int]
    keep: float
    order: tuple[int, ...]
    at: int
    blocks: int
    start: int
    step: int
    counts: tuple[int, ...]
    stride: int
    padding: int
    dilation: int
    size: int
    transposed: bool
    time: Axis
    backwards: bool
    next: TracedValue
    loop: object
    exponent: float
    ends: tuple[float | None, float | None]
    slope: float
    alpha: float
    double: bool
    value: float
    numbers: tuple[float, float]
    pair: tuple[torch.Tensor, torch.Tensor]
    table: bool
    dtype: torch.dtype


class Attributes(Details, total=False):
    """What an operation says of itself."""

    fn: str


@dataclass(eq=False, slots=True)
class TracedValue:
    """One tensor of the network. Its name is `base` with a number where several would have the same; `operation` is torch's name of
    what it is a part of."""

    op: str
    args: tuple[TracedValue, ...]
    axes: tuple[Axis, ...]
    attrs: Attributes = field(default_factory=Attributes)
    name: str = ""
    base: str = ""
    module: str = ""
    place: SourceLine | None = None
    operation: str = ""

    # --- what the operation says of itself ---

    @property
    def fn(self) -> str:
        return self.attrs["fn"]

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.attrs["labels"]

    @property
    def dim(self) -> int:
        return self.attrs["dim"]

    @property
    def dims(self) -> Sequence[int]:
        return self.attrs["dims"]

    @property
    def keep(self) -> float:
        return self.attrs["keep"]

    @property
    def order(self) -> tuple[int, ...]:
        return self.attrs["order"]

    @property
    def at(self) -> int:
        return self.attrs["at"]

    @property
    def blocks(self) -> int:
        return self.attrs["blocks"]

    @property
    def start(self) -> int:
        return self.attrs["start"]

    @property
    def step(self) -> int:
        return self.attrs["step"]

    @property
    def counts(self) -> tuple[int, ...]:
        return self.attrs["counts"]

    @property
    def stride(self) -> int:
        return self.attrs["stride"]

    @property
    def padding(self) -> int:
        return self.attrs["padding"]

    @property
    def dilation(self) -> int:
        return self.attrs["dilation"]

    @property
    def size(self) -> int:
        return self.attrs["size"]

    @property
    def transposed(self) -> bool:
        return self.attrs["transposed"]

    @property
    def time(self) -> Axis:
        return self.attrs["time"]

    @property
    def backwards(self) -> bool:
        return self.attrs["backwards"]

    @property
    def exponent(self) -> float:
        return self.attrs["exponent"]

    @property
    def ends(self) -> tuple[float | None, float | None]:
        return self.attrs["ends"]

    @property
    def slope(self) -> float:
        return self.attrs["slope"]

    @property
    def alpha(self) -> float:
        return self.attrs["alpha"]

    @property
    def double(self) -> bool:
        return self.attrs["double"]

    @property
    def numbers(self) -> tuple[float, float]:
        return self.attrs["numbers"]

    @property
    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.attrs["pair"]

    # --- axes ---

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

    @property
    def moved(self) -> TracedValue:
        """What it is before views of it."""
        value = self
        while value.op in VIEWS:
            value = value.args[0]
        return value

    @property
    def is_truth(self) -> bool:
        """Whether its entries are truth values."""
        value = self.moved
        if value.op in ("input", "buffer"):
            dtype = value.attrs["dtype"] if value.op == "input" else value.pair[0].dtype
            return str(dtype) == "torch.bool"
        return value.op == "map" and (value.fn in COMPARED or value.fn in LOGIC)

    @property
    def is_of_integers(self) -> bool:
        """Whether it is made of integers and truth values of the input and of tables alone."""
        value = self.moved
        match value.op:
            case "input":
                return not value.attrs["dtype"].is_floating_point
            case "buffer":
                return not value.pair[0].is_floating_point()
            case "number":
                return value.numbers[0] == value.numbers[1] and value.numbers[0].is_integer()
            case "map":
                return (value.fn in COMPARED or value.fn in LOGIC) and all(a.is_of_integers for a in value.args)
        return False

    @property
    def is_masked(self) -> bool:
        """Whether entries of it are minus infinity: where a mask holds, or a sum has such a term."""
        value = self.moved
        if value.op != "map":
            return False
        return value.fn == "masked_fill" or value.fn == "add" and any(a.is_masked for a in value.args)

    def leaves(self) -> tuple[Axis, ...]:
        """The factors of every axis."""
        return tuple(leaves(axis) for axis in self.axes)


@dataclass(eq=False, slots=True)
class TracedGraph:
    """A module's values in the order of computation, its output last."""

    values: list[TracedValue] = field(default_factory=list)
    _output: TracedValue | None = None

    @property
    def output(self) -> TracedValue:
        """What the module gives, once it is traced."""
        assert self._output is not None, "the module is not traced yet"
        return self._output

    @output.setter
    def output(self, value: TracedValue) -> None:
        self._output = value

    @property
    def params(self) -> dict[str, TracedValue]:
        """The parameters by name, a shared one under its first name."""
        return {v.name: v for v in self.values if v.op == "param"}

    def of(self, op: str) -> list[TracedValue]:
        """The values of one operation."""
        return [v for v in self.values if v.op == op]

    def users(self, value: TracedValue) -> list[TracedValue]:
        """The values that are computed from one, in their order."""
        return [u for u in self.values if value in u.args]
