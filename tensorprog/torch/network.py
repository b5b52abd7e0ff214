"""The other way: a program as a module of PyTorch, at one width, so that it can be trained where modules are.

The module does what `simulate` does with the same initial entries; they are its parameters. Powers of n that the program
writes stay in its forward pass, which is its parametrization.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from tensorprog.bind import bind, bind_given
from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter
from tensorprog.finite.indices import Indices
from tensorprog.finite.initials import draw_initial
from tensorprog.finite.interpreter import Interpreter
from tensorprog.finite.storage import Key, Storage, WholeStorage
from tensorprog.ir.program import (
    Cell,
    Const,
    FromInt,
    GradStmt,
    InputRef,
    KernelStmt,
    Op,
    ParamRef,
    Program,
    Var,
    WidthConst,
    walk,
)
from tensorprog.torch import operations


class ProgramModule(nn.Module):
    """A program without gradients of its own, at base width `width`.

    Its parameters are the declared random objects, an element each: `U`, or `W_0`, `W_1`, ... of a family, of the shapes
    [rows, cols] and [*finite axes, width], drawn as by the finite-width interpreter for that seed. Called with the inputs by their
    names, it returns the outputs by theirs, [*family extents, *finite axes].

    Args:
        settings: parameters, and the sizes that shapes of random objects hold; other sizes follow from the inputs.

    Raises:
        ProgramError: TP808, for a program that takes gradients itself, or with a size that is not given.
    """

    def __init__(self, program: Program, width: int, seed: int, settings: Mapping[str, object]):
        super().__init__()
        self.program, self.width, self.settings = program, width, dict(settings)
        _require_a_network(program)
        # Without data: sizes that only these have are not needed for parameters.
        env = bind_given(program, self.settings, defaults=True)
        self._keys: dict[str, list[Key]] = {}
        for initial in program.initials:
            self._keys[initial.cell.name] = []
            try:
                drawn = list(draw_initial(program, initial, env, width, seed))
            except KeyError as missing:
                raise _mistake(program, f"the size '{missing.args[0]}' is not known before there are data",
                               f"give it, as in `torch_module({width}, {missing.args[0]}=10)`") from None
            for key, value in drawn:
                self._keys[initial.cell.name].append(key)
                tensor = torch.as_tensor(value, dtype=torch.get_default_dtype())
                self.register_parameter(_parameter(initial.cell, key), nn.Parameter(tensor))

    def forward(self, **inputs: torch.Tensor | np.ndarray) -> dict[str, torch.Tensor]:
        """The outputs; data as tensors or arrays.

        Raises:
            ProgramError: for data that do not fit, as `simulate` does.
        """
        arrays = {name: x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for name, x in inputs.items()}
        reporter = Reporter(self.program.source)
        env = bind(self.program, arrays, self.settings, reporter=reporter)
        # A program without random objects has no parameters.
        like = next(self.parameters(), torch.zeros(()))
        real = {i.name for i in self.program.inputs if i.kind != "int"}
        # The tensors themselves and not the arrays that were checked: gradients go to inputs, too.
        tensors = {name: torch.as_tensor(inputs[name], dtype=like.dtype, device=like.device) for name in real}
        return _Forward(self, env, tensors, like).run()

    def initial(self, cell: Cell) -> Iterator[tuple[Key, torch.Tensor]]:
        """The elements of a declared cell."""
        for key in self._keys[cell.name]:
            yield key, self.get_parameter(_parameter(cell, key))


class _TensorStorage(WholeStorage):
    """Cells of tensors, of the type and on the device of `like`."""

    ops = operations

    def __init__(self, indices: Indices, widths: Mapping[str, int], like: torch.Tensor):
        super().__init__(indices, widths)
        self._like = like

    def zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        return self._like.new_zeros(shape)


class _Forward(Interpreter):
    """One forward pass."""

    ops = operations

    def __init__(self, module: ProgramModule, env: dict, tensors: Mapping[str, torch.Tensor], like: torch.Tensor):
        self._module, self._tensors, self._like = module, tensors, like
        # Blocks work on NumPy arrays in place, and gradients would be lost.
        super().__init__(module.program, env, module.width, seed=0, blocks=False)

    def _storage(self, taped: bool) -> Storage:
        return _TensorStorage(self.indices, self.widths, self._like)

    def _initials(self, env: Mapping[str, object], n: int, seed: int) -> Iterator[tuple[Cell, Key, object]]:
        for initial in self.program.initials:
            for key, tensor in self._module.initial(initial.cell):
                yield initial.cell, key, tensor

    def evaluate(self, op: Op, var: Var):
        """The value of an operation, a tensor."""
        if isinstance(op, InputRef) and op.name in self._tensors:
            array = self._tensors[op.name]
            return array[self.indices.subscript(op.items, tuple(array.shape), op.name)]
        value = super().evaluate(op, var)
        if isinstance(op, Const | WidthConst | FromInt | ParamRef | InputRef):
            return torch.as_tensor(np.asarray(value), dtype=self._like.dtype, device=self._like.device)
        return value

    def _output(self, cell: Cell) -> torch.Tensor:
        elements = self.storage.elements(cell)
        extents = tuple(1 + max((key[axis] for key in elements), default=-1) for axis in range(cell.rank))
        missing = self._like.new_full(self.storage.shape(cell), math.nan)
        # Elements that the program never assigns are NaN.
        whole = [elements.get(key, missing) for key in np.ndindex(*extents)]
        return torch.stack(whole).reshape(*extents, *missing.shape) if extents else elements.get((), missing)


def _parameter(cell: Cell, key: Key) -> str:
    return "_".join([cell.display or cell.name, *map(str, key)])


def _require_a_network(program: Program) -> None:
    for statement in walk(program.body):
        if isinstance(statement, GradStmt | KernelStmt):
            raise _mistake(program, "the program takes gradients itself", "take the network alone: PyTorch trains it",
                           statement.span)


def _mistake(program: Program, message: str, help: str, span=None) -> ProgramError:
    return ProgramError([Diagnostic("TP808", message, span, help=help)], program.source)
