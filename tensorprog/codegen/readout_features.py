"""Source text that draws readouts orthogonal to their initial features (`passes.initial_features`)."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.expressions import KernelPool
from tensorprog.codegen.initials import count_text, law_text, ratio_lines, shape_text, unpacked_lines
from tensorprog.codegen.names import python_name
from tensorprog.codegen.particles import Emitter
from tensorprog.ir.program import Cell, Initial, Program, Var, cells_written
from tensorprog.passes.initial_features import InitialFeatures
from tensorprog.passes.powers import Powers
from tensorprog.passes.spaces import Spaces


class FeatureEmitter(Emitter):
    """Emits the program of the features: what it stores in one of their cells goes to a list."""

    ticks = False

    def __init__(self, found: InitialFeatures, spaces: Spaces, pool: KernelPool):
        super().__init__(found.program, spaces, pool)
        self.readouts = dict(found.features)

    def store(self, cell: Cell, items: tuple, value: Var) -> None:
        if cell not in self.readouts:
            super().store(cell, items, value)
            return
        text, _ = self.fusion.full(value, width=True)
        self.state.line(f"features[{self.readouts[cell].name!r}].append(np.reshape({text}, (-1, samples)))")


def features_function(found: InitialFeatures, spaces: Spaces, pool: KernelPool, env: Mapping[str, object]) -> str:
    """The function `initial_features`, which gives the features of every readout by its name."""
    emitter = FeatureEmitter(found, spaces, pool)
    allocations, lines = emitter.whole()
    changed = cells_written(found.program.body)
    names = [python_name(i.cell.name) for i in found.program.initials]
    # The program of the features changes some of what is declared; the run begins with it as it was drawn.
    copies = [f"    {python_name(i.cell.name)} = rt.copied({python_name(i.cell.name)})"
              for i in found.program.initials if i.cell in changed]
    head = [f"def initial_features({', '.join(['env', 'spaces', 'samples', 'tolerance', *names])}):",
            '    """What readouts are averaged with before training, by their names."""']
    return "\n".join([*head, *unpacked_lines(found.program), *ratio_lines(found.program, env), *copies,
                      "    dtype, features = spaces[0].entry, defaultdict(list)", *allocations, *lines, "    return features"])


def reserved_line(initial: Initial, spaces: Spaces) -> str:
    """A statement that takes the coordinates of a readout, when those of other declared vectors are taken."""
    return f"    {python_name(initial.cell.name)} = spaces[{spaces.of(initial.cell)}].uniform({count_text(initial)})"


def readout_lines(found: InitialFeatures, readouts: list[Initial], program: Program, spaces: Spaces, powers: Powers,
                  env: Mapping[str, object]) -> list[str]:
    """Statements that turn these coordinates into readouts, when everything else is drawn."""
    args = ["env", "spaces", "samples", "tolerance", *(python_name(i.cell.name) for i in found.program.initials)]
    lines = ["    # twice, because the second time matrices know all that they will be applied to",
             "    for _ in range(1 if plain else 2):", f"        features = initial_features({', '.join(args)})"]
    for initial in readouts:
        name = python_name(initial.cell.name)
        law = law_text(initial, program, powers, env)
        lines.append(f"    {name} = spaces[{spaces.of(initial.cell)}].readout({name}, {law}, "
                     f"features[{initial.cell.name!r}]).reshape({shape_text(initial)})")
    return lines
