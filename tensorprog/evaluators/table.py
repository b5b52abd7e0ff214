"""The table of all evaluators."""

from __future__ import annotations

from tensorprog.evaluators import covariance, diagonal, particles, span
from tensorprog.evaluators.evaluator import Evaluator

#: By their names, in the order in which they came.
EVALUATORS: dict[str, Evaluator] = {e.name: e for e in (
    span.EVALUATOR, covariance.EVALUATOR, diagonal.EVALUATOR, particles.EVALUATOR)}


def in_order() -> list[Evaluator]:
    """All evaluators, exact ones first."""
    # The sort is stable: among the exact ones, those of this package come first, in the order above.
    return sorted(EVALUATORS.values(), key=lambda e: not e.exact)


def methods() -> tuple[str, ...]:
    """What `method=` may be."""
    return ("auto", *(e.name for e in in_order()))
