"""Recurrent cells and layers. A layer is a loop over time: `carry` is its state, `step` its input, `collect` its
output."""

from __future__ import annotations

from collections.abc import Callable

from tensorprog.torch.axes import both, fresh, leaves, split_blocks, unify
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Lowering, rule
from tensorprog.torch.rules.linear import linear
from tensorprog.torch.rules.views import cat, part, permuted, select

# Of the input and of the state; their biases, if there are.
Weights = tuple[TracedValue, TracedValue, TracedValue | None, TracedValue | None]
Cell = Callable[[Lowering, TracedValue, list[TracedValue], Weights], list[TracedValue]]


def _gates(low: Lowering, x: TracedValue, w: TracedValue, b: TracedValue | None, count: int, suffix: str) -> list[TracedValue]:
    """A linear layer whose outputs are `count` gates, one after another."""
    out = linear(low, x, w, b, suffix)
    size = both(s // count for s in out.sizes[-1])
    split_blocks(out.axes[-1], [size] * count)
    parts = [part(low, out, len(out.axes) - 1, k, 1, 1, count) for k in range(count)]
    return parts


def _rnn(fn: str) -> Cell:
    def cell(low: Lowering, x: TracedValue, state: list[TracedValue], weights: Weights) -> list[TracedValue]:
        w_ih, w_hh, b_ih, b_hh = weights
        total = low.map(
            "add", linear(low, x, w_ih, b_ih, "input"), linear(low, state[0], w_hh, b_hh, "hidden"), suffix="sum"
        )
        return [low.map(fn, total, suffix="state")]

    return cell


def _gru(low: Lowering, x: TracedValue, state: list[TracedValue], weights: Weights) -> list[TracedValue]:
    w_ih, w_hh, b_ih, b_hh = weights
    h = state[0]
    i_r, i_z, i_n = _gates(low, x, w_ih, b_ih, 3, "input")
    h_r, h_z, h_n = _gates(low, h, w_hh, b_hh, 3, "hidden")
    reset = low.map("sigmoid", low.map("add", i_r, h_r, suffix="reset_sum"), suffix="reset")
    update = low.map("sigmoid", low.map("add", i_z, h_z, suffix="update_sum"), suffix="update")
    # The hidden bias is inside of the reset gate, as in torch.
    inner = low.map("mul", reset, h_n, suffix="gated")
    new = low.map("tanh", low.map("add", i_n, inner, suffix="new_sum"), suffix="new")
    # (1 - z) new + z h = new + z (h - new), in the order in which torch computes it.
    difference = low.map("sub", h, new, suffix="difference")
    return [low.map("add", new, low.map("mul", update, difference, suffix="kept"), suffix="state")]


def _lstm(low: Lowering, x: TracedValue, state: list[TracedValue], weights: Weights) -> list[TracedValue]:
    w_ih, w_hh, b_ih, b_hh = weights
    h, c = state
    gates = [
        low.map("add", i, r, suffix="gate")
        for i, r in zip(_gates(low, x, w_ih, b_ih, 4, "input"), _gates(low, h, w_hh, b_hh, 4, "hidden"), strict=True)
    ]
    # torch's order of the gates: in, forget, new, out.
    i, f, o = (low.map("sigmoid", gates[k], suffix=name) for k, name in ((0, "in"), (1, "forget"), (3, "out")))
    g = low.map("tanh", gates[2], suffix="new")
    cell = low.map("add", low.map("mul", f, c, suffix="kept"), low.map("mul", i, g, suffix="added"), suffix="cell")
    return [low.map("mul", o, low.map("tanh", cell, suffix="shown"), suffix="state"), cell]


CELLS: dict[str, Cell] = {"rnn_tanh": _rnn("tanh"), "rnn_relu": _rnn("relu"), "gru": _gru, "lstm": _lstm}


def _cell_rule(name: str) -> None:
    @rule(f"{name}_cell")
    def lower(
        low: Lowering,
        x: TracedValue,
        state: TracedValue | list[TracedValue],
        w_ih: TracedValue,
        w_hh: TracedValue,
        b_ih: TracedValue | None = None,
        b_hh: TracedValue | None = None,
    ) -> TracedValue | tuple[TracedValue, ...]:
        states = state if isinstance(state, list) else [state]
        found = CELLS[name](low, x, states, (w_ih, w_hh, b_ih, b_hh))
        return tuple(found) if len(found) > 1 else found[0]


def _layer_rule(name: str) -> None:
    @rule(name)
    def lower(
        low: Lowering,
        x: TracedValue,
        state: TracedValue | list[TracedValue],
        weights: list[TracedValue],
        biased: bool,
        layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[TracedValue, ...]:
        if dropout and train and layers > 1:
            raise low.refuse("dropout between recurrent layers has no rule", "write the layers one by one")
        states = state if isinstance(state, list) else [state]
        sequence = permuted(low, x, [1, 0, 2]) if batch_first and len(x.axes) == 3 else x
        each, directions = (4 if biased else 2), (2 if bidirectional else 1)
        if len(weights) != each * layers * directions:
            raise low.refuse("a recurrent layer with projections has no rule")
        finals: list[list[TracedValue]] = []
        for layer in range(layers):
            outs = []
            for direction in range(directions):
                k = layer * directions + direction
                # Without biases a layer has two weights.
                w_ih, w_hh, *biases = weights[each * k : each * k + each]
                b_ih, b_hh = biases or (None, None)
                starts = [select(low, s, 0, k) for s in states]
                out, final = _loop(low, CELLS[name], sequence, starts, (w_ih, w_hh, b_ih, b_hh), backwards=direction == 1)
                outs.append(out)
                finals.append(final)
            sequence = outs[0] if len(outs) == 1 else cat(low, outs, -1)
        out = permuted(low, sequence, [1, 0, 2]) if batch_first and len(x.axes) == 3 else sequence
        return (out, *(_stacked(low, [f[k] for f in finals]) for k in range(len(states))))


def _loop(
    low: Lowering,
    cell: Cell,
    sequence: TracedValue,
    starts: list[TracedValue],
    weights: Weights,
    backwards: bool = False,
) -> tuple[TracedValue, list[TracedValue]]:
    """One layer: its outputs at all times, and its last states."""
    time = sequence.axes[0]
    # Values of one loop have this identity in common.
    loop = object()
    carries = [low.emit("carry", (s,), s.axes, "before", loop=loop, time=time) for s in starts]
    x = low.emit("step", (sequence,), sequence.axes[1:], "x", loop=loop, time=time, backwards=backwards)
    nexts = cell(low, x, carries, weights)
    for carry, following in zip(carries, nexts, strict=True):
        for a, b in zip(carry.axes, following.axes, strict=True):
            unify(a, b)
        carry.attrs["next"] = following
    outs = [
        low.emit("collect", (n,), (time, *n.axes), "states", loop=loop, time=time, backwards=backwards) for n in nexts
    ]
    # Backwards, the last step is that of time 0.
    last = [select(low, out, 0, 0 if backwards else out.sizes[0][0] - 1) for out in outs]
    return outs[0], last


def _stacked(low: Lowering, parts: list[TracedValue]) -> TracedValue:
    lifted = [low.emit("view", (p,), ((), *p.axes), "last") for p in parts]
    if len(lifted) == 1:
        return lifted[0]
    count = fresh((len(lifted),) * 2)
    return low.emit(
        "cat", lifted, (count, *(leaves(a) for a in parts[0].axes)), "last", dim=0, counts=(1,) * len(lifted)
    )


for _name in CELLS:
    _cell_rule(_name)
    _layer_rule(_name)
