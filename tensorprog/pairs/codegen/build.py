"""From a pair program to steps: statements become blocks of named values, duals become text or series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import assert_never

import sympy

from tensorprog.pairs.codegen.comparison import multiple, slope_of
from tensorprog.pairs.codegen.duals import NoClosedForm, correlation, expectation, number
from tensorprog.pairs.codegen.pieces import Piece, decompose
from tensorprog.pairs.codegen.steps import (
    Block,
    LetLine,
    LoadLine,
    LoopOfSteps,
    Near,
    RowLine,
    SeriesCall,
    Step,
    StoreLine,
    input_name,
    int_source,
    param_name,
    same_place,
)
from tensorprog.pairs.codegen.univariate import canonical, check_series
from tensorprog.pairs.program import (
    AddTo,
    Diagonal,
    Dual,
    Expr,
    Number,
    PairLoop,
    PairProduct,
    PairProgram,
    Power,
    Quotient,
    Ref,
    RowInput,
    RunParameter,
    Set,
    Side,
    Statement,
    Sum,
    reads,
    walk,
)

Pair = tuple[sympy.Expr, sympy.Expr]
_decomposed = lru_cache(maxsize=1024)(decompose)


@dataclass(frozen=True, slots=True)
class Built:
    """The steps, and the functions whose Hermite coefficients they need."""

    steps: tuple[Step, ...]
    functions: tuple[sympy.Expr, ...]


def build(program: PairProgram) -> Built:
    """The program's steps; raises UnsupportedDual."""
    builder = _Builder()
    builder.run(program.body)
    return Built(tuple(builder.steps), tuple(builder.functions))


@dataclass(slots=True)
class _Builder:
    steps: list[Step] = field(default_factory=list)
    functions: list[sympy.Expr] = field(default_factory=list)
    known_functions: list[sympy.Expr] = field(default_factory=list)
    block: Block = field(default_factory=Block)
    known: dict[Ref, str] = field(default_factory=dict)
    dirty: dict[Ref, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    slots: dict[tuple[str | None, str], int] = field(default_factory=dict)
    # With the number that multiplies an expectation in the sum of its series; None for an integral.
    series: dict[tuple, tuple[SeriesCall, float | None]] = field(default_factory=dict)
    names: int = 0
    calls: int = 0

    def run(self, body: Sequence[Statement]) -> None:
        for position, statement in enumerate(body):
            if isinstance(statement, PairLoop):
                self._loop(statement)
            else:
                self._assign(statement, body[position:])
        self.finish()

    def _loop(self, loop: PairLoop) -> None:
        self.finish()
        # What a loop changes are variances: series of before are not those inside, nor the other way round.
        self.series.clear()
        outer, self.steps = self.steps, []
        self.run(loop.body)
        self.series.clear()
        outer.append(LoopOfSteps(loop, tuple(self.steps)))
        self.steps = outer

    def finish(self) -> None:
        """Ends the block: its results go to their places."""
        self.block.lines += [StoreLine(ref, name) for ref, name in self.dirty.items()]
        if self.block.lines:
            self.steps.append(self.block)
        self.block = Block()
        for state in (self.known, self.dirty, self.texts, self.slots):
            state.clear()

    def _assign(self, statement: Set | AddTo, following: Sequence[Statement]) -> None:
        target = statement.target
        self._separate([target, *reads(statement.value)], self.dirty)
        for node in walk(statement.value):
            if isinstance(node, Dual):
                self._prepare(node, following)
        value = self.text(statement.value)
        if isinstance(statement, AddTo):
            value = f"({self.read(target)} + {value})"
        # A place may be named in several ways, as x[l + 1] and x[1 + l].
        place = self._place(target)
        self.known[place] = self.dirty[place] = self.let(value)
        # The series of a value that is overwritten is not that of the new one.
        self.series = {k: call for k, call in self.series.items() if target.name not in [ref.name for ref in k[2:]]}
        self._separate([target], self.known)

    def _separate(self, refs: Iterable[Ref], others: dict[Ref, str]) -> None:
        """Ends the block if one of the places may or may not be another that is in use."""
        if any(same_place(ref, other) is None for ref in refs for other in others):
            self.finish()

    def _place(self, ref: Ref) -> Ref:
        return next((other for other in self.known if same_place(ref, other)), ref)

    def read(self, ref: Ref, pairs: bool = True) -> str:
        """The name of a pair scalar's present value; without `pairs` only its diagonal is wanted."""
        ref = self._place(ref)
        if ref not in self.known:
            self.known[ref] = self._fresh()
            self.block.lines.append(LoadLine(self.known[ref], ref, pairs))
        # Loaded for the diagonal so far, it would be left out of the strip.
        for line in self.block.lines:
            if isinstance(line, LoadLine) and line.name == self.known[ref]:
                line.pairs |= pairs
        return self.known[ref]

    def _fresh(self) -> str:
        self.names += 1
        return f"v{self.names}"

    def let(self, text: str, exact: str | None = None, source: str | None = None, near: Near = None) -> str:
        """A name for the text's value; equal texts share one."""
        if text.isidentifier():
            return text
        if text not in self.texts:
            self.texts[text] = self._fresh()
            self.block.lines.append(LetLine(self.texts[text], text, exact, source, near))
        return self.texts[text]

    def row(self, side: Side, source: str | None, text: str) -> str:
        """The name of a quantity of one index."""
        key = (source, text)
        if key not in self.slots:
            self.slots[key] = self.block.slots
            self.block.lines.append(RowLine(self.block.slots, source, text))
            self.block.slots += 1
        return f"{side}{self.slots[key]}"

    def text(self, expr: Expr) -> str:
        """Source text of an expression over the block's names."""
        match expr:
            case Number(value):
                return number(value)
            case RunParameter(name):
                return param_name(name)
            case Ref():
                return self.read(expr)
            case Diagonal(ref, side):
                return self.row(side, self.read(ref, pairs=False), "q")
            case RowInput(name, side, index):
                items = ", ".join([":", *(int_source(i) for i in index)])
                return self.row(side, None, f"{input_name(name)}[{items}]")
            case Sum(args):
                return f"({' + '.join(self.text(a) for a in args)})"
            case PairProduct(args):
                return "*".join(f"({self.text(a)})" if isinstance(a, Quotient) else self.text(a) for a in args)
            case Quotient(numerator, denominator):
                return f"{self.text(numerator)}/({self.text(denominator)})"
            case Power(base, exponent):
                return self._power(self.let(self.text(base)), exponent)
            case Dual():
                return self._dual(expr)
            case _:
                assert_never(expr)

    def _power(self, base: str, exponent: float) -> str:
        if exponent < 0:
            return f"(f8(1.0)/({self._power(base, -exponent)}))"
        whole, half = divmod(exponent, 1)
        if half not in (0, 0.5) or whole > 8:
            # A few products are faster than a call of pow.
            return f"{base}**{number(exponent)}"
        return "*".join([base] * int(whole) + [f"np.sqrt({base})"] * bool(half)) or number(1.0)

    def _dual(self, dual: Dual) -> str:
        # Layers ask for the same functions again: canonical forms and pieces are kept.
        phi, psi = canonical(dual.phi), canonical(dual.psi)
        pieces = closed_pieces(phi, psi)
        if pieces is not None:
            return expectation(_DualScope(self, dual), *pieces)
        if not (phi.free_symbols and psi.free_symbols):
            return self._mean(dual)
        pair, factor = self._pair(dual)
        call, scale = self.series[_key(pair, dual)]
        if scale is None:
            # Price's theorem, d/dk E[F G] = E[F' G']: E[F G] is the product of the means plus an integral from 0 to k.
            a, b = (self.row(side, None, f"series{call.number}.mean_{side}") for side in ("a", "b"))
            return _scaled(factor, f"({a}*{b} + {self.read(dual.kab)}*{self.read(call.integral)})")
        return _scaled(factor / scale, self.read(call.value))

    def _mean(self, dual: Dual) -> str:
        """E[phi(u) psi(v)] where one of the functions is constant."""
        phi, psi = canonical(dual.phi), canonical(dual.psi)
        side: Side = "a" if phi.free_symbols else "b"
        function, ref = (phi, dual.kaa) if side == "a" else (psi, dual.kbb)
        f, factor = self._representative(function)
        factor *= float(psi if function == phi else phi)
        mean = self.row(side, self.read(ref, pairs=False), f"rt.mean(phi{self._function(f)}, q)")
        return _scaled(factor, mean)

    def _prepare(self, dual: Dual, following: Sequence[Statement]) -> None:
        """Starts the series of a dual without a closed form; one for a function and its derivative."""
        phi, psi = canonical(dual.phi), canonical(dual.psi)
        if closed(phi, psi):
            return
        check_series(phi, psi)
        pair, _ = self._pair(dual)
        if _key(pair, dual) in self.series or not (phi.free_symbols and psi.free_symbols):
            return
        integral, derivative = self._joint(pair, dual, following)
        c = correlation(_DualScope(self, dual))
        k, self.calls = self.calls, self.calls + 1
        places = [Ref(f"series{k}_{part}") for part in ("c", "value", "integral")]
        # A series is summed between blocks: it takes the correlations of the whole strip.
        self.dirty[places[0]] = c
        self.finish()
        # The series is that of the functions themselves; the numbers by which derivatives are multiples of them come in
        # where values are read (`_dual`).
        slopes = _slopes(integral, derivative) if integral else (1.0, 1.0)
        assert slopes is not None, "`_joint` gives an integral only with its derivative"
        f, g = (self._function(p if scale == 1 else scale * p) for scale, p in zip(slopes, derivative))
        means = (self._function(integral[0]), self._function(integral[1])) if integral else None
        call = SeriesCall(k, f, g, means, dual.kaa, dual.kbb, *places)
        self.steps.append(call)
        self.series[_key(derivative, dual)] = call, slopes[0] * slopes[1]
        if integral:
            self.series[_key(integral, dual)] = call, None

    def _joint(self, pair: Pair, dual: Dual, following: Sequence[Statement]) -> tuple[Pair | None, Pair]:
        """(phi, psi) and (phi', psi'): the pair and that of a dual which comes before the variances change."""
        for statement in following:
            # A loop may change any of the places.
            if isinstance(statement, PairLoop):
                break
            for node in walk(statement.value):
                if isinstance(node, Dual) and _places(node) == _places(dual):
                    other, _ = self._pair(node)
                    found = [(whole, derivative) for whole, derivative in ((pair, other), (other, pair))
                             if _slopes(whole, derivative) is not None]
                    if found:  # of sines and cosines, the derivative that needs no factor
                        return min(found, key=lambda p: _slopes(*p) != (1.0, 1.0))
            # Later expectations are of other variances.
            if statement.target.name in {ref.name for ref in _places(dual)}:
                break
        return None, pair

    def _pair(self, dual: Dual) -> tuple[Pair, float]:
        """The representatives of a dual's functions, and the number that multiplies their expectation."""
        (f, a), (g, b) = (self._representative(canonical(p)) for p in (dual.phi, dual.psi))
        return (f, g), a * b

    def _representative(self, phi: sympy.Expr) -> tuple[sympy.Expr, float]:
        """The first of the functions that this one is a multiple of, and the number that multiplies it."""
        for f in self.known_functions:
            factor = multiple(phi, f)
            if factor is not None:
                return f, factor
        self.known_functions.append(phi)
        return phi, 1.0

    def _function(self, phi: sympy.Expr) -> int:
        if phi not in self.functions:
            self.functions.append(phi)
        return self.functions.index(phi)


def _places(dual: Dual) -> tuple[Ref, Ref, Ref]:
    return dual.kaa, dual.kab, dual.kbb


def _key(pair: Pair, dual: Dual) -> tuple:
    return (*pair, *_places(dual))


def _slopes(whole: Pair, pair: Pair) -> tuple[float, float] | None:
    """The numbers that multiply functions in the derivatives of a pair; None if these are others."""
    a, b = (slope_of(one, f) for one, f in zip(whole, pair))
    return None if a is None or b is None else (a, b)


def _scaled(factor: float, text: str) -> str:
    return text if factor == 1 else f"{number(factor)}*{text}"


def closed(phi: sympy.Expr, psi: sympy.Expr) -> bool:
    """Whether E[phi(u) psi(v)] has a closed form; both canonical."""
    return closed_pieces(phi, psi) is not None


@lru_cache(maxsize=1024)
def closed_pieces(phi: sympy.Expr, psi: sympy.Expr) -> tuple[Mapping[Piece, float], Mapping[Piece, float]] | None:
    """The pieces of two functions whose product has an expectation in closed form; None if it has none; both canonical."""
    # Found by writing it, so that it cannot differ from what `_dual` then writes.
    left, right = _decomposed(phi), _decomposed(psi)
    if left is None or right is None:
        return None
    try:
        expectation(_NoScope(), left, right)
    except NoClosedForm:
        return None
    return left, right


class _NoScope:
    """A scope that keeps nothing."""

    kab = "kab"

    def row(self, side: Side, text: str) -> str:
        return side

    def let(self, text: str, exact: str | None = None, diagonal: str | None = None, near: Near = None) -> str:
        return "value"


class _DualScope:
    """The block, for the formulas of one dual."""

    def __init__(self, builder: _Builder, dual: Dual) -> None:
        self.builder = builder
        self.kab = builder.read(dual.kab)
        self.sources = {"a": builder.read(dual.kaa, pairs=False), "b": builder.read(dual.kbb, pairs=False)}

    def row(self, side: Side, text: str) -> str:
        return self.builder.row(side, self.sources[side], text)

    def let(self, text: str, exact: str | None = None, diagonal: str | None = None, near: Near = None) -> str:
        # u and v are one variable on the diagonal only if all three covariances are one place; elsewhere a = b leaves
        # two.
        same = self.sources["a"] == self.sources["b"] == self.kab
        return self.builder.let(text, exact if same and exact else diagonal, self.kab, near)
