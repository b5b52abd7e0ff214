"""The command line: `tpc check | derive | compile | run | simulate | kernels | verify | classify | mup | scale | fmt | explain |
cache | lsp`.

Results go to stdout, everything else to stderr. Exit codes: 0 success; 1 a run that diverged or whose errors are not as small
as `--error` wants, a limit that `verify` refutes, a power of n that `scale --measure` or `mup --coordcheck` refutes, or text
that `fmt --check` would change; 2 a mistake in the program, the data or the command line; 70 a bug in tpc; 130 Ctrl-C.
Commands return their exit code; `Tpc.main` turns every exception into a message and a code.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tensorprog import __version__
from tensorprog.cli_options import (
    CHECKPOINT,
    DATA,
    JSON,
    LIMIT,
    OUT,
    PLOT,
    PROGRAM,
    PROGRESS,
    SCHEDULER,
    SEED,
    SEEDS,
    SET,
    SET_SEVERAL,
    SHOW,
    TO_INFINITY,
    Widths,
    options,
)
from tensorprog.diagnostics import Diagnostic, ProgramError, Source, near_miss, render
from tensorprog.start import INTERRUPTED, LostOutput, prepared

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram
    from tensorprog.progress import Bar
    from tensorprog.results import Result

DIVERGED = 1
FAILED = 1
MISTAKE = 2
INTERNAL = 70


# --- the group -----------------------------------------------------------------------------------------------


class _Pressed(Exception):
    """Ctrl-C was pressed."""


class Tpc(click.Group):
    """The group of commands, with near-miss hints and one place where errors become messages and exit codes."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
             standalone_mode: bool = False, windows_expand_args: bool = True, **extra: Any) -> NoReturn:
        """Run a command line and leave the process with its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        prepared()
        try:
            code = _guarded(lambda: super(Tpc, self).main(
                args=arguments, prog_name=prog_name, complete_var=complete_var, standalone_mode=False,
                windows_expand_args=windows_expand_args, **extra), arguments)
            # A disk that is full is noticed now, and not when Python ends.
            sys.stdout.flush()
        except LostOutput as error:
            code = _report_lost_output(error)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> object:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except EOFError as error:  # click would take it for an interruption
            raise RuntimeError("a file ended before its end") from error
        except KeyboardInterrupt:  # click would write an empty line
            raise _Pressed from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name, or a usage error that says which one was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            meant = near_miss(name, self.list_commands(ctx))
            if meant is None and name.endswith(".tp"):
                meant = f"run {name}"
            hint = f" Did you mean 'tpc {meant}'?" if meant else " See 'tpc --help'."
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _guarded(command: Callable[[], int | None], arguments: list[str]) -> int:
    """The exit code of a command, after a message for whatever it raised."""
    # Read from the command line itself: a mistake may come before click has parsed it.
    as_json = "--json" in arguments
    try:
        return command() or 0
    except ProgramError as error:
        _report_mistake(error, as_json)
        return MISTAKE
    except click.ClickException as error:
        _report_usage(error, as_json)
        return MISTAKE
    # Before `Exception`: click raises its own on Ctrl-C.
    except (click.Abort, KeyboardInterrupt, _Pressed):
        click.echo("tpc: interrupted", err=True)
        return INTERRUPTED
    except LostOutput:
        raise
    except MemoryError:
        _report_mistake(ProgramError([Diagnostic("TP709", "there is not enough memory for this run", help=(
            "use fewer --samples or --replicates, a smaller --width, or smaller data"))]), as_json)
        return MISTAKE
    except Exception as error:
        # An exception that Ctrl-C made on its way through C code.
        if prepared().happened:
            click.echo("tpc: interrupted", err=True)
            return INTERRUPTED
        from tensorprog.crash import apologize

        apologize(error, arguments)
        return INTERNAL


def _report_lost_output(error: LostOutput) -> int:
    """The exit code after output was lost: a reader that has gone, as `head`, has seen what it wanted."""
    if error.closed:
        return 0
    _report_mistake(ProgramError([Diagnostic("TP707", f"cannot write to standard output: {error}", help=(
        "make room on its disk, or write the output elsewhere"))]), as_json=False)
    return MISTAKE


def _report_mistake(error: ProgramError, as_json: bool) -> None:
    if as_json:
        name = error.source.name if error.source else None
        click.echo(json.dumps({"errors": [diagnostic_dict(d, name) for d in error.diagnostics]}))
    else:
        click.echo(str(error), err=True)


def _report_usage(error: click.ClickException, as_json: bool) -> None:
    if isinstance(error, click.NoSuchOption) and error.ctx and any(p.name == "assignments"
                                                                   for p in error.ctx.command.params):
        name = error.option_name.lstrip("-").partition("=")[0]
        message = error.message.rstrip(".") + f". A parameter or size of the program is set by '--set {name}=...'."
        error = click.NoSuchOption(error.option_name, message, error.possibilities, error.ctx)
    if as_json:
        click.echo(json.dumps({"errors": [diagnostic_dict(Diagnostic("TP702", error.format_message()), None)]}))
    else:
        error.show()


def diagnostic_dict(diagnostic: Diagnostic, file: str | None) -> dict[str, object]:
    """A diagnostic as JSON shows it; places are null where there is none."""
    span = diagnostic.span
    return {"code": diagnostic.code, "severity": diagnostic.severity, "file": file,
            "line": span.line if span else None, "column": span.column if span else None,
            "end_line": span.end_line if span else None, "end_column": span.end_column if span else None,
            "message": diagnostic.message, "help": diagnostic.help,
            "notes": [{"message": n.message, "line": n.span.line if n.span else None} for n in diagnostic.notes]}


@click.group(cls=Tpc, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tpc")
def main() -> None:
    """Compile Tensor Programs to their infinite-width limits.

    \b
    Example:
      tpc check model.tp
      tpc run model.tp data.npz --set eta=0.1
    """


# --- commands ------------------------------------------------------------------------------------------------


@main.command()
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM.tp...")
@JSON
def check(programs: tuple[str, ...], as_json: bool) -> int:
    """Check programs and report every mistake.

    \b
    Example:
      tpc check model.tp other.tp
    """
    errors: list[dict[str, object]] = []
    warnings: list[dict[str, object]] = []
    for path in programs:
        try:
            compiled = _compile(path, (), show_warnings=not as_json)
            warnings += [diagnostic_dict(d, path) for d in compiled.warnings]
            if not as_json:
                click.echo(f"{path}: ok")
        except ProgramError as error:
            errors += [diagnostic_dict(d, path) for d in error.diagnostics]
            if not as_json:
                click.echo(str(error), err=True)
    if as_json:
        click.echo(json.dumps({"errors": errors, "warnings": warnings}))
    return MISTAKE if errors else 0


@main.command()
@PROGRAM
@click.option("--format", "style", metavar="FORMAT", default="text", show_default=True,
              help="How to write the formulas: text, markdown, latex or json.")
@click.option("--steps", is_flag=True, help="Show the simplifications that were made.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write to a file instead.")
@SET
def derive(program: str, style: str, steps: bool, output: Path | None, assignments: tuple) -> None:
    """Print the infinite-width limit of a program as formulas: limit variables, Gaussian families, expectations.

    \b
    Example:
      tpc derive model.tp
      tpc derive model.tp --format latex -o model.tex
    """
    text = _compile(program, assignments, show_warnings=True).limit.show(style, steps)
    if output is None:
        click.echo(text.rstrip("\n"))
        return
    from tensorprog.files import write_text

    write_text(output, text)
    click.echo(f"wrote {output}")


@main.command()
@PROGRAM
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="MODULE.py",
              help="Where to write the module (default: PROGRAM_limit.py next to the program).")
@click.option("--emit", "stage", metavar="STAGE",
              help="Print one stage instead: ast, program, limit, plan, kernel, markdown or latex.")
@SET
@JSON
def compile(program: str, output: Path | None, stage: str | None, assignments: tuple, as_json: bool) -> None:
    """Write the limit of a program as a Python module, or show a stage of the way there.

    \b
    Example:
      tpc compile model.tp -o limit.py
      tpc compile model.tp --emit limit
    """
    compiled = _compile(program, assignments, show_warnings=not as_json)
    if stage is not None:
        text = compiled.emit(stage)
        click.echo(json.dumps({"stage": stage, "text": text}) if as_json else text.rstrip("\n"))
        return
    target = output or Path("program_limit.py" if program == "-" else f"{os.path.splitext(program)[0]}_limit.py")
    compiled.write_module(target)
    if compiled.program.samples and not as_json:
        names = ", ".join(f"'{s.name}'" for s in compiled.program.samples)
        click.echo(f"tpc: the module has the outputs that are numbers; the draws of {names} are given by `tpc run`", err=True)
    click.echo(json.dumps({"module": str(target)}) if as_json else f"wrote {target}")


@main.command()
@PROGRAM
@DATA
@click.option("--draws", type=click.IntRange(min=0), default=0, show_default=True,
              help="How many joint draws of outputs whose limit is random to write.")
@click.option("--error", type=click.FloatRange(min=0, min_open=True), metavar="FLOAT",
              help="Use more samples and replicates until errors (of what --show names) are below this.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), default=600.0, show_default=True,
              help="Seconds that --error may take.")
@click.option("--windows/--no-windows", default=True, show_default=True,
              help="Let particles take several steps of gradient descent at once, where that is as accurate.")
@click.option("--beside", type=Widths(), default=None,
              help="Networks of these widths, eight each, beside the limit in the picture.")
@options(SET_SEVERAL, TO_INFINITY, SEED, LIMIT, CHECKPOINT, SCHEDULER, OUT, SHOW, PLOT, JSON, PROGRESS)
def run(program: str, data: tuple[str, ...], more_data: tuple[str, ...], draws: int, error: float | None, budget: float,
        windows: bool, beside: tuple[int, ...] | None, assignments: tuple, keep: Path | None,
        limit: dict[str, list[int]] | None, seed: int, samples: int | None, replicates: int,
        tolerance: float | None, method: str, dtype: str | None, threads: int | None, checkpoint: Path | None, every: float,
        scheduler: str | None, output: Path | None, shown: tuple[str, ...], plot: Path | None, as_json: bool,
             progress: bool | None) -> int:
    """Compute the infinite-width limit of a program's outputs.

    DATA are .npz files, whose arrays have names, and .npy or .csv files as NAME=FILE.

    \b
    Example:
      tpc run model.tp data.npz y=labels.csv --set eta=0.1 -o limit.npz
      tpc run model.tp data.npz --show 'loss[-1]' --plot limit.png --beside 64,1024
      tpc run model.tp data.npz --set eta=0.1,0.2,0.5 --show 'loss[-1]' -o sweep.csv
      tpc run model.tp data.npz --error 1e-3 --show 'loss[-1]'
      tpc run deep.tp data.npz --limit L=8,16,32,64
      tpc run kernel_regime.tp data.npz --draws 100 -o draws.npz
    """
    # A name that cannot be written is told before an hour of work.
    _check_targets(output, plot)
    if beside and plot is None:
        raise click.UsageError("--beside is about the picture: give --plot FILE.png as well")
    # Without settings, which are those of a run: a sweep has several of them.
    compiled = _compile(program, (), show_warnings=not as_json)
    settings = _as_settings(assignments)
    arrays = _load(compiled, data + more_data, settings, limit)
    wanted = dict.fromkeys(shown, error) if shown and error else error
    if _is_sweep(settings, keep):
        if checkpoint or beside:
            raise click.UsageError("a sweep takes no --checkpoint and no --beside; --keep keeps its points")
        return _sweep(compiled, arrays, settings, keep, output, shown, plot, as_json, progress, seed=seed, samples=samples,
                      replicates=replicates, tolerance=tolerance, method=method, dtype=dtype, threads=threads, limit=limit,
                      error=wanted, budget=budget, scheduler=scheduler, windows=windows)
    begin = time.monotonic()
    with _bar(progress) as bar:
        result = compiled.run_with(arrays, settings, samples=samples,
                                   replicates=replicates, seed=seed, tolerance=tolerance, method=method,
                                   dtype=dtype, threads=threads, checkpoint=checkpoint, every=every,
                                   progress=bar, limit=limit, error=wanted, budget=budget, draws=draws, scheduler=scheduler,
                                   windows=windows)
    # 0, 1, or 130: the worst of what happened.
    code = max(_finish(compiled, result, output, as_json, shown=shown),
               _say_accuracy(result, time.monotonic() - begin, as_json))
    if plot is not None:
        networks: list[Result] = []
        code = max(code, _simulate_widths(compiled, arrays, list(beside or ()), SEEDS, seed, settings, limit, progress,
                                          networks, scheduler))
        result.plot(plot, beside=networks)
    return code


@main.command()
@PROGRAM
@DATA
@click.option("--width", "widths", type=Widths(), multiple=True, required=True,
              help="The width n; repeatable, or several separated by commas.")
@click.option("--seeds", type=click.IntRange(min=1), default=SEEDS, show_default=True, help="How many random networks.")
@options(SET_SEVERAL, TO_INFINITY, SEED, SCHEDULER, OUT, SHOW, PLOT, JSON, PROGRESS)
def simulate(program: str, data: tuple[str, ...], more_data: tuple[str, ...], widths: tuple[tuple[int, ...], ...],
             seeds: int, assignments: tuple, keep: Path | None, limit: dict[str, list[int]] | None, seed: int,
             scheduler: str | None, output: Path | None, shown: tuple[str, ...], plot: Path | None, as_json: bool,
             progress: bool | None) -> int:
    """Run a program at finite widths: the mean over random networks, with its standard error.

    With several widths, `-o out.npz` writes out_64.npz, out_256.npz and so on; a picture shows all of them. Ctrl-C keeps
    the networks that were finished.

    \b
    Example:
      tpc simulate model.tp data.npz --width 64,256,1024 --seeds 16 --plot widths.png
      tpc simulate model.tp data.npz --width 64,256 --set eta=0.1,0.5 --keep points -o sweep.csv
    """
    _check_targets(output, plot)
    # Networks need no limit: programs that have none can be simulated.
    compiled = _compile(program, (), show_warnings=not as_json, limit=False)
    settings = _as_settings(assignments)
    arrays = _load(compiled, data + more_data, settings, limit)
    # `--width 64,256 --width 64`: each once.
    chosen = list(dict.fromkeys(width for group in widths for width in group))
    if _is_sweep(settings, keep):
        width = chosen if len(chosen) > 1 else chosen[0]
        return _sweep(compiled, arrays, settings, keep, output, shown, plot, as_json, progress, width=width, seeds=seeds,
                      seed=seed, limit=limit, scheduler=scheduler)
    results: list[Result] = []
    code = _simulate_widths(compiled, arrays, chosen, seeds, seed, settings, limit, progress, results, scheduler)
    for result in results:
        path = output
        if len(chosen) > 1:
            path = output and output.with_name(f"{output.stem}_{result.width}{output.suffix}")
            if not as_json:
                click.echo(f"width {result.width}:")
        code = max(code, _finish(compiled, result, path, as_json, quiet=as_json, shown=shown))
    if as_json:
        click.echo(json.dumps({"widths": [_shown(result, shown).as_dict() for result in results]}))
    if plot is not None and results:
        results[0].plot(plot, beside=results[1:])
    return code


def _simulate_widths(compiled: CompiledProgram, arrays: dict, widths: list[int], seeds: int, seed: int,
                     settings: dict[str, object], limit: dict[str, list[int]] | None, progress: bool | None,
                     results: list[Result], scheduler: str | None) -> int:
    """Append the result of each width; on Ctrl-C what was finished, and the code of an interruption."""
    from tensorprog.api import Interrupted
    from tensorprog.results import Result

    try:
        for width in widths:
            with _bar(progress, f"width {width} ", "networks") as bar:
                results.append(compiled.simulate_with(arrays, settings, width=width, seeds=seeds, seed=seed,
                                                      progress=bar, limit=limit, scheduler=scheduler))
    except Interrupted as interruption:
        found = interruption.result
        assert isinstance(found, Result), "one run is no sweep"
        results.append(found)
        finished = found.settings["seeds"]
        click.echo(f"tpc: interrupted at width {width}, after {finished} of {seeds} networks", err=True)
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo("tpc: interrupted", err=True)
        return INTERRUPTED
    return 0


@main.command()
@PROGRAM
@DATA
@click.option("--second", multiple=True, metavar="DATA", help="Data of the columns, if these are others; repeatable.")
@click.option("--dtype", default="float64", metavar="[float64|float32]", show_default=True,
              help="Of the arithmetic on pairs.")
@click.option("--threads", type=click.IntRange(min=1), help="How many threads to use (default: all).")
@click.option("--rows", type=click.IntRange(min=1), help="Rows of a block of a .zarr group (default: some 32 MB of values).")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT.npz",
              help="Write the results to a .npz, .csv, .json or .nc file, or stream them to a .zarr group.")
@options(SET, SHOW, PLOT, SCHEDULER, JSON)
def kernels(program: str, data: tuple[str, ...], more_data: tuple[str, ...], second: tuple[str, ...], dtype: str,
            threads: int | None, rows: int | None, assignments: tuple, output: Path | None, shown: tuple[str, ...],
            plot: Path | None, scheduler: str | None, as_json: bool) -> int:
    """Compute every output that is a kernel K[a, b] over rows of inputs, for all pairs of rows.

    Kernels that do not fit into memory are streamed to a Zarr group by blocks of rows, here or by workers: -o kernels.zarr.

    \b
    Example:
      tpc kernels nngp_ntk.tp X=train.npy -o kernels.npz --plot kernels.png
      tpc kernels nngp_ntk.tp X=test.npy --second X=train.npy
      tpc kernels nngp_ntk.tp X=large.npy -o kernels.zarr --scheduler tcp://127.0.0.1:8786
    """
    import warnings

    streamed = output is not None and output.suffix == ".zarr"
    if streamed and (plot is not None or shown) or not streamed and (rows is not None or scheduler is not None):
        raise click.UsageError("--rows and --scheduler are about a .zarr group (-o kernels.zarr), --show and --plot are not")
    _check_targets(None if streamed else output, plot)
    compiled = _compile(program, (), show_warnings=not as_json)
    settings = _as_settings(assignments)
    first = _load(compiled, data + more_data, settings)
    if output is not None and streamed:
        from tensorprog.kernel_store import stream_kernels

        stored = stream_kernels(compiled, first, _load(compiled, second, settings) or None, path=output, rows=rows, dtype=dtype,
                                threads=threads, settings=settings, scheduler=scheduler)
        if as_json:
            click.echo(json.dumps({"path": stored.path, "shapes": stored.shapes, "errors": stored.errors}))
        else:
            _show_warnings(compiled, stored.warnings)
            for name, shape in stored.shapes.items():
                click.echo(f"{name} {list(shape)} in {output}, relative errors up to {stored.errors[name]:.1e}")
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # shown with their places below
        found = compiled.kernels_with(first, _load(compiled, second, settings) or None, settings, threads=threads, dtype=dtype)
    code = _finish(compiled, found.result(), output, as_json, shown=shown)
    if plot is not None:
        found.plot(plot)
    return code


@main.command()
@PROGRAM
@DATA
@click.option("--widths", type=Widths(), default="64,128,256,512,1024", show_default=True,
              help="At least four widths, separated by commas.")
@click.option("--seeds", type=click.IntRange(min=1), default=32, show_default=True,
              help="How many random networks of each width.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
              help="Draw the distance from the limit against the width (.png, .pdf or .svg).")
@options(SET, SEED, LIMIT, SCHEDULER, JSON, PROGRESS)
def verify(program: str, data: tuple[str, ...], more_data: tuple[str, ...], widths: tuple[int, ...], seeds: int,
           plot: Path | None, assignments: tuple, seed: int, as_json: bool, progress: bool | None,
           **limit_options: Any) -> int:
    """Compare the limit with networks of several widths.

    What the networks tend to, their means extrapolated to infinite width, must agree with the limit within the errors
    of both. Exits with 1 if an output does not, or diverged. An output is "not resolved" where a limit of twice the size would
    have passed as well, or networks do not concentrate.

    \b
    Example:
      tpc verify model.tp data.npz --seeds 32 --plot convergence.png
    """
    from tensorprog.files import picture_format
    from tensorprog.verify.verify import verify_program

    if plot is not None:
        picture_format(plot)
    compiled = _compile(program, (), show_warnings=not as_json)
    settings = _as_settings(assignments)
    with _bar(progress) as bar:
        found = verify_program(compiled, _load(compiled, data + more_data, settings), settings, widths=widths,
                               seeds=seeds, seed=seed, progress=bar, **limit_options)
    click.echo(found.to_json() if as_json else found.table())
    if plot is not None:
        found.plot(plot)
    return 0 if found.passed else FAILED


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; print what would change.")
def fmt(files: tuple[str, ...], only_check: bool, diff: bool) -> int:
    """Lay programs out in the canonical way, in place; `-` reads stdin and writes stdout.

    \b
    Example:
      tpc fmt model.tp
      tpc fmt --check --diff *.tp
    """
    from tensorprog.files import write_text
    from tensorprog.syntax import format_text

    changed = 0
    for path in files:
        source = _read(path)
        text = format_text(source)
        changed += text != source.text
        if diff:
            click.echo(_diff(source, text), nl=False)
        if only_check and text != source.text:
            click.echo(f"{source.name}: would be reformatted", err=True)
        if not (only_check or diff):
            if path == "-":
                click.echo(text, nl=False)
            elif text != source.text:
                write_text(path, text)
                click.echo(f"reformatted {path}", err=True)
    return 1 if only_check and changed else 0


def _diff(source: Source, text: str) -> str:
    lines = difflib.unified_diff(source.text.splitlines(keepends=True), text.splitlines(keepends=True),
                                 source.name, f"{source.name} (formatted)")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


@main.command()
@click.argument("name", required=False, metavar="[SP|NTP|MFP|muP]")
@click.option("--depth", type=int, default=2, show_default=True, help="Hidden layers of a named parametrization.")
@click.option("--adaptive", is_flag=True, help="Its form for Adam, SignSGD and their kind.")
@click.option("-a", "a", metavar="A1,A2,...", help="Multipliers n^(-a), the readout last; fractions, or names of unknowns.")
@click.option("-b", "b", metavar="B1,B2,...", help="Initial standard deviations n^(-b).")
@click.option("-c", "c", metavar="C | C1,C2,...", help="Learning rates n^(-c), of each layer or of all.")
@click.option("-d", "d", metavar="D | D1,D2,...", help="Factors n^d of gradients, for adaptive optimizers.")
@click.option("--format", "style", type=click.Choice(["text", "latex", "json"]), default="text", show_default=True,
              help="How to write the classification.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
              help="Draw the stable region; two exponents must be names, which become the axes.")
@click.option("--frame", default="-1:2,-1:2", show_default=True, metavar="X0:X1,Y0:Y1", help="The picture's axes.")
def classify(name: str | None, depth: int, adaptive: bool, a: str | None, b: str | None, c: str | None, d: str | None,
             style: str, as_json: bool, plot: Path | None, frame: str) -> None:
    """Classify a parametrization of perceptrons by powers of the width: stable, trivial, feature learning, kernel regime.

    Without a name, -a, -b and -c give the exponents, those of the readout last. With -d the optimizer is adaptive.

    \b
    Example:
      tpc classify muP --depth 3
      tpc classify -a 0,0,0 -b 0,1/2,1/2 -c 1
      tpc classify -a -1/2,0,1/2 -b 1/2,1/2,y -c x --plot region.png
    """
    from tensorprog.abc.command import classification, draw

    found = classification(name, depth, adaptive, {"a": a, "b": b, "c": c, "d": d})
    if plot is not None:
        draw(found, frame, plot)
        click.echo(f"wrote {plot}", err=True)
    from tensorprog.abc import report

    if style == "json" or as_json:
        click.echo(json.dumps(report.to_json(found)))
    else:
        click.echo(report.to_latex(found) if style == "latex" else report.to_text(found))


@main.command()
@click.argument("program", metavar="PROGRAM.tp | MODULE.py:FUNCTION")
@click.option("--optimizer", default="adam", show_default=True, metavar="[sgd|adam|adamw|muon]",
              help="Whose learning rates, epsilon and weight decay.")
@click.option("--base-width", type=click.IntRange(min=1), metavar="N",
              help="The width for which numbers are tuned; named in the tables.")
@click.option("--rewrite", type=click.Path(path_type=Path, dir_okay=False), metavar="NEW.tp",
              help="Write the program with these spreads and multipliers, and its own updates as large as they may be.")
@click.option("--format", "style", type=click.Choice(["text", "latex", "json"]), default="text", show_default=True,
              help="How to write the tables.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--lint", is_flag=True, help="Say what in a PyTorch module contradicts the table.")
@click.option("--why", metavar="PARAMETER", help="Derive one row of a PyTorch module's table.")
@click.option("--coordcheck", is_flag=True, help="Train a PyTorch module at several widths, and measure; exit code 1 if "
                                                 "an update does not stay of order one.")
@click.option("--widths", type=Widths(), default="64,128,256,512", show_default=True,
              help="Of --coordcheck, separated by commas.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
              help="Of --coordcheck: draw sizes against the width (.png, .pdf or .svg).")
@SET
def mup(program: str, optimizer: str, base_width: int | None, rewrite: Path | None, style: str, as_json: bool,
        lint: bool, why: str | None, coordcheck: bool, widths: tuple[int, ...], plot: Path | None,
        assignments: tuple) -> int | None:
    """Determine the maximal update parametrization of a program, by the powers of the width n.

    For every object that is trained: the power of its initial spread, multiplier, learning rate, weight decay and
    epsilon, as the tables of Tensor Programs IV and V, with reasons. What is trained is found by its updates.

    MODULE.py:FUNCTION names a function that makes a PyTorch module of width n, beside its `example_inputs`.

    \b
    Example:
      tpc mup model.tp --optimizer sgd
      tpc mup model.tp --optimizer muon --base-width 256
      tpc mup model.tp --rewrite model_mup.tp
      tpc mup mymodel.py:make --optimizer adamw --lint
      tpc mup mymodel.py:make --optimizer adamw --coordcheck
    """
    as_json = as_json or style == "json"
    if program.endswith(".py") or program.rpartition(":")[0].endswith(".py"):
        if rewrite is not None or assignments or style == "latex":
            raise click.UsageError("--rewrite, --set and --format latex are for programs, not for PyTorch modules")
        from tensorprog.torch import coordcheck_command, mup_command

        if coordcheck:
            text, verdict = coordcheck_command(program, optimizer, base_width or 64, widths, plot)
            click.echo(text)
            return FAILED if verdict == "failed" else None
        click.echo(mup_command(program, optimizer, base_width or 64, "json" if as_json else "text", why, lint=lint))
        return None
    for option, given in (("lint", lint), ("why", why is not None), ("coordcheck", coordcheck)):
        if given:
            raise click.UsageError(f"--{option} is for PyTorch modules, as in `tpc mup mymodel.py:make --{option}`")
    found = _compile(program, assignments, show_warnings=not as_json, limit=False).mup(optimizer)
    if rewrite is not None:
        from tensorprog.files import write_text

        write_text(rewrite, found.rewritten())
        click.echo(f"wrote {rewrite}", err=True)
    if as_json:
        click.echo(found.to_json())
    else:
        click.echo(found.to_latex() if style == "latex" else found.to_text(base_width))
    return None


@main.command()
@PROGRAM
@DATA
@click.option("--measure", is_flag=True, help="Run networks of several widths, and compare; DATA are needed for it.")
@click.option("--widths", type=Widths(), default="64,128,256,512,1024", show_default=True,
              help="At least three widths, separated by commas.")
@click.option("--seeds", type=click.IntRange(min=1), default=8, show_default=True,
              help="How many random networks of each width.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.15, show_default=True,
              help="How far a slope may be from its power besides two standard errors.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
              help="Draw sizes against the width, a panel a name (.png, .pdf or .svg); measures.")
@options(SET, SEED, JSON, PROGRESS)
def scale(program: str, data: tuple[str, ...], more_data: tuple[str, ...], measure: bool, widths: tuple[int, ...],
          seeds: int, tolerance: float, plot: Path | None, assignments: tuple, seed: int, as_json: bool,
          progress: bool | None) -> int:
    """Infer how every value of a program scales with the width n: at initialization, after one step, and later.

    With --measure this is a coordinate check that is decided: networks of several widths are trained, slopes are fitted
    with their errors, and the exit code is 1 if one of them disagrees with the inferred power.

    \b
    Example:
      tpc scale model.tp
      tpc scale model.tp data.npz --measure --plot scales.png
    """
    from tensorprog.files import picture_format

    if plot is not None:
        picture_format(plot)
    compiled = _compile(program, (), show_warnings=not as_json, limit=False)
    settings = _as_settings(assignments)
    measure = measure or plot is not None
    with _bar(progress, unit="networks") as bar:
        found = compiled.scale_with(_load(compiled, data + more_data, settings) if measure else None, settings,
                                    measure=measure, widths=widths, seeds=seeds, seed=seed, tolerance=tolerance,
                                    progress=bar)
    click.echo(found.to_json() if as_json else found.to_text())
    if plot is not None:
        found.plot(plot)
    return 0 if found.passed else FAILED


@main.command()
@click.argument("code", required=False, metavar="[CODE]")
def explain(code: str | None) -> None:
    """Explain an error code: why it is a mistake, and how to put it right. Without a code, list them.

    \b
    Example:
      tpc explain TP601
    """
    from tensorprog.diagnostics.catalog import CATALOG

    if code is None:
        click.echo("\n".join(f"{name}  {entry.title}" for name, entry in CATALOG.items()))
        return
    name = code.upper() if code.upper().startswith("TP") else f"TP{code}"
    if name not in CATALOG:
        meant = near_miss(name, CATALOG)
        advice = f"did you mean '{meant}'?" if meant else "`tpc explain` lists the codes"
        raise ProgramError([Diagnostic("TP705", f"there is no code '{code}'", help=advice)])
    entry = CATALOG[name]
    explanation = click.wrap_text(entry.explanation.strip(), 88, preserve_paragraphs=True)
    click.echo(f"{name}: {entry.title}\n\n{explanation}\n\nInstead of\n\n{_indented(entry.bad)}\n\n"
               f"write\n\n{_indented(entry.good)}")


@main.command()
@click.option("--clear", is_flag=True, help="Remove everything that is kept.")
def cache(clear: bool) -> None:
    """Show or clear the folder in which compiled programs are kept, and crash reports.

    It is kept below 300 MB, or as many as TENSORPROG_CACHE_MB says: what was not used for the longest time goes.

    \b
    Example:
      tpc cache
      tpc cache --clear
    """
    from tensorprog import cache_folder as kept

    folder = kept.lasting_folder()
    if folder is None:
        click.echo("there is no cache folder that could be written to")
        return
    if clear:
        click.echo(f"{folder}: removed {kept.clear(folder) / 1e6:.1f} MB")
        return
    files = kept.stored_files(folder)
    click.echo(f"{folder}: {len(files)} files, {sum(size for _, size, _ in files) / 1e6:.1f} MB of at most "
               f"{kept.most_bytes() / 1e6:g} MB")


@main.command()
def lsp() -> None:
    """Serve editors by the Language Server Protocol, on standard input and output.

    Diagnostics while typing, hover with the type, the power of n and the limit of a name, definitions, completion, formatting.

    \b
    Example:
      tpc lsp
    """
    from tensorprog.optional import optional

    optional("pygls.lsp.server", "lsp", "the language server")
    from tensorprog.language_server.server import serve

    serve()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))


# --- steps that commands share -------------------------------------------------------------------------------


def _read(path: str) -> Source:
    """A program from a file, or from stdin for `-`."""
    from tensorprog.files import decode_program, read_program

    return decode_program("<stdin>", sys.stdin.buffer.read()) if path == "-" else read_program(path)


def _compile(path: str, assignments: Iterable[tuple[str, object]], *, show_warnings: bool,
             limit: bool = True) -> CompiledProgram:
    """Check a program and, unless only finite networks are wanted, that it has a limit."""
    from tensorprog.api import compile_source

    compiled = compile_source(_read(path), _as_settings(assignments))
    if limit:
        compiled.compiled
    if show_warnings:
        _show_warnings(compiled, compiled.warnings)
    return compiled


def _show_warnings(compiled: CompiledProgram, warnings: Sequence[Diagnostic]) -> None:
    if warnings:
        click.echo(render(warnings, compiled.source), err=True)


def _as_settings(assignments: Iterable[tuple[str, object]]) -> dict[str, object]:
    """The settings that `--set` gave; a name that is set twice is a mistake."""
    settings: dict[str, object] = {}
    for name, value in assignments:
        if name in settings:
            raise ProgramError([Diagnostic("TP703", f"'{name}' is set twice: to {settings[name]} and to {value}",
                                           help="leave one of them out")])
        settings[name] = value
    return settings


def _load(compiled: CompiledProgram, data: tuple[str, ...], settings: dict[str, object],
          limit: dict[str, list[int]] | None = None) -> dict:
    """The data, after a check of the shapes that its files declare (with a `limit` or in a sweep, at the first value)."""
    if not data:
        return {}
    from tensorprog.bind import check_headers
    from tensorprog.data import load_data

    program = compiled.program
    given = compiled.settings | settings | {name: values[0] for name, values in (limit or {}).items()}
    # Sizes may vary in a sweep; the data fit one of them at least.
    given = {name: value[0] if isinstance(value, list) else value for name, value in given.items()}
    return load_data(data, lambda headers: check_headers(program, headers, given),
                     [declared.name for declared in program.inputs])


def _is_sweep(settings: Mapping[str, object], keep: Path | None) -> bool:
    """Whether several values are given for something, or points are to be kept."""
    return keep is not None or any(isinstance(value, list) for value in settings.values())


def _sweep(compiled: CompiledProgram, arrays: dict, settings: dict[str, object], keep: Path | None, output: Path | None,
           shown: tuple[str, ...], plot: Path | None, as_json: bool, progress: bool | None, **options: Any) -> int:
    """Run a sweep, and save, print and draw what it gives; on Ctrl-C what was finished."""
    from tensorprog.api import Interrupted
    from tensorprog.sweep import Sweep, run_sweep

    code = 0
    try:
        with _bar(progress, unit="points") as bar:
            found = run_sweep(compiled, arrays, settings, keep=keep, progress=bar, **options)
    except Interrupted as interruption:
        assert isinstance(interruption.result, Sweep), "a sweep is interrupted as one"
        found, code = interruption.result, INTERRUPTED
        click.echo(f"tpc: interrupted after {len(found.results)} points; the others are shown as nan", err=True)
    whole = found.result()
    code = max(code, _finish(compiled, whole, output, as_json, quiet=bool(shown)))
    if shown:
        part = found.result(shown)
        click.echo(part.to_json() if as_json else part.table())
    if plot is not None:
        (found.result(shown) if shown else whole).plot(plot)
    return code


def _say_accuracy(result: Result, seconds: float, as_json: bool) -> int:
    """Say whether the wanted errors were reached, or else how to halve them; the exit code tells the first."""
    from tensorprog.accuracy import twice_as_accurate

    if result.accuracy is not None:
        click.echo(f"tpc: {result.accuracy.text()}", err=True)
        return 0 if result.accuracy.reached else FAILED
    advice = None if as_json else twice_as_accurate(result, seconds)
    if advice is not None:
        click.echo(f"tpc: {advice}", err=True)
    return 0


def _check_targets(output: Path | None, plot: Path | None) -> None:
    """Refuse names of files for results and pictures that could not be written, before anything is computed."""
    if output is not None:
        from tensorprog.save import result_format

        result_format(output)
    if plot is not None:
        from tensorprog.files import picture_format

        picture_format(plot)


def _shown(result: Result, shown: tuple[str, ...]) -> Result:
    """The parts that `--show` names; without it everything."""
    return result.only(shown) if shown else result


def _finish(compiled: CompiledProgram, result: Result, output: Path | None, as_json: bool, quiet: bool = False,
            shown: tuple[str, ...] = ()) -> int:
    """Save a result and print what is to be shown of it; the exit code says whether it diverged."""
    if output is not None:
        from tensorprog.save import save_results

        save_results(output, result)
    if not quiet:
        printed = _shown(result, shown)
        click.echo(printed.to_json() if as_json else printed.table())
    if not as_json:
        # Those of the program were shown when it was compiled.
        _show_warnings(compiled, result.warnings[len(compiled.warnings):])
    return DIVERGED if result.diverged else 0


def _bar(wanted: bool | None, label: str = "", unit: str = "steps") -> Bar:
    """A progress bar on stderr, if that is a terminal or if it is asked for."""
    from tensorprog.progress import Bar

    return Bar(sys.stderr.isatty() if wanted is None else wanted, label, unit)
