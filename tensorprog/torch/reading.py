"""What one element of a value is, as an expression: views and slices become arithmetic of indices.

An index has a list for every axis, with an entry for every factor: an expression, or None where the factor grows with
the width, whose coordinates no expression names. Conditions, such as that a tap lies inside of an image or a key is
not masked, are collected, and become filters of the sum around the expression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tensorprog.torch.axes import Axis, leaves, sizes_of
from tensorprog.torch.declarations import ModuleNames, power_times, scale_text, uniform_value
from tensorprog.torch.errors import module_error
from tensorprog.torch.graph import COMPARED, LOGIC, VIEWS, TracedValue
from tensorprog.torch.laws import exponent_between

if TYPE_CHECKING:
    from tensorprog.torch.exponents import MultiplierSite
    from tensorprog.torch.tracing import Traced

Index = list[list[str | None]]
UNARY = {"neg": "-{1}", "rsqrt": "1 / sqrt({0})", "reciprocal": "1 / {1}", "square": "{1}**2"}
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
# Of integers, what holds where a comparison does not.
OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
# A number, or a name with indices that may have an index inside, as `x[a, i[j]]`.
ATOMIC = re.compile(r"\d[\d.]*(e-?\d+)?|[\w.]+(\[[^\[\]]*(\[[^\[\]]*\])?[^\[\]]*\])?")
NUMBER = re.compile(r"-?\d[\d.]*(e-?\d+)?")
# Without those of rows (a, c), times (t, h) and widths (n).
LETTERS = "ijklpqrsuvwxyz"


class Reader:
    """Expressions for elements of values. `rows` are the indices that every value has before its own."""

    def __init__(
        self, traced: Traced, names: ModuleNames, rows: tuple[str, ...], sites: Sequence[MultiplierSite] = (), base: int = 64
    ) -> None:
        self.traced, self.names, self.rows = traced, names, rows
        self.stored: dict[TracedValue, str] = {}
        self.times: dict[TracedValue, str] = {}
        self.reads: list[tuple[TracedValue, tuple[str, ...]]] = []
        self.conditions: list[str] = []
        self._sites = {id(s.value): s.exponent for s in sites}
        self._base = base
        self._letters = 0

    def letter(self) -> str:
        """A new loop variable."""
        self._letters += 1
        return LETTERS[self._letters - 1]

    def restart(self, used: int) -> None:
        """Loop variables from the one behind those that a statement's own loops use."""
        self._letters = used
        self.conditions, self.reads = [], []

    def read(self, v: TracedValue, index: Index) -> str:
        """An element, behind the value's multiplier."""
        if v in self.stored:
            return self._element(v, index)
        return self.compute(v, index)

    def compute(self, v: TracedValue, index: Index) -> str:
        """An element by its definition."""
        text = getattr(self, f"_{v.op}")(v, index)
        if id(v) in self._sites:
            return f"{bracketed(text)}{scale_text(self._sites[id(v)], self._base)}"
        return text

    def flat(self, index: Index) -> list[str]:
        """The indices of the family that a value is kept in."""
        return [i for axis in index for i in axis if i is not None]

    def _element(self, v: TracedValue, index: Index) -> str:
        own = self.flat(index)
        if v in self.times:
            own = [self.times[v], *own]
        self.reads.append((v, tuple(own)))
        return f"{self.stored[v]}[{', '.join((*self.rows, *own))}]"

    # --- leaves ----------------------------------------------------------------------------------------------

    def _input(self, v: TracedValue, index: Index) -> str:
        # The first axis is that of rows, which `rows` names.
        inner = [joined(i, axis) for i, axis in zip(index[1:], v.axes[1:], strict=True)]
        return f"{self.names.input(v)}[{', '.join((self.rows[-1], *inner))}]"

    def _param(self, v: TracedValue, index: Index) -> str:
        own = self.flat(index)
        if not own and not v.width_count and not self.names.numbers:
            # An array of finite size is declared as a vector, of one entry at least.
            own = ["0"]
        return self.names.declared(v.name) + (f"[{', '.join(own)}]" if own else "")

    def _number(self, v: TracedValue, index: Index) -> str:
        first, second = v.numbers
        if first == second:
            return _plain(first)
        power = exponent_between(abs(first), abs(second), self.traced.widths)
        if power is None:
            raise module_error(
                "TP807", f"a number that is {first:.6g} at one width and {second:.6g} at the other", v.place
            )
        return power_times(first / self.traced.widths[0] ** float(power), power)

    def _noise(self, v: TracedValue, index: Index) -> str:
        own = self.flat(index)
        if not own and not v.width_count:
            own = ["0"]
        return f"{self.names.noise(v)}[{', '.join((*self.rows, *own))}]"

    def _position(self, v: TracedValue, index: Index) -> str:
        """Where an entry is on an axis that grows: in the limit, uniform on [0, 1), but for the block that is known."""
        axis, parts = v.leaves()[0], index[0]
        grown = [k for k, atom in enumerate(axis) if atom.is_width]
        if len(grown) != 1:
            raise module_error("TP807", "positions along an axis of several widths have no place in a program", v.place)
        name = self.names.position(axis[grown[0]])
        blocks = axis[: grown[0]]
        if not blocks:
            return name
        return f"({joined(parts[: grown[0]], blocks)} + {name}) / {sizes_of(blocks)[0]}"

    def _buffer(self, v: TracedValue, index: Index) -> str:
        table = v.pair[0]
        value = uniform_value(table)
        if value is not None and uniform_value(v.pair[1]) == value:
            return _plain(value)
        if v.width_count == 0 and table.dim() and not table.is_floating_point():
            for k, axis in enumerate(v.axes):
                shape = [1] * table.dim()
                shape[k] = -1
                # A table of positions holds the index itself.
                if torch.equal(table, torch.arange(table.shape[k]).view(shape).expand_as(table)):
                    return joined(index[k], axis)
        if v.width_count == 0 and v.axes:
            inner = [joined(i, axis) for i, axis in zip(index, v.axes, strict=True)]
            return f"{self.names.table(v)}[{', '.join(inner)}]"
        users = (u.place for u in self.traced.graph.users(v))
        raise module_error(
            "TP807",
            "a table of constants along an axis that grows has no place in a program",
            v.place or next(users, None),
            help="compute it in the module from positions (torch.arange), or keep that axis at a fixed size",
        )

    # --- moves -----------------------------------------------------------------------------------------------

    def _viewed(self, v: TracedValue, index: Index) -> str:
        return self.read(v.args[0], inner_index(v, index))

    _view = _permute = _index = _expand = _viewed

    def _slice(self, v: TracedValue, index: Index) -> str:
        axis, inner = v.args[0].leaves()[v.dim], index[v.dim]
        blocks = leading(axis, v.blocks)
        mine = leading(v.leaves()[v.dim], None if v.blocks == sizes_of(axis)[0] else _count(v, blocks, axis))
        at = joined(inner[:mine], v.leaves()[v.dim][:mine])
        at = _sum(_times(at, v.step), v.start)
        return self.read(v.args[0], [*index[: v.dim], [*split(at, axis[:blocks]), *inner[mine:]], *index[v.dim + 1 :]])

    def _cat(self, v: TracedValue, index: Index) -> str:
        axis, inner = v.leaves()[v.dim], index[v.dim]
        blocks = leading(axis, sum(v.counts))
        at, rest = joined(inner[:blocks], axis[:blocks]), inner[blocks:]
        texts, start = [], 0
        for part, count in zip(v.args, v.counts, strict=True):
            own = part.leaves()[v.dim]
            there = split(_sum(at, -start), own[: len(own) - len(rest)])
            # A fixed place lies in one of the parts.
            inside = at.isdigit() and start <= int(at) < start + count
            if inside or not at.isdigit():
                texts.append((start + count, self.read(part, [*index[: v.dim], [*there, *rest], *index[v.dim + 1 :]])))
            start += count
        text = texts[-1][1]
        for end, earlier in reversed(texts[:-1]):
            text = f"({earlier} if {at} < {end} else {text})"
        return text

    def _window(self, v: TracedValue, index: Index) -> str:
        axis = v.args[0].leaves()[v.dim]
        place, tap = joined(index[v.dim], v.leaves()[v.dim]), joined(index[-1], v.leaves()[-1])
        if v.transposed:
            at = self._reaching(v, place, tap)
        else:
            at = _sum(_add(_times(place, v.stride), _times(tap, v.dilation)), -v.padding)
        # Taps outside of the image read zeros: sums leave them out.
        if v.padding and not v.transposed:
            self.conditions += [f"0 <= {at}", f"{at} < {v.size}"]
        return self.read(v.args[0], [*index[: v.dim], [*split(at, axis)], *index[v.dim + 1 : -1]])

    def _reaching(self, v: TracedValue, place: str, tap: str) -> str:
        """The entry that reaches a place by a tap, if there is one."""
        steps = f"{_sum(place, v.padding)} - {_times(tap, v.dilation)}"
        self.conditions += [f"0 <= {steps}", f"{steps} < {v.size * v.stride}"]
        if v.stride == 1:
            return steps
        self.conditions.append(f"({steps}) % {v.stride} == 0")
        return f"({steps}) // {v.stride}"

    def _step(self, v: TracedValue, index: Index) -> str:
        time = leaves(v.time)
        at = f"{time[0].sizes[0] - 1} - {self.clock()}" if v.backwards and time else self.clock()
        return self.read(v.args[0], [[at] if time else [], *index])

    def _carry(self, v: TracedValue, index: Index) -> str:
        # Before step t the state has index t, since that before the first step has 0.
        following = v.attrs["next"]
        own = self.flat(index)
        return f"{self.stored[following]}[{', '.join((*self.rows, self.clock(), *own))}]"

    def _collect(self, v: TracedValue, index: Index) -> str:
        time, inner = joined(index[0], leaves(v.time)) if leaves(v.time) else "0", index[1:]
        own = self.flat(inner)
        # Read behind its loop: what reads it shares no statement's loop with it.
        self.reads.append((v.args[0], ("another time", *own)))
        # States are kept from 0 on, where that before the first step is.
        at = _sum(time, 1)
        if v.backwards and leaves(v.time):
            last = leaves(v.time)[0].sizes[0]
            at = str(last - int(time)) if time.isdigit() else f"{last} - {_term(time)}"
        return f"{self.stored[v.args[0]]}[{', '.join((*self.rows, at, *own))}]"

    def clock(self) -> str:
        """The variable of a loop over time inside of the module."""
        return "t" if self.rows[0] != "t" else "h"

    # --- arithmetic ------------------------------------------------------------------------------------------

    def _map(self, v: TracedValue, index: Index) -> str:
        if v.fn == "masked_fill":
            self.conditions.append(self._kept(v.args[1], aligned(v.args[1], index)))
            return self.read(v.args[0], aligned(v.args[0], index))
        if v.fn == "where":
            return self._chosen(v.args[0], aligned(v.args[0], index), [self.read(a, aligned(a, index)) for a in v.args[1:]])
        if v.fn in COMPARED or v.fn in LOGIC:
            return self._chosen(v, index, ["1", "0"])
        args = [self.read(a, aligned(a, index)) for a in v.args]
        match v.fn:
            case "pow":
                return f"{bracketed(args[0])}**{bracketed(_plain(v.exponent))}"
            case "leaky_relu":
                return f"(relu({args[0]}) - {v.slope} * relu(-({args[0]})))"
            case "elu":
                return f"(relu({args[0]}) + {v.alpha} * (exp(-relu(-({args[0]}))) - 1))"
            case "clamp":
                low, high = (_plain(e) if e is not None else None for e in v.ends)
                text = args[0] if low is None else f"max({args[0]}, {low})"
                return text if high is None else f"min({text}, {high})"
            case "max" | "min":
                return f"{v.fn}({args[0]}, {args[1]})"
            case "gelu_tanh":
                x = args[0]
                return f"({x}) * (1 + tanh({math.sqrt(2 / math.pi)!r} * (({x}) + 0.044715 * ({x})**3))) / 2"
        if v.fn == "add" and args[1] == "0" and v.args[1].is_masked:
            return args[0]
        if v.fn in SIGNS:
            left, right = (bracketed(a) for a in args)
            return f"{args[0] if v.fn in ('add', 'sub') else left} {SIGNS[v.fn]} {right}"
        inner = stripped(args[0])
        return UNARY[v.fn].format(inner, bracketed(args[0])) if v.fn in UNARY else f"{v.fn}({inner})"

    def _chosen(self, mask: TracedValue, index: Index, values: list[str]) -> str:
        """One of two values, as truth values decide: integers of the input when the program runs, or computed numbers."""
        if mask.is_of_integers:
            return f"({values[0]} if {self._truth(mask, index)} else {values[1]})"
        return f"where({self._truth(mask, index)}, {values[0]}, {values[1]})"

    def _truth(self, v: TracedValue, index: Index) -> str:
        """The condition that an entry is true."""
        while v.op in VIEWS and v not in self.stored:
            v, index = v.args[0], inner_index(v, index)
        if v.op == "map" and v not in self.stored:
            if v.fn in COMPARED:
                left, right = (bracketed(self.read(a, aligned(a, index))) for a in v.args)
                return f"{left} {COMPARED[v.fn]} {right}"
            if v.fn in LOGIC:
                parts = [f"({self._truth(a, aligned(a, index))})" for a in v.args]
                return f"not {parts[0]}" if v.fn == "not" else f" {v.fn} ".join(parts)
        return f"{bracketed(self.read(v, index))} {'!= 0' if v.is_of_integers else '> 0.5'}"

    def _negated(self, v: TracedValue, index: Index) -> str:
        if v.op == "map" and v.fn == "not":
            return self._truth(v.args[0], aligned(v.args[0], index))
        if v.op == "map" and v.fn in OPPOSITE:
            left, right = (bracketed(self.read(a, aligned(a, index))) for a in v.args)
            return f"{left} {COMPARED[OPPOSITE[v.fn]]} {right}"
        return f"not ({self._truth(v, index)})"

    def _choice(self, v: TracedValue, index: Index) -> str:
        raise module_error(
            "TP807",
            "what is read may not depend on computed numbers: this index has no place in a program",
            next((u.place for u in self.traced.graph.users(v)), v.place),
            help="sum over all entries, times `one_hot` of the index",
        )

    def _kept(self, mask: TracedValue, index: Index) -> str:
        """The condition that an entry is not masked away."""
        while mask.op in VIEWS:
            mask, index = mask.args[0], inner_index(mask, index)
        if mask.op != "buffer":
            if not mask.is_of_integers:
                raise module_error(
                    "TP807",
                    "a mask of minus infinities that depends on computed numbers has no place in a program",
                    mask.place,
                    help="multiply the softmax by the truth values, and divide by the sum",
                )
            return self._negated(mask, index)
        table = mask.pair[0]
        if not bool(table.any()):
            return "0 == 0"
        rows, columns = table.shape[-2:] if table.dim() > 1 else (1, len(table))
        # The causal mask is a comparison of indices, and takes no input.
        if table.dim() > 1 and table.numel() == rows * columns and torch.equal(table.reshape(rows, columns), _upper(rows, columns)):
            query, key = (joined(i, leaves(a)) for i, a in zip(index[-2:], mask.axes[-2:], strict=True))
            return f"{key} <= {query}"
        indices = [joined(i, axis) for i, axis in zip(index, mask.axes, strict=True)]
        return f"{self.names.table(mask)}[{', '.join(indices)}] == 0"

    def _contract(self, v: TracedValue, index: Index) -> str:
        x, w = v.args
        x_labels, w_labels, out = v.labels
        at: dict[str, list[str | None]] = dict(zip(out, index, strict=True))
        # A matrix that is declared [n, d] is applied as a whole, not column by column.
        table = self._applied_table(v, at)
        if table is not None:
            return table
        loops: list[tuple[str, int]] = []
        for label, axis in [*zip(x_labels, x.leaves(), strict=True), *zip(w_labels, w.leaves(), strict=True)]:
            # A label that the result lacks, or has with size 1, is summed over.
            if label not in at or not at[label] and axis:
                at[label] = self._looped(axis, loops)
        kept, self.conditions = self.conditions, []
        ix, iw = (
            [at[k] if axis else [] for k, axis in zip(labels, value.leaves(), strict=True)]
            for labels, value in ((x_labels, x), (w_labels, w))
        )
        left, right = self.read(x, ix), self.read(w, iw)
        summed = [k for k in x_labels if k in w_labels and k not in out]
        text = self._product(
            v, left, right, any(atom.is_width for k in summed for atom in x.leaves()[x_labels.index(k)])
        )
        text = comprehension("sum", text, loops, self.conditions)
        self.conditions = kept
        return text

    def _applied_table(self, v: TracedValue, at: dict[str, list]) -> str | None:
        """`U @ X[a]` for a parameter that is a matrix of finitely many columns."""
        x, w = v.args
        if w.op != "param" or not self.names.is_table(w):
            return None
        marked = [at.get(k, []) for k in v.labels[0][:-1]]
        # The mark is the last index, which the product runs over and the text leaves out.
        inner = self.read(x, [*marked, ["@"]])
        return f"{self.names.declared(w.name)} @ {inner.replace(', @]', ']')}"

    def _looped(self, axis: Axis, loops: list[tuple[str, int]]) -> list[str | None]:
        found: list[str | None] = []
        for atom in axis:
            if atom.is_width:
                found.append(None)
                continue
            letter = self.letter()
            found.append(letter)
            loops.append((letter, atom.sizes[0]))
        return found

    def _product(self, v: TracedValue, left: str, right: str, over_width: bool) -> str:
        x, w = v.args
        if not over_width:
            return f"{bracketed(left)} * {bracketed(right)}"
        left, right = self._vector(x, left), self._vector(w, right)
        ranks = x.width_count, w.width_count
        if ranks == (1, 1):
            return f"dot({left}, {right})"
        matrix, other, labels, vector = (w, x, v.labels[1], left) if ranks[1] == 2 else (x, w, v.labels[0], right)
        if sorted(ranks) != [1, 2] or not _is_matrix(matrix):
            grown = next((a for a in (matrix, other) if a.width_count > 1), matrix)
            raise module_error(
                "TP807",
                "a product of matrices that depend on the input has no place in a program",
                v.place,
                help=f"`{grown.base or grown.name or 'the product'}` has two axes that grow: keep one of them at a fixed size, "
                "as the hidden size of a layer that mixes tokens",
            )
        name = right if matrix is w else left
        last = [k for k, axis in zip(labels, matrix.leaves(), strict=True) if any(a.is_width for a in axis)][-1]
        # As it is declared, a matrix is summed over its last axis that grows.
        transposed = (last not in (v.labels[0] if other is x else v.labels[1])) != _flipped(matrix)
        return f"{name}{'.T' if transposed else ''} @ {bracketed(vector)}"

    def _vector(self, v: TracedValue, text: str) -> str:
        """What is multiplied with a matrix or summed over the width: a table of one number, too, is a vector there."""
        if v.width_count != 1 or not NUMBER.fullmatch(text):
            return text
        return self.names.constant(next(a for axis in v.leaves() for a in axis if a.is_width), text)

    def _reduce(self, v: TracedValue, index: Index) -> str:
        x = v.args[0]
        loops: list[tuple[str, int]] = []
        position, inner = iter(index), []
        for k, axis in enumerate(x.leaves()):
            if k in v.dims:
                inner.append(self._looped(axis, loops))
                if v.keep:
                    next(position)
            else:
                inner.append(next(position))
        kept, self.conditions = self.conditions, []
        text = self.read(x, inner)
        if any(atom.is_width for k in v.dims for atom in x.leaves()[k]):
            if v.fn in ("max", "min"):
                raise module_error("TP807", "an extremum over the width has no limit", v.place)
            text = f"moment({text})" if v.fn == "mean" else f"n * moment({text})"
        text = comprehension(v.fn, text, loops, self.conditions)
        self.conditions = kept
        return text

    def _softmax(self, v: TracedValue, index: Index) -> str:
        x = v.args[0]
        loops: list[tuple[str, int]] = []
        kept, self.conditions = self.conditions, []
        # Not shifted by the maximum, as torch does: logits of order one do not overflow.
        other = [*index[: v.dim], self._looped(x.leaves()[v.dim], loops), *index[v.dim + 1 :]]
        total = comprehension("sum", f"exp({stripped(self.read(x, other))})", loops, self.conditions)
        self.conditions = kept
        return f"exp({stripped(self.read(x, index))}) / {total}"

    def _gather(self, v: TracedValue, index: Index) -> str:
        table, ids = v.args
        count = len(ids.axes)
        row = self.read(ids, index[:count])
        return self.read(table, [[*split(row, table.leaves()[0])], *index[count:]])


def _is_matrix(value: TracedValue) -> bool:
    while value.op in ("view", "permute", "index", "slice"):
        value = value.args[0]
    return value.op == "param"


def _flipped(value: TracedValue) -> bool:
    """Whether permutations exchange the two axes that grow with the width."""
    flips = 0
    while value.op in ("view", "permute", "index", "slice"):
        if value.op == "permute":
            grown = [k for k in value.order if any(a.is_width for a in value.args[0].leaves()[k])]
            flips += grown != sorted(grown)
        value = value.args[0]
    return flips % 2 == 1


def comprehension(fn: str, text: str, loops: list[tuple[str, int]], conditions: list[str]) -> str:
    """`fn(text for ... if ...)`; without loops the text alone."""
    if not loops:
        return text
    heads = " ".join(f"for {name} in range({size})" for name, size in loops)
    # Both factors of a product may have the same condition.
    filters = " ".join(f"if {c}" for c in dict.fromkeys(conditions))
    return f"{fn}({text} {heads}{' ' + filters if filters else ''})"


def bracketed(text: str) -> str:
    """An expression that can stand in a product."""
    return text if ATOMIC.fullmatch(text) or _is_call(text) else f"({stripped(text)})"


def _is_call(text: str) -> bool:
    """Whether it is one function's value."""
    head, bracket, rest = text.partition("(")
    return bool(bracket) and head.isidentifier() and stripped("(" + rest) != "(" + rest


def stripped(text: str) -> str:
    """Without brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for k, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and k < len(text) - 1:
            return text
    return text[1:-1]


def aligned(arg: TracedValue, index: Index) -> Index:
    """The index of an argument that is broadcast."""
    count = len(arg.axes)
    return [i if axis else [] for i, axis in zip(index[len(index) - count :], arg.leaves(), strict=True)]


def inner_index(v: TracedValue, index: Index) -> Index:
    """The index of the argument of a view, permutation, index or repetition."""
    arg = v.args[0]
    match v.op:
        case "view":
            flat = iter([i for axis in index for i in axis])
            return [[next(flat) for _ in axis] for axis in arg.leaves()]
        case "permute":
            return [index[v.order.index(k)] for k in range(len(index))]
        case "index":
            return [*index[: v.dim], [*split(str(v.at), arg.leaves()[v.dim])], *index[v.dim :]]
    return aligned(arg, index)


def joined(parts: Sequence[str | None], axis: Axis) -> str:
    """One index from those of the factors."""
    text = "0"
    for part, atom in zip(parts, leaves(axis), strict=True):
        assert part is not None, "an index along the width has no text"
        text = _add(_times(text, atom.sizes[0]), part)
    return text


def split(at: str, axis: Axis) -> list[str]:
    """The indices of the factors from one."""
    found: list[str] = []
    rest = math.prod(atom.sizes[0] for atom in axis)
    for k, atom in enumerate(axis):
        size = atom.sizes[0]
        rest //= size
        if at.isdigit():
            found.append(str(int(at) // rest % size))
        elif len(axis) == 1:
            found.append(at)
        else:
            high = f"({at}) // {rest}" if rest > 1 else f"({at})"
            found.append(high if k == 0 else f"{high} % {size}")
    return found


def leading(axis: Axis, blocks: int | None) -> int:
    """How many first factors make up so many blocks; None: all of them."""
    if blocks is None:
        return len(axis)
    count, size = 0, 1
    while size < blocks:
        size *= axis[count].sizes[0]
        count += 1
    return count


def _count(v: TracedValue, blocks: int, axis: Axis) -> int:
    """How many blocks a slice takes."""
    return sizes_of(v.leaves()[v.dim])[0] // sizes_of(axis[blocks:])[0]


def _upper(rows: int, columns: int) -> torch.Tensor:
    return torch.ones(rows, columns, dtype=torch.bool).triu(1)


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e9 else repr(float(value))


def _sum(text: str, number: int) -> str:
    if text.isdigit():
        return str(int(text) + number)
    return text if number == 0 else f"{text} {'+' if number > 0 else '-'} {abs(number)}"


def _times(text: str, number: int) -> str:
    if text.isdigit():
        return str(int(text) * number)
    return text if number == 1 else f"{number}*{text}" if text.isidentifier() else f"{number}*({text})"


def _term(text: str) -> str:
    """What can stand behind a minus sign."""
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _add(left: str, right: str) -> str:
    if left == "0":
        return right
    return left if right == "0" else f"{left} + {right}"
