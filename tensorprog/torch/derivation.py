"""Why a parameter has the exponents that it has, in lines that a person can check."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.torch.exponents import Counting, GradientPart, ParameterUse
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.parametrize import HALF, adjustment
from tensorprog.torch.tables import power

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable, ParameterRow


def why(table: MuTable, name: str) -> str:
    """The derivation of one row."""
    row = next(r for r in table.rows if r.name == name)
    counting = table.counting
    lines = [f"{name} {row.shape}, by {row.optimizer}"]
    for use in counting.uses[name]:
        lines += _start(counting, name, use)
    for use in counting.uses[name]:
        lines += _update(use)
    lines += [_gradient(part) for part in _distinct(counting.gradients.get(name, []))]
    lines += _settings(table, row) if row in table.trained else ["lr: none, as its requires_grad is False"]
    return "\n  ".join(lines)


def _at(value: TracedValue) -> str:
    return f"in `{value.name}`" + (f" ({value.place})" if value.place else "")


def _start(counting: Counting, name: str, use: ParameterUse) -> Iterator[str]:
    kind = "a sum over the width of products" if use.value.op == "contract" and use.start else "no sum over the width"
    yield (f"start: {_at(use.value)}, {kind}: the result is {power(use.start)} times the entries")
    if use.multiplier:
        yield (
            f"  the entries are {power(counting.powers[name])} for an earlier use, so the result is "
            f"{power(counting.powers[name] + use.start)}, and a multiplier {power(use.multiplier)} is needed here"
        )
    else:
        yield f"  so entries {power(counting.powers[name])} make it of order one: std {power(counting.powers[name])}"


def _update(use: ParameterUse) -> Iterator[str]:
    aligned = ", aligned with what it is applied to" if use.update != use.start else ""
    behind = f", and {power(use.update + use.multiplier)} behind the multiplier" if use.multiplier else ""
    yield (
        f"update: {_at(use.value)}, one with entries of order one{aligned} moves the result by "
        f"{power(use.update)}{behind}"
    )


def _distinct(parts: list[GradientPart]) -> list[GradientPart]:
    # Layers at other lines of the module are told apart, rows and heads at the same line are not.
    found: dict[tuple[Fraction, Fraction, object], GradientPart] = {}
    for part in parts:
        found.setdefault((part.cotangent, part.factor, part.value.place), part)
    return list(found.values())


def _gradient(part: GradientPart) -> str:
    return (
        f"gradient: {_at(part.value)}, cotangent {power(part.cotangent)} times {power(part.factor)} = "
        f"{power(part.cotangent + part.factor)}"
    )


def _settings(table: MuTable, row: ParameterRow) -> Iterator[str]:
    e, counting = row.exponents, table.counting
    update, gradient = counting.update(row.name), counting.gradient(row.name)
    match row.optimizer:
        case "sgd":
            yield f"lr: lr * gradient {power(gradient)} * {power(update)} = 1, so lr {power(e.lr)}"
        case "adamw":
            yield f"lr: entries of the update are of the size of lr; lr * {power(update)} = 1, so lr {power(e.lr)}"
            yield f"eps: is compared with the gradient, so eps {power(e.eps)}"
        case _:
            value = table.traced.graph.params[row.name]
            # As u v^T of unit vectors has entries 1/sqrt(rows*columns).
            entries = -value.width_count * HALF
            yield (
                f"lr: an update of spectral norm 1 and finite rank has entries {power(entries)}; lr * "
                f"{power(entries)} * {power(update)} = 1, so lr {power(-update - entries)}"
            )
            factor = -e.lr - update - entries
            if factor or any(adjustment(value.axes, a) for a in ("original", "match_rms_adamw")):
                yield f"  torch.optim.Muon multiplies it by {power(factor)} by itself, so lr {power(e.lr)}"
    yield f"weight decay: lr * decay does not depend on n, so decay {power(e.weight_decay)}"
    yield (
        f"norm of the gradient: {power(table.gradient_norm(row.name))} (the largest of all, {power(table.clipping)}, "
        "is that of a clipping threshold)"
    )
