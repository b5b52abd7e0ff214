"""A maximal update parametrization as the tables that people use, as LaTeX and as JSON.

The three tables say the same, by the symmetry of multiplier, spread and learning rate (`Entry.in_gauge`):

    Table 3 of TP V   no multipliers
    Table 8 of TP V   what has at most one width axis is initialized independently of n, and multiplied where it is used
    TP IV, abc        W = n**-a w, w ~ N(0, n**-2b), and one learning rate n**-c for all; for optimizers that normalize
                      gradients TP IVb, abcd, where the optimizer sees n**d times the gradient
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction

from tensorprog.diagnostics import Source, Span
from tensorprog.powers.entries import GaugeRow, MultiplierUse, Mup, TrainableEntry
from tensorprog.powers.unknowns import Reason

TITLES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
Columns = list[tuple[str, list[str]]]


def _line(span: Span | None) -> int | None:
    return None if span is None else span.line


def excerpt(source: Source, span: Span | None) -> str:
    """The program's text at a place, in one line."""
    if span is None:
        return "?"
    lines = [source.line(k) for k in range(span.line, span.end_line + 1)]
    lines[-1] = lines[-1][:span.end_column - 1]
    lines[0] = lines[0][span.column - 1:]
    return " ".join(" ".join(lines).split())


# --- gauges --------------------------------------------------------------------------------------------------


def table_3(entry: TrainableEntry) -> GaugeRow:
    """The gauge without multipliers."""
    return entry.plain


def table_8(entry: TrainableEntry) -> GaugeRow:
    """The gauge in which all but width x width matrices have a spread that does not depend on n."""
    # The spread becomes the multiplier.
    return entry.plain if entry.axes == 2 else entry.in_gauge(entry.plain.spread)


def _minus(power: Fraction | None) -> Fraction | None:
    return None if power is None else -power


def abc(entry: TrainableEntry) -> tuple[Fraction | None, ...]:
    """The exponents a, b, c of TP IV in the gauge c = 0 for SGD; a, b, c, d of TP IVb for others (Table 8's gauge)."""
    if entry.rule == "sgd":
        # The multiplier moves the rate by its square (TP IV, Eq. 5): half of the rate's power makes c = 0.
        row = entry.in_gauge((entry.plain.rate or Fraction(0)) / 2)
        return -row.multiplier, -row.spread, _minus(row.rate)
    row = table_8(entry)
    return -row.multiplier, -row.spread, _minus(row.rate), _minus(row.gradient)


# --- text ----------------------------------------------------------------------------------------------------


def power_of(base: str, power: Fraction | None) -> str:
    """`1`, `r`, `r^(-1/2)`; `-` for none."""
    if power is None:
        return "-"
    if power == 0:
        return "1"
    return base if power == 1 else f"{base}^({power})" if power < 0 or power.denominator > 1 else f"{base}^{power}"


def to_text(found: Mup, base: int | None = None) -> str:
    """The tables for a terminal."""
    unit = "the base width" if base is None else str(base)
    lines = [f"muP of {found.source.name} for {TITLES[found.optimizer]}; r = n / {unit}, and what is tuned for the "
             "base width is multiplied by", ""]
    lines += ["no multipliers (TP V, Table 3)", *_indented(_columns(found, table_3)), ""]
    lines += ["multipliers (TP V, Table 8)", *_indented(_columns(found, table_8)), ""]
    lines += [_abc_title(found), *_indented(_abc_columns(found)), ""]
    if any(e.multiplier for e in found.entries):
        lines += ["for the program as it is written, with its own powers of n",
                  *_indented(_columns(found, lambda e: e.as_written)), ""]
    lines += [*_use_lines(found), *_constant_lines(found)]
    clipping = found.clipping()
    if clipping is not None:
        lines += [f"clipping of the gradient's norm (no multipliers): a threshold times {power_of('r', clipping)}", ""]
    return "\n".join([*lines, "why", *(f"  {line}" for line in reasons(found))])


def _columns(found: Mup, gauge: Callable[[TrainableEntry], GaugeRow]) -> Columns:
    rows = [gauge(e) for e in found.entries]
    columns = [("", [e.name for e in found.entries]),
               ("initial spread", [power_of("r", r.spread) for r in rows]),
               ("multiplier", [_multipliers(e, r) for e, r in zip(found.entries, rows)]),
               ("learning rate", [power_of("r", r.rate) for r in rows])]
    if found.optimizer == "muon":
        columns.append(("by", [TITLES[e.rule] for e in found.entries]))
    if any(r.epsilon is not None for r in rows):
        columns.append(("epsilon", [power_of("r", r.epsilon) for r in rows]))
    return [*columns, ("weight decay", [power_of("r", r.decay) for r in rows])]


def _multipliers(entry: TrainableEntry, row: GaugeRow) -> str:
    """The multiplier of the first use, and those of others where they differ."""
    # Relative to the first use, and so on top of the gauge's own multiplier.
    later = [f"{power_of('r', row.multiplier + other)} in a later use" for other in dict.fromkeys(entry.later)]
    return ", ".join([power_of("r", row.multiplier), *later])


def _abc_title(found: Mup) -> str:
    if found.optimizer == "sgd":
        return "one learning rate (TP IV): W = n^(-a) w, w ~ N(0, n^(-2b)), learning rate n^(-c)"
    return "TP IVb: W = n^(-a) w, w ~ N(0, n^(-2b)), learning rate n^(-c), and the optimizer sees n^d gradient"


def _abc_columns(found: Mup) -> Columns:
    values = [abc(e) for e in found.entries]
    return [("", [e.name for e in found.entries]),
            # Under SGD there is no d.
            *((name, ["-" if k >= len(v) or v[k] is None else str(v[k]) for v in values])
              for k, name in enumerate("abcd") if any(k < len(v) for v in values))]


def _indented(columns: Columns) -> list[str]:
    return [f"  {line}" for line in aligned(columns)]


def aligned(columns: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Columns of text with their headings."""
    widths = [max(len(title), *(len(cell) for cell in cells)) for title, cells in columns]
    rows = [[title for title, _ in columns], *map(list, zip(*(cells for _, cells in columns)))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _use_lines(found: Mup) -> list[str]:
    lines = []
    for use in found.uses:
        lines.append(f"line {_line(use.span)}: `{excerpt(found.source, use.span)}` is multiplied by "
                     f"{power_of('n', use.relative)}{_already(use)}")
    return [*lines, ""] if lines else []


def _constant_lines(found: Mup) -> list[str]:
    lines = [f"line {_line(c.span)}: `{excerpt(found.source, c.span)}`, which meets gradients, is multiplied by "
             f"{power_of('n', c.power)}" for c in found.constants]
    return [*lines, ""] if lines else []


def _already(use: MultiplierUse) -> str:
    if use.missing == 0:
        return ", as it is"
    return f", of which the program has {power_of('n', use.written)}" if use.written and not use.objects else ""


# --- reasons -------------------------------------------------------------------------------------------------


def reasons(found: Mup) -> list[str]:
    """Why every entry is what it is, one line each."""
    lines = []
    for entry in found.entries:
        lines += [f"{entry.name}: {text}" for text in (_why_spread(found, entry), _why_rate(found, entry))]
    for use in found.uses:
        whom = f"`{use.objects[0]}` has its spread from an earlier use" if use.objects else \
            "its factors are activations of order one, which training correlates"
        what = "a sum of n terms in step is divided by n" if use.relative == -1 else \
            f"{power_of('n', use.relative)} makes it of order one"
        lines.append(f"line {_line(use.span)}: {whom}; {what}")
    return lines


def _why_spread(found: Mup, entry: TrainableEntry) -> str:
    return (f"the spread is {power_of('n', entry.plain.spread)}: {_use(found, entry.why_spread)} times an initial "
            "entry, and it is to be of order one")


def _use(found: Mup, why: Reason) -> str:
    """What a use makes of an object, apart from the powers of n that the program writes."""
    own = f" (but for the program's own {power_of('n', why.written)})" if why.written else ""
    text = excerpt(found.source, why.span)
    return f"`{text}` (line {_line(why.span)}) is{own} {power_of('n', why.power - why.written)}"


def _why_rate(found: Mup, entry: TrainableEntry) -> str:
    row = entry.plain
    update = (f"{_use(found, entry.why_update)} times an update's entry, which is to be "
              f"{power_of('n', entry.update + entry.multiplier)} then")
    match entry.rule:
        case "sgd" if entry.gradient is None:
            return f"{update}; its gradient is zero"
        case "sgd":
            how = f"the gradient's entries are {power_of('n', row.gradient)}"
        case "muon":
            how = f"a step with singular values 1 has entries {power_of('n', -Fraction(entry.axes, 2))}"
        case _:
            how = f"{TITLES[entry.rule]} makes entries of order one"
    return f"the learning rate is {power_of('n', row.rate)}: {update}, and {how}"


# --- JSON and LaTeX ------------------------------------------------------------------------------------------


def _exponent(power: Fraction | None) -> str | None:
    return None if power is None else str(power)


def to_json(found: Mup) -> str:
    """Exponents of n by object, in the gauge without multipliers."""
    table: dict[str, dict[str, object]] = {e.name: _entry_json(found, e) for e in found.entries}
    for use in (u for u in found.uses if not u.objects):
        table[excerpt(found.source, use.span)] = {
            "std": None, "multiplier": _exponent(use.relative), "lr": None, "line": _line(use.span),
            "missing": _exponent(use.missing)}
    for constant in found.constants:
        table[f"{excerpt(found.source, constant.span)} (line {_line(constant.span)})"] = {
            "std": None, "multiplier": _exponent(constant.power), "lr": None, "line": _line(constant.span)}
    table["gradient clipping"] = {"std": None, "multiplier": None, "lr": None,
                                  "threshold": _exponent(found.clipping())}
    return json.dumps(table)


def _entry_json(found: Mup, entry: TrainableEntry) -> dict[str, object]:
    row, written = entry.plain, entry.as_written
    result: dict[str, object] = {"std": _exponent(row.spread), "multiplier": _exponent(entry.later[0] if entry.later else Fraction(0)),
              "lr": _exponent(row.rate), "optimizer": entry.rule, "gradient": _exponent(row.gradient),
              "decay": _exponent(row.decay)}
    if row.epsilon is not None:
        result["eps"] = _exponent(row.epsilon)
    if entry.rule == "muon":
        result["torch.optim.Muon"] = {name: _exponent(p) for name, p in entry.torch_muon.items()}
    return result | {"abc": {name: _exponent(v) for name, v in zip("abcd", abc(entry))},
                     "table_8": {"std": _exponent(table_8(entry).spread), "lr": _exponent(table_8(entry).rate),
                                 "multiplier": _exponent(table_8(entry).multiplier)},
                     "written": {"std": _exponent(written.spread), "multiplier": _exponent(written.multiplier),
                                 "lr": _exponent(written.rate)},
                     "why": [_why_spread(found, entry), _why_rate(found, entry)]}


def to_latex(found: Mup) -> str:
    """Table 3 and Table 8 as `tabular` environments."""
    return "\n\n".join(_tabular(_columns(found, gauge)) for gauge in (table_3, table_8))


def _tabular(columns: Columns) -> str:
    rows = zip(*(cells for _, cells in columns))
    body = [" & ".join(title for title, _ in columns) + r" \\ \hline",
            *(" & ".join(_cell(cell) for cell in row) + r" \\" for row in rows)]
    return "\n".join([r"\begin{tabular}{" + "l" * len(columns) + "}", *body, r"\end{tabular}"])


def _cell(text: str) -> str:
    """A power as a formula; names stay text."""
    return ", ".join(f"${part.replace('^(', '^{').replace(')', '}')}$" if part.startswith("r^") or part == "r" or
                     part == "1" else part.replace("_", r"\_") for part in text.split(", "))
