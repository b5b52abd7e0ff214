"""The library: functions that are written in the language itself (language reference, section 3).

They are expanded where they are called, as a program's own functions are, but see only each other; a program's `def` of
the same name wins. `logsumexp` folds with `softplus(b - a) + a = log(exp(a) + exp(b))`: nothing overflows, and, other than
with a maximum, nothing has a kink where two entries are equal.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

from tensorprog.check.context import Context
from tensorprog.check.expressions import arity, reference, tensor_of, value_of
from tensorprog.check.integers import int_expr
from tensorprog.check.scope import FunctionName, InputName, IntValue, Scope, Value, describe
from tensorprog.diagnostics import Source, Span
from tensorprog.ir.program import Var
from tensorprog.syntax import parse, tree

TEXT = """
def logsumexp(x):
    total = 1.0*x[0]
    for i in range(1, len(x)):
        total += softplus(x[i] - total)
    return total

def log_softmax(x) = x - logsumexp(x)
def softmax(x) = exp(log_softmax(x))
def cross_entropy(logits, label) = logsumexp(logits) - logits[label]
def accuracy(logits, label) = prod(step(logits[label] - logits[j]) for j in range(len(logits)) if j != label)

def argmax(x):
    found = 0.0
    for i in range(len(x)):
        found += i * prod(1 - step(x[j] - x[i]) if i < j else step(x[i] - x[j]) for j in range(len(x)) if j != i)
    return found

def argmin(x) = argmax(-x)

def var(x) = moment((x - moment(x))**2)
def std(x) = sqrt(var(x))
def layernorm(x) = (x - moment(x)) / std(x)
"""

# What each function takes: an `array` with one axis, a `vector`, or an `int`.
PARAMETERS = {
    **dict.fromkeys(("logsumexp", "log_softmax", "softmax", "argmax", "argmin"), ("array",)),
    **dict.fromkeys(("cross_entropy", "accuracy"), ("array", "int")),
    **dict.fromkeys(("var", "std", "layernorm"), ("vector",)),
}


@cache
def _definitions() -> dict[str, tree.FuncDef]:
    return {s.name.name: s for s in parse(Source("<library>", TEXT)).statements if isinstance(s, tree.FuncDef)}


def library_scope(span: Span | None) -> Scope:
    """The names that a library function sees. Every mistake in its body is placed at the call, `span`."""
    scope = Scope()
    for name, definition in _definitions().items():
        scope.bind(name, FunctionName(_at(definition, span)))
    return scope


def library_function(name: str, span: Span | None) -> tree.FuncDef:
    """The definition of a library function, as if it stood at `span`."""
    return _at(_definitions()[name], span)


def _at(definition: tree.FuncDef, span: Span | None) -> tree.FuncDef:
    placed = _placed(definition, span)
    assert isinstance(placed, tree.FuncDef)
    return placed


def _placed(node: object, span: Span | None) -> object:
    """A tree whose every part stands at `span`."""
    if isinstance(node, tuple):
        return tuple(_placed(part, span) for part in node)
    if not isinstance(node, tree.TreeNode):
        return node
    parts: dict[str, Any] = {f.name: span if f.name == "span" or f.name.endswith("_span") else
                             _placed(getattr(node, f.name), span) for f in fields(node)}
    return replace(node, **parts)


def library_arguments(ctx: Context, node: tree.CallExpr) -> tuple[Value, ...]:
    """The arguments of a call of a library function, checked for what it takes."""
    # Checked here, because a mistake in a body that the user did not write says nothing to them.
    kinds = PARAMETERS[node.func]
    usage = f"{node.func}({', '.join({'array': 'f[t]', 'int': 'label', 'vector': 'h'}[k] for k in kinds)})"
    if len(node.args) != len(kinds):
        ctx.fail("TP405", f"`{node.func}` takes {' and '.join(map(_article, kinds))}, {len(node.args)} given",
                 node.span, help=f"write `{usage}`")
    return tuple(_argument(ctx, node, kind, arg, usage) for kind, arg in zip(kinds, node.args))


def _article(kind: str) -> str:
    return f"an {kind}" if kind != "vector" else "a vector"


def _argument(ctx: Context, node: tree.CallExpr, kind: str, arg: tree.Expr, usage: str) -> Value:
    if kind == "int":
        return IntValue(int_expr(ctx, arg, f"the label of {node.func}"))
    value = tensor_of(ctx, arg, f"the argument of {node.func}")
    fits = value.type.width is not None if kind == "vector" else not value.type.width and len(value.type.shape) == 1
    if not fits:
        what = "the coordinates of a vector" if kind == "vector" else "an array with one axis"
        ctx.fail("TP406", f"{node.func} is over {what}, and this is {describe(value.type)}", arg.span,
                 help=_other_kind(kind, value, usage))
    return value


def _other_kind(kind: str, value: Var, usage: str) -> str:
    if kind == "array" and value.type.width:
        return f"a vector's coordinates have averages only, such as `moment(exp(h))`; an array is a row of a family: " \
               f"`{usage}`"
    return f"write `{usage}`"


def length(ctx: Context, node: tree.CallExpr) -> IntValue:
    """len(x): the entries of an array's first axis."""
    arity(ctx, node, 1, "len(f[t])")
    found = reference(ctx, node.args[0])
    if isinstance(found, InputName) and len(found.items) < len(found.shape) and not found.items:
        return IntValue(found.shape[0])
    value = value_of(ctx, node.args[0])
    if isinstance(value, Var) and value.type.shape:
        return IntValue(value.type.shape[0])
    ctx.fail("TP406", "len counts the entries of an array", node.args[0].span,
             help="a width has no number: averages over it are `moment(x)`"
             if isinstance(value, Var) and value.type.width else "sizes have names: write `range(P)`")
