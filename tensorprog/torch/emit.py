"""A traced module as the text of a Tensor Program, compiled.

The module is traced for one row of the inputs; a loop over rows goes around it. Every finite factor of an axis is an
index of a family, a factor that grows with the width is the vector's axis. `kernels` gives the NNGP kernel of one
component of the output and its tangent kernel, `train` (`training.py`) the training of all parameters in the maximal
update parametrization.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from tensorprog.diagnostics import ProgramError
from tensorprog.torch.declarations import ModuleNames, declarations
from tensorprog.torch.errors import module_error
from tensorprog.torch.reading import Reader, split
from tensorprog.torch.row_mixing import of_one_row, refuse_mixed_rows
from tensorprog.torch.statements import Statements
from tensorprog.torch.training import training_text

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram
    from tensorprog.torch.tracing import Traced

KINDS = ("kernels", "train")


def program_of(traced: Traced, kind: str = "kernels", **options: Any) -> CompiledProgram:
    """The compiled program; its text is `program.source.text`. Options are those of `program_text`."""
    if kind == "kernels":
        return kernels_of(traced, **options)[0]
    return _compiled(traced, program_text(traced, kind, **options))


def kernels_of(traced: Traced, ntk_power: int | None = None, **options: Any) -> tuple[CompiledProgram, int]:
    """The program of kernels, and the power of n that its tangent kernel is divided by."""
    # Tangent kernels are of order one in the NTK parametrization, and grow as n in the standard one.
    for power in (0, 1, 2) if ntk_power is None else (ntk_power,):
        try:
            return _compiled(traced, program_text(traced, "kernels", ntk_power=power, **options)), power
        except ProgramError as error:
            if power == 2 or ntk_power is not None or not _grows(error):
                raise
    raise AssertionError("unreachable")


def _compiled(traced: Traced, text: str) -> CompiledProgram:
    """The program, whose powers of n are known.

    Raises:
        ProgramError: for what has no limit, at the module's line.
    """
    from tensorprog.api import compile as compile_text

    try:
        program = compile_text(text)
        # Asked for, so that its mistakes come out here, where lines of the module are known.
        program.compiled
    except ProgramError as error:
        raise _at_module(traced, error) from error
    return program


def _at_module(traced: Traced, error: ProgramError) -> ProgramError:
    """A mistake in a statement as one of the module's line that the statement comes from."""
    first = error.diagnostics[0]
    if first.code == "TP427" and (output := traced.graph.output) is not None:
        said = "the output is linear in no parameter of its own, as with a shared readout: no NNGP kernel is known"
        return module_error(first.code, said, output.place, "leave it out, as in `program(nngp=False)`")
    line = "" if first.span is None or error.source is None else error.source.line(first.span.line).strip()
    origin = traced.origins.get(line)
    if origin is None or origin.place is None:
        return error
    said = f"{first.message}, in `{line}`"
    if first.code == "TP502" and origin.op == "softmax" and "blows up" in first.message:
        said = "what goes into this softmax grows as n^(1/2), and there is no limit"
        return module_error(
            first.code, said, origin.place, "scale logits by 1/d, not by d^(-1/2), or let the number of heads grow"
        )
    # What vanishes often does so because an initializer is too small, which lint knows by name.
    small = [line for line in traced.parametrize().lint(constant=()) if "vanishes" in line]
    joined = re.match(r"`choice\w*` holds values of order (\S+) elsewhere, and of order (\S+) here", first.message)
    if joined:
        said = f"parts of order {joined[1]} and of order {joined[2]} are joined here: one vanishes beside the other"
        return module_error(first.code, said, origin.place, "; ".join(small[:3]) or "start them with the same power of n")
    if first.code == "TP502" and "vanishes" in first.message and small:
        return module_error(first.code, said, origin.place, "; ".join(small[:3]))
    return module_error(first.code, said, origin.place, first.help)


def _grows(error: ProgramError) -> bool:
    """Whether the tangent kernel has a positive power of n, as in the standard parametrization."""
    return all(d.code == "TP501" and "`theta`" in d.message for d in error.diagnostics)


def _refuse_other_uses_of_padding(traced: Traced) -> None:
    """A row of padding is zero for those who look it up as such; a table that a readout shares has one for it to be trained.

    Raises:
        ProgramError: where a table of embeddings with padding is used otherwise.
    """
    named = traced.module.named_modules(remove_duplicate=False)
    padded = {traced.aliases.get(f"{name}.weight".lstrip(".")) for name, layer in named
              if isinstance(layer, nn.Embedding) and layer.padding_idx is not None}
    for used in traced.graph.values:
        tables = [v for v in used.args if v.op == "param" and v.name in padded]
        # Rows that are not to be zero in places are read as they are.
        if tables and (used.op != "gather" or any(v.op != "map" or v.fn != "where" for v in traced.graph.users(used))):
            raise module_error(
                "TP807",
                f"`{tables[0].name}` has a row of padding, which is zero at the start, and is used otherwise than to look up rows",
                used.place,
                help="leave out `padding_idx`, and multiply the embeddings by a mask: `emb(ids) * (ids != padding)[..., None]`",
            )


def program_text(
    traced: Traced,
    kind: str = "kernels",
    *,
    component: Sequence[int] | None = None,
    nngp: bool = True,
    laws: str = "exact",
    ntk_power: int = 0,
    loss: str = "mse",
    optimizer: str = "sgd",
    base: int = 64,
    **settings: Any,
) -> str:
    """The text.

    Args:
        component: the index of the output whose kernels are computed; by default the first.
        nngp: whether the covariance of the output is wanted too, which takes a readout that nothing else depends on.
        laws: "exact", or "normal": normal entries of the same mean and variance (their kernels are often closed forms).
        ntk_power: the power of n that the tangent kernel is divided by; `kernels_of` finds it.
        loss: of training, "mse" (the mean over rows and components, halved), "sum" (the same without the mean), "l1",
            "huber", "bce_with_logits", or of integer targets and classes on the output's last axis "cross_entropy" and
            "nll".
        optimizer: of training, "sgd", "adamw" or "muon".
        base: the width at which training is as in the module.
        settings: of training, what `parametrize` takes, and momentum, nesterov, weight_decay, betas, eps,
            muon_momentum, muon_nesterov, with torch's meaning and defaults, but without weight decay.
    """
    if kind not in KINDS:
        raise module_error("TP805", f"there is no kind of program {kind!r}", help=f"there is: {', '.join(KINDS)}")
    if kind == "kernels" and settings:
        raise module_error("TP805", f"kernels have no setting {next(iter(settings))!r}")
    single = of_one_row(traced)
    if single.graph.output.width_count:
        raise module_error(
            "TP807",
            "the output grows with the width: programs are of outputs of a fixed size",
            single.graph.output.place,
        )
    # Before any text: a program of one row would be that of another network.
    refuse_mixed_rows(single, traced)
    _refuse_other_uses_of_padding(single)
    if kind == "kernels":
        names = ModuleNames(single)
        text, tables = _kernels(single, names, component, nngp, laws, ntk_power), names.tables
    else:
        text, tables = training_text(single, laws, loss, optimizer, base, **settings)
    traced.tables = {name: table.numpy() for name, table in tables.items()}
    traced.starts, traced.origins = single.starts, single.origins
    return text


def _kernels(
    traced: Traced, names: ModuleNames, component: Sequence[int] | None, nngp: bool, laws: str, ntk_power: int
) -> str:
    output = traced.graph.output
    axes = [axis for axis in output.leaves() if axis]
    component = [0] * len(axes) if component is None else component
    if len(component) != len(axes):
        raise module_error("TP805", f"the output has {len(axes)} indices, and `component` {len(component)}")
    where = [i for k, axis in zip(component, axes, strict=True) for i in split(str(k), axis)]
    statements = Statements(Reader(traced, names, rows=("a",)), indent=1)
    body = statements.lines(("f[a]", output, where))
    traced.origins = statements.origins
    # The tangent kernel is that of training all parameters that are trained.
    wanted = ", ".join(names.declared(name) for name in traced.graph.params if name not in traced.frozen)
    if not wanted:
        raise module_error("TP805", "no parameter of the module is trained, so there is no tangent kernel")
    divided = {0: "", 1: "1/n * "}.get(ntk_power, f"1/n**{ntk_power} * ")
    return "\n".join(
        [
            *declarations(traced, names, laws),
            *names.noises(("P",)),
            "",
            "for a in range(P):",
            *body,
            "",
            "for a in range(P):",
            "    for c in range(P):",
            *(["        nngp[a, c] = cov(f[a], f[c])"] if nngp else []),
            *wrapped(f"        theta[a, c] = {divided}ntk(f[a], f[c]; {wanted})"),
            "",
            "output nngp, theta" if nngp else "output theta",
            "",
        ]
    )


def wrapped(line: str) -> list[str]:
    """A statement over several lines, broken inside of its brackets."""
    return textwrap.wrap(line, 110, subsequent_indent=" " * 26, break_long_words=False, break_on_hyphens=False)
