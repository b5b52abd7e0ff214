"""Kernels over all pairs of rows, evaluated by tiled pair kernels, or else by tapes, instead of a table of values.

    p = tensorprog.compile("kernel.tp")
    p.kernels(X)                  {"K": [N, N]}
    p.kernels(X1, X2)             {"K": [N1, N2]}

`covariance/pairs.py` and `covariance/rows.py` decide which outputs have these forms; `run` uses them too.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings as python_warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from tensorprog.codegen.names import python_name
from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.driver import Compiled, load_module

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sympy import Expr, Symbol

    from tensorprog.api import CompiledProgram
    from tensorprog.covariance.pairs import PairLowering
    from tensorprog.covariance.system import System
    from tensorprog.diagnostics import Span
    from tensorprog.passes.jumps import Jump
    from tensorprog.results import Result
    from tensorprog.runtime.careful import PairError

_KNOWN: WeakKeyDictionary = WeakKeyDictionary()

#: Values of kernels that are computed by quadrature where series have too few terms.
MOST_BY_QUADRATURE = 2_500

#: Of the sizes at which a recursion over levels has not begun, those for which a written module holds kernels.
MOST_SHORT = 4


#: Errors, relative to a kernel's size, that are worth a warning, and another attempt in a run.
WORTH_A_WARNING = 1e-10


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
        self.error = _Errors(self, errors)
        self.warnings = tuple(w for o in program.program.outputs if o.name in self
                              for w in (*self._warnings(o.name, o.span), *_jump_warnings(o.name, jumps)))
        for warning in self.warnings:
            python_warnings.warn(warning.message, RuntimeWarning, stacklevel=4)

    def _repr_html_(self) -> str:
        from tensorprog.results_text import html_row, html_table

        return html_table(("kernel", "shape", "value"), (html_row(name, value, self.error[name], np.False_)
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

    def _warnings(self, name: str, span: Span) -> Iterator[Diagnostic]:
        worst = self.error.worst(name)
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
        return _dense(errors, self._values[name]) if isinstance(errors, list) else errors

    def __iter__(self) -> Iterator[str]:
        return iter(self._errors)

    def __len__(self) -> int:
        return len(self._errors)

    def worst(self, name: str) -> float:
        """The largest, relative to the kernel's size; infinite if a value is not finite."""
        errors, values = self._errors[name], self._values[name]
        if isinstance(errors, list):
            return _worst(errors, values)
        if not np.isfinite(values).all():
            return math.inf
        return float(np.max(errors, initial=0.0)) / (float(np.max(np.abs(values), initial=0.0)) or 1.0)


@dataclass(frozen=True)
class PairModule:
    """An emitted kernel."""

    lowering: PairLowering
    text: str

    @cached_property
    def module(self) -> ModuleType:
        """The text, imported."""
        return load_module(self.text)

    @property
    def series(self) -> bool:
        """Whether it sums series, besides closed forms."""
        return "rt.sum_series(" in self.text

    @property
    def read(self) -> set[str]:
        """The script's inputs that it reads all entries of, on the left."""
        program, names = self.lowering.program, self.lowering.left
        read = {name for gram in program.grams for name in (gram.left, gram.right)} | set(program.inputs)
        return {given for name, given in names.items() if name in read}

    def applies(self, env: Mapping[str, object]) -> bool:
        """Whether the sizes are such that the recursion has begun."""
        corners = itertools.product(*(((name, 0), (name, int(_number(extent, env)) - 1))
                                      for name, extent in self.lowering.leading))
        return all(_number(e, {**env, **dict(corner)}) >= 0 for corner in corners for e in self.lowering.required)

    def values(self, env: Mapping[str, object], first: Mapping, second: Mapping | None,
               **options: object) -> tuple[dict[str, np.ndarray], dict[str, list[PairError]]]:
        """The outputs, [..., N1, N2], and the errors of each at all leading indices; `first` and `second` by the names
        of inputs on the left and on the right."""
        from tensorprog.runtime import pairs

        lowering, kernel = self.lowering, self.module.KERNEL
        left = _chosen(first, lowering.left)
        right = None if second is None else _chosen(second, lowering.right)
        params = {name: float(_number(e, env)) for name, e in lowering.parameters.items()}
        params |= {name: env[name] for name in lowering.program.sizes if name in env}
        shape = tuple(int(_number(extent, env)) for _, extent in lowering.leading)
        options["few"] = pairs.FEW_PAIRS
        if not shape:
            found, errors = pairs.evaluate_with_error(kernel, left, right, params, **options)
            return found, {name: [error] for name, error in errors.items()}
        out = options.pop("out", None)
        stacked: dict[str, np.ndarray] = dict(out or {})
        errors: dict[str, list[PairError]] = {name: [] for name in kernel.outputs}
        for index in itertools.product(*map(range, shape)):
            sizes = {name: i for (name, _), i in zip(lowering.leading, index)}
            part = {name: stacked[name][index] for name in stacked} if stacked else None
            found, error = pairs.evaluate_with_error(kernel, left, right, params | sizes, out=part, **options)
            for name, own in error.items():
                errors[name].append(own)
            if not stacked:
                stacked = {name: np.empty((*shape, *v.shape), v.dtype) for name, v in found.items()}
            if part is None:
                for name, value in found.items():
                    stacked[name][index] = value
        return stacked, errors


def pair_lowerings(compiled: Compiled, system: System) -> dict[str, PairLowering | str]:
    """The outputs as recursions over pairs, or why they are none; kept with the system."""
    from tensorprog.covariance.pairs import pair_kernels

    kept = _KNOWN.setdefault(system, {})
    if "lowerings" not in kept:
        outputs = [o for o in compiled.limit.outputs if o.cell in system.outputs and o.name not in compiled.vanishing]
        if system.conditions:
            kept["lowerings"] = {o.name: "its equations have conditions, which tiles do not check" for o in outputs}
        else:
            kept["lowerings"] = pair_kernels(system, compiled.limit, outputs)
    return kept["lowerings"]


def pair_modules(compiled: Compiled, system: System) -> tuple[list[PairModule], dict[str, str]]:
    """The kernels of the outputs that are recursions over pairs, and why the others are not; kept with the system."""
    found = pair_lowerings(compiled, system)
    reasons = {name: value for name, value in found.items() if isinstance(value, str)}
    modules = []
    for lowering in {id(v): v for v in found.values() if not isinstance(v, str)}.values():
        made = _module(system, lowering)
        if isinstance(made, str):
            reasons |= {name: made for name, _ in lowering.program.outputs}
        else:
            modules.append(made)
    return modules, reasons


def pair_kernel_text(compiled: Compiled, system: System) -> str:
    """The source of the kernels of all outputs that are recursions over pairs; empty if there are none."""
    return "\n\n".join(module.text for module in pair_modules(compiled, system)[0])


def _module(system: System, lowering: PairLowering) -> PairModule | str:
    from tensorprog.codegen.pairs import UnsupportedDual, emit_pair_kernel

    kept = _KNOWN.setdefault(system, {})
    if id(lowering) not in kept:
        try:
            kept[id(lowering)] = PairModule(lowering, emit_pair_kernel(lowering.program))
        except UnsupportedDual as reason:
            kept[id(lowering)] = str(reason)
    return kept[id(lowering)]


def _applicable(compiled: Compiled, env: Mapping[str, object],
                system: System) -> tuple[list[PairModule], dict[str, str]]:
    """The kernels for the sizes of a run: where a recursion over levels has not begun, one for the sizes at hand."""
    modules, reasons = pair_modules(compiled, system)
    found = []
    for module in modules:
        made = module if module.applies(env) else _specialised(compiled, env, system, module.lowering)
        if isinstance(made, str):
            reasons |= {name: made for name, _ in module.lowering.program.outputs}
        else:
            found.append(made)
    return found, reasons


def tile_lowerings(compiled: Compiled, system: System) -> list[PairLowering]:
    """The kernels that a written module holds: without leading indices, and those for the few values of a size that a
    recursion over levels is too long for."""
    found = []
    for module in pair_modules(compiled, system)[0]:
        lowering = module.lowering
        if lowering.leading:
            continue
        found.append(lowering)
        sizes = _level_sizes(_KNOWN.setdefault(system, {}), lowering)
        for value in range(1, MOST_SHORT + 1) if len(sizes) == 1 else ():
            env = {s.name: value for s in sizes}
            if not module.applies(env):
                made = _specialised(compiled, env, system, lowering)
                found += [] if isinstance(made, str) else [made.lowering]
    return found


def _specialised(compiled: Compiled, env: Mapping[str, object], system: System,
                 lowering: PairLowering) -> PairModule | str:
    from tensorprog.covariance.pairs import NotPairs, lower

    kept = _KNOWN.setdefault(system, {})
    known = {s: int(env[s.name]) for s in _level_sizes(kept, lowering) if s.name in env}
    key = id(lowering), *known.items()
    if key not in kept:
        names = {name for name, _ in lowering.program.outputs}
        try:
            kept[key] = lower(system, compiled.limit, [o for o in compiled.limit.outputs if o.name in names], known)
        except NotPairs as reason:
            kept[key] = str(reason)
    if isinstance(kept[key], str):
        return kept[key]
    module = _module(system, kept[key])
    return module if isinstance(module, str) or module.applies(env) else "the recursion is too short"


def _level_sizes(kept: dict, lowering: PairLowering) -> list[Symbol]:
    """The sizes that decide whether a recursion over levels has begun, in the order of their names."""
    key = "level sizes", id(lowering)
    if key not in kept:
        kept[key] = sorted({s for e in lowering.required for s in e.free_symbols}, key=lambda s: s.name)
    return kept[key]


def pair_values(compiled: Compiled, env: Mapping[str, object], system: System,
                threads: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values and errors of a run's outputs that are recursions over pairs, but for small ones for which a series has
    too few terms: their expectations are left to quadrature."""
    values: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    for module in _applicable(compiled, env, system)[0]:
        found, error = module.values(env, env, None if module.lowering.one_set else env, threads=threads)
        small = sum(value.size for value in found.values()) <= MOST_BY_QUADRATURE
        if module.series and small and max(_worst(error[n], v) for n, v in found.items()) > WORTH_A_WARNING:
            continue
        values |= found
        errors |= {name: _dense(error[name], value) for name, value in found.items()}
    return values, errors


def _planes(errors: list[PairError], values: np.ndarray) -> Iterator[tuple[PairError, np.ndarray]]:
    """The errors of an output beside its [N1, N2] planes."""
    return zip(errors, values.reshape(-1, *values.shape[-2:]))


def _worst(errors: list[PairError], values: np.ndarray) -> float:
    """The largest error, relative to values and the sizes of their rows."""
    return max((error.worst(plane) for error, plane in _planes(errors, values)), default=0.0)


def _dense(errors: list[PairError], values: np.ndarray) -> np.ndarray:
    """The error of every value."""
    found = [error.dense(plane) for error, plane in _planes(errors, values)]
    return np.array(found).reshape(values.shape)


def kernels(program: CompiledProgram, first: object, second: object = None, *, out: Mapping | None = None,
            threads: int | None = None, dtype: str = "float64", settings: Mapping[str, object] = MappingProxyType({})) -> Kernels:
    """Every output that is a recursion over pairs of rows, for all pairs; see `CompiledProgram.kernels`."""
    from tensorprog.bind import check_finite
    from tensorprog.jumps import possible_jumps

    env = _bound(program, first, settings, finite=False)
    compiled = program.compiled_for(env)
    system = compiled.covered.system
    usable, reasons = ([], {}) if system is None else _applicable(compiled, env, system)
    tiled = {name for module in usable for name, _ in module.lowering.program.outputs}
    taped = {} if system is None else {name: rows for name, rows in _taped(compiled).items() if name not in tiled}
    # Tiles read their inputs anyway, and tell of what is not finite.
    read = set() if taped else set().union(*(module.read for module in usable))
    check_finite(program.program, env, set(env) - read)
    results, errors = _by_tapes(program, compiled, env, second, settings, taped, threads, dtype)
    if not usable and not results:
        raise _no_kernel(program, reasons)
    if out is not None:
        results = {name: _copied(value, name, out) for name, value in results.items()}
    for module in usable:
        names = [name for name, _ in module.lowering.program.outputs]
        other = _second(program, module.lowering, env, second, settings)
        given = None if out is None else _given(out, names)
        found, error = module.values(env, env, other, out=given, threads=threads, dtype=dtype,
                                     suspect=lambda: check_finite(program.program, env, env))
        results |= found
        errors |= error
    return Kernels(program, results, errors, possible_jumps(compiled, env))


def _by_tapes(program: CompiledProgram, compiled: Compiled, env: dict, second: object, settings: Mapping,
              taped: Mapping[str, str | None], threads: int | None,
              dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The outputs `taped`, with the size that both of their rows run over, and their errors, for rows of one data set
    with itself or with those of another."""
    from tensorprog.driver import emit_table_text

    if not taped:
        return {}, {}
    between = None
    if second is not None:
        rows = set(taped.values())
        if len(rows) > 1 or None in rows:
            return {}, {}
        other = _bound(program, second, settings)
        _check_alike(program, env, other, rows)
        between = env[min(rows)]
        env = _joined(program, env, other, min(rows))
    module = load_module(emit_table_text(compiled, compiled.covered.system))
    found, errors = module.run(env, only=list(taped), threads=threads, between=between)
    return {name: value.astype(dtype, copy=False) for name, value in found.items()}, errors


def _taped(compiled: Compiled) -> dict[str, str | None]:
    """Outputs that a tape may compute, and the size that both of their rows run over (None: they differ); kept with the
    system."""
    from tensorprog.codegen.extents import family_extents
    from tensorprog.covariance.rows import find_rows

    kept = _KNOWN.setdefault(compiled.covered.system, {})
    if "taped" in kept:
        return kept["taped"]
    found = kept["taped"] = {}
    extents = family_extents(compiled.limit)
    for cell, (left, right) in find_rows(compiled.covered.system).outputs.items():
        shape = extents.get(cell, ())
        same = right < len(shape) and shape[left] == shape[right]
        sizes = [s.name for s in compiled.limit.sizes if same and python_name(s.name) == shape[left]]
        found |= {o.name: sizes[0] if sizes else None for o in compiled.limit.outputs
                  if o.cell == cell and o.name not in compiled.vanishing}
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

    inputs = program.program.inputs
    if not isinstance(data, Mapping):
        data = {inputs[0].name: data} if inputs else {}
    return bind(program.program, data, program.settings | dict(settings), finite=finite)


def _given(out: Mapping, names: list[str]) -> dict:
    missing = [name for name in names if name not in out]
    if missing:
        raise ValueError(f"`out` has no array for {', '.join(map(repr, missing))}")
    return {name: out[name] for name in names}


def _second(program: CompiledProgram, lowering: PairLowering, env: Mapping, second: object, settings: Mapping):
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


def _chosen(data: Mapping, names: Mapping[str, str]) -> dict:
    return {name: data[given] for name, given in names.items() if given in data}


def _number(expr: Expr, env: Mapping[str, object]) -> float:
    names, function = _function(expr)
    return function(*(env[name] for name in names))


@lru_cache(maxsize=1024)
def _function(expr: Expr) -> tuple[tuple[str, ...], Callable]:
    """The expression as a function of plain numbers, which costs a call a hundredth of a substitution."""
    from sympy import lambdify

    symbols = sorted(expr.free_symbols, key=lambda s: s.name)
    return tuple(s.name for s in symbols), lambdify(symbols, expr, modules="math")
