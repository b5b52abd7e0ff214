"""A second limit: a program at several values of a size or an integer parameter, extrapolated to infinity.

    limit={"L": [8, 16, 32, 64]}   infinite depth, with blocks scaled by 1/sqrt(L); gradient flow, with learning rates s/T
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError, Severity, Span, near_miss
from tensorprog.extrapolate import FEWEST, extrapolate
from tensorprog.files import mistake
from tensorprog.ir.program import Program
from tensorprog.results import Approach, Result

# How many decimals a value that does not converge is shown with.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class SecondLimit:
    """What tends to infinity, and the values at which it is looked at, ascending."""

    name: str
    values: tuple[int, ...]


def second_limit(program: Program, limit: Mapping[str, Sequence[int]], settings: Mapping[str, object]) -> SecondLimit:
    """What the user wants, checked.

    Raises:
        ProgramError: TP631, for a name that the program does not have; TP716, for what has no such limit.
    """
    if not isinstance(limit, Mapping) or len(limit) != 1:
        raise _refused("one size or integer parameter tends to infinity, besides the width",
                       'write `limit={"L": [8, 16, 32, 64]}`')
    (name, given), = limit.items()
    known = [s.name for s in program.sizes] + [p.name for p in program.params if p.kind == "int"]
    if name not in known:
        raise _unknown(program, name, known)
    if name in settings:
        raise _refused(f"'{name}' tends to infinity, and is set to {settings[name]} as well", "leave one of them out")
    try:
        values = tuple(sorted({operator.index(value) for value in given}))
    except TypeError:
        raise _refused(f"'{name}' takes several whole numbers, not {given!r}", f"write `{name}=8,16,32,64`") from None
    if len(values) < FEWEST or values[0] < 1:
        raise _refused(f"'{name}' needs at least {FEWEST} different values from 1",
                       f"write `{name}=8,16,32,64`; more and larger values give a smaller error")
    return SecondLimit(name, values)


def _refused(message: str, help: str) -> ProgramError:
    return mistake("TP716", message, help)


def _unknown(program: Program, name: str, known: list[str]) -> ProgramError:
    if any(p.name == name for p in program.params):
        return _refused(f"'{name}' is a real parameter, and these have no limit",
                        "let an integer parameter tend to infinity, and compute this one from it, as in `eta = s/T`")
    meant = near_miss(name, known)
    advice = f"did you mean '{meant}'?" if meant else f"sizes and integer parameters: {', '.join(known) or 'none'}"
    return ProgramError([Diagnostic("TP631", f"the program has no size or integer parameter '{name}'", help=advice)],
                        program.source)


def at_infinity(program: Program, limit: SecondLimit, run: Callable[[int, int], Result]) -> Result:
    """The extrapolated outputs.

    Args:
        run: the result at the i-th value, called with i and the value.

    Raises:
        ProgramError: TP716, if the shapes of all outputs depend on what tends to infinity.
    """
    results = [run(i, value) for i, value in enumerate(limit.values)]
    names = [name for name in results[0].numbers() if len({r[name].shape for r in results}) == 1]
    left_out = [o for o in program.outputs if o.name not in names]
    if not names and left_out:
        raise ProgramError([_shape(o.name, limit, o.span, "error") for o in left_out], program.source)
    values = {name: np.stack([r[name] for r in results]) for name in names}
    errors = {name: np.stack([r.error[name] for r in results]) for name in names}
    found = {name: extrapolate(limit.values, values[name], errors[name]) for name in names}
    diverged = {name: where for r in results for name, where in r.diverged.items() if name in names}
    said = dict.fromkeys(w for r in results for w in r.warnings)
    spans = {o.name: o.span for o in program.outputs}
    said |= dict.fromkeys(_shape(o.name, limit, o.span, "warning") for o in left_out)
    said |= dict.fromkeys(_no_draws(s.name, limit, s.span) for s in program.samples)
    unresolved = {}
    for name, (value, _, refused) in found.items():
        value[refused] = np.nan
        unresolved[name] = np.any([refused, *(r.unresolved[name] for r in results if name in r.unresolved)], axis=0)
        if refused.any():
            where = tuple(int(i) for i in np.argwhere(refused)[0])
            diverged.setdefault(name, where[0] if where else None)
            said[_no_limit(name, where, limit, values[name], refused, spans[name])] = None
    settings = {k: v for k, v in results[0].settings.items() if k != limit.name}
    return Result({name: f.value for name, f in found.items()}, {name: f.error for name, f in found.items()},
                  {name: ", ".join(dict.fromkeys(r.method[name] for r in results)) for name in names},
                  settings=settings | {"limit": {limit.name: list(limit.values)}}, warnings=tuple(said),
                  diverged=diverged, unresolved=unresolved,
                  axes=results[0].axes, approach=Approach(limit.name, limit.values, values, errors))


def _shape(output: str, limit: SecondLimit, span: Span | None, severity: Severity) -> Diagnostic:
    return Diagnostic("TP716", f"the shape of the output '{output}' depends on {limit.name}: it has no limit for large "
                      f"{limit.name}", span, severity=severity, help="output single elements of it, as in "
                      f"`output {output}[0] as first`, or a mean")


def _no_draws(name: str, limit: SecondLimit, span: Span | None) -> Diagnostic:
    return Diagnostic("TP716", f"the draws of '{name}' are not extrapolated to large {limit.name}", span, severity="warning",
                      help=f"set a large {limit.name} to draw from, and output moments to extrapolate")


def _no_limit(output: str, where: tuple[int, ...], limit: SecondLimit, values: np.ndarray, refused: np.ndarray,
              span: Span | None) -> Diagnostic:
    element = f"{output}[{', '.join(map(str, where))}]" if where else output
    others = f", and {refused.sum() - 1} more of its elements" if refused.sum() > 1 else ""
    shown = ", ".join(f"{value:.{SHOWN}g}" for value in (run[where] for run in values))
    return Diagnostic(
        "TP644", f"'{element}'{others} does not converge for large {limit.name}, or too slowly to tell where: at "
        f"{limit.name} = {', '.join(map(str, limit.values))} it is {shown}", span, severity="warning",
        help=f"scale what is added up over {limit.name}, as in `x += phi(x) / sqrt({limit.name})`, or look at larger "
        f"{limit.name}")
