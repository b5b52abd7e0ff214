"""The Python interface: a program compiled, then run in the limit or simulated at a finite width.

    compile(path_or_text) -> CompiledProgram   .run(data)  .simulate(data, width=...)  .verify(data)  .emit(stage)
                                               .write_module(path)  .limit

Stages are imported when they are needed, so that checking a program loads neither SymPy nor Numba.
"""

from __future__ import annotations

import inspect
import numbers
import operator
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

from tensorprog.arguments import (
    ARRAYS,
    DATA,
    FLAG,
    NUMBERS,
    PATH,
    PATH_OR_NONE,
    REPORT,
    SECONDS,
    SETTINGS,
    WORD,
    entry_point,
)
from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, Source, near_miss
from tensorprog.diagnostics.acceptances import acceptance_of, unused
from tensorprog.extensions import load
from tensorprog.files import meant, mistake, read_program, require_choice, write_text
from tensorprog.ir.calculus import may_be_undefined
from tensorprog.ir.program import For, walk
from tensorprog.kept import Shelf
from tensorprog.scheduler import connected, network

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tensorprog.audit import OutputElements
    from tensorprog.diagnostics.acceptances import Acceptance
    from tensorprog.display.limit import Limit
    from tensorprog.evaluators.analysis import Analysis
    from tensorprog.evaluators.options import RunOptions
    from tensorprog.evaluators.plan import Plan
    from tensorprog.ir.program import Output, Param, Program, Sample, Size
    from tensorprog.kernels import Kernels
    from tensorprog.powers.entries import Mup
    from tensorprog.powers.scale import Scale
    from tensorprog.random_limit import Spread
    from tensorprog.results import Result
    from tensorprog.scheduler import Cluster, Scheduler
    from tensorprog.simulate import Simulator
    from tensorprog.sweep import Sweep
    from tensorprog.verify.report import Verification

STAGES = ("ast", "program", "limit", "plan", "kernel")
DTYPES = ("float64", "float32")

Data = Mapping[str, object]
Steps = Callable[[int, int], None]
Progress = Steps | bool
Watch = Callable[[Mapping[str, "np.ndarray"]], None]
Limits = Mapping[str, Sequence[int]]


class Interrupted(KeyboardInterrupt):
    """A simulation or a sweep stopped by Ctrl-C; `result` holds the seeds or points that were finished."""

    def __init__(self, result: Result | Sweep):
        super().__init__("interrupted")
        self.result = result


@entry_point(path_or_text=PATH, settings=SETTINGS)
def compile(path_or_text: str | os.PathLike[str], settings: Mapping[str, object] | None = None) -> CompiledProgram:
    """Check a program and get it ready to run.

    Args:
        path_or_text: a path (a `Path`, or text that ends in `.tp`), or the program itself.
        settings: sizes and parameters fixed from now on; the limit is taken with their values.

    Raises:
        ProgramError: for every mistake in the program.
    """
    return compile_source(read_source(path_or_text), settings)


def read_source(path_or_text: str | os.PathLike[str]) -> Source:
    """A file's text if the argument names a `.tp` file, else the argument as the text."""
    if not isinstance(path_or_text, str) or ("\n" not in path_or_text and path_or_text.endswith(".tp")):
        return read_program(path_or_text)
    if _meant_as_path(path_or_text):
        file = f"{path_or_text}.tp"
        raise mistake("TP701", f"'{path_or_text}' is neither the text of a program nor the name of a .tp file",
                      f"did you mean '{file}'?" if os.path.exists(file) else "names of program files end in .tp; a `Path` "
                      "may have any name")
    return Source("<text>", path_or_text)


def _meant_as_path(text: str) -> bool:
    """Whether a line is the name of a file rather than a program: a single word, or a file that is there."""
    if "\n" in text or "\0" in text or not text.strip():
        return False
    return len(text.split()) == 1 or os.path.exists(text) or os.path.exists(f"{text}.tp")


def compile_source(source: Source, settings: Mapping[str, object] | None = None) -> CompiledProgram:
    """`compile` for a text that was read already."""
    # Functions and laws from outside have to be there before the text is read.
    load()
    given = dict(settings or {})
    shelf = Shelf(source, given)
    kept = shelf.program()
    if kept is not None:
        program, warnings, accepted, *found = kept
        compiled = CompiledProgram(source, program, given, warnings, accepted)
        # (Not in the constructor: a pickle is made anew from the program alone.)
        compiled.kept = (shelf, *found)
    else:
        from tensorprog.check import front

        reporter = Reporter(source)
        program = front(source, reporter)
        compiled = CompiledProgram(source, program, given, reporter.warnings, reporter.accepted)
    compiled.check_setting_names()
    return compiled


class Prepared(NamedTuple):
    """A run's environment, the elements that outputs have, and what there is to warn of."""

    env: dict[str, object]
    elements: OutputElements
    warnings: tuple[Diagnostic, ...]


class CompiledProgram:
    """A checked program.

    Attributes:
        source: the text and its name.
        program: the typed program.
        settings: the sizes and parameters fixed when it was compiled.
        warnings: what the checker warns of.
        kept: what an earlier process made of it (shelf, limit, warnings), if that is on disk.
    """

    def __init__(self, source: Source, program: Program, settings: dict[str, object],
                 warnings: tuple[Diagnostic, ...], accepted: Collection[Acceptance] = ()):
        self.source = source
        self.program = program
        self.settings: dict[str, Any] = settings  # numbers, once `check_setting_names` has looked at them
        self.warnings = self._checker_warnings = warnings
        self._accepted = self._checker_accepted = frozenset(accepted)
        self.kept: tuple | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """What a pickle holds: the program, and nothing that was derived from it."""
        return CompiledProgram, (self.source, self.program, self.settings, self._checker_warnings, self._checker_accepted)

    def __repr__(self) -> str:
        return f"<tensorprog program {self.source.name}: {', '.join(o.name for o in self.program.outputs)}>"

    @property
    def _settable(self) -> tuple[Param | Size, ...]:
        return (*self.program.params, *self.program.sizes)

    def check_setting_names(self) -> None:
        """Refuse settings that the program does not have, and values that they cannot have."""
        known = [d.name for d in self._settable]
        unknown = [name for name in self.settings if name not in known]
        if unknown:
            raise ProgramError([Diagnostic("TP631", f"the program has no parameter or size '{name}'",
                                           help=meant(name, known)) for name in unknown], self.source)
        if self.settings:
            from tensorprog.bind import bind_given

            bind_given(self.program, self.settings)

    def _refuse_misspelt_options(self, settings: Mapping[str, object], method: Callable) -> None:
        """`run(data, sample=100)`: a setting that the program does not have and that is nearly an option."""
        known = [d.name for d in self._settable]
        options = [name for name, p in inspect.signature(method).parameters.items() if p.kind == p.KEYWORD_ONLY]
        for name in settings:
            meant = near_miss(name, options)
            # Nearer to a parameter of the program, it is reported as that, with the other unknown names.
            if name not in known and meant and not near_miss(name, known):
                raise ProgramError([Diagnostic("TP631", f"the program has no parameter or size '{name}'", help=(
                    f"did you mean the option `{meant}=...`?"))], self.source)

    @entry_point(stage=WORD)
    def emit(self, stage: str) -> str:
        """The text of one stage: 'ast', 'program', 'limit', 'plan' or 'kernel'; or the limit as formulas: 'text',
        'markdown', 'latex', 'json' or a format that was registered.

        Raises:
            ProgramError: TP704, for another stage.
        """
        from tensorprog import driver

        if stage == "ast":
            return driver.tree_text(self.source)
        if stage == "program":
            return driver.program_text(self.program)
        if stage not in STAGES:
            from tensorprog.display import FORMATS

            require_choice("TP704", "stage", stage, (*STAGES, *FORMATS))
            return self.limit.show(stage)
        return driver.EMITTERS[stage](self.compiled)

    @cached_property
    def limit(self) -> Limit:
        """The limit as formulas: `.text()`, `.markdown()`, `.latex()`, `.json()`, and `.equations` for SymPy.

        Raises:
            ProgramError: for a program without a limit.
        """
        from tensorprog.derive import derive
        from tensorprog.display.limit import Limit

        return Limit(derive(self.compiled))

    def _repr_markdown_(self) -> str:
        return self.limit.markdown()

    @entry_point(path=PATH)
    def write_module(self, path: str | os.PathLike[str]) -> None:
        """Write the limit as a Python module that runs on its own."""
        write_text(path, self.emit("kernel"))

    @entry_point()
    def torch_module(self, width: int, seed: int = 0, **settings: object) -> torch.nn.Module:
        """The program at a finite width as a module of PyTorch, the first network that `simulate` draws for that seed: its random
        objects are the module's parameters. The module is called with the inputs by name, and returns {output: tensor}.

        Args:
            settings: parameters, and the sizes of random objects, as `d=10` for `matrix U : [n, d]`.

        Raises:
            ProgramError: TP800, without torch; TP808, for a program that takes gradients itself, or a missing size.
        """
        from tensorprog.torch import ProgramModule

        require_positive("width", width)
        return ProgramModule(self.program, width, _seeds(seed, 1)[0], self.settings | settings)

    @entry_point(optimizer=WORD)
    def mup(self, optimizer: str = "adam") -> Mup:
        """The maximal update parametrization: the powers of n of what is trained, with `.to_text()`, `.to_json()`,
        `.to_latex()` and `.rewritten()`.

        Args:
            optimizer: 'sgd', 'adam', 'adamw' or 'muon'.

        Raises:
            ProgramError: TP720 to TP722, for a program whose powers of n do not decide.
        """
        from tensorprog.bind import bind_given
        from tensorprog.powers.mup import maximal_update

        return maximal_update(self.program, optimizer, bind_given(self.program, self.settings))

    @entry_point(data=DATA, measure=FLAG, widths=NUMBERS, progress=REPORT)
    def scale(self, data: Data | None = None, *, measure: bool = False,
              widths: Sequence[int] = (64, 128, 256, 512, 1024), seeds: int = 8, seed: int = 0, tolerance: float = 0.15,
              progress: Progress | None = None, **settings: object) -> Scale:
        """The power of n of every name at initialization, after one step, and later, and of what training changes.

        Args:
            data, settings: what running takes; not needed unless `measure`.
            measure: run networks of these `widths`, `seeds` of each, and set slopes with errors beside the powers.
            tolerance: how far a slope may be from its power besides two standard errors.

        Raises:
            ProgramError: for a mistake in the data or settings; TP724, for too few widths or seeds.
        """
        self._refuse_misspelt_options(settings, CompiledProgram.scale)
        return self.scale_with(data, settings, measure=measure, widths=widths, seeds=seeds, seed=seed,
                               tolerance=tolerance, progress=progress)

    def scale_with(self, data: Data | None, settings: Mapping[str, object], *, measure: bool = False,
                   widths: Sequence[int] = (64, 128, 256, 512, 1024), seeds: int = 8, seed: int = 0,
                   tolerance: float = 0.15, progress: Progress | None = None) -> Scale:
        """`scale` with the settings as a mapping."""
        from tensorprog.bind import bind_given
        from tensorprog.powers.scale import inferred, prepare

        for name, value in (*(("width", width) for width in widths), ("seeds", seeds)):
            require_positive(name, value)
        require_run_options(seed, tolerance=tolerance)
        self.check_fixed(settings)
        prepared = prepare(self.program)
        found = inferred(prepared, bind_given(self.program, self.settings | dict(settings)))
        if not measure:
            return found
        from tensorprog.powers.measure import measure as measured
        from tensorprog.progress import shown

        env, _, _ = self._prepare(data, settings)
        with shown(progress) as report:
            return measured(prepared, found, env, widths=widths, seeds=_seeds(seed, seeds), tolerance=tolerance,
                            progress=report)

    @entry_point(data=DATA, method=WORD, checkpoint=PATH_OR_NONE, progress=REPORT, budget=SECONDS, windows=FLAG)
    def run(self, data: Data | None = None, *, samples: int | None = None, replicates: int = 8, seed: int = 0,
            tolerance: float | None = None, method: str = "auto", threads: int | None = None,
            dtype: str | None = None, checkpoint: str | os.PathLike[str] | None = None, every: float = 30.0,
            watch: Watch | None = None, progress: Progress | None = None, limit: Limits | None = None,
            error: float | Mapping[str, float] | None = None, budget: float = 600.0, draws: int = 0,
            scheduler: Scheduler | None = None, windows: bool = True, **settings: object) -> Result:
        """The limit of every output. One that is random is given by its mean, with `Result.spread`.

        Args:
            data: a mapping from input names to arrays.
            samples: particles in each of the `replicates` independent randomizations, whose scatter is the error; by default
                4096, or 1024 where that would take long, as counted by the multiplications of a small run.
            tolerance: how small a new direction is left out; None for the evaluator's own.
            method: the evaluator of all outputs; 'auto' takes the most exact one that applies to each.
            dtype: of vectors, 'float64' or 'float32'; by default float64, but for particles float32 where a small part of
                a replicate, run in both, shows that it is as good.
            checkpoint: a file for the state of the long loops of 'span'; finished replicates of particles are kept in a folder
                beside it, `<checkpoint>.replicates`. A run that was stopped goes on from both, to the same result.
            every: seconds between two states.
            watch: called now and then with the outputs that a long loop of 'span' fills, as they are, by name.
            progress: called with (steps done, steps in all), and its method `stage`, if it has one, with what is done
                before there are steps, as 'planning'; or True for a bar on stderr.
            limit: a size or an integer parameter that tends to infinity as well, with the values to extrapolate from,
                as in `{"L": [8, 16, 32, 64]}`; see `Result.approach`.
            draws: how many joint draws of the outputs whose limit is random are wanted; see `Result.draws`.
            error: the errors that are wanted, of all outputs, or by output or part of one, as in `{"loss[-1]": 1e-3}`: samples
                and replicates grow until they are reached or `budget` seconds are spent; see `Result.accuracy`.
            scheduler: the address of a scheduler of `dask.distributed`, or a client of one, whose workers run the replicates.
            windows: whether particles may take several steps of gradient descent at once, where a pilot shows that this
                changes outputs by less than a third of the error. What it changes is in the error.
            settings: sizes and parameters, by name.

        Raises:
            ProgramError: for a mistake in the data or settings, before anything is run; TP714, for the checkpoint of
                another run; TP735, for an error or a budget that makes no sense.
        """
        self._refuse_misspelt_options(settings, CompiledProgram.run)
        return self.run_with(data, settings, samples=samples, replicates=replicates, seed=seed, tolerance=tolerance,
                             method=method, threads=threads, dtype=dtype, checkpoint=checkpoint, every=every,
                             watch=watch, progress=progress, limit=limit, error=error, budget=budget, draws=draws,
                             scheduler=scheduler, windows=windows)

    def run_with(self, data: Data | None, settings: Mapping[str, object], *, samples: int | None = None, replicates: int = 8,
                 seed: int = 0, tolerance: float | None = None, method: str = "auto", threads: int | None = None,
                 dtype: str | None = None, checkpoint: str | os.PathLike[str] | None = None, every: float = 30.0,
                 watch: Watch | None = None, progress: Progress | None = None, limit: Limits | None = None,
                 error: float | Mapping[str, float] | None = None, budget: float = 600.0, draws: int = 0,
                 scheduler: Scheduler | None = None, windows: bool = True,
                 replicates_in: str | os.PathLike[str] | None = None,
                 aim: float | Mapping[str, float] | None = None) -> Result:
        """`run` with the settings as a mapping, so that a parameter may be called `seed` or `samples`. Replicates that are
        kept in `replicates_in` are taken from there, as from a checkpoint. `aim` are the errors that a run with these samples
        is one of several attempts at."""
        from tensorprog.evaluators.table import methods

        require_choice("TP706", "method", method, methods())
        require_choice("TP706", "dtype", dtype or "float64", DTYPES)
        for name, value in (("samples", 1 if samples is None else samples), ("replicates", replicates)):
            require_positive(name, value)
        require_run_options(seed, threads, tolerance, every)
        require_draws(draws)
        if error is not None:
            from tensorprog.accuracy import PILOT, reach

            # Attempts share a connection, and the replicates that are finished: a larger number begins with those of a smaller one.
            with connected(scheduler) as cluster, TemporaryDirectory() as folder:
                return reach(lambda samples, replicates: self.run_with(
                    data, settings, samples=samples, replicates=replicates, seed=seed, tolerance=tolerance, method=method,
                    threads=threads, dtype=dtype, checkpoint=checkpoint, every=every, watch=watch, progress=progress,
                    limit=limit, draws=draws, scheduler=cluster, windows=windows,
                    replicates_in=None if limit else Path(folder, "run"), aim=error),
                    error, samples or PILOT, replicates, budget)
        if limit is not None:
            return self._at_infinity(limit, settings, seed, checkpoint, progress, partial(
                self.run_with, data, samples=samples, replicates=replicates, tolerance=tolerance, method=method,
                threads=threads, dtype=dtype, every=every, watch=watch, draws=draws, scheduler=scheduler, windows=windows,
                aim=aim))
        env, elements, warnings = self._prepare(data, settings)
        from tensorprog.effort import USUAL, usual_samples
        from tensorprog.evaluators.windows import Windowing
        from tensorprog.jumps import run_draws, run_limit
        from tensorprog.progress import shown
        from tensorprog.resume import finished, kept
        from tensorprog.runtime.sampling import Notes

        with (shown(progress) as report, kept(checkpoint, every, self.source, env, "limit", dtype or "float64") as state,
              finished(checkpoint or replicates_in, self.source, env) as results, connected(scheduler) as cluster):
            compiled, notes = self.compiled_for(env), Notes()
            biased: set[str] = set()
            windowing = Windowing(aim) if windows else None
            # Draws of samples are as many as were asked for, and not fewer where a run would be long.
            given, samples = samples or USUAL, samples or usual_samples(compiled, env, method, tolerance)
            options: RunOptions = {
                "samples": samples, "replicates": replicates, "seed": seed, "tolerance": tolerance, "threads": threads, "dtype": dtype,
                "checkpoint": state, "watch": watch, "progress": report, "biased": biased, "notes": notes,
                "finished": results, "cluster": cluster, "windows": windowing}
            spread: Mapping[str, Spread] = {}
            if compiled.gaussians is None:
                reached = run_limit(compiled, env, method, self.source, **options)
            else:
                from tensorprog.random_limit import run_random

                found = run_random(compiled, env, method, self.source, draws=draws, **options)
                reached, spread = found.limit, found.spread
            drawn, said = run_draws(compiled, env, samples=given, seed=seed, tolerance=tolerance, threads=threads)
        # After the run: what it shows of its own errors.
        doubts = (*_tail_warnings(compiled, reached.values, reached.errors, reached.methods),
                  *self._bias_warnings(biased, reached.methods), *_crowded_warnings(notes.crowded))
        return self._result(reached.values | drawn, reached.errors, reached.methods | dict.fromkeys(drawn, "particles"), elements,
                            (*warnings, *reached.warnings, *said, *doubts), unresolved=reached.unresolved, spread=spread,
                            settings=_scalars(env) | {"samples": samples, "replicates": replicates, "seed": seed}
                            | ({"windows": windowing.count} if windowing is not None and windowing.count else {}))

    @entry_point(out=ARRAYS)
    def kernels(self, first: object, second: object = None, *, out: Mapping[str, object] | None = None,
                threads: int | None = None, dtype: str = "float64", **settings: object) -> Kernels:
        """Every output that is a kernel K[a, b] over rows of inputs, for all pairs of rows: a dictionary of arrays
        [..., N1, N2], with the error of every element in `.error`, and `.warnings`.

        Args:
            first: the inputs, a mapping or the array of the first one.
            second: the same for the columns, of a kernel of one data set with itself; else they are those of `first`.
                Outside of tiles, the second data set follows the first: a program that looks at other rows than a and
                c, as in X[ids[a]], counts the rows of both.
            out: C-contiguous arrays of `dtype` to write to, by output.
            dtype: 'float64', or 'float32' for the arithmetic on pairs.

        Raises:
            ProgramError: for a mistake in the data or settings; TP712, if no output has this form.
            ValueError: if an array of `out` is missing, or does not fit.
        """
        self._refuse_misspelt_options(settings, CompiledProgram.kernels)
        return self.kernels_with(first, second, settings, out=out, threads=threads, dtype=dtype)

    def kernels_with(self, first: object, second: object, settings: Mapping[str, object], *,
                     out: Mapping[str, object] | None = None, threads: int | None = None,
                     dtype: str = "float64") -> Kernels:
        """`kernels` with the settings as a mapping."""
        from tensorprog.kernels import kernels

        require_choice("TP706", "dtype", dtype, DTYPES)
        require_run_options(0, threads)
        return kernels(self, first, second, out=out, threads=threads, dtype=dtype, settings=settings)

    @entry_point(data=DATA, checkpoint=PATH_OR_NONE, progress=REPORT)
    def simulate(self, data: Data | None = None, *, width: int, seeds: int = 8, seed: int = 0,
                 threads: int | None = None, checkpoint: str | os.PathLike[str] | None = None, every: float = 30.0,
                 watch: Watch | None = None, progress: Progress | None = None, limit: Limits | None = None,
                 scheduler: Scheduler | None = None, **settings: object) -> Result:
        """Every output at a finite width: the mean over `seeds` random networks, the standard error of that mean as
        `.error`, and each network's own value in `.samples[name]`.

        Args:
            checkpoint, every, watch: as for `run`, in programs with long loops on single vectors. With several seeds,
                each has a file of its own, with its number behind the name.
            limit: as for `run`, extrapolated from the means.
            scheduler: as for `run`; its workers run the networks, without checkpoints.

        Raises:
            ProgramError: for a mistake in the data or settings; TP714, for the checkpoint of another run.
            Interrupted: on Ctrl-C after the first seed, with the result of the seeds that were finished.
        """
        self._refuse_misspelt_options(settings, CompiledProgram.simulate)
        return self.simulate_with(data, settings, width=width, seeds=seeds, seed=seed, threads=threads,
                                  checkpoint=checkpoint, every=every, watch=watch, progress=progress, limit=limit,
                                  scheduler=scheduler)

    def simulate_with(self, data: Data | None, settings: Mapping[str, object], *, width: int, seeds: int = 8,
                      seed: int = 0, threads: int | None = None, checkpoint: str | os.PathLike[str] | None = None,
                      every: float = 30.0, watch: Watch | None = None, progress: Progress | None = None,
                      limit: Limits | None = None, scheduler: Scheduler | None = None) -> Result:
        """`simulate` with the settings as a mapping."""
        for name, value in (("width", width), ("seeds", seeds)):
            require_positive(name, value)
        require_run_options(seed, threads, every=every)
        if limit is not None:
            return self._at_infinity(limit, settings, seed, checkpoint, progress, partial(
                self.simulate_with, data, width=width, seeds=seeds, threads=threads, every=every, watch=watch,
                scheduler=scheduler))
        env, elements, warnings = self._prepare(data, settings)
        from tensorprog.progress import shown

        runs: list[dict[str, np.ndarray]] = []
        described = _scalars(env) | {"width": width, "seed": seed}
        try:
            with shown(progress) as report, connected(scheduler) as cluster:
                if cluster is not None:
                    self._simulate_there(cluster, env, width, _seeds(seed, seeds), report, runs)
                else:
                    self._simulate_each(env, width, _seeds(seed, seeds), threads, (checkpoint, every, watch), report, runs)
        except KeyboardInterrupt:
            if not runs:
                raise
            # Networks that are finished are not lost.
            raise Interrupted(self._averaged(runs, elements, warnings, described)) from None
        return self._averaged(runs, elements, warnings, described)

    @entry_point(data=DATA, keep=PATH_OR_NONE, progress=REPORT)
    def sweep(self, data: Data | None = None, *, width: int | Sequence[int] | None = None,
              keep: str | os.PathLike[str] | None = None, progress: Progress | None = None,
              scheduler: Scheduler | None = None, **settings: object) -> Result:
        """The limit, or networks of a width, at all combinations of several values of parameters and sizes, as one result
        with these as its first indices: `sweep(data, eta=[0.1, 0.2], T=5)["loss"]` is [eta, t].

        Args:
            width: None for the limit; one or several widths of networks.
            keep: a folder in which finished points are kept: the same call goes on from there, and one with more values
                computes the new ones only.
            progress: called with (points done, points in all), or True for a bar on stderr.
            scheduler: as for `run`; its workers run the points.
            settings: sizes and parameters, some of them lists; and the options `samples`, `replicates`, `seed`,
                `tolerance`, `method`, `dtype`, `threads` of `run`, or `seeds`, `seed`, `threads` of `simulate`.

        Raises:
            ProgramError: for a mistake in the data or at a point; TP734, for a sweep without values.
            Interrupted: on Ctrl-C after the first point; its `result` is a `tensorprog.sweep.Sweep` of what was finished.
        """
        from tensorprog.progress import shown
        from tensorprog.sweep import run_sweep

        method = CompiledProgram.run if width is None else CompiledProgram.simulate
        names = {d.name for d in self._settable}
        known = {name for name, p in inspect.signature(method).parameters.items() if p.kind == p.KEYWORD_ONLY}
        # A program's parameter may be called as an option is, `seed` say: then it is the parameter.
        options = {name: settings.pop(name) for name in set(settings) & known - names}
        self._refuse_misspelt_options(settings, method)
        with shown(progress) as report:
            return run_sweep(self, data, settings, width=width, keep=keep, progress=report, scheduler=scheduler,
                             **options).result()

    @entry_point(data=DATA, widths=NUMBERS, method=WORD, progress=REPORT)
    def verify(self, data: Data | None = None, *, widths: Sequence[int] = (64, 128, 256, 512, 1024), seeds: int = 32,
               samples: int | None = None, replicates: int = 8, seed: int = 0, tolerance: float | None = None,
               method: str = "auto", threads: int | None = None, progress: Progress | None = None,
               scheduler: Scheduler | None = None, **settings: object) -> Verification:
        """The limit beside `seeds` random networks of each of several widths: does what they tend to agree with it?

        `verify.verify_program` takes the settings as a mapping.

        Raises:
            ProgramError: for a mistake in the data or settings; TP710, for too few widths, seeds or replicates.
        """
        from tensorprog.verify.verify import verify_program

        self._refuse_misspelt_options(settings, CompiledProgram.verify)
        return verify_program(self, data, settings, widths=widths, seeds=seeds, seed=seed, progress=progress,
                              samples=samples, replicates=replicates, tolerance=tolerance, method=method,
                              threads=threads, scheduler=scheduler)

    def _at_infinity(self, limit: Limits, settings: Mapping[str, object], seed: int,
                     checkpoint: str | os.PathLike[str] | None, progress: Progress | None,
                     run: Callable[..., Result]) -> Result:
        """A second limit of what `run(settings, seed=, checkpoint=, progress=)` gives. The random numbers of every value
        are others, which makes their errors independent."""
        from tensorprog.progress import shown
        from tensorprog.resume import numbered
        from tensorprog.second_limit import at_infinity, second_limit

        found = second_limit(self.program, limit, self.settings | dict(settings))
        count = len(found.values)
        # Runs at different values of the size share no random numbers: their errors are independent, as the extrapolation takes
        # them.
        seeds = _seeds(seed, count)
        with shown(progress) as report:
            result = at_infinity(self.program, found, lambda i, value: run(
                {**settings, found.name: value}, seed=seeds[i], checkpoint=numbered(checkpoint, i, count),
                progress=_part_of(report, i, count) if report is not None else None))
        result.settings["seed"] = seed
        return result

    def _simulate_each(self, env: dict[str, object], width: int, seeds: list[int], threads: int | None,
                       kept_state: tuple, progress: Steps | None, runs: list[dict[str, np.ndarray]]) -> None:
        """Append one run a seed, so that those finished survive an interruption."""
        from tensorprog.resume import kept, numbered

        checkpoint, every, watch = kept_state
        for done, seed in enumerate(seeds):
            steps = _part_of(progress, done, len(seeds)) if progress is not None else None
            path = numbered(checkpoint, done, len(seeds))
            with kept(path, every, self.source, env, width, seed) as state:
                runs.append(self._simulator.run(env, width=width, seed=seed, threads=threads, progress=steps,
                                                checkpoint=state, watch=watch))
            if progress is not None:
                progress(done + 1, len(seeds))

    def _simulate_there(self, cluster: Cluster, env: dict[str, object], width: int, seeds: list[int],
                        progress: Steps | None, runs: list[dict[str, np.ndarray]]) -> None:
        """Append one run a seed, by the workers of a cluster."""
        program, shared = cluster.shared(self), cluster.shared(env)
        for done, wait in enumerate([cluster.submit(network, program, shared, width, seed) for seed in seeds], 1):
            runs.append(wait())
            if progress is not None:
                progress(done, len(seeds))

    def network(self, env: dict[str, object], width: int, seed: int) -> dict[str, np.ndarray]:
        """The outputs of one network, on one thread; `env` are validated sizes, parameters and inputs."""
        return self._simulator.run(env, width=width, seed=seed, threads=1)

    @cached_property
    def _simulator(self) -> Simulator:
        """What runs finite networks: the program with its gradients written out."""
        from tensorprog.pipeline import differentiated
        from tensorprog.simulate import Simulator

        return Simulator(differentiated(self.program, Reporter(self.source)), self.program)

    @cached_property
    def compiled(self) -> Analysis:
        """What the passes make of the program: powers of n, limit program; and what evaluators find out about it. Its warnings
        join `warnings`.

        Raises:
            ProgramError: for a program without a limit.
        """
        # Warnings of passes come when the limit is first asked for; simulating a program that has none says nothing of it.
        analysis, warnings, accepted = self._compiled(self.settings)
        self._accepted |= accepted
        self.warnings = (*self.warnings, *warnings)
        return analysis

    @property
    def plan(self) -> Plan:
        """The evaluator of every output, and why.

        Raises:
            ProgramError: for a program without a limit.
        """
        from tensorprog.evaluators.plan import plan_of

        return plan_of(self.compiled)

    def _compiled(self, settings: Mapping[str, Any]) -> tuple[Analysis, tuple[Diagnostic, ...], frozenset[Acceptance]]:
        """The passes' work, the warnings, and what of the source accepted some; kept on disk."""
        from tensorprog.evaluators.analysis import Analysis

        if self.kept is not None and settings == self.settings:
            shelf, compiled, warnings, accepted = self.kept
        else:
            from tensorprog.pipeline import compile_program

            reporter = Reporter(self.source, accepted=set(self._checker_accepted))
            compiled = compile_program(self.program, settings, reporter)
            warnings, accepted = reporter.warnings, frozenset(reporter.accepted)
            shelf = Shelf(self.source, settings)
            shelf.keep_program(self.program, self._checker_warnings, self._checker_accepted, compiled, warnings, accepted)
        return Analysis.of(compiled, shelf), warnings, accepted

    def compiled_for(self, env: Mapping[str, object]) -> Analysis:
        """`compiled`; made anew if `env` changes a parameter that powers of n depend on."""
        limit = self.compiled
        # All other parameters are arguments of the limit program.
        if any(env[name] != limit.env[name] for name in limit.powers.fixed):
            limit, *_ = self._compiled({**self.settings, **{name: env[name] for name in limit.powers.fixed}})
        return limit

    def _prepare(self, data: Data | None, settings: Mapping[str, object]) -> Prepared:
        """The environment of a run, audited."""
        from tensorprog.audit import audit_indices, output_elements
        from tensorprog.bind import bind

        self.check_fixed(settings)
        reporter = Reporter(self.source)
        env = bind(self.program, data, self.settings | dict(settings), reporter=reporter)
        # Before anything is compiled: a wrong index would be a wrong number, or a crash, in emitted code.
        audit_indices(self.program, env)
        return Prepared(env, output_elements(self.program, env), reporter.warnings)

    def check_fixed(self, settings: Mapping[str, object]) -> None:
        """Refuse to change what was fixed when the program was compiled."""
        changed = [name for name, value in settings.items()
                   if name in self.settings and value != self.settings[name]]
        if changed:
            raise ProgramError([Diagnostic(
                "TP632", f"'{name}' was fixed to {self.settings[name]} when the program was compiled",
                help="compile it again without that setting, or with the new value") for name in changed], self.source)

    def _averaged(self, runs: list[dict[str, np.ndarray]], elements: OutputElements, warnings: tuple[Diagnostic, ...],
                  settings: dict[str, object]) -> Result:
        import numpy as np

        from tensorprog.simulate import mean_over_networks

        samples, values, errors = mean_over_networks(runs)
        values |= {s.name: np.concatenate(samples[s.name]) for s in self.program.samples}
        return self._result(values, errors, dict.fromkeys(values, "finite"), elements, warnings,
                            samples=samples, settings=settings | {"seeds": len(runs)})

    def _result(self, values: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], methods: dict[str, str],
                elements: OutputElements, warnings: tuple[Diagnostic, ...], *, settings: dict[str, object],
                samples: dict[str, np.ndarray] | None = None,
                unresolved: Mapping[str, np.ndarray] | None = None,
                spread: Mapping[str, Spread] | None = None) -> Result:
        """The result with the elements that outputs have, those that are never assigned as NaN, and a warning for each output that
        diverged."""
        import numpy as np

        from tensorprog.axes import axes_of_outputs
        from tensorprog.results import Result, first_divergence

        columns = {s.name: s.columns for s in self.program.samples}
        # Draws have no error.
        errors = {**errors, **dict.fromkeys(columns, np.array(np.nan))}
        values = {name: _writable(elements.cut(name, np.asarray(value))) for name, value in values.items()}
        errors = {name: elements.cut(name, np.asarray(error)) for name, error in errors.items()}
        unresolved = {name: np.array(elements.cut(name, mask)) for name, mask in (unresolved or {}).items()}
        samples = samples and {name: drawn[:, *elements.index(name)] for name, drawn in samples.items()}
        spread = {name: found.part(elements.index(name)) for name, found in (spread or {}).items()}
        missing = elements.unassigned
        diverged = {}
        for name, value in values.items():
            if name in missing:
                value[missing[name]] = np.nan
                if name in unresolved:
                    unresolved[name][missing[name]] = False
            # NaN is expected of elements that are never assigned, or have no limit.
            found = first_divergence(value, missing.get(name), unresolved.get(name))
            if found is not None:
                diverged[name] = found[0]
        doubts = (*warnings, *self._divergence_warnings(values, diverged))
        said = (*self.warnings, *self._not_accepted(doubts, limit=samples is None))
        return Result(values, errors, methods, settings=settings, warnings=said, diverged=diverged, samples=samples,
                      unresolved=unresolved, spread=spread, columns=columns, axes=axes_of_outputs(self.program))

    def _not_accepted(self, found: Sequence[Diagnostic], *, limit: bool) -> tuple[Diagnostic, ...]:
        """The warnings of a run without those that the source accepts, and, of a limit, acceptances of nothing."""
        by = {warning: acceptance_of(warning, self.source) for warning in found}
        idle = unused(self.source, {*self._accepted, *(a for a in by.values() if a is not None)}, after_run=True) if limit else ()
        return (*(warning for warning, acceptance in by.items() if acceptance is None), *idle)

    def _bias_warnings(self, biased: Collection[str], methods: Mapping[str, str]) -> list[Diagnostic]:
        return [Diagnostic("TP645", f"the error of the output '{o.name}' is mostly a bias of its particles, which more "
                           "replicates do not make smaller", o.span, severity="warning",
                           help="take more samples: the bias falls as one over their number")
                for o in self.program.outputs if o.name in biased and methods[o.name] == "particles"]

    def _divergence_warnings(self, values: Mapping[str, np.ndarray],
                             diverged: Mapping[str, int | None]) -> list[Diagnostic]:
        """TP640 for outputs that grow beyond all bounds; TP641 for those that are not a number, though nothing grows,
        in a program that can have such values."""
        from tensorprog.results import grows

        # What grows makes NaN of other outputs as well: then all are said to have diverged, 0/0 of inf - inf included.
        growing = (any(grows(values[name], where) for name, where in diverged.items())
                   or bool(diverged) and not may_be_undefined(self.program.body))
        return [self._divergence_warning(name, where, growing) for name, where in diverged.items()]

    def _divergence_warning(self, name: str, where: int | None, growing: bool) -> Diagnostic:
        results: tuple[Output | Sample, ...] = (*self.program.outputs, *self.program.samples)
        span = next(o.span for o in results if o.name == name)
        place = "" if where is None else f" from {name}[{where}] on"
        if growing:
            message = f"the output '{name}' is infinite or beyond 1e12{place}"
            if not any(isinstance(s, For) for s in walk(self.program.body)):
                return Diagnostic("TP640", message, span, severity="warning", help=(
                    "a number is too large or a denominator too small: scale it down, or use its logarithm"))
            return Diagnostic("TP640", f"{message}: the computation diverged", span, severity="warning",
                              help="try a smaller learning rate, or look at an earlier time")
        message = f"the output '{name}' is not a number{place}, as 0/0 and the root of a negative number are"
        return Diagnostic("TP641", message, span, severity="warning",
                          help="keep denominators and the arguments of roots and logarithms positive, as in "
                               "`x / sqrt(f*f + 0.01)`")


# Relative errors of particles from which the tails of averages are looked at.
# More precise averages hang on many particles.
COARSE = 1e-3


def _crowded_warnings(crowded: Collection[tuple[int, int]]) -> list[Diagnostic]:
    """TP646, where matrices have been applied to nearly as many directions as there are particles."""
    if not crowded:
        return []
    rank, samples = max(crowded)
    return [Diagnostic("TP646", f"a matrix is applied to vectors of {rank} independent directions, but a replicate has only "
                       f"{samples} particles", None, severity="warning",
                       help=f"take more samples: {2 ** max(1, (4 * rank - 1).bit_length())} would do")]


def _tail_warnings(compiled: Analysis, values: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray],
                   methods: Mapping[str, str]) -> list[Diagnostic]:
    """A warning for each average with a heavy tail, if an output of the particles is not precise."""
    import numpy as np

    from tensorprog.passes.averages import heavy

    with np.errstate(invalid="ignore"):
        coarse = any(np.any(errors[name] > COARSE * np.abs(values[name]))
                     for name, method in methods.items() if method == "particles")
    return [Diagnostic("TP643", "this average hangs on few particles: its error may be larger than reported", span,
                       help="take more samples until the result stays, or a form that covariance can evaluate",
                       severity="warning") for span in (heavy(compiled.limit, compiled.env) if coarse else ())]


# --- small things --------------------------------------------------------------------------------------------


def _as_whole(value: object) -> int | None:
    """An integer of whatever type as one of Python's; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # of an array with several elements
        return None


def require_positive(name: str, value: object) -> None:
    """Refuse a count that is not a positive integer."""
    whole = _as_whole(value)
    if whole is None or whole <= 0:
        raise mistake("TP708", f"'{name}' must be a positive whole number, not {value!r}",
                      f"give a number like `{name}=8`")


def require_draws(draws: object) -> None:
    """Refuse a number of draws that is not a whole number from 0."""
    if draws != 0 or isinstance(draws, bool):
        require_positive("draws", draws)


def require_run_options(seed: object, threads: object = None, tolerance: object = None, every: object = 1.0) -> None:
    """Refuse a seed that is negative, or a number of threads, a tolerance or an interval that makes no sense."""
    whole = _as_whole(seed)
    if whole is None or whole < 0:
        raise mistake("TP708", f"'seed' must be a whole number from 0, not {seed!r}", "give a number like `seed=1`")
    if threads is not None:
        require_positive("threads", threads)
    for name, value, least in (("tolerance", tolerance, 0.0), ("every", every, 0.0)):
        # `numbers.Real` does not tell mypy that it can be compared.
        number: Any = value
        if value is not None and not (isinstance(value, numbers.Real) and least <= number < float("inf")):
            raise mistake("TP708", f"'{name}' must be a finite number from 0, not {value!r}",
                          f"give a number like `{name}=1e-3`, or leave it out")


def _part_of(progress: Steps, done: int, total: int) -> Steps:
    """What one seed reports of its own steps: that share of a whole, after `done` of `total` seeds."""
    return lambda steps, of: progress(done * of + steps, total * of)


def _writable(value: np.ndarray) -> np.ndarray:
    """A value as an array of float64 that nothing else holds; not copied if it is one."""
    import numpy as np

    array = np.asarray(value, dtype=np.float64)
    return array if array.flags.owndata and array.flags.writeable else array.copy()


def _scalars(env: Mapping[str, object]) -> dict[str, object]:
    """The sizes and parameters of an environment."""
    return {name: value for name, value in env.items() if isinstance(value, int | float)}


def _seeds(seed: int, count: int) -> list[int]:
    """Independent seeds; a larger count begins with the same ones."""
    import numpy as np

    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count, np.uint32)]
