"""What a verification found, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from tensorprog.results import Result
from tensorprog.results_text import NO_LIMIT, html_cells, html_table, with_error
from tensorprog.verify.statistics import PowerFit

AGREES, DIFFERS, DIVERGED, UNRESOLVED = "agrees", "differs", "diverged", "not resolved"
#: Verdicts on all outputs together, beside `UNRESOLVED`.
PASSED, FAILED = "passed", "failed"

__all__ = ["AGREES", "DIFFERS", "DIVERGED", "NO_LIMIT", "UNRESOLVED", "Finding", "Verification"]


@dataclass(frozen=True)
class Finding:
    """What was found about one output.

    Attributes:
        verdict: "agrees"; "differs"; "diverged", where something is not finite; "not resolved", where a limit of twice
            the size would have agreed, too, where networks do not concentrate, or without any assigned element;
            "no limit", where an element has none (TP513) and nothing speaks against the others.
        where: the element with the largest deviation, or without a limit; None for the projection of the whole output
            onto its limit.
        deviation: of what the networks tend to from the limit there, in joint standard errors.
        allowed: the deviation at which the verdict turns.
        concentrated: whether networks scatter less there the wider they are, as they do near the limit.
        smallest_seen: by how much the limit as a whole must be off to be found out at 90 %; `relative`, or
            absolute for an output whose limit is zero.
        network_power, mean_power: the power of n with which the root mean square distance from the limit falls, for one
            network and for the mean over all of them; None if it cannot be seen above the noise.
        diverged: for the limit and each width at which something is not finite, from which leading index on.
    """

    verdict: str
    where: tuple[int, ...] | None = None
    deviation: float | None = None
    allowed: float | None = None
    concentrated: bool = True
    smallest_seen: float | None = None
    relative: bool = True
    network_power: PowerFit | None = None
    mean_power: PowerFit | None = None
    diverged: Mapping[str, int | None] = field(default_factory=dict)


class Verification:
    """A limit beside networks of several widths.

    Attributes:
        limit: the limit.
        networks: a simulation for every width, smallest first.
        extrapolated: what the means over networks tend to, with plain standard errors.
        findings: a `Finding` for every output.
        verdict: of all outputs together: "passed", where every output agrees; "failed", where one differs or diverged; else
            "not resolved".
    """

    def __init__(self, limit: Result, networks: tuple[Result, ...], extrapolated: Result,
                 findings: Mapping[str, Finding]):
        self.limit = limit
        self.networks = networks
        self.extrapolated = extrapolated
        self.findings = dict(findings)

    @property
    def verdict(self) -> str:
        if not all(self.agrees(name) for name in self.findings):
            return FAILED
        return UNRESOLVED if any(f.verdict == UNRESOLVED for f in self.findings.values()) else PASSED

    @property
    def passed(self) -> bool:
        """Whether no output differs or diverged: nothing speaks against the limit, though `verdict` may be "not resolved"."""
        return self.verdict != FAILED

    def agrees(self, name: str) -> bool:
        """Whether nothing speaks against the limit of an output."""
        return self.findings[name].verdict in (AGREES, UNRESOLVED, NO_LIMIT)

    @property
    def widths(self) -> list[int]:
        return [result.width for result in self.networks]

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """A few lines for every output: verdict, the element of largest deviation at every width, and powers of n."""
        return "\n".join(line for name in self.limit for line in self._lines(name))

    def _repr_html_(self) -> str:
        return html_table(("output", "shape", "largest deviation", "allowed", "verdict"), map(self._html_row, self.limit))

    def _html_row(self, name: str) -> str:
        finding = self.findings[name]
        if finding.deviation is None:
            return html_cells(name, self.limit[name], "", "", finding.verdict)
        return html_cells(name, self.limit[name], f"{finding.deviation:.1f} standard errors", f"{finding.allowed:.1f}",
                          finding.verdict)

    def as_dict(self) -> dict[str, object]:
        """Everything but single networks, as lists and dictionaries."""
        return {"verdict": self.verdict, "passed": self.passed, "findings": {name: asdict(found) for name, found in self.findings.items()},
                "limit": self.limit.as_dict(), "extrapolated": self.extrapolated.as_dict()["results"],
                "widths": [result.as_dict() for result in self.networks]}

    def to_json(self) -> str:
        """`as_dict` as JSON; numbers that are not finite become null."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the distance from the limit against the width, a panel for every output, into a .png, .pdf or .svg file.

        Raises:
            ProgramError: TP711, for another kind of file; TP707, when it cannot be written.
        """
        from tensorprog.verify.plot import plot

        plot(self, path)

    def _lines(self, name: str) -> Iterator[str]:
        finding = self.findings[name]
        shape = ", ".join(map(str, self.limit[name].shape))
        yield (f"{name} [{shape}]" if shape else name) + f": {finding.verdict}"
        if finding.verdict == NO_LIMIT:
            place = name + (f"[{', '.join(map(str, finding.where))}]" if finding.where else "")
            yield f"  {place} has no limit: a scalar on which it jumps tends to the jump (TP513)"
            return
        if finding.deviation is None:
            yield from (f"  {run} is not finite" + ("" if index is None else f" from {name}[{index}] on")
                        for run, index in finding.diverged.items())
            return
        index = finding.where
        place = "along the limit" if index is None else name + (f"[{', '.join(map(str, index))}]" if index else "")
        yield f"  {place}: off by {finding.deviation:.1f} standard errors, {finding.allowed:.1f} are allowed"
        if index is not None:
            yield from (f"    {label:<15}{value}" for label, value in self._rows(name, index))
        yield from (f"  {line}" for line in _powers(finding))
        yield f"  {_resolution(finding)}"

    def _rows(self, name: str, index: tuple[int, ...]) -> Iterator[tuple[str, str]]:
        """One element at every width, extrapolated and in the limit."""
        labels = [*(f"width {width}" for width in self.widths), "extrapolated", "limit"]
        for label, result in zip(labels, (*self.networks, self.extrapolated, self.limit), strict=True):
            yield label, with_error(float(result[name][index]), float(result.error[name][index]))


def _powers(finding: Finding) -> Iterator[str]:
    for what, power in (("a network", finding.network_power), ("the mean", finding.mean_power)):
        if power is not None:
            yield f"{what} is about {power.size:.2g} n^({power.exponent:.2f} +- {power.error:.2f}) from the limit"


def _resolution(finding: Finding) -> str:
    assert finding.smallest_seen is not None and finding.deviation is not None and finding.allowed is not None
    seen = f"{100 * finding.smallest_seen:.2g} %" if finding.relative else f"{finding.smallest_seen:.2g}"
    if finding.verdict != UNRESOLVED:
        return f"a limit off by {seen} would have been found out"
    if finding.deviation > finding.allowed or not finding.concentrated:
        return "networks scatter there as much at the largest width as at the smallest: use larger --widths"
    return f"only a limit off by {seen} would have been found out: use more --seeds or larger --widths"
