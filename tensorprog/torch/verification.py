"""A limit beside the module itself: what `traced.verify` does.

The networks are torch's, made by the traced function, trained by torch's optimizers with the table's groups; kernels
are those of autograd. They are held against the limit as networks of `verify` are (`tensorprog.verify`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tensorprog.results import Result
from tensorprog.simulate import mean_over_networks
from tensorprog.torch.emit import KINDS, kernels_of, program_of
from tensorprog.torch.errors import module_error
from tensorprog.torch.graph import MOVES, TracedValue
from tensorprog.torch.losses import loss_named
from tensorprog.torch.optimizers import Settings, optimizers, settings_of
from tensorprog.torch.parametrize import parametrize
from tensorprog.verify.verify import FEWEST_SEEDS, FEWEST_WIDTHS, judge

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable
    from tensorprog.torch.tracing import Traced
    from tensorprog.verify.report import Verification

Arrays = dict[str, np.ndarray]
LINEAR = ("add", "sub", "neg")


def verify_traced(
    traced: Traced,
    kind: str = "kernels",
    data: Mapping[str, object] | None = None,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int = 16,
    seed: int = 0,
    samples: int = 2048,
    replicates: int = 4,
    eta: float = 0.1,
    T: int = 5,
    **options: Any,
) -> Verification:
    """Run the limit, and `seeds` modules of each width; compare them.

    Args:
        data: as for the program: `X`, by default the example inputs, and for training the targets `y`.
        widths: at least four.
        seed: of the limit and of all modules.
        samples, replicates: of the limit.
        eta, T: learning rate at the base width, and steps of training.
        options: those of `program`.

    Raises:
        ProgramError: TP805, for options that make no sense; those of the program.
    """
    if kind not in KINDS:
        raise module_error("TP805", f"there is no kind of program {kind!r}", help=f"there is: {', '.join(KINDS)}")
    widths = sorted({int(width) for width in widths})
    if len(widths) < FEWEST_WIDTHS or seeds < FEWEST_SEEDS:
        raise module_error(
            "TP805", f"verification takes at least {FEWEST_WIDTHS} widths and {FEWEST_SEEDS} seeds"
        )
    arrays = {name: np.asarray(value) for name, value in (data or {}).items()}
    given = [f"X{k + 1}" if k else "X" for k in range(len(traced.inputs))]
    inputs = tuple(
        torch.as_tensor(arrays[name]).to(x.dtype) if name in arrays else x
        for name, x in zip(given, traced.inputs, strict=True)
    )
    arrays |= {name: x.numpy() for name, x in zip(given, inputs, strict=True)}
    networks: _Kernels | _Training
    settings: dict[str, object]
    if kind == "kernels":
        program, power = kernels_of(traced, **options)
        networks = _Kernels(traced, inputs, power, options.get("component"))
        settings = {}
    else:
        if "y" not in arrays:
            raise module_error("TP805", "training takes the targets `y`", help='pass them, as in `{"X": x, "y": y}`')
        y = arrays["y"]
        # Axes of size 1 have no index in the program.
        arrays["y"] = y.reshape(y.shape[:1] + tuple(size for size in y.shape[1:] if size > 1))
        program = program_of(traced, "train", **options)
        networks, settings = _Training(traced, inputs, y, eta, T, **options), {"eta": eta, "T": T}
    limit = program.run_with(
        {**traced.tables, **arrays}, settings, samples=samples, replicates=replicates, seed=seed
    ).numbers()
    shapes = {name: limit[name].shape for name in limit}
    return judge(limit, [_simulated(networks, shapes, width, seeds, seed) for width in widths])


def _simulated(networks: _Kernels | _Training, shapes: Mapping, width: int, seeds: int, seed: int) -> Result:
    """As `simulate` gives it, of modules."""
    found: list[Arrays] = []
    # Networks of different widths are independent, and errors of their means add up as such.
    for drawn in np.random.SeedSequence((seed, width)).generate_state(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(drawn))
            found.append(networks(networks.traced.make(width).train(networks.traced.train)))
    samples, values, errors = mean_over_networks(
        [{name: f[name].reshape(shape) for name, shape in shapes.items()} for f in found]
    )
    diverged = {name: None for name, value in values.items() if not np.isfinite(value).all()}
    return Result(
        values, errors, dict.fromkeys(values, "finite"), settings={"width": width, "seeds": seeds, "seed": seed},
        samples=samples, diverged=diverged,
    )


class _Training:
    """Outputs and losses of a module that is trained, [steps, ...]."""

    def __init__(
        self,
        traced: Traced,
        inputs: tuple[torch.Tensor, ...],
        targets: np.ndarray,
        eta: float,
        steps: int,
        *,
        loss: str = "mse",
        optimizer: str = "sgd",
        base: int = 64,
        laws: str = "exact",
        **settings: Any,
    ) -> None:
        own = set(inspect.signature(parametrize).parameters)
        table_options = {name: settings.pop(name) for name in list(settings) if name in own}
        self.traced, self._inputs, self._eta, self._steps = traced, inputs, eta, steps
        self._table: MuTable = parametrize(traced, optimizer, base, **table_options)
        self._loss = loss_named(loss)
        self._settings: Settings = settings_of(settings)
        self._targets = torch.as_tensor(targets)

    def __call__(self, module: nn.Module) -> Arrays:
        table = self._table
        table.init_(module)
        # Behind the rescaling: these numbers are the same at every width.
        self._start(module)
        table.apply(module)
        chosen = list(optimizers(table, module, self._eta, self._settings))
        outputs, losses = [], []
        for _ in range(self._steps):
            for optimizer in chosen:
                optimizer.zero_grad()
            output = _first(module(*self._inputs))
            loss = self._loss.function(output, self._matching(output))
            loss.backward()
            for optimizer in chosen:
                optimizer.step()
            outputs.append(output.detach().double().numpy())
            losses.append(loss.item())
        return {"f": np.stack(outputs), "loss": np.array(losses)}

    def _start(self, module: nn.Module) -> None:
        """Parameters that do not grow start at the numbers that the program takes."""
        for row, start in self.traced.starts.items():
            parameter = module.get_parameter(row)
            with torch.no_grad():
                parameter.copy_(start.reshape(parameter.shape))

    def _matching(self, output: torch.Tensor) -> torch.Tensor:
        if self._loss.classes:
            return self._targets.long()
        return self._targets.to(output.dtype).reshape(output.shape)


class _Kernels:
    """The NNGP and tangent kernel of one component of the output, [rows, rows]."""

    def __init__(
        self, traced: Traced, inputs: tuple[torch.Tensor, ...], power: int, component: Sequence[int] | None
    ) -> None:
        self.traced, self._inputs, self._power, self._component = traced, inputs, power, component
        self._readouts = set(readouts(traced.graph.output))

    def __call__(self, module: nn.Module) -> Arrays:
        width = self.traced.parametrize().width_of(module)
        parameters = {name: module.get_parameter(name) for name in self.traced.graph.params}
        # Frozen ones too: a readout's covariance is read off its gradient.
        wanted = [p.requires_grad_() for p in parameters.values()]
        output = _first(module(*self._inputs))
        rows = output.reshape(len(output), -1)[:, self._place(output)]
        found = {"nngp": 0.0, "theta": 0.0}
        # One row after the other, over the same graph; this component may not depend on all parameters.
        gradients = [torch.autograd.grad(f, wanted, retain_graph=True, allow_unused=True) for f in rows]
        for k, name in enumerate(parameters):
            if gradients[0][k] is None:
                continue
            jacobian = torch.stack([g[k].flatten() for g in gradients]).double().numpy()
            kernel = jacobian @ jacobian.T
            if name not in self.traced.frozen:
                found["theta"] += kernel / width**self._power
            if name in self._readouts:
                law = self.traced.laws[name]
                # The output is linear in a readout: its covariance is the variance of the readout's entries times the
                # inner product of its gradients (TP I, Corollary 5.5).
                found["nngp"] += kernel * law.std(width) ** 2
        return {name: np.asarray(kernel) for name, kernel in found.items()}

    def _place(self, output: torch.Tensor) -> int:
        sizes = [s for s in output.shape[1:] if s > 1]
        return int(np.ravel_multi_index(tuple(self._component), sizes)) if self._component and sizes else 0


def readouts(output: TracedValue) -> Iterator[str]:
    """The parameters that an output is linear in, given everything else: those of the last layer."""
    todo = [output]
    while todo:
        v = todo.pop()
        if v.op == "param":
            yield v.name
        elif v.op in MOVES or v.op == "reduce" and v.fn in ("mean", "sum") or v.op == "map" and v.fn in LINEAR:
            todo += v.args
        elif v.op == "map" and v.fn in ("mul", "div"):
            todo += [a for a in v.args[: 1 if v.fn == "div" else 2] if not a.is_constant][:1]
        elif v.op == "contract":
            todo += [a for a in v.args if _parameter_of(a)]


def _parameter_of(value: TracedValue) -> bool:
    """Whether a value is a parameter, seen from some side."""
    while value.op in MOVES and len(value.args) == 1:
        value = value.args[0]
    return value.op == "param"


def _first(value: object) -> torch.Tensor:
    while isinstance(value, tuple | list):
        value = value[0]
    return value
