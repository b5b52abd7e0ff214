"""Multipliers inserted into a module: its forward pass runs under modes that scale arguments of a few functions.

Two kinds of sites can be served in any module: a product with a known parameter, `F.linear(x, W)`, `x @ W.T` or an einsum of
two, whose other factor is scaled; and the logits of attention, that go into a softmax or come from
scaled_dot_product_attention.

Only the use that lacks a multiplier gets it. Of a parameter's products, as of a tied autoencoder, it is told by the axis that is
summed over; of the softmaxes of a module by the order of the calls, which is that of the traced graph.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from tensorprog.diagnostics import ProgramError
from tensorprog.torch.errors import SourceLine, module_error
from tensorprog.torch.exponents import MultiplierSite
from tensorprog.torch.graph import TracedGraph, TracedValue
from tensorprog.torch.logits import ATTENTION, MULTIHEAD, SOFTMAXES, inside_functional, name_of
from tensorprog.torch.sites import SOFTMAX_OPERATIONS, common_path, is_used_without, product_of, softmax_of

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable

#: Products of two factors: the names of both, and the axis of each that is summed over.
PRODUCTS = {
    "torch.nn.functional.linear": (("input", "weight"), (-1, -1)),
    "torch.matmul": (("input", "other"), (-1, -2)),
    "torch.Tensor.matmul": (("self", "other"), (-1, -2)),
    "torch.Tensor.__matmul__": (("self", "other"), (-1, -2)),
    "torch.mm": (("input", "mat2"), (-1, -2)),
}
EINSUMS = {"torch.einsum", "torch.functional.einsum"}

# A parameter, by its identity, and the axis of it that a product sums over.
ProductUse = tuple[int, int]


def insert(table: MuTable, model: nn.Module) -> nn.Module:
    """Wrap the forward passes of a module and of those that own a site. A second call changes nothing.

    Raises:
        ProgramError: TP805, where a multiplier cannot be inserted; from the forward pass, where the module does something else
            than when it was traced.
    """
    # Twice inserted, they would multiply twice.
    if getattr(model, "_mu_applied", False) or not table.sites:
        return model
    ratio, graph = table.width_of(model) / table.base, table.traced.graph
    products: dict[ProductUse, float] = {}
    places: dict[ProductUse, SourceLine | None] = {}
    softmaxes: dict[TracedValue, tuple[str, float]] = {}
    for site in table.sites:
        factor = ratio ** float(site.exponent)
        if (found := product_of(graph, site)) is not None:
            # By identity: the same weight under two names is one parameter with one factor.
            use = id(model.get_parameter(found[0])), found[1]
            if products.setdefault(use, factor) != factor or is_used_without(table.counting, *found):
                raise _cannot(table, site)
            places[use] = site.value.place
        elif (softmax := softmax_of(graph, site.value)) is not None and softmax not in softmaxes:
            softmaxes[softmax] = common_path(site.value.module, softmax.module), factor
        else:
            raise _cannot(table, site)
    for module, factors in _in_order(graph, model, softmaxes):
        _wrap(module, _LogitsMode(factors))
    if products:
        model._mu_products = _ProductMode(model, products, places)
        _wrap(model, model._mu_products)
    model._mu_applied = True
    return model


def products_scaled(model: nn.Module) -> contextlib.AbstractContextManager:
    """Inside of it, parts of a module run as they do inside of the whole."""
    return getattr(model, "_mu_products", None) or contextlib.nullcontext()


def _cannot(table: MuTable, site: MultiplierSite) -> ProgramError:
    return module_error(
        "TP805",
        f"a multiplier n^({site.exponent}) is needed here, and cannot be inserted from outside",
        site.value.place,
        help=f"multiply by (n/{table.base})**({site.exponent}) in the module",
    )


def _in_order(
    graph: TracedGraph, model: nn.Module, softmaxes: dict[TracedValue, tuple[str, float]]
) -> Iterator[tuple[nn.Module, list[float]]]:
    """The modules whose softmaxes lack multipliers, and those of all softmaxes inside of them, in the order of the calls."""
    called = [v for v in graph.of("softmax") if v.operation in SOFTMAX_OPERATIONS]
    # A module under several paths is wrapped once.
    owners = {id(model.get_submodule(path)): path for path, _ in reversed(softmaxes.values())}
    for path in owners.values():
        inside = [v for v in called if not path or v.module == path or v.module.startswith(path + ".")]
        found = [softmaxes.get(v, ("", 1.0)) for v in inside]
        yield model.get_submodule(path), [factor if owner == path else 1.0 for owner, factor in found]


# --- the modes -----------------------------------------------------------------------------------------------


class _Inserted(TorchFunctionMode):
    """A mode around the forward pass of a module."""

    def begin(self) -> None:
        """A forward pass begins."""

    def end(self) -> None:
        """A forward pass is over.

        Raises:
            ProgramError: if it did not do what the traced one did.
        """


def _wrap(module: nn.Module, mode: _Inserted) -> None:
    forward = module.forward

    @functools.wraps(forward)
    def scaled(*args: object, **kwargs: object) -> object:
        mode.begin()
        with mode:
            found = forward(*args, **kwargs)
        mode.end()
        return found

    module.forward = scaled


class _ProductMode(_Inserted):
    """Scales what is multiplied with some parameters, found by identity or as a transposed view."""

    def __init__(self, model: nn.Module, factors: dict[ProductUse, float], places: dict[ProductUse, SourceLine | None]) -> None:
        super().__init__()
        self._factors, self._places = factors, places
        self._params = [p for p in model.parameters() if any(key == id(p) for key, _ in factors)]
        self._seen: set[ProductUse] = set()
        self._active = False

    def begin(self) -> None:
        self._seen.clear()

    def end(self) -> None:
        for use in self._factors.keys() - self._seen:
            raise module_error(
                "TP805",
                "a multiplier is needed at this product, which is not one that the forward pass calls: nothing is inserted",
                self._places[use],
                help="write it as F.linear(x, W), x @ W.T or an einsum of two",
            )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # Around the whole module and a part of it, the mode is there twice.
        if self._active:
            return func(*args, **kwargs)
        self._active = True
        try:
            args, kwargs = self._scaled(resolve_name(func), args, kwargs)
            return func(*args, **kwargs)
        finally:
            self._active = False

    def _scaled(self, name: str | None, args: Sequence, kwargs: dict) -> tuple[Sequence, dict]:
        if name in PRODUCTS:
            names, summed = PRODUCTS[name]
            kwargs = dict(kwargs)
            args = (*args, *(kwargs.pop(key) for key in names[len(args) :] if key in kwargs))
            return self._with_factor(args, 0, summed), kwargs
        if name in EINSUMS and len(args) == 3 and isinstance(args[0], str):
            return self._with_factor(args, 1, _summed_by(args[0])), kwargs
        return args, kwargs

    def _with_factor(self, args: Sequence, first: int, summed: tuple[int | None, int | None]) -> Sequence:
        """Of two factors the one is scaled whose other is a parameter that needs it: optimizers and decay see the weight as it
        is."""
        found = list(args)
        for mine, other in ((0, 1), (1, 0)):
            axis = summed[mine]
            use = None if axis is None else self._use(found[first + mine], axis)
            if use is not None:
                self._seen.add(use)
                found[first + other] = found[first + other] * self._factors[use]
        return tuple(found)

    def _use(self, weight: object, axis: int) -> ProductUse | None:
        if not isinstance(weight, torch.Tensor):
            return None
        # Of a vector, matmul sums over the one axis that there is.
        axis = max(axis, -weight.dim()) % max(weight.dim(), 1)
        for p in self._params:
            use: ProductUse | None = None
            if weight is p:
                use = id(p), axis
            # `W.T` is a view whose `_base` is the parameter.
            elif getattr(weight, "_base", None) is p and _is_transposed(weight, p):
                use = id(p), 1 - axis
            if use in self._factors:
                return use
        return None


def _is_transposed(view: torch.Tensor, p: torch.Tensor) -> bool:
    return p.dim() == 2 and (view.shape, view.stride()) == (p.shape[::-1], p.stride()[::-1])


def _summed_by(equation: str) -> tuple[int | None, int | None]:
    """The axis of each of two tensors that an einsum sums over, if it is one."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow or len(terms) != 2:
        return None, None
    axes = [[k for k, label in enumerate(term) if label not in out] for term in terms]
    # With `...` the place of a letter is not that of its axis.
    first, second = (a[0] if len(a) == 1 and "." not in term else None for a, term in zip(axes, terms, strict=True))
    return first, second


class _LogitsMode(_Inserted):
    """Scales what goes into the softmaxes of a module, each by its own factor."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self._factors = factors
        self._calls = 0

    def begin(self) -> None:
        self._calls = 0

    def end(self) -> None:
        # A module that is used twice has every factor twice.
        repeats, rest = divmod(len(self._factors), max(self._calls, 1))
        if rest or self._factors != self._factors[: self._calls] * repeats:
            raise module_error(
                "TP805",
                f"a module had {len(self._factors)} softmaxes when it was traced, and calls {self._calls} now: which of them needs a "
                "multiplier is not known",
                help="trace it in the mode that it runs in, by `trace(..., train=True)` for training",
            )

    def _next(self) -> float:
        self._calls += 1
        return self._factors[self._calls - 1] if self._calls <= len(self._factors) else 1.0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = name_of(func)
        if name in SOFTMAXES or name == ATTENTION:
            if not args:
                first = "query" if name == ATTENTION else "input"
                return func(**(kwargs | {first: kwargs[first] * self._next()}))
            return func(args[0] * self._next(), *args[1:], **kwargs)
        if name == MULTIHEAD:
            with inside_functional(self._scaling):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _scaling(self, inner: Callable, name: str) -> Callable:
        return lambda x, *args, **kwargs: inner(x * self._next(), *args, **kwargs)
