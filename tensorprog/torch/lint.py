"""What contradicts the table: in the module, and in settings that are the same at every width."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.torch.tables import power, site_text

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable

ZERO = Fraction(0)


def starred(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Names of parameters, with those of all layers that are alike as one, `h.*.ln.weight`; `among` are all names that there
    are."""
    wanted = list(names)
    patterns: dict[str, list[str]] = {}
    for name in among:
        patterns.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    found: dict[str, None] = {}
    for name in wanted:
        pattern = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        alike = patterns[pattern]
        found[pattern if len(alike) > 1 and set(alike) <= set(wanted) else name] = None
    return list(found)


def lint(table: MuTable, *, constant: Iterable[str] = ("lr", "eps", "weight_decay", "clipping")) -> list[str]:
    """One line for each contradiction. `constant` are the settings that do not change with the width: they are held
    against the table."""
    constant = set(constant)
    return [*_initial(table), *_sites(table), *_settings(table, constant), *_clipping(table, constant)]


def _initial(table: MuTable) -> Iterator[str]:
    for row in table.rows:
        law = table.traced.laws[row.name]
        gap = law.power - row.exponents.std
        # Zeros are right at any power.
        if law.law.size == 0.0 or gap == 0:
            continue
        effect = "vanishes" if gap < 0 else "grows"
        yield (
            f"{row.name} starts with entries {power(law.power)}, and {power(row.exponents.std)} is needed: what it "
            f"adds {effect} as {power(gap)}"
        )


def _sites(table: MuTable) -> Iterator[str]:
    for site in table.sites:
        if site.params:
            yield (
                f"{site_text(site)} grows as {power(-site.exponent)}: {site.params[0]} is used for a second time, and "
                f"needs a multiplier {power(site.exponent)} here"
            )
        else:
            scaled = "not scaled" if site.exponent == -1 else "scaled by d^(-1/2)"
            yield (
                f"{site_text(site)} grows as {power(-site.exponent)} once queries and keys align: what is {scaled} "
                f"needs 1/d, that is, {power(site.exponent)} more"
            )


def _settings(table: MuTable, constant: set[str]) -> Iterator[str]:
    for setting, words in (("lr", "learning rate"), ("eps", "eps"), ("weight_decay", "weight decay")):
        wrong: dict[Fraction, list[str]] = {}
        for row in table.trained:
            exponent = getattr(row.exponents, setting)
            if setting in constant and exponent:
                wrong.setdefault(exponent, []).append(row.name)
        # The exponents that shrink first: too large a setting at large widths diverges, the others are only slow.
        for exponent, names in sorted(wrong.items()):
            verdict = "is too large at large widths" if exponent < 0 else "has to grow with the width"
            among = [row.name for row in table.rows]
            yield f"a constant {words} {verdict} for {', '.join(starred(names, among))}: it goes as {power(exponent)}"


def _clipping(table: MuTable, constant: set[str]) -> Iterator[str]:
    if "clipping" in constant and table.clipping > 0:
        yield (
            f"a threshold that clips the gradient's norm has to grow as {power(table.clipping)}: with a constant one, "
            f"all learning rates shrink with the width"
        )
