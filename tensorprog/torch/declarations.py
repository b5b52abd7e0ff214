"""The head of a program: widths, inputs, and the module's parameters with their laws."""

from __future__ import annotations

import keyword
import math
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from tensorprog.torch.axes import AxisFactor
from tensorprog.torch.errors import module_error
from tensorprog.torch.graph import MOVES, TracedValue

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable
    from tensorprog.torch.tracing import InitialLaw, Traced

# Words of the language, and the names that programs from here have for something else.
RESERVED = set(
    """width size param input matrix vector range int real output as pass def in return for if elif else and or not
relu abs sign step tanh erf sigmoid gelu silu softplus exp log sqrt sin cos square max min clip moment dot sum mean
prod grad ntk cov softmax layernorm var std where len outer norm polar cross_entropy accuracy argmax argmin logsumexp
log_softmax sample n m P T X Y y f t a c i j k l p q r s u eta loss zero nngp theta normal uniform constant
orthogonal momentum beta1 beta2 eps weight_decay muon_momentum c1 c2 h huber""".split()
)


class ModuleNames:
    """Names in the program: of parameters, values and widths.

    Args:
        numbers: parameters without an axis that grows are assigned, and not declared with a law.
        apart: parameters that are never written as one matrix `[n, d]`.
    """

    def __init__(self, traced: Traced, numbers: bool = False, apart: Collection[str] = ()) -> None:
        self.traced, self.numbers, self._apart = traced, numbers, apart
        self._taken = set(RESERVED)
        self._declared = {name: self.fresh(name.replace(".", "_")) for name in traced.graph.params}
        self._inputs = {
            v: self.fresh("X" if k == 0 else f"X{k + 1}", True) for k, v in enumerate(traced.graph.of("input"))
        }
        self.tables: dict[str, torch.Tensor] = {}
        self._noises: dict[TracedValue, str] = {}
        self._constants: dict[tuple[str, str], str] = {}
        self._positions: dict[AxisFactor, str] = {}
        self._widths: dict[tuple[int, int], str] = {traced.widths: "n"}

    def fresh(self, wanted: str, allowed: bool = False) -> str:
        """A name that nothing else has, as near as may be to the wanted one."""
        base = f"layer{wanted}" if wanted[0].isdigit() else wanted
        name, count = base, 1
        while not allowed and (name in self._taken or keyword.iskeyword(name)):
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def declared(self, param: str) -> str:
        return self._declared[param]

    def start(self, param: str) -> str:
        """The input that holds the initial numbers of a parameter."""
        return f"{self._declared[param]}_start"

    def input(self, value: TracedValue) -> str:
        return self._inputs[value]

    def table(self, value: TracedValue) -> str:
        """The input that a table of constants is."""
        table = value.pair[0]
        # Two buffers with the same entries, as in every layer, are one input.
        known = (name for name, t in self.tables.items() if t.shape == table.shape and torch.equal(t, table))
        name = next(known, None) or self.fresh(value.base)
        self.tables[name] = table
        return name

    def noise(self, value: TracedValue) -> str:
        """The random vectors that entries are kept by."""
        if value not in self._noises:
            self._noises[value] = self.fresh(value.base)
        return self._noises[value]

    def position(self, atom: AxisFactor) -> str:
        """The vector of positions along an axis."""
        if atom not in self._positions:
            self._positions[atom] = self.fresh("position")
        return self._positions[atom]

    def constant(self, atom: AxisFactor, number: str) -> str:
        """A vector whose entries are all one number."""
        key = self.width(atom), number
        if key not in self._constants:
            self._constants[key] = self.fresh("zeros" if number == "0" else "constant")
        return self._constants[key]

    def constants(self) -> Iterator[str]:
        """Their declarations, and those of positions."""
        for atom, name in self._positions.items():
            yield f"vector {name} : [{self.width(atom)}] ~ uniform(0, 1)"
        for (width, number), name in self._constants.items():
            yield f"vector {name} : [{width}] " + ("= 0" if number == "0" else f"~ constant({number})")

    def noises(self, rows: Sequence[str]) -> Iterator[str]:
        """Their declarations, independent in every row (and step); `rows` are how many there are."""
        for value, name in self._noises.items():
            atoms = [atom for axis in value.leaves() for atom in axis]
            sizes = [str(atom.sizes[0]) for atom in atoms if not atom.is_width]
            width = next((self.width(atom) for atom in atoms if atom.is_width), None)
            # A random vector needs an axis of its own: the last finite one, where no width is.
            if width is None:
                sizes, width = sizes[:-1], sizes[-1] if sizes else "1"
            yield f"vector {name}[{', '.join((*rows, *sizes))}] : [{width}] ~ bernoulli({value.keep!r})"

    def width(self, atom: AxisFactor) -> str:
        """The width of an axis' factor, declared when it is first met."""
        if atom.sizes not in self._widths:
            self._widths[atom.sizes] = self.fresh(f"n{len(self._widths)}")
        return self._widths[atom.sizes]

    def family(self, param: TracedValue) -> list[int]:
        """The sizes of a parameter's finite factors."""
        if self.is_table(param):
            return []
        return [atom.sizes[0] for axis in param.leaves() for atom in axis if not atom.is_width]

    def is_table(self, param: TracedValue) -> bool:
        """Whether a parameter is written `matrix U : [n, d]`: it is only applied to a whole axis of an input."""
        if param.name in self._apart or [len(axis) for axis in param.leaves()] != [1, 1]:
            return False
        rows, columns = (axis[0] for axis in param.leaves())
        # `U @ x` of a whole input is one matrix; anything else picks columns, which are vectors of a family.
        users = self.traced.graph.users(param)
        return rows.is_width and not columns.is_width and all(map(_applied_to_input, users))

    def widths(self) -> Iterator[str]:
        """The declarations of all widths met."""
        yield "width n"
        for sizes, name in self._widths.items():
            if name != "n":
                ratio = Fraction(sizes[0], self.traced.widths[0])
                # Such as n + 1: widths of a program are in proportion to each other.
                if ratio != Fraction(sizes[1], self.traced.widths[1]):
                    raise module_error("TP807", f"an axis of sizes {sizes} is no multiple of the width")
                text = f"{ratio.numerator}*n" if ratio.denominator == 1 else f"{ratio.numerator}/{ratio.denominator}*n"
                yield f"width {name} = {text}"


def _applied_to_input(user: TracedValue) -> bool:
    return user.op == "contract" and whole_input(user.args[0]) is not None and user.labels[1][-1] == user.labels[0][-1]


def whole_input(value: TracedValue) -> TracedValue | None:
    """The input whose last axis is that of a value, if only indices lie between."""
    while value.op in ("view", "index", "permute", "step") and value.axes and value.args[0].axes:
        if value.axes[-1] != value.args[0].axes[-1] or value.op == "permute" and value.order[-1] != len(value.axes) - 1:
            return None
        value = value.args[0]
    return value if value.op == "input" and value.axes and value.sizes[-1][0] > 1 else None


def declarations(traced: Traced, names: ModuleNames, laws: str, table: MuTable | None = None) -> list[str]:
    """The lines; with a table, the initial spreads are its own."""
    found = []
    for name, value in traced.graph.params.items():
        if names.numbers and not value.width_count:
            continue
        law = traced.laws[name]
        power = law.power if table is None else table.exponents()[name].std
        base = law.width if table is None else table.base
        found.append(_declaration(names, value, law, power, base, laws))
    inputs = [_input(names, v) for v in traced.graph.of("input")]
    if any(_needs_zero(v) for v in traced.graph.of("carry")):
        found += [
            f"vector zero_{names.width(a)} : [{names.width(a)}] = 0"
            for a in sorted(
                {atom for v in traced.graph.of("carry") for axis in v.leaves() for atom in axis if atom.is_width},
                key=lambda atom: atom.sizes,
            )
        ]
    tables = [
        f"input {name} : {list(table.shape)}{'' if table.is_floating_point() else ' int'}"
        for name, table in names.tables.items()
    ]
    # Several loops may want zeros of one width.
    return [*names.widths(), "size P", *inputs, *tables, *names.constants(), *dict.fromkeys(found)]


def _needs_zero(carry: TracedValue) -> bool:
    start = carry.args[0]
    while start.op in MOVES:
        start = start.args[0]
    return start.op == "buffer"


def _input(names: ModuleNames, value: TracedValue) -> str:
    sizes = ", ".join(["P", *(str(s[0]) for s in value.sizes[1:])])
    kind = (
        " int" if not names.traced.inputs[names.traced.graph.of("input").index(value)].dtype.is_floating_point else ""
    )
    return f"input {names.input(value)} : [{sizes}]{kind}"


def _declaration(names: ModuleNames, value: TracedValue, law: InitialLaw, power: Fraction, base: int, laws: str) -> str:
    widths = [names.width(atom) for axis in value.leaves() for atom in axis if atom.is_width]
    name, family = names.declared(value.name), names.family(value)
    bracket = f"[{', '.join(map(str, family))}]" if family else ""
    if names.is_table(value):
        widths.append(str(value.leaves()[1][0].sizes[0]))
    if len(widths) > 2:
        raise module_error("TP807", f"{value.name} has more than two axes that grow with the width", value.place)
    if not widths:
        # An array of finite size: the last one or two of its axes are the declared object's own.
        sizes = [str(size) for size in family] or ["1"]
        outer, widths = sizes[:-2], sizes[-2:]
        bracket = f"[{', '.join(outer)}]" if outer else ""
    kind = "matrix" if len(widths) == 2 else "vector"
    return f"{kind} {name}{bracket} : [{', '.join(widths)}] {_law(law, power, base, laws)}"


def _law(initial: InitialLaw, power: Fraction, base: int, laws: str) -> str:
    law, ratio = initial.law, (base / initial.width) ** float(initial.power)
    # The module's numbers are those of the width that was traced, and are wanted at the base width.
    mean, std = law.mean * ratio, law.std * ratio
    if law.size == 0.0:
        return "= 0"
    # What is written as scale * n**power is 1 at the base width.
    scale = base ** -float(power)
    if law.kind == "constant":
        return f"~ constant({power_times(mean * scale, power)})"
    if law.kind == "uniform" and laws == "exact" and mean == 0.0:
        # A uniform law on (-h, h) has variance h**2/3.
        half = f"sqrt({power_times(3 * (std * scale) ** 2, 2 * power)})"
        return f"~ uniform(-{half}, {half})"
    return f"~ normal({power_times(mean * scale, power) if mean else '0'}, {power_times((std * scale) ** 2, 2 * power)})"


def _power(power: Fraction) -> str:
    """n**power, for a power that is not 0."""
    return "n" if power == 1 else f"n**{power}" if power.denominator == 1 and power > 0 else f"n**({power})"


def power_times(value: float, power: Fraction) -> str:
    """value * n**power as people write it: 1/(3*n)."""
    if value < 0:
        return f"-{power_times(-value, power)}"
    # Deviations such as sqrt(2)/3 are no fractions; their squares, which laws are written with, are.
    near = Fraction(value).limit_denominator(10000)
    # 1/3 rather than 0.3333333333333333.
    exact = value != 0 and math.isclose(float(near), value, rel_tol=1e-9)
    above, below = (str(near.numerator), near.denominator) if exact else (repr(value), 1)
    if power > 0:
        above = _power(power) if above == "1" else f"{above}*{_power(power)}"
    parts = [*([str(below)] if below > 1 else []), *([_power(-power)] if power < 0 else [])]
    return above + (f"/({'*'.join(parts)})" if len(parts) > 1 else f"/{parts[0]}" if parts else "")


def scale_text(power: Fraction, base: int) -> str:
    """A factor (n/base)**power."""
    if power == 0:
        return ""
    return f" * (n/{base})" + ("" if power == 1 else f"**({power})")


def uniform_value(tensor: torch.Tensor) -> float | None:
    """The number that all entries are, or None."""
    return float(tensor.flatten()[0]) if tensor.numel() and bool((tensor == tensor.flatten()[0]).all()) else None
