"""A written module's warning where a scalar tends to a jump, so that outputs may have no limit.

`tensorprog.jumps` finds out which elements have none, by runs that are disturbed; a module only tells where to look.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps

import numpy as np

# A scalar is at its jump if it is this small, absolutely or relative to the largest number of the run (in double and in
# single precision),
AT_JUMP, AT_JUMP_SINGLE = 1e-9, 1e-5
# or this small relative to the largest element of its own family,
NEAR_JUMP = 1e-6
# or if it is within this many errors of 0, in more than this share of its family.
WITHIN_ERRORS, SHARE = 3.0, 0.01
# A vector is at its jump if its second moment is this small beside those of its terms: rounding leaves no more.
SQUARE_AT_JUMP, SQUARE_AT_JUMP_SINGLE = 1e-11, 1e-9

Results = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class JumpPlace:
    """A statement that is discontinuous in scalars, which a module computes beside its outputs.

    Attributes:
        place: where it is, and what it is.
        outputs: those that depend on it.
        probes: the names of the scalars, each with the names of the terms of which it is a sum.
        squares: those that are second moments of vectors.
    """

    place: str
    outputs: tuple[str, ...]
    probes: Mapping[str, tuple[str, ...]]
    squares: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """All that is computed for it."""
        return {*self.probes}.union(*self.probes.values())

    def is_met(self, values: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], at: float) -> bool:
        """Whether one of its scalars is at 0."""
        run = max([1.0, *map(largest, values.values())])
        for name, terms in self.probes.items():
            near = at_jump(values[name], [values[term] for term in terms], None if name in self.squares else run, at)
            near &= np.isfinite(np.atleast_1d(values[name]))  # what is not a number is no jump
            if near.any() or hides_jump(near, within_errors(values[name], errors[name])):
                return True
        return False


def at_jump(value: np.ndarray, terms: list[np.ndarray], run: float | None, at: float) -> np.ndarray:
    """Which elements of a family are 0 up to rounding, in a run whose largest number is `run`; of second moments of
    vectors (`run` is None), beside those of their terms."""
    size = np.abs(np.atleast_1d(value))
    if run is None:
        # So written that NaN counts as 0; whoever asks leaves it out.
        return ~(size > (SQUARE_AT_JUMP if at == AT_JUMP else SQUARE_AT_JUMP_SINGLE) * max(map(largest, terms), default=0.0))
    scale = max([run, *map(largest, terms)])
    return ~(size > np.maximum(at * scale, NEAR_JUMP * largest(size)))


def within_errors(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Which elements of a family are 0 up to noise."""
    return np.abs(np.atleast_1d(value)) <= WITHIN_ERRORS * np.atleast_1d(error)


def hides_jump(near: np.ndarray, within: np.ndarray) -> bool:
    """Whether more elements are 0 within noise than chance makes."""
    return bool((near | within).mean() > SHARE and within[~near].any())


def largest(value: np.ndarray) -> float:
    """The largest size of what is finite."""
    size = np.abs(value)
    return float(size[np.isfinite(size)].max(initial=0.0))


def warn_at_jumps(run: Callable[..., Results], places: tuple[JumpPlace, ...]) -> Callable[..., Results]:
    """A module's `run`, with a warning for each place that is met; it returns what was written as outputs."""
    added = set().union(*(place.names for place in places))

    def without(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value for name, value in found.items() if name not in added}

    @wraps(run)
    def watched(data, **options):
        watch, only = options.get("watch"), options.get("only")
        if watch is not None:
            options["watch"] = lambda found: watch(without(found))
        if only is not None:
            options["only"] = [*only, *sorted(added)]
        values, errors = run(data, **options)
        at = AT_JUMP if options.get("dtype") != "float32" else AT_JUMP_SINGLE
        for place in places:
            outputs = [name for name in place.outputs if name in values]
            if outputs and place.is_met(values, errors, at):
                warnings.warn(f"{place.place}: {', '.join(outputs)} may have no limit, because in each network "
                              "fluctuations decide the side (`tpc run` shows which elements)", RuntimeWarning,
                              stacklevel=2)
        return without(values), without(errors)

    return watched
