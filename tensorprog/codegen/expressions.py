"""Coordinatewise expressions as source text: NumPy text for small values, Numba ufuncs for blocks of particles."""

from __future__ import annotations

from collections.abc import Container
from fractions import Fraction

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.expr import Expr
from tensorprog.ir.primitives import derivative

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}


def number_text(value: Fraction | float) -> str:
    """A number as Python source."""
    number = float(value)
    if number in (float("inf"), float("-inf")):
        return "np.inf" if number > 0 else "-np.inf"
    # The shortest text that reads back as the same number.
    return repr(number)


def numpy_text(fn: str, args: list[str]) -> str:
    """A primitive of arrays as NumPy source; operands are names or parenthesized."""
    if fn in _INFIX:
        return f"{args[0]} {_INFIX[fn]} {args[1]}"
    if fn in ("max", "min"):
        return f"np.{fn}imum({args[0]}, {args[1]})"
    return (NONLINEARITIES[fn].numpy or f"rt.{fn}({{x}})").format(x=args[0])


def numpy_derivative(fn: str, order: int, arg: str) -> str:
    """The `order`-th derivative of a primitive as NumPy source."""
    return _numpy_expr(derivative(fn, order), arg)


def _numpy_expr(expr: Expr, arg: str) -> str:
    match expr.fn:
        case "x":
            return arg
        case "num":
            return f"({expr.value!r})" if expr.value < 0 else repr(float(expr.value))
        case _:
            return f"({numpy_text(expr.fn, [_numpy_expr(a, arg) for a in expr.args])})"


class KernelBody:
    """Straight-line source of one kernel: every operation on a line of its own, repeated ones once. `prefix` begins the
    names of its values."""

    def __init__(self, prefix: str = "t") -> None:
        self.prefix = prefix
        self.lines: list[str] = []
        # By their text: each name is assigned once, so that equal texts are equal values.
        self._known: dict[str, str] = {}

    def emit(self, fn: str, args: list[str], order: int = 0) -> str:
        """The name that holds `fn^(order)(args)`."""
        if order:
            return self._expr(derivative(fn, order), args[0])
        if fn in _INFIX:
            return self._assign(f"{args[0]} {_INFIX[fn]} {args[1]}")
        if fn in ("max", "min"):
            a, b = args
            first = f"{a} {'>=' if fn == 'max' else '<='} {b}"
            # As in NumPy, a NaN comes through: that of a by a != a, that of b because it loses every comparison.
            return self._assign(f"{a} if {first} or {a} != {a} else {b}")
        return self._assign(NONLINEARITIES[fn].scalar.format(x=args[0]))

    def _expr(self, expr: Expr, arg: str) -> str:
        match expr.fn:
            case "x":
                return arg
            case "num":
                return f"({expr.value!r})" if expr.value < 0 else repr(float(expr.value))
            case _:
                return self.emit(expr.fn, [self._expr(a, arg) for a in expr.args])

    def _assign(self, text: str) -> str:
        name = self._known.get(text)
        if name is None:
            name = self._known[text] = f"{self.prefix}{len(self.lines)}"
            self.lines.append(f"{name} = {text}")
        return name


class KernelPool:
    """The kernels of one module; equal bodies share one kernel. `taken` names are those of the program; with `single`
    kernels take float32 vectors as well."""

    def __init__(self, taken: Container[str], single: bool = False) -> None:
        self._single = single
        self._names: dict[tuple[str, ...], str] = {}
        self._taken = taken
        self.sources: list[str] = []

    def name(self, params: tuple[bool, ...], body: KernelBody, result: str) -> str:
        """The kernel with a body; `params` tell which arguments are vectors, and not numbers."""
        # Bodies use names of arguments and not of the program: equal functions of different vectors are one kernel.
        key = (str(params), *body.lines, result)
        if key not in self._names:
            name = self._names[key] = self._fresh()
            self.sources.append(_kernel_source(name, params, body, result, self._single))
        return self._names[key]

    def _fresh(self) -> str:
        name = f"kernel_{len(self._names)}"
        while name in self._taken:
            name = f"_{name}"
        return name


def _kernel_source(name: str, params: tuple[bool, ...], body: KernelBody, result: str, single: bool) -> str:
    args = ", ".join(f"a{i}" for i in range(len(params)))
    # Types are given: kernels are compiled when the module is imported, and kept with it, and not at the first call of a thread.
    types = [f"float64({', '.join(['float64'] * len(params))})"]
    if single:  # first, because double precision takes float32, too
        types.insert(0, f"float32({', '.join('float32' if wide else 'float64' for wide in params)})")
    listed = ", ".join(f'"{each}"' for each in types)
    lines = [f"@vectorize([{listed}], cache=True)", f"def {name}({args}):"]
    lines += [f"    {line}" for line in body.lines]
    return "\n".join([*lines, f"    return {result}"])
