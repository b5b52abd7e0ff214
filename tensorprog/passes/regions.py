"""Where a gradient is computed, and which statements its sweep runs backwards.

The sweep stands right after the statement that computes the scalar (the anchor). It goes back to the last change of the
variable: through the statements before the anchor in its block, then, if the block is a loop's body in which the
variable does not change, through the loop's earlier iterations and the statements before the loop, and so on outwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tensorprog.diagnostics import Reporter
from tensorprog.ir.integers import IntExpr, IntSym, loop_names
from tensorprog.ir.program import (
    Cell,
    For,
    GradRecord,
    GradStmt,
    If,
    KernelStmt,
    MatStore,
    Program,
    Statement,
    Store,
    Var,
    Zero,
    access_indices,
    blocks,
    cells_read,
    cells_written,
    defined,
    reads,
    touched,
    walk,
    written,
)


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step of a path from the root: the block, the position in it, and the statement whose block it is."""

    block: tuple[Statement, ...]
    position: int
    container: For | If | None


Path = tuple[PathStep, ...]


@dataclass(frozen=True, slots=True)
class RegionPart:
    """Statements to run backwards: a block's prefix, or (with `loop`) a loop's earlier iterations."""

    statements: tuple[Statement, ...]
    loop: For | None = None


@dataclass(slots=True)
class GradientSite:
    """One sweep: which gradients, where, over what. `parts` go from the scalar outwards."""

    gradients: list[GradStmt | GradRecord]
    anchor: Statement
    scalar: Cell
    scalar_items: tuple[IntExpr, ...]
    parts: list[RegionPart]
    ancestors: tuple[tuple[Statement, ...], ...]
    extra: tuple[str, ...]
    active: Activity

    def result_items(self, gradient: GradStmt) -> tuple[IntExpr, ...]:
        """The indices under which a gradient finds its result, if the sweep ran in other loops than it stands in."""
        where = {item.name: i for i, item in enumerate(self.scalar_items) if isinstance(item, IntSym)}
        return tuple(gradient.scalar_items[where[loop]] for loop in self.extra)


# --- activity ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Activity:
    """Temporaries and cells that depend on the variables and that the scalar depends on."""

    vars: set[Var]
    cells: set[Cell]


def activity(statements: Sequence[Statement], sources: Iterable[Cell], scalar: Cell | Var) -> Activity:
    """Which values carry the derivative through `statements` (nested blocks included), in any order."""
    flat = [s for top in statements for s in walk((top,))]
    varied = _closure(flat, set(sources), _forward)
    useful = _closure(flat, {scalar}, _backward)
    return Activity({v for v in varied & useful if isinstance(v, Var)},
                    {c for c in varied & useful if isinstance(c, Cell)})


def _closure(flat: list[Statement], start: set, step: Callable[[Statement, set], set]) -> set:
    found = set(start)
    # Until nothing is new: in a loop, a value may be used before the statement that defines it.
    while True:
        before = len(found)
        for statement in flat if step is _forward else reversed(flat):
            found |= step(statement, found)
        if len(found) == before:
            return found


def _differentiated(statements: Sequence[Statement], scalar: Cell, anchor: Statement) -> Cell | Var:
    """Where a sweep starts: at the value that the anchor stores, or at the scalar's cell if its elements are read (or
    the anchor is more than a store)."""
    read = any(scalar in cells_read(s) for top in statements for s in walk((top,)) if not isinstance(s, GradRecord))
    return scalar if read or not isinstance(anchor, Store) else anchor.value


def _uses(statement: Statement) -> set:
    return {*reads(statement), *cells_read(statement)}


def _defines(statement: Statement) -> set:
    return {defined(statement)} - {None}


def _forward(statement: Statement, found: set) -> set:
    return _defines(statement) if _uses(statement) & found else set()


def _backward(statement: Statement, found: set) -> set:
    return _uses(statement) if _defines(statement) & found else set()


# --- sites ---------------------------------------------------------------------------------------------------


def plan_sweep(program: Program, pending: list[GradStmt | GradRecord], reporter: Reporter,
               targets: frozenset[Cell]) -> GradientSite | None:
    """The next sweep: the first gradient whose region holds no other gradient still to be taken, and all that can
    share its sweep. None (and an error) if there is none. `targets` are the cells of all gradients of the program."""
    planner = _Planner(program, reporter, targets)
    sites = [site for g in pending if (site := planner.site(g)) is not None]
    if len(sites) < len(pending):
        return None
    ready = [site for site in sites if not _waits(site)]
    if not ready:
        reporter.error("TP421", "this gradient depends on itself", pending[0].span,
                       help="differentiate with respect to a value that the loop updates, or unroll one step by hand")
        return None
    site = ready[0]
    for other in ready[1:]:
        site = _merged(site, other) or site
    return site


def _waits(site: GradientSite) -> bool:
    return any(isinstance(s, GradStmt | GradRecord | KernelStmt) and s.target in site.active.cells
               for part in site.parts for s in walk(part.statements))


def _merged(site: GradientSite, other: GradientSite) -> GradientSite | None:
    """Both sweeps as one, when they stand at the same place and differ at most in where inactive statements end."""
    if site.anchor is not other.anchor or site.scalar_items != other.scalar_items or site.extra != other.extra:
        return None
    if len(site.parts) != len(other.parts):
        return None
    pairs = list(zip(site.parts, other.parts))
    if any(a.loop is not b.loop for a, b in pairs) or any(a.statements != b.statements for a, b in pairs[:-1]):
        return None
    longer, shorter = sorted((site, other), key=lambda s: -len(s.parts[-1].statements))
    extra = longer.parts[-1].statements[: len(longer.parts[-1].statements) - len(shorter.parts[-1].statements)]
    if any(_touches(s, longer.active) for s in extra):
        return None
    gradients = site.gradients + other.gradients
    statements = [s for p in shorter.parts for s in p.statements]
    # Anew: with fewer statements, the scalar's elements may not be read any more.
    start = _differentiated(statements, site.scalar, site.anchor)
    active = activity(statements, {g.wrt for g in gradients}, start)
    return GradientSite(gradients, site.anchor, site.scalar, site.scalar_items, shorter.parts, site.ancestors, site.extra,
                active)


def _touches(statement: Statement, active: Activity) -> bool:
    return any((_defines(s) | set(cells_read(s))) & (active.vars | active.cells) for s in walk((statement,)))


class _Planner:
    def __init__(self, program: Program, reporter: Reporter, targets: frozenset[Cell]):
        self.program = program
        self.reporter = reporter
        self.targets = targets

    def site(self, gradient: GradStmt | GradRecord) -> GradientSite | None:
        path = _find_path(self.program.body, gradient)
        found = self._inline_anchor(gradient, path) or self._distant_anchor(gradient, path)
        if found is None:
            self._no_anchor(gradient)
            return None
        anchor_path, items, extra = found
        parts = self._parts(gradient, anchor_path)
        statements = [s for p in parts for s in p.statements]
        anchor = anchor_path[-1].block[anchor_path[-1].position]
        active = activity(statements, {gradient.wrt}, _differentiated(statements, gradient.scalar, anchor))
        ancestors = tuple(step.block for step in anchor_path)
        return GradientSite([gradient], anchor, gradient.scalar, items, parts, ancestors, extra, active)

    def _no_anchor(self, gradient: GradStmt | GradRecord) -> None:
        self.reporter.error("TP420", f"`{gradient.scalar.display}` is not computed before this gradient in a way that "
                                     "can be followed", gradient.span,
                            help="take the gradient in the iteration that computes the scalar, right after it")

    def _inline_anchor(self, gradient: GradStmt | GradRecord, path: Path) -> tuple[Path, tuple, tuple] | None:
        """The nearest statement before the gradient, in its block or one around it, that computes the scalar."""
        for depth in range(len(path) - 1, -1, -1):
            step = path[depth]
            for position in range(step.position - 1, -1, -1):
                statement = step.block[position]
                if gradient.scalar not in cells_written((statement,)):
                    continue
                in_scope = {s.container.var for s in path[: depth + 1] if isinstance(s.container, For)}
                # Indices by loops that have ended name no element.
                if set().union(*map(loop_names, gradient.scalar_items), set()) - in_scope:
                    return None
                # A loop that changes the variable, too, computes the scalar from other values of it.
                if blocks(statement) and _changes(statement, gradient.wrt):
                    return None
                anchor = (*path[:depth], PathStep(step.block, position, step.container))
                return anchor, gradient.scalar_items, ()
        return None

    def _distant_anchor(self, gradient: GradStmt | GradRecord, path: Path) -> tuple[Path, tuple, tuple] | None:
        """The one statement that stores the scalar, in other loops: the result is kept for each of its iterations."""
        stores = [s for s in walk(self.program.body) if written(s) is gradient.scalar]
        # Of several stores, which one wrote the element is not known here.
        if len(stores) != 1 or not isinstance(stores[0], Store) or isinstance(gradient, GradRecord) \
                or gradient.wrt_items:
            return None
        anchor = _find_path(self.program.body, stores[0])
        here = {step.container.var for step in path if isinstance(step.container, For)}
        items = stores[0].items
        extra = []
        for step in anchor:
            if isinstance(step.container, For):
                var = step.container.var
                position = next((i for i, item in enumerate(items) if item == IntSym(var, "loop")), None)
                shared = var in here and position is not None and gradient.scalar_items[position] == items[position]
                if position is None and var not in here:
                    return None
                if not shared and position is not None:
                    extra.append(var)
        return anchor, items, tuple(extra)

    def _parts(self, gradient: GradStmt | GradRecord, anchor: Path) -> list[RegionPart]:
        """The statements from the scalar back to the variable's last change, innermost block first."""
        wrt = gradient.wrt
        varied = self._varied(wrt, anchor)
        parts: list[RegionPart] = []
        for depth in range(len(anchor) - 1, -1, -1):
            prefix = _prefix(anchor, depth)
            birth = _last_change(prefix, wrt)
            parts.append(RegionPart(prefix[birth + 1:]))
            if birth >= 0:
                self._refuse_tail(gradient, prefix[birth], parts)
                break
            loop = anchor[depth].container
            if isinstance(loop, For):
                # Earlier iterations are about other values of the variable.
                if _renewed(loop, wrt):
                    self._warn_older_paths(gradient, parts, anchor[:depth])
                    break
                if _carries(loop, parts, varied, gradient.scalar):
                    parts.append(RegionPart(loop.body, loop))
        return parts

    def _varied(self, wrt: Cell, anchor: Path) -> set:
        """What depends on the variable, in the blocks around the anchor and in all iterations of its loops."""
        flat: list[Statement] = []
        for depth in range(len(anchor) - 1, -1, -1):
            loop = anchor[depth].container
            body = loop.body if isinstance(loop, For) else _prefix(anchor, depth)
            flat += [n for s in body for n in walk((s,))]
        return _closure(flat, {wrt}, _forward)

    def _refuse_tail(self, gradient: GradStmt | GradRecord, change: Statement, parts: list[RegionPart]) -> None:
        """A loop that changes the variable, and then, in its last iteration, computes from it what the scalar uses."""
        inner = [n for p in parts for s in p.statements for n in walk((s,))]
        nested = list(walk((change,))) if blocks(change) else []
        last = max((i for i, s in enumerate(nested) if written(s) is gradient.wrt), default=len(nested))
        tail = nested[last + 1:]
        reached = _closure(tail, {gradient.wrt}, _forward) - {gradient.wrt}
        if reached & _closure(inner, {gradient.scalar}, _backward):
            name = gradient.wrt.display
            self.reporter.error("TP424", f"`{gradient.scalar.display}` depends on `{name}` through the loop that "
                                         f"changes `{name}`", gradient.span,
                                help="compute the scalar, and take its gradient, inside the loop")

    def _warn_older_paths(self, gradient: GradStmt | GradRecord, parts: list[RegionPart], outer: Path) -> None:
        """The loop changes the variable, so values computed from it before the loop are constants to the gradient. Not
        worth a word: weights that were trained before and depend on it through a gradient, as in layerwise training.
        """
        inner = [n for p in parts for s in p.statements for n in walk((s,))]
        before = [n for step in outer for s in step.block[: step.position] for n in walk((s,))
                  if written(n) not in self.targets]
        useful = _closure(inner, {gradient.scalar}, _backward)
        made = {value for s in before for value in _defines(s)}
        varied = _closure(before, {gradient.wrt}, _forward) & useful & made - {gradient.wrt}
        if varied:
            name = min(c.display if isinstance(c, Cell) else c.name for c in varied)
            variable = gradient.wrt.display
            self.reporter.warn("TP422", f"`{name}` was computed from `{variable}` before the loop that updates "
                                        f"`{variable}`; the gradient takes it as a constant", gradient.span,
                               help="this is what a network centred at its initialization wants")


def _find_path(body: tuple[Statement, ...], target: Statement) -> Path:
    """The path to a statement (by identity)."""
    found = _search(body, None, target)
    assert found is not None
    return found


def _search(body: tuple[Statement, ...], container: For | If | None, target: Statement) -> Path | None:
    for position, statement in enumerate(body):
        if statement is target:
            return (PathStep(body, position, container),)
        if isinstance(statement, For | If):
            for block in blocks(statement):
                inner = _search(block, statement, target)
                if inner is not None:
                    return (PathStep(body, position, container), *inner)
    return None


def _last_change(prefix: tuple[Statement, ...], cell: Cell) -> int:
    """The position of the last statement that changes the cell, -1 if there is none."""
    for position in range(len(prefix) - 1, -1, -1):
        if _changes(prefix[position], cell):
            return position
    return -1


def _changes(statement: Statement, cell: Cell) -> bool:
    """Whether a statement changes what the cell held. Filling a family element by element is no change: every element
    is the value that it was given."""
    if cell.rank == 0 or cell.role == "initial":
        return cell in cells_written((statement,))
    return any(written(s) is cell and not isinstance(s, Store) for s in walk((statement,)))


def _prefix(path: Path, depth: int) -> tuple[Statement, ...]:
    """The statements of a path's block up to the path; at its end the last one is included."""
    step = path[depth]
    return step.block[: step.position + (depth == len(path) - 1)]


def _renewed(loop: For, cell: Cell) -> bool:
    """Whether an iteration of the loop gives the cell (or the same elements of a family) another value."""
    writes = [s for s in walk(loop.body) if written(s) is cell]
    if not writes or cell.rank == 0 or cell.role == "initial":
        return bool(writes)
    return any(not any(loop.var in loop_names(i) for i in getattr(s, "items", ())) for s in writes)


def _carries(loop: For, parts: list[RegionPart], varied: set, scalar: Cell) -> bool:
    """Whether the scalar depends on the variable through earlier iterations of the loop."""
    inner = [s for p in reversed(parts) for s in p.statements]
    useful = _closure([n for s in (*inner, *loop.body) for n in walk((s,))], {scalar}, _backward)
    carried = cells_written(loop.body) & varied & useful
    return any(loop.var not in cell.home and _exposed(cell, inner, loop) for cell in carried)


def _exposed(cell: Cell, inner: list[Statement], loop: For) -> bool:
    """Whether the current iteration may read what an earlier one wrote."""
    loads = [s for top in inner for s in walk((top,)) if cell in cells_read(s)]
    if not loads:
        return False
    if written_first(tuple(inner), cell):
        return False
    # Where all accesses have the loop's variable at one place, an iteration meets its own elements alone.
    symbol = IntSym(loop.var, "loop")
    accesses = [items for s in walk(loop.body) for items in access_indices(s, cell)]
    return not any(all(len(i) > p and i[p] == symbol for i in accesses) for p in range(cell.rank))


def written_first(body: tuple[Statement, ...], cell: Cell) -> bool:
    """Whether a block stores the whole (rank-0) cell before every other access to it, whatever of its branches and
    loops run."""
    exposed, _ = _first_accesses(body, cell)
    return not exposed and any(written(s) is cell for s in walk(body))


def _first_accesses(body: tuple[Statement, ...], cell: Cell) -> tuple[bool, bool]:
    """Whether the block may use what the cell held before it, and whether it certainly stores the whole cell."""
    for statement in body:
        if isinstance(statement, Zero) and statement.cell is cell:
            return False, True
        if isinstance(statement, Store | MatStore) and statement.cell is cell and cell.rank == 0:
            return cell in cells_read(statement), True
        if cell in touched(statement):
            return True, False
        inner = [_first_accesses(block, cell) for block in blocks(statement)]
        if any(exposed for exposed, _ in inner):
            return True, False
        if isinstance(statement, If) and all(stored for _, stored in inner):
            return False, True
    return False, False
