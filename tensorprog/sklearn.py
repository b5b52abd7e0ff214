"""Kernels of infinitely wide networks for scikit-learn (extra `sklearn`).

    kernel = LimitKernel("nngp.tp", "K", settings={"L": 3})
    GaussianProcessRegressor(kernel).fit(X, y)      # optimizes the program's real parameters
    SVC(kernel=kernel), KernelRidge(kernel=kernel)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.api import CompiledProgram, compile
from tensorprog.diagnostics import ProgramError, near_miss
from tensorprog.files import mistake
from tensorprog.ir.integers import IntExpr, evaluate_int, int_text, symbols
from tensorprog.optional import optional

if TYPE_CHECKING:
    from sklearn.gaussian_process import kernels
else:
    kernels = optional("sklearn.gaussian_process.kernels", "sklearn", "`tensorprog.sklearn`")

#: Where the optimizer looks for a parameter; those of scikit-learn's own kernels.
BOUNDS = (1e-5, 1e5)

#: The step of central differences in the logarithm of a parameter: truncation is 2e-9 of a derivative, and rounding less.
STEP = 1e-4

#: Rows whose variances are computed at a time, as the diagonal of their kernel.
BLOCK = 128

_OPTIONS = ("program", "output", "settings", "bounds", "threads")


class LimitKernel(kernels.Kernel):
    """An output `K[a, b]` of a program as a kernel: the covariance or the tangent kernel of a network at infinite width.

    Hyperparameters are the program's real parameters that are positive; scikit-learn optimizes their logarithms.
    `get_params` and `set_params` (and so `GridSearchCV`) know all parameters and sizes by name.

    Args:
        program: a compiled program, a path, or its text. Its first input gets the rows; one of more than two axes gets rows
            that are reshaped to it, whose sizes must then be settings.
        output: the name of the output.
        settings: sizes and parameters that differ from their defaults, by name.
        bounds: by parameter, where the optimizer looks for it, (low, high), or "fixed"; (1e-5, 1e5) where nothing is said.
        threads: how many threads a kernel uses; None for all.

    Raises:
        ProgramError: for mistakes in the program; TP733, if it has no such output or parameter.
    """

    def __init__(self, program: CompiledProgram | str | os.PathLike[str], output: str = "nngp",
                 settings: Mapping[str, float] | None = None,
                 bounds: Mapping[str, tuple[float, float] | str] | None = None, threads: int | None = None) -> None:
        self.program = program if isinstance(program, CompiledProgram) else compile(program)
        self.output = output
        self.threads = threads
        declared = self.program.program
        _require_known("output", output, [o.name for o in declared.outputs])
        adjustable: dict[str, float | None] = {d.name: d.default for d in declared.sizes}
        adjustable |= {d.name: d.default for d in declared.params}
        self._values: dict[str, float] = {n: v for n, v in adjustable.items() if v is not None} | self.program.settings
        self._bounds = dict(bounds or {})
        for name in (*(settings or {}), *self._bounds):
            _require_known("parameter or size", name, adjustable)
        self.program.check_fixed(settings or {})
        self._values |= settings or {}
        for name in set(adjustable) & set(_OPTIONS):
            raise mistake("TP733", f"a parameter of a kernel for scikit-learn may not be called '{name}'",
                          "give it another name in the program")

    # --- parameters ---

    @property
    def settings(self) -> dict[str, float]:
        """The values of sizes and parameters."""
        return dict(self._values)

    @property
    def hyperparameters(self) -> list[kernels.Hyperparameter]:
        """What scikit-learn may optimize: the program's positive real parameters."""
        real = [p.name for p in self.program.program.params if p.kind != "int" and self._is_positive(p.name)]
        return [kernels.Hyperparameter(name, "numeric", self._bounds.get(name, BOUNDS)) for name in real]

    def _is_positive(self, name: str) -> bool:
        return name not in self.program.settings and self._values.get(name, 0.0) > 0.0

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Options, and the values of sizes and parameters by name."""
        return {"program": self.program, "output": self.output, "bounds": dict(self._bounds), "threads": self.threads,
                **self._values}

    def set_params(self, **params: Any) -> LimitKernel:
        """Set options, sizes and parameters by name."""
        options = {name: params.pop(name) for name in _OPTIONS if name in params}
        settings = {**self._values, **dict(options.pop("settings", None) or {}), **params}
        fixed = {name for name, value in self.program.settings.items() if settings.get(name) == value}
        kept = {**self.get_params(), **options}
        made = LimitKernel(kept["program"], kept["output"], {n: v for n, v in settings.items() if n not in fixed},
                           kept["bounds"], kept["threads"])
        self.__dict__.update(made.__dict__)
        return self

    def __sklearn_clone__(self) -> LimitKernel:
        return LimitKernel(self.program, self.output, self._values, self._bounds, self.threads)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_params() == other.get_params()

    __hash__ = None  # type: ignore[assignment]  # as Python says that what compares by value and changes has none

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.3g}" for name, value in self._values.items())
        return f"{type(self).__name__}({self.output} of {self.program.source.name}{': ' * bool(values)}{values})"

    # --- values ---

    def __call__(self, X: np.ndarray, Y: np.ndarray | None = None,
                 eval_gradient: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The kernel between the rows of X and those of Y (or of X again), [N, M]; with `eval_gradient` also its gradient
        by the logarithms of the free parameters, [N, N, parameters], from central differences."""
        if eval_gradient and Y is not None:
            raise ValueError("a gradient can only be evaluated when Y is None")
        value = self._kernel(X, Y, self._values)
        if not eval_gradient:
            return value
        free = [h.name for h in self.hyperparameters if not h.fixed]
        parts = [self._derivative(X, name) for name in free]
        return value, np.stack(parts, axis=-1) if parts else np.empty((*value.shape, 0))

    def _derivative(self, X: np.ndarray, name: str) -> np.ndarray:
        up, down = (self._kernel(X, None, {**self._values, name: self._values[name] * np.exp(step)})
                    for step in (STEP, -STEP))
        return (up - down) / (2 * STEP)

    def diag(self, X: np.ndarray) -> np.ndarray:
        """The kernel of every row with itself, [N]."""
        X = np.asarray(X)
        parts = [np.diagonal(self._kernel(X[i:i + BLOCK], None, self._values)) for i in range(0, len(X), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def is_stationary(self) -> bool:
        """No: kernels of networks depend on the norms of rows, too."""
        return False

    def _kernel(self, X: np.ndarray, Y: np.ndarray | None, values: Mapping[str, float]) -> np.ndarray:
        settings = {name: value for name, value in values.items() if name not in self.program.settings}
        found = self.program.kernels_with(self._rows(X), None if Y is None else self._rows(Y), settings, threads=self.threads)
        if self.output not in found:
            raise mistake("TP733", f"the output '{self.output}' is no kernel over pairs of rows",
                          f"there is: {', '.join(found)}")
        value = found[self.output]
        if value.ndim != 2:
            raise mistake("TP733", f"the output '{self.output}' has {value.ndim} indices, and a kernel has two",
                          "output one of them, as in `K[l, a, b]` of the last l")
        return value

    def _rows(self, X: np.ndarray) -> np.ndarray:
        """Rows as the program's first input wants them."""
        X = np.asarray(X, dtype=float)
        inputs = self.program.program.inputs
        shape = inputs[0].shape[1:] if inputs else ()
        if X.ndim != 2 or len(shape) < 2:
            return X
        sizes = tuple(self._size(extent) for extent in shape)
        if prod(sizes) != X.shape[1]:
            raise mistake("TP733", f"rows of {X.shape[1]} numbers cannot be reshaped to [{', '.join(map(str, sizes))}]",
                          "set the sizes of the input, as in `settings={\"S\": 8, \"d\": 3}`")
        return X.reshape(len(X), *sizes)

    def _size(self, extent: IntExpr) -> int:
        missing = [s.name for s in symbols(extent) if s.name not in self._values]
        if missing:
            raise mistake("TP733", f"rows are reshaped to the input, whose size {int_text(extent)} is not known",
                          f"set it, as in `settings={{\"{missing[0]}\": 8}}`")
        return evaluate_int(extent, self._values)


def _require_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        meant = near_miss(name, known)
        raise mistake("TP733", f"the program has no {what} '{name}'",
                      f"did you mean '{meant}'?" if meant else f"there is: {', '.join(known) or 'none'}")


__all__ = ["LimitKernel", "ProgramError"]
