"""What `tpc classify` does with its options; every mistake is TP715."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tensorprog.abc.classify import Classification, classify
from tensorprog.abc.exponents import exponent
from tensorprog.abc.parametrization import ADAPTIVE_NAMES, SGD_NAMES, Parametrization, named
from tensorprog.files import mistake, write_whole

EXAMPLE = "write `tpc classify muP --depth 3`, or `tpc classify -a 0,0,0 -b 0,1/2,1/2 -c 1`"


def classification(name: str | None, depth: int, adaptive: bool, exponents: Mapping[str, str | None]) -> Classification:
    """The classification that the options ask for.

    Raises:
        ProgramError: TP715, for a name or exponents that make no parametrization.
    """
    given = {key: text.removeprefix("=") for key, text in exponents.items() if text is not None}  # -a=1 of a short option
    if (name is None) == (not given):
        what = "both a name and exponents" if name else "neither a name nor exponents"
        raise mistake("TP715", f"there are {what}", EXAMPLE)
    missing = [] if name else [f"-{key}" for key in "abc" if key not in given]
    if missing:
        raise mistake("TP715", f"the exponents are not complete: {', '.join(missing)} is missing", EXAMPLE)
    try:
        if name is not None:
            return classify(named(name, depth, adaptive))
        lists = {key: text.split(",") for key, text in given.items()}
        # One exponent of `a` or `b` would leave the depth open.
        single = {key: parts[0] if len(parts) == 1 and key in "cd" else parts for key, parts in lists.items()}
        return classify(Parametrization.of(single["a"], single["b"], single["c"], single.get("d")))
    except ValueError as error:
        raise mistake("TP715", str(error), EXAMPLE) from None


def draw(found: Classification, frame: str, path: str | os.PathLike[str]) -> None:
    """The stable region in the plane of the two unknowns, with the named parametrizations that lie in it.

    Raises:
        ProgramError: TP715, unless there are two unknowns and a frame x0:x1,y0:y1; TP707, if the file cannot be written.
    """
    from tensorprog.abc.region import plot_region

    p = found.parametrization
    names = unknowns(p)
    if len(names) != 2:
        raise mistake("TP715", f"a picture has two unknown exponents, and here are {len(names)}",
                      "write `tpc classify -a -1/2,0,1/2 -b 1/2,1/2,y -c x --plot region.png`")
    try:
        (left, right), (low, high) = ([exponent(end) for end in axis.split(":")] for axis in frame.split(","))
        if not (left < right and low < high):
            raise ValueError("its ends are in the wrong order")
    except (ValueError, TypeError) as error:
        raise mistake("TP715", f"'{frame}' is not a frame of a picture: {error}", "write it as `-1:2,-1:2`") from None
    marked = _named_points(p, names)
    suffix = os.path.splitext(os.fspath(path))[1].lstrip(".") or "png"
    try:
        write_whole(path, lambda file: plot_region(p, names, ((left, right), (low, high)), file, marked, suffix))
    except ValueError as error:
        raise mistake("TP715", str(error), "use .png, .pdf or .svg, and no other unknowns") from None


def unknowns(p: Parametrization) -> tuple[str, ...]:
    """The names of the unknown exponents, in order."""
    values = [*p.a, *p.b, *p.c, *(p.d or ())]
    return tuple(sorted({s.name for v in values for s in getattr(v, "free_symbols", ())}))


# A name stands for all parametrizations that are equivalent to it, so equations are solved between those with a = 0.
def _named_points(p: Parametrization, names: tuple[str, str]) -> dict[str, tuple[object, object]]:
    """Where named parametrizations lie in the plane, up to the symmetry."""
    import sympy

    symbols = [sympy.Symbol(name, real=True) for name in names]
    points = {}
    for name in ADAPTIVE_NAMES if p.adaptive else SGD_NAMES:
        if name == "MFP" and p.depth != 1:
            continue
        one, two = p.canonical(), named(name, p.depth, p.adaptive).canonical()
        pairs = [(x, y) for f in ("a", "b", "c", "d") if getattr(p, f) is not None
                 for x, y in zip(getattr(one, f), getattr(two, f))]
        solution = sympy.solve([sympy.sympify(x) - sympy.sympify(y) for x, y in pairs], symbols, dict=True)
        if len(solution) == 1 and set(solution[0]) == set(symbols) and not any(
                v.free_symbols for v in solution[0].values()):
            points[name] = tuple(solution[0][s] for s in symbols)
    return points
