"""Training in the kernel regime as equations between numbers: kernel gradient descent, derived.

What training adds to a network is a sum of fixed vectors times numbers, and outputs are linear in it. So a step needs
no vectors: with S the sum over i of c_i B_i, an average that reads S is the sum over i of c_i <its gradient, B_i>. The
inner products are those of the tangent kernel (Jacot et al. 2018; TP II, Equation 10): `ntk` of two numbers that are
linear in S, the reading Y[a] and Z[i] = <B_i, S>, in a program that goes through the same passes as the user's. What
is left of the training loop moves the numbers c_i.

A program of another form, as one whose first terms change in training too, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tensorprog.diagnostics import ProgramError, Reporter
from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, substitute
from tensorprog.ir.places import Placed
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    For,
    KernelStmt,
    Let,
    MatrixType,
    Output,
    Program,
    Statement,
    Store,
    Var,
    Variable,
    Zero,
    cells_written,
    names_used,
    touched,
    walk,
)
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.differentiate import differentiate, used_names
from tensorprog.passes.forward_copies import forward_copies
from tensorprog.passes.hoist import hoisted, spread
from tensorprog.passes.kernels import plan_kernels
from tensorprog.passes.limit import leading_terms
from tensorprog.passes.localize import localize
from tensorprog.passes.powers import infer_powers
from tensorprog.passes.rewrite import in_loops, map_cells, map_indices, map_vars, with_own_variables
from tensorprog.passes.simplify import remove_unused
from tensorprog.series.coefficients import StepSource, SumsAsNumbers, all_flows, sources_of
from tensorprog.series.copies import Copier
from tensorprog.series.linear import NotSuperposable, StateDependence, has_width

Kernels = dict[tuple[Var, StepSource, Cell], Cell]


def superposed(program: Program, env: Mapping[str, object]) -> tuple[Program, frozenset[str], str]:
    """A limit program by series, whose declared objects are of order one, with training as equations between numbers; the
    names of the families of these, none if the program stays as it is; and why it does, if something is trained."""
    changed = cells_written(program.body)
    # The next terms of declared objects: they begin as zero, and training alone fills them.
    states = frozenset(i.cell for i in program.initials
                       if i.law.name == "zero" and i.cell in changed and has_width(i.cell))
    try:
        return (*_Superposition(program, states, env).program(), "") if states else (program, frozenset(), "")
    except NotSuperposable as reason:
        return program, frozenset(), str(reason)


class _Superposition:
    def __init__(self, program: Program, states: frozenset[Cell], env: Mapping[str, object]):
        self.whole, self.env = program, env
        self.builder = Builder(used_names(program))
        self.before, self.rest = self._split(states)
        self.linear = StateDependence(self.rest, states)
        self.flows = all_flows(self.linear)
        self.sources = sources_of(self.linear, self.flows, self.builder)
        self.readings = {at.var: at for at in self.linear.readings()}
        self.copier = Copier(self.linear, self.builder)

    def _split(self, states: frozenset[Cell]) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """What does not depend on states, and the rest."""
        # A loop that runs once, for `hoisted` to take apart.
        loop = For(self.builder.names.fresh("once"), IntLit(0), IntLit(1), 1, self.whole.body)
        fixed = {o.cell for o in self.whole.outputs} | {i.cell for i in self.whole.initials}
        before, rest = hoisted(spread(loop, fixed, self.builder), self.builder, lambda cell, _: cell not in states)
        if rest is None:
            raise NotSuperposable("nothing that is trained is read")
        body = contract_cells(self.whole.with_body((*before, *rest.body))).body
        body = forward_copies(body, frozenset(fixed) | states)
        return body[: len(before)], body[len(before):]

    def program(self) -> tuple[Program, frozenset[str]]:
        kernels: Kernels = {}
        for var, at in self.readings.items():
            for state in self.copier.states_of(at):
                for source in self.sources:
                    if state in source.coefficients:
                        rank = len(self._loops_of(at)) + len(source.loops)
                        kernels[var, source, state] = self.builder.cell(f"kernel_{state.display}", SCALAR, rank, role="user")
        made = self._limit_of((*self.before, *self._kernel_code(kernels)), tuple(kernels.values()))
        extents = {i.cell: i.extents for i in self.whole.initials}
        zeros = tuple(Zero(c) for s in self.sources for c in s.coefficients.values())
        numbers = SumsAsNumbers(self.linear, self.flows, self.sources, self.readings, kernels, extents,
                                self.builder).block(self.rest)
        numbers = _without_clashes((*zeros, *numbers), self.whole.with_body(made))
        names = frozenset(s.cell.name for s in numbers[: len(zeros)] if isinstance(s, Zero))
        found = remove_unused(replace(self.whole, body=(*made, *numbers)))
        own = {s.var for s in walk(numbers) if isinstance(s, Let) and has_width(s.var)}
        # Something other than an average reads what training adds.
        if any(isinstance(s, Let) and s.var in own for s in walk(found.body)):
            raise NotSuperposable("vectors are left")
        return found, names

    def _limit_of(self, body: tuple[Statement, ...], kernels: tuple[Cell, ...]) -> tuple[Statement, ...]:
        """The statements with the kernels taken, as their limit."""
        # Of its own: what fails here is no mistake of the user's, whose program has another way.
        reporter = Reporter(self.whole.source)
        outputs = tuple(Output(cell.name, cell) for cell in kernels)
        try:
            program = plan_kernels(replace(self.whole, body=body, outputs=outputs), reporter)
            program = differentiate(localize(program), reporter)
            powers = infer_powers(program, self.env, reporter)
            program = leading_terms(program, powers, reporter)
            reporter.raise_errors()
        except ProgramError as error:
            raise NotSuperposable("a kernel that cannot be taken") from error
        return program.body

    # --- kernels ---

    def _kernel_code(self, kernels: Kernels) -> Iterator[Statement]:
        """What computes the readings, the sources' inner products with states, and the kernels of both."""
        builder = self.builder
        reads: dict[Var, Cell] = {}
        adds: dict[tuple[StepSource, Cell], Cell] = {}
        for var, source, state in kernels:
            if var not in reads:
                at = self.readings[var]
                reads[var] = builder.cell(f"{var.name}_read", var.type, len(self.linear.context(at.loops)), role="user")
                yield from self.copier.reading(at, reads[var])
            if (source, state) not in adds:
                adds[source, state] = builder.cell(f"{state.name}_added", SCALAR, len(source.loops), role="user")
                yield from self.copier.source(source, state, adds[source, state])
        for (var, source, state), target in kernels.items():
            yield from self._kernel(self._loops_of(self.readings[var]), reads[var], source, adds[source, state], state,
                                    target)

    def _loops_of(self, at: Placed) -> tuple[For, ...]:
        """The loops around a reading within a step, and those over its entries."""
        axes = [For(f"{at.var.name}_{k}", IntLit(0), size, 1, ())
                for k, size in enumerate(at.var.type.shape)]
        return (*self.linear.context(at.loops), *axes)

    def _kernel(self, loops: tuple[For, ...], read: Cell, source: StepSource, added: Cell, state: Cell,
                target: Cell) -> tuple[Statement, ...]:
        """n times `ntk` of two numbers, or, with respect to a matrix, as many times as its rows are to n."""
        builder = self.builder
        # Each by itself: a reading and a source may stand in the same loop.
        (outer, ours), (inner, theirs) = (with_own_variables(around, builder.names) for around in (loops, source.loops))
        first, second = tuple(ours.values()), tuple(theirs.values())
        home = tuple(loop.var for loop in (*outer, *inner))
        with builder.nested() as made:
            value = builder.cell("tangent", SCALAR, home=home)
            builder.append(KernelStmt(value, "ntk", read, first, added, second, (Variable(state),)))
            number = builder.load(value, (), SCALAR)
            matrix, base = isinstance(state.type, MatrixType), self.whole.widths[0].name
            rows = state.matrix.rows if matrix else state.tensor.of_width
            # Gradients by a vector have entries of order 1/n and n of them; by a matrix, the inner product over n**2
            # entries is of order one as it is (TP II, Equation 10).
            if not matrix or rows != base:
                number = builder.mul(builder.width(rows), number)
            if matrix and rows != base:
                number = builder.div(number, builder.width(base))
            builder.append(Store(target, (*first, *second), number))
        return in_loops((*outer, *inner), tuple(made))


def _without_clashes(body: tuple[Statement, ...], other: Program) -> tuple[Statement, ...]:
    """Statements with other names for temporaries, loops and hidden cells whose names another program has for others."""
    builder = Builder(used_names(other))
    # Both went through the same passes, which name what they make in the same way.
    taken = names_used(other)
    shared = {c for s in walk(other.body) for c in touched(s)} | {i.cell for i in other.initials}
    cells = {c for s in walk(body) for c in touched(s)} - shared
    new_cells = {c: (replace(c, name=builder.names.fresh(c.name)), lambda items: items) for c in cells if c.name in taken}
    new_vars: dict[Var, Var] = {}

    def block(body: tuple[Statement, ...], loops: dict[str, IntExpr]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for statement in body:
            statement = map_vars(statement, lambda v: new_vars.get(v, v))
            if isinstance(statement, For):
                name = builder.names.fresh(statement.var)
                own = {**loops, statement.var: IntSym(name, "loop")}
                found.append(replace(statement, var=name, start=substitute(statement.start, loops),
                                     stop=substitute(statement.stop, loops), body=block(statement.body, own)))
                continue
            statement = map_indices(statement, loops)
            if isinstance(statement, Let):
                var = statement.var
                new_vars[var] = Var(builder.names.fresh(var.name), var.type)
                statement = replace(statement, var=new_vars[var])
            found.append(statement)
        return tuple(found)

    return map_cells(block(body, {}), new_cells)
