"""Averages that particles resolve badly: what their error bars need to know of the program.

An average over N particles of something with jumps is a multiple of their size over N, so that all replicates may agree
and be wrong: its error is at least a part of this `resolution`. An average of something with a heavy tail hangs on the
few largest particles, which most replicates do not have: `heavy` says where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tensorprog.diagnostics import Span
from tensorprog.ir.functions.bounds import Bound
from tensorprog.ir.integers import Environment
from tensorprog.ir.laws import LAWS
from tensorprog.ir.primitives import kink
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Elementwise,
    Let,
    Load,
    MatMul,
    Moment,
    Op,
    Program,
    Statement,
    Store,
    Var,
    operands,
    walk,
)
from tensorprog.passes.hypotheses import ProgramBounds

# The power of a Gaussian from which a few hundred particles do not have the mean's share of the largest.
HEAVY = 4.0


# The largest jump of an average as far as it is known, and whether there are others, of unknown size.
Jump = tuple[float, bool]
UNKNOWN: Jump = (0.0, True)


def resolutions(limit: Program, env: Environment) -> dict[str, Jump]:
    """For each output that averages of something with jumps enter, how much it may jump."""
    # Values of a law with atoms, as of `rademacher`, jump as those of `sign` do.
    found = _Jumps(_bounds(limit, env), {i.cell for i in limit.initials if i.law.name in LAWS and LAWS[i.law.name].atoms})
    statements = list(walk(limit.body))
    for _ in range(2):  # once more for what loops carry
        for statement in statements:
            found.add(statement)
    return {o.name: found.cells[o.cell] for o in limit.outputs if o.cell in found.cells}


def _bounds(limit: Program, env: Environment) -> Mapping[Var, Bound | None]:
    bounds = ProgramBounds(limit, env)
    bounds.solved()
    return bounds.vars


@dataclass(slots=True)
class _Jumps:
    """Which values have jumps, and for scalars of how much."""

    bounds: Mapping[Var, Bound | None]
    jumping: set[Cell]
    cells: dict[Cell, Jump] = field(default_factory=dict)
    vars: dict[Var, Jump] = field(default_factory=dict)

    def add(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=Load(cell=cell)) if cell in self.jumping or cell in self.cells:
                self.vars[var] = self.cells.get(cell, UNKNOWN)
            case Let(var=var, op=op):
                self._operation(var, op)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value) if value in self.vars:
                self.cells[cell] = _largest([self.vars[value], self.cells.get(cell, (0.0, False))])

    def _operation(self, var: Var, op: Op) -> None:
        jumps = [self.vars[a] for a in operands(op) if a in self.vars]
        match op:
            case Elementwise(fn=fn, order=0) if kink(fn) == "jump" and var.type.width is not None:
                self.vars[var] = UNKNOWN
            case Moment(arg=arg) if jumps:
                # A particle that changes sides moves the average by at most the range over N.
                bound = self.bounds.get(arg)
                self.vars[var] = UNKNOWN if bound is None else _known(bound.high - bound.low)
            case MatMul():
                pass  # a Gaussian: smooth
            case Elementwise(fn="mul" | "div" | "square" | "pow", args=args) if jumps and var.type.width is None:
                self.vars[var] = self._product(op.fn, args)
            case _ if jumps:
                self.vars[var] = _largest(jumps)

    def _product(self, fn: str, args: tuple[Var, ...]) -> Jump:
        """Of products of scalars: what multiplies a jump counts as its bound."""
        pairs = [(args[0], args[0])] * 2 if fn == "square" else [args, args[::-1]] if fn == "mul" else []
        # f g jumps by what f does times the size of g, and by what g does times that of f.
        terms = [_known(self.vars[a][0] * self._size(b)) for a, b in pairs if a in self.vars and not self.vars[a][1]]
        return _largest([(sum(t[0] for t in terms), False), *terms]) if terms else UNKNOWN

    def _size(self, var: Var) -> float:
        bound = self.bounds.get(var)
        return math.inf if bound is None else max(abs(bound.low), abs(bound.high))


def _known(size: float) -> Jump:
    return (size, False) if size < math.inf else UNKNOWN


def _largest(jumps: list[Jump]) -> Jump:
    return max(size for size, _ in jumps), any(unknown for _, unknown in jumps)


def heavy(limit: Program, env: Environment) -> list[Span | None]:
    """Where averages are taken of an exponential, or of a fourth or higher power, of Gaussians that is not bounded."""
    bounds = _bounds(limit, env)
    constants = {s.var: s.op.value for s in walk(limit.body) if isinstance(s, Let) and isinstance(s.op, Const)}
    powers: dict[Var, float] = {}
    cells: dict[Cell, float] = {i.cell: 1.0 for i in limit.initials}
    found: dict[Span | None, None] = {}
    for statement in [*walk(limit.body)] * 2:  # once more for what loops carry
        match statement:
            case Let(op=Moment(arg=arg)):
                if powers.get(arg, 0.0) >= HEAVY:
                    found[statement.span] = None
            case Let(var=var, op=op) if var.type.width is not None:
                bound = bounds.get(var)
                # A bounded function cuts the tail off, as tanh(x)**4.
                bounded = bound is not None and bound.high - bound.low < math.inf
                powers[var] = 0.0 if bounded else _power(op, powers, cells, constants)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                cells[cell] = max(powers.get(value, 0.0), cells.get(cell, 0.0))
    return list(found)


def _power(op: Op, powers: Mapping[Var, float], cells: Mapping[Cell, float], constants: Mapping[Var, Fraction | float]) -> float:
    """The power of Gaussians that a value grows with; infinite for an exponential."""
    args = [powers.get(a, 0.0) for a in operands(op)]
    match op:
        case Load(cell=cell):
            return cells.get(cell, 0.0)
        case MatMul():
            return 1.0
        case Elementwise(fn="exp"):
            return math.inf
        case Elementwise(fn="square"):
            return 2 * args[0]
        case Elementwise(fn="pow"):
            # Negative exponents count as bounded: `hypotheses` warns where the base can be zero.
            return args[0] * max(float(constants.get(op.args[1], 1.0)), 0.0)
        case Elementwise(fn="mul"):
            return sum(args)
        # A quotient has the tail of its numerator where the denominator stays away from 0, which `hypotheses` asks for.
        case Elementwise(fn="div"):
            return args[0]
        case Elementwise(fn="log" | "sqrt"):
            return args[0] / 2
        case _:
            return max(args, default=0.0)
