"""Which parametrizations have a limit, and what it does: TP IV, Theorems 3.3 to 3.8 and 5.6; TP IVb, section 2.2.

Everything follows from a few exponents. With o = a_{L+1} + b_{L+1} (the readout's entries are of order n^{-o}) and
u = 2 a_{L+1} + c_{L+1} for SGD (what an update adds to them is of order n^{-u}):

    SGD:       r_l = min(o, u) + c_l - 1 + 2 a_l + [l = 1]           (Definition 3.2, Proposition 5.3)
    adaptive:  r_l = c_l + a_l - 1 + [l = 1]                         (TP IVb, section 2.2)
    r = min over l <= L of r_l; features move by n^{-r}, those of layer l by n^{-min over m <= l of r_m}

Learning rates of layers of their own are a generalization for SGD: in TP IV all c_l are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from tensorprog.abc.exponents import HALF, all_of, any_of, at_least, equal, more_than, plus, smallest
from tensorprog.abc.parametrization import ADAPTIVE_NAMES, SGD_NAMES, Parametrization, named
from tensorprog.arguments import ArgumentKind, entry_point

if TYPE_CHECKING:
    from tensorprog.abc.exponents import Condition, Exponent


PARAMETRIZATION = ArgumentKind("a `Parametrization`", lambda value: isinstance(value, Parametrization), "named('muP', 2)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition that a limit must meet. `said` is the condition as a formula, `broken` what happens without it."""

    said: str
    holds: Condition
    broken: str
    of: Literal["stable", "faithful"] = "stable"


@dataclass(frozen=True, slots=True)
class Layer:
    """What becomes of one layer, l = 1 .. L + 1. `r` is r_l (of the readout, how much its updates do); `moves` the r of
    the features x^l, None for the readout."""

    number: int
    r: Exponent
    moves: Exponent | None
    learns_features: Condition | None
    updated_maximally: Condition
    initialized_maximally: Condition


@dataclass(frozen=True, slots=True)
class Classification:
    """The limit of a parametrization. Conditions are bools, or SymPy conditions where exponents are symbols.

    Attributes:
        stable: no activation, output or update blows up, and no preactivation vanishes at initialization.
        faithful: the gradients that an adaptive optimizer sees are of order one (always True for SGD).
        nontrivial: training changes the function that the network computes.
        feature_learning: stable, nontrivial and r = 0; the limit is deterministic.
        kernel_regime: stable, nontrivial and r > 0: kernel gradient descent (SGD), or its analogue with an operator.
        random_output: the output at initialization is a Gaussian process and not 0.
        names: the named parametrizations that are equivalent by the symmetry.
        requirements: the conditions of stability and faithfulness, one by one.
    """

    parametrization: Parametrization
    r: Exponent
    layers: tuple[Layer, ...]
    stable: Condition
    faithful: Condition
    nontrivial: Condition
    feature_learning: Condition
    kernel_regime: Condition
    random_output: Condition
    names: tuple[str, ...]
    requirements: tuple[Requirement, ...]

    @property
    def r_l(self) -> tuple[Exponent, ...]:
        """r_l of the hidden layers, l = 1 .. L."""
        return tuple(layer.r for layer in self.layers[:-1])

    @property
    def maximal(self) -> Condition:
        """Whether every layer is updated, and the readout initialized, as large as may be: muP (Theorem 5.6)."""
        return all_of(self.stable, *(layer.updated_maximally for layer in self.layers),
                      *(layer.initialized_maximally for layer in self.layers))


@entry_point(p=PARAMETRIZATION)
def classify(p: Parametrization) -> Classification:
    """The classification of a parametrization of perceptrons with a nonlinearity that is not linear."""
    hidden = tuple(_r(p, layer) for layer in range(1, p.depth + 1))
    r = smallest(hidden)
    readout = _readout_update(p)
    stability = _stability(p, r, readout)
    faithfulness = _faithfulness(p)
    stable = all_of(*(req.holds for req in stability))
    # Theorem 3.4: the output moves by updates of the readout (u = 1), or by features that move meeting its initial
    # entries (o + r = 1).
    readout_moves, readout_carries = equal(readout, 0), equal(plus(p.spread(p.depth + 1), r), 1)
    nontrivial = all_of(stable, any_of(readout_moves, readout_carries))
    layers = [Layer(k, r_k, smallest(hidden[:k]), all_of(stable, equal(smallest(hidden[:k]), 0)), equal(r_k, 0),
                    equal(p.spread(k), 0 if k == 1 else HALF)) for k, r_k in enumerate(hidden, 1)]
    layers.append(Layer(p.depth + 1, readout, None, None, readout_moves, readout_carries))
    return Classification(
        p, r, tuple(layers), stable, all_of(*(req.holds for req in faithfulness)), nontrivial,
        # Theorems 3.6 and 3.8; one of the two holds of whatever is stable and nontrivial (Corollary 3.9).
        all_of(nontrivial, equal(r, 0)), all_of(nontrivial, more_than(r, 0)),
        all_of(stable, equal(p.spread(p.depth + 1), HALF)), _names(p), (*stability, *faithfulness))


def _r(p: Parametrization, layer: int) -> Exponent:
    """r_l of a hidden layer."""
    # What an update does is its product with the features that made it: n times an average, and for the input of order
    # one.
    a, c, first = p.a[layer - 1], p.c[layer - 1], 1 if layer == 1 else 0
    if p.adaptive:
        return plus(c, a, Fraction(first - 1))
    # A gradient with respect to features is as large as the readout's entries, initial or added, whichever are larger.
    gradient = smallest((p.spread(p.depth + 1), plus(p.a[-1], p.a[-1], p.c[-1])))
    return plus(gradient, c, a, a, Fraction(first - 1))


def _readout_update(p: Parametrization) -> Exponent:
    """How much the readout's updates do to the output: n to minus that."""
    return plus(p.a[-1], p.c[-1], Fraction(-1)) if p.adaptive else plus(p.a[-1], p.a[-1], p.c[-1], Fraction(-1))


def _stability(p: Parametrization, r: Exponent, readout: Exponent) -> tuple[Requirement, ...]:
    """Theorem 3.3: at initialization, of features, of the output."""
    last = p.depth + 1
    requirements = [Requirement("a_1 + b_1 = 0", equal(p.spread(1), 0),
                                _off("h^1", p.spread(1), Fraction(0)))]
    requirements += [Requirement(f"a_{k} + b_{k} = 1/2", equal(p.spread(k), HALF), _off(f"h^{k}", p.spread(k), HALF))
                     for k in range(2, last)]
    requirements.append(Requirement(f"a_{last} + b_{last} >= 1/2", at_least(p.spread(last), HALF),
                                    "the output grows with the width at initialization"))
    requirements += [Requirement(f"r_{k} >= 0", at_least(_r(p, k), 0),
                                 f"the learning rate of W^{k} is too large: the first update makes h^{k} grow with the "
                                 "width") for k in range(1, last)]
    size = f"a_{last} + c_{last} >= 1" if p.adaptive else f"2 a_{last} + c_{last} >= 1"
    requirements.append(Requirement(size, at_least(readout, 0), f"the learning rate of W^{last} is too large: its first "
                                    "update makes the output grow with the width"))
    requirements.append(Requirement(f"a_{last} + b_{last} + r >= 1", at_least(plus(p.spread(last), r), 1),
                                    "features that move meet the initial readout: the output grows with the width"))
    return tuple(requirements)


def _off(name: str, spread: Exponent, wanted: Fraction) -> str:
    if isinstance(spread, Fraction):
        return f"the entries of {name} are of order n^({wanted - spread}) at initialization"
    return f"the entries of {name} are not of order one at initialization"


def _faithfulness(p: Parametrization) -> tuple[Requirement, ...]:
    """TP IVb: what the optimizer's function is applied to is of order one. Nothing for SGD."""
    if p.d is None:
        return ()
    # Gradients of W^l, l <= L, go through the readout's entries, n^-(a + b), and the multiplier n^-a_l; the readout's
    # own meet features of order one.
    last = p.depth + 1
    wanted = [plus(p.a[k - 1], p.spread(last)) for k in range(1, last)] + [p.a[-1]]
    said = [f"d_{k} = a_{k} + a_{last} + b_{last}" for k in range(1, last)] + [f"d_{last} = a_{last}"]
    requirements = [Requirement(text, equal(d, w), f"the gradients of W^{k} that the optimizer sees are not of order one",
                                "faithful")
                    for k, (text, d, w) in enumerate(zip(said, p.d, wanted), 1)]
    requirements.append(Requirement(f"b_{last} <= c_{last}", at_least(p.c[-1], p.b[-1]),
                                    f"updates of W^{last} outgrow its initial entries, and with them the gradients",
                                    "faithful"))
    return tuple(requirements)


def _names(p: Parametrization) -> tuple[str, ...]:
    names = ADAPTIVE_NAMES if p.adaptive else SGD_NAMES
    return tuple(n for n in names if (n != "MFP" or p.depth == 1) and p.is_equivalent(named(n, p.depth, p.adaptive)))
