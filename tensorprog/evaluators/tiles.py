"""Kernels over all pairs of rows by tiles: recursions over pairs of rows, found in the equations, as emitted kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.evaluators.analysis import Analysis
from tensorprog.modules import load_module

if TYPE_CHECKING:
    from sympy import Expr, Symbol

    from tensorprog.covariance.system import System
    from tensorprog.pairs.lower import PairLowering
    from tensorprog.runtime.careful import PairError

#: Values of kernels that are computed by quadrature where series have too few terms.
MOST_BY_QUADRATURE = 2_500

#: Of the sizes at which a recursion over levels has not begun, those for which a written module holds kernels.
MOST_SHORT = 4

#: Errors, relative to a kernel's size, that are worth a warning, and another attempt in a run.
WORTH_A_WARNING = 1e-10


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

    def applies(self, env: Mapping[str, Any]) -> bool:
        """Whether the sizes are such that the recursion has begun."""
        # Requirements are linear in the leading indices, so that the ends of these decide.
        corners = itertools.product(*(((name, 0), (name, int(_number(extent, env)) - 1))
                                      for name, extent in self.lowering.leading))
        return all(_number(e, {**env, **dict(corner)}) >= 0 for corner in corners for e in self.lowering.required)

    def values(self, env: Mapping[str, Any], first: Mapping, second: Mapping | None,
               **options: Any) -> tuple[dict[str, np.ndarray], dict[str, list[PairError]]]:
        """The outputs, [..., N1, N2], and the errors of each at all leading indices; `first` and `second` by the names
        of inputs on the left and on the right."""
        from tensorprog.runtime import pairs

        lowering, kernel = self.lowering, self.module.KERNEL
        left = _chosen(first, lowering.left)
        right = None if second is None else _chosen(second, lowering.right)
        params = {name: float(_number(e, env)) for name, e in lowering.parameters.items()}
        params |= {name: env[name] for name in lowering.program.sizes if name in env}
        shape = tuple(int(_number(extent, env)) for _, extent in lowering.leading)
        # Of so few pairs a list is computed in NumPy, before a tile is compiled.
        options["few"] = pairs.FEW_PAIRS
        # One kernel of [N1, N2]; with leading indices (layers, times) one for each of their values.
        if not shape:
            found, single = pairs.evaluate_with_error(kernel, left, right, params, **options)
            return found, {name: [error] for name, error in single.items()}
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


@dataclass(eq=False)
class Tiles:
    """The kernels of a system of equations.

    Attributes:
        lowerings: the outputs as recursions over pairs, or why they are none.
    """

    analysis: Analysis
    system: System
    _modules: dict[int, PairModule | str] = field(default_factory=dict)
    _short: dict[tuple, PairLowering | str] = field(default_factory=dict)

    @cached_property
    def lowerings(self) -> dict[str, PairLowering | str]:
        from tensorprog.pairs.lower import pair_kernels

        limit = self.analysis.limit
        outputs = [o for o in limit.outputs if o.cell in self.system.outputs and o.name not in self.analysis.vanishing]
        # What has to cancel is computed at the indices that a table meets; a kernel of tiles meets none.
        if self.system.conditions:
            return {o.name: "its equations have conditions, which tiles do not check" for o in outputs}
        return pair_kernels(self.system, limit, outputs)

    def has(self, name: str) -> bool:
        """Whether an output is a recursion over pairs."""
        return not isinstance(self.lowerings.get(name, ""), str)

    @property
    def found(self) -> bool:
        """Whether there is one."""
        return any(map(self.has, self.lowerings))

    def modules(self) -> tuple[list[PairModule], dict[str, str]]:
        """The kernels of the outputs that are recursions over pairs, and why the others are not."""
        reasons = {name: value for name, value in self.lowerings.items() if isinstance(value, str)}
        modules = []
        # Outputs of one recursion share a lowering, and a kernel.
        for lowering in {id(v): v for v in self.lowerings.values() if not isinstance(v, str)}.values():
            made = self._module(lowering)
            if isinstance(made, str):
                reasons |= {name: made for name, _ in lowering.program.outputs}
            else:
                modules.append(made)
        return modules, reasons

    def text(self) -> str:
        """The source of the kernels of all outputs that are recursions over pairs; empty if there are none."""
        return "\n\n".join(module.text for module in self.modules()[0])

    def applicable(self, env: Mapping[str, Any]) -> tuple[list[PairModule], dict[str, str]]:
        """The kernels for the sizes of a run: where a recursion over levels has not begun, one for the sizes at hand."""
        modules, reasons = self.modules()
        found = []
        for module in modules:
            made = module if module.applies(env) else self._for_sizes(env, module.lowering)
            if isinstance(made, str):
                reasons |= {name: made for name, _ in module.lowering.program.outputs}
            else:
                found.append(made)
        return found, reasons

    def for_module(self) -> list[PairLowering]:
        """The kernels that a written module holds: without leading indices, and those for the few values of a size that a
        recursion over levels is too long for."""
        found = []
        for module in self.modules()[0]:
            lowering = module.lowering
            if lowering.leading:
                continue
            found.append(lowering)
            sizes = _level_sizes(lowering)
            for value in range(1, MOST_SHORT + 1) if len(sizes) == 1 else ():
                env = {s.name: value for s in sizes}
                if not module.applies(env):
                    made = self._for_sizes(env, lowering)
                    found += [] if isinstance(made, str) else [made.lowering]
        return found

    def values(self, env: Mapping[str, Any],
               threads: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values and errors of a run's outputs that are recursions over pairs, but for small ones for which a series has
        too few terms: their expectations are left to quadrature."""
        values: dict[str, np.ndarray] = {}
        errors: dict[str, np.ndarray] = {}
        for module in self.applicable(env)[0]:
            found, error = module.values(env, env, None if module.lowering.one_set else env, threads=threads)
            small = sum(value.size for value in found.values()) <= MOST_BY_QUADRATURE
            # Closed forms are as exact as they get. Of many values a quadrature each would take too long: they keep their errors.
            if module.series and small and max(worst_error(error[n], v) for n, v in found.items()) > WORTH_A_WARNING:
                continue
            values |= found
            errors |= {name: dense_errors(error[name], value) for name, value in found.items()}
        return values, errors

    def _module(self, lowering: PairLowering) -> PairModule | str:
        from tensorprog.pairs.codegen import UnsupportedDual, emit_pair_kernel

        if id(lowering) not in self._modules:
            try:
                self._modules[id(lowering)] = PairModule(lowering, emit_pair_kernel(lowering.program))
            except UnsupportedDual as reason:
                self._modules[id(lowering)] = str(reason)
        return self._modules[id(lowering)]

    def _for_sizes(self, env: Mapping[str, Any], lowering: PairLowering) -> PairModule | str:
        from tensorprog.pairs.lower import NotPairs, lower

        known = {s: int(env[s.name]) for s in _level_sizes(lowering) if s.name in env}
        # The lowering lives as long as this does, so that no other one gets its identity.
        key = id(lowering), *known.items()
        if key not in self._short:
            names = {name for name, _ in lowering.program.outputs}
            limit = self.analysis.limit
            try:
                self._short[key] = lower(self.system, limit, [o for o in limit.outputs if o.name in names], known)
            except NotPairs as reason:
                self._short[key] = str(reason)
        found = self._short[key]
        if isinstance(found, str):
            return found
        module = self._module(found)
        return module if isinstance(module, str) or module.applies(env) else "the recursion is too short"


def tiles_of(analysis: Analysis, system: System) -> Tiles:
    """The kernels of a system of equations of the program."""
    tiles = analysis.made.tiles
    if system not in tiles:
        tiles[system] = Tiles(analysis, system)
    return tiles[system]


def _level_sizes(lowering: PairLowering) -> list[Symbol]:
    """The sizes that decide whether a recursion over levels has begun, in the order of their names."""
    return sorted({s for e in lowering.required for s in e.free_symbols}, key=lambda s: s.name)


# --- errors --------------------------------------------------------------------------------------------------


def _planes(errors: list[PairError], values: np.ndarray) -> Iterator[tuple[PairError, np.ndarray]]:
    """The errors of an output beside its [N1, N2] planes."""
    return zip(errors, values.reshape(-1, *values.shape[-2:]))


def worst_error(errors: list[PairError], values: np.ndarray) -> float:
    """The largest error, relative to values and the sizes of their rows."""
    return max((error.worst(plane) for error, plane in _planes(errors, values)), default=0.0)


def dense_errors(errors: list[PairError], values: np.ndarray) -> np.ndarray:
    """The error of every value."""
    found = [error.dense(plane) for error, plane in _planes(errors, values)]
    return np.array(found).reshape(values.shape)


def _chosen(data: Mapping, names: Mapping[str, str]) -> dict:
    return {name: data[given] for name, given in names.items() if given in data}


def _number(expr: Expr, env: Mapping[str, Any]) -> float:
    names, function = _function(expr)
    return function(*(env[name] for name in names))


@lru_cache(maxsize=1024)
def _function(expr: Expr) -> tuple[tuple[str, ...], Callable]:
    """The expression as a function of plain numbers, which costs a call a hundredth of a substitution."""
    from sympy import lambdify

    symbols = sorted(expr.free_symbols, key=lambda s: s.name)
    return tuple(s.name for s in symbols), lambdify(symbols, expr, modules="math")
