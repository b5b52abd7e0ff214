"""Ranges of indices: which values an expression takes, and the range that covers two others. Loops are taken to run at
least once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Expr, expand

from tensorprog.derive.rules import Index

Ranges = tuple[Index, ...]


def end(expr: Expr, ranges: Ranges, largest: bool) -> Expr | None:
    """The smallest or largest value over ranges, each of which may depend on those before it; None if not known."""
    # Inner ranges first: their ends may hold outer indices.
    for each in reversed(ranges):
        expr = expand(expr)
        factor = expr.coeff(each.symbol)
        if (rest := expr - factor * each.symbol).has(each.symbol) or not factor.is_Integer:
            return None
        if factor != 0:
            expr = rest + factor * (each.high if (factor > 0) == largest else each.low)
    return expand(expr)


def never_above(left: Expr, right: Expr, ranges: Ranges = ()) -> bool:
    # Index symbols have no sign, so that it takes a difference that is a number.
    """Whether `left <= right` is certain."""
    least = end(right - left, ranges, largest=False)
    return least is not None and least.is_nonnegative is True


def inside(each: Index, values: Mapping[Expr, Expr], ranges: Ranges) -> bool:
    """Whether the value of an index lies in its range, for all values of the indices that it depends on."""
    value, low, high = values[each.symbol], each.low.xreplace(values), each.high.xreplace(values)
    # Loops run at least once, so that low <= high: what is at least `high` is at least `low`.
    return any(never_above(edge, value, ranges) for edge in (low, high)) \
        and any(never_above(value, edge, ranges) for edge in (high, low))


def boxed(own: Ranges, others: Ranges) -> Ranges | None:
    """Ranges that depend on no index any more, the `others` being those that they may depend on; None if that is not
    possible."""
    result = []
    for each in own:
        low, high = end(each.low, others, largest=False), end(each.high, others, largest=True)
        if low is None or high is None:
            return None
        result.append(Index(each.symbol, low, high))
    return tuple(result)


def joined(own: Ranges, values: Mapping[Expr, Expr], ranges: Ranges, together: Iterable[set[Expr]]) -> Ranges | None:
    """Ranges of indices that hold their `values` as well; None if there are none without new combinations of indices
    that belong `together` (those of one variable)."""
    if all(inside(each, values, ranges) for each in own):
        return own
    box = boxed(own, own)
    if box is None:
        return None
    asked = [Index(e.symbol, *(end(values[e.symbol], ranges, largest) for largest in (False, True))) for e in box]
    result = [hull for mine, theirs in zip(box, asked, strict=True) if (hull := _hull(mine, theirs)) is not None]
    if len(result) < len(box):
        return None
    symbols = {each.symbol for each in own}
    dependent = {each.symbol for each in own if (each.low.free_symbols | each.high.free_symbols) & symbols}
    wider = {new.symbol for new, old in zip(result, box, strict=True) if new != old}
    partial = {new.symbol for new, part in zip(result, asked, strict=True) if new != part}
    # Pairs (t, a) that no place asked for must not come in: not by a box around a range that grows in t, nor where two
    # indices of one variable grow at once, nor where one grows and the other was only asked for in part.
    for group in together:
        if len(group) > 1 and (group & dependent or len(group & wider) > 1
                               or (group & wider and (group - wider) & partial)):
            return None
    return tuple(result)


def _hull(mine: Index, theirs: Index) -> Index | None:
    """The range of both; None if that is not known or has values that neither has."""
    if theirs.low is None or theirs.high is None:
        return None
    # Ranges that border on each other join; with a value between them that neither has, they do not.
    if never_above(mine.high + 2, theirs.low) or never_above(theirs.high + 2, mine.low):
        return None
    pairs = ((mine, theirs), (theirs, mine))
    low = next((a.low for a, b in pairs if never_above(a.low, b.low) or never_above(a.high, b.low)), None)
    high = next((a.high for a, b in pairs if never_above(b.high, a.high) or never_above(b.high, a.low)), None)
    return None if low is None or high is None else Index(mine.symbol, low, high)
