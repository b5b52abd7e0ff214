"""Finite networks: by the interpreter, or by an emitted module where that is much faster. Both draw the same networks
and agree up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.codegen.finite import emit_finite_module
from tensorprog.finite import simulate as interpret
from tensorprog.finite.initials import actual_widths, draw_initial
from tensorprog.ir.integers import evaluate_int
from tensorprog.ir.program import Initial, Program
from tensorprog.modules import load_module
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.simplify import simplify
from tensorprog.runtime.basis import Monitor
from tensorprog.runtime.replicates import Counter, coverage_factor, standard_error

if TYPE_CHECKING:
    from tensorprog.runtime.basis import Monitor, Watch
    from tensorprog.runtime.checkpoints import Checkpoint

Progress = Callable[[int, int], None]
Arrays = dict[str, np.ndarray]


def mean_over_networks(runs: Sequence[Arrays]) -> tuple[Arrays, Arrays, Arrays]:
    """The outputs of all networks, [networks, ...], their means, and the errors of these by the same rule as in the limit: two of
    them cover 95 %, and that of a single network is unknown (NaN)."""
    samples = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    with np.errstate(all="ignore"):
        values = {name: drawn.mean(axis=0) for name, drawn in samples.items()}
        errors = {name: standard_error(drawn, coverage_factor(len(drawn))) for name, drawn in samples.items()}
    return samples, values, errors


class Simulator:
    """The networks of one program.

    Args:
        program: without gradients and kernels, loops marked.
        original: the program as the user wrote it.
    """

    def __init__(self, program: Program, original: Program):
        self.program, self.original = program, original
        self._module = self._emitted()

    def run(self, env: Mapping[str, object], *, width: int, seed: int, threads: int | None = None,
            progress: Progress | None = None, checkpoint: Checkpoint | None = None,
            watch: Watch | None = None) -> dict[str, np.ndarray]:
        """The outputs of one network of base width `width`.

        Args:
            env: validated sizes, parameters and inputs.
            progress: called with (steps done, steps in all).
            checkpoint, watch: as for `runtime.basis.run_in_basis`; the interpreter has no use for them.

        Raises:
            ProgramError: TP601, where an element is read that has no value or does not exist.
        """
        if self._module is None or set(actual_widths(self.program, env, width).values()) != {width}:
            found = interpret(self.program, env, width=width, seeds=[seed])
            return {name: values[0] for name, values in found.items()}

        monitor = Monitor(Counter(1, self._module.steps(env), progress), checkpoint, watch)
        return self._run_module(self._module, env, width, seed, threads, monitor)

    def _emitted(self) -> ModuleType | None:
        text = emit_finite_module(mark_parallel(simplify(contract_cells(self.program))), self.original)
        return None if text is None else load_module(text)

    def _run_module(self, module: ModuleType, env: Mapping[str, object], width: int, seed: int,
                    threads: int | None, monitor: Monitor) -> dict[str, np.ndarray]:
        from threadpoolctl import threadpool_limits

        initial = {i.cell.name: self._drawn(i, env, width, seed) for i in self.program.initials}
        with np.errstate(all="ignore"), threadpool_limits(threads):
            return module.evaluate(env, initial, width, threads, monitor)

    def _drawn(self, initial: Initial, env: Mapping[str, object], width: int, seed: int) -> np.ndarray:
        """All elements of a declared family as one array."""
        elements = [value for _, value in draw_initial(self.program, initial, env, width, seed)]
        if not initial.extents:
            return elements[0]
        extents = [evaluate_int(e, env) for e in initial.extents]
        return np.stack(elements).reshape(*extents, *elements[0].shape) if elements else np.zeros((*extents, width))
