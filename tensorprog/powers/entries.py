"""What `tpc mup` finds: for each trainable object its powers of n, and where the program needs a multiplier.

An object w that is used as n**m w has the same training with m + t, a spread of n**-t, a learning rate of n**-2t
under SGD, and of n**-t under optimizers that normalize the gradient (TP IV, Eq. 5; TP IVb, Eq. 2.5). `Entry.in_gauge`
applies this. The multiplier m counts all powers of n at the object's first use, those that the program writes itself
included; an average `moment(v*x)` is a sum with the multiplier 1/n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorprog.diagnostics import Source, Span
    from tensorprog.ir.program import Cell, Program
    from tensorprog.powers.unknowns import Reason

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class GaugeRow:
    """An object's powers of n in some gauge: those of its multiplier, initial spread, learning rate and gradient,
    `epsilon` (None for optimizers without one), and the coefficient of weight decay: the learning rate times the decay
    does not depend on n."""

    multiplier: Fraction
    spread: Fraction
    rate: Fraction | None
    gradient: Fraction | None
    epsilon: Fraction | None
    decay: Fraction | None


@dataclass(frozen=True, slots=True)
class TrainableEntry:
    """A trainable object.

    Attributes:
        axes: how many of its axes are widths.
        multiplier: what the program multiplies its first use by; the powers that follow are for this multiplier.
        spread: of its initial entries.
        update: of an update's entries.
        gradient: of its gradient's entries (None: the gradient is zero).
        later: the multipliers of its other uses, relative to the first one.
        why_spread, why_update: the uses that decided.
    """

    cell: Cell
    axes: int
    optimizer: str
    multiplier: Fraction
    spread: Fraction
    update: Fraction
    gradient: Fraction | None
    why_spread: Reason
    why_update: Reason
    later: tuple[Fraction, ...] = ()

    @property
    def name(self) -> str:
        return self.cell.display

    @property
    def rule(self) -> str:
        """What updates it: Muon is for matrices, and leaves vectors and numbers to Adam."""
        return "adam" if self.optimizer == "muon" and not self.is_matrix else self.optimizer

    @property
    def is_matrix(self) -> bool:
        """Whether the object has two axes (a family's indices are none)."""
        return self.axes == 2 or len(self.cell.tensor.shape) + self.axes == 2

    @property
    def rate(self) -> Fraction | None:
        """The power of the learning rate."""
        match self.rule:
            case "sgd":
                return None if self.gradient is None else self.update - self.gradient
            case "muon":
                # A step with singular values of order one has entries n**(-1/2) for each width axis.
                return self.update + Fraction(self.axes, 2)
            case _:
                return self.update

    def in_gauge(self, multiplier: Fraction) -> GaugeRow:
        """The powers when the first use has this multiplier."""
        shift = multiplier - self.multiplier
        # Under SGD the multiplier counts twice, in the gradient and where the step is used (TP IV, Eq. 5).
        rate = None if self.rate is None else self.rate - (2 if self.rule == "sgd" else 1) * shift
        gradient = None if self.gradient is None else self.gradient + shift
        return GaugeRow(multiplier, self.spread - shift, rate, gradient,
                   # Epsilon stands beside the gradient, and the rate times the decay is what n must not change.
                   gradient if self.rule in ("adam", "adamw") else None, None if rate is None else -rate)

    @property
    def plain(self) -> GaugeRow:
        """The powers in the gauge without a multiplier."""
        return self.in_gauge(Fraction(0))

    @property
    def as_written(self) -> GaugeRow:
        """The powers for the program as it stands."""
        return self.in_gauge(self.multiplier)

    @property
    def torch_muon(self) -> dict[str, Fraction]:
        """The powers of the rate of torch.optim.Muon, by `adjust_lr_fn`: it multiplies the step by max(1, rows/columns)
        to the 1/2 ("original"), or by the root of the larger dimension ("match_rms_adamw")."""
        # Only rows that grow alone make rows/columns grow.
        tall = self.axes == 1 and self.cell.tensor.width_first
        rate = self.plain.rate
        assert rate is not None, "Muon's steps are of a size of their own"
        return {"original": rate - (HALF if tall else 0), "match_rms_adamw": rate - HALF}


@dataclass(frozen=True, slots=True)
class MultiplierUse:
    """An operation with a multiplier of its own: a later use of an object that has its spread from an earlier one
    (`objects`), or a sum over coordinates of a product of activations, such as an attention logit.

    Attributes:
        written: what the program multiplies it by.
        missing: what it must be multiplied by besides.
        relative: of a later use, the multiplier relative to the object's first use; else the whole multiplier.
    """

    span: Span | None
    written: Fraction
    missing: Fraction
    relative: Fraction
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that the program adds to gradients or compares with them, as an epsilon in a denominator or a threshold
    for a norm, and the power of n that gives it their size."""

    span: Span | None
    power: Fraction


@dataclass(frozen=True, slots=True)
class Update:
    """A statement that updates an object, and the power of what it adds to an entry as the program computes it, with
    the spreads and multipliers of muP (None: nothing)."""

    name: str
    span: Span | None
    power: Fraction | None


@dataclass(frozen=True, slots=True)
class Mup:
    """The maximal update parametrization of a program, for the sizes and parameters of `env`."""

    optimizer: str
    program: Program
    env: Mapping[str, object]
    entries: tuple[TrainableEntry, ...]
    uses: tuple[MultiplierUse, ...]
    updates: tuple[Update, ...]
    constants: tuple[Constant, ...] = ()

    @property
    def source(self) -> Source:
        return self.program.source

    def __getitem__(self, name: str) -> TrainableEntry:
        return next(e for e in self.entries if e.name == name)

    def clipping(self, as_written: bool = False) -> Fraction | None:
        """The power of a threshold for the norm of the whole gradient. A gradient is of finite rank, so that its norm
        is n**(1/2) times an entry for each width axis."""
        rows = [(e, e.as_written if as_written else e.plain) for e in self.entries]
        # Norms add as squares, so the largest one decides.
        return max((r.gradient + e.axes * HALF for e, r in rows if r.gradient is not None), default=None)

    def to_json(self) -> str:
        """`{"W": {"std": "-1/2", "multiplier": "0", "lr": "-1", ...}, ...}`: exponents of n."""
        from tensorprog.powers.tables import to_json

        return to_json(self)

    def to_text(self, base: int | None = None) -> str:
        """The tables for a terminal, as multiples of a base width."""
        from tensorprog.powers.tables import to_text

        return to_text(self, base)

    def to_latex(self) -> str:
        """The tables as a LaTeX document's body."""
        from tensorprog.powers.tables import to_latex

        return to_latex(self)

    def rewritten(self) -> str:
        """The program with these spreads, multipliers and learning rates.

        Raises:
            ProgramError: TP723, for what cannot be written at its place.
        """
        from tensorprog.powers.rewrite import rewritten

        return rewritten(self)

    def __str__(self) -> str:
        return self.to_text()
