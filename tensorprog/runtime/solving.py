"""Values of a module's equations, in the order in which they are asked for: few of them by the Python interpreter, many by
the compiled form of the same functions.

Compiling the equations of a program takes seconds, evaluating some hundred of them takes none. So they are interpreted until
a number of them has been evaluated, whether or not a compiled form is on disk, and what is known then goes into the compiled
one's table. The interpreter is given NumPy's numbers, which make infinities and NaN where Python's raise; what raises all
the same is left to the compiled form. Quadratures are compiled functions in either case, and so is what has a loop in it.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, MutableMapping, Sequence
from types import FunctionType, SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np

from tensorprog.runtime.pointers import SIGNATURE

#: Evaluations of equations that are interpreted in a run.
FEW = 5_000

Key = tuple[int, ...]


def _erf(x: float) -> np.float64:
    return np.float64(math.erf(x))


#: Functions and constants of `math` for NumPy's numbers.
_MATH = {"acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atan2": np.arctan2, "cos": np.cos, "cosh": np.cosh,
         "erf": _erf, "erfc": lambda x: np.float64(math.erfc(x)), "exp": np.exp, "expm1": np.expm1, "log": np.log,
         "log1p": np.log1p, "pi": np.float64(math.pi), "sin": np.sin, "sinh": np.sinh,
         "sqrt": lambda x: np.sqrt(np.float64(x)), "tan": np.tan, "tanh": np.tanh}


class _Description(Protocol):
    llvm_func_name: str


class _Library(Protocol):
    def get_pointer_to_function(self, name: str) -> int: ...


class _Machine(Protocol):
    """Numba's `CompileResult`, whose fields it sets by name."""

    library: _Library
    fndesc: _Description


@runtime_checkable
class _Kernel(Protocol):
    """A function that Numba compiles: a `Dispatcher`."""

    py_func: FunctionType
    __module__: str

    def __call__(self, *args: object) -> float: ...

    def get_compile_result(self, signature: object) -> _Machine: ...


class _Enough(Exception):
    """So many evaluations that the compiled form is worth its price."""


class Solver:
    """The values of equations for the inputs of a run.

    Args:
        compute, solve, table: the module's compiled functions.
        env: sizes, parameters and inputs.
        limit: the number of values that may be kept.
    """

    def __init__(self, compute: Callable, solve: Callable, table: Callable, env: Sequence[object], limit: int) -> None:
        self._solve, self._table, self._limit = solve, table, limit
        self._env = tuple(env)
        self._numbers = tuple(np.float64(e) if isinstance(e, float) else e for e in env)
        self._compute = interpreted(compute) if isinstance(compute, _Kernel) else None
        self._left = FEW

    def begin(self, worst: np.ndarray, known: MutableMapping[Key, float] | None = None) -> None:
        """Starts with no values, or with a compiled table of some. worst[0] becomes the largest relative error of a
        quadrature, worst[1] 1 if there are too many values; worst[2] is by how many of its errors a quadrature is
        shifted."""
        self._worst = worst
        self._memo: dict[Key, np.float64] = {}
        self._stack: list[Key] = []
        self._compiled: tuple[MutableMapping[Key, float], object] | None = None
        if known is not None:
            self._compiled = known, self._table()[1]
        elif self._compute is None:
            self._compiled = self._table()

    def value(self, key: Key) -> float:
        """The value of an equation at some integers."""
        if self._compiled is None:
            try:
                with np.errstate(all="ignore"):
                    return self._interpret(key)
            except (_Enough, ArithmeticError, TypeError, ValueError):
                pass
        memo, stack = self._compile() if self._compiled is None else self._compiled
        return self._solve(key, memo, stack, self._worst, self._limit, *self._env)

    def _interpret(self, key: Key) -> float:
        compute, memo, stack = self._compute, self._memo, self._stack
        assert compute is not None, "the rest of a run is left to the compiled form"
        if key in memo:
            return memo[key]
        stack.append(key)
        while stack:
            top = stack[-1]
            if top in memo:
                stack.pop()
                continue
            if self._left == 0:
                raise _Enough
            self._left -= 1
            asked = len(stack)
            value = compute(top, memo, stack, self._worst, *self._numbers)
            # Nothing is missing: the value is final.
            if len(stack) == asked:
                stack.pop()
                memo[top] = np.float64(value)
            elif len(memo) + len(stack) > self._limit:
                self._worst[1] = 1.0
                return math.nan
        return memo[key]

    def _compile(self) -> tuple[MutableMapping[Key, float], object]:
        """Leaves the rest of the run to the compiled form."""
        self._compute = None
        memo, stack = self._compiled = self._table()
        for key, value in self._memo.items():
            memo[key] = value
        return memo, stack


def interpreted(compute: _Kernel) -> Callable | None:
    """A compiled function `compute` of an emitted module for the interpreter, with what it calls; None if it has a loop."""
    if _loops(compute):
        return None
    scope = dict(compute.py_func.__globals__) | {name: f for name, f in _MATH.items() if name in compute.py_func.__globals__}
    scope |= {"math": SimpleNamespace(**vars(math) | _MATH), "get": _get, "address_of": _address, "float": np.float64}
    for name in compute.py_func.__code__.co_names:
        called = scope.get(name)
        if called is not None and getattr(called, "__module__", None) == compute.__module__ and hasattr(called, "py_func"):
            scope[name] = _numbers(called if _loops(called) else FunctionType(called.py_func.__code__, scope))
    return FunctionType(compute.py_func.__code__, scope)


def _numbers(function: Callable) -> Callable:
    """A function with NumPy's numbers as results."""
    def found(*args: float) -> np.float64 | tuple[np.float64, ...]:
        value = function(*args)
        return tuple(map(np.float64, value)) if isinstance(value, tuple) else np.float64(value)

    return found


def _loops(compiled: _Kernel) -> bool:
    return any(i.opname == "FOR_ITER" or i.opname.startswith(("JUMP_BACKWARD", "POP_JUMP_BACKWARD"))
               for i in dis.get_instructions(compiled.py_func))


def _get(memo: dict[Key, np.float64], stack: list[Key], key: Key) -> np.float64:
    """A value that is known, or 0 after asking for it."""
    if key in memo:
        return memo[key]
    stack.append(key)
    return np.float64(0.0)


def _address(function: _Kernel) -> int:
    """The address of a compiled integrand."""
    found = function.get_compile_result(SIGNATURE)
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
