"""The evaluator of every program: vectors are samples of their limit variables, matrices lazily sampled operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tensorprog.compiled import Drawn
from tensorprog.evaluators import windows
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import STATES, Choice, Evaluated
from tensorprog.evaluators.evaluator import Evaluator, Share, Task
from tensorprog.ir.program import Output
from tensorprog.modules import load_module
from tensorprog.progress import announce
from tensorprog.resume import digest_of

NAME = "particles"


def share(analysis: Analysis, outputs: Sequence[Output], asked: bool) -> Share:
    """All outputs."""
    return Share(tuple(o.name for o in outputs), {})


def choice(analysis: Analysis, output: Output, shares: Mapping[str, Share]) -> Choice:
    """What is said of an output that it evaluates: why equations do not."""
    reason = shares["covariance"].reasons.get(output.cell, "") if "covariance" in shares else ""
    return Choice(output, NAME, reason or "the general evaluator", "error bars, about 1/sqrt(samples) or less",
                  "samples x vectors kept; samples x rank for each matrix product")


def emit(analysis: Analysis) -> str:
    """The source of the emitted module of all outputs."""
    return analysis.text("particles", lambda: _module_of(analysis, analysis))


def run(analysis: Analysis, env: Mapping[str, Any], names: list[str] | None, options: Mapping[str, Any]) -> Evaluated:
    """Some outputs (None: all), by the module of all."""
    # The module of all outputs, because another one would draw other numbers: outputs that are evaluated together have joint
    # errors.
    text, taken = emit(analysis), None
    given = {name: value for name, value in options.items() if name not in STATES}
    windowing = given.pop("windows", None)
    if windowing is not None:
        wanted = [o.name for o in analysis.limit.outputs] if names is None else names
        taken = windows.take(analysis, env, wanted, emit, windowing, samples=given["samples"], replicates=given["replicates"],
                             seed=given["seed"])
    if taken is not None:
        announce(windowing.text)
        text, env = taken.text, taken.env
    cluster = given.pop("cluster", None)
    if cluster is not None:
        # As the module's `run` does: the particles of a mirrored space come in pairs.
        samples = given["samples"] + given["samples"] % 2
        given["remote"] = cluster.replicates(text, env, samples, given["tolerance"], given.get("notes"))
    if given.get("finished") is not None:
        # What a replicate's values depend on: not how many there are, nor on which threads they run.
        described = (text, *(given.get(name) for name in ("samples", "seed", "tolerance", "dtype")))
        given["finished"] = given["finished"].of(digest_of(env, *described))
    values, errors = load_module(text).run(env, **given)
    if taken is not None:
        # Windows move values by less than they scatter; the errors have both.
        errors = taken.with_change(errors)
    kept = list(values) if names is None else names
    return {n: values[n] for n in kept}, {n: errors[n] for n in kept}, dict.fromkeys(kept, NAME)


def emit_draws(analysis: Analysis) -> str:
    """The source of the emitted module that draws the samples; there must be some."""
    assert analysis.drawn is not None
    drawn = analysis.drawn
    return analysis.text("draws", lambda: _module_of(analysis, drawn))


def _module_of(analysis: Analysis, part: Analysis | Drawn) -> str:
    """The source of the module of the outputs, or of what is drawn."""
    from tensorprog.codegen.module import emit_module
    from tensorprog.passes.schedule import readouts_late

    return emit_module(readouts_late(part.limit, part.mirrored), analysis.original, analysis.powers, part.vanishing, part.mirrored,
                       analysis.env)


def draw(analysis: Analysis, env: Mapping[str, Any], *, samples: int, seed: int, tolerance: float | None,
         threads: int | None, dtype: str | None = None) -> dict[str, np.ndarray]:
    """The samples, [samples, vectors] each, by name: particles of one randomization, shuffled, because every other point
    of a quasi-random sequence is not a sample of the law as any part of independent draws is. And the outputs that
    `analysis.drawn` has, if there are some."""
    assert analysis.drawn is not None
    module = load_module(emit_draws(analysis))
    announce("drawing samples")
    found = module.run(env, samples=samples, replicates=1, seed=seed, tolerance=tolerance, threads=threads, dtype=dtype)[0]
    drawn = {s.name for s in analysis.drawn.limit.samples}
    return {name: np.random.default_rng(seed).permutation(value) if name in drawn else value for name, value in found.items()}


def _run(analysis: Analysis, own: Share, task: Task) -> Evaluated:
    return run(analysis, task.env, list(own.names), task.options)


EVALUATOR = Evaluator(NAME, False, share, choice, _run, lambda analysis, _: emit(analysis))
