"""Named simplifications, in the order in which they are applied. Each leaves a `Step` that says what it did."""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr, Mul, S

from tensorprog.derive import onsager
from tensorprog.derive.binders import Binder
from tensorprog.derive.dependence import Dependence
from tensorprog.derive.parity import Flips
from tensorprog.derive.responses import ResponsePieces
from tensorprog.derive.symbols import Dot, E, Response
from tensorprog.derive.system import LimitSystem


@dataclass(frozen=True, slots=True)
class Vectors:
    """The names of the initial vectors, and of those whose law does not change with the sign."""

    names: frozenset[str]
    symmetric: frozenset[str]


@dataclass(frozen=True, slots=True)
class Simplification:
    """A step before its formulas are written: `text` has a `{}` for each expression."""

    name: str
    text: str
    formulas: tuple[Expr, ...]
    loops: tuple[Binder, ...] = ()


@dataclass(slots=True)
class Simplified:
    """A system with its responses known and its zeros removed."""

    system: LimitSystem
    responses: ResponsePieces
    symmetries: Flips
    findings: dict[int, list[Simplification]] = field(default_factory=dict)

    def found(self, equation: int, finding: Simplification) -> None:
        """Record a step of an equation."""
        self.findings.setdefault(equation, []).append(finding)

    def zero(self, expr: Expr) -> Expr:
        """The expression with every expectation that vanishes by symmetry replaced by zero."""
        return expr.xreplace(dict.fromkeys(self.zeros(expr), S.Zero))

    def zeros(self, expr: Expr) -> dict[Expr, str]:
        """The expectations in an expression that vanish, each with what it is odd in."""
        found = {e: self.symmetries.vanishing(e.args[0]) for e in sorted(expr.atoms(E), key=str)
                 if not isinstance(e.args[0], Response)}
        return {e: reason for e, reason in found.items() if reason is not None}


def simplified(system: LimitSystem, vectors: Vectors) -> Simplified:
    """Apply every simplification, in the order of this file."""
    # `cancel_onsager_terms` changes equations in place; a step shows what they were.
    before = [e.right for e in system.equations]
    cancelled = cancel_onsager_terms(system, vectors)
    result = responses_without_zeros(system, vectors)
    for number, text in cancelled.items():
        equation = system.equations[number]
        result.found(number, Simplification("onsager-cancellation", text, (equation.left, before[number]), equation.loops))
    drop_absent_responses(result)
    drop_odd_expectations(result)
    return result


def cancel_onsager_terms(system: LimitSystem, vectors: Vectors) -> dict[int, str]:
    """Remove the responses that other terms cancel; a description for each equation in which that happened."""
    def solve(trial: LimitSystem) -> ResponsePieces:
        return responses_without_zeros(trial, vectors).responses

    if not onsager.has_correction(system):
        return {}
    before = [e.right for e in system.equations]
    direct = onsager.put_in(system, solve)
    texts = {n: "the responses in {} = {} cancel against its other terms" for n, e in enumerate(system.equations)
             if any(e is d for d in direct)}
    induced = {id(e) for e, _ in onsager.by_induction(system, solve)}
    for number, equation in enumerate(system.equations):
        if id(equation) in induced:
            texts[number] = ("{} = {}: by induction over the iterations, the responses cancel against the terms that "
                             "are subtracted")
        elif equation.right != before[number] and number not in texts:
            texts[number] = "the explicit responses in {} = {} cancel against its other terms"
    return texts


def responses_without_zeros(system: LimitSystem, vectors: Vectors) -> Simplified:
    """Responses, with those whose coefficients vanish by symmetry dropped until no more do."""
    dropped: frozenset[tuple[int, int]] = frozenset()
    zeros: dict[int, list[Simplification]] = {}
    # What responds to less is odd in more, so that responses that are dropped may make others vanish.
    while True:
        responses = ResponsePieces(system, Dependence(system, dropped).solve())
        symmetries = Flips(system, responses, vectors.names, vectors.symmetric)
        found: dict[tuple[int, int], str] = {}
        for number, pieces in enumerate(responses.pieces):
            for other in sorted({p.other for p in pieces}):
                reasons = [_reason(symmetries, p.coefficient) for p in pieces if p.other == other]
                # As long as one use of the other site has a coefficient, the value may depend on it, and its zeros say
                # nothing.
                if reasons[0] is not None and all(reasons):
                    found[number, other] = reasons[0]
                    site = system.hats[number]
                    zeros.setdefault(number, []).append(Simplification(
                        "odd-symmetry", "{} has no term in {}, since the coefficient is odd in " + reasons[0],
                        (site.dot, system.hats[other].arg), site.loops))
        if not found:
            result = Simplified(system, responses, symmetries)
            for number, findings in zeros.items():
                for finding in findings:
                    result.found(system.hats[number].position, finding)
            return result
        dropped |= frozenset(found)


def _reason(symmetries: Flips, coefficient: Expr) -> str | None:
    """Under which flip a factor of the coefficient is odd."""
    for factor in Mul.make_args(coefficient):
        if isinstance(factor, E) and (reason := symmetries.vanishing(factor.args[0])) is not None:
            return reason
    return None


def drop_absent_responses(result: Simplified) -> None:
    """Zdot = 0 where nothing that ran before depends on the transposed product."""
    for number, equation in enumerate(result.system.equations):
        gone = {dot: S.Zero for dot in equation.right.atoms(Dot)
                if (found := result.system.site_of(dot)) is not None
                and not result.responses.pieces[result.system.hats.index(found[0])]}
        for dot in sorted(gone, key=str):
            result.found(number, Simplification(
                "no-response", "{} = 0: {} responds to no earlier product with the transposed matrix",
                (dot, dot.args[2]), equation.loops))
        equation.right = equation.right.xreplace(gone)


def drop_odd_expectations(result: Simplified) -> None:
    """Expectations of odd quantities are zero; this includes products with something independent of mean zero."""
    for number, equation in enumerate(result.system.equations):
        for expectation, reason in result.zeros(equation.right).items():
            result.found(number, Simplification("odd-symmetry", "{} = 0: it is odd in " + reason, (expectation,),
                                         equation.loops))
        equation.right = result.zero(equation.right)
