"""The typed program as text: what `--emit program` and `--emit limit` show."""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from tensorprog.ir.build import shape_text
from tensorprog.ir.integers import bool_text, int_text
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    ConstExpr,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    FunctionTerm,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    Initial,
    InputRef,
    Item,
    KernelStmt,
    Law,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    ParamRef,
    Pick,
    Place,
    Program,
    Range,
    Statement,
    Store,
    SumAxis,
    Term,
    Var,
    Width,
    WidthConst,
    Zero,
)

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_PRIME = "'"


def program_text(program: Program) -> str:
    """The whole program, one statement a line, types of temporaries in comments."""
    lines = [_width_text(w) for w in program.widths]
    lines += [f"size {s.name}" + (f" = {s.default}" if s.default is not None else "") for s in program.sizes]
    lines += [f"param {p.name} : {p.kind}" + (f" = {p.default}" if p.default is not None else "")
              for p in program.params]
    lines += [f"input {i.name} : [{', '.join(map(int_text, i.shape))}] {i.kind}" for i in program.inputs]
    lines += [_initial_text(i) for i in program.initials]
    lines += block_lines(program.body, 0)
    lines += [f"output {o.cell.name} as {o.name}" for o in program.outputs]
    lines += [f"output sample({', '.join(c.name for c in s.cells)}) as {s.name}" for s in program.samples]
    return "\n".join(lines) + "\n"


def _width_text(width: Width) -> str:
    return f"width {width.name}" + (f" = {const_text(width.ratio)}" if width.ratio else "")


def _initial_text(initial: Initial) -> str:
    cell = initial.cell
    family = f"[{', '.join(map(int_text, initial.extents))}]" if initial.extents else ""
    drawn = f", drawn from {_law_text(initial.drawn)}" if initial.drawn else ""
    return f"initial {cell.name}{family} : {type_text(cell)} ~ {_law_text(initial.law)}{drawn}"


def _law_text(law: Law) -> str:
    return f"{law.name}({', '.join(map(const_text, law.args))})"


def type_text(cell: Cell) -> str:
    if isinstance(cell.type, MatrixType):
        return f"[{cell.type.rows}, {cell.type.cols}]"
    return shape_text(cell.type)


def const_text(expr: ConstExpr) -> str:
    """A declared constant, fully parenthesized."""
    match expr.op:
        case "num":
            return f"{expr.number:g}"
        case "int":
            return int_text(expr.integer)
        case "param" | "width":
            return expr.name
        case "neg":
            return f"-{const_text(expr.args[0])}"
        case "+" | "-" | "*" | "/" | "**":
            return f"({const_text(expr.args[0])} {expr.op} {const_text(expr.args[1])})"
        case _:
            return f"{expr.op}({', '.join(map(const_text, expr.args))})"


def block_lines(body: tuple[Statement, ...], depth: int) -> list[str]:
    lines = []
    for statement in body:
        lines += [("    " * depth) + line for line in _statement_lines(statement)]
    return lines


def _statement_lines(statement: Statement) -> list[str]:
    match statement:
        case Let(var=var, op=op):
            return [f"{var.name} = {op_text(op)}  # {shape_text(var.type)}"]
        case Store(cell=cell, items=items, value=value):
            return [f"{_element(cell, items)} := {value.name}"]
        case Accum(cell=cell, items=items, value=value):
            return [f"{_element(cell, items)} += {value.name}"]
        case MatStore(cell=cell, items=items, terms=terms):
            return [f"{_element(cell, items)} := {_terms_text(terms)}"]
        case MatAccum(cell=cell, items=items, terms=terms):
            return [f"{_element(cell, items)} += {_terms_text(terms)}"]
        case Zero(cell=cell):
            return [f"{cell.name}[...] := 0"]
        case GradStmt(target=target, scalar=s, scalar_items=si, wrt=w, wrt_items=wi):
            return [f"{target.name} := grad({_element(s, si)}, {_element(w, wi)})"]
        case KernelStmt(target=target, kind=kind, left=l, left_items=li, right=r, right_items=ri, wrt=wrt):
            variables = "; " + ", ".join(_element(v.cell, v.items) for v in wrt) if wrt else ""
            return [f"{target.name} := {kind}({_element(l, li)}, {_element(r, ri)}{variables})"]
        case GradRecord(target=target, scalar=s, scalar_items=si, wrt=w):
            return [f"{target.name} := record of grad({_element(s, si)}, {w.name})"]
        case GradAdd(cell=cell, coef=coef, scalar=s, scalar_items=si, wrt=w):
            return [f"{cell.name} += {coef.name} * grad({_element(s, si)}, {w.name})"]
        case GradDot(target=target, scalar=s, scalar_items=si, wrt=w, cell=cell):
            return [f"{target.name} := dot(grad({_element(s, si)}, {w.name}), {cell.name})"]
        case For(var=var, start=start, stop=stop, step=step, body=body, parallel=parallel):
            head = f"for {var} in range({int_text(start)}, {int_text(stop)}, {step}):"
            return [head + ("  # parallel" if parallel else ""), *(block_lines(body, 1) or ["    pass"])]
        case If(condition=condition, then=then, orelse=orelse):
            lines = [f"if {bool_text(condition)}:", *(block_lines(then, 1) or ["    pass"])]
            return lines + (["else:", *block_lines(orelse, 1)] if orelse else [])
        case _:
            assert_never(statement)


def _element(cell: Cell, items: tuple[Item, ...]) -> str:
    return cell.name + _items_text(items)


def _items_text(items: tuple[Item, ...]) -> str:
    return f"[{', '.join(_item_text(i) for i in items)}]" if items else ""


def _item_text(item: Item) -> str:
    if isinstance(item, Range):
        start = int_text(item.start) if item.start is not None else ""
        stop = int_text(item.stop) if item.stop is not None else ""
        return f"{start}:{stop}"
    return int_text(item)


def _terms_text(terms: tuple[Term, ...]) -> str:
    return " + ".join(_term_text(t) for t in terms) or "0"


def _term_text(term: Term) -> str:
    factor = f"{term.coef.name} * " if term.coef is not None else ""
    match term:
        case MatrixTerm(cell=cell, items=items, transposed=transposed):
            return factor + _element(cell, items) + (".T" if transposed else "")
        case OuterTerm(left=left, right=right):
            return f"{factor}outer({left.name}, {right.name})"
        case FunctionTerm(fn=fn, args=args, order=order):
            return f"{fn}{_PRIME * order}({', '.join(a.name if isinstance(a, Var) else _term_text(a) for a in args)})"
        case _:
            assert_never(term)


def op_text(op: Op) -> str:
    match op:
        case Const(value=value):
            return str(value) if isinstance(value, Fraction) else repr(value)
        case WidthConst(width=width):
            return width
        case FromInt(expr=expr):
            return int_text(expr)
        case ParamRef(name=name):
            return name
        case InputRef(name=name, items=items):
            return name + _items_text(items)
        case Load(cell=cell, items=items):
            return _element(cell, items)
        # No derivative: those of operators are written out by `ir.calculus`.
        case Elementwise(fn=fn, args=(a, b)) if fn in _INFIX:
            return f"{a.name} {_INFIX[fn]} {b.name}"
        case Elementwise(fn=fn, args=args, order=order):
            return f"{fn}{_PRIME * order}({', '.join(a.name for a in args)})"
        case Moment(arg=arg):
            return f"moment({arg.name})"
        case Fluctuation(arg=arg):
            return f"fluctuation({arg.name})"
        case Contract(left=l, left_axes=la, right=r, right_axes=ra, out_axes=oa):
            return f"contract[{la},{ra}->{oa}]({l.name}, {r.name})"
        case SumAxis(arg=arg, axis=axis):
            return f"sum[axis {axis}]({arg.name})"
        case Expand(arg=arg, axis=axis, size=size):
            return f"expand[axis {axis}, {int_text(size)}]({arg.name})"
        case Pick(arg=arg, items=items):
            return arg.name + _items_text(items)
        case Place(arg=arg, items=items):
            return f"place{_items_text(items)}({arg.name})"
        case MatDot(left=left, right=right):
            return f"dot({_term_text(left)}, {_term_text(right)})"
        case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
            return f"{_element(matrix, items)}{'.T' if transposed else ''} @ {arg.name}"
        case _:
            assert_never(op)
