"""The evaluator of programs of few Gaussians: equations between numbers, kernels over pairs of rows by tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, Evaluated, require
from tensorprog.evaluators.evaluator import Evaluator, Share, Task
from tensorprog.evaluators.tiles import tiles_of
from tensorprog.ir.program import Cell, Output
from tensorprog.modules import load_module
from tensorprog.progress import announce

if TYPE_CHECKING:
    from tensorprog.covariance.covered import Covered
    from tensorprog.covariance.system import System
    from tensorprog.pairs.lower import PairLowering

NAME = "covariance"


@dataclass(frozen=True)
class Equations:
    """Which equations a share has.

    Attributes:
        whole: whether they were looked for for all outputs of the program.
        tiled: whether some outputs are kernels over pairs of rows that tiles compute.
    """

    whole: bool
    tiled: bool


def share(analysis: Analysis, outputs: Sequence[Output], asked: bool) -> Share:
    """The outputs that have equations."""
    if not outputs:
        return Share((), {})
    cells = list(dict.fromkeys(o.cell for o in outputs))
    # Equations of all outputs are those that other commands ask for as well (`tpc derive`, `kernels`): they are kept once.
    whole = len(outputs) == len(analysis.limit.outputs)
    found = analysis.covered if whole else _of_the_rest(analysis, cells)
    covered = found.system.outputs if found.system is not None else {}
    tiled = found.system is not None and tiles_of(analysis, found.system).found
    return Share(tuple(o.name for o in outputs if o.cell in covered), found.reasons, Equations(whole, asked or tiled))


def _of_the_rest(analysis: Analysis, cells: list[Cell]) -> Covered:
    """The equations of the outputs that more exact evaluators leave."""
    def found() -> Covered:
        announce("planning: looking for equations")
        return analysis.equations(cells)

    if analysis.made.rest is None:
        analysis.made.rest = analysis.kept("equations of the rest", found)
    return analysis.made.rest


def system_of(analysis: Analysis, own: Share) -> System | None:
    """The equations of a share. A run of a program that was planned before asks for them only if it needs more than the
    emitted module."""
    if own.found is None:
        return None
    if own.found.whole:
        return analysis.covered.system
    return _of_the_rest(analysis, [o.cell for o in analysis.limit.outputs if o.name in own.names]).system


def choice(analysis: Analysis, output: Output, shares: Mapping[str, Share]) -> Choice:
    """What is said of an output that it evaluates."""
    from tensorprog.covariance.rows import find_rows

    system = _found(lambda: system_of(analysis, shares[NAME]))
    # All outputs share a system; said of one is what that one needs.
    needed = system.needed(output.cell)
    quadratures = [r for r in needed.recipes if r.kind == "quadrature"]
    if not quadratures:
        accuracy, reason = "rounding", "every expectation has a closed form"
    else:
        dimension = max(r.dimension for r in quadratures)
        accuracy = "reported; 1e-12 aimed at"
        reason = f"every expectation is of few Gaussians, at most {dimension} in a quadrature"
    pairs = tiles_of(analysis, system).has(output.name)
    kept = "one number kept for each index met"
    if pairs:
        kept = "tiles of pairs of rows, nothing kept but the output"
    elif output.cell in find_rows(system).outputs:
        kept = "a tape for pairs of rows, one number kept for each step and row"
    cost = f"{len(needed.equations)} equations, {len(quadratures)} quadratures; {kept}"
    return Choice(output, NAME, reason, accuracy, cost)


def emit(analysis: Analysis, system: System, tiles: Sequence[PairLowering] = (), varying: Sequence[str] = ()) -> str:
    """The source of the emitted module that evaluates a system of equations, and `tiles` as kernels, for runs that
    differ in the parameters `varying`; see `covariance.emit.emit_module`."""
    def text() -> str:
        from tensorprog.covariance.emit import emit_module
        from tensorprog.pairs.sections import tiles as texts

        return emit_module(analysis.limit, analysis.original, system, texts(tiles), varying)

    names = [o.name for o in analysis.limit.outputs if o.cell in system.outputs]
    # Identities hold in this process only, so a module with tiles is not kept on disk.
    key = (system, *map(id, tiles)) if tiles else table_key(names) + "".join(f" for each {v}" for v in varying)
    return analysis.text(key, text)


def table_key(names: Iterable[str]) -> str:
    """The key of the module that evaluates a system of some outputs without kernels; see `Analysis.text`."""
    return "table " + " ".join(names)


def run(analysis: Analysis, own: Share, task: Task) -> Evaluated:
    """Its share: kernels over pairs of rows by tiles, if there are such, others by a table of values, but none of the latter if
    they would take too many numbers.

    Raises:
        ProgramError: if it is asked for: TP713, if there are too many numbers; TP712, if something does not cancel.
    """
    from tensorprog.runtime.table import NotCancelling, TooLarge

    names, env, threads = list(own.names), task.env, task.options.get("threads")
    values: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}

    def system() -> System | None:
        return system_of(analysis, own)

    if own.found.tiled:
        values, errors = tiles_of(analysis, _found(system)).values(env, threads)
    rest = [name for name in names if name not in values]
    try:
        if rest:
            module = load_module(analysis.text(table_key(names), lambda: emit(analysis, _found(system))))
            # Its share may be of few outputs: `only` leaves other equations alone.
            announce("evaluating equations")
            more = module.run(env, only=rest, threads=threads)
            values, errors = values | more[0], errors | more[1]
    except TooLarge:
        # Else the particles have the others (`evaluate._planned`).
        if task.asked:
            raise ProgramError([Diagnostic("TP713", "the covariances of this run are too many to keep", help=(
                "use the method 'particles', or smaller data"))], task.source) from None
    except NotCancelling as reason:
        more = _unconditional(analysis, rest, str(reason), task)
        values, errors = values | more[0], errors | more[1]
    for name in set(values) & analysis.vanishing:
        # Not zeros: elements without a value stay NaN.
        values[name] = 0.0 * values[name]
    return values, errors, dict.fromkeys(values, NAME)


def _found(system: Callable[[], System | None]) -> System:
    found = system()
    assert found is not None
    return found


def _unconditional(analysis: Analysis, names: list[str], not_true: str,
                   task: Task) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Those of some outputs that have equations for which nothing has to cancel. `not_true` says what does not.

    Raises:
        ProgramError: TP712, if `covariance` is asked for and does not cover an output.
    """
    found = analysis.unconditional
    if task.asked:
        reasons = {cell: f"{not_true}; without that, {why}" for cell, why in found.reasons.items()}
        require(analysis, NAME, reasons, task.source)
    if found.system is None:
        return {}, {}
    rest = [o.name for o in analysis.limit.outputs if o.name in names and o.cell in found.system.outputs]
    return load_module(emit(analysis, found.system)).run(task.env, only=rest, threads=task.options.get("threads"))


def evaluated_often(analysis: Analysis, names: list[str], threads: int | None,
                    varying: tuple[str, ...]) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """A function from environments to the values of outputs for which there are equations, by the table, for runs that
    differ in some parameters alone: what does not depend on these is computed once."""
    from tensorprog.runtime.table import forget

    # Values are functions of the equations' indices; those that do not depend on a varying parameter stay in `known`.
    module = load_module(emit(analysis, _found(lambda: analysis.covered.system), varying=varying))
    known, _ = module.table()

    def values(env: Mapping[str, Any]) -> dict[str, np.ndarray]:
        forget(known, module.VARYING)
        return module.run(env, only=names, threads=threads, known=known)[0]

    return values


def module_of(analysis: Analysis, own: Share) -> str:
    """The source of a module of a share, with kernels for what tiles compute."""
    system = _found(lambda: system_of(analysis, own))
    return emit(analysis, system, tiles_of(analysis, system).for_module())


EVALUATOR = Evaluator(NAME, True, share, choice, run, module_of)
