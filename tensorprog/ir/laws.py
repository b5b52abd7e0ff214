"""The laws of entries: of vectors, and of matrices by their variance. (Laws of whole matrices are in `ensembles`.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tensorprog.ir.program import ConstExpr, Law

Arguments = tuple[ConstExpr, ...]


@dataclass(frozen=True, slots=True)
class EntryLaw:
    """A law of independent entries.

    Attributes:
        name, parameters: as in the language.
        centre: what the law is symmetric about, as a constant of the program (for `uniform`, twice that); None: it is not
            symmetric.
        atoms: whether single values have a probability.
        spread: the arguments that are multiplied by a power of c where the spread of the entries is multiplied by c: lengths by
            the first, variances by the second.
        size: the same where the entries are multiplied by c, their means included.
    """

    name: str
    parameters: tuple[str, ...]
    centre: Callable[[Arguments], ConstExpr] | None = None
    atoms: bool = False
    spread: Mapping[int, int] = field(default_factory=dict)
    size: Mapping[int, int] = field(default_factory=dict)


def _zero(args: Arguments) -> ConstExpr:
    return ConstExpr("num", leaf=0.0)


LAWS: dict[str, EntryLaw] = {law.name: law for law in (
    EntryLaw("normal", ("mean", "variance"), lambda args: args[0], spread={1: 2}, size={0: 1, 1: 2}),
    EntryLaw("rademacher", (), _zero, atoms=True),
    # Only whether the centre vanishes is asked, so that lo + hi serves as well as its half.
    EntryLaw("uniform", ("lo", "hi"), lambda args: ConstExpr("+", args), spread={0: 1, 1: 1}, size={0: 1, 1: 1}),
    # 0 or 1, whatever p is: neither its spread nor its size is a multiple of an argument.
    EntryLaw("bernoulli", ("p",), atoms=True),
    EntryLaw("sparse_normal", ("rho", "variance"), _zero, atoms=True, spread={1: 2}, size={1: 2}),
    EntryLaw("constant", ("c",), spread={0: 1}, size={0: 1}))}


def leading_arguments(law: Law, own: Fraction | None, powers: Sequence[Fraction]) -> tuple[bool, ...]:
    """Which arguments of a law count in the limit: those whose part of the entries is of the order of these, n**own. Others
    become zero, as the mean of `normal(1/n, 1)`, or the variance of `normal(1, 1/n)`, which goes with the square.

    Args:
        own: the power of the object; None: it is zero.
        powers: those of the arguments.
    """
    # What is no size, as the p of `bernoulli`, always counts.
    size = LAWS[law.name].size if law.name in LAWS else {}
    return tuple(own is None or k not in size or power == size[k] * own for k, power in enumerate(powers))


def centre(law: Law) -> ConstExpr | None:
    """What a law is symmetric about, or twice that; None: it is not symmetric."""
    found = LAWS.get(law.name)
    return found.centre(law.args) if found is not None and found.centre is not None else None
