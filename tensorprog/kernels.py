"""Kernels over all pairs of rows, evaluated by tiled pair kernels, or else by tapes, instead of a table of values.

    p = tensorprog.compile("kernel.tp")
    p.kernels(X)                  {"K": [N, N]}
    p.kernels(X1, X2)             {"K": [N1, N2]}

`pairs/lower.py` and `covariance/rows.py` decide which outputs have these forms; `run` uses them too.
"""

from __future__ import annotations

import math
import os
import warnings as python_warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tensorprog.codegen.names import python_name
from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.evaluators import covariance
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.tiles import WORTH_A_WARNING, dense_errors, tiles_of, worst_error
from tensorprog.modules import load_module

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tensorprog.api import CompiledProgram
    from tensorprog.covariance.system import System
    from tensorprog.diagnostics import Span
    from tensorprog.pairs.lower import PairLowering
    from tensorprog.passes.jumps import Jump
    from tensorprog.results import Result
    from tensorprog.runtime.careful import PairError


class Kernels(dict):
    """The outputs of `kernels` by name, arrays [..., N1, N2].

    Attributes:
        error: by name, the error of every element, an array that is made when it is asked for.
        warnings: what there is to say of outputs that are not finite, whose errors are large, or that may have no limit
            somewhere.
    """

    def __init__(self, program: CompiledProgram, values: Mapping[str, np.ndarray],
                 errors: Mapping[str, list[PairError] | np.ndarray], jumps: Sequence[Jump] = ()) -> None:
        super().__init__(values)
        self._program = program
        # Of the values and not of itself: in a cycle, large arrays would stay until the collector of cycles runs.
        self.error = _Errors(dict(values), errors)
        self.warnings = tuple(w for o in program.program.outputs if o.name in self
                              for w in (*self._warnings(o.name, o.span), *_jump_warnings(o.name, jumps)))
        # At the line that called `CompiledProgram.kernels`: through its wrapper, `kernels_with`, `kernels` and this constructor.
        for warning in self.warnings:
            python_warnings.warn(warning.message, RuntimeWarning, stacklevel=6)

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(f"there is no kernel {name!r}; kernels are {', '.join(self)}")

    def _repr_html_(self) -> str:
        from tensorprog.results_text import html_row, html_table

        return html_table(("kernel", "shape", "value"), (html_row(name, value, self.error[name], np.array(False))
                          for name, value in self.items()))

    def result(self) -> Result:
        """The kernels as a result, which can be saved and made tables of."""
        from tensorprog.axes import axes_of_outputs
        from tensorprog.results import Result

        return Result(self, self.error, dict.fromkeys(self, "covariance"), warnings=(*self._program.warnings, *self.warnings),
                      axes=axes_of_outputs(self._program.program))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw every kernel as a heat map; kernels with more indices, a panel for each of the first ones.

        Args:
            path: a .png, .pdf or .svg file to write as well.

        Raises:
            ProgramError: TP711, for another kind of file; TP707, when it cannot be written.
        """
        from tensorprog.plots.results import plot_kernels

        return plot_kernels(self, path)

    def _warnings(self, name: str, span: Span | None) -> Iterator[Diagnostic]:
        worst = self.error.worst(name)
        # (In float32 arithmetic has errors of 1e-7 and more, which is what was asked for.)
        if math.isfinite(worst) and worst <= WORTH_A_WARNING or self[name].dtype == np.float32 and worst < 1e-4:
            return
        infinite = np.argwhere(~np.isfinite(self[name]))
        if len(infinite):
            place = ", ".join(map(str, infinite[0]))
            yield Diagnostic("TP640", f"the output '{name}' is not a finite number from {name}[{place}] on", span,
                             severity="warning", help="its rows are too large, or the kernel grows without bound")
        elif worst > WORTH_A_WARNING:
            yield Diagnostic("TP642", f"errors of the output '{name}' are up to {worst:.1e} of its size", span,
                             severity="warning", help="`.error` has the error of every element: rows that are nearly "
                             "equal, or very large, cost digits")


def _jump_warnings(name: str, jumps: Sequence[Jump]) -> Iterator[Diagnostic]:
    """Kernels do not look at the scalars on which something jumps: these are as many as there are pairs."""
    for jump in jumps:
        if name in jump.outputs:
            yield Diagnostic("TP513", f"elements of the output '{name}' for which a scalar tends to the jump of "
                             f"`{jump.fn}` here have no limit", jump.span, severity="warning",
                             help="use `run`, which finds and marks them")


class _Errors(Mapping):
    """Errors by the names of outputs."""

    def __init__(self, values: Mapping[str, np.ndarray], errors: Mapping[str, list[PairError] | np.ndarray]) -> None:
        self._values, self._errors = values, errors

    def __getitem__(self, name: str) -> np.ndarray:
        errors = self._errors[name]
        return dense_errors(errors, self._values[name]) if isinstance(errors, list) else errors

    def __iter__(self) -> Iterator[str]:
        return iter(self._errors)

    def __len__(self) -> int:
        return len(self._errors)

    def worst(self, name: str) -> float:
        """The largest, relative to the kernel's size; infinite if a value is not finite."""
        errors, values = self._errors[name], self._values[name]
        if isinstance(errors, list):
            return worst_error(errors, values)
        if not np.isfinite(values).all():
            return math.inf
        return float(np.max(errors, initial=0.0)) / (float(np.max(np.abs(values), initial=0.0)) or 1.0)


def kernels(program: CompiledProgram, first: object, second: object = None, *, out: Mapping | None = None,
            threads: int | None = None, dtype: str = "float64", settings: Mapping[str, object] = MappingProxyType({})) -> Kernels:
    """Every output that is a recursion over pairs of rows, for all pairs; see `CompiledProgram.kernels`."""
    from tensorprog.bind import check_finite
    from tensorprog.jumps import possible_jumps

    env = _bound(program, first, settings, finite=False)
    analysis = program.compiled_for(env)
    # Its values are draws, and no function of two rows.
    if analysis.gaussians is not None:
        raise _no_kernel(program, {o.name: "its limit is random" for o in program.program.outputs})
    system = analysis.covered.system
    usable, reasons = ([], {}) if system is None else tiles_of(analysis, system).applicable(env)
    tiled = {name for module in usable for name, _ in module.lowering.program.outputs}
    taped = {} if system is None else {name: rows for name, rows in _taped(analysis).items() if name not in tiled}
    # Tiles read their inputs anyway, and tell of what is not finite.
    read = set() if taped else set().union(*(module.read for module in usable))
    check_finite(program.program, env, set(env) - read)
    errors: dict[str, np.ndarray | list[PairError]] = {}
    results: dict[str, np.ndarray] = {}
    if system is not None and taped:
        results, known = _by_tapes(program, analysis, system, env, second, settings, taped, threads, dtype)
        errors |= known
    if not usable and not results:
        raise _no_kernel(program, reasons)
    if out is not None:
        results = {name: _copied(value, name, out) for name, value in results.items()}
    for module in usable:
        names = [name for name, _ in module.lowering.program.outputs]
        other = _second(program, module.lowering, env, second, settings)
        given = None if out is None else _given(out, names)
        # Only values that are not finite make one look through the inputs.
        found, error = module.values(env, env, other, out=given, threads=threads, dtype=dtype,
                                     suspect=lambda: check_finite(program.program, env, env))
        results |= found
        errors |= error
    return Kernels(program, results, errors, possible_jumps(analysis, env))


def _by_tapes(program: CompiledProgram, analysis: Analysis, system: System, env: dict, second: object, settings: Mapping,
              taped: Mapping[str, str | None], threads: int | None,
              dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The outputs `taped`, with the size that both of their rows run over, and their errors, for rows of one data set
    with itself or with those of another."""
    # Rows of two data sets are rows of one, of which pairs from one part to the other are taken.
    between = None
    if second is not None:
        rows, *others = set(taped.values())
        if rows is None or others:
            return {}, {}
        other = _bound(program, second, settings)
        _check_alike(program, env, other, {rows})
        between = env[rows]
        env = _joined(program, env, other, rows)
    module = load_module(covariance.emit(analysis, system))
    found, errors = module.run(env, only=list(taped), threads=threads, between=between)
    return {name: value.astype(dtype, copy=False) for name, value in found.items()}, errors


def _taped(analysis: Analysis) -> dict[str, str | None]:
    """Outputs that a tape may compute, and the size that both of their rows run over (None: they differ)."""
    from tensorprog.codegen.extents import family_extents
    from tensorprog.covariance.rows import find_rows

    found: dict[str, str | None] = {}
    extents = family_extents(analysis.limit)
    for cell, (left, right) in find_rows(analysis.covered.system).outputs.items():
        shape = extents.get(cell, ())
        same = right < len(shape) and shape[left] == shape[right]
        sizes = [s.name for s in analysis.limit.sizes if same and python_name(s.name) == shape[left]]
        found |= {o.name: sizes[0] if sizes else None for o in analysis.limit.outputs
                  if o.cell == cell and o.name not in analysis.vanishing}
    return found


def _joined(program: CompiledProgram, env: Mapping, other: Mapping, rows: str) -> dict[str, object]:
    """The data of both, one after another where the size `rows` is an axis.

    Raises:
        ProgramError: TP623, if they differ in other inputs.
    """
    joined: dict[str, object] = {}
    found = []
    for declared in program.program.inputs:
        axes = [k for k, item in enumerate(declared.shape) if getattr(item, "name", None) == rows]
        one, two = env[declared.name], other[declared.name]
        if len(axes) == 1:
            joined[declared.name] = np.concatenate([one, two], axis=axes[0])
        elif not axes and np.array_equal(one, two):
            joined[declared.name] = one
        else:
            found.append(Diagnostic("TP623", f"the input '{declared.name}' is another in the second data set, and not "
                                    "one of its rows", declared.span, help="give both the same"))
    if found:
        raise ProgramError(found, program.source)
    return {**env, **joined, rows: env[rows] + other[rows]}


def _copied(value: np.ndarray, name: str, out: Mapping) -> np.ndarray:
    from tensorprog.runtime.pairs import checked_output

    array = checked_output(_given(out, [name]), name, value.shape, value.dtype)
    array[...] = value
    return array


def _bound(program: CompiledProgram, data: object, settings: Mapping[str, object],
           finite: bool = True) -> dict[str, object]:
    from tensorprog.bind import bind

    return bind(program.program, by_name(program, data), program.settings | dict(settings), finite=finite)


def by_name(program: CompiledProgram, data: object) -> Mapping[str, object]:
    """Data by the names of inputs; what is not a mapping is the first input."""
    if isinstance(data, Mapping):
        return data
    inputs = program.program.inputs
    return {inputs[0].name: data} if inputs else {}


def _given(out: Mapping, names: list[str]) -> dict:
    missing = [name for name in names if name not in out]
    if missing:
        raise ValueError(f"`out` has no array for {', '.join(map(repr, missing))}")
    return {name: out[name] for name in names}


def _second(program: CompiledProgram, lowering: PairLowering, env: Mapping, second: object, settings: Mapping) -> Mapping | None:
    """The data of the columns; None for those of the rows.

    Raises:
        ProgramError: TP623, if the two data sets differ in more than the number of rows.
    """
    if not lowering.one_set:
        return env
    if second is None:
        return None
    other = _bound(program, second, settings)
    _check_alike(program, env, other, {s.name for s in lowering.extents[0].free_symbols})
    return other


def _check_alike(program: CompiledProgram, env: Mapping, other: Mapping, rows: set[str]) -> None:
    """Raises TP623, if the sizes of two data sets differ, but for the number of rows."""
    found = [Diagnostic("TP623", f"the size '{s.name}' is {env[s.name]} in the first data set and {other[s.name]} in "
                        "the second", s.span, help="both need the same, but for the number of rows")
             for s in program.program.sizes if s.name not in rows and env[s.name] != other[s.name]]
    if found:
        raise ProgramError(found, program.source)


def _no_kernel(program: CompiledProgram, reasons: Mapping[str, str]) -> ProgramError:
    def message(name: str) -> str:
        why = reasons.get(name, "it has no closed equations")
        return f"the output '{name}' is not a kernel over pairs of rows: {why}"

    found = [Diagnostic("TP712", message(o.name), o.span, help="use `run`") for o in program.program.outputs]
    return ProgramError(found or [Diagnostic("TP712", "no output is a kernel over pairs of rows", help="use `run`")],
                        program.source)
