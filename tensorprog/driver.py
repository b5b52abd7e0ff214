"""The compiler from end to end: one function a stage, in order.

    source text -> syntax tree -> typed program -> no gradients -> limit program -> blocks -> Python module
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tensorprog.cache_folder import cache_folder
from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, Source
from tensorprog.ir.program import Cell, Program
from tensorprog.ir.text import program_text
from tensorprog.passes.powers import Powers
from tensorprog.progress import announce

if TYPE_CHECKING:
    from tensorprog.covariance.build import Covered
    from tensorprog.covariance.pairs import PairLowering
    from tensorprog.covariance.system import System
    from tensorprog.kept import Shelf
    from tensorprog.passes.linear import Linear
    from tensorprog.planner import Plan
    from tensorprog.series.draws import Gaussians
    from tensorprog.series.split import Split

Settings = Mapping[str, float | int]


@dataclass(frozen=True)
class Drawn:
    """The limit program of the samples alone, the readouts among what they need, and the columns whose limit is zero."""

    limit: Program
    mirrored: frozenset[Cell]
    vanishing: frozenset[Cell]


@dataclass(frozen=True, eq=False)
class Compiled:
    """Everything between the typed program and the module.

    `limit` is that of the outputs, `drawn` that of the samples, if there are any; their parallel loops are marked. If the limit
    is by series and has training as equations between numbers, `coefficients` names the families of these; if it is
    random, `gaussians` says which inputs of it hold draws, and `covariances` is the program of their covariances.
    """

    original: Program
    differentiated: Program
    limit: Program
    powers: Powers
    vanishing: frozenset[str]
    mirrored: frozenset[Cell]
    env: Mapping[str, object]
    drawn: Drawn | None = None
    by_series: bool = False
    coefficients: frozenset[str] = frozenset()
    gaussians: Gaussians | None = None

    def __getstate__(self) -> dict[str, object]:
        """The fields alone; what is found out from them is kept part by part."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def shelf(self) -> Shelf | None:
        """Where what is found out is kept on disk; None: nowhere. (Set by who knows the source and the settings.)"""
        return None

    @cached_property
    def covariances(self) -> Compiled:
        """The program of the covariances of the draws of a random limit."""
        return self._made("covariances", self.gaussians.covariances)

    def _made(self, part: str, limit: Program) -> Compiled:
        """A limit program that was made of this one, with a shelf of its own; `part` names it."""
        from tensorprog.passes.batch import mark_parallel

        found = replace(self, limit=mark_parallel(limit), vanishing=frozenset(), gaussians=None, coefficients=frozenset())
        if self.shelf is not None:
            found.__dict__["shelf"] = self.shelf.part(part)
        return found

    @cached_property
    def numbers(self) -> tuple[Split, Compiled, Compiled] | None:
        """Of a limit by series whose training is equations between numbers: its parts, the averages and the numbers."""
        if not self.coefficients:
            return None
        from tensorprog.series.split import split

        found = split(self.limit, frozenset(self.gaussians.inputs if self.gaussians else ()), self.coefficients)
        if found is None:
            return None
        return found, self._made("averages", found.averages), self._made("numbers", found.numbers)

    @cached_property
    def plan(self) -> Plan:
        """The evaluator of every output."""
        from tensorprog.planner import kept_plan

        return kept_plan(self)

    @cached_property
    def linear(self) -> Linear:
        """Which outputs `span` evaluates, and the homogeneous program of those."""
        from tensorprog.passes.linear import linear_outputs

        return linear_outputs(self.limit)

    @cached_property
    def covered(self) -> Covered:
        """Which outputs `covariance` can evaluate, whatever the plan is, and their equations."""
        return self.kept("covered", self._covered)

    def _covered(self) -> Covered:
        from tensorprog.covariance.build import covered

        announce("planning: looking for equations")
        return covered(self, list(dict.fromkeys(o.cell for o in self.limit.outputs)))

    def kept(self, part: str, make: Callable[[], object]) -> object:
        """Something that was found out about the program: from the disk, if it was kept there."""
        found = self.shelf.recall(part) if self.shelf is not None else None
        if found is None:
            found = make()
            if self.shelf is not None:
                self.shelf.keep(part, found)
        return found

    @cached_property
    def probed(self) -> dict[object, object]:
        """What `jumps` makes of this program, by the statements that it looks at."""
        return {}

    @cached_property
    def _texts(self) -> dict[object, str]:
        return {}

    def text(self, key: object, emit: Callable[[], str]) -> str:
        """The text of an emitted module, written when it is first asked for. `key` names the module; if it is a text,
        the same one names it in every process, and the module is kept on disk."""
        if key not in self._texts:
            self._texts[key] = self.kept(f"text {key}", emit) if isinstance(key, str) else emit()
        return self._texts[key]


def front(source: Source, reporter: Reporter) -> Program:
    """Parse and check.

    Raises:
        ProgramError: with every mistake found.
    """
    from tensorprog.check import check
    from tensorprog.syntax import parse

    return check(parse(source), reporter)


def differentiated(program: Program, reporter: Reporter) -> Program:
    """The typed program without gradients and kernels, simplified, its parallel loops marked: what a finite network
    runs."""
    from tensorprog.passes.batch import mark_parallel
    from tensorprog.passes.differentiate import differentiate
    from tensorprog.passes.kernels import plan_kernels
    from tensorprog.passes.localize import localize
    from tensorprog.passes.simplify import simplify

    program = localize(plan_kernels(program, reporter))
    return mark_parallel(simplify(differentiate(simplify(program), reporter)))


def compile_program(program: Program, settings: Settings | None, reporter: Reporter) -> Compiled:
    """Run every pass.

    Raises:
        ProgramError: through `reporter`.
    """
    from tensorprog.passes.batch import mark_parallel
    from tensorprog.passes.hypotheses import check_hypotheses
    from tensorprog.passes.simplify import remove_dead

    env = constants_env(program, settings or {})
    plain = differentiated(program, reporter)
    found = _leading(program, plain, env, reporter) or _by_series(program, plain, env, reporter)
    check_hypotheses(found.limit, env, reporter)
    reporter.warn_unused_acceptances()
    limit = _contracted(found.limit)
    return replace(found, limit=mark_parallel(remove_dead(replace(limit, samples=()))),
                   drawn=_drawn(program, limit, found.powers) if program.samples else None)


#: What is said of programs whose leading terms are not all: an output or argument that seems to blow up, powers that
#: grow, a sum whose leading terms cancel, a name with values of several powers.
_NOT_LEADING = ("TP501", "TP502", "TP504", "TP506", "TP510")


def _leading(program: Program, plain: Program, env: Mapping[str, object], reporter: Reporter) -> Compiled | None:
    """The limit of leading terms; None if they do not make one."""
    from tensorprog.passes.limit import leading_terms
    from tensorprog.passes.powers import check_outputs, has_vanishing_argument, infer_powers
    from tensorprog.passes.readouts import readouts
    from tensorprog.passes.simplify import simplify

    own = Reporter(program.source)
    try:
        powers = infer_powers(plain, env, own)
        later = Reporter(program.source)
        limit = leading_terms(plain, powers, later)
        # A difference that cancels also makes a power too large; then the cancellation alone is reported.
        vanishing = frozenset() if later.has("TP506") else check_outputs(plain, powers, own)
        own.extend(later)
        own.raise_errors()
    except ProgramError as error:
        if any(d.code in _NOT_LEADING for d in error.diagnostics) and not has_vanishing_argument(error):
            return None
        reporter.extend(own)
        raise
    reporter.extend(own)
    return Compiled(program, plain, simplify(limit), powers, vanishing, readouts(replace(program, samples=())), env)


def _by_series(program: Program, plain: Program, env: Mapping[str, object], reporter: Reporter) -> Compiled:
    """The limit by series in powers of n, for programs whose leading terms do not make one.

    Raises:
        ProgramError: through `reporter`; where there is no series either, with what leading terms lack.
    """
    from tensorprog.passes.powers import check_outputs
    from tensorprog.series.build import series_limit

    own = Reporter(program.source)
    # Samples are of leading terms, so that a program with samples has to be of these.
    found = None if program.samples else series_limit(plain, env, own)
    if found is None:
        _report_leading(plain, env, own, reporter)
    vanishing = check_outputs(plain, found.powers, reporter)
    reporter.extend(own)
    return Compiled(program, plain, found.limit, found.powers, vanishing, frozenset(), env, by_series=True,
                    coefficients=found.coefficients, gaussians=found.gaussians)


def _report_leading(plain: Program, env: Mapping[str, object], found: Reporter, reporter: Reporter) -> None:
    """Report why a program has neither a limit of leading terms nor one by series, whose reasons are `found`.

    Raises:
        ProgramError: always.
    """
    from tensorprog.passes.limit import leading_terms
    from tensorprog.passes.powers import check_outputs, infer_powers

    leading = Reporter(plain.source)
    with suppress(ProgramError):
        powers = infer_powers(plain, env, leading)
        leading_terms(plain, powers, leading)
        if not (leading.has("TP506") or leading.has("TP510")):
            check_outputs(plain, powers, leading)
    plainer = leading.has("TP506") or leading.has("TP510")
    reporter.extend(found if found.found and (found.has("TP518") or not plainer) else leading)
    reporter.raise_errors()
    raise AssertionError("a program without a limit and without a reason")


def _contracted(limit: Program) -> Program:
    from tensorprog.passes.contract_cells import contract_cells
    from tensorprog.passes.simplify import simplify

    return simplify(contract_cells(limit))


def _drawn(program: Program, limit: Program, powers: Powers) -> Drawn:
    from tensorprog.passes.batch import mark_parallel
    from tensorprog.passes.readouts import readouts
    from tensorprog.passes.simplify import remove_dead

    cells = [cell for sample in limit.samples for cell in sample.cells]
    zero = frozenset(cell for cell in cells if powers[cell] is not None and powers[cell] < 0)
    return Drawn(mark_parallel(remove_dead(replace(limit, outputs=()))), readouts(replace(program, outputs=())), zero)


def constants_env(program: Program, settings: Settings) -> dict[str, object]:
    """Values that powers of n may depend on: settings and defaults, and 1 for whatever is known only at run time
    (no power depends on it)."""
    env: dict[str, object] = {s.name: s.default or 1 for s in program.sizes}
    env |= {p.name: 1 if p.default is None else p.default for p in program.params}
    return env | dict(settings)


def emit_module_text(compiled: Compiled) -> str:
    """The source of the emitted module."""
    def emit() -> str:
        from tensorprog.codegen.module import emit_module
        from tensorprog.passes.schedule import readouts_late

        return emit_module(readouts_late(compiled.limit, compiled.mirrored), compiled.original, compiled.powers,
                           compiled.vanishing, compiled.mirrored, compiled.env)

    return compiled.text("particles", emit)


def emit_draws_text(compiled: Compiled) -> str:
    """The source of the emitted module that draws the samples; there must be some."""
    def emit() -> str:
        from tensorprog.codegen.module import emit_module
        from tensorprog.passes.schedule import readouts_late

        drawn = compiled.drawn
        return emit_module(readouts_late(drawn.limit, drawn.mirrored), compiled.original, compiled.powers,
                           drawn.vanishing, drawn.mirrored, compiled.env)

    return compiled.text("draws", emit)


def emit_table_text(compiled: Compiled, system: System, tiles: Sequence[PairLowering] = (),
                    varying: Sequence[str] = ()) -> str:
    """The source of the emitted module that evaluates a system of equations, and `tiles` as kernels, for runs that
    differ in the parameters `varying`; see `covariance.emit.emit_module`."""
    def emit() -> str:
        from tensorprog.covariance.emit import emit_module

        return emit_module(compiled.limit, compiled.original, system, tiles, varying)

    names = [o.name for o in compiled.limit.outputs if o.cell in system.outputs]
    key = (system, *map(id, tiles)) if tiles else table_key(names) + "".join(f" for each {v}" for v in varying)
    return compiled.text(key, emit)


def table_key(names: Iterable[str]) -> str:
    """The key of the module that evaluates a system of some outputs without kernels; see `Compiled.text`."""
    return "table " + " ".join(names)


def emit_span_text(compiled: Compiled) -> str:
    """The source of the emitted module of the outputs that are linear; there must be one."""
    def emit() -> str:
        from tensorprog.codegen.span import emit_span_module

        return emit_span_module(compiled.linear.program, compiled.original, compiled.powers, compiled.vanishing,
                                compiled.env)

    return compiled.text("span", emit)


def tree_text(source: Source) -> str:
    """The syntax tree as a program in canonical form."""
    from tensorprog.syntax import parse, unparse

    return unparse(parse(source))


def limit_text(compiled: Compiled) -> str:
    """The limit program."""
    drawn = compiled.drawn
    return program_text(compiled.limit) + (f"\n# samples\n{program_text(drawn.limit)}" if drawn is not None else "")


def plan_text(compiled: Compiled) -> str:
    """The evaluator of each output, and the spaces that the particles live in."""
    from tensorprog.ir.program import For, walk
    from tensorprog.passes.initial_features import initial_features
    from tensorprog.passes.spaces import Spaces
    from tensorprog.planner import plan_table

    plan = compiled.plan
    if not plan.names("particles"):
        return plan_table(plan) + _samples_text(compiled)
    spaces = Spaces(compiled.limit)
    lines = [f"space {i}: width {w}" for i, w in enumerate(spaces.widths)]
    features = initial_features(compiled.limit, compiled.mirrored)
    how = "antithetic" if features is None else "orthogonal to its initial features"
    lines += [f"{how}: {c.display}" for c in sorted(compiled.mirrored, key=lambda c: c.name)]
    for loop in (s for s in walk(compiled.limit.body) if isinstance(s, For)):
        lines.append(f"loop {loop.var}: {'one block' if loop.parallel else 'step by step'}")
    return plan_table(plan) + _samples_text(compiled) + "\n".join(lines) + "\n"


def _samples_text(compiled: Compiled) -> str:
    """How the samples are drawn."""
    samples = compiled.drawn.limit.samples if compiled.drawn is not None else ()
    return "".join(f"output {s.name}: particles\n    reason:   joint draws of {', '.join(s.columns)}\n"
                   f"    cost:     a run of one replicate, with what the samples need\n" for s in samples)


def kernel_text(compiled: Compiled) -> str:
    """The module that computes all outputs, and warns where scalars tend to jumps.

    Raises:
        ProgramError: TP718, for a program whose limit is random.
    """
    if compiled.gaussians is not None:
        raise ProgramError([Diagnostic("TP718", "no module is written for a limit that is random", help=(
            "use `tpc run`, which draws the random numbers; or output what is not random, as `cov(f[a], f[b])` and "
            "`ntk(f[a], f[b]; U, v)`"))], compiled.limit.source)
    from tensorprog.jumps import for_module

    watched = for_module(compiled)
    # Scalars that would cost the outputs their evaluator are not looked at.
    if watched is None or _evaluator(watched[0]) != _evaluator(compiled):
        return _module_of_all(compiled)
    from tensorprog.codegen.jumps import jumps_text

    whole, probes = watched
    return f"{_module_of_all(whole)}\n\n{jumps_text(probes)}"


def _module_of_all(compiled: Compiled) -> str:
    from tensorprog.kernel_api import tile_lowerings

    match _evaluator(compiled):
        case "span":
            return emit_span_text(compiled)
        case "covariance":
            return emit_table_text(compiled, compiled.plan.system, tile_lowerings(compiled, compiled.plan.system))
        case _:
            return emit_module_text(compiled)


def _evaluator(compiled: Compiled) -> str:
    """That of a module for all outputs: coefficients or covariances if they cover all, else particles."""
    plan = compiled.plan
    if plan.linear.program is not None:
        return "particles" if plan.linear.reasons else "span"
    return "particles" if plan.system is None or plan.names("particles") else "covariance"


EMITTERS = {"limit": limit_text, "plan": plan_text, "kernel": kernel_text}


def load_module(text: str) -> ModuleType:
    """An emitted module, its kernels compiled. Its name is a digest of its text, and its compiled kernels are kept."""
    name = f"tensorprog_limit_{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    if name in sys.modules:
        return sys.modules[name]
    announce("compiling kernels")
    return _import(name, text)


def _import(name: str, text: str) -> ModuleType:
    """Run the text itself, never what some file holds; the file is for tracebacks and for what Numba keeps beside it."""
    folder = cache_folder()
    path = f"<{name}>" if folder is None else str(folder / "modules" / f"{name}.py")
    if folder is not None:
        _write_source(path, text)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _write_source(path: str, text: str) -> None:
    """Write a module where it is not yet; what cannot be written is done without."""
    from tensorprog.files import write_text

    with suppress(OSError, UnicodeDecodeError, ProgramError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not (os.path.exists(path) and Path(path).read_text(encoding="utf-8") == text):
            write_text(path, text)
