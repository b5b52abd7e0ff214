"""abc- and abcd-parametrizations of a perceptron with L hidden layers (TP IV, Definition 3.1; TP IVb, section 2.2).

    h^1 = W^1 xi,   x^l = phi(h^l),   h^{l+1} = W^{l+1} x^l,   f = W^{L+1} x^L
    W^l = n^{-a_l} w^l,   w^l_ij ~ N(0, n^{-2 b_l}),
    SGD:       w^l <- w^l - eta n^{-c_l} g,            g the gradient with respect to w^l
    adaptive:  w^l <- w^l - eta n^{-c_l} Q(n^{d_l} g)  Q entrywise, as in Adam and SignSGD

Layers are counted from 1 to L + 1 as in the papers; tuples hold them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.abc.exponents import HALF, all_of, equal, exponent, plus

if TYPE_CHECKING:
    from tensorprog.abc.exponents import Exponent

SGD_NAMES = ("SP", "NTP", "MFP", "muP")
ADAPTIVE_NAMES = ("SP", "NTP", "muP")
NAMES = SGD_NAMES


@dataclass(frozen=True, slots=True)
class Parametrization:
    """The exponents of each of the L + 1 layers; `d` is None for SGD."""

    a: tuple[Exponent, ...]
    b: tuple[Exponent, ...]
    c: tuple[Exponent, ...]
    d: tuple[Exponent, ...] | None = None

    @classmethod
    def of(cls, a: Sequence[object], b: Sequence[object], c: object, d: object = None) -> Parametrization:
        """A parametrization from numbers, texts or SymPy expressions; a single `c` or `d` is that of every layer.

        Raises:
            ValueError: if the lengths differ, there is no hidden layer, or something is no exponent.
        """
        layers = len(a)
        if layers < 2:
            raise ValueError(f"a perceptron has at least one hidden layer and a readout: give 2 exponents, not {layers}")
        for name, values in (("b", b), ("c", c), ("d", d)):
            if isinstance(values, Sequence) and not isinstance(values, str) and len(values) != layers:
                raise ValueError(f"`{name}` has {len(values)} exponents, and `a` has {layers}")

        def each(value: object) -> tuple[Exponent, ...]:
            return tuple(map(exponent, _each(value, layers)))

        return cls(each(a), each(b), each(c), None if d is None else each(d))

    @property
    def depth(self) -> int:
        """L, the number of hidden layers."""
        return len(self.a) - 1

    @property
    def adaptive(self) -> bool:
        """Whether updates go through an entrywise function, so that `d` matters."""
        return self.d is not None

    def spread(self, layer: int) -> Exponent:
        """a_l + b_l: entries of W^l are of order n to minus that at initialization."""
        return plus(self.a[layer - 1], self.b[layer - 1])

    def shifted(self, theta: Sequence[object]) -> Parametrization:
        """The equivalent parametrization with a_l larger by theta_l: the same function at every step.

        SGD: a += theta, b -= theta, c -= 2 theta (TP IV, Eq 5, where theta is the same for every layer because c is).
        Adaptive: a += theta, b -= theta, c -= theta, d += theta (TP IVb, Eq 2.5).
        """
        shifts = [exponent(t) for t in theta]
        minus = [_times(t, -1) for t in shifts]
        step = minus if self.adaptive else [_times(t, -2) for t in shifts]
        return Parametrization(
            _added(self.a, shifts), _added(self.b, minus), _added(self.c, step),
            None if self.d is None else _added(self.d, shifts))

    def canonical(self) -> Parametrization:
        """The equivalent parametrization without multipliers: a_l = 0 for every layer."""
        return self.shifted([_times(a, -1) for a in self.a])

    def is_equivalent(self, other: Parametrization) -> bool:
        """Whether two parametrizations train the same functions, by the symmetry."""
        if self.depth != other.depth or self.adaptive != other.adaptive:
            return False
        # Of equivalent parametrizations, a = 0 chooses one.
        one, two = self.canonical(), other.canonical()
        pairs = [pair for x, y in zip(one._all(), two._all()) for pair in zip(x, y)]
        return all_of(*(equal(x, y) for x, y in pairs)) is True

    def _all(self) -> tuple[tuple[Exponent, ...], ...]:
        return (self.a, self.b, self.c) if self.d is None else (self.a, self.b, self.c, self.d)


def named(name: str, depth: int, adaptive: bool = False) -> Parametrization:
    """A parametrization by its name: TP IV, Table 1, and for adaptive optimizers TP IVb, Table 1.

    SGD: 'SP' (with learning rate 1/n), 'NTP', 'MFP' (one hidden layer), 'muP'. Adaptive: 'SP', 'NTP', 'muP'.

    Raises:
        ValueError: for another name, a depth below 1, and for MFP of more than one hidden layer.
    """
    if depth < 1:
        raise ValueError(f"a perceptron has at least one hidden layer, not {depth}")
    known = ADAPTIVE_NAMES if adaptive else SGD_NAMES
    key = next((k for k in known if k.lower() == name.lower()), None)
    if key is None:
        raise ValueError(f"there is no parametrization '{name}'; there are {', '.join(known)}")
    if key == "MFP" and depth != 1:
        raise ValueError("the mean-field parametrization is that of one hidden layer")
    return (_adaptive if adaptive else _sgd)(key, depth)


def _sgd(name: str, depth: int) -> Parametrization:
    hidden = depth - 1
    rows: dict[str, tuple[Sequence[object], Sequence[object], object]] = {
        # c = 1 is the largest stable rate: 2 a + c >= 1 of the readout.
        "SP": ([0] * (depth + 1), [0] + [HALF] * depth, 1),
        "NTP": ([0] + [HALF] * depth, [0] * (depth + 1), 0),
        # muP of one hidden layer, shifted by 1/2.
        "MFP": ([0, 1], [0, 0], -1),
        "muP": ([-HALF] + [0] * hidden + [HALF], [HALF] * (depth + 1), 0),
    }
    return Parametrization.of(*rows[name])


def _adaptive(name: str, depth: int) -> Parametrization:
    hidden = depth - 1
    rows: dict[str, tuple[Sequence[object], Sequence[object], object, object]] = {
        "SP": ([0] * (depth + 1), [0] + [HALF] * depth, 0, 0),
        "NTP": ([0] + [HALF] * depth, [0] * (depth + 1), [HALF] + [1] * hidden + [HALF],
                [HALF] + [1] * hidden + [HALF]),
        "muP": ([0] * depth + [1], [0] + [HALF] * hidden + [0], [0] + [1] * hidden + [0], 1),
    }
    return Parametrization.of(*rows[name])


def _each(value: object, layers: int) -> Sequence[object]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * layers


def _added(values: Sequence[Exponent], more: Sequence[Exponent]) -> tuple[Exponent, ...]:
    if len(values) != len(more):
        raise ValueError(f"the symmetry takes one shift for each of the {len(values)} layers, not {len(more)}")
    return tuple(plus(v, m) for v, m in zip(values, more))


def _times(value: Exponent, factor: int) -> Exponent:
    return value * factor if isinstance(value, Fraction) else exponent(value * factor)
