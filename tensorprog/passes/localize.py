"""Find families that every iteration of a loop fills anew, and say so in their `home`.

In

    for a in range(P):
        h[0] = U @ X[a]
        for l in range(L):
            h[l+1] = W[l] @ tanh(h[l])

no iteration of `a` reads what another one wrote, so the iterations can run as one block, and their adjoints too. A
family is local to a loop if it is used nowhere else and, within an iteration, no element is read before it is stored.
The second is decided by running the indices of one iteration for a number of small sizes, and only when all indices
and bounds are linear, so that small sizes speak for all.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from tensorprog.ir.integers import (
    BoolExpr,
    IntExpr,
    IntLit,
    IntSym,
    Logic,
    evaluate_bool,
    evaluate_int,
    linear_form,
    symbols,
)
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    GradRecord,
    GradStmt,
    If,
    KernelStmt,
    Let,
    Load,
    MatrixType,
    Program,
    Range,
    Statement,
    Store,
    access_indices,
    single,
    touched,
    walk,
)
from tensorprog.passes.rewrite import map_blocks

# Indices and bounds are linear, so that a read before its store shows at sizes as small as these. Of their combinations
# MAX_TRIALS are run, and of each MAX_STEPS statements.
SMALL_SIZES = (1, 2, 3, 4)
MAX_TRIALS = 64
MAX_STEPS = 20_000


def localize(program: Program) -> Program:
    """The program with the `home` of local families filled in."""
    uses: dict[Cell, int] = {}
    for statement in walk(program.body):
        for cell in touched(statement):
            uses[cell] = uses.get(cell, 0) + 1
    found: dict[Cell, Cell] = {}
    # Hidden cells have their homes from those who make them, and matrices have no blocks.
    candidates = {c for c in uses if c.role == "user" and c.rank and not isinstance(c.type, MatrixType)} - program.results
    _search(program.body, (), candidates, uses, found)
    return program.with_body(_replace(program.body, found)) if found else program


def _search(body: tuple[Statement, ...], loops: tuple[str, ...], candidates: set[Cell], uses: dict[Cell, int],
            found: dict[Cell, Cell]) -> None:
    for statement in body:
        if isinstance(statement, If):
            _search(statement.then, loops, candidates, uses, found)
            _search(statement.orelse, loops, candidates, uses, found)
        if not isinstance(statement, For):
            continue
        inner = (*loops, statement.var)
        counts: dict[Cell, int] = {}
        for s in walk(statement.body):
            for cell in touched(s):
                counts[cell] = counts.get(cell, 0) + 1
        for cell, count in counts.items():
            # The innermost loop that a family is local to says most.
            confined = cell in candidates and count == uses[cell] and len(cell.home) < len(inner)
            if confined and _is_local(cell, statement):
                found[cell] = replace(found.get(cell, cell), home=inner)
        _search(statement.body, inner, candidates, uses, found)


def _is_local(cell: Cell, loop: For) -> bool:
    """Whether every read in an iteration follows a store of the same iteration."""
    own = [s for s in walk(loop.body) if cell in touched(s)]
    # Additions read what there was.
    if any(isinstance(s, GradStmt | KernelStmt | GradRecord | Accum) or not _plain(s, cell) for s in own):
        return False
    relevant = _slice(loop.body, cell)
    names = {s.name for s in _all_symbols(relevant)} | {loop.var}
    # Of more symbols, 64 trials would see too few combinations.
    if not _linear(relevant) or len(names) > 6:
        return False
    # At most MAX_TRIALS of the combinations, evenly spread.
    trials = list(product(SMALL_SIZES, repeat=len(names)))[:: max(1, len(SMALL_SIZES) ** len(names) // MAX_TRIALS)]
    # A list, as all loops of a trial spend the same budget.
    return all(_run(relevant, cell, dict(zip(sorted(names), trial)), set(), [MAX_STEPS]) for trial in trials)


def _plain(statement: Statement, cell: Cell) -> bool:
    return all(len(items) >= cell.rank and not any(isinstance(i, Range) for i in items[: cell.rank])
               for items in access_indices(statement, cell))


def _slice(body: tuple[Statement, ...], cell: Cell) -> tuple[Statement, ...]:
    """The statements that touch the cell, with the loops and branches around them."""
    kept: list[Statement] = []
    for statement in body:
        if isinstance(statement, For | If):
            if any(cell in touched(s) for s in walk((statement,))):
                kept.append(map_blocks(statement, lambda b: _slice(b, cell)))
        elif cell in touched(statement):
            kept.append(statement)
    return tuple(kept)


def _expressions(body: tuple[Statement, ...]) -> list[IntExpr | BoolExpr]:
    found: list[IntExpr | BoolExpr] = []
    for s in walk(body):
        match s:
            case For(start=start, stop=stop):
                found += [start, stop]
            case If(condition=condition):
                found.append(condition)
            case Let(op=Load(items=items)) | Store(items=items):
                found += [i for i in items if isinstance(i, IntExpr)]
    return found


def _all_symbols(body: tuple[Statement, ...]) -> set[IntSym]:
    inner = {s.var for s in walk(body) if isinstance(s, For)}
    return {sym for e in _expressions(body) for sym in symbols(e) if sym.name not in inner}


def _linear(body: tuple[Statement, ...]) -> bool:
    for expr in _expressions(body):
        parts = _compared(expr) if not isinstance(expr, IntExpr) else [expr]
        if any(not isinstance(atom, IntSym | IntLit) for part in parts for atom in linear_form(part)):
            return False
    return True


def _compared(condition: BoolExpr) -> list[IntExpr]:
    if isinstance(condition, Logic):
        return [e for operand in condition.operands for e in _compared(operand)]
    return [condition.left, condition.right]


def _run(body: tuple[Statement, ...], cell: Cell, env: dict[str, int], stored: set, budget: list[int]) -> bool:
    """Follow the stores and reads of one iteration; False if something is read before it is stored."""
    for s in body:
        budget[0] -= 1
        if budget[0] < 0:
            return False
        match s:
            case For(var=var, start=start, stop=stop, step=step, body=inner):
                for value in range(evaluate_int(start, env), evaluate_int(stop, env), step):
                    if not _run(inner, cell, env | {var: value}, stored, budget):
                        return False
            case If(condition=condition, then=then, orelse=orelse):
                if not _run(then if evaluate_bool(condition, env) else orelse, cell, env, stored, budget):
                    return False
            case Let(op=Load(items=items)):
                if tuple(evaluate_int(i, env) for i in single(items[: cell.rank])) not in stored:
                    return False
            case Store(items=items):
                stored.add(tuple(evaluate_int(i, env) for i in items))
    return True


def _replace(body: tuple[Statement, ...], found: dict[Cell, Cell]) -> tuple[Statement, ...]:
    return tuple(_replace_cell(map_blocks(s, lambda b: _replace(b, found)), found) for s in body)


def _replace_cell(statement: Statement, found: dict[Cell, Cell]) -> Statement:
    match statement:
        case Let(op=Load(cell=cell) as op) if cell in found:
            return replace(statement, op=replace(op, cell=found[cell]))
        case Store(cell=cell) if cell in found:
            return replace(statement, cell=found[cell])
        case _:
            return statement
