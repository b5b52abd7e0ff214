"""What evaluators find out about a compiled program: each part when it is first asked for, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from tensorprog.compiled import Compiled
from tensorprog.covariance.covered import Covered
from tensorprog.ir.program import Cell, Program
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.changing_matrices import changing_matrix
from tensorprog.passes.linear import LinearProgram, linear_outputs
from tensorprog.progress import announce
from tensorprog.registry import digest
from tensorprog.series.split import Split, split

if TYPE_CHECKING:
    from tensorprog.covariance.system import System
    from tensorprog.evaluators.plan import Plan
    from tensorprog.evaluators.tiles import Tiles
    from tensorprog.evaluators.windows import Windowed
    from tensorprog.ir.program import Let, Var
    from tensorprog.kept import Shelf
    from tensorprog.passes.jumps import Nudged, Probed
    from tensorprog.passes.powers import Powers

Part = TypeVar("Part")


@dataclass
class Made:
    """What later stages make of one program: its plan, the equations of the outputs that other evaluators leave, kernels by their
    equations, texts of modules by their keys, and, by what they are looked for with, places that jump, programs with probes, and
    programs with nudges; the program with windows, and pilots of runs with windows by a digest of these."""

    plan: Plan | None = None
    rest: Covered | None = None
    tiles: dict[System, Tiles] = field(default_factory=dict)
    texts: dict[object, str] = field(default_factory=dict)
    places: dict[tuple, Sequence[tuple[Let, tuple[Var, ...]]]] = field(default_factory=dict)
    probed: dict[tuple, tuple[Analysis, Probed]] = field(default_factory=dict)
    nudged: dict[tuple, tuple[Analysis, Nudged]] = field(default_factory=dict)
    windowed: Windowed | str | None = None
    pilots: dict[str, Any] = field(default_factory=dict)


# Compared by identity: what is cached belongs to one program as it was compiled.
@dataclass(frozen=True, eq=False)
class Analysis(Compiled):
    """A compiled program with what is found out about it.

    Attributes:
        shelf: where that is kept on disk; None: nowhere.
        by_steps: whether training takes every step, because the limit is not what the passes make of `original`.
    """

    shelf: Shelf | None = None
    by_steps: bool = False

    @classmethod
    def of(cls, compiled: Compiled, shelf: Shelf | None = None) -> Analysis:
        """The analysis of what the passes made."""
        return cls(**{f.name: getattr(compiled, f.name) for f in fields(Compiled)}, shelf=shelf)

    def changed(self, limit: Program) -> Analysis:
        """The analysis with another limit program, of which nothing is kept."""
        # The shelf is that of the program: what is found out of another limit must not come back for this one.
        return replace(self, limit=limit, shelf=None, by_steps=True)

    def by_windows(self, limit: Program, powers: Powers, vanishing: frozenset[str]) -> Analysis:
        """The analysis with a limit program that trains by windows."""
        return replace(self, limit=limit, powers=powers, vanishing=vanishing, drawn=None, by_steps=True,
                       shelf=self.shelf.part("windows") if self.shelf is not None else None)

    def kept(self, part: str, make: Callable[[], Part]) -> Part:
        """Something that was found out about the program: from the disk, if it was kept there."""
        # None is nothing that was kept: parts that are nothing are found out again.
        found: Any = self.shelf.recall(part) if self.shelf is not None else None
        if found is None:
            found = make()
            if self.shelf is not None:
                self.shelf.keep(part, found)
        result: Part = found
        return result

    # --- parts ---

    @cached_property
    def linear(self) -> LinearProgram:
        """Which outputs `span` evaluates, and the homogeneous program of those."""
        return linear_outputs(self.limit)

    @cached_property
    def covered(self) -> Covered:
        """Which outputs `covariance` can evaluate, whatever the plan is, and their equations."""
        return self.kept("covered", self._covered)

    def _covered(self) -> Covered:
        announce("planning: looking for equations")
        return self.equations(self._results)

    def equations(self, cells: list[Cell], conditional: bool = True) -> Covered:
        """Those of the outputs `cells` that have equations (`covariance.build.covered`)."""
        matrix = changing_matrix(self.limit)
        if matrix is not None:
            return Covered(None, dict.fromkeys(cells, f"the matrix `{matrix.display}` changes from one iteration to the next"))
        from tensorprog.covariance.build import covered  # a planned program does without SymPy

        return covered(self, cells, conditional)

    @cached_property
    def unconditional(self) -> Covered:
        """The same without equations for which numbers have to cancel."""
        return self.kept("equations without conditions", lambda: self.equations(self._results, conditional=False))

    @property
    def _results(self) -> list[Cell]:
        """The cells of the outputs, each once."""
        # Two outputs may name one family.
        return list(dict.fromkeys(o.cell for o in self.limit.outputs))

    @cached_property
    def covariances(self) -> Analysis:
        """The program of the covariances of the draws of a random limit."""
        assert self.gaussians is not None
        return self._made("covariances", self.gaussians.covariances)

    @cached_property
    def numbers(self) -> tuple[Split, Analysis, Analysis] | None:
        """Of a limit by series whose training is equations between numbers: its parts, the averages and the numbers."""
        if not self.coefficients:
            return None
        found = split(self.limit, frozenset(self.gaussians.inputs if self.gaussians else ()), self.coefficients)
        if found is None:
            return None
        return found, self._made("averages", found.averages), self._made("numbers", found.numbers)

    def _made(self, part: str, limit: Program) -> Analysis:
        """A limit program that was made of this one, with a shelf of its own; `part` names it."""
        # By steps: windows would be made of `original`, which is another program than this limit's.
        return replace(self, limit=mark_parallel(limit), vanishing=frozenset(), gaussians=None, coefficients=frozenset(),
                       by_steps=True, shelf=self.shelf.part(part) if self.shelf is not None else None)

    # --- modules ---

    @cached_property
    def made(self) -> Made:
        """What later stages have made of it."""
        return Made()

    def text(self, key: object, emit: Callable[[], str]) -> str:
        """The text of an emitted module, written when it is first asked for. `key` names the module; if it is a text,
        the same one names it in every process, and the module is kept on disk."""
        if key not in self.made.texts:
            text = self.kept(f"text {key}", emit) if isinstance(key, str) else emit()
            # Kernels are compiled anew where a function from outside has changed.
            self.made.texts[key] = f"{text}\n# with extensions {found}\n" if (found := digest()) else text
        return self.made.texts[key]
