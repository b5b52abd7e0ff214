"""A traced module as the text of a Tensor Program, compiled.

The module is traced for one row of the inputs; a loop over rows goes around it. Every finite factor of an axis is an
index of a family, a factor that grows with the width is the vector's axis. `kernels` gives the NNGP kernel of one
component of the output and its tangent kernel, `train` the training of all parameters by gradient descent in the
maximal update parametrization.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from tensorprog.diagnostics import ProgramError
from tensorprog.torch.declarations import Names, declarations, scale_text
from tensorprog.torch.errors import module_error
from tensorprog.torch.reading import Reader
from tensorprog.torch.statements import Statements
from tensorprog.torch.tracing import trace

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram
    from tensorprog.torch.tracing import Traced

KINDS = ("kernels", "train")
LOSSES = {"mse": "mean(({f} - {y})**2 for {loops}) / 2", "sum": "sum(({f} - {y})**2 for {loops}) / 2"}


def program_of(traced: Traced, kind: str = "kernels", **options: object) -> CompiledProgram:
    """The compiled program; its text is `program.source.text`. Options are those of `program_text`."""
    import tensorprog

    if kind == "train" or "ntk_power" in options:
        return tensorprog.compile(program_text(traced, kind, **options))
    for power in (0, 1, 2):
        program = tensorprog.compile(program_text(traced, kind, ntk_power=power, **options))
        try:
            program.compiled
        except ProgramError as error:
            if power == 2 or not _grows(error):
                raise
        else:
            return program
    raise AssertionError("unreachable")


def _grows(error: ProgramError) -> bool:
    """Whether the tangent kernel has a positive power of n, as in the standard parametrization."""
    return all(d.code == "TP501" and "`theta`" in d.message for d in error.diagnostics)


def program_text(
    traced: Traced,
    kind: str = "kernels",
    *,
    component: Sequence[int] | None = None,
    laws: str = "exact",
    ntk_power: int = 0,
    loss: str = "mse",
    optimizer: str = "sgd",
    base: int = 64,
) -> str:
    """The text.

    Args:
        component: the index of the output whose kernels are computed; by default the first.
        laws: "exact", or "normal": normal entries of the same mean and variance (their kernels are often closed forms).
        ntk_power: the power of n that the tangent kernel is divided by; `program_of` finds it.
        loss: of training, "mse" (the mean over rows and components, halved) or "sum".
        optimizer: of training, "sgd".
        base: the width at which training is as in the module.
    """
    if kind not in KINDS:
        raise module_error("TP805", f"there is no kind of program {kind!r}", help=f"there is: {', '.join(KINDS)}")
    if kind == "train" and (optimizer != "sgd" or loss not in LOSSES):
        raise module_error("TP805", "training is by optimizer='sgd' and loss='mse' or 'sum'")
    single = trace(traced.make, tuple(x[:1] for x in traced.inputs), traced.widths)
    if single.graph.output.width_count:
        raise module_error(
            "TP807",
            "the output grows with the width: programs are of outputs of a fixed size",
            single.graph.output.place,
        )
    names = Names(single)
    text = (
        _kernels(single, names, component, laws, ntk_power)
        if kind == "kernels"
        else _training(single, names, laws, loss, base)
    )
    traced.tables = {name: table.numpy() for name, table in names.tables.items()}
    return text


def _kernels(traced: Traced, names: Names, component: Sequence[int] | None, laws: str, ntk_power: int) -> str:
    output = traced.graph.output
    sizes = [atom.sizes[0] for axis in output.leaves() for atom in axis]
    where = [str(k) for k in (component or [0] * len(sizes))]
    if len(where) != len(sizes):
        raise module_error("TP805", f"the output has {len(sizes)} indices, and `component` {len(where)}")
    statements = Statements(Reader(traced, names, rows=("a",)), indent=1)
    body = statements.lines(("f[a]", output, where))
    wanted = ", ".join(names.declared(name) for name in traced.graph.params)
    divided = {0: "", 1: " / n"}.get(ntk_power, f" / n**{ntk_power}")
    return "\n".join(
        [
            *declarations(traced, names, laws),
            "",
            "for a in range(P):",
            *body,
            "",
            "for a in range(P):",
            "    for c in range(P):",
            "        nngp[a, c] = cov(f[a], f[c])",
            *wrapped(f"        theta[a, c] = ntk(f[a], f[c]; {wanted}){divided}"),
            "",
            "output nngp, theta",
            "",
        ]
    )


def wrapped(line: str) -> list[str]:
    """A statement over several lines, broken inside of its brackets."""
    return textwrap.wrap(line, 110, subsequent_indent=" " * 26, break_long_words=False, break_on_hyphens=False)


def _training(traced: Traced, names: Names, laws: str, loss: str, base: int) -> str:
    table = traced.parametrize("sgd", base)
    output = traced.graph.output
    sizes = [atom.sizes[0] for axis in output.leaves() for atom in axis]
    letters = "klmpq"[: len(sizes)]
    statements = Statements(Reader(traced, names, rows=("t", "a"), sites=table.sites, base=base), indent=2)
    indices = ", ".join(("t", "a", *letters))
    body = statements.lines((f"f[{indices}]", output, list(letters)), tuple(zip(letters, sizes, strict=True)))
    loops = " for ".join(["a in range(P)", *(f"{k} in range({s})" for k, s in zip(letters, sizes, strict=True))])
    target = LOSSES[loss].format(f=f"f[{indices}]", y=f"y[{', '.join(('a', *letters))}]", loops=loops)
    shape = ", ".join(["P", *map(str, sizes)])
    updates = [line for name, e in table.exponents().items() for line in _update(traced, names, name, e.lr, base)]
    return "\n".join(
        [
            *declarations(traced, names, laws, table),
            "param eta = 0.1",
            "param T : int = 10",
            f"input y : [{shape}]",
            "",
            "for t in range(T):",
            "    for a in range(P):",
            *body,
            f"    loss[t] = {target}",
            *updates,
            "",
            "output f, loss",
            "",
        ]
    )


def _update(traced: Traced, names: Names, name: str, lr: Fraction, base: int) -> Iterator[str]:
    """One statement, in loops over the family that the parameter is."""
    depth, indent = names.family(traced.graph.params[name]), "    "
    letters = "ijkl"[: len(depth)]
    for letter, size in zip(letters, depth, strict=True):
        yield f"{indent}for {letter} in range({size}):"
        indent += "    "
    element = names.declared(name) + (f"[{', '.join(letters)}]" if letters else "")
    yield f"{indent}{element} -= eta{scale_text(lr, base)} * grad(loss[t], {element})"
