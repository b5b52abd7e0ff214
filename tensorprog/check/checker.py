"""From the syntax tree to the typed program.

In: a `syntax.tree.Module`. Out: an `ir.Program`, with functions expanded, every temporary typed, and every name
resolved to storage. Mistakes go to the reporter, several in one run; the checker goes on after each with the next
statement. It infers no powers of n and takes no gradients: those are passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tensorprog.check.context import Ahead, Context
from tensorprog.check.never_assigned import report_never_assigned
from tensorprog.check.outputs import output
from tensorprog.check.read_ahead import kinds_ahead, names_ahead
from tensorprog.check.statements import assigned_places, check_block, reassigned_names
from tensorprog.diagnostics import Reporter, Span
from tensorprog.ir.made_by_updates import check_functions
from tensorprog.ir.program import Program
from tensorprog.syntax import tree


def check(module: tree.Module, reporter: Reporter) -> Program:
    """Check a program.

    Raises:
        ProgramError: with every mistake found.
    """
    ahead = names_ahead(module)
    names = {name for group in ahead.values() for name in group}
    kinds = kinds_ahead(lambda known: _checked(module, Reporter(reporter.source), ahead, known, trying=True), names)
    ctx = _checked(module, reporter, ahead, kinds)
    statements = [s for s in module.statements if not isinstance(s, tree.OutputStmt)]
    if not (ctx.outputs or ctx.samples) and not any(d.severity == "error" for d in reporter.found):
        ctx.error("TP232", "the program has no output", _end(statements), help="end it with `output f, loss`, say")
    reporter.raise_errors()
    program = Program(reporter.source, tuple(ctx.widths), tuple(ctx.sizes), tuple(ctx.params), tuple(ctx.inputs),
                      tuple(ctx.initials), tuple(ctx.builder.block), tuple(ctx.outputs),
                      tuple(ctx.samples))
    # Of a program without other mistakes: what a wrong statement would have assigned must not be called never assigned.
    report_never_assigned(program, reporter)
    check_functions(program, reporter)
    reporter.raise_errors()
    return program


def _checked(module: tree.Module, reporter: Reporter, ahead: Mapping[int, tuple[str, ...]], kinds: Mapping[str, Ahead],
             trying: bool = False) -> Context:
    """The context after all statements, whose mistakes went to the reporter."""
    ctx = Context(reporter, differentiated_names(module), ahead, kinds, trying)
    ctx.reassigned = reassigned_names(module.statements)
    ctx.later = _first_places(module)
    ctx.functions = frozenset(s.name.name for s in module.statements if isinstance(s, tree.FuncDef))
    for statement in module.statements:
        if isinstance(statement, tree.OutputStmt):
            output(ctx, statement)
        else:
            check_block(ctx, (statement,))
    return ctx


def differentiated_names(module: tree.Module) -> frozenset[str]:
    """Names that a gradient is taken with respect to, through the parameters of functions."""
    functions = {s.name.name: s for s in module.statements if isinstance(s, tree.FuncDef)}
    calls = [n for n in _nodes(module) if isinstance(n, tree.CallExpr)]
    # By name, before anything is checked: such names keep one cell, and inputs and parameters are stored.
    names = {_base(a) for c in calls if c.func in ("grad", "ntk") for a in (c.wrt or c.args[1:])}
    while True:
        more = {_base(a) for c in calls if c.func in functions
                for a, p in zip(c.args, functions[c.func].params) if p.name in names}
        if more <= names:
            return frozenset(n for n in names if n)
        names |= more


def _first_places(module: tree.Module) -> dict[str, Span | None]:
    """Where each name is first assigned or declared at the top level, loops and branches included."""
    places: dict[str, Span | None] = {}
    for statement in module.statements:
        for name, span in assigned_places(statement):
            places.setdefault(name, span)
    return places


def _end(statements: Sequence[tree.Statement]) -> Span | None:
    """The place after the last statement."""
    span = statements[-1].span if statements else None
    return span and Span(span.end_line, span.end_column, span.end_line, span.end_column)


def _base(node: tree.Expr) -> str | None:
    while isinstance(node, tree.IndexExpr):
        node = node.base
    return node.id if isinstance(node, tree.Name) else None


def _nodes(value: object) -> Iterator[tree.TreeNode]:
    # Not by recursion: a sum of a thousand terms is a thousand deep.
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, tree.TreeNode):
            yield item
            stack.extend(getattr(item, f) for f in item.__dataclass_fields__ if f != "span")
