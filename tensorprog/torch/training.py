"""The text of a program that trains a traced module, in the maximal update parametrization.

Parameters without an axis that grows are numbers; where they start at random, they start at those of one module of the
base width, which are an input of the program. So the limit is a number, not a random variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tensorprog.torch.axes import sizes_of
from tensorprog.torch.declarations import ModuleNames, declarations
from tensorprog.torch.errors import module_error
from tensorprog.torch.losses import loss_named
from tensorprog.torch.optimizers import settings_of
from tensorprog.torch.parametrize import parametrize
from tensorprog.torch.reading import Reader, split
from tensorprog.torch.statements import Statements
from tensorprog.torch.updates import UpdateText

if TYPE_CHECKING:
    from tensorprog.torch.graph import TracedValue
    from tensorprog.torch.parametrize import MuTable
    from tensorprog.torch.tracing import Traced

INDENT = "    "
LETTERS = "klmpq"


def training_text(
    traced: Traced,
    laws: str,
    loss: str,
    optimizer: str,
    base: int,
    adjust: str = "original",
    adamw: Sequence[str] = (),
    **settings: object,
) -> tuple[str, dict[str, torch.Tensor]]:
    """The text, and the tables that it takes as inputs. `traced` is of one row; `settings` are those of `Settings`.

    Raises:
        ProgramError: TP805, for a loss, an optimizer or a setting that there is not.
    """
    chosen = settings_of(settings)
    table = parametrize(traced, optimizer, base, adjust=adjust, adamw=adamw)
    # Muon's iteration is between blocks, so its matrices [n, d] are families of vectors.
    names = ModuleNames(traced, numbers=True, apart={row.name for row in table.rows if row.optimizer == "muon"})
    output, sizes = traced.graph.output, output_sizes(traced.graph.output)
    letters = list(LETTERS[: len(sizes)])
    statements = Statements(Reader(traced, names, rows=("t", "a"), sites=table.sites, base=base), indent=2)
    where = [i for letter, axis in zip(letters, _kept(output), strict=True) for i in split(letter, axis)]
    target = f"f[{', '.join(('t', 'a', *letters))}]"
    body = statements.lines((target, output, where), tuple(zip(letters, sizes, strict=True)))
    traced.origins = statements.origins
    updates = UpdateText(names, table, chosen)
    states, starts, steps = list(updates.declarations()), list(updates.starts()), list(updates.statements())
    goal, targets = _loss(loss, letters, sizes)
    traced.starts = _starts(table, names)
    tables = {names.start(name): start for name, start in traced.starts.items()}
    text = [
        *declarations(traced, names, laws, table),
        *(f"input {name} : {list(start.shape)}" for name, start in tables.items()),
        "param eta = 0.1",
        "param T : int = 10",
        targets,
        *names.noises(("T", "P")),
        *states,
        "",
        *([loss_named(loss).definition, ""] if loss_named(loss).definition else []),
        *starts,
        *([""] if starts else []),
        "for t in range(T):",
        f"{INDENT}for a in range(P):",
        *body,
        f"{INDENT}loss[t] = {goal}",
        *(INDENT + line for line in steps),
        "",
        "output f, loss",
        "",
    ]
    return "\n".join(text), {**names.tables, **tables}


def _kept(output: TracedValue) -> list[tuple]:
    """The axes of the output that are longer than 1."""
    return [axis for axis in output.leaves() if axis]


def output_sizes(output: TracedValue) -> list[int]:
    """The sizes of these axes."""
    return [sizes_of(axis)[0] for axis in _kept(output)]


def _loss(name: str, letters: Sequence[str], sizes: Sequence[int]) -> tuple[str, str]:
    """The loss of a step as an expression, and the declaration of the targets."""
    loss = loss_named(name)
    if loss.classes and not sizes:
        raise module_error("TP805", f"the loss {name!r} takes an output with an axis of classes")
    inner = list(zip(letters, sizes, strict=True))[: -1 if loss.classes else None]
    indices = ["a", *(letter for letter, _ in inner)]
    element, label = f"t, {', '.join(indices)}", f"y[{', '.join(indices)}]"
    value = loss.text.format(f=f"f[{element}]", y=label, chosen=f"f[{element}, {label}]")
    loops = " ".join(["for a in range(P)", *(f"for {letter} in range({size})" for letter, size in inner)])
    shape = ", ".join(["P", *(str(size) for _, size in inner)])
    return f"{'sum' if loss.total else 'mean'}({value} {loops})", f"input y : [{shape}]{' int' if loss.classes else ''}"


def _starts(table: MuTable, names: ModuleNames) -> dict[str, torch.Tensor]:
    """The initial numbers of parameters that do not grow, as in one module of the base width."""
    traced = table.traced
    wanted = [
        name
        for name, value in traced.graph.params.items()
        if not value.width_count and traced.laws[name].law.size != 0.0
    ]
    if not wanted:
        return {}
    with torch.random.fork_rng(devices=[]):
        # The numbers of one module, the same ones in every process.
        torch.manual_seed(0)
        module = table.init_(traced.make(table.base))
    families = {name: names.family(traced.graph.params[name]) or [1] for name in wanted}
    return {name: module.get_parameter(name).detach().reshape(family).clone() for name, family in families.items()}
