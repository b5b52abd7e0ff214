"""The syntax tree, built by lark's callbacks while lines are parsed: `TreeBuilder`.

Some mistakes are accepted by the grammar in order to be explained here; they raise `Mistake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lark import Token

from tensorprog.diagnostics import Diagnostic, Span
from tensorprog.syntax import tree
from tensorprog.syntax.problems import FOREIGN_STATEMENTS
from tensorprog.syntax.tokens import INTEGER, spelled, token_span

ATTRIBUTE_HELP = {
    **dict.fromkeys(("shape", "size", "ndim"), "sizes have names: declare `size P`"),
    "grad": "write `grad(loss, v)`", "pi": "write `3.141592653589793`", "e": "write `exp(1)`",
    "inf": "write a large number", "t": "write `W.T` for the transpose",
}


class Mistake(Exception):
    """Something that the grammar accepts in order to be explained here."""

    def __init__(self, code: str, message: str, span: Span | None, help: str):
        self.diagnostic = Diagnostic(code, message, span, help=help)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a statement that is no node of its own."""

    value: Any
    span: Span


Child = Token | tree.TreeNode | _Part


def _span_of(child: Child) -> Span:
    span = token_span(child) if isinstance(child, Token) else child.span
    assert span is not None
    return span


def _span(children: Sequence[Child]) -> Span:
    return _span_of(children[0]).to(_span_of(children[-1]))


def _nodes(children: Iterable[Child]) -> tuple[Any, ...]:
    return tuple(child for child in children if not isinstance(child, Token))


def _only(nodes: tuple[Any, ...]) -> Any:
    return nodes[0] if nodes else None


def _kinds(children: Iterable[Child]) -> list[str]:
    return [child.type if isinstance(child, Token) else "" for child in children]


class TreeBuilder:
    """One method for each rule or alias of the grammar; the children are all tokens and nodes of the rule."""

    # lists of statements, kept as pairs (rest, last) while lines are read

    def module(self, c: list[Any]) -> tree.Module:
        statements = _statements(c[0])
        return tree.Module(statements, span=_span(statements) if statements else None)

    def no_statements(self, c: list[Any]) -> None:
        return None

    def more_statements(self, c: list[Any]) -> tuple[Any, tree.Statement]:
        return c[0], c[1]

    def statement(self, c: list[Any]) -> tree.Statement:
        return c[0]

    def inline_suite(self, c: list[Any]) -> _Part:
        return _Part((c[1],), c[1].span)

    def block_suite(self, c: list[Any]) -> _Part:
        # Statements come as nested pairs: a tuple that grows by one at each line would be copied as often.
        body = _statements(c[3])
        return _Part(body, body[0].span.to(body[-1].span))

    # declarations

    def declared_name(self, c: list[Any]) -> tree.Declared:
        return tree.Declared(spelled(c[0]), span=token_span(c[0]))

    def declared(self, c: list[Any]) -> tree.Declared:
        return tree.Declared(spelled(c[0]), _nodes(c), span=_span(c))

    def width_decl(self, c: list[Any]) -> tree.WidthDecl:
        return tree.WidthDecl(c[1], _only(_nodes(c[2:])), span=_span(c))

    def size_decl(self, c: list[Any]) -> tree.SizeDecl:
        names = tuple(node for node in c if isinstance(node, tree.Declared))
        default = c[-1] if "EQUAL" in _kinds(c) else None
        if default and len(names) > 1:
            raise Mistake("TP100", "a default belongs to a single size", _span(c),
                           f"write `size {names[-1].name} = ...` on a line of its own")
        return tree.SizeDecl(names, default, span=_span(c))

    def param_decl(self, c: list[Any]) -> tree.ParamDecl:
        kind = "int" if "INT" in _kinds(c) else "real"
        return tree.ParamDecl(c[1], kind, _only(_nodes(c[2:])), span=_span(c))

    def input_decl(self, c: list[Any]) -> tree.InputDecl:
        kind = str(c[4]) if len(c) == 5 else "real"
        return tree.InputDecl(c[1], c[3].value, kind, span=_span(c))

    def matrix_decl(self, c: list[Any]) -> tree.MatrixDecl:
        return tree.MatrixDecl(c[1], c[3].value, c[4].value, span=_span(c))

    def vector_decl(self, c: list[Any]) -> tree.VectorDecl:
        return tree.VectorDecl(c[1], c[3].value, c[4].value, span=_span(c))

    def shape(self, c: list[Any]) -> _Part:
        return _Part(_nodes(c), _span(c))

    def random_law(self, c: list[Any]) -> _Part:
        return _Part(tree.LawExpr(spelled(c[1]), _nodes(c[2:]), span=_span(c[1:])), _span(c))

    def zero_law(self, c: list[Any]) -> _Part:
        if not isinstance(c[1], tree.NumberExpr) or c[1].value != 0:
            raise Mistake("TP100", "a matrix or vector starts at random or at zero", c[1].span,
                           "write `= 0`, or a law such as `~ normal(0, 1)`")
        return _Part(None, _span(c))

    # statements

    def assign(self, c: list[Any]) -> tree.Assign:
        target, op, value = c
        _check_target(target, op, value)
        return tree.Assign(target, str(op), value, span=_span(c))

    def bare_value(self, c: list[Any]) -> tree.Statement:
        # The grammar takes any value for a statement, so that what was meant can be said.
        if isinstance(c[0], tree.Compare) and c[0].ops == ("==",):
            raise Mistake("TP105", "`==` compares, it does not assign", c[0].span, "write `=` to assign")
        if isinstance(c[0], tree.Name) and c[0].id in FOREIGN_STATEMENTS:
            raise Mistake("TP108", f"there is no `{c[0].id}` statement", c[0].span, FOREIGN_STATEMENTS[c[0].id])
        raise Mistake("TP100", "this value is not used", c[0].span,
                       "write `name = ...` to keep it, or `output ...` for a result")

    def return_(self, c: list[Any]) -> tree.Return:
        return tree.Return(c[1], span=_span(c))

    def output(self, c: list[Any]) -> tree.OutputStmt:
        return tree.OutputStmt(tuple(part.value for part in _nodes(c)), span=_span(c))

    def output_item(self, c: list[Any]) -> _Part:
        return _Part((c[0], c[2] if len(c) == 3 else None), _span(c))

    def pass_(self, c: list[Any]) -> tree.Pass:
        return tree.Pass(span=_span(c))

    def for_header(self, c: list[Any]) -> _Part:
        return _Part((c[1], _range_arguments(c[3:])), _span(c))

    def for_loop(self, c: list[Any]) -> tree.ForStmt:
        variable, arguments = c[0].value
        return tree.ForStmt(spelled(variable), arguments, c[1].value, span=_span(c), var_span=token_span(variable))

    def first_branch(self, c: list[Any]) -> _Part:
        return _Part((None, (c[1], c[2].value)), _span(c))

    def next_branch(self, c: list[Any]) -> _Part:
        return _Part((c[0].value, (c[2], c[3].value)), _span(c))

    def if_only(self, c: list[Any]) -> tree.IfStmt:
        return tree.IfStmt(_statements(c[0].value), (), span=_span(c))

    def if_else(self, c: list[Any]) -> tree.IfStmt:
        return tree.IfStmt(_statements(c[0].value), c[2].value, span=_span(c))

    def parameters(self, c: list[Any]) -> _Part:
        return _Part(_nodes(c), _span(c))

    def func_block(self, c: list[Any]) -> tree.FuncDef:
        return tree.FuncDef(c[1], c[2].value, c[3].value, None, span=_span(c))

    def func_line(self, c: list[Any]) -> tree.FuncDef:
        return tree.FuncDef(c[1], c[2].value, (), c[4], span=_span(c))

    # expressions

    def tuple_expr(self, c: list[Any]) -> tree.TupleExpr:
        return tree.TupleExpr(_nodes(c), span=_span(c))

    def if_exp(self, c: list[Any]) -> tree.IfExp:
        return tree.IfExp(c[2], c[0], c[4], span=_span(c))

    def bool_op(self, c: list[Any]) -> tree.BoolOp:
        return tree.BoolOp(str(c[1]), _nodes(c), span=_span(c))

    def not_(self, c: list[Any]) -> tree.Not:
        return tree.Not(c[1], span=_span(c))

    def compare(self, c: list[Any]) -> tree.Compare:
        return tree.Compare(_nodes(c), tuple(str(op) for op in c[1::2]), span=_span(c))

    def binary(self, c: list[Any]) -> tree.Binary:
        return tree.Binary(str(c[1]), c[0], c[2], span=_span(c))

    def unary(self, c: list[Any]) -> tree.Unary:
        return tree.Unary(str(c[0]), c[1], span=_span(c))

    def index(self, c: list[Any]) -> tree.IndexExpr:
        return tree.IndexExpr(c[0], _nodes(c[1:]), span=_span(c))

    def slice(self, c: list[Any]) -> tree.Slice:
        colon = _kinds(c).index("COLON")
        return tree.Slice(_only(tuple(c[:colon])), _only(tuple(c[colon + 1:])), span=_span(c))

    def attribute(self, c: list[Any]) -> tree.TransposeExpr:
        if c[2] != "T":
            raise Mistake("TP100", f"there is no `.{c[2]}`", _span(c[1:]), _attribute_help(c[0], c[2]))
        if isinstance(c[0], tree.NumberExpr):
            raise Mistake("TP100", "a number has no transpose", _span(c), "write `W.T` for a matrix `W`")
        return tree.TransposeExpr(c[0], span=_span(c))

    def name(self, c: list[Any]) -> tree.Name:
        return tree.Name(spelled(c[0]), span=_span(c))

    def number(self, c: list[Any]) -> tree.NumberExpr:
        # `2` may be an index, `2.` is a number: they are different in the tree.
        value = int(c[0]) if INTEGER.fullmatch(c[0]) else float(c[0])
        return tree.NumberExpr(value, span=_span(c))

    def parenthesized(self, c: list[Any]) -> tree.Expr:
        # No node: `unparse` puts parentheses where they are needed. The span has them, for carets.
        return replace(c[1], span=_span(c))

    def call(self, c: list[Any]) -> tree.CallExpr:
        kinds = _kinds(c)
        end = kinds.index("SEMICOLON") if "SEMICOLON" in kinds else len(c)
        return tree.CallExpr(spelled(c[0]), c[0].count("'"), _nodes(c[:end]), _nodes(c[end:]), span=_span(c),
                         func_span=token_span(c[0]))

    def comprehension(self, c: list[Any]) -> tree.Comprehension:
        if c[0].type == "PRIMED":
            raise Mistake("TP100", "a derivative is not taken of a sum over indices", token_span(c[0]),
                           f"write `{spelled(c[0])}(...)`")
        return tree.Comprehension(spelled(c[0]), c[2], tuple(c[3:-1]), span=_span(c))

    def clause(self, c: list[Any]) -> tree.Clause:
        end = _kinds(c).index("IF") if "IF" in _kinds(c) else len(c)
        return tree.Clause(spelled(c[1]), _range_arguments(c[3:end]), _nodes(c[end:]), span=_span(c),
                           var_span=token_span(c[1]))


def _attribute_help(base: tree.Expr, name: str) -> str:
    if isinstance(base, tree.Name) and base.id in ("self", "model", "net", "params"):
        return f"there are no objects: declare `{name}` at the top, and use it by that name"
    return ATTRIBUTE_HELP.get(name, "write `W.T` for the transpose")


def _statements(pairs: tuple[Any, Any] | None) -> tuple[Any, ...]:
    """The tuple that nested pairs ((None, a), b) stand for."""
    items = []
    while pairs is not None:
        pairs, last = pairs
        items.append(last)
    return tuple(reversed(items))


def _range_arguments(children: Sequence[Child]) -> tuple[Any, ...]:
    arguments = _nodes(children)
    if len(arguments) > 3:
        raise Mistake("TP110", "`range` takes one to three arguments", _span(children),
                       "write `range(stop)`, `range(start, stop)` or `range(start, stop, step)`")
    return arguments


def _check_target(target: tree.Expr, op: Token, value: tree.Expr) -> None:
    targets = target.items if isinstance(target, tree.TupleExpr) else (target,)
    for item in targets:
        if isinstance(item, tree.CallExpr):
            raise Mistake("TP111", "a call cannot be assigned to", item.span,
                           f"write `def {item.func}(x) = ...` for a function, `{item.func}[a] = ...` for a family")
        if not isinstance(item, tree.Name | tree.IndexExpr):
            raise Mistake("TP111", "this cannot be assigned to", item.span,
                           "assign to a name `h`, an element `h[t, a]` or several, `a, b`")
    if op != "=" and isinstance(target, tree.TupleExpr):
        raise Mistake("TP111", f"`{op}` updates one value at a time", target.span,
                       f"write one `{op}` for each value")
    if op != "=" and isinstance(value, tree.TupleExpr):
        raise Mistake("TP111", f"`{op}` takes a single value", value.span, f"write one `{op}` for each value")
