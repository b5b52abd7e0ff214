"""The operations of `tensorprog.finite.operations` on tensors of PyTorch, which keep the gradient."""

from __future__ import annotations

import torch

from tensorprog.ir.primitives import Expr, derivative

UNARY = {
    "neg": torch.neg,
    "relu": torch.relu,
    "abs": torch.abs,
    "sign": torch.sign,
    # step(0) = 0. Autograd has no rule for `heaviside`, and none is wanted: a step is flat.
    "step": lambda x: torch.heaviside(x.detach(), torch.zeros_like(x)),
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    # `F.softplus` is x itself above 20.
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "square": torch.square,
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "max": torch.maximum,
    "min": torch.minimum,
}


def unary(x, *, fn, order=0):
    """The `order`-th derivative of a one-argument primitive at each entry."""
    if order == 0:
        return UNARY[fn](x)
    return torch.broadcast_to(_evaluate(derivative(fn, order), x), x.shape)


def _evaluate(expr: Expr, x):
    if expr.fn == "x":
        return x
    if expr.fn == "num":
        return torch.as_tensor(float(expr.value), dtype=x.dtype, device=x.device)
    args = [_evaluate(a, x) for a in expr.args]
    return BINARY[expr.fn](*args) if len(args) == 2 else UNARY[expr.fn](*args)


def binary(a, b, *, fn):
    """A two-argument primitive, with broadcasting."""
    return BINARY[fn](a, b)


def add(a, b):
    """a + b, with broadcasting."""
    return a + b


def mul(a, b):
    """a * b, with broadcasting."""
    return a * b


def sum_axis(x, *, axis):
    """The sum over one axis."""
    return torch.sum(x, dim=axis)


def expand(x, *, axis, size):
    """`x` repeated along a new axis; a negative `axis` counts from the end of the result."""
    at = axis if axis >= 0 else x.ndim + 1 + axis
    return x.unsqueeze(at).expand(*x.shape[:at], size, *x.shape[at:])


def pick(x, *, index):
    """`x[index]` with basic indices."""
    return x[index]


def place(x, *, index, shape):
    """Zeros of `shape` with `x` at `index`."""
    return replace(x.new_zeros(shape), x, index=index)


def replace(x, part, *, index):
    """A copy of `x` with `part` at `index`."""
    # Autograd needs the values of before; writing to `x` itself would change them.
    result = x.clone()
    result[index] = part
    return result


def stack(*xs):
    """Tensors of one shape along a new first axis."""
    return torch.stack(xs)


def reshape(x, *, shape):
    """The entries of `x` in another shape."""
    return torch.reshape(x, shape)


def contract(a, b, *, axes):
    """The einsum `axes[0], axes[1] -> axes[2]`."""
    return torch.einsum(f"{axes[0]},{axes[1]}->{axes[2]}", a, b)


def matmul(m, x):
    """`m @ x` on the last axis of `x`: [r, c] and [..., c] to [..., r]."""
    return x @ m.T


def outer(u, v):
    """The sum of outer products over all leading axes: [..., r] and [..., c] to [r, c]."""
    return u.reshape(-1, u.shape[-1]).T @ v.reshape(-1, v.shape[-1])


def transpose(m):
    """[r, c] to [c, r]."""
    return m.T
