"""From pairs of exported nodes to the graph: `RULES` has one function for each operation of torch.

A rule `rule(low, *args)` gets tensors as values, and everything else as it is where the two widths agree, otherwise as
`Both`; it returns a value, or a tuple of them. Nodes whose inputs are all constants are evaluated on the spot: masks,
positions and tables of angles become buffers.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

import torch
from torch.fx import GraphModule, Node

from tensorprog.diagnostics import ProgramError
from tensorprog.torch.axes import Axis, AxisError, Sizes, fresh, unify
from tensorprog.torch.errors import SourceLine, module_error, place_of_stack
from tensorprog.torch.graph import Attributes, Details, TracedGraph, TracedValue

Tensors = tuple[torch.Tensor, torch.Tensor]
Rule = Callable[..., "TracedValue | tuple[TracedValue, ...]"]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Register a function as the rule of operations of torch."""

    def register(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass(frozen=True, slots=True)
class TracedNode:
    """The same node of both exported programs."""

    first: Node
    second: Node


@dataclass(frozen=True, slots=True)
class Both:
    """Something that differs between the two widths."""

    first: Any
    second: Any


class Lowering:
    """One pass over the nodes, with what has been made so far."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        widths: Sizes,
        exported: Sequence[torch.export.ExportedProgram],
        recorded: Callable[[int], GraphModule | None] = lambda width: None,
    ) -> None:
        """`rules` by torch's names of operations; `recorded` gives how a module of a width computes its buffers, see
        `constants.recorded_buffers`."""
        self.widths = widths
        self.graph = TracedGraph()
        self._rules = rules
        self._exported = exported
        self._recorded = recorded
        self._recordings: tuple[GraphModule | None, ...] | None = None
        self._graph_modules = tuple(e.graph_module for e in exported)
        self._constant = False
        self._made: dict[str, Any] = {}
        self._tensors: dict[str, Tensors] = {}
        self._node: TracedNode | None = None
        self._counts: dict[str, int] = {}

    def run(self, nodes: Iterable[TracedNode]) -> TracedGraph:
        """The graph of all nodes."""
        for node in nodes:
            self._node = node
            try:
                self._lower(node)
            except AxisError as error:
                raise module_error("TP802", str(error), self.place) from error
        return self.graph

    # --- for rules -------------------------------------------------------------------------------------------

    @property
    def _at(self) -> TracedNode:
        """The node that is lowered."""
        assert self._node is not None, "nothing is lowered"
        return self._node

    @property
    def place(self) -> SourceLine | None:
        """The module's line of the operation."""
        return place_of_stack(self._at.first.meta.get("stack_trace"))

    @property
    def module(self) -> str:
        """The path of the module that the operation is in."""
        stack = self._at.first.meta.get("nn_module_stack") or {}
        return list(stack.values())[-1][0].split("@")[0] if stack else ""

    @property
    def dtype(self) -> torch.dtype:
        """That of the operation's (first) result."""
        return _first(self._at.first.meta["val"]).dtype

    @property
    def operation(self) -> str:
        """torch's name of the operation."""
        return _name_of(self._at.first.target)

    def parts(self, dim: int) -> list[Sizes]:
        """The sizes along an axis of each of an operation's results."""
        both = [[int(t.shape[dim]) for t in n.meta["val"]] for n in (self._at.first, self._at.second)]
        return list(zip(*both, strict=True))

    @property
    def out_sizes(self) -> tuple[Sizes, ...]:
        """The sizes of every axis of the operation's (first) result."""
        values = [_first(n.meta["val"]) for n in (self._at.first, self._at.second)]
        return tuple(zip(*(tuple(v.shape) for v in values), strict=True))

    def out_axes(self) -> tuple[Axis, ...]:
        """New axes of these sizes."""
        return tuple(fresh(sizes) for sizes in self.out_sizes)

    def emit(self, op: str, args: Sequence[TracedValue], axes: Sequence[Axis], suffix: str = "",
             **attrs: Unpack[Attributes]) -> TracedValue:
        """Add a value."""
        # A parameter is declared in `__init__`; the line that says something is that of its first use.
        for arg in args:
            if arg.op == "param" and arg.place is None:
                arg.place = self.place
        base = self._base(suffix)
        if self._constant:
            attrs["table"] = True
        value = TracedValue(
            op, tuple(args), tuple(axes), attrs, self._numbered(base), base, self.module, self.place, self.operation
        )
        self.graph.values.append(value)
        return value

    def number(self, value: float | Both) -> TracedValue:
        """A number as a value."""
        first, second = (value.first, value.second) if isinstance(value, Both) else (value, value)
        return self.emit("number", (), (), "number", numbers=(float(first), float(second)))

    def map(self, fn: str, *args: TracedValue | float | Both, suffix: str = "",
            **attrs: Unpack[Details]) -> TracedValue:
        """A coordinatewise function, with broadcasting."""
        values = [a if isinstance(a, TracedValue) else self.number(a) for a in args]
        return self.emit("map", values, broadcast(values), suffix, fn=fn, **attrs)

    def refuse(self, what: str, help: str | None = None) -> Exception:
        """What to raise where there is no rule."""
        inside = f", in the module `{self.module}`" if self.place is None and self.module else ""
        return module_error("TP803", what + inside, self.place, help)

    # --- nodes -----------------------------------------------------------------------------------------------

    def _base(self, suffix: str) -> str:
        node = self._at.first
        # Values of torch's layers have the names that the user gave these; others those of the operations.
        leaf = self.module if self.module and node.op == "call_function" and self._is_layer() else node.name
        return "_".join(filter(None, (leaf.replace(".", "_"), suffix)))

    def _numbered(self, base: str) -> str:
        count = self._counts[base] = self._counts.get(base, 0) + 1
        return base if count == 1 else f"{base}_{count}"

    def _is_layer(self) -> bool:
        stack = self._at.first.meta["nn_module_stack"]
        kind = list(stack.values())[-1][1]
        return str(kind).startswith("torch.nn.modules.")

    def _lower(self, node: TracedNode) -> None:
        first = node.first
        match first.op:
            case "placeholder":
                self._made[first.name] = self._leaf(node)
            case "output":
                outputs = [
                    a for a in _flat(self._converted(first.args[0], node.second.args[0])) if isinstance(a, TracedValue)
                ]
                # Of several outputs the first is the network's: others are caches and attention weights.
                self.graph.output = outputs[0]
            case "get_attr":
                pair = tuple(
                    getattr(g, n.target) for g, n in zip(self._graph_modules, (first, node.second), strict=True)
                )
                self._made[first.name] = self.buffer(first.name, pair)
            case _:
                self._made[first.name] = self._call(node)

    def _leaf(self, node: TracedNode) -> TracedValue | None:
        first, (one, two) = node.first, self._exported
        signature = one.graph_signature
        axes = self.out_axes() if isinstance(_first(first.meta["val"]), torch.Tensor) else ()
        if first.name in signature.inputs_to_parameters:
            # A parameter that nothing uses has no powers of n to be found.
            if not first.users:
                return None
            value = TracedValue("param", (), axes, {}, signature.inputs_to_parameters[first.name])
            self.graph.values.append(value)
            return value
        buffers = signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
        if first.name in buffers:
            pair = tuple(_stored(e, buffers[first.name]) for e in (one, two))
            computed = self._computed_buffer(buffers[first.name], first.name, pair) if _is_table(pair) else None
            return computed or self.buffer(first.name, pair)
        return self.emit("input", (), axes, dtype=first.meta["val"].dtype)

    def buffer(self, key: str, pair: tuple[torch.Tensor, torch.Tensor]) -> TracedValue:
        """A table of constants, under a key of its own."""
        self._tensors[key] = pair
        axes = tuple(fresh(sizes) for sizes in zip(*(tuple(t.shape) for t in pair), strict=True))
        return self.emit("buffer", (), axes, pair=(pair[0].detach(), pair[1].detach()))

    def _call(self, node: TracedNode) -> object:
        first = node.first
        if first.target is operator.getitem:
            source, part = first.args
            made = self._made[source.name]
            if f"{source.name}_{part}" in self._tensors:
                self._tensors[first.name] = self._tensors[f"{source.name}_{part}"]
            return made[part] if isinstance(made, tuple) else made
        name = _name_of(first.target)
        # Checks of torch.export's own, which compute nothing.
        if name in ("_assert_tensor_metadata", "_guards_fn", "sym_constrain_range_for_size"):
            return None
        if first.all_input_nodes and all(n.name in self._tensors for n in first.all_input_nodes) or _is_factory(first):
            return self._constant_of(node)
        return self._by_rule(node)

    def _by_rule(self, node: TracedNode) -> object:
        first, second = node.first, node.second
        name = _name_of(first.target)
        if name not in self._rules:
            raise self.refuse(
                f"there is no rule for the operation `{name}`",
                "write it with operations that have one (docs/torch.md lists them)",
            )
        args = self._converted(first.args, second.args)
        return self._rules[name](self, *args, **self._converted(first.kwargs, second.kwargs))

    # --- constants -------------------------------------------------------------------------------------------

    def _constant_of(self, node: TracedNode) -> object:
        """The operation's value at both widths; a table along an axis that grows is computed from positions, if it can
        be."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = [
                n.target(*_with(n.args, self._tensors, i), **_with(n.kwargs, self._tensors, i))
                for i, n in enumerate((node.first, node.second))
            ]
        if not isinstance(results[0], torch.Tensor):
            parts = [tuple(pair) for pair in zip(*results, strict=True)]
            return tuple(self.buffer(f"{node.first.name}_{k}", pair) for k, pair in enumerate(parts))
        pair = tuple(results)
        if _is_table(pair):
            computed = self._from_positions(node)
            if computed is not None:
                self._tensors[node.first.name] = pair
                return computed
        return self.buffer(node.first.name, pair)

    def _from_positions(self, node: TracedNode) -> TracedValue | None:
        """The operation by its rule, of what its arguments are made of; None, where there is no rule."""
        if _is_factory(node.first) and _name_of(node.first.target) not in ("arange", "linspace"):
            return None
        kept, self._constant = self._constant, True
        try:
            found = self._by_rule(node)
        # A rule may be for activations alone, or refuse: then the table stays one of numbers.
        except (ProgramError, AxisError, TypeError):
            return None
        finally:
            self._constant = kept
        return found if isinstance(found, TracedValue) else None

    def _computed_buffer(self, name: str, key: str, pair: Tensors) -> TracedValue | None:
        """A buffer as what the module computes when it is made; None, if that gives other numbers."""
        if self._recordings is None:
            self._recordings = tuple(self._recorded(width) for width in self.widths)
        recordings = tuple(g for g in self._recordings if g is not None)
        if len(recordings) < len(self._recordings):
            return None
        outputs = [next(n for n in g.graph.nodes if n.op == "output").args[0] for g in recordings]
        if not all(isinstance(output.get(name), Node) for output in outputs):
            return None
        # The pass stands still meanwhile: a recording has nodes of its own, by the same names.
        kept = self._node, self._graph_modules, self._made, self._tensors
        self._graph_modules, self._made, self._tensors = recordings, {}, {}
        try:
            found = self._replayed([output[name] for output in outputs], pair)
        finally:
            self._node, self._graph_modules, self._made, self._tensors = kept
        if found is not None:
            self._tensors[key] = pair
        return found

    def _replayed(self, ends: list[Node], pair: Tensors) -> TracedValue | None:
        """The value of two nodes of the recordings, and all before them, in this graph."""
        orders = [_behind(end) for end in ends]
        # The recordings of two widths may take other branches.
        if [n.target for n in orders[0]] != [n.target for n in orders[1]]:
            return None
        for first, second in zip(*orders, strict=True):
            self._node = TracedNode(first, second)
            # Tensors from outside, and draws, are no function of positions.
            if first.op == "get_attr" or first.op == "call_function" and _name_of(first.target) in DRAWN:
                return None
            self._lower(self._node)
        end = ends[0].name
        # A recording whose numbers are not the buffer's has missed something: a seed, a file, a global.
        same = end in self._tensors and all(map(torch.equal, self._tensors[end], pair))
        return self._made[end] if same and self._made[end].op != "buffer" else None

    def _converted(self, a: Any, b: Any) -> Any:
        match a:
            case Node():
                return self._made[a.name]
            case list() | tuple():
                return [self._converted(x, y) for x, y in zip(a, b, strict=True)]
            case dict():
                # Where numbers are kept does not matter to a program.
                return {k: self._converted(a[k], b[k]) for k in a if k not in ("device", "pin_memory", "layout")}
        return a if a == b else Both(a, b)


def broadcast(values: Sequence[TracedValue]) -> tuple[Axis, ...]:
    """The axes of a coordinatewise operation's result."""
    rank = max((len(v.axes) for v in values), default=0)
    axes: list[Axis] = []
    for position in range(-rank, 0):
        # An axis of size 1 has no factors, and is repeated.
        present = [v.axes[position] for v in values if len(v.axes) >= -position and v.axes[position]]
        for other in present[1:]:
            unify(present[0], other)
        axes.append(present[0] if present else ())
    return tuple(axes)


def _flat(value: Any) -> list[Any]:
    return [x for item in value for x in _flat(item)] if isinstance(value, list | tuple) else [value]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) else value


def _name_of(target: object) -> str:
    packet = getattr(target, "overloadpacket", None)
    return packet.__name__ if packet is not None else getattr(target, "__name__", str(target))


FACTORIES = frozenset("zeros ones full arange scalar_tensor eye linspace empty".split())


def _is_factory(node: Node) -> bool:
    """Whether a node makes a tensor from nothing."""
    return not node.all_input_nodes and _name_of(node.target) in FACTORIES


#: Operations whose results are random, or not set at all.
DRAWN = frozenset("normal normal_functional uniform rand randn randint randperm bernoulli empty new_empty rand_like randn_like".split())


def _is_table(pair: Tensors) -> bool:
    """Whether these are numbers, not all the same, along an axis that grows with the width."""
    first, second = pair
    if first.shape == second.shape or first.dtype == torch.bool or first.is_complex():
        return False
    return bool((first != first.flatten()[:1]).any() or (second != first.flatten()[:1]).any())


def _behind(end: Node) -> list[Node]:
    """A node and all that it is computed from, in the order of computation."""
    found, todo = set(), [end]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.all_input_nodes
    return [node for node in end.graph.nodes if node in found]


def _stored(exported: torch.export.ExportedProgram, name: str) -> torch.Tensor:
    return exported.constants[name] if name in exported.constants else exported.state_dict[name]


def _with(args: Any, tensors: dict[str, Tensors], index: int) -> Any:
    match args:
        case Node():
            return tensors[args.name][index]
        case list() | tuple():
            return type(args)(_with(a, tensors, index) for a in args)
        case dict():
            return {k: _with(a, tensors, index) for k, a in args.items()}
    return args
