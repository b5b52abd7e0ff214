"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.driver import Compiled, emit_module_text, load_module

if TYPE_CHECKING:
    import numpy as np

    from tensorprog.planner import Plan

Evaluated = tuple[dict[str, "np.ndarray"], dict[str, "np.ndarray"], dict[str, str]]

def evaluate(compiled: Compiled, env: Mapping[str, object], method: str, source: Source,
             **options: object) -> Evaluated:
    """Values, errors and the evaluator's name, by output.

    Args:
        method: 'auto' for the plan's choice, or the evaluator for all outputs.
        options: of the particles: samples, replicates, seed, tolerance, threads, progress.

    Raises:
        ProgramError: TP712, if `covariance` is asked for and does not cover an output.
    """
    if method == "particles":
        return _particles(compiled, env, None, options)
    plan = compiled.plan
    if method == "covariance":
        _require_covariance(plan, source)
    exact = _covariance(compiled, env, plan, method, source, options.get("threads"))
    remaining = [o.name for o in compiled.limit.outputs if o.name not in exact[0]]
    if not remaining:
        return exact
    sampled = _particles(compiled, env, remaining, options)
    names = [o.name for o in compiled.limit.outputs]
    return tuple({n: (e[n] if n in e else s[n]) for n in names} for e, s in zip(exact, sampled))


def _require_covariance(plan: Plan, source: Source) -> None:
    refused = [c for c in plan.choices if c.evaluator == "particles"]
    if refused:
        raise ProgramError([Diagnostic(
            "TP712", f"the output '{c.output.name}' is not covered by the method 'covariance': {c.reason}",
            c.output.span, help="use the method 'auto' or 'particles'") for c in refused], source)


def _covariance(compiled: Compiled, env: Mapping[str, object], plan: Plan, method: str, source: Source,
                threads: int | None) -> Evaluated:
    """The outputs that the plan gives to `covariance`: kernels over pairs of rows by tiles, others by a table of
    values, but none of the latter if they would take too many numbers."""
    if plan.system is None:
        return {}, {}, {}
    from tensorprog.covariance.runtime import TooLarge
    from tensorprog.kernel_api import pair_values

    values, errors = pair_values(compiled, env, plan.system, threads)
    rest = [o.name for o in compiled.limit.outputs if o.cell in plan.system.outputs and o.name not in values]
    try:
        if rest:
            more = _table(compiled, env, plan, rest)
            values, errors = values | more[0], errors | more[1]
    except TooLarge:
        if method != "auto":
            raise ProgramError([Diagnostic("TP713", "the covariances of this run are too many to keep", help=(
                "use the method 'particles', or smaller data"))], source) from None
    for name in set(values) & compiled.vanishing:
        values[name] = 0.0 * values[name]
    return values, errors, dict.fromkeys(values, "covariance")


def _table(compiled: Compiled, env: Mapping[str, object], plan: Plan, names: list[str]):
    from tensorprog.covariance.emit import emit_module

    module = load_module(emit_module(compiled.limit, compiled.original, plan.system))
    return module.run(env, only=names)


def _particles(compiled: Compiled, env: Mapping[str, object], names: list[str] | None, options: Mapping) -> Evaluated:
    module = load_module(emit_module_text(compiled))
    values, errors = module.run(env, **options)
    kept = list(values) if names is None else names
    return {n: values[n] for n in kept}, {n: errors[n] for n in kept}, dict.fromkeys(kept, "particles")
