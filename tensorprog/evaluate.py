"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.driver import (
    Compiled,
    emit_draws_text,
    emit_module_text,
    emit_span_text,
    emit_table_text,
    load_module,
    table_key,
)
from tensorprog.progress import announce

if TYPE_CHECKING:
    from tensorprog.covariance.system import System
    from tensorprog.ir.program import Cell

Evaluated = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, str]]

# Options of the coefficients alone, and of all that `span` knows.
STATES = ("checkpoint", "watch")
COEFFICIENTS = ("dtype", *STATES)


def evaluate(compiled: Compiled, env: Mapping[str, object], method: str, source: Source,
             **options: object) -> Evaluated:
    """Values, errors and the evaluator's name, by output.

    Args:
        method: 'auto' for the plan's choice, or the evaluator for all outputs.
        options: samples, replicates, seed, tolerance, of the particles; checkpoint, watch, of coefficients; dtype,
            threads, progress.

    Raises:
        ProgramError: TP712, if `covariance` is asked for and does not cover an output.
    """
    if method == "particles":
        return _particles(compiled, env, None, options)
    if compiled.numbers is not None and method != "span":
        averages = compiled.numbers[1]
        if method == "covariance" or not averages.plan.names("particles"):
            return _by_numbers(compiled, env, method, source, options)
    if method == "span":
        _require(compiled, method, compiled.linear.reasons, source)
        return _span(compiled, env, options)
    if method == "covariance":
        found = compiled.covered
        _require(compiled, method, found.reasons, source)
        names = [o.name for o in compiled.limit.outputs]
        return _covariance(compiled, env, names, lambda: found.system, True, method, source, options.get("threads"))
    plan = compiled.plan
    linear = _span(compiled, env, options) if plan.linear.program is not None else ({}, {}, {})
    exact = _covariance(compiled, env, list(plan.covered), lambda: plan.system, plan.tiled, method, source,
                        options.get("threads"))
    found = tuple(a | b for a, b in zip(linear, exact))
    names = [o.name for o in compiled.limit.outputs]
    remaining = [name for name in names if name not in found[0]]
    if remaining:
        found = tuple(a | b for a, b in zip(found, _particles(compiled, env, remaining, options)))
    return tuple({n: part[n] for n in names} for part in found)


def _by_numbers(compiled: Compiled, env: Mapping[str, object], method: str, source: Source, options: Mapping) -> Evaluated:
    """Outputs by equations between numbers: averages first, then, from these, the rest. Errors of the averages are carried
    over by moving all of them at once, up or down by chance: `MOVED` times what that changes."""
    parts, averages, numbers = compiled.numbers
    values, errors, methods = evaluate(averages, env, method, source, **options)
    options = {**options, "samples": 2, "replicates": 1}

    def rest(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return _particles(numbers, {**env, **known}, None, options)[0]

    known = {name: values[name] for name in parts.inputs}
    found = rest(known)
    error = {name: np.zeros_like(value) for name, value in found.items()}
    if any(np.any(errors[name]) for name in known):
        rng = np.random.default_rng(0)
        moved = rest({name: v + errors[name] * rng.choice([-1.0, 1.0], v.shape) for name, v in known.items()})
        error = {name: MOVED * np.abs(moved[name] - value) for name, value in found.items()}
    by = max((methods[n] for n in parts.inputs), key=_EVALUATORS.index, default="covariance")
    for name, own in parts.direct.items():
        found[own], error[own] = values[name], errors[name]
    named = {own: methods[name] for name, own in parts.direct.items()}
    names = [o.name for o in compiled.limit.outputs]
    for name in set(names) & compiled.vanishing:
        found[name] = 0.0 * found[name]
    return {n: found[n] for n in names}, {n: error[n] for n in names}, {n: named.get(n, by) for n in names}


#: How many times what errors of averages change in one trial is the error of what follows from them.
MOVED = 3.0

#: From the most exact on.
_EVALUATORS = ("span", "covariance", "particles")


def draw(compiled: Compiled, env: Mapping[str, object], *, samples: int, seed: int, tolerance: float | None,
         threads: int | None) -> dict[str, np.ndarray]:
    """The samples, [samples, vectors] each, by name: particles of one randomization, shuffled, because every other point
    of a quasi-random sequence is not a sample of the law as any part of independent draws is. And the outputs that
    `compiled.drawn` has, if there are some."""
    module = load_module(emit_draws_text(compiled))
    announce("drawing samples")
    found = module.run(env, samples=samples, replicates=1, seed=seed, tolerance=tolerance, threads=threads)[0]
    drawn = {s.name for s in compiled.drawn.limit.samples}
    return {name: np.random.default_rng(seed).permutation(value) if name in drawn else value for name, value in found.items()}


def _require(compiled: Compiled, method: str, refused: Mapping[Cell, str], source: Source) -> None:
    if refused:
        raise ProgramError([Diagnostic(
            "TP712", f"the output '{o.name}' is not covered by the method '{method}': {refused[o.cell]}",
            o.span, help="use the method 'auto' or 'particles'")
            for o in compiled.limit.outputs if o.cell in refused], source)


def _span(compiled: Compiled, env: Mapping[str, object], options: Mapping) -> Evaluated:
    module = load_module(emit_span_text(compiled))
    given = {name: options[name] for name in (*COEFFICIENTS, "threads", "progress")}
    values, errors = module.run(env, **given | {"dtype": given["dtype"] or "float64"})
    return values, errors, dict.fromkeys(values, "span")


def _covariance(compiled: Compiled, env: Mapping[str, object], names: list[str], system: Callable[[], System],
                tiled: bool, method: str, source: Source, threads: int | None) -> Evaluated:
    """The outputs that the plan gives to `covariance`: kernels over pairs of rows by tiles, if there may be such
    (`tiled`), others by a table of values, but none of the latter if they would take too many numbers."""
    if not names:
        return {}, {}, {}
    from tensorprog.covariance.runtime import NotCancelling, TooLarge

    values: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    if tiled:
        from tensorprog.kernel_api import pair_values

        values, errors = pair_values(compiled, env, system(), threads)
    rest = [name for name in names if name not in values]
    try:
        if rest:
            text = compiled.text(table_key(names), lambda: emit_table_text(compiled, system()))
            module = load_module(text)
            announce("evaluating equations")
            more = module.run(env, only=rest, threads=threads)
            values, errors = values | more[0], errors | more[1]
    except TooLarge:
        if method != "auto":
            raise ProgramError([Diagnostic("TP713", "the covariances of this run are too many to keep", help=(
                "use the method 'particles', or smaller data"))], source) from None
    except NotCancelling as reason:
        more = _unconditional(compiled, env, rest, str(reason), method, source, threads)
        values, errors = values | more[0], errors | more[1]
    for name in set(values) & compiled.vanishing:
        values[name] = 0.0 * values[name]
    return values, errors, dict.fromkeys(values, "covariance")


def _unconditional(compiled: Compiled, env: Mapping[str, object], names: list[str], refused: str, method: str,
                   source: Source, threads: int | None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Those of some outputs that have equations for which nothing has to cancel. `refused` says what does not.

    Raises:
        ProgramError: TP712, if `covariance` is asked for and does not cover an output.
    """
    from tensorprog.covariance.build import covered

    cells = list(dict.fromkeys(o.cell for o in compiled.limit.outputs))
    found = compiled.kept("equations without conditions", lambda: covered(compiled, cells, conditional=False))
    if method != "auto":
        reasons = {cell: f"{refused}; without that, {why}" for cell, why in found.reasons.items()}
        _require(compiled, method, reasons, source)
    if found.system is None:
        return {}, {}
    rest = [o.name for o in compiled.limit.outputs if o.name in names and o.cell in found.system.outputs]
    return load_module(emit_table_text(compiled, found.system)).run(env, only=rest, threads=threads)


def evaluated_often(compiled: Compiled, names: list[str], threads: int | None,
                    varying: tuple[str, ...]) -> Callable[[Mapping[str, object]], dict[str, np.ndarray]]:
    """A function from environments to the values of outputs for which there are equations, by the table, for runs that
    differ in some parameters alone: what does not depend on these is computed once."""
    from tensorprog.covariance.runtime import forget

    module = load_module(emit_table_text(compiled, compiled.covered.system, varying=varying))
    known, _ = module.table()

    def values(env: Mapping[str, object]) -> dict[str, np.ndarray]:
        forget(known, module.VARYING)
        return module.run(env, only=names, threads=threads, known=known)[0]

    return values


def _particles(compiled: Compiled, env: Mapping[str, object], names: list[str] | None, options: Mapping) -> Evaluated:
    text = emit_module_text(compiled)
    given = {name: value for name, value in options.items() if name not in STATES}
    cluster = given.pop("cluster", None)
    if cluster is not None:
        samples = given["samples"] + given["samples"] % 2
        given["remote"] = cluster.replicates(text, env, samples, given["tolerance"], given.get("notes"))
    if given.get("finished") is not None:
        from tensorprog.resume import digest_of

        described = (text, *(given.get(name) for name in ("samples", "seed", "tolerance", "dtype")))
        given["finished"] = given["finished"].of(digest_of(env, *described))
    values, errors = load_module(text).run(env, **given)
    kept = list(values) if names is None else names
    return {n: values[n] for n in kept}, {n: errors[n] for n in kept}, dict.fromkeys(kept, "particles")
