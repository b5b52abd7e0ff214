"""The program with the spreads, multipliers and learning rates of muP, as changes of its text.

Three kinds of changes: the argument of a declared law gets a power of n, an expression gets a multiplier, and the right
side of an update one that makes it as large as it may be. The update rule stays the program's own. The result is read
again, and must need no change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction

from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, Source, Span
from tensorprog.ensembles import spread_of
from tensorprog.ir.program import Initial, MatrixType
from tensorprog.passes.powers import initial_power
from tensorprog.powers.entries import HALF, Mup
from tensorprog.syntax import parse, tree


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of text that gets a factor n**power; `whole`, if nothing around it needs parentheses."""

    span: Span
    power: Fraction
    loose: bool
    whole: bool


def rewritten(found: Mup) -> str:
    """The changed text.

    Raises:
        ProgramError: TP723, for what cannot be changed at its place.
    """
    module = parse(found.source)
    edits = [*_law_edits(found, module), *_multiplier_edits(found, module), *_constant_edits(found, module),
             *_update_edits(found, module)]
    text = _edited(found.source, edits, found.program.widths[0].name)
    _require_done(found, Source(found.source.name, text))
    return text


def _refuse(found: Mup, what: str, span: Span | None, help: str) -> ProgramError:
    return ProgramError([Diagnostic("TP723", what, span, help=help)], found.source)


# --- where to change what ------------------------------------------------------------------------------------


def _law_edits(found: Mup, module: tree.Module) -> Iterator[Edit]:
    declared = {s.name.name: s for s in module.statements if isinstance(s, tree.MatrixDecl | tree.VectorDecl)}
    initials = {i.cell: i for i in found.program.initials}
    for entry in found.entries:
        initial = initials.get(entry.cell)
        power = _declared_spread(found, initial) if initial else None
        if power is None or power == entry.spread:
            continue
        law = declared[entry.name].law
        change = entry.spread - power
        assert law is not None, "what has a spread has a law"
        if not (scales := spread_of(law)):
            raise _refuse(found, f"the entries of `{entry.name}` must be n^({change}) times as large, and `{law.name}` "
                                 "has no scale", law.span, "declare it as `normal(0, variance)`")
        # Lengths are multiplied by n**change, variances by its square.
        for k, times in scales.items():
            yield _edit(law.args[k], change * times, whole=True)


def _declared_spread(found: Mup, initial: Initial) -> Fraction | None:
    power = initial_power(found.program, initial, found.env)
    return power - HALF if power is not None and isinstance(initial.cell.type, MatrixType) else power


def _multiplier_edits(found: Mup, module: tree.Module) -> Iterator[Edit]:
    nodes = list(_nodes(module))
    # The whole right side of an assignment needs no parentheses.
    alone = {n.value.span for n in nodes if isinstance(n, tree.Assign | tree.Return)}
    expressions = {n.span: n for n in nodes if isinstance(n, tree.Expr)}
    for use in found.uses:
        if use.missing and use.span not in expressions:
            raise _refuse(found, f"a value that is made here needs a multiplier n^({use.missing})", use.span,
                          "write the operation as an expression of its own")
        if use.missing:
            yield _edit(expressions[use.span], use.missing, whole=use.span in alone)


def _constant_edits(found: Mup, module: tree.Module) -> Iterator[Edit]:
    expressions = {n.span: n for n in _nodes(module) if isinstance(n, tree.Expr)}
    powers: dict[Span | None, set[Fraction]] = {}
    for constant in found.constants:
        powers.setdefault(constant.span, set()).add(constant.power)
    for span, (power, *others) in powers.items():
        if others or span not in expressions:
            raise _refuse(found, "this number meets gradients of different sizes" if others else
                          f"a number that meets gradients must be n^({power}) times as large here", span,
                          "hand it to the function as an argument" if others else "write the number at its place")
        yield _edit(expressions[span], power, whole=True)


def _update_edits(found: Mup, module: tree.Module) -> Iterator[Edit]:
    assignments = {n.span: n for n in _nodes(module) if isinstance(n, tree.Assign)}
    for update in found.updates:
        wanted = found[update.name].update
        if update.power is None or update.power == wanted:
            continue
        # The whole update is scaled, whatever rule of the optimizer is in it.
        value = _added(assignments.get(update.span))
        if value is None:
            raise _refuse(found, f"this update of `{update.name}` must be n^({wanted - update.power}) times as large",
                          update.span, f"write it as `{update.name} -= ...`")
        yield _edit(value, wanted - update.power, whole=True)


def _added(node: tree.Assign | None) -> tree.Expr | None:
    """What an assignment adds to its target or takes away from it."""
    match node:
        case tree.Assign(op="-=" | "+=", value=value):
            return value
        # Compared as trees, so that spaces do not matter.
        case tree.Assign(op="=", value=tree.Binary(op="-" | "+", left=left, right=right)) if left == node.target:
            return right
        case _:
            return None


def _nodes(node: object) -> Iterator[tree.TreeNode]:
    """A tree's parts."""
    if isinstance(node, tuple):
        for part in node:
            yield from _nodes(part)
    elif isinstance(node, tree.TreeNode):
        yield node
        for f in fields(node):
            yield from _nodes(getattr(node, f.name))


# --- changing the text ---------------------------------------------------------------------------------------


def _edit(node: tree.Expr, power: Fraction, whole: bool) -> Edit:
    loose = isinstance(node, tree.IfExp) or (isinstance(node, tree.Binary) and node.op in "+-") or \
        isinstance(node, tree.Unary)
    assert node.span is not None, "what was read has a place"
    return Edit(node.span, power, loose, whole)


def _edited(source: Source, edits: list[Edit], width: str) -> str:
    lines = source.text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    inserted: list[tuple[int, int, str]] = []
    for edit in edits:
        a = starts[edit.span.line - 1] + edit.span.column - 1
        b = starts[edit.span.end_line - 1] + edit.span.end_column - 1
        before, after = _factor_around(source.text[a:b], edit, width)
        # Of edits inside of each other, the longer one begins first and ends last.
        inserted += [(a, a - b, before), (b, b - a, after)]
    text = source.text
    # From the end, because an insertion moves what is behind it.
    for place, _, piece in sorted(inserted, reverse=True):
        text = text[:place] + piece + text[place:]
    return text


def _factor_around(text: str, edit: Edit, width: str) -> tuple[str, str]:
    """What an edit puts before and after its text."""
    before, after = ("(", ")") if edit.loose else ("", "")
    power = abs(edit.power)
    factor = width if power == 1 else f"{width}**{power}" if power.denominator == 1 else f"{width}**({power})"
    before, after = (f"{factor} * {before}", after) if edit.power > 0 else (before, f"{after} / {factor}")
    # `n * W @ x` is (n * W) @ x, and a quotient may stand behind another one.
    if edit.whole or (edit.power > 0 and not edit.loose and "@" not in text):
        return before, after
    return f"({before}", f"{after})"


def _require_done(found: Mup, source: Source) -> None:
    """The changed program must be in muP: what it declares, multiplies by and adds is what the calculus asks for."""
    from tensorprog.check import front
    from tensorprog.powers.mup import maximal_update

    # What was found of the old text is not trusted: one expression may be in several calls.
    again = maximal_update(front(source, Reporter(source)), found.optimizer, found.env)
    initials = {i.cell: i for i in again.program.initials}
    for entry in again.entries:
        initial = initials.get(entry.cell)
        power = _declared_spread(again, initial) if initial else None
        if power not in (None, entry.spread):
            raise _refuse(again, f"the spread of `{entry.name}` does not become n^({entry.spread})", entry.cell.span,
                          "declare it as `normal(0, variance)`")
    for use in again.uses:
        if use.missing:
            raise _refuse(again, "this value needs different multipliers in different calls", use.span,
                          "write the calls out, or use two functions")
    for constant in again.constants:
        raise _refuse(again, f"this number must be n^({constant.power}) times as large beside gradients", constant.span,
                      "hand it to the function as an argument")
    for update in again.updates:
        if update.power not in (None, again[update.name].update):
            raise _refuse(again, f"a factor of this update of `{update.name}` does not change its size", update.span,
                          "the update is not proportional to the gradient: scale its learning rate by hand")
