"""The scale of every name of a program: its power of n at initialization, after one step, and later (`tpc scale`).

`inferred` executes the program with powers of n (`powers/execution.py`); `powers/measure.py` sets slopes measured at
finite widths beside them, which makes a coordinate check (TP V, appendix D) that is decided and not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tensorprog.diagnostics import Reporter
from tensorprog.ir.constants import constants_env
from tensorprog.ir.program import Cell, MatrixType, Program, Type, cells_written
from tensorprog.passes.differentiate import differentiate
from tensorprog.passes.kernels import plan_kernels
from tensorprog.passes.rewrite import without_kernels
from tensorprog.powers.components import ZERO, Value, change, fraction, is_sure, joined, largest, scattered
from tensorprog.powers.declared import with_symmetric_objects
from tensorprog.powers.execution import LATER, Execution, decay_places, update_places
from tensorprog.powers.tables import aligned, excerpt, power_of
from tensorprog.powers.trainable import trainable_objects

if TYPE_CHECKING:
    import os

    from tensorprog.diagnostics import Span
    from tensorprog.powers.measure import Slope

STAGES = ("init", "one step", "later")


@dataclass(frozen=True, slots=True)
class InferredSize:
    """What is inferred of a value or of its change: `power` with verdict 'inferred', or why there is none: 'zero',
    'grows' from step to step, 'negligible' of a change, 'undecided'. And the measured slope, if there is one.

    `least` is the smallest power among the parts of a value that may be seen at small widths: what there would be
    without training, what the first step alone has changed, or gradients beside weight decay, and averages whose
    expectation is zero, have slopes of their own until a part with a larger power has outgrown them (attention logits,
    at initialization sums of independent terms, are of this kind).
    """

    power: Fraction | None
    verdict: str
    least: Fraction | None = None
    slope: Slope | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the slope is the power within its errors; None where there is nothing to compare, and where the measured widths do
        not tell (`is_not_resolved`)."""
        if self.slope is None or self.verdict not in ("inferred", "zero"):
            return None
        if self.verdict == "zero":
            return self.slope.is_zero
        assert self.least is not None and self.power is not None
        return None if self.is_not_resolved else self.slope.agrees(self.least, self.power)

    @property
    def is_not_resolved(self) -> bool:
        """Whether the slope is not the power, but may still become it at larger widths."""
        if self.slope is None or self.least is None or self.power is None or self.verdict != "inferred":
            return False
        return self.slope.agrees(self.least, self.power) is False and self.slope.may_tend_to(self.least, self.power)

    @property
    def settled(self) -> bool:
        """Whether the slope is that of the largest part alone."""
        return self.power is not None and self.slope is not None and bool(self.slope.agrees(self.power, self.power))

    def text(self) -> str:
        """`n^(-1/2)`, and the slope beside it, with `!` where it disagrees, `?` where it may still become the
        power, and `~` where smaller parts still show."""
        found = power_of("n", self.power) if self.verdict == "inferred" else self.verdict.replace("zero", "0")
        if self.slope is None:
            return found
        lower = self.verdict == "inferred" and self.agrees and not self.settled
        mark = " !" if self.agrees is False else " ?" if self.is_not_resolved else " ~" if lower else ""
        return f"{found} [{self.slope.text()}]{mark}"

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"power": None if self.power is None else str(self.power), "verdict": self.verdict}
        if self.slope is not None:
            found |= {"slope": self.slope.exponent, "error": self.slope.error, "agrees": self.agrees,
                      "settled": self.settled, "not_resolved": self.is_not_resolved}
        return found


@dataclass(frozen=True, slots=True)
class NamedSizes:
    """A name of the program: the sizes of its values and of what training has changed of them, by stage."""

    name: str
    kind: str
    sizes: Mapping[str, InferredSize]
    changes: Mapping[str, InferredSize]


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of all names. `measured` has the widths at which slopes were measured."""

    program: Program
    names: Mapping[str, NamedSizes]
    measured: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> NamedSizes:
        return self.names[name]

    @property
    def passed(self) -> bool:
        """Whether no measured slope disagrees."""
        return not self.disagreements

    @property
    def disagreements(self) -> list[tuple[str, str, InferredSize]]:
        """The sizes whose slopes disagree, with their names and stages."""
        return [(n.name, what, s) for n in self.names.values()
                for group, prefix in ((n.sizes, ""), (n.changes, "change, "))
                for stage, s in group.items() if s.agrees is False for what in [prefix + stage]]

    def to_json(self) -> str:
        """Powers, and slopes with their errors, by name and stage."""
        return json.dumps({n.name: {stage: s.as_json() for stage, s in n.sizes.items()}
                           | {"change": {stage: s.as_json() for stage, s in n.changes.items()}}
                           for n in self.names.values()})

    def to_text(self) -> str:
        """A table for a terminal."""
        names = list(self.names.values())
        columns = [("", [n.name for n in names]), ("", [n.kind for n in names])]
        columns += [(stage, [_cell(n.sizes.get(stage)) for n in names]) for stage in STAGES]
        columns += [(f"change, {stage}", [_cell(n.changes.get(stage)) for n in names]) for stage in STAGES[1:]]
        lines = aligned([c for c in columns if any(c[1])])
        if self.measured:
            lines += ["", f"[slopes measured at widths {', '.join(map(str, self.measured))}]"]
            lines += [f"{name} ({stage}): {size.text()} disagree" for name, stage, size in self.disagreements]
            if any(" ~" in cell for _, cells in columns for cell in cells):
                lines.append("~ at these widths smaller parts still show, which have smaller powers")
            if any(" ?" in cell for _, cells in columns for cell in cells):
                lines.append("? not resolved: slopes may change with the width so much that these do not tell; larger widths, "
                             "more seeds would")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the measured sizes against the width, a panel a name."""
        from tensorprog.powers.scale_plot import plot

        plot(self, path)

    def __str__(self) -> str:
        return self.to_text()


def _cell(size: InferredSize | None) -> str:
    return "" if size is None else size.text()


@dataclass(frozen=True, slots=True)
class ExecutedProgram:
    """A program as it is executed: without gradients, with the places of its updates, and the names of its cells."""

    program: Program
    differentiated: Program
    updates: Mapping[tuple[Cell, Span | None], frozenset[str]]
    shown: Mapping[Cell, str] = field(default_factory=dict)
    decays: frozenset[tuple[Cell, Span | None]] = frozenset()


def prepare(program: Program) -> ExecutedProgram:
    """Differentiate a checked program, leaving every name in place."""
    plain = program.with_body(without_kernels(program.body))
    reporter = Reporter(program.source)
    written_out = differentiate(plan_kernels(program, reporter), reporter)
    reporter.raise_errors()
    # Found before gradients are written out, after which they are sums like any others.
    updates = trainable_objects(with_symmetric_objects(plain))
    return ExecutedProgram(program, written_out, update_places(updates), _names_of_cells(plain), decay_places(plain, updates))


def _names_of_cells(program: Program) -> dict[Cell, str]:
    """The cells that stand for a name that the program writes, or for an output."""
    found = {o.cell: o.name for o in program.outputs if o.cell.role == "hidden"}
    for cell in [*(i.cell for i in program.initials), *cells_written(program.body)]:
        # Names that a pass has made point to text that begins otherwise.
        if cell.role != "hidden" and excerpt(program.source, cell.span).startswith(cell.display):
            found[cell] = cell.display
    return found


def inferred(prepared: ExecutedProgram, settings: Mapping[str, Any] | None = None) -> Scale:
    """The powers of a prepared program."""
    execution = Execution(prepared.differentiated, constants_env(prepared.program, settings or {}), prepared.updates,
                          prepared.decays)
    execution.run()
    order = sorted(set(prepared.shown.values()), key=_first_record(prepared, execution))
    return Scale(prepared.program, {name: _name(name, prepared, execution) for name in order})


def _first_record(prepared: ExecutedProgram, execution: Execution) -> Callable[[str], int]:
    """The order in which names get values."""
    first: dict[str, int] = {}
    # Records are in the order in which they were made.
    for position, (cell, _) in enumerate(execution.records):
        if cell in prepared.shown:
            first.setdefault(prepared.shown[cell], position)
    return lambda name: first.get(name, len(execution.records))


def _name(name: str, prepared: ExecutedProgram, execution: Execution) -> NamedSizes:
    cells = [c for c, shown in prepared.shown.items() if shown == name]
    sizes, changes = {}, {}
    for stage, label in enumerate(STAGES):
        values = [execution.records[c, stage] for c in cells if (c, stage) in execution.records]
        grows = stage == LATER and any(c in execution.grown for c in cells)
        if values:
            sizes[label] = _size(joined(values), grows, _without_training(cells, execution))
        if values and stage:
            parts = [_after_one_step(cells, execution, stage), *(largest(execution.gained.get(c, ZERO)) for c in cells)]
            moved = _size(joined(map(change, values)), grows, *parts)
            # A change that is too small to be kept beside the rest is not zero.
            changes[label] = replace(moved, verdict="negligible") if moved.verdict == "zero" else moved
    return NamedSizes(name, _kind(cells[0].type), sizes, changes)


def _without_training(cells: list[Cell], execution: Execution) -> int | None:
    """The power at initialization."""
    return largest(joined(execution.records.get((c, 0), ZERO) for c in cells))


def _after_one_step(cells: list[Cell], execution: Execution, stage: int) -> int | None:
    """The power of what the first step alone has changed: a part of all later changes, which larger ones outgrow."""
    if stage != LATER:
        return None
    return largest(joined(change(execution.records[c, 1]) for c in cells if (c, 1) in execution.records))


def _size(value: Value, grows: bool, *smaller: int | None) -> InferredSize:
    power = fraction(largest(value))
    if grows:
        return InferredSize(None, "grows")
    if power is None:
        return InferredSize(None, "zero")
    if not is_sure(value):
        return InferredSize(None, "undecided")
    parts = (fraction(p) for p in (*smaller, largest(scattered(value))))
    return InferredSize(power, "inferred", min([power, *(p for p in parts if p is not None)]))


def _kind(type: Type) -> str:
    if isinstance(type, MatrixType):
        return "matrix"
    if type.width:
        return "vector" if not type.shape else "width x finite" if type.width_first else "finite x width"
    return "array" if type.shape else "number"
