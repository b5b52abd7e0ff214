"""The laws of entries: of vectors, and of matrices by their variance. (Laws of whole matrices are in `ensembles`.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    EntryLaw("uniform", ("lo", "hi"), lambda args: ConstExpr("+", args), spread={0: 1, 1: 1}, size={0: 1, 1: 1}),
    EntryLaw("bernoulli", ("p",), atoms=True),
    EntryLaw("sparse_normal", ("rho", "variance"), _zero, atoms=True, spread={1: 2}, size={1: 2}),
    EntryLaw("constant", ("c",), spread={0: 1}, size={0: 1}))}


def centre(law: Law) -> ConstExpr | None:
    """What a law is symmetric about, or twice that; None: it is not symmetric."""
    found = LAWS.get(law.name)
    return found.centre(law.args) if found is not None and found.centre is not None else None
