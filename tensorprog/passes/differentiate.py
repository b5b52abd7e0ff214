"""Replace every `GradStmt` by statements that compute the gradient (reverse mode; TP IV section 3, "backward pass").

A gradient is computed right after the scalar it differentiates, by a sweep that runs the statements since the
variable's last change backwards: loops reversed, every cell and temporary with a shadow that collects its adjoint.
Values of the forward pass that the sweep needs from inside loops are recorded in families indexed by those loops.
Gradients with one scalar share one sweep. Nothing is unrolled, and a gradient may itself be differentiated, since
it is replaced by ordinary statements before a later one is taken.

Not done here: powers of n (a gradient has no hidden factor), simplification, choosing what to keep in memory.
"""

from __future__ import annotations

from tensorprog.diagnostics import Reporter
from tensorprog.ir.build import Builder, Names
from tensorprog.ir.program import (
    Cell,
    GradStmt,
    Let,
    Load,
    MatrixTerm,
    MatrixType,
    MatStore,
    Program,
    Statement,
    Store,
    walk,
    written,
)
from tensorprog.passes.adjoint import Sweep
from tensorprog.passes.regions import Site, plan_sweep
from tensorprog.passes.rewrite import map_blocks


def differentiate(program: Program, reporter: Reporter) -> Program:
    """The program without `GradStmt`s.

    Raises:
        ProgramError: through `reporter`, for a gradient that cannot be taken (TP42x).
    """
    names = used_names(program)
    while True:
        pending = [s for s in walk(program.body) if isinstance(s, GradStmt)]
        if not pending:
            return program
        program = _take(program, pending, names, reporter)
        reporter.raise_errors()


def used_names(program: Program) -> Names:
    """Names that new cells and temporaries must not take."""
    names = Names()
    for declared in (*program.widths, *program.sizes, *program.params, *program.inputs):
        names.fresh(declared.name)
    for initial in program.initials:
        names.fresh(initial.cell.name)
    for statement in walk(program.body):
        if isinstance(statement, Let):
            names.fresh(statement.var.name)
        elif (cell := written(statement)) is not None:
            names.reserve(cell.name)
        elif hasattr(statement, "var"):
            names.fresh(statement.var)
    return names


def _take(program: Program, pending: list[GradStmt], names: Names, reporter: Reporter) -> Program:
    """Replace the gradients of one sweep."""
    site = plan_sweep(program, pending, reporter)
    if site is None:
        return program
    builder = Builder(names)
    builder.span = site.gradients[0].span
    sweep = Sweep(builder, site, reporter)
    code, results = sweep.run()
    insertions = dict(sweep.recorded)
    insertions.setdefault(id(site.anchor), ([], []))[1].extend(code)
    replaced = {id(g): _read_result(g, results[g.wrt], site, names) for g in site.gradients}
    return program.with_body(_rebuild(program.body, insertions, replaced))


def _read_result(gradient: GradStmt, result: Cell, site: Site, names: Names) -> list[Statement]:
    items = site.result_items(gradient) + gradient.wrt_items
    if isinstance(gradient.target.type, MatrixType):
        return [MatStore(gradient.target, (), (MatrixTerm(None, result, items),), span=gradient.span)]
    builder = Builder(names)
    builder.span = gradient.span
    value = builder.let(Load(result, items), gradient.target.type, gradient.target.name)
    return [*builder.block, Store(gradient.target, (), value, span=gradient.span)]


Insertions = dict[int, tuple[list[Statement], list[Statement]]]


def _rebuild(body: tuple[Statement, ...], insertions: Insertions, replaced: dict[int, list[Statement]]) -> tuple:
    out: list[Statement] = []
    for statement in body:
        before, after = insertions.get(id(statement), ((), ()))
        out += before
        if id(statement) in replaced:
            out += replaced[id(statement)]
        else:
            out.append(map_blocks(statement, lambda b: _rebuild(b, insertions, replaced)))
        out += after
    return tuple(out)
