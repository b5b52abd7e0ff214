"""A classification as text, LaTeX and JSON."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.abc.classify import Classification, Layer, Requirement
from tensorprog.abc.exponents import symbolic

if TYPE_CHECKING:
    from tensorprog.abc.exponents import Condition, Exponent


def verdict(found: Classification) -> str:
    """The kind of limit in a sentence, with the reason."""
    if found.stable is False:
        broken = _broken(found, "stable")
        return f"unstable: {broken.broken} ({broken.said} does not hold)"
    if found.stable is not True:
        return "depends on the unknown exponents: stable if all conditions below hold"
    start = "its output at initialization is " + ("a Gaussian process" if found.random_output else "0")
    if found.nontrivial is False:
        return f"trivial: stable, but training does not change the function; {start}"
    if found.feature_learning is True:
        layers = ", ".join(f"x^{layer.number}" for layer in found.layers if layer.learns_features is True)
        kind = "all updates are maximal" if found.maximal is True else "not all updates are maximal"
        return f"feature learning: r = 0, the features {layers} move; {kind}; {start}"
    if found.kernel_regime is True:
        how = "an operator on the loss derivatives (TP IVb)" if found.parametrization.adaptive else \
            "kernel gradient descent"
        return f"kernel regime: r = {found.r} > 0, features move by n^(-{found.r}), and the function follows {how}; {start}"
    return "depends on the unknown exponents"


def _broken(found: Classification, of: str) -> Requirement:
    """The first condition that does not hold."""
    return next(r for r in found.requirements if r.of == of and r.holds is False)


def to_text(found: Classification) -> str:
    """The classification for a terminal."""
    p = found.parametrization
    columns = [("layer", [str(layer.number) for layer in found.layers])]
    columns += [(name, [_text(v) for v in values]) for name, values in (("a", p.a), ("b", p.b), ("c", p.c))]
    if p.d is not None:
        columns.append(("d", [_text(v) for v in p.d]))
    columns += [("r_l", [_text(layer.r) if layer.moves is not None else "" for layer in found.layers]),
                ("features move", [_features(layer) for layer in found.layers]),
                ("updated maximally", [_answer(layer.updated_maximally) for layer in found.layers]),
                ("initialized maximally", [_answer(layer.initialized_maximally) for layer in found.layers])]
    lines = [verdict(found)]
    if found.names:
        lines.append(f"equivalent to {' and '.join(found.names)}, by the symmetry of a, b and c")
    if found.faithful is False:
        broken = _broken(found, "faithful")
        lines.append(f"not faithful: {broken.broken} ({broken.said} does not hold)")
    lines += ["", *_table(columns), ""]
    for requirement in found.requirements:
        mark = {True: "holds", False: "BROKEN"}.get(requirement.holds, f"if {requirement.holds}")
        lines.append(f"  {requirement.said:<28} {mark}" + (f": {requirement.broken}" if mark == "BROKEN" else ""))
    return "\n".join(lines)


def _table(columns: list[tuple[str, list[str]]]) -> list[str]:
    widths = [max(len(head), *map(len, cells)) for head, cells in columns]
    rows = [[head for head, _ in columns], *zip(*(cells for _, cells in columns))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _features(layer: Layer) -> str:
    if layer.moves is None:
        return ""
    return "yes" if layer.learns_features is True else f"by n^({_text(-layer.moves)})"


def _text(value: Exponent) -> str:
    return str(value)


def _answer(condition: Condition) -> str:
    return {True: "yes", False: "no"}.get(condition, str(condition))


def to_json(found: Classification) -> dict[str, object]:
    """The classification as plain data; exponents and open conditions as text."""
    p = found.parametrization
    return {
        "a": _texts(p.a), "b": _texts(p.b), "c": _texts(p.c), "d": None if p.d is None else _texts(p.d),
        "stable": _data(found.stable), "faithful": _data(found.faithful), "nontrivial": _data(found.nontrivial),
        "r": _text(found.r), "r_l": _texts(found.r_l), "feature_learning": _data(found.feature_learning),
        "kernel_regime": _data(found.kernel_regime), "random_output": _data(found.random_output),
        "maximal": _data(found.maximal), "names": list(found.names), "reason": verdict(found),
        "layers": [{"layer": layer.number, "r": _text(layer.r),
                    "learns_features": None if layer.learns_features is None else _data(layer.learns_features),
                    "updated_maximally": _data(layer.updated_maximally),
                    "initialized_maximally": _data(layer.initialized_maximally)} for layer in found.layers],
        "requirements": [{"requirement": r.said, "holds": _data(r.holds), "otherwise": r.broken}
                         for r in found.requirements],
    }


def _texts(values: tuple[Exponent, ...]) -> list[str]:
    return [_text(v) for v in values]


def _data(condition: Condition) -> bool | str:
    return condition if isinstance(condition, bool) else str(condition)


def to_latex(found: Classification) -> str:
    """The exponents and the conditions as a LaTeX table and a list."""
    p = found.parametrization
    rows = [("a_l", p.a), ("b_l", p.b), ("c_l", p.c), *([("d_l", p.d)] if p.d is not None else []),
            ("r_l", found.r_l)]
    lines = [r"\begin{tabular}{l" + "c" * len(found.layers) + "}", r"\hline",
             "$l$ & " + " & ".join(str(layer.number) for layer in found.layers) + r" \\", r"\hline"]
    for name, values in rows:
        cells = [f"${_latex(v)}$" for v in values] + [""] * (len(found.layers) - len(values))
        lines.append(f"${name}$ & " + " & ".join(cells) + r" \\")
    lines += [r"\hline", r"\end{tabular}", "", r"\begin{itemize}"]
    for requirement in found.requirements:
        mark = {True: "holds", False: "does not hold"}.get(requirement.holds)
        lines.append(rf"\item ${_formula(requirement.said)}$: " + (mark or f"if ${_latex_condition(requirement.holds)}$"))
    return "\n".join([*lines, r"\end{itemize}"])


def _formula(said: str) -> str:
    return re.sub(r"_(\d+)", r"_{\1}", said).replace(">=", r"\ge").replace("<=", r"\le").replace("1/2", r"\tfrac12")


def _latex(value: Exponent) -> str:
    if isinstance(value, Fraction) and value.denominator == 1:
        return str(value)
    import sympy

    return sympy.latex(symbolic(value))


def _latex_condition(condition: Condition) -> str:
    import sympy

    return sympy.latex(condition)
