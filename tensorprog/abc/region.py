"""The stable parametrizations in a plane of two exponents, from the inequalities of `classify`.

Every requirement is a conjunction of linear inequalities, once minima are taken apart: `min(s, t) + u >= 0` is `s + u >= 0`
and `t + u >= 0`. So the stable region is a convex polygon (cut at the frame of the picture), or, where an equation of the
initialization holds only on a line, a segment; edges where an inequality is tight are where training is nontrivial or
features are learned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from tensorprog.abc.classify import Classification, classify
from tensorprog.abc.exponents import exponent
from tensorprog.abc.parametrization import Parametrization

if TYPE_CHECKING:
    import sympy

    from tensorprog.abc.exponents import Exponent

Point = tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class HalfPlane:
    """x * `along[0]` + y * `along[1]` + `offset` >= 0; `said` is the requirement that it belongs to."""

    along: Point
    offset: Fraction
    said: str

    def at(self, point: Point) -> Fraction:
        """The left side at a point."""
        return self.along[0] * point[0] + self.along[1] * point[1] + self.offset


@dataclass(frozen=True, slots=True)
class Region:
    """The stable points (x, y) of a plane: the corners of a polygon in order (none if there is no stable point)."""

    names: tuple[str, str]
    corners: tuple[Point, ...]
    edges: tuple[tuple[Point, Point, str], ...]


def stable_region(p: Parametrization, names: tuple[str, str],
                  frame: tuple[Sequence[object], Sequence[object]]) -> Region:
    """The stable parametrizations where the unknowns `names` of `p` lie in the frame ((x0, x1), (y0, y1)).

    Raises:
        ValueError: if `p` has other unknowns than these two.
    """
    import sympy

    found = classify(p)
    x, y = (sympy.Symbol(name, real=True) for name in names)
    planes = list(_planes(found, x, y))
    (left, right), (low, high) = [[exponent(v) for v in axis] for axis in frame]
    polygon = [(left, low), (right, low), (right, high), (left, high)]
    for plane in planes:
        polygon = _cut(polygon, plane)
    corners = tuple(polygon)
    return Region(names, corners, tuple(_edges(corners, planes)))


def _planes(found: Classification, x: sympy.Symbol, y: sympy.Symbol) -> Iterator[HalfPlane]:
    for requirement in found.requirements:
        if requirement.holds is True or requirement.of != "stable":
            continue
        if requirement.holds is False:
            # Impossible: 0 x + 0 y - 1 >= 0 cuts off everything.
            yield HalfPlane((Fraction(0), Fraction(0)), Fraction(-1), requirement.said)
            continue
        for part in _linear_parts(requirement.holds):
            yield _half_plane(part, x, y, requirement.said)


def _linear_parts(condition: sympy.Basic) -> Iterator[sympy.Expr]:
    """The linear expressions that must all be at least 0."""
    import sympy

    if isinstance(condition, sympy.And):
        for part in condition.args:
            yield from _linear_parts(part)
        return
    difference = condition.lhs - condition.rhs
    if isinstance(condition, sympy.Eq):
        yield from (difference, -difference)
    elif isinstance(condition, sympy.Ge | sympy.Gt):
        yield from _without_minima(difference)
    else:
        yield from _without_minima(-difference)


def _without_minima(expression: sympy.Expr) -> Iterator[sympy.Expr]:
    """`min(s, t) + u >= 0` as `s + u >= 0` and `t + u >= 0`; minima have positive coefficients throughout."""
    import sympy

    minimum = next(iter(expression.atoms(sympy.Min)), None)
    if minimum is None:
        yield sympy.expand(expression)
        return
    for part in minimum.args:
        yield from _without_minima(expression.subs(minimum, part))


def _half_plane(expression: sympy.Expr, x: sympy.Symbol, y: sympy.Symbol, said: str) -> HalfPlane:
    import sympy

    polynomial = sympy.Poly(expression, x, y)
    if polynomial.total_degree() > 1 or expression.free_symbols - {x, y}:
        raise ValueError(f"`{said}` has other unknowns than {x} and {y}")
    values = [polynomial.coeff_monomial(m) for m in (x, y, 1)]
    a, b, c = (Fraction(int(v.p), int(v.q)) for v in values)
    return HalfPlane((a, b), c, said)


def _cut(polygon: list[Point], plane: HalfPlane) -> list[Point]:
    """The part of a convex polygon in a half plane, with exact corners (Sutherland and Hodgman)."""
    kept: list[Point] = []
    # A corner on the line belongs to the part that is kept, so only edges that cross it get a new one.
    for p, q in zip(polygon, polygon[1:] + polygon[:1]):
        at_p, at_q = plane.at(p), plane.at(q)
        if at_p >= 0:
            kept.append(p)
        if at_p * at_q < 0:
            share = at_p / (at_p - at_q)
            kept.append((p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])))
    # A polygon that is cut down to a segment gets its ends twice.
    return list(dict.fromkeys(kept))


def _edges(corners: tuple[Point, ...], planes: list[HalfPlane]) -> Iterator[tuple[Point, Point, str]]:
    """The edges that a requirement makes, with it; those of the frame are left out."""
    if len(corners) < 2:
        return
    for p, q in zip(corners, corners[1:] + corners[:1]):
        # A plane without a direction is the impossible requirement, which has no edge.
        tight = next((plane.said for plane in planes if any(plane.along) and plane.at(p) == plane.at(q) == 0), None)
        if tight is not None:
            yield p, q, tight


def plot_region(p: Parametrization, names: tuple[str, str], frame: tuple[Sequence[object], Sequence[object]],
                file: str | os.PathLike[str] | BinaryIO, marked: dict[str, tuple[object, object]] | None = None,
                format: str | None = None) -> None:
    """Draw the stable region with its edges named, feature learning and the kernel regime told apart.

    Args:
        file: a path, or an open file to write `format` (png, pdf, svg) to.
        marked: points to name in the picture, such as {"muP": (1/2, 0)}.
    """
    from matplotlib.figure import Figure

    region = stable_region(p, names, frame)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    (left, right), (low, high) = [[float(exponent(v)) for v in axis] for axis in frame]
    if len(region.corners) > 2:
        axes.fill(*zip(*[(float(a), float(b)) for a, b in region.corners]), color="0.9", label="stable")
    for k, (start, end, said) in enumerate(region.edges):
        kind = _kind(p, region, start, end)
        axes.plot([float(start[0]), float(end[0])], [float(start[1]), float(end[1])], lw=2.5, color=f"C{k}",
                  label=f"{said.replace('>=', '=')}: {kind}")
    for name, point in (marked or {}).items():
        place = [float(exponent(v)) for v in point]
        axes.plot(*place, "ko", ms=5)
        axes.annotate(name, (place[0], place[1]), textcoords="offset points", xytext=(6, 6))
    axes.set(xlim=(left, right), ylim=(low, high), xlabel=names[0], ylabel=names[1],
             title=f"stable parametrizations, {p.depth} hidden layer" + "s" * (p.depth > 1))
    axes.legend(loc="best", fontsize="small")
    figure.savefig(file, format=format, dpi=150)


def _kind(p: Parametrization, region: Region, start: Point, end: Point) -> str:
    """What training does in the middle of an edge."""
    # What is tight inside of an edge is so all along it, because the region is convex; its ends lie on other edges,
    # too.
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    found = classify(substituted(p, dict(zip(region.names, middle))))
    if found.feature_learning is True:
        return "feature learning"
    return "kernel regime" if found.kernel_regime is True else "trivial"


def substituted(p: Parametrization, values: dict[str, object]) -> Parametrization:
    """The parametrization with unknowns replaced by numbers."""
    def put(exponents: tuple[Exponent, ...]) -> list[Exponent]:
        return [e if isinstance(e, Fraction) else e.subs({s: _rational(values[s.name]) for s in e.free_symbols
                                                          if s.name in values}) for e in exponents]

    return Parametrization.of(put(p.a), put(p.b), put(p.c), None if p.d is None else put(p.d))


def _rational(value: object) -> object:
    import sympy

    known = exponent(value)
    return sympy.Rational(known.numerator, known.denominator) if isinstance(known, Fraction) else known
