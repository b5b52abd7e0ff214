"""The cell magic `%%tp` of notebooks: a program in a cell, with data from the notebook's variables.

    %load_ext tensorprog

    %%tp net --run --set eta=0.1
    width n
    ...
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, needs_local_scope
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from tensorprog.diagnostics import ProgramError, Source

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram
    from tensorprog.results import Result


@magics_class
class TensorProgramMagics(Magics):
    """`%%tp`."""

    @magic_arguments()
    @argument("name", nargs="?", default="program", help="What the compiled program is called in the notebook.")
    @argument("--run", action="store_true",
              help="Compute the limit; so do options that only a run has. Inputs are the notebook's variables of their names.")
    @argument("--width", type=int, help="Run networks of this width instead.")
    @argument("--to", metavar="RESULT", help="What the result is called in the notebook.")
    @argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
              help="Set a parameter or size: a number, or an expression of the notebook's variables; repeatable.")
    @argument("--samples", type=int, help="Particles in each randomization.")
    @argument("--replicates", type=int, help="Independent randomizations.")
    @argument("--seeds", type=int, help="How many networks of the width.")
    @argument("--seed", type=int, default=0, help="Every random choice follows from it.")
    @needs_local_scope
    @cell_magic
    def tp(self, line: str, cell: str, local_ns: Mapping[str, object] | None = None) -> CompiledProgram | Result:
        """Compile the cell as a program, and run it if that is asked for."""
        chosen = parse_argstring(self.tp, line)
        if chosen.seeds and not chosen.width:
            raise UsageError("`--seeds` counts networks, which have a width: add `--width 256`")
        variables = {**self.shell.user_ns, **(local_ns or {})}
        try:
            program = _compiled(cell)
            self.shell.user_ns[chosen.name] = program
            if not _is_to_run(chosen):
                return program
            result = _result(program, chosen, variables)
        except ProgramError as error:
            raise UsageError(f"\n{error}") from None
        if chosen.to:
            self.shell.user_ns[chosen.to] = result
        return result


def _is_to_run(chosen: object) -> bool:
    """Whether a run is asked for: by `--run`, or by an option that only a run has."""
    named = ("run", "width", "to", "settings", "samples", "replicates", "seeds")
    return any(getattr(chosen, name) for name in named)


def _compiled(cell: str) -> CompiledProgram:
    from tensorprog.api import compile_source

    return compile_source(Source("<cell>", cell))


def _result(program: CompiledProgram, chosen: Namespace, variables: Mapping[str, object]) -> Result:
    data = {declared.name: variables[declared.name] for declared in program.program.inputs if declared.name in variables}
    settings = dict(_setting(text, variables) for text in chosen.settings)
    counts = ("seeds",) if chosen.width else ("samples", "replicates")
    options = {name: getattr(chosen, name) for name in counts if getattr(chosen, name) is not None}
    if chosen.width:
        return program.simulate_with(data, settings, width=chosen.width, seed=chosen.seed, **options)
    return program.run_with(data, settings, seed=chosen.seed, **options)


def _setting(text: str, variables: Mapping[str, object]) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"`--set {text}` is not of the form NAME=VALUE, as in --set eta=0.1")
    try:
        return name, eval(value, {}, dict(variables))
    except Exception as error:
        raise UsageError(f"`--set {text}`: {error}") from None
