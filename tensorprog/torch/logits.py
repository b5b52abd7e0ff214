"""What goes into the softmaxes of a module while it runs: the logits of attention, in the order of the calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, resolve_name

SOFTMAXES = {"torch.nn.functional.softmax", "torch.softmax", "torch.Tensor.softmax"}
ATTENTION = "torch.nn.functional.scaled_dot_product_attention"
#: The attribute of a function that was put in front of one of torch's: the name of that one.
STANDS_FOR = "_tensorprog_stands_for"
MULTIHEAD = "torch.nn.functional.multi_head_attention_forward"


class SeenLogits(TorchFunctionMode):
    """While active, keeps the logits of every softmax in `found`, with the multipliers that were inserted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Tensor] = []
        self._inside = False
        self._patched = contextlib.ExitStack()

    def __enter__(self):
        # Before anything else is put in front of these functions: what reaches them is what counts. torch finds names
        # once, and has to find those of the functions as they are.
        resolve_name(F.softmax)
        self._patched.enter_context(inside_functional(self._keeping))
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._patched.close()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = name_of(func)
        if name in SOFTMAXES:
            self._keep(kwargs.get("input", args[0] if args else None))
        elif name == ATTENTION:
            self._keep(_products(*args, **kwargs))
        elif name == MULTIHEAD:
            self._inside = True
        try:
            return func(*args, **kwargs)
        finally:
            self._inside = self._inside and name != MULTIHEAD

    def _keep(self, logits: torch.Tensor) -> None:
        # A copy, as masks are often filled in place afterwards.
        self.found.append(logits.detach().clone())

    def _keeping(self, inner: Callable, name: str) -> Callable:
        def keeping(*args, **kwargs):
            if self._inside:
                self._keep(_products(*args, **kwargs) if name == "scaled_dot_product_attention" else args[0])
            return inner(*args, **kwargs)

        return keeping


def _products(query: torch.Tensor, key: torch.Tensor, *_: object, scale: float | None = None, **__: object):
    """The logits of attention, without the mask."""
    # Grouped queries: each head of keys is that of several of queries.
    if key.shape[-3:-2] != query.shape[-3:-2]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    # torch's default scale, d**-0.5.
    return query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)


def name_of(func: Callable) -> str | None:
    """torch's name of a function that a mode gets."""
    # A function of `torch.nn.functional` hands on what has its name there, which may be one that was put in front of it.
    return getattr(func, STANDS_FOR, None) or resolve_name(func)


@contextlib.contextmanager
def inside_functional(changed: Callable[[Callable, str], Callable]) -> Iterator[None]:
    """torch's own function for many heads calls these by their global names, where a mode does not see them: `changed`
    makes other functions of them, by their names."""
    kept = {name: getattr(F, name) for name in ("softmax", "scaled_dot_product_attention")}
    for name, inner in kept.items():
        function = changed(inner, name)
        function.__dict__[STANDS_FOR] = f"torch.nn.functional.{name}"
        setattr(F, name, function)
    try:
        yield
    finally:
        for name, inner in kept.items():
            setattr(F, name, inner)
