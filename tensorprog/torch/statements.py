"""The body of a program: which values get statements of their own, and the loops around them.

A value that is used once, by a coordinatewise operation on the same indices, is written where it is used; views and
slices always are. Statements with the same loops share them, as long as they read what the loop has computed at the
same indices.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorprog.torch.axes import leaves
from tensorprog.torch.graph import MOVES, TracedValue
from tensorprog.torch.reading import LETTERS, Index, Reader, stripped

Loops = tuple[tuple[str, int], ...]
# Operations inside of which their operands are written.
CHEAP = ("add", "sub", "mul", "div", "neg", "masked_fill")
NEVER = MOVES | {"input", "param", "number", "buffer", "noise", "position", "gather", "carry"}


class Statements:
    """Writes the statements of a graph, in order."""

    def __init__(self, reader: Reader, indent: int) -> None:
        self.reader = reader
        self._indent = indent
        self._values = reader.traced.graph.values
        self._lines: list[str] = []
        self.origins: dict[str, TracedValue] = {}
        self._open: Loops = ()
        self._block: dict[TracedValue, tuple[str, ...]] = {}
        self._loop: object = None

    def lines(self, last: tuple[str, TracedValue, list[str]], loops: Loops = ()) -> list[str]:
        """All statements, and one that gives the output's element a name."""
        target, output, where = last
        inline = self._inlined(output)
        needed = _ancestors(output)
        self.reader.times = self._times()
        for v in self._values:
            if v in needed and v.op not in NEVER and v not in inline:
                self._store(v)
        self._close_region(None)
        flat = list(where)
        index: Index = []
        for axis in output.leaves():
            index.append([flat.pop(0) for _ in axis])
        # The loops over the output have their own letters (`training.LETTERS`); sums inside take the last four here,
        # which are none of these.
        self.reader.restart(len(LETTERS) - 4 if loops else 0)
        text = self.reader.read(output, index)
        self._write(loops, f"{target} = {stripped(_guarded(text, self.reader.conditions))}", False, output)
        return self._lines

    def _inlined(self, output: TracedValue) -> set[TracedValue]:
        users: dict[TracedValue, list[TracedValue]] = {}
        for v in self._values:
            for arg in v.args:
                users.setdefault(arg, []).append(v)
        stay = {v.attrs["next"] for v in self._values if v.op == "carry"}
        found = {
            v
            for v in self._values
            if v.op in ("map", "contract") and v not in stay and self._cheap(v, users.get(v, []))
        }
        return found | self._tail(output, users, stay)

    def _cheap(self, v: TracedValue, users: list[TracedValue]) -> bool:
        if v.op == "map" and all(a.op in ("number", "buffer", "position") for a in v.args):
            return True
        # Branches depend on integers of the input, and not on numbers that were computed from these.
        if v.is_truth and v.is_of_integers:
            return True
        # What is used twice would be computed twice, and what has other loops at every turn of these.
        if len(users) != 1 or users[0].op != "map" or _finite(users[0]) != _finite(v):
            return v.is_masked
        return users[0].fn in CHEAP or users[0].fn in ("sqrt", "tanh", "relu") and v.op == "map" and v.fn in CHEAP

    def _tail(self, output: TracedValue, users: dict[TracedValue, list[TracedValue]], stay: set[TracedValue]) -> set[TracedValue]:
        """What lies between the last vectors and the output: numbers of which one component may be wanted."""
        found, todo = set(), [output]
        while todo:
            v = todo.pop()
            if (
                v.width_count == 0
                and v not in stay
                and v.op not in ("reduce", "softmax")
                and len(users.get(v, ())) <= 1
            ):
                found.add(v)
                todo += v.args
        return found

    def _times(self) -> dict[TracedValue, str]:
        """The values inside of a loop over time, with the time index of what they are kept at."""
        clock, found = self.reader.clock(), {}
        states = {v.attrs["next"] for v in self._values if v.op == "carry"}
        self._loops: dict[TracedValue, object] = {}
        for v in self._values:
            loop = (
                v.attrs.get("loop")
                if v.op in ("carry", "step")
                else next((self._loops[a] for a in v.args if a in self._loops), None)
                if v.op != "collect"
                else None
            )
            if loop is not None:
                self._loops[v] = loop
                found[v] = f"{clock} + 1" if v in states else clock
        return found

    def _store(self, v: TracedValue) -> None:
        region = self._loops.get(v)
        if region is not self._loop:
            self._close_region(region)
        name = self.reader.names.fresh(v.base)
        loops = self._own_loops(v)
        index = self._index(v, loops)
        self.reader.restart(len(loops))
        text = _guarded(self.reader.compute(v, index), self.reader.conditions)
        own = self.reader.flat(index)
        if v in self.reader.times:
            own = [self.reader.times[v], *own]
        element = f"{self.reader.stored.get(v, name)}[{', '.join((*self.reader.rows, *own))}]"
        # What the running loop stores is there at the running indices only.
        fuse = loops == self._open and all(self._block.get(r, i) == i for r, i in self.reader.reads)
        self._write(loops, f"{element} = {stripped(text)}", fuse, v)
        self.reader.stored.setdefault(v, name)
        self._block[v] = tuple(own)

    def _own_loops(self, v: TracedValue) -> Loops:
        sizes = [atom.sizes[0] for axis in v.leaves() for atom in axis if not atom.is_width]
        return tuple(zip(LETTERS, sizes, strict=False))

    def _index(self, v: TracedValue, loops: Loops) -> Index:
        names = iter(name for name, _ in loops)
        return [[None if atom.is_width else next(names) for atom in axis] for axis in v.leaves()]

    # --- loops -----------------------------------------------------------------------------------------------

    def _close_region(self, region: object) -> None:
        """Leave the loop over time, and enter another, whose states are set before it."""
        if self._loop is not None:
            self._indent -= 1
        self._open, self._block = (), {}
        self._loop = region
        if region is None:
            return
        carries = [v for v in self._values if v.op == "carry" and v.attrs["loop"] is region]
        for carry in carries:
            self._start(carry)
        times = leaves(carries[0].attrs["time"])
        self._open, self._block = (), {}
        self._lines.append(
            "    " * self._indent + f"for {self.reader.clock()} in range({times[0].sizes[0] if times else 1}):"
        )
        self._indent += 1

    def _start(self, carry: TracedValue) -> None:
        following = carry.attrs["next"]
        name = self.reader.stored.setdefault(following, self.reader.names.fresh(following.base))
        loops = self._own_loops(carry)
        index = self._index(carry, loops)
        self.reader.restart(len(loops))
        text = self.reader.read(carry.args[0], index)
        zeros = [self.reader.names.width(atom) for axis in carry.leaves() for atom in axis if atom.is_width]
        # A number is no vector.
        if text == "0" and zeros:
            text = f"zero_{zeros[0]}"
        own = self.reader.flat(index)
        self._write(loops, f"{name}[{', '.join((*self.reader.rows, '0', *own))}] = {text}", fuse=False)

    def _write(self, loops: Loops, line: str, fuse: bool, origin: TracedValue | None = None) -> None:
        if origin is not None:
            self.origins[line] = origin
        depth = self._indent
        if not fuse:
            self._block = {}
            for name, size in loops:
                self._lines.append("    " * depth + f"for {name} in range({size}):")
                depth += 1
        self._lines.append("    " * (self._indent + len(loops)) + line)
        self._open = loops


def _finite(v: TracedValue) -> list[int]:
    return [atom.sizes[0] for axis in v.leaves() for atom in axis if not atom.is_width]


def _ancestors(output: TracedValue) -> set[TracedValue]:
    found: set[TracedValue] = set()
    todo = [output]
    while todo:
        v = todo.pop()
        if v not in found:
            found.add(v)
            # A state is made of what comes behind it in the order of the graph.
            todo += [*v.args, *([v.attrs["next"]] if v.op == "carry" else [])]
    return found


def _guarded(text: str, conditions: Sequence[str]) -> str:
    """An expression whose conditions no sum has used."""
    return f"({text} if {' and '.join(dict.fromkeys(conditions))} else 0)" if conditions else text
