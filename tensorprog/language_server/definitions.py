"""Where names get their meaning: declarations, assignments, loop variables, functions and their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tensorprog.check.statements import assigned_places
from tensorprog.diagnostics import Span
from tensorprog.syntax import tree

DECLARED = {tree.WidthDecl: "width", tree.SizeDecl: "size", tree.ParamDecl: "parameter", tree.InputDecl: "input",
            tree.MatrixDecl: "matrix", tree.VectorDecl: "vector", tree.FuncDef: "function"}


@dataclass(frozen=True, slots=True)
class NameDefinition:
    """A name, the place where it is written, what it is ('assigned', 'loop variable', 'function parameter', or what it is
    declared as), and the part of the program in which it has this meaning (None: all of it)."""

    name: str
    span: Span
    kind: str
    region: Span | None = None


def definitions(module: tree.Module) -> tuple[NameDefinition, ...]:
    """All definitions, in the order of the text."""
    return tuple(sorted(set(_block(module.statements, None)), key=lambda d: d.span))


def definition_of(found: tuple[NameDefinition, ...], name: str, line: int, column: int) -> NameDefinition | None:
    """The definition that a name has at a place (1-based): the first one of the innermost region around it."""
    around = [d for d in found if d.name == name and (d.region is None or covers(d.region, line, column))]
    if not around:
        return None
    # Regions are nested, so that the one that begins last is the innermost.
    innermost = max((d.region.line, d.region.column) if d.region else (0, 0) for d in around)
    return next(d for d in around if ((d.region.line, d.region.column) if d.region else (0, 0)) == innermost)


def covers(span: Span, line: int, column: int) -> bool:
    """Whether a place is in a span or at its end."""
    return (span.line, span.column) <= (line, column) <= (span.end_line, span.end_column)


def _block(statements: tuple[tree.Statement, ...], region: Span | None) -> Iterator[NameDefinition]:
    for statement in statements:
        yield from _statement(statement, region)
        yield from _comprehensions(statement)


def _defined(name: str, span: Span | None, kind: str, region: Span | None) -> Iterator[NameDefinition]:
    if span is not None:
        yield NameDefinition(name, span, kind, region)


def _statement(statement: tree.Statement, region: Span | None) -> Iterator[NameDefinition]:
    match statement:
        case tree.ForStmt(var=var, var_span=span, body=body):
            yield from _defined(var, span, "loop variable", region)
            yield from _block(body, region)
        case tree.IfStmt(branches=branches, orelse=orelse):
            for _, body in branches:
                yield from _block(body, region)
            yield from _block(orelse, region)
        case tree.FuncDef(name=name, params=params, body=body):
            yield from _defined(name.name, name.span, "function", region)
            for p in params:
                yield from _defined(p.name, p.span, "function parameter", statement.span)
            yield from _block(body, statement.span)
        case _:
            kind = DECLARED.get(type(statement), "assigned")
            yield from (NameDefinition(name, span, kind, region) for name, span in assigned_places(statement) if span)


def _comprehensions(node: object) -> Iterator[NameDefinition]:
    """The variables of comprehensions in a statement's expressions."""
    if isinstance(node, tuple):
        for item in node:
            yield from _comprehensions(item)
    elif isinstance(node, tree.TreeNode):
        if isinstance(node, tree.Comprehension):
            for c in node.clauses:
                yield from _defined(c.var, c.var_span, "loop variable", node.span)
        for name in node.__dataclass_fields__:
            if not isinstance(getattr(node, name), Span):
                yield from _comprehensions(getattr(node, name))
