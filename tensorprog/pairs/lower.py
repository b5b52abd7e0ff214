"""Outputs that are recursions over pairs of rows of the data, lowered to pair programs (`pairs/program.py`).

An output K[..., a, b] whose last two indices are rows of inputs is one if every equation that it needs, specialised to
the arguments that occur, is a function of the pair and of at most one level. This is found from what the equations
depend on (`recognise.derive`), not from the network they come from.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sympy import Expr, Symbol

from tensorprog.codegen.extents import family_extents
from tensorprog.covariance.integers import CONSTANTS, size_symbol
from tensorprog.covariance.nodes import Call
from tensorprog.covariance.system import System
from tensorprog.ir.integers import int_text
from tensorprog.ir.program import Cell, Output, Program
from tensorprog.pairs.codegen import PairProgram
from tensorprog.pairs.graph.alignment import levelled
from tensorprog.pairs.graph.gathering import gathered
from tensorprog.pairs.graph.graph import restricted
from tensorprog.pairs.graph.merge import simplified
from tensorprog.pairs.graph.transpose import transposed
from tensorprog.pairs.nodes import NotPairs, RowSymbols
from tensorprog.pairs.recognise.collect import graph_of
from tensorprog.pairs.recognise.derive import PairDefinitions
from tensorprog.pairs.schedule import scheduled

__all__ = ["NotPairs", "PairLowering", "lower", "pair_kernels"]


@dataclass(frozen=True, slots=True)
class PairLowering:
    """Outputs of one shape as a pair program.

    Attributes:
        program: the pair program; its outputs have the names of the script's.
        leading: names of the output's indices before the two rows, which are sizes of the program, and their extents.
        extents: the numbers of rows of the two data sets.
        left, right: the script's input for each input of the program, by side.
        parameters: the program's numbers as expressions in sizes and parameters of the script.
        required: expressions that have to be >= 0 for the program to apply.
        known: the sizes whose values the program is for.
    """

    program: PairProgram
    leading: tuple[tuple[str, Expr], ...]
    extents: tuple[Expr, Expr]
    left: Mapping[str, str]
    right: Mapping[str, str]
    parameters: Mapping[str, Expr]
    required: tuple[Expr, ...]
    known: Mapping[Expr, int]

    @property
    def one_set(self) -> bool:
        """Whether both rows are of the same data."""
        return self.left == self.right and self.extents[0] == self.extents[1]


def pair_kernels(system: System, program: Program, outputs: list[Output]) -> dict[str, PairLowering | str]:
    """The lowering of every output, or why it has none. `outputs` are among those of `system`."""
    found: dict[str, PairLowering | str] = {}
    groups: dict[tuple, list[Output]] = {}
    for output in outputs:
        groups.setdefault(_extents(program, output.cell), []).append(output)
    for group in groups.values():
        try:
            found |= dict.fromkeys((o.name for o in group), lower(system, program, group))
            continue
        except NotPairs as reason:
            found |= dict.fromkeys((o.name for o in group), str(reason))
        # One output without a recursion must not take it from the others.
        for output in group if len(group) > 1 else ():
            try:
                found[output.name] = lower(system, program, [output])
            except NotPairs as reason:
                found[output.name] = str(reason)
    return found


def pairs_of_rows(program: Program, cell: Cell) -> bool:
    """Whether an output's last two indices are rows of inputs: only then can it have a lowering."""
    rows = [CONSTANTS.integer(i.shape[0]) for i in program.inputs if i.shape]
    extents = _extents(program, cell)
    # Cheap to ask, before any equation is looked for.
    return len(extents) > 1 and all(isinstance(e, Expr) and e in rows for e in extents[-2:])


def lower(system: System, program: Program, outputs: list[Output],
          sizes_known: Mapping[Expr, int] | None = None) -> PairLowering:
    """Outputs of equal extents as one pair program, which may be one for known values of some sizes.

    Raises:
        NotPairs: with the reason why they are not recursions over pairs.
    """
    extents = _extents(program, outputs[0].cell)
    if len(extents) < 2 or not all(isinstance(e, Expr) for e in extents):
        raise NotPairs("it is not indexed by pairs of rows")
    sizes = {k: tuple(CONSTANTS.integer(s) for s in i.shape) for k, i in enumerate(program.inputs)}
    identified, left, right = _identified(program, sizes, *extents[-2:])
    rows = _Rows()
    leading = tuple((rows.fixed(f"index{k}", e), e) for k, e in enumerate(extents[:-2]))
    pair = rows.symbol(0, extents[-2]), rows.symbol(1, extents[-1])
    if sizes_known:
        system = _specialised(system, sizes_known)
    derivation = PairDefinitions(system, rows, sizes)
    indices = [Symbol(name, integer=True, nonnegative=True) for name, _ in leading]
    calls = [Call(system.outputs[o.cell], *indices, *pair) for o in outputs]
    same = extents[-2] == extents[-1]
    # If K(b, a) turns out to be the same graph as K(a, b), half of the pairs are enough.
    mirrored = [Call(*c.args[:-2], *pair[::-1]) for c in calls] if same else []
    graph = graph_of(derivation, [derivation.value(c) for c in (*calls, *mirrored)], identified)
    # Gathering compares coefficients, so that constants are put in before; the means that it makes may be equal.
    graph = simplified(gathered(simplified(graph), derivation.duals))
    # Turned round first: only what goes up can be brought in line.
    graph = simplified(levelled(transposed(graph)))
    ahead, back = graph.outputs[:len(calls)], graph.outputs[len(calls):]
    graph = restricted(graph, ahead)
    names = [i.name for i in program.inputs]
    made = scheduled(graph, derivation.duals, [o.name for o in outputs], names, program.source.name.rsplit("/", 1)[-1],
                     same and ahead == back)
    required = tuple(dict.fromkeys((*made.required, *derivation.assumed)))
    return PairLowering(made.program, leading, extents[-2:], left, right, made.parameters, required, sizes_known or {})


def _specialised(system: System, known: Mapping[Expr, int]) -> System:
    """The system's equations with values for some sizes."""
    # Shallow: everything but the equations is shared.
    special = copy.copy(system)
    special.equations = {
        k: replace(e, cases=tuple((tuple(g.subs(known) for g in guards), expr.subs(known)) for guards, expr in e.cases))
        for k, e in system.equations.items()}
    return special


class _Rows(RowSymbols):
    """Rows, and indices that stay what they are."""

    def __init__(self) -> None:
        super().__init__()
        self._fixed: list[Expr] = []

    def fixed(self, name: str, extent: Expr) -> str:
        """A further index, 0 <= index < extent."""
        index = Symbol(name, integer=True, nonnegative=True)
        self._fixed += [index, extent - 1 - index]
        self.names.add(name)
        return name

    def facts(self) -> tuple[Expr, ...]:
        return (*super().facts(), *self._fixed)


def _extents(program: Program, cell: Cell) -> tuple:
    """The extents of an output: expressions where they are sizes or numbers, else text."""
    sizes = {s.name for s in program.sizes}
    texts = family_extents(program).get(cell, ())
    own = [size_symbol(t) if t in sizes else t for t in texts]
    return (*own, *(size_symbol(int_text(s)) if int_text(s) in sizes else int_text(s) for s in cell.tensor.shape))


def _identified(program: Program, sizes: Mapping[int, tuple], one: Expr, two: Expr) -> tuple[dict, dict, dict]:
    """(canonical number of each input, script's input by canonical name on the left, on the right)."""
    names = [i.name for i in program.inputs]
    own = {k: k for k in range(len(names))}
    plain = {name: name for name in names}
    if one == two:
        return own, plain, plain
    first = [k for k in own if sizes[k] and sizes[k][0] == one]
    second = [k for k in own if sizes[k] and sizes[k][0] == two]
    if [sizes[k][1:] for k in first] != [sizes[k][1:] for k in second]:
        raise NotPairs("its two data sets have rows of different shapes")
    if not first:
        raise NotPairs("it is not indexed by rows of inputs")
    own |= dict(zip(second, first))
    return own, {names[k]: names[k] for k in first}, {names[i]: names[j] for i, j in zip(first, second)}
