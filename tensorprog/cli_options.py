"""Options that several commands of `tpc` have, and the kinds of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

#: Networks of each width.
SEEDS = 8


class Assignment(click.ParamType):
    """`name=value`, the value a number if it reads as one; or several, separated by commas, as a list."""

    name = "name=value"

    def __init__(self, several: bool = False):
        self.several = several

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, object]:
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip().isidentifier() or not text.strip():
            self.fail(f"'{value}' is not of the form name=value, as in eta=0.1", param, ctx)
        if "," in text:
            if not self.several:
                self.fail(f"'{value}' gives several values, and this command takes one", param, ctx)
            return name.strip(), [_number(part.strip()) for part in text.split(",")]
        return name.strip(), _number(text.strip())


class Widths(click.ParamType):
    """A width, or several separated by commas."""

    name = "n[,n...]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            widths = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            widths = ()
        if not widths or min(widths) < 1:
            self.fail(f"'{value}' is not a positive whole number, or several separated by commas", param, ctx)
        return widths


class Limits(click.ParamType):
    """`name=v1,v2,...`, whole numbers."""

    name = "name=v1,v2,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, list[int]]:
        name, _, text = str(value).partition("=")
        try:
            return {name.strip(): [int(part) for part in text.split(",")]}
        except ValueError:
            self.fail(f"'{value}' is not of the form name=v1,v2,..., as in L=8,16,32,64", param, ctx)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def options(*several: Callable) -> Callable:
    """Several options as one decorator."""
    def decorate(command: Callable) -> Callable:
        for option in reversed(several):
            command = option(command)
        return command
    return decorate


SET = click.option("--set", "assignments", type=Assignment(), multiple=True, metavar="NAME=VALUE",
                   help="Set a parameter or size; repeatable.")
SET_SEVERAL = options(
    click.option("--set", "assignments", type=Assignment(several=True), multiple=True, metavar="NAME=VALUE[,VALUE...]",
                 help="Set a parameter or size; several values are a sweep; repeatable."),
    click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
                 help="Keep the finished points of a sweep here; the same command then goes on from them."))
JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable results and diagnostics on stdout.")
SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                    help="Every random choice follows from it.")
OUT = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.npz",
                   help="Write the results to a .npz, .csv, .json or .nc file.")
SHOW = click.option("--show", "shown", multiple=True, metavar="'NAME[INDEX]'",
                    help="Print this output or part of it instead, as 'loss[-1]' or 'f[::10, 0]'; repeatable.")
PLOT = click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
                    help="Draw the results (.png, .pdf or .svg).")
PROGRESS = click.option("--progress/--no-progress", "progress", default=None,
                        help="Say on stderr what takes long (default: if that is a terminal).")
SCHEDULER = click.option("--scheduler", metavar="ADDRESS", help=(
    "Let workers of dask.distributed do it, by the scheduler at this address, as in tcp://127.0.0.1:8786."))
PROGRAM = click.argument("program", metavar="PROGRAM.tp")
DATA = options(
    click.argument("data", nargs=-1, metavar="[DATA.npz | NAME=FILE]..."),
    click.option("--data", "more_data", multiple=True, metavar="DATA", help="The same as a DATA argument; repeatable."))
TO_INFINITY = click.option("--limit", "limit", type=Limits(), metavar="NAME=V1,V2,...",
                           help="A size or integer parameter that tends to infinity too, and where to look at it.")
LIMIT = options(
    click.option("--samples", type=click.IntRange(min=1),
                 help="Particles in each randomization (default: 4096, or 1024 where that would take long)."),
    click.option("--replicates", type=click.IntRange(min=1), default=8, show_default=True,
                 help="Independent randomizations; the error is their scatter."),
    click.option("--tolerance", type=click.FloatRange(min=0), help="How small a new direction is left out."),
    click.option("--method", default="auto", metavar="[auto|EVALUATOR]", show_default=True,
                 help="How to evaluate the limit: span, covariance, diagonal, particles; auto takes the most exact one."),
    click.option("--dtype", metavar="[float64|float32]",
                 help="Of vectors (default: float64, for particles float32 where it is as good)."),
    click.option("--threads", type=click.IntRange(min=1), help="How many threads to use (default: all)."))


CHECKPOINT = options(
    click.option("--checkpoint", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                 help="Keep the state of long loops, and finished replicates of particles beside it; the same command then "
                       "goes on from there."),
    click.option("--every", type=click.FloatRange(min=0), default=30.0, show_default=True,
                 help="Seconds between two states."))
