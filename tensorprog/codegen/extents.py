"""How much storage a family needs: 1 + the largest index that is stored, as an expression over sizes and parameters."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.integers import IntBin, IntChoice, IntExpr, IntLit, IntLoad, IntSym, int_bin, linear_form, loop_names
from tensorprog.ir.program import Accum, Cell, For, If, Let, Load, Program, Statement, Store


def family_extents(program: Program) -> dict[Cell, tuple[str, ...]]:
    """Source text of the extents of every family that is not declared; declared ones as declared."""
    found: dict[Cell, list[list[str]]] = {}
    _collect(program.body, {}, found)
    extents = {cell: tuple(_maximum(c) for c in candidates) for cell, candidates in found.items()}
    for initial in program.initials:
        extents[initial.cell] = tuple(int_text(e) for e in initial.extents)
    return extents


def _maximum(candidates: list[str]) -> str:
    distinct = list(dict.fromkeys(candidates))
    # Texts that differ may still be equal numbers; `max` finds out in the run.
    return distinct[0] if len(distinct) == 1 else f"max({', '.join(distinct)})"


Bounds = Mapping[str, tuple[IntExpr, IntExpr]]


def _collect(body: tuple[Statement, ...], bounds: Bounds, found: dict) -> None:
    for statement in body:
        match statement:
            case Store(cell=cell, items=items) | Accum(cell=cell, items=items) | Let(op=Load(cell=cell, items=items)):
                if cell.rank:
                    _note(cell, items, bounds, found, isinstance(statement, Let))
            case For(var=var, start=start, stop=stop, step=step, body=inner):
                one = IntLit(1)
                # With a larger step the last value is less, and the family a little larger than it need be.
                low, high = (start, int_bin("-", stop, one)) if step > 0 else (int_bin("+", stop, one), start)
                _collect(inner, {**bounds, var: (low, high)}, found)
            case If(then=then, orelse=orelse):
                _collect(then, bounds, found)
                _collect(orelse, bounds, found)


def _note(cell: Cell, items: tuple, bounds: Bounds, found: dict, is_load: bool) -> None:
    # Shadows of families are read where nothing was added: their loads count too.
    if is_load and cell.role != "hidden":
        return
    slots = found.setdefault(cell, [[] for _ in range(cell.rank)])
    for position in range(min(cell.rank, len(items))):
        if isinstance(items[position], IntExpr):
            slots[position].append(_plus_one(upper(items[position], bounds)))


def _plus_one(text_or_expr: IntExpr | str) -> str:
    if isinstance(text_or_expr, str):
        return f"1 + {text_or_expr}"
    return int_text(int_bin("+", text_or_expr, IntLit(1)))


def upper(expr: IntExpr, bounds: Bounds) -> IntExpr | str:
    """The largest value of an expression over the loops, as an expression or, where data enter, as source text."""
    return _extreme(expr, bounds, True)


def _extreme(expr: IntExpr, bounds: Bounds, largest: bool) -> IntExpr | str:
    form = linear_form(expr)
    # Sums of multiples of symbols are bounded exactly, term by term. Elsewhere bounds of the parts are combined, which may be too
    # generous: i % 2 - i is bounded by 1.
    if all(not isinstance(atom, IntBin | IntLoad | IntChoice) for atom in form):
        return _linear_extreme(form, bounds, largest)
    match expr:
        case IntLoad(name, _):
            # Of all entries: which ones are read is not looked into. An array without entries is read in no iteration.
            array = python_name(name)
            return f"(int(np.{'max' if largest else 'min'}({array})) if {array}.size else 0)"
        case IntBin("+", left, right):
            return f"({_text(left, bounds, largest)} + {_text(right, bounds, largest)})"
        case IntBin("-", left, right):
            return f"({_text(left, bounds, largest)} - {_text(right, bounds, not largest)})"
        case IntBin("//", left, right) if loop_names(right):
            # A divisor that a loop moves may be 0 where a condition excludes it. Of whole numbers |a // b| <= |a|.
            return f"{'' if largest else '-'}{_size(left, bounds)}"
        case IntBin("*" | "//" as op, left, right):
            # Operands may have either sign: the extreme lies at one of the corners.
            corners = [f"({_text(left, bounds, a)} {op} {_text(right, bounds, b)})" for a in (True, False)
                       for b in (True, False)]
            return f"{'max' if largest else 'min'}({', '.join(corners)})"
        case IntBin("%", _, right):
            return f"({_text(right, bounds, True)} - 1)" if largest else "0"
        case IntBin("min" | "max" as op, left, right):
            return f"{op}({_text(left, bounds, largest)}, {_text(right, bounds, largest)})"
        case IntChoice(_, left, right):
            return f"{'max' if largest else 'min'}({_text(left, bounds, largest)}, {_text(right, bounds, largest)})"
        case IntBin("**", IntLit(base), right) if base > 0:
            return f"({base} ** {_text(right, bounds, largest)})"
        case IntBin("**", left, right):
            # 0**0 is 1.
            return f"{'' if largest else '-'}max(1, {_size(left, bounds)}) ** {_text(right, bounds, True)}"
    return expr


def _linear_extreme(form: Mapping[IntExpr, int], bounds: Bounds, largest: bool) -> IntExpr | str:
    total: IntExpr = IntLit(0)
    text: list[str] = []
    for atom, c in form.items():
        value: IntExpr | str = atom
        if isinstance(atom, IntSym) and atom.name in bounds:
            # The bound of a loop may hold variables of loops around it, which are bounded in turn.
            take_high = largest == (c > 0)
            value = _extreme(bounds[atom.name][take_high], bounds, take_high)
        if isinstance(value, str):
            text.append(f"{c} * {value}" if c != 1 else value)
        else:
            total = int_bin("+", total, int_bin("*", IntLit(c), value))
    if not text:
        return total
    return f"({' + '.join([int_text(total), *text])})"


def _size(expr: IntExpr, bounds: Bounds) -> str:
    """The largest absolute value, or a bound of it."""
    return f"max(abs({_text(expr, bounds, True)}), abs({_text(expr, bounds, False)}))"


def _text(expr: IntExpr, bounds: Bounds, largest: bool) -> str:
    value = _extreme(expr, bounds, largest)
    return value if isinstance(value, str) else f"({int_text(value)})"
