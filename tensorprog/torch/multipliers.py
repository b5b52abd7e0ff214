"""Multipliers inserted into a module: its forward pass runs under a mode that scales arguments of a few functions.

Two kinds of sites can be served in any module: a product with a known parameter, `F.linear(x, W)` or `x @ W.T`, whose
input is scaled; and the logits of attention, that go into a softmax or come from scaled_dot_product_attention inside
of a module.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from tensorprog.torch.errors import module_error
from tensorprog.torch.exponents import MultiplierSite
from tensorprog.torch.logits import ATTENTION, MULTIHEAD, SOFTMAXES, inside_functional, name_of

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable

PRODUCTS = {"torch.nn.functional.linear", "torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.mm"}


def insert(table: MuTable, model: nn.Module) -> nn.Module:
    """Wrap the forward passes of a module and of those that own a site. A second call changes nothing."""
    # Twice inserted, they would multiply twice.
    if getattr(model, "_mu_applied", False) or not table.sites:
        return model
    ratio = table.width_of(model) / table.base
    shared: dict[int, float] = {}
    for site in table.sites:
        factor = ratio ** float(site.exponent)
        if _is_product(site):
            # By identity: the same weight under two names is one parameter with one factor.
            shared[id(model.get_parameter(site.params[0]))] = factor
        elif _is_logits(table, site):
            _wrap(model.get_submodule(site.value.module), _LogitsMode(factor))
        else:
            raise module_error(
                "TP805",
                f"a multiplier n^({site.exponent}) is needed here, and cannot be inserted from outside",
                site.value.place,
                help=f"multiply by (n/{table.base})**({site.exponent}) in the module",
            )
    if shared:
        model._mu_products = _ProductMode(model, shared)
        _wrap(model, model._mu_products)
    model._mu_applied = True
    return model


def products_scaled(model: nn.Module) -> contextlib.AbstractContextManager:
    """Inside of it, parts of a module run as they do inside of the whole."""
    return getattr(model, "_mu_products", None) or contextlib.nullcontext()


def _is_product(site: MultiplierSite) -> bool:
    return site.value.op == "contract" and len(site.params) == 1


def _is_logits(table: MuTable, site: MultiplierSite) -> bool:
    """Whether nothing but masks lies between the value and a softmax."""
    value = site.value
    # Scales, masks and views may lie between, a few of them.
    for _ in range(4):
        user = next(
            (u for u in table.traced.graph.values if value in u.args and u.op in ("softmax", "map", "view")), None
        )
        if user is None or user.op == "softmax":
            return user is not None
        value = user
    return False


def _wrap(module: nn.Module, mode: TorchFunctionMode) -> None:
    forward = module.forward

    @functools.wraps(forward)
    def scaled(*args: object, **kwargs: object) -> object:
        with mode:
            return forward(*args, **kwargs)

    module.forward = scaled


class _ProductMode(TorchFunctionMode):
    """Scales what is multiplied with some parameters, found by identity or by the storage of a view."""

    def __init__(self, model: nn.Module, factors: dict[int, float]) -> None:
        super().__init__()
        self._factors = factors
        self._params = {id(p): p for p in model.parameters() if id(p) in factors}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if resolve_name(func) in PRODUCTS and len(args) >= 2 and (factor := self._factor(args[1])) is not None:
            # The input is scaled and not the weight: optimizers and decay see the weight as it is.
            args = (args[0] * factor, *args[1:])
        return func(*args, **kwargs)

    def _factor(self, weight: object) -> float | None:
        for key, parameter in self._params.items():
            # `W.T` is a view whose `_base` is the parameter.
            if weight is parameter or getattr(weight, "_base", None) is parameter:
                return self._factors[key]
        return None


class _LogitsMode(TorchFunctionMode):
    """Scales the logits of attention."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = name_of(func)
        if name in SOFTMAXES or name == ATTENTION:
            return func(args[0] * self._factor, *args[1:], **kwargs)
        if name == MULTIHEAD:
            with inside_functional(self._scaling):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _scaling(self, inner: Callable, name: str) -> Callable:
        return lambda x, *args, **kwargs: inner(x * self._factor, *args, **kwargs)
