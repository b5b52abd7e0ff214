"""The Gaussian numbers of a limit: read from inputs, one row a draw, and the program of their covariances.

A `Fluctuation` of z in loops over i, j is a number G[i, j]; all of them are jointly Gaussian with mean zero and
covariances E[z z'] (TP I, Corollary 5.5). The limit program runs over draws in an outermost loop, in front of which
everything stands that does not depend on a draw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, loop_names, substitute, substitute_bool
from tensorprog.ir.places import BranchSide, placed
from tensorprog.ir.program import (
    Cell,
    Fluctuation,
    For,
    If,
    Initial,
    Input,
    InputRef,
    Let,
    MatrixTerm,
    MatrixType,
    MatStore,
    Output,
    Program,
    Size,
    Statement,
    Store,
    TensorType,
    Var,
    cells_written,
    walk,
)
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.gaussian import affine_in_inputs
from tensorprog.passes.hoist import hoisted, spread
from tensorprog.passes.rewrite import CellMap, map_blocks, map_cells, over_elements
from tensorprog.passes.simplify import remove_unused, simplify, without_idle
from tensorprog.series.declared_draws import DeclaredDraws, declared_as_inputs, is_finite


class NestedDraws(Exception):
    """A covariance that depends on a draw; `statement` makes the number."""

    def __init__(self, statement: Statement):
        super().__init__("its covariance is random itself")
        self.statement = statement


@dataclass(frozen=True, slots=True)
class DrawSite:
    """A statement that draws numbers: the input that holds them, [draws, *extents], and what is around it, outermost
    first: loops, and conditions with whether they hold."""

    input: str
    let: Let
    around: tuple[For | BranchSide, ...]
    extents: tuple[IntExpr, ...]

    @property
    def loops(self) -> tuple[For, ...]:
        return tuple(a for a in self.around if isinstance(a, For))

    @property
    def arg(self) -> Var:
        """What is averaged."""
        assert isinstance(self.let.op, Fluctuation)
        return self.let.op.arg


@dataclass(frozen=True, slots=True)
class Gaussians:
    """The Gaussian numbers that a limit program reads from inputs.

    Attributes:
        covariances: the program whose output (i, j) of `pairs`, [*loops_i, *loops_j, *axes_i, *axes_j], is a covariance of
            numbers.
        inputs: the names of the inputs of draws.
        ranks: of each of them, the number of loops, and of axes of what is drawn in these at once.
        size: the name of the size that is the number of draws.
        random: the outputs that depend on draws; they have the number of the draw as their first index.
        affine: those that are affine in the draws, and so jointly Gaussian where the draws are.
        declared: the declared arrays that are drawn as well, by their own laws.
        given: the covariances that depend on the draws of declared arrays; they have the number of the draw as their first
            index. Given such a draw, numbers are Gaussian with these.
    """

    covariances: Program
    inputs: tuple[str, ...]
    ranks: tuple[tuple[int, int], ...]
    pairs: dict[str, tuple[int, int]]
    size: str
    random: frozenset[str]
    affine: frozenset[str]
    declared: tuple[DeclaredDraws, ...]
    given: frozenset[str]


def is_random(program: Program) -> bool:
    """Whether a limit program has fluctuations, or declared arrays without a width."""
    return any(is_finite(i) for i in program.initials) or any(
        isinstance(s, Let) and isinstance(s.op, Fluctuation) for s in walk(program.body))


def with_draws(program: Program) -> tuple[Program, Gaussians]:
    """The limit program with inputs in the place of its fluctuations and its declared arrays without a width, and what
    they are.

    Raises:
        NestedDraws: a covariance depends on a Gaussian number.
    """
    builder = Builder(used_names(program))
    size, draw = builder.names.fresh("draws"), builder.names.fresh("draw")
    sites = list(_sites(program.body, builder))
    program, declared = declared_as_inputs(program, draw, size, builder)
    program = replace(program, sizes=(*program.sizes, Size(size, 1)))
    covariances, pairs = _covariance_program(program, sites, builder)
    given: frozenset[str] = frozenset()
    # Averages of what reads a declared array's draw differ from draw to draw.
    if any(isinstance(s, Let) and _reads_a_draw(s, declared) for s in walk(covariances.body)):
        covariances, given = _over_draws(covariances, draw, size, builder)
    limit, random = _over_draws(_reading(program, sites, draw, size), draw, size, builder)
    names = tuple(s.input for s in sites)
    degrees = affine_in_inputs(limit, {*names, *(d.input for d in declared)})
    # Given draws of declared arrays, covariances differ from draw to draw: a mixture of Gaussians is no Gaussian.
    affine = frozenset(o.name for o in limit.outputs if o.name in random and o.cell in degrees and not given)
    ranks = tuple((len(s.loops), len(s.let.var.type.shape)) for s in sites)
    return limit, Gaussians(covariances, names, ranks, pairs, size, random, affine, declared, given)


def _reads_a_draw(statement: Let, declared: tuple[DeclaredDraws, ...]) -> bool:
    return isinstance(statement.op, InputRef) and statement.op.name in {d.input for d in declared}


def _sites(body: tuple[Statement, ...], builder: Builder) -> Iterator[DrawSite]:
    for place in placed(body):
        match place.statement:
            case Let(var=var, op=Fluctuation()) as let:
                # Without the numbers that copies of a loop's body have got.
                name = re.sub(r"(_\d+)+$", "", var.name)
                extents = (*extents_of(place.loops), *var.type.shape)
                yield DrawSite(builder.names.fresh(f"{name}_drawn"), let, place.around, extents)


def extents_of(loops: tuple[For, ...]) -> tuple[IntExpr, ...]:
    """One more than the largest value of each loop's variable."""
    return tuple(extent(loops[: k + 1]) for k in range(len(loops)))


def extent(loops: Sequence[For]) -> IntExpr:
    """One more than the largest value of the last loop's variable; bounds are taken to grow with the outer loops."""
    loop = loops[-1]
    # Running downwards, the first value is the largest.
    bound = loop.stop if loop.step > 0 else int_bin("+", loop.start, IntLit(1))
    for outer in reversed(loops[:-1]):
        if outer.var in loop_names(bound):
            bound = substitute(bound, {outer.var: int_bin("-", extent(loops[: loops.index(outer) + 1]), IntLit(1))})
    return bound


# --- covariances ---------------------------------------------------------------------------------------------


def _covariance_program(program: Program, sites: list[DrawSite], builder: Builder) -> tuple[Program, dict[str, tuple[int, int]]]:
    kept = [builder.cell(f"{s.input}_from", s.arg.type, len(s.loops)) for s in sites]
    cells = {s.let.var: (cell, s.arg) for s, cell in zip(sites, kept)}

    def block(body: tuple[Statement, ...], loops: tuple[str, ...]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for s in body:
            inner = (*loops, s.var) if isinstance(s, For) else loops
            found.append(map_blocks(s, partial(block, loops=inner)))
            if isinstance(s, Let) and s.var in cells:
                items = tuple(IntSym(v, "loop") for v in loops)
                cell, arg = cells[s.var]
                found.append(Store(cell, items, arg, span=s.span))
        return tuple(found)

    body, outputs, pairs = list(block(program.body, ())), [], {}
    for i, one in enumerate(sites):
        # Covariances are symmetric: each pair once.
        for j, two in enumerate(sites[: i + 1]):
            name = builder.names.fresh("covariance")
            result = builder.cell(name, TensorType(None, (*one.let.var.type.shape, *two.let.var.type.shape)),
                                  len(one.loops) + len(two.loops), role="user")
            body += _pair(one, two, kept[i], kept[j], result, builder)
            outputs.append(Output(name, result, span=one.let.span))
            pairs[name] = i, j
    made = remove_unused(replace(program, body=tuple(body), outputs=tuple(outputs)))
    # Numbers of numbers, as logits q.k / sqrt(n) of attention: given the first ones, the others have another
    # covariance.
    nested = next((s for s in walk(made.body) if isinstance(s, Let) and isinstance(s.op, Fluctuation)), None)
    if nested is not None:
        raise NestedDraws(nested)
    return without_idle(simplify(contract_cells(made))), pairs


def _pair(one: DrawSite, two: DrawSite, first: Cell, second: Cell, result: Cell, builder: Builder) -> tuple[Statement, ...]:
    """The covariances of the numbers of two sites, in loops over both."""
    builder.span = one.let.span
    outer, inner = (_fresh_loops(site, builder) for site in (one, two))
    items = [tuple(IntSym(a.var, "loop") for a in around if isinstance(a, For)) for around in (outer, inner)]
    with builder.nested() as made:
        # Stored in the course of the program: at the end, `first` holds every iteration's.
        x, y = builder.load(first, items[0], first.tensor), builder.load(second, items[1], second.tensor)
        left, right = "abcdefgh"[: len(x.type.shape)], "ijklmnop"[: len(y.type.shape)]
        product = builder.contract(x, left, y, right, left + right) if left or right else builder.mul(x, y)
        builder.append(Store(result, (*items[0], *items[1]), builder.moment(product), span=one.let.span))
    body = tuple(made)
    for wrap in reversed((*outer, *inner)):
        if isinstance(wrap, For):
            body = (replace(wrap, body=body),)
        else:
            body = (If(wrap.condition, body if wrap.holds else (), () if wrap.holds else body, span=one.let.span),)
    return body


def _fresh_loops(site: DrawSite, builder: Builder) -> list[For | BranchSide]:
    """What is around a site, with loop variables of its own."""
    names: dict[str, IntExpr] = {}
    found: list[For | BranchSide] = []
    for wrap in site.around:
        if isinstance(wrap, For):
            new = builder.names.fresh(wrap.var)
            found.append(replace(wrap, var=new, start=substitute(wrap.start, names), stop=substitute(wrap.stop, names),
                                 body=(), parallel=False))
            names[wrap.var] = IntSym(new, "loop")
        else:
            found.append(BranchSide(substitute_bool(wrap.condition, names), wrap.holds))
    return found


# --- draws ---------------------------------------------------------------------------------------------------


def _reading(program: Program, sites: list[DrawSite], draw: str, size: str) -> Program:
    """The program of one draw: numbers are read from the inputs."""
    reads = {}
    for site in sites:
        items = (IntSym(draw, "loop"), *(IntSym(loop.var, "loop") for loop in site.loops))
        reads[site.let.var] = InputRef(site.input, items)

    def block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(replace(s, op=reads[s.var]) if isinstance(s, Let) and s.var in reads else map_blocks(s, block)
                     for s in body)

    inputs = tuple(Input(s.input, (IntSym(size, "size"), *s.extents), "real", span=s.let.span) for s in sites)
    return replace(program, body=block(program.body), inputs=(*program.inputs, *inputs))


def _over_draws(program: Program, draw: str, size: str, builder: Builder) -> tuple[Program, frozenset[str]]:
    """The program in a loop over draws, with what all draws share in front of it; and the names of random outputs."""
    # Training changes declared objects: each draw begins with its own copy.
    program = _with_copies(program, builder)
    loop = For(draw, IntLit(0), IntSym(size, "size"), 1, program.body)
    fixed = {i.cell for i in program.initials}
    loop = spread(loop, fixed | {o.cell for o in program.outputs}, builder)
    before, rest = hoisted(loop, builder, lambda cell, _: True)
    if rest is None:
        return program.with_body(before), frozenset()
    index = IntSym(draw, "loop")
    changed = {c: replace(c, rank=c.rank + 1) for c in cells_written(rest.body)}
    body = map_cells(rest.body, {c: (new, lambda items: (index, *items)) for c, new in changed.items()})
    initials = tuple(replace(i, cell=changed[i.cell], extents=(IntSym(size, "size"), *i.extents))
                     if i.cell in changed else i for i in program.initials)
    outputs = tuple(replace(o, cell=changed.get(o.cell, o.cell)) for o in program.outputs)
    made = replace(program, body=(*before, replace(rest, body=body)), initials=initials, outputs=outputs)
    return made, frozenset(o.name for o in program.outputs if o.cell in changed)


def _with_copies(program: Program, builder: Builder) -> Program:
    """The program with copies of declared random objects that it changes, so that every draw has its own."""
    written = cells_written(program.body)
    random = [i for i in program.initials if i.cell in written and i.law.name != "zero"]
    if not random:
        return program
    changes: CellMap = {}
    copies: list[Statement] = []
    for initial in random:
        cell = initial.cell
        copy = builder.cell(f"{cell.name}_run", cell.type, cell.rank, display=cell.display)
        changes[cell] = (copy, lambda items: items)
        copies += _copy(initial, copy, builder)
    return program.with_body((*copies, *map_cells(program.body, changes)))


def _copy(initial: Initial, copy: Cell, builder: Builder) -> tuple[Statement, ...]:
    names = [builder.names.fresh("i") for _ in initial.extents]
    items = tuple(IntSym(v, "loop") for v in names)
    with builder.nested() as made:
        if isinstance(copy.type, MatrixType):
            builder.append(MatStore(copy, items, (MatrixTerm(None, initial.cell, items),), span=initial.cell.span))
        else:
            builder.append(Store(copy, items, builder.load(initial.cell, items, copy.tensor), span=initial.cell.span))
    return over_elements(names, initial.extents, tuple(made))
