"""The statements by which training changes parameters: what `torch.optim`'s SGD, AdamW and Muon do.

A parameter is a family over its finite factors, of matrices, vectors or numbers; its state is a family of the same
shape. Powers of the width are those of the table, so that at the base width everything is as in torch. Muon's
Newton-Schulz iteration is written out: Z -> Z (a + b A + c A @ A) with A = Z.T @ Z, summed over the blocks that the
parameter is cut into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.torch.axes import sizes_of
from tensorprog.torch.declarations import ModuleNames, scale_text
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.optimizers import Settings
from tensorprog.torch.parametrize import FROZEN, adjustment
from tensorprog.torch.reading import split

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable, ParameterRow

# Newton-Schulz iterations, as many as torch.optim.Muon takes by default.
STEPS = 5
LETTERS = "ijkl"
# How many axes of a parameter grow with the width.
HIDDEN, VECTOR, NUMBER = 2, 1, 0


class UpdateText:
    """Declarations and statements of all parameters' updates."""

    def __init__(self, names: ModuleNames, table: MuTable, settings: Settings) -> None:
        self._names, self._table, self._settings = names, table, settings
        self._kinds = {row.optimizer for row in table.trained}
        self._parameters = [_OPTIMIZERS[row.optimizer](names, table, settings, row) for row in table.rows]

    def declarations(self) -> Iterator[str]:
        """Parameters of the optimizers, and states."""
        s = self._settings
        if "sgd" in self._kinds and s.momentum:
            yield f"param momentum = {s.momentum!r}"
        if "adamw" in self._kinds:
            yield from (f"param beta1 = {s.betas[0]!r}", f"param beta2 = {s.betas[1]!r}", f"param eps = {s.eps!r}")
        if "muon" in self._kinds:
            yield f"param muon_momentum = {s.muon_momentum!r}"
        if s.weight_decay:
            yield f"param weight_decay = {s.weight_decay!r}"
        for parameter in self._parameters:
            yield from parameter.declarations()

    def starts(self) -> Iterator[str]:
        """Statements before training."""
        for parameter in self._parameters:
            yield from parameter.starts()

    def statements(self) -> Iterator[str]:
        """Those of a step."""
        if "adamw" in self._kinds:
            yield from ("c1 = 1 - beta1**(t + 1)", "c2 = 1 - beta2**(t + 1)")
        for parameter in self._parameters:
            yield from parameter.statements()


class _Parameter:
    """One parameter: its name, the finite family that it is, and what an element is."""

    def __init__(self, names: ModuleNames, table: MuTable, settings: Settings, row: ParameterRow) -> None:
        self.value: TracedValue = table.traced.graph.params[row.name]
        self.names, self.table, self.settings, self.row = names, table, settings, row
        self.name, self.family = names.declared(row.name), names.family(self.value)
        self.rank = self.value.width_count
        self.shape = [names.width(a) for axis in self.value.leaves() for a in axis if a.is_width]
        if names.is_table(self.value):
            self.shape.append(str(self.value.sizes[1][0]))
        self._called: dict[str, str] = {"": self.name}

    def declarations(self) -> Iterator[str]:
        """The states, which are zero at first."""
        for state in self.states:
            yield from self.declared(state, self.family)

    def called(self, suffix: str) -> str:
        """The name of a state."""
        if suffix not in self._called:
            self._called[suffix] = self.names.fresh(f"{self.name}_{suffix}")
        return self._called[suffix]

    def declared(self, suffix: str, family: Sequence[int]) -> Iterator[str]:
        if self.rank:
            kind = "matrix" if len(self.shape) == 2 else "vector"
            yield f"{kind} {self.called(suffix)}{_bracket(family)} : [{', '.join(self.shape)}] = 0"

    def starts(self) -> Iterator[str]:
        """Numbers get their initial values; of them, states too."""
        if self.rank:
            return
        start = "0" if self.table.traced.laws[self.row.name].law.size == 0.0 else self._start()
        yield from self.looped(f"{self.element()} = {start}",
                               *(f"{self.element(state)} = 0" for state in self.states))

    def _start(self) -> str:
        return f"{self.names.start(self.row.name)}{_bracket(self.letters or ['0'])}"

    @property
    def states(self) -> tuple[str, ...]:
        """What is kept from step to step."""
        return ()

    @property
    def letters(self) -> list[str]:
        return list(LETTERS[: len(self.family)])

    def element(self, suffix: str = "") -> str:
        """An element of the parameter, or of a state of it."""
        return f"{self.called(suffix)}{_bracket(self.letters)}"

    @property
    def gradient(self) -> str:
        return f"grad(loss[t], {self.element()})"

    def scaled(self, what: str, power: Fraction) -> str:
        return f"{what}{scale_text(power, self.table.base)}"

    def looped(self, *lines: str) -> Iterator[str]:
        """Lines inside of loops over the family."""
        yield from nested(self.letters, self.family, lines)

    def statements(self) -> Iterator[str]:
        raise NotImplementedError

    def decayed(self) -> list[str]:
        """Decoupled weight decay: the powers of learning rate and decay cancel."""
        return [f"{self.element()} *= 1 - eta*weight_decay"] if self.settings.weight_decay else []


class _Sgd(_Parameter):
    """torch.optim.SGD: weight decay is part of the gradient that momentum averages."""

    @property
    def states(self) -> tuple[str, ...]:
        return ("m",) if self.settings.momentum else ()

    def statements(self) -> Iterator[str]:
        rate = self.scaled("eta", self.row.exponents.lr)
        if not self.settings.momentum:
            # The gradient is that at the values that the loss was computed with, whatever happened to them since.
            yield from self.looped(*self.decayed(), f"{self.element()} -= {rate} * {self.gradient}")
            return
        state, total = self.element("m"), self.gradient
        if self.settings.weight_decay:
            total += f" + {self.scaled('weight_decay', self.row.exponents.weight_decay)} * {self.element()}"
        lines = [f"{self.called('g')} = {total}", f"{state} = momentum*{state} + {self.called('g')}"]
        step = f"({self.called('g')} + momentum*{state})" if self.settings.nesterov else state
        yield from self.looped(*lines, f"{self.element()} -= {rate} * {step}")


class _AdamW(_Parameter):
    """torch.optim.AdamW."""

    states = ("m", "s")

    def statements(self) -> Iterator[str]:
        first, second, gradient = self.element("m"), self.element("s"), self.called('g')
        assert self.row.exponents.eps is not None, "AdamW has an eps"
        rate, eps = self.scaled("eta", self.row.exponents.lr), self.scaled("eps", self.row.exponents.eps)
        yield from self.looped(
            f"{gradient} = {self.gradient}",
            f"{first} = beta1*{first} + (1 - beta1)*{gradient}",
            f"{second} = beta2*{second} + (1 - beta2)*{gradient}**2",
            # Before the step, as in torch.
            *self.decayed(),
            f"{self.element()} -= {rate} * ({first}/c1) / (sqrt({second}/c2) + {eps})",
        )


class _Muon(_Parameter):
    """torch.optim.Muon: the parameter is cut into blocks [rows, columns] by its finite factors."""

    states = ("m", "u")

    def __init__(self, names: ModuleNames, table: MuTable, settings: Settings, row: ParameterRow) -> None:
        super().__init__(names, table, settings, row)
        rows, columns = self.value.leaves()
        # The Gram matrix is over the columns, or, if these alone grow with the width, over the rows.
        self._flip = self.rank == VECTOR and any(a.is_width for a in columns)
        self._finite = [tuple(a for a in axis if not a.is_width) for axis in (rows, columns)]
        self._sides = [sizes_of(axis)[0] for axis in self._finite]

    def declarations(self) -> Iterator[str]:
        yield from super().declarations()
        yield from self.declared("z", [STEPS + 1, *self.family])
        if self.rank == HIDDEN:
            columns, width = self._sides[1], self.shape[1]
            blocks = _bracket([columns, columns]) if columns > 1 else ""
            yield f"matrix {self.called('gram')}{blocks} : [{width}, {width}] = 0"

    def statements(self) -> Iterator[str]:
        state, update, gradient = self.element("m"), self.element("u"), self.called('g')
        # torch's `lerp`: an average of gradients, and not their sum as in SGD.
        step = f"muon_momentum*{state} + (1 - muon_momentum)*{gradient}" if self.settings.muon_nesterov else state
        yield from self.looped(
            f"{gradient} = {self.gradient}",
            f"{state} = muon_momentum*{state} + (1 - muon_momentum)*{gradient}",
            f"{update} = {step}",
        )
        yield f"{self.called('norm')} = {self._norm()}"
        yield from self.looped(f"{self._z('0', self.letters)} = {update} / {self.called('norm')}")
        yield f"for h in range({STEPS}):"
        for line in (*self._gram(), *self._next()):
            yield "    " + line
        yield from self.looped(*self.decayed(), f"{self.element()} -= {self._rate()} * {self._z(STEPS, self.letters)}")

    def _rate(self) -> str:
        """With the factor of torch's adjustment at the base width."""
        table = self.table
        power = adjustment(self.value.axes, table.adjust)
        ratio = Fraction(table.base, table.traced.widths[0])
        rows, columns = (
            size[0] * ratio ** sum(a.is_width for a in axis)
            for size, axis in zip(self.value.sizes, self.value.leaves(), strict=True)
        )
        factor = {
            "original": max(1.0, float(rows / columns)) ** 0.5,
            "match_rms_adamw": 0.2 * float(max(rows, columns)) ** 0.5,
        }.get(table.adjust, 1.0)
        return self.scaled("eta" if factor == 1 else f"{factor!r}*eta", self.row.exponents.lr + power)

    def _norm(self) -> str:
        # torch bounds the norm from below by 1e-7, which only a gradient that vanishes meets.
        u = self.element("u")
        if self.rank == HIDDEN and not self.family:
            return f"norm({u})"
        square = {HIDDEN: f"norm({u})**2", VECTOR: f"dot({u}, {u})", NUMBER: f"{u}**2"}[self.rank]
        return f"sqrt({_total(square, self.letters, self.family)})"

    def _z(self, step: object, letters: Sequence[str]) -> str:
        return f"{self.called('z')}[{', '.join((str(step), *letters))}]"

    def _block(self, step: object, other: str, mine: str) -> str:
        """A block of Z by the indices of the summed side and of the side of the Gram matrix."""
        row, column = (mine, other) if self._flip else (other, mine)
        indices = [*split(row, self._finite[0]), *split(column, self._finite[1])]
        return self._z(step, indices)

    def _gram(self) -> Iterator[str]:
        """A[i, j], the sum over the other side's blocks k of Z[k, i].T @ Z[k, j]."""
        mine, other = self._sides if self._flip else self._sides[::-1]
        loops = [(letter, mine) for letter in ("i", "j") if mine > 1]
        i, j = ("i", "j") if mine > 1 else ("0", "0")
        target = f"{self.called('gram')}{'[i, j]' if mine > 1 else ''}"

        def product(k: str) -> str:
            left, right = self._block("h", k, i), self._block("h", k, j)
            return {HIDDEN: f"{left}.T @ {right}", VECTOR: f"dot({left}, {right})", NUMBER: f"{left} * {right}"}[
                self.rank
            ]

        if self.rank != HIDDEN:
            text = _total(product("k"), ["k"], [other]) if other > 1 else product("0")
            yield from nested(*_unzipped(loops), [f"{target} = {text}"])
            return
        # `sum` is not for matrices: the first block is stored, and the others are added.
        lines = [f"{target} = {product('0')}"]
        if other > 1:
            lines += [f"for k in range(1, {other}):", f"    {target} += {product('k')}"]
        yield from nested(*_unzipped(loops), lines)

    def _next(self) -> Iterator[str]:
        """Z[h + 1] = Z (a + b A + c A @ A), in torch's numbers."""
        mine, other = self._sides if self._flip else self._sides[::-1]
        a = self.called("gram")
        loops = [("k", other)] * (other > 1) + [("i", mine)] * (mine > 1)
        k, i = ("k" if other > 1 else "0"), ("i" if mine > 1 else "0")
        new, old = self._block("h + 1", k, i), self._block("h", k, i)
        if self.rank != HIDDEN:
            gram = f"{a}[i, j]" if mine > 1 else a
            square = f"sum({a}[i, l]*{a}[l, j] for l in range({mine}))" if mine > 1 else f"{a}**2"
            factor = f"(-4.7750*{gram} + 2.0315*{square})"
            moved = f"{factor} * {self._block('h', k, 'j' if mine > 1 else '0')}"
            total = f"sum({moved} for j in range({mine}))" if mine > 1 else moved
            yield from nested(*_unzipped(loops), [f"{new} = 3.4445*{old} + {total}"])
            return
        if mine == 1:
            yield from nested(
                *_unzipped(loops), [f"{new} = 3.4445*{old} - 4.7750*{old} @ {a} + 2.0315*{old} @ {a} @ {a}"]
            )
            return
        moved = self._block("h", k, "j")
        yield from nested(
            *_unzipped(loops),
            [
                f"{new} = 3.4445*{old}",
                f"for j in range({mine}):",
                f"    {new} -= 4.7750*{moved} @ {a}[j, i]",
                f"    for l in range({mine}):",
                f"        {new} += 2.0315*{moved} @ {a}[j, l] @ {a}[l, i]",
            ],
        )


class _Frozen(_Parameter):
    """A parameter that stays what it is at the start."""

    def statements(self) -> Iterator[str]:
        yield from ()


_OPTIMIZERS: dict[str, type[_Parameter]] = {"sgd": _Sgd, "adamw": _AdamW, "muon": _Muon, FROZEN: _Frozen}


def nested(letters: Sequence[str], sizes: Sequence[int], lines: Sequence[str]) -> Iterator[str]:
    """Lines inside of loops."""
    indent = ""
    for letter, size in zip(letters, sizes, strict=True):
        yield f"{indent}for {letter} in range({size}):"
        indent += "    "
    yield from (indent + line for line in lines)


def _unzipped(loops: Sequence[tuple[str, int]]) -> tuple[list[str], list[int]]:
    return [letter for letter, _ in loops], [size for _, size in loops]


def _bracket(indices: Sequence[object]) -> str:
    return f"[{', '.join(map(str, indices))}]" if indices else ""


def _total(text: str, letters: Sequence[str], sizes: Sequence[int]) -> str:
    loops = " ".join(f"for {k} in range({size})" for k, size in zip(letters, sizes, strict=True))
    return f"sum({text} {loops})" if loops else text
