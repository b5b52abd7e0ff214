"""Powers of n, counted on the graph: how large entries are, and how much an update of entries of order one moves.

Forward. The entries of a value are of the order of n**power. A sum over a width of a random weight and something that
does not know it grows as n**(1/2) (central limit theorem) where the result has many entries, and as n where it has
few: there the features align with the weight (law of large numbers; Tensor Programs IV, section 3; IVb, section 2.9,
where the readout has variance n**-2). The power of a weight is what makes its first use of order one. Where the power
is fixed already - a second use of a shared weight, products of activations as in attention - a multiplier is needed: a
`MultiplierSite`.

Backward. Cotangents go by the same rules; that of an output is of order one.

Updates. An update is aligned with what it was computed from, so its sum over a width grows as n: `update` is the power
of the change of the output if the update's entries are of order one (TP IVb, section 2.6: learning rates n**-update for
normalized updates; n**-(update + gradient) for plain gradients).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from tensorprog.torch.axes import widths
from tensorprog.torch.errors import module_error
from tensorprog.torch.graph import MOVES, TracedGraph, TracedValue
from tensorprog.torch.laws import exponent_between

HALF = Fraction(1, 2)
ZERO = Fraction(0)
ADDITIVE = ("add", "sub", "masked_fill")
# Functions that powers of n pass through, and the degree by which they multiply them.
DEGREES = {"sqrt": HALF, "rsqrt": -HALF, "reciprocal": Fraction(-1), "square": Fraction(2)}


@dataclass(frozen=True, slots=True)
class ParameterTerm:
    """A parameter that enters a value linearly: the power that its use adds to its own, at the start and in an
    update."""

    param: str
    start: Fraction
    update: Fraction
    use: TracedValue

    def shifted(self, start: Fraction, update: Fraction, use: TracedValue | None = None) -> ParameterTerm:
        return ParameterTerm(self.param, self.start + start, self.update + update, use or self.use)


@dataclass(frozen=True, slots=True)
class MultiplierSite:
    """A value to be multiplied by n**exponent; `params` enter it linearly."""

    value: TracedValue
    exponent: Fraction
    params: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """What one use of a parameter says: the powers of `ParameterTerm`, and the multiplier behind it."""

    value: TracedValue
    start: Fraction
    update: Fraction
    multiplier: Fraction


@dataclass(frozen=True, slots=True)
class GradientPart:
    """A contribution to a parameter's gradient: the powers of the cotangent and of what it is multiplied with."""

    value: TracedValue
    cotangent: Fraction
    factor: Fraction


@dataclass(slots=True)
class ValuePowers:
    """The terms of a value, or a power that is known; `shift` is the power of the numbers it was multiplied by
    since."""

    terms: tuple[ParameterTerm, ...] = ()
    known: Fraction | None = None
    shift: Fraction = ZERO
    of_params: bool = False


@dataclass
class Counting:
    """The powers of a graph. `powers` of parameters, `uses`, `gradients` and `sites` are what the tables are made
    from."""

    graph: TracedGraph
    traced_widths: tuple[int, int]
    powers: dict[str, Fraction] = field(default_factory=dict)
    uses: dict[str, list[ParameterUse]] = field(default_factory=dict)
    sites: dict[TracedValue, MultiplierSite] = field(default_factory=dict)
    gradients: dict[str, list[GradientPart]] = field(default_factory=dict)
    _states: dict[TracedValue, ValuePowers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Forward settles powers by first uses, so the order is that of computation.
        for value in self.graph.values:
            self._states[value] = self._forward(value)
        self._settle(self.graph.output)
        for name in self.graph.params:
            self.powers.setdefault(name, ZERO)
            self.uses.setdefault(name, [])
        self._backward()

    # --- what tables ask -------------------------------------------------------------------------------------

    def update(self, name: str) -> Fraction:
        """The largest change that entries of order one make, over all uses."""
        return max((u.update + u.multiplier for u in self.uses[name]), default=ZERO)

    def gradient(self, name: str) -> Fraction:
        """The power of the gradient's entries."""
        return max((p.cotangent + p.factor for p in self.gradients.get(name, ())), default=ZERO)

    def power(self, value: TracedValue) -> Fraction:
        """The power of a value's entries, behind its multiplier."""
        state = self._states[value]
        if state.known is not None:
            return state.known
        return max((self.powers.get(t.param, ZERO) + t.start for t in state.terms), default=ZERO)

    # --- forward ---------------------------------------------------------------------------------------------

    def _forward(self, v: TracedValue) -> ValuePowers:
        if v.attrs.get("table"):
            return ValuePowers(known=ZERO)
        match v.op:
            case "param":
                return ValuePowers((ParameterTerm(v.name, ZERO, ZERO, v),), of_params=True)
            case "number":
                # d**-0.5 is another number at each of the two widths, which tell its power.
                return ValuePowers(known=exponent_between(abs(v.numbers[0]), abs(v.numbers[1]), self.traced_widths) or ZERO)
            case "buffer":
                return ValuePowers(known=self._buffer_power(v))
            case "map":
                return self._map(v)
            case "contract":
                return self._contract(v)
            case "gather":
                return self._renamed(self._states[v.args[0]], v, of_params=False)
            # Of terms that may be in step, n for each width.
            case "reduce" if v.fn == "sum" and (count := _reduced(v)):
                if self._states[v.args[0]].known is None:
                    self._settle(v.args[0])
                return ValuePowers(known=self.power(v.args[0]) + count)
            case "reduce" if v.fn in ("max", "min"):
                return self._settled(v)
            case op if op in MOVES or op == "reduce":
                return self._moved(v)
        return self._settled(v)

    def _buffer_power(self, v: TracedValue) -> Fraction:
        """That of a number; tables have entries of order one."""
        if v.axes or v.pair[0].dtype.is_complex:
            return ZERO
        return exponent_between(abs(float(v.pair[0])), abs(float(v.pair[1])), self.traced_widths) or ZERO

    def _moved(self, v: TracedValue) -> ValuePowers:
        if len(v.args) == 1:
            return self._renamed(self._states[v.args[0]], v)
        return self._sum(v)

    def _renamed(self, state: ValuePowers, v: TracedValue, of_params: bool | None = None) -> ValuePowers:
        """The same powers; a parameter's first use is the first operation after its views."""
        terms = tuple(ParameterTerm(t.param, t.start, t.update, v if t.use.op == "param" else t.use) for t in state.terms)
        return ValuePowers(terms, state.known, state.shift, state.of_params if of_params is None else of_params)

    def _map(self, v: TracedValue) -> ValuePowers:
        numbers = [a for a in v.args if is_number(a)]
        if v.fn in ("mul", "div") and numbers and len(v.args) == 2 and not (v.fn == "div" and is_number(v.args[0])):
            other = v.args[0] if v.args[1] in numbers else v.args[1]
            power = self.power(numbers[-1]) * (-1 if v.fn == "div" else 1)
            return self._scaled(self._states[other], power)
        if v.fn == "neg":
            return self._states[v.args[0]]
        # Zeros in some places have every power, as embeddings of padding.
        if v.fn == "where" and v.args[0].is_of_integers and v.args[2].op == "number" and not any(v.args[2].numbers):
            return self._renamed(self._states[v.args[1]], v, of_params=False)
        if v.fn in ADDITIVE:
            return self._sum(v)
        degrees = _degrees(v)
        return self._settled(v) if degrees is None else self._homogeneous(v, degrees)

    def _homogeneous(self, v: TracedValue, degrees: list[Fraction]) -> ValuePowers:
        """A power that is known goes through; what depends on free parameters is of order one first."""
        power = ZERO
        for arg, degree in zip(v.args, degrees, strict=True):
            if self._states[arg].known is None:
                self._settle(arg, v)
            power += degree * self.power(arg)
        return ValuePowers(known=power, of_params=all(self._states[a].of_params or is_number(a) for a in v.args))

    def _scaled(self, state: ValuePowers, power: Fraction) -> ValuePowers:
        known = None if state.known is None else state.known + power
        return ValuePowers(tuple(t.shifted(power, power) for t in state.terms), known, state.shift + power, state.of_params)

    def _sum(self, v: TracedValue) -> ValuePowers:
        """A sum of terms whose parameters are all free stays free, so that a number behind it still counts."""
        states = [self._states[a] for a in v.args]
        of_params = all(s.of_params for s in states)
        # With one shift only: behind different numbers, terms of a sum cannot be made of order one together.
        if all(s.terms and not self._pinned(s) for s in states) and len({s.shift for s in states}) == 1:
            terms = tuple(
                ParameterTerm(t.param, t.start, t.update, v if t.use.op == "param" else t.use) for s in states for t in s.terms
            )
            return ValuePowers(terms, None, states[0].shift, of_params)
        return self._settled(v)

    def _settled(self, v: TracedValue) -> ValuePowers:
        """Arguments have to be of order one, and so is the result."""
        of_params = bool(v.args) and all(self._states[a].of_params or is_number(a) for a in v.args)
        for arg in v.args:
            self._settle(arg, v)
        return ValuePowers(known=ZERO, of_params=of_params)

    def _contract(self, v: TracedValue) -> ValuePowers:
        x, w = v.args
        sx, sw = self._states[x], self._states[w]
        if sx.of_params and not sw.of_params:
            x, w, sx, sw = w, x, sw, sx
        # A product of activations, as q.k: training correlates them, and the terms of the sum are in step.
        if not sw.of_params:
            return ValuePowers(known=self._activation(x, v) + self._activation(w, v) + _summed(v))
        if not sw.terms and _summed(v):
            raise module_error(
                "TP803",
                "a weight that is computed from parameters, not linearly, has no rule",
                v.place,
                help="apply the parametrization of weights by hand, with a plain weight traced",
            )
        if sx.terms and sx.known is None:
            self._settle(x, v)
        px = self.power(x)
        summed = _summed(v)
        # With a width of the weight's own the result has many entries, each a sum of independent terms; without, it is
        # a readout, with which features align.
        start = px + (HALF * summed if _own(v, w, x) else summed)
        # An update holds x itself, so that its sum with x is n terms in step.
        return ValuePowers(tuple(t.shifted(start, px + summed, v) for t in sw.terms), None, ZERO)

    def _activation(self, x: TracedValue, v: TracedValue) -> Fraction:
        """The power of a factor of a product of activations. Numbers that it was multiplied by count for the product,
        not for its weights: queries that are divided by sqrt(d) are of order one before."""
        state = self._states[x]
        if state.terms and state.known is None:
            self._settle(x, v, keep=state.shift)
        return self.power(x)

    def _pinned(self, state: ValuePowers) -> bool:
        return any(t.param in self.powers for t in state.terms)

    def _settle(self, x: TracedValue, at: TracedValue | None = None, keep: Fraction = ZERO) -> None:
        """Make a value of order n**keep: by the powers of its parameters, or else by a multiplier."""
        state = self._states[x]
        if is_number(x):
            return
        for term in state.terms:
            # The first use decides; what a later one lacks is a multiplier.
            self.powers.setdefault(term.param, keep - term.start)
        multiplier = keep - self.power(x)
        if multiplier:
            self.sites[x] = MultiplierSite(x, multiplier, tuple(t.param for t in state.terms))
        for term in state.terms:
            use = at if term.use.op == "param" and at is not None else term.use
            found = ParameterUse(use, term.start - keep, term.update - keep, multiplier)
            if found not in self.uses.setdefault(term.param, []):
                self.uses[term.param].append(found)
        self._states[x] = ValuePowers((), keep, keep, state.of_params)

    # --- backward --------------------------------------------------------------------------------------------

    def _backward(self) -> None:
        """Cotangents, from the output back; once more around loops until nothing grows."""
        # A loss of order one that reads n outputs averages over them: each has a share of 1/n.
        sent: dict[TracedValue, Fraction] = {self.graph.output: Fraction(-self.graph.output.width_count)}
        before = None
        while before != sent:
            before = dict(sent)
            self.gradients = {}
            for v in reversed(self.graph.values):
                if v in sent:
                    self._send(v, sent[v] + (self.sites[v].exponent if v in self.sites else 0), sent)

    def _send(self, v: TracedValue, g: Fraction, sent: dict[TracedValue, Fraction]) -> None:
        for arg, factor in self._factors(v):
            total = g + factor
            if arg.op == "param":
                self.gradients.setdefault(arg.name, []).append(GradientPart(v, g, factor))
            sent[arg] = max(sent.get(arg, total), total)

    def _factors(self, v: TracedValue) -> list[tuple[TracedValue, Fraction]]:
        """The arguments that get a cotangent, and by which power theirs differs from that of the value."""
        match v.op:
            case "contract":
                x, w = v.args
                return [(x, self._through(v, x, w)), (w, self._through(v, w, x))]
            case "map" | "choice" if v.op == "choice" or v.is_truth:
                found = []  # a comparison has no gradient
            case "map" if v.fn == "mul":
                a, b = v.args
                found = [(a, self.power(b) + _broadcast(v, a)), (b, self.power(a) + _broadcast(v, b))]
            case "map" if v.fn == "div":
                a, b = v.args
                found = [
                    (a, _broadcast(v, a) - self.power(b)),
                    # d(a/b) = da/b - a db/b**2.
                    (b, _broadcast(v, b) + self.power(a) - 2 * self.power(b)),
                ]
            case "map":
                degrees = _degrees(v) or [Fraction(1)] * len(v.args)
                found = [
                    # The derivative of a homogeneous function has the degree less one.
                    (a, _broadcast(v, a) + (degree - 1) * self.power(a))
                    for a, degree in zip(v.args, degrees, strict=True)
                ]
            case "reduce":
                # A mean gives every entry 1/n of its cotangent, a sum all of it.
                found = [(v.args[0], Fraction(-_reduced(v) if v.fn == "mean" else 0))]
            case "expand":
                # An entry that is repeated gets the sum of its copies' cotangents.
                found = [(v.args[0], Fraction(v.width_count - v.args[0].width_count))]
            case "gather":
                found = [(v.args[0], ZERO)]
            case "carry":
                found = [(v.attrs["next"], ZERO)]
            case _:
                found = [(a, ZERO) for a in v.args]
        return [(a, f) for a, f in found if not a.is_constant and a.op not in ("input", "noise")]

    def _through(self, v: TracedValue, x: TracedValue, w: TracedValue) -> Fraction:
        """The cotangent of one factor is a sum over the axes of the result that it lacks."""
        own = _own(v, w, x)
        # Over the axes of a random weight n independent terms add up to n**(1/2); other factors may be in step with the
        # cotangent.
        random = self._states[w].of_params and _summed(v)
        return self.power(w) + (HALF * own if random else own)


def _degrees(v: TracedValue) -> list[Fraction] | None:
    """Of every argument, if powers of n pass through a coordinatewise function."""
    match v.fn:
        case "mul":
            return [Fraction(1), Fraction(1)]
        case "div":
            return [Fraction(1), Fraction(-1)]
        case "pow":
            return [Fraction(v.exponent).limit_denominator(1000)]
        case "clamp" if v.ends[0] is not None and v.ends[1] is None and 0 < v.ends[0] < 1e-4:
            return [Fraction(1)]  # the floor of a norm that is divided by
    return [DEGREES[v.fn]] if v.fn in DEGREES else None


def is_number(v: TracedValue) -> bool:
    """Whether a value is a number, or a buffer of one."""
    return v.op == "number" or v.op == "buffer" and not v.axes


def _label_widths(v: TracedValue) -> dict[str, int]:
    found: dict[str, int] = {}
    for arg, labels in zip(v.args, v.labels, strict=False):
        for label, axis in zip(labels, arg.axes, strict=True):
            found[label] = max(found.get(label, 0), widths(axis))
    return found


def _summed(v: TracedValue) -> int:
    """The widths that a contraction sums over."""
    return sum(count for label, count in _label_widths(v).items() if label not in v.labels[2])


def _own(v: TracedValue, w: TracedValue, x: TracedValue) -> int:
    """The widths of the result that come from one factor alone."""
    mine = v.labels[v.args.index(w)]
    other = v.labels[1 - v.args.index(w)] if w is not x else ""
    return sum(
        count
        for label, count in _label_widths(v).items()
        if label in v.labels[2] and label in mine and label not in other
    )


def _reduced(v: TracedValue) -> int:
    return sum(widths(v.args[0].axes[d]) for d in v.dims)


def _broadcast(v: TracedValue, arg: TracedValue) -> int:
    """The widths that an argument is repeated along."""
    return v.width_count - arg.width_count
