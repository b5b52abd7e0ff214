"""From a limit program to its derivation: equations, responses, simplifications, names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import SupportsIndex

import sympy
from sympy import Expr, Function, S

from tensorprog.compiled import Compiled
from tensorprog.derive.binders import Binder
from tensorprog.derive.common import name_common_expectations
from tensorprog.derive.draws import DRAW, with_law_of_draws
from tensorprog.derive.entries import Trace
from tensorprog.derive.formula import formula
from tensorprog.derive.indices import Renaming
from tensorprog.derive.integers import RELATIONS, to_integer
from tensorprog.derive.merging import merged
from tensorprog.derive.notes import FUNCTIONS, ORTHOGONAL, STEIN, STEIN_ORTHOGONAL
from tensorprog.derive.rules import SECTIONS, Derivation, Index, Rule, Step
from tensorprog.derive.simplify import Simplification, Simplified, Vectors, simplified
from tensorprog.derive.symbols import Atom, Cov, GaussianPart, element, expectation, index, z
from tensorprog.derive.system import HatSite, build_system
from tensorprog.derive.titles import placeholder_names
from tensorprog.derive.trace import trace
from tensorprog.diagnostics import Reporter
from tensorprog.ir.program import For, Initial, MatrixType, Program, walk
from tensorprog.limit.laws import DeclaredLaws
from tensorprog.passes.limit import leading_terms
from tensorprog.passes.simplify import simplify
from tensorprog.series.declared_draws import DeclaredDraws, is_finite


class LawBase(Function):
    """A declared distribution; subclasses are made by `declared_law`."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:
        # The class is made at run time: a pickle names it by what it is made from.
        return declared_law, (type(self).__name__, self.args)


def declared_law(name: str, args: tuple[Expr, ...]) -> LawBase:
    """The distribution of a name, with its arguments."""
    return _law_class(name)(*args)


@cache
def _law_class(name: str) -> type[LawBase]:
    return type(name, (LawBase,), {})


def derive(compiled: Compiled) -> Derivation:
    """The limit of a compiled program as equations (TP IV, Definition 7.3 and Theorem 7.4)."""
    written = written_out(compiled)
    # A limit that reads Gaussian numbers (the kernel regime): their law is another program's limit (TP I, Corollary
    # 5.5).
    if compiled.gaussians is not None and compiled.by_series:
        law = written_out(replace(compiled, limit=compiled.gaussians.covariances))
        laws = _declared_laws(compiled, compiled.limit)
        declared = tuple(_law_of_declared(laws, d) for d in compiled.gaussians.declared)
        written = with_law_of_draws(written, law, declared, compiled.gaussians)
    words = set(re.findall(r"\w+", compiled.original.source.text))
    rules = tuple(dict.fromkeys(name_common_expectations(written.rules, words)))
    return replace(written, rules=rules, steps=steps_of(rules))


def _declared_laws(compiled: Compiled, limit: Program) -> DeclaredLaws:
    return DeclaredLaws(limit, compiled.powers, compiled.env, RELATIONS)


def _law_of_declared(laws: DeclaredLaws, declared: DeclaredDraws) -> Rule:
    """The law of what one draw reads of a declared array without a width."""
    indices, law = _declaration(laws, declared.initial)
    left = element(declared.input, (DRAW, *(b.symbol for b in indices)))
    return Rule("drawn", left, law, tuple(Index(b.symbol, b.low, b.high) for b in indices))


def _declaration(laws: DeclaredLaws, initial: Initial) -> tuple[tuple[Binder, ...], LawBase]:
    """The indices of the entries of a declared object, those of its family first, and their law."""
    family = [(index("k"), to_integer(e)) for e in initial.extents]
    axes = [(index(name), to_integer(e)) for name, e in zip("ij", initial.cell.tensor.shape)]
    law = declared_law(initial.law.name, tuple(laws.arguments(initial)))
    return tuple(Binder(s, S.Zero, size - 1) for s, size in (*family, *axes)), law


def written_out(compiled: Compiled) -> Derivation:
    """The derivation before common expectations get names."""
    limit = uncontracted(compiled)
    laws = _declared_laws(compiled, limit)
    read = trace(limit, compiled.original, laws)
    system = build_system(laws, read)
    result = simplified(system, initial_vectors(laws, read))
    return _Writer(laws, read, result).derivation()


def steps_of(rules: Iterable[Rule]) -> tuple[Step, ...]:
    """The steps of all rules in order, each once."""
    return tuple(dict.fromkeys(step for rule in rules for step in rule.steps))


def uncontracted(compiled: Compiled) -> Program:
    """The limit program before indices that only name the current iteration are dropped."""
    if compiled.by_series:
        return compiled.limit
    # Contraction makes of `h[t]` one cell that every iteration overwrites: formulas would lose the index that was
    # written.
    program = compiled.differentiated
    return simplify(leading_terms(program, compiled.powers, Reporter(program.source)))


def initial_vectors(laws: DeclaredLaws, read: Trace) -> Vectors:
    """The names of the initial vectors."""
    found = {read.labels.cell(i.cell): i for i in laws.program.initials
             if not isinstance(i.cell.type, MatrixType) and not is_finite(i)}
    return Vectors(frozenset(found), frozenset(name for name, i in found.items() if laws.is_centred(i)))


class _Writer:
    """The rules of a solved system, with readable names."""

    def __init__(self, laws: DeclaredLaws, read: Trace, result: Simplified):
        self.limit, self.laws, self.read, self.result, self.system = laws.program, laws, read, result, result.system
        self.names = placeholder_names(read, self.system)
        # Functions that are written into the definitions of others leave their numbers to those that are not.
        stems = [str(getattr(e.left, "base", e.left)) for e in read.functions]
        kept = [str(getattr(e.left, "base", e.left)) for e in self.system.functions]
        self.names |= {sympy.Symbol(old): sympy.Symbol(new) for old, new in zip(kept, stems)}
        loops = {index(s.var) for s in walk(self.limit.body) if isinstance(s, For)}
        taken = {str(s) for e in self.system.equations for s in (e.left.free_symbols | e.right.free_symbols)
                 if s not in loops and "#" not in str(s)}
        taken |= set(read.labels.taken)
        self.renaming = Renaming(loops, taken)
        self.explained = False

    def derivation(self) -> Derivation:
        rules = [self._initial(i) for i in self.limit.initials if not isinstance(i.cell.type, MatrixType)
                 and not (is_finite(i) and i.law.name == "zero")]
        rules.sort(key=lambda r: list(SECTIONS.values()).index(r.section))
        written: set[int] = set()
        for number, equation in enumerate(self.system.equations):
            kind = equation.kind
            # ZNonlin is for vectors; a scalar's equation is the limit of a number, whatever its right side is made of.
            if kind == "nonlin" and not isinstance(equation.left, Atom):
                kind = "moment"
            steps = tuple(map(self._step, self.result.findings.get(number, ())))
            rules.append(self._rule(kind, equation.left, equation.right, equation.loops, equation.condition, steps))
            # Right after the first equation that uses a product come its response and, of an orthogonal matrix, the
            # rest.
            for site in self._sites(equation.right):
                if site not in written:
                    written.add(site)
                    rules += self._response(site)
        rules += [self._rule("matrix", e.left, e.right, e.loops, e.condition, note=FUNCTIONS if k == 0 else "")
                  for k, e in enumerate(self.system.functions)]
        rules += [self._rule("matrix", e.left, e.right, e.loops) for e in self.system.matrices]
        rules += [rule for number in range(len(self.system.hats)) for rule in self._covariances(number)]
        families = tuple(sorted({(s.matrix, s.transposed) for s in self.system.hats}))
        found = merged(rules, {str(name) for name in self.names.values()})
        return Derivation(self.limit.source.name, found, families, steps_of(found))

    def _step(self, finding: Simplification) -> Step:
        own = tuple(b.symbol for b in finding.loops)
        summed = sorted({s for e in finding.formulas for s in e.free_symbols if "#" in s.name} - set(own), key=str)
        mapping = self.renaming.free((*own, *summed))
        used = frozenset(s.name for s in mapping.values())
        text = finding.text
        for expr in finding.formulas:
            text = text.replace("{}", formula(self.renaming.apply(expr.xreplace(self.names), mapping, used)), 1)
        return Step(finding.name, text)

    def _sites(self, expr: Expr) -> list[int]:
        found = {self.system.hats.index(s[0]) for a in expr.atoms(GaussianPart) if (s := self.system.site_of(a))}
        return sorted(found)

    def _rule(self, kind: str, left: Expr, right: Expr, loops: tuple[Binder, ...], condition: sympy.Basic = S.true,
              steps: tuple[Step, ...] = (), note: str = "") -> Rule:
        mapping = self.renaming.free(tuple(b.symbol for b in loops))
        used = frozenset(s.name for s in mapping.values())
        show = lambda e: self.renaming.apply(e.xreplace(self.names), mapping, used)
        indices = tuple(Index(mapping[b.symbol], show(b.low), show(b.high)) for b in loops)
        return Rule(kind, show(left), show(right), indices, condition.xreplace(mapping), note, steps)

    def _initial(self, initial: Initial) -> Rule:
        label = self.read.labels.cell(initial.cell)
        indices, law = _declaration(self.laws, initial)
        time = (self.read.first_times[label],) if label in self.read.first_times else ()
        items = (*time, *(b.symbol for b in indices))
        if is_finite(initial):
            return self._rule("drawn", element(label, items), law, indices)
        return self._rule("initial", z(label, items), law, indices)

    def _response(self, number: int) -> list[Rule]:
        site = self.system.hats[number]
        pieces = self.result.responses.pieces[number]
        if not pieces:
            return []
        orthogonal = self.system.scales[site.matrix].orthogonal
        stein = STEIN_ORTHOGONAL if orthogonal else STEIN
        note = stein if any(p.rough for p in pieces) else ""
        rules = [self._rule("dot", site.dot, self.result.responses.total(number), site.loops, site.condition, note=note)]
        if orthogonal:
            rest = self.result.responses.written_rest(number)
            note, self.explained = "" if self.explained else ORTHOGONAL, True
            rules.append(self._rule("rest", site.rest, rest, site.loops, site.condition, note=note))
        return rules

    def _covariances(self, number: int) -> list[Rule]:
        site = self.system.hats[number]
        return [self._covariance(site, other) for other in self.system.hats[number:]
                if other.matrix == site.matrix and other.transposed == site.transposed]

    def _covariance(self, site: HatSite, other: HatSite) -> Rule:
        # Cov(Zhat[t, a], Zhat[s, b]): the second use runs over copies of its indices.
        copies = {b.symbol: self.system.scope.fresh(b.symbol, b.low, b.high) for b in other.loops}
        loops = tuple(Binder(copies[b.symbol], b.low.xreplace(copies), b.high.xreplace(copies)) for b in other.loops)
        factor = self.system.scales[site.matrix].factor(site.transposed)
        value = factor * expectation(site.arg * self.result.responses.rest(other, copies))
        # Members of a family W[l] are independent: the covariance is there where the indices agree.
        if isinstance(site.label, sympy.Indexed):
            for mine, theirs in zip(site.label.indices, other.label.indices, strict=True):
                theirs = theirs.xreplace(copies)
                same = value.xreplace({theirs: mine}) if theirs.is_Symbol else value
                value = sympy.KroneckerDelta(mine, theirs) * same
        return self._rule("covariance", Cov(site.hat, other.hat.xreplace(copies)), self.result.zero(value),
                          (*site.loops, *loops))
