"""Syntax tree to canonical text: `parse(unparse(module)) == module`, with the fewest parentheses.

Comments and the layout of the source are not in the tree; `format.py` keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from tensorprog.syntax import tree

INDENT = "    "

# How tightly an expression binds; an operand that binds less tightly than its place asks for takes parentheses.
CONDITIONAL, OR, AND, NOT, COMPARE, SUM, TERM, FACTOR, POWER, PRIMARY = range(10)

BINARY_LEVEL = {"+": SUM, "-": SUM, "*": TERM, "/": TERM, "//": TERM, "%": TERM, "@": TERM, "**": POWER}
BOOL_LEVEL = {"or": OR, "and": AND}


def unparse(module: tree.Module) -> str:
    """The text of a program, one statement a line."""
    return "".join(line + "\n" for line in _block(module.statements, ""))


# --- statements ----------------------------------------------------------------------------------------------


def _block(statements: Iterable[tree.Statement], indent: str) -> Iterator[str]:
    for statement in statements:
        yield from _statement(statement, indent)


def _statement(statement: tree.Statement, indent: str) -> Iterator[str]:
    match statement:
        case tree.ForStmt(var, arguments, body):
            yield f"{indent}for {var} in range({_list(arguments)}):"
            yield from _block(body, indent + INDENT)
        case tree.IfStmt(branches, orelse):
            for word, (condition, body) in zip(_branch_words(), branches):
                yield f"{indent}{word} {expression(condition)}:"
                yield from _block(body, indent + INDENT)
            if orelse:
                yield f"{indent}else:"
                yield from _block(orelse, indent + INDENT)
        case tree.FuncDef(name, params, body, None):
            yield f"{indent}def {name.name}({_names(params)}):"
            yield from _block(body, indent + INDENT)
        case _:
            yield indent + _line(statement)


def _branch_words() -> Iterator[str]:
    yield "if"
    while True:
        yield "elif"


def _line(statement: tree.Statement) -> str:
    match statement:
        case tree.WidthDecl(name, value):
            return f"width {name.name}{_default(value)}"
        case tree.SizeDecl(names, default):
            return f"size {_names(names)}{_default(default)}"
        case tree.ParamDecl(name, kind, default):
            return f"param {name.name}{' : int' if kind == 'int' else ''}{_default(default)}"
        case tree.InputDecl(name, shape, kind):
            return f"input {name.name} : [{_list(shape)}]{' int' if kind == 'int' else ''}"
        case tree.MatrixDecl(name, shape, law):
            return f"matrix {_declared(name)} : [{_list(shape)}] {_law(law)}"
        case tree.VectorDecl(name, shape, law):
            return f"vector {_declared(name)} : [{_list(shape)}] {_law(law)}"
        case tree.Assign(target, op, value):
            return f"{_value(target)} {op} {_value(value)}"
        case tree.FuncDef(name, params, _, body):
            assert body is not None
            return f"def {name.name}({_names(params)}) = {expression(body)}"
        case tree.Return(value):
            return f"return {_value(value)}"
        case tree.OutputStmt(items):
            return "output " + ", ".join(_output_item(value, alias) for value, alias in items)
        case tree.Pass():
            return "pass"
        case tree.ForStmt() | tree.IfStmt():
            raise AssertionError("a block is no line")
    assert_never(statement)


def _default(value: tree.Expr | None) -> str:
    return "" if value is None else f" = {expression(value)}"


def _declared(name: tree.Declared) -> str:
    return f"{name.name}[{_list(name.family)}]" if name.family else name.name


def _names(names: Iterable[tree.Declared]) -> str:
    return ", ".join(name.name for name in names)


def _law(law: tree.LawExpr | None) -> str:
    return "= 0" if law is None else f"~ {law.name}({_list(law.args)})"


def _output_item(value: tree.Expr, alias: tree.Declared | None) -> str:
    return expression(value) if alias is None else f"{expression(value)} as {alias.name}"


def _value(value: tree.Expr) -> str:
    """An expression where a tuple may stand."""
    return _list(value.items) if isinstance(value, tree.TupleExpr) else expression(value)


# --- expressions ---------------------------------------------------------------------------------------------


def expression(node: tree.Expr, place: int = CONDITIONAL) -> str:
    """The text of an expression, in parentheses if it binds less tightly than `place`."""
    text, level = _text_and_level(node)
    return text if level >= place else f"({text})"


def _text_and_level(node: tree.Expr) -> tuple[str, int]:
    match node:
        case tree.NumberExpr(value):
            return repr(value), PRIMARY
        case tree.Name(name):
            return name, PRIMARY
        case tree.IndexExpr(base, items):
            return f"{expression(base, PRIMARY)}[{', '.join(map(_index_item, items))}]", PRIMARY
        case tree.CallExpr(func, primes, args, wrt):
            after = f"; {_list(wrt)}" if wrt else ""
            return f"{func}{primes * chr(39)}({_list(args)}{after})", PRIMARY
        case tree.Comprehension(func, element, clauses):
            return f"{func}({expression(element)}{''.join(map(_clause, clauses))})", PRIMARY
        case tree.TransposeExpr(base):
            return f"{expression(base, PRIMARY)}.T", PRIMARY
        case tree.Unary(op, operand):
            # -x**2 is -(x**2), as in Python.
            return op + expression(operand, FACTOR), FACTOR
        case tree.Binary(op, left, right):
            return _binary(op, left, right), BINARY_LEVEL[op]
        case tree.Compare(operands, ops):
            rest = (f" {op} {expression(x, SUM)}" for op, x in zip(ops, operands[1:], strict=True))
            return expression(operands[0], SUM) + "".join(rest), COMPARE
        case tree.BoolOp(op, operands):
            return f" {op} ".join(expression(x, BOOL_LEVEL[op] + 1) for x in operands), BOOL_LEVEL[op]
        case tree.Not(operand):
            return f"not {expression(operand, NOT)}", NOT
        case tree.IfExp(condition, then, orelse):
            # Only the last part may be conditional without parentheses.
            return f"{expression(then, OR)} if {expression(condition, OR)} else {expression(orelse)}", CONDITIONAL
        case tree.TupleExpr(items):
            return f"({_list(items)})", PRIMARY
    assert_never(node)


def _binary(op: str, left: tree.Expr, right: tree.Expr) -> str:
    if op == "**":
        # Powers bind to the right, and a sign may stand in the exponent: a**-b.
        return f"{expression(left, PRIMARY)}**{expression(right, FACTOR)}"
    level = BINARY_LEVEL[op]
    # From the left: a - (b - c) needs its parentheses.
    return f"{expression(left, level)} {op} {expression(right, level + 1)}"


def _index_item(item: tree.Expr | tree.Slice) -> str:
    if isinstance(item, tree.Slice):
        return f"{_optional(item.start)}:{_optional(item.stop)}"
    return expression(item)


def _optional(node: tree.Expr | None) -> str:
    return "" if node is None else expression(node)


def _clause(clause: tree.Clause) -> str:
    filters = "".join(f" if {expression(condition, OR)}" for condition in clause.filters)
    return f" for {clause.var} in range({_list(clause.range_args)}){filters}"


def _list(nodes: Iterable[tree.Expr]) -> str:
    return ", ".join(expression(node) for node in nodes)
