"""From a function that makes a module to a graph: two exports at two widths, node by node.

`torch.export` records the operations before any decomposition, with the names of the parameters (a shared one once)
and the line of each. What differs between the two widths is what depends on the width: sizes, and numbers such as
d**-0.5.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from tensorprog.torch.constants import recorded_buffers
from tensorprog.torch.errors import (
    ProgramWarning,
    module_error,
    module_warning,
    place_of_stack,
    place_of_traceback,
)
from tensorprog.torch.graph import TracedGraph, TracedValue
from tensorprog.torch.laws import GRAIN, EntriesLaw, LawWatch, exponent_between, sampled
from tensorprog.torch.lowering import Lowering, TracedNode
from tensorprog.torch.normalized import require_plain_weights
from tensorprog.torch.rules import RULES

if TYPE_CHECKING:
    from fractions import Fraction

    from tensorprog.api import CompiledProgram
    from tensorprog.torch.parametrize import MuTable
    from tensorprog.verify.report import Verification

Make = Callable[[int], nn.Module]


@dataclass(frozen=True, slots=True)
class InitialLaw:
    """The law of a parameter at every width: that at the first traced one, and its power of n."""

    law: EntriesLaw
    power: Fraction
    width: int

    def std(self, width: int) -> float:
        """The root mean square of the entries at a width."""
        return self.law.size * (width / self.width) ** float(self.power)


@dataclass(eq=False)
class Traced:
    """A module of any width, understood: its graph, initial laws and what to warn of.

    Attributes:
        tables: of the program that was made last: arrays of the module that it takes as inputs, by their names there.
        starts: of the same, the initial numbers of parameters without an axis that grows, by their names in the module.
        origins: of the same, what its statements compute, by their text.
    """

    make: Make
    inputs: tuple[torch.Tensor, ...]
    widths: tuple[int, int]
    graph: TracedGraph
    laws: dict[str, InitialLaw]
    warnings: tuple[ProgramWarning, ...]
    module: nn.Module = field(repr=False)
    train: bool = False
    tables: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    starts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    origins: dict[str, TracedValue] = field(default_factory=dict, repr=False)

    def parametrize(self, optimizer: str = "sgd", base: int = 64, **options: Any) -> MuTable:
        """Widths' exponents for every parameter, see `parametrize.parametrize`."""
        from tensorprog.torch.parametrize import parametrize

        return parametrize(self, optimizer, base, **options)

    def program(self, kind: str = "kernels", **options: Any) -> CompiledProgram:
        """The module as a Tensor Program, compiled, see `emit.program_of`."""
        from tensorprog.torch.emit import program_of

        return program_of(self, kind, **options)

    def verify(
        self, kind: str = "kernels", data: Mapping[str, object] | None = None, **options: Any
    ) -> Verification:
        """A limit beside this module at several widths, see `verification.verify_traced`."""
        from tensorprog.torch.verification import verify_traced

        return verify_traced(self, kind, data, **options)

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The parameters that have no gradient."""
        return frozenset(name for name in self.graph.params if not self.module.get_parameter(name).requires_grad)

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Every name of every parameter -> the name that it is known by."""
        seen = {id(p): name for name, p in self.module.named_parameters() if name in self.graph.params}
        return {name: seen[id(p)] for name, p in self.module.named_parameters(remove_duplicate=False) if id(p) in seen}


def trace(
    make: Make,
    example_inputs: torch.Tensor | Sequence[torch.Tensor],
    widths: tuple[int, int] = (64, 128),
    train: bool = False,
) -> Traced:
    """What `make(n)` computes from the inputs, as a graph with the powers of n in it; in eval mode, or in that of
    training.

    Raises:
        ProgramError: TP801, where a module cannot be made or exported; TP802, where the two widths do different things;
            TP803, for an operation without a rule.
    """
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    _require_arguments(make, inputs, widths)
    made = [_made(make, width, train) for width in widths]
    exported = [_exported(module, inputs, width) for (module, _), width in zip(made, widths, strict=True)]
    require_plain_weights(made[0][0], exported[0].graph.nodes)
    pairs = list(_aligned(*exported))
    graph = Lowering(RULES, widths, exported, lambda width: recorded_buffers(make, width)).run(pairs)
    _name_params(graph, made[0][0])
    laws, found = _laws(graph, made, widths)
    return Traced(make, inputs, widths, graph, laws, tuple(found), made[0][0], train)


def _require_arguments(make: Make, inputs: tuple[object, ...], widths: Sequence[int]) -> None:
    """Refuse what is no function of the width, no tensors or no two widths."""
    if isinstance(make, nn.Module) or not callable(make):
        raise module_error(
            "TP805", f"`trace` takes a function of the width, not a {type(make).__name__}", help="pass `lambda n: ...`"
        )
    wrong = next((x for x in inputs if not isinstance(x, torch.Tensor) or x.dim() == 0), None)
    if wrong is not None or not inputs:
        what = "nothing" if not inputs else f"a {type(wrong).__name__}"
        raise module_error("TP805", f"example inputs are tensors [rows, ...], not {what}", help="pass `torch.randn(4, 3)`")
    if len(widths) != 2 or not 0 < widths[0] < widths[1]:
        raise module_error("TP805", f"a module is traced at two widths, not at {widths}", help="pass `widths=(64, 128)`")


def _made(make: Make, width: int, train: bool) -> tuple[nn.Module, LawWatch]:
    watch = LawWatch()
    try:
        # Every width from the same state of the generator, which the caller gets back as it was.
        with torch.random.fork_rng(devices=[]), watch:
            module = make(width)
    except Exception as error:
        raise module_error(
            "TP801", f"the module of width {width} cannot be made: {error}", place_of_traceback(error.__traceback__)
        ) from error
    if not isinstance(module, nn.Module):
        raise module_error(
            "TP801",
            f"make({width}) returns no torch.nn.Module but {type(module).__name__}",
            help="write a function of the width that returns the module",
        )
    return module.train(train), watch


def _exported(module: nn.Module, inputs: tuple[torch.Tensor, ...], width: int) -> torch.export.ExportedProgram:
    try:
        with _written_out(), warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            # Run before it is exported: a mistake of the module's own is said better by the module.
            module(*inputs)
    except Exception as error:
        raise module_error(
            "TP801",
            f"the module does not run at width {width}: {_first_line(error)}",
            place_of_traceback(error.__traceback__),
            help="a size that grows with the width may meet one that is fixed here",
        ) from error
    try:
        with _written_out(), _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not strict: the module runs in Python, so that code which TorchDynamo cannot read is no obstacle.
            return torch.export.export(module, inputs, strict=False)
    except Exception as error:
        raise module_error(
            "TP801",
            f"torch.export cannot follow the module at width {width}: {_first_line(error)}",
            place_of_traceback(error.__traceback__),
            help="write what depends on the values of tensors without `if`, `.item()` and the like",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _written_out() -> Iterator[None]:
    """torch's own layers as plain operations: in eval mode, attention and encoder layers would be one fused operation, and
    they look whether the numbers of a mask are those of the causal one."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # What the mask is makes no difference to the result, and export cannot follow a question about numbers.
        with mock.patch.object(nn.modules.transformer, "_detect_is_causal_mask", _as_told, create=True):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _as_told(mask: torch.Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    return bool(is_causal)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the graph that torch logs where it cannot follow: the error says the line."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _aligned(first: torch.export.ExportedProgram, second: torch.export.ExportedProgram) -> Iterator[TracedNode]:
    """The nodes of both programs, in pairs."""
    left, right = (list(e.graph.nodes) for e in (first, second))
    # Where they begin to differ says more than that their lengths do.
    for a, b in zip(left, right, strict=False):
        if (a.op, str(a.target)) != (b.op, str(b.target)):
            raise module_error(
                "TP802",
                f"the module does something else at the other width: {a.target}, {b.target}",
                place_of_stack(a.meta.get("stack_trace")),
            )
        yield TracedNode(a, b)
    if len(left) != len(right):
        extra = max(left, right, key=len)[min(len(left), len(right))]
        raise module_error(
            "TP802",
            "the module does more at one width than at the other: the number of operations, such as "
            "that of layers, may not depend on the width",
            place_of_stack(extra.meta.get("stack_trace")),
        )


def _name_params(graph: TracedGraph, module: nn.Module) -> None:
    """Call a shared parameter by its first name, as `named_parameters` does."""
    first = {id(p): name for name, p in module.named_parameters()}
    for value in graph.of("param"):
        value.name = first[id(module.get_parameter(value.name))]


def _laws(
    graph: TracedGraph, made: list[tuple[nn.Module, LawWatch]], widths: tuple[int, int]
) -> tuple[dict[str, InitialLaw], list[ProgramWarning]]:
    laws, found = {}, []
    for name in graph.params:
        tensors = [module.get_parameter(name) for module, _ in made]
        known = [law for tensor, (_, watch) in zip(tensors, made, strict=True) if (law := watch.law_of(tensor)) is not None]
        grain = None
        if len(known) < len(tensors):
            known = [sampled(_without_padding(module, tensor)) for tensor, (module, _) in zip(tensors, made, strict=True)]
            grain = GRAIN
            found.append(
                module_warning(
                    "TP804",
                    f"the initial law of {name} is not known exactly: its mean and standard "
                    "deviation are read off the entries",
                    graph.params[name].place,
                )
            )
        power = exponent_between(known[0].size, known[1].size, widths, grain)
        if power is None:
            raise module_error(
                "TP804",
                f"the entries of {name} do not follow a power of the width: they are of size "
                f"{known[0].size:.3g} at width {widths[0]}, and {known[1].size:.3g} at {widths[1]}",
            )
        laws[name] = InitialLaw(known[0], power, widths[0])
    return laws, found


def _without_padding(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """A table of embeddings without the row of padding, which is zero and read by nothing."""
    for layer in module.modules():
        if isinstance(layer, nn.Embedding) and layer.weight is weight and layer.padding_idx is not None:
            return torch.cat([weight[: layer.padding_idx], weight[layer.padding_idx + 1 :]])
    return weight
