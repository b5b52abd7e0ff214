"""A typed program without gradients, from one that has no kernels."""

from __future__ import annotations

from tensorprog.diagnostics import Reporter
from tensorprog.ir.program import Program
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.differentiate import differentiate
from tensorprog.passes.localize import localize
from tensorprog.passes.simplify import simplify
from tensorprog.passes.stable_forms import with_stable_forms


def without_gradients(program: Program, reporter: Reporter) -> Program:
    """Gradients become statements; simplified, parallel loops marked."""
    program = localize(program)
    # Simplified before as well: every load that is shared is one adjoint less.
    return mark_parallel(simplify(differentiate(with_stable_forms(simplify(program)), reporter)))
