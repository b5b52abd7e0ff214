"""The texts of the stages: what `tpc compile --emit` and `CompiledProgram.emit` show.

    source text -> syntax tree        `syntax`
                -> typed program      `check`
                -> limit program      `pipeline`
                -> plan, module       `evaluators`
"""

from __future__ import annotations

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.evaluators import windows
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.plan import plan_of, plan_table
from tensorprog.ir.program import For, walk
from tensorprog.ir.text import program_text
from tensorprog.jumps import for_module
from tensorprog.passes.initial_features import initial_features
from tensorprog.passes.spaces import Spaces


def tree_text(source: Source) -> str:
    """The syntax tree as a program in canonical form."""
    from tensorprog.syntax import parse, unparse

    return unparse(parse(source))


def limit_text(analysis: Analysis) -> str:
    """The limit program."""
    drawn = analysis.drawn
    return program_text(analysis.limit) + (f"\n# samples\n{program_text(drawn.limit)}" if drawn is not None else "")


def plan_text(analysis: Analysis) -> str:
    """The evaluator of each output, and the spaces that the particles live in."""
    plan = plan_of(analysis)
    if not plan.names("particles"):
        return plan_table(plan) + _samples_text(analysis)
    spaces = Spaces(analysis.limit)
    lines = [f"space {i}: width {w}" for i, w in enumerate(spaces.widths)]
    features = initial_features(analysis.limit, analysis.mirrored)
    how = "antithetic" if features is None else "orthogonal to its initial features"
    lines += [f"{how}: {c.display}" for c in sorted(analysis.mirrored, key=lambda c: c.name)]
    for loop in (s for s in walk(analysis.limit.body) if isinstance(s, For)):
        lines.append(f"loop {loop.var}: {'one block' if loop.parallel else 'step by step'}")
    if analysis.on_vectors:
        lines.append(f"training: moves vectors, and is no kernel gradient descent between numbers ({analysis.on_vectors})")
    return plan_table(plan) + _samples_text(analysis) + "\n".join([*lines, *windows.plan_lines(analysis)]) + "\n"


def _samples_text(analysis: Analysis) -> str:
    """How the samples are drawn."""
    samples = analysis.drawn.limit.samples if analysis.drawn is not None else ()
    return "".join(f"output {s.name}: particles\n    reason:   joint draws of {', '.join(s.columns)}\n"
                   f"    cost:     a run of one replicate, with what the samples need\n" for s in samples)


def kernel_text(analysis: Analysis) -> str:
    """The module that computes all outputs, and warns where scalars tend to jumps.

    Raises:
        ProgramError: TP718, for a program whose limit is random.
    """
    if analysis.gaussians is not None:
        raise ProgramError([Diagnostic("TP718", "no module is written for a limit that is random", help=(
            "use `tpc run`, which draws the random numbers; or output what is not random, as `cov(f[a], f[b])` and "
            "`ntk(f[a], f[b]; U, v)`"))], analysis.limit.source)
    plan = plan_of(analysis)
    evaluator = plan.whole()
    watched = for_module(analysis)
    share = evaluator.share(watched[0], watched[0].limit.outputs, True) if watched is not None else None
    # Scalars that would cost the outputs their evaluator are not looked at.
    if watched is None or share is None or len(share.names) < len(watched[0].limit.outputs):
        return evaluator.emit(analysis, plan.shares[evaluator.name])
    from tensorprog.codegen.jumps import jumps_text

    whole, probes = watched
    return f"{evaluator.emit(whole, share)}\n\n{jumps_text(probes)}"


EMITTERS = {"limit": limit_text, "plan": plan_text, "kernel": kernel_text}
