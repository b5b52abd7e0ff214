"""Scaling rules for every parameter, from the powers of n of the traced graph.

For a parameter whose update entries of order one move the output by n**update, with gradients of order n**gradient:

    SGD     lr n**-(gradient + update)
    AdamW   lr n**-update, eps n**gradient (eps is added to what is of the gradient's size)
    Muon    the update has spectral norm 1 and finite rank, so entries n**-(widths/2): lr n**-(update - widths/2),
    divided by
            what torch.optim.Muon multiplies by: sqrt(max(1, rows/columns)) or .2 sqrt(max(rows, columns))

Weight decay is decoupled: lr * decay must not depend on n. A threshold that clips the norm of the whole gradient goes
with its largest part. Everything is in the gauge in which multipliers are 1 wherever the module has none: std**2 n, lr
and eps are those of the weight that is used (TP IVb, section 2.5 for the symmetry).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tensorprog.diagnostics import near_miss
from tensorprog.torch.axes import Axis, leaves, sizes_of, widths
from tensorprog.torch.errors import module_error
from tensorprog.torch.exponents import ZERO, Counting, MultiplierSite

if TYPE_CHECKING:
    from tensorprog.torch.coordinates import Batch, CoordinateCheck, Loss
    from tensorprog.torch.tracing import Traced

HALF = Fraction(1, 2)
OPTIMIZERS = ("sgd", "adamw", "muon")
ADJUSTMENTS = ("original", "match_rms_adamw", "none")
#: Of parameters that no optimizer gets, as they have no gradient.
FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Exponents:
    """Powers of n of one parameter's settings; `eps` is None where the optimizer has none."""

    std: Fraction
    multiplier: Fraction
    lr: Fraction
    eps: Fraction | None
    weight_decay: Fraction


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A line of the table; `optimizer` is "frozen" for a parameter whose `requires_grad` is False, and its rates are 0 then."""

    name: str
    shape: str
    optimizer: str
    exponents: Exponents


@dataclass(eq=False)
class MuTable:
    """The maximal update parametrization of a traced module, for one optimizer and base width."""

    traced: Traced
    optimizer: str
    base: int
    adjust: str
    counting: Counting = field(repr=False)
    rows: tuple[ParameterRow, ...]

    @property
    def sites(self) -> tuple[MultiplierSite, ...]:
        """Where the module lacks a multiplier."""
        return tuple(self.counting.sites.values())

    @property
    def trained(self) -> tuple[ParameterRow, ...]:
        """The rows of what training changes."""
        return tuple(row for row in self.rows if row.optimizer != FROZEN)

    @property
    def clipping(self) -> Fraction:
        """The power of the norm of the whole gradient, which a clipping threshold has to follow."""
        return max((self.gradient_norm(row.name) for row in self.trained), default=ZERO)

    def gradient_norm(self, name: str) -> Fraction:
        """The power of the Frobenius norm of a parameter's gradient."""
        return self.counting.gradient(name) + self.traced.graph.params[name].width_count * HALF

    def exponents(self) -> dict[str, Exponents]:
        """name -> powers of n."""
        return {row.name: row.exponents for row in self.rows}

    def table(self, format: str = "text") -> object:
        """As text, Markdown (`"markdown"`) or a pandas DataFrame (`"pandas"`)."""
        from tensorprog.torch.tables import table

        return table(self, format)

    def why(self, name: str) -> str:
        """The derivation of a parameter's row, line by line."""
        from tensorprog.torch.derivation import why

        return why(self, self._known(name))

    def lint(self, **settings: Any) -> list[str]:
        """What in the module, or in settings that do not change with the width, contradicts the table."""
        from tensorprog.torch.lint import lint

        return lint(self, **settings)

    def coordcheck(
        self, loss: Loss, batch: Batch, widths: Sequence[int] = (64, 128, 256, 512), steps: int = 4, **options: Any
    ) -> CoordinateCheck:
        """Predicted and measured powers of activations and updates, see `coordinates.coordcheck`."""
        from tensorprog.torch.coordinates import coordcheck

        return coordcheck(self, loss, batch, widths, steps, **options)

    # --- on modules ------------------------------------------------------------------------------------------

    def width_of(self, model: nn.Module) -> int:
        """The width of a module, by the sizes of its parameters."""
        found = set()
        for name, value in self.traced.graph.params.items():
            shape = self._parameter(model, name).shape
            for axis, size, sizes in zip(value.leaves(), shape, value.sizes, strict=True):
                # An axis with one factor n tells the width; n^2 would need a root.
                if widths(axis) == 1:
                    found.add(Fraction(size * self.traced.widths[0], sizes[0]))
        if len(found) != 1 or any(f.denominator != 1 for f in found):
            raise module_error(
                "TP805",
                "the module is not the traced one at any width: its parameters have other shapes",
                help="pass what `make(n)` returns",
            )
        return int(found.pop())

    def init_(self, model: nn.Module) -> nn.Module:
        """Rescale the initial parameters in place, so that their spread follows the table from the base width on."""
        ratio = self.width_of(model) / self.base
        # Rescaled, and not drawn anew: at the base width the module is as it was made.
        with torch.no_grad():
            for name, exponents in self.exponents().items():
                power = exponents.std - self.traced.laws[name].power
                self._parameter(model, name).mul_(ratio ** float(power))
        return model

    def apply(self, model: nn.Module) -> nn.Module:
        """Insert the multipliers that the module lacks, in place: at attention logits and at second uses of weights."""
        from tensorprog.torch.multipliers import insert

        return insert(self, model)

    def param_groups(
        self, model: nn.Module, lr: float, weight_decay: float = 0.0, eps: float = 1e-8, part: str | None = None
    ) -> list[dict[str, object]]:
        """Groups for a plain torch optimizer; lr, weight_decay and eps are those of the base width.

        With Muon, `part` is "muon" for torch.optim.Muon, and "adamw" for the parameters that are left to AdamW.
        """
        ratio = self.width_of(model) / self.base
        wanted = part or self.optimizer
        groups: dict[tuple, dict[str, Any]] = {}
        for row in self.rows:
            if row.optimizer == wanted:
                e = row.exponents
                group = groups.setdefault(
                    (e.lr, e.eps, e.weight_decay),
                    {
                        "params": [],
                        "lr": lr * ratio ** float(e.lr),
                        "weight_decay": weight_decay * ratio ** float(e.weight_decay),
                        **({} if e.eps is None else {"eps": eps * ratio ** float(e.eps)}),
                    },
                )
                group["params"].append(self._parameter(model, row.name))
        return list(groups.values())

    def _parameter(self, model: nn.Module, name: str) -> nn.Parameter:
        try:
            return model.get_parameter(name)
        except AttributeError:
            raise module_error(
                "TP805", f"the module has no parameter {name}", help="pass what `make(n)` returns"
            ) from None

    def _known(self, name: str) -> str:
        found = self.traced.aliases.get(name)
        if found is None:
            meant = near_miss(name, self.traced.aliases)
            raise module_error(
                "TP805", f"there is no parameter {name}", help=f"did you mean {meant}?" if meant else None
            )
        return found

    def __str__(self) -> str:
        return str(self.table())


def parametrize(
    traced: Traced, optimizer: str = "sgd", base: int = 64, *, adjust: str = "original", adamw: Sequence[str] = ()
) -> MuTable:
    """The powers of n of all settings.

    Args:
        optimizer: "sgd", "adamw" (or "adam"), or "muon": matrices by Muon, everything else by AdamW.
        base: the width at which the settings are as given.
        adjust: how Muon rescales learning rates, as `adjust_lr_fn` of torch.optim.Muon; "none" for other
        implementations.
        adamw: patterns of names of matrices that Muon leaves to AdamW, such as "*.emb.*".
    """
    optimizer = {"adam": "adamw"}.get(optimizer.lower(), optimizer.lower())
    for what, given, known in (("optimizer", optimizer, OPTIMIZERS), ("adjustment", adjust, ADJUSTMENTS)):
        if given not in known:
            raise module_error("TP805", f"there is no {what} {given!r}", help=f"there is: {', '.join(known)}")
    if not isinstance(base, int) or base < 1:
        raise module_error("TP805", f"the base width is a positive integer, not {base!r}")
    counting = Counting(traced.graph, traced.widths)
    rows = tuple(
        _row(traced, counting, name, _optimizer_of(traced, name, optimizer, adamw), adjust)
        for name in _in_order(traced)
    )
    return MuTable(traced, optimizer, base, adjust, counting, rows)


def _in_order(traced: Traced) -> Iterator[str]:
    # As the module lists them, shared ones once.
    return (name for name, _ in traced.module.named_parameters() if name in traced.graph.params)


def _optimizer_of(traced: Traced, name: str, optimizer: str, adamw: Iterable[str]) -> str:
    if name in traced.frozen:
        return FROZEN
    if optimizer != "muon":
        return optimizer
    # Vectors, and arrays of more axes such as convolutions, have no polar factor.
    left = len(traced.graph.params[name].axes) != 2 or any(fnmatch.fnmatch(name, pattern) for pattern in adamw)
    return "adamw" if left else "muon"


def _row(traced: Traced, counting: Counting, name: str, optimizer: str, adjust: str) -> ParameterRow:
    value = traced.graph.params[name]
    update, gradient = counting.update(name), counting.gradient(name)
    match optimizer:
        case "sgd":
            lr, eps = -(gradient + update), None
        case "adamw":
            lr, eps = -update, gradient
        case "frozen":
            lr, eps = ZERO, None
        case _:
            lr, eps = -(update - value.width_count * HALF) - adjustment(value.axes, adjust), None
    # Of several uses, the multiplier that is farthest from n**0.
    multiplier = min((u.multiplier for u in counting.uses[name]), key=lambda m: -abs(m), default=ZERO)
    shape = "[" + ", ".join(_shown(axis, traced.widths) for axis in value.axes) + "]"
    return ParameterRow(name, shape, optimizer, Exponents(counting.powers[name], multiplier, lr, eps, -lr))


def adjustment(axes: Sequence[Axis], adjust: str) -> Fraction:
    """The power of what torch.optim.Muon multiplies the learning rate by."""
    rows, columns = (widths(axis) for axis in axes)
    match adjust:
        case "original":
            return max(ZERO, (rows - columns) * HALF)
        case "match_rms_adamw":
            return max(rows, columns) * HALF
    return ZERO


def _shown(axis: Axis, traced_widths: tuple[int, int]) -> str:
    """A size as a multiple of n."""
    size, power = sizes_of(leaves(axis))[0], widths(axis)
    if not power:
        return str(size)
    ratio = Fraction(size, traced_widths[0] ** power)
    n = "n" if power == 1 else f"n^{power}"
    return (
        (str(ratio.numerator) if ratio.numerator > 1 else "")
        + n
        + (f"/{ratio.denominator}" if ratio.denominator > 1 else "")
    )
