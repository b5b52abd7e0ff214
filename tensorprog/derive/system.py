"""The equations of a trace with every product of a matrix written out, and the search for the equation of a
variable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import sympy
from sympy import Expr, S

from tensorprog.derive.binders import Binder, IndexScope
from tensorprog.derive.closed_forms import ClosedForms
from tensorprog.derive.entries import LimitEquation, MatrixState, Trace, TracedProduct
from tensorprog.derive.matrices import Base, initial
from tensorprog.derive.symbols import Atom, Dot, GaussianPart, Prod, Rest, Z, matrix_label
from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.ensembles import Ensemble, ensemble_of
from tensorprog.ir.program import Initial, MatrixType, Program
from tensorprog.limit.laws import DeclaredLaws


@dataclass(frozen=True, slots=True)
class MatrixScale:
    """What products with a matrix, and with its transpose, multiply by; whether it is a multiple of an orthogonal one.

    Attributes:
        factors: of covariances and responses: the entries' variance times the width that is summed over.
        shares: of a vector that products with an orthogonal matrix and with its transpose leave.
    """

    factors: tuple[Expr, Expr]
    shares: tuple[Expr, Expr]
    orthogonal: bool = False

    def factor(self, transposed: bool) -> Expr:
        """That of covariances and responses."""
        return self.factors[transposed]

    def share(self, transposed: bool) -> Expr:
        """That of vectors, for an orthogonal matrix."""
        return self.shares[transposed]


@dataclass(slots=True)
class HatSite:
    """A product with an initial matrix; `label` is the matrix, a member of its family for the site's loops;
    `position` is the number of its equation."""

    matrix: str
    label: Expr
    transposed: bool
    arg: Expr
    loops: tuple[Binder, ...]
    condition: sympy.Basic = S.true
    position: int = 0

    @property
    def hat(self) -> Expr:
        return GaussianPart(self.label, S(int(self.transposed)), self.arg)

    @property
    def dot(self) -> Expr:
        return Dot(self.label, S(int(self.transposed)), self.arg)

    @property
    def rest(self) -> Expr:
        return Rest(self.label, S(int(self.transposed)), self.arg)

    @property
    def symbols(self) -> tuple[sympy.Symbol, ...]:
        return tuple(b.symbol for b in self.loops)


@dataclass(slots=True)
class LimitSystem:
    equations: list[LimitEquation] = field(default_factory=list)
    hats: list[HatSite] = field(default_factory=list)
    scales: dict[str, MatrixScale] = field(default_factory=dict)
    scope: IndexScope = field(default_factory=IndexScope)
    open_states: tuple[str, ...] = ()
    functions: list[LimitEquation] = field(default_factory=list)
    matrices: list[LimitEquation] = field(default_factory=list)
    _defined: dict[Expr, list[tuple[int, dict[Expr, Expr], bool]]] = field(default_factory=dict)
    _sites: dict[Expr, tuple[HatSite, dict[Expr, Expr]] | None] = field(default_factory=dict)

    def definitions(self, atom: Expr) -> Iterator[tuple[LimitEquation, dict[Expr, Expr], bool]]:
        """The equations that may define a variable, with the loops' values, and whether that is certain."""
        for number, mapping, certain in self.numbered_definitions(atom):
            yield self.equations[number], mapping, certain

    def numbered_definitions(self, atom: Expr) -> list[tuple[int, dict[Expr, Expr], bool]]:
        """`definitions` by the equations' numbers; left sides never change once a system is built."""
        if atom not in self._defined:
            self._defined[atom] = list(self._definitions(atom))
        return self._defined[atom]

    def _definitions(self, atom: Expr) -> Iterator[tuple[int, dict[Expr, Expr], bool]]:
        for number, equation in enumerate(self.equations):
            if equation.left.func == atom.func and equation.left.args[:1] == atom.args[:1] or isinstance(atom, Prod):
                found = match_all(equation.left, atom, {b.symbol for b in equation.loops})
                if found is not None and not self._outside(equation, atom, found[0]):
                    yield number, found[0], found[1]

    def _outside(self, equation: LimitEquation, atom: Expr, mapping: dict[Expr, Expr]) -> bool:
        """Whether the equation cannot be about the variable, by the ranges of indices."""
        # An equation for a fixed index, as that of `v[0]`, is not about `v[t + 1]` with t >= 0.
        fixed = (pair for pair in zip(equation.left.args, atom.args, strict=True) if pair[0].is_Integer)
        if any(self.scope.inside(left, *self.scope.bounds(asked)) is False for left, asked in fixed):
            return True
        return any(b.symbol in mapping and self.scope.inside(
            mapping[b.symbol], b.low.xreplace(mapping), b.high.xreplace(mapping)) is False for b in equation.loops)

    def site_of(self, atom: Expr) -> tuple[HatSite, dict[Expr, Expr]] | None:
        """The site of a Gaussian part, a response or a rest."""
        if atom not in self._sites:
            self._sites[atom] = next(self._matching_sites(atom), None)
        return self._sites[atom]

    def _matching_sites(self, atom: Expr) -> Iterator[tuple[HatSite, dict[Expr, Expr]]]:
        for site in self.hats:
            own = {GaussianPart: site.hat, Dot: site.dot, Rest: site.rest}[atom.func]
            found = match_all(own, atom, set(site.symbols))
            if found is not None and found[1]:
                yield site, found[0]


def build_system(laws: DeclaredLaws, trace: Trace) -> LimitSystem:
    """Write out the sites of a trace."""
    system = LimitSystem(scope=trace.scope, scales=dict(_scales(laws, trace)))
    forms = ClosedForms(trace)
    for entry in trace.entries:
        if isinstance(entry, LimitEquation):
            system.equations.append(entry)
        else:
            _write_out(system, forms, entry)
    system.open_states = tuple(sorted(forms.open))
    _require_closed(laws.program, trace, system)
    for state in trace.states.values():  # What is open is known when all have been looked at.
        _matrix_rule(forms, state)
    rules = [_matrix_rule(forms, state) for state in trace.states.values()]
    system.functions, system.matrices = _used(trace.functions, system.equations, rules), rules
    return system


def _used(functions: list[LimitEquation], equations: list[LimitEquation], rules: list[LimitEquation]) -> list[LimitEquation]:
    """The functions of matrices that are named elsewhere: what others are made of is written into their definitions."""
    # From the last one back: functions are made of earlier ones only.
    read: list[Expr] = [*(e.right for e in rules), *(p.args[0] for e in equations for p in e.right.atoms(Prod))]
    found: list[LimitEquation] = []
    for equation in reversed(functions):
        name = str(getattr(equation.left, "base", equation.left))
        if any(name in {str(s) for s in r.free_symbols} for r in read):
            found.append(equation)
            read.append(equation.right)
    return found[::-1]


def _matrix_rule(forms: ClosedForms, state: MatrixState) -> LimitEquation:
    """What a matrix is at the head of an iteration; where there is no closed form, what an iteration makes of it."""
    formal = tuple(Binder(s, *forms.scope.ranges[s]) for s in state.formal)
    loops = (*(Binder(s, *forms.scope.ranges[s]) for s in state.around), state.loop, *formal)
    # Counting down, the head of iteration t has the index t + 1 (`carried.Head.head`).
    shift = 0 if state.forward else 1
    label = matrix_label(state.label, (*state.around, state.loop.symbol + shift, *state.formal))
    if state.label not in forms.open:
        return LimitEquation(label, forms.resolve(initial(label, state=True)).expression(), loops, S.true, "matrix")
    after = matrix_label(state.label, (*state.around, state.loop.symbol + (1 if state.forward else 0), *state.formal))
    return LimitEquation(after, state.step.expression(), loops, S.true, "matrix")


def _require_known(limit: Program, declared: Initial, ensemble: Ensemble) -> None:
    """The rules written here are those of independent entries and of orthogonal matrices.

    Raises:
        ProgramError: TP726, for a matrix whose law has an operator of its own.
    """
    if callable(ensemble.operator):
        name = declared.cell.display or declared.cell.name
        raise ProgramError([Diagnostic(
            "TP726", f"there are no formulas for the {ensemble.name} matrix `{name}`", declared.cell.span, help=(
                "`tpc run` computes its limit; declare it as `normal(0, 1/n)` for the formulas of independent entries"))],
            limit.source)


def _require_closed(limit: Program, trace: Trace, system: LimitSystem) -> None:
    """Products with a matrix without closed form are not written out, so that what they tell of vectors is not known.

    Raises:
        ProgramError: TP726, if such a matrix is made of an orthogonal one.
    """
    found = list(system.open_states)
    for name in found:  # It grows by the states that these are made of.
        terms = [t for s in trace.states.values() if s.label == name for m in (s.start, s.step) for t in m.terms]
        bases = [t.factor for t in terms if isinstance(t.factor, Base)]
        found += [n for n in dict.fromkeys(_matrix_name(b.label) for b in bases if b.state) if n not in found]
        for matrix in (_matrix_name(b.label) for b in bases if not b.state and not b.made):
            if system.scales[matrix].orthogonal:
                declared = next(i for i in limit.initials if trace.labels.cell(i.cell) == matrix)
                raise ProgramError([Diagnostic(
                    "TP726", f"there are no formulas for the orthogonal matrix `{matrix}`: a loop makes a matrix of it that is not "
                    "that times a number plus outer products", declared.cell.span, help=(
                        "`tpc run` computes its limit; write the matrix of every iteration in terms of initial ones"))], limit.source)


def _scales(laws: DeclaredLaws, trace: Trace) -> Iterator[tuple[str, MatrixScale]]:
    for declared in laws.program.initials:
        if isinstance(declared.cell.type, MatrixType) and declared.law.name == "normal":
            ensemble = ensemble_of(declared)
            _require_known(laws.program, declared, ensemble)
            factors, shares = (tuple(of(transposed) for transposed in (False, True)) for of in (
                partial(laws.scale, declared), partial(laws.share, declared.cell)))
            yield trace.labels.cell(declared.cell), MatrixScale(factors, shares, ensemble.orthogonal)


def _write_out(system: LimitSystem, forms: ClosedForms, site: TracedProduct) -> None:
    matrix = forms.resolve(site.matrix)
    matrix = matrix.transpose if site.transposed else matrix

    def base(factor: Base, transposed: bool) -> Expr:
        if factor.state or factor.made:
            return Prod(factor.label, S(int(transposed)), site.arg)
        hat = _hat_site(system, factor.label, transposed, site)
        # ZMatMul (TP IV, Definition 7.3): Z^{W x} = Zhat^{W x} + Zdot^{W x}.
        return hat.hat + hat.dot

    right = matrix.product(site.arg, base, site.ratio)
    # A product with an open state is its own name, and needs no equation.
    if right != site.left:
        system.equations.append(LimitEquation(site.left, right, site.loops, site.condition, "matmul"))


def _matrix_name(label: Expr) -> str:
    return str(label.base.label) if isinstance(label, sympy.Indexed) else str(label)


def _hat_site(system: LimitSystem, label: Expr, transposed: bool, site: TracedProduct) -> HatSite:
    made = HatSite(_matrix_name(label), label, transposed, site.arg, site.loops, site.condition, len(system.equations))
    # The same product in two places is one Gaussian part.
    for other in system.hats:
        if other.hat == made.hat and other.loops == made.loops:
            return other
    system.hats.append(made)
    return made


# --- matching ------------------------------------------------------------------------------------------------


def match_all(pattern: Expr, query: Expr, variables: set[Expr]) -> tuple[dict[Expr, Expr], bool] | None:
    """Values of the pattern's variables that make it the query; the flag is False where that hangs on the values of
    indices. None where no values do."""
    mapping: dict[Expr, Expr] = {}
    certain = _match(pattern, query, variables, mapping)
    return None if certain is None else (mapping, certain)


def _match(pattern: Expr, query: Expr, variables: set[Expr], mapping: dict[Expr, Expr]) -> bool | None:
    if isinstance(pattern, Atom) or (pattern.args and not is_index(pattern)):
        if pattern.func != query.func or len(pattern.args) != len(query.args):
            return None
        if isinstance(pattern, Z) and pattern.args[0] != query.args[0]:
            return None
        certain = True
        for p, q in zip(pattern.args, query.args, strict=True):
            found = _match(p, q, variables, mapping)
            if found is None:
                return None
            certain &= found
        return certain
    return match_index(pattern, query, variables, mapping)


def is_index(expr: sympy.Basic) -> bool:
    """Whether an expression is an index, or a part of one."""
    return (isinstance(expr, Expr) and bool(expr.is_integer) and not expr.has(Atom)
            and not isinstance(expr, sympy.Indexed))


def match_index(pattern: Expr, query: Expr, variables: set[Expr], mapping: dict[Expr, Expr]) -> bool | None:
    """Whether a value of the pattern's variable, put into `mapping`, makes it the query: True, False (that hangs on
    the values of indices) or None (never)."""
    pattern = pattern.xreplace(mapping)
    if pattern == query:
        return True
    # `t + c` with one unknown t is solved for it; `t + s` or 2*t is equal or not by the values of indices.
    unknown = [v for v in variables if v not in mapping and pattern.has(v)]
    if len(unknown) == 1 and not (pattern - unknown[0]).has(unknown[0]):
        mapping[unknown[0]] = sympy.expand(query - (pattern - unknown[0]))
        return True
    if not (is_index(pattern) and is_index(query)):
        return None
    return None if sympy.expand(pattern - query).is_Integer else False
