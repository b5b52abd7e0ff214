"""The coordinate check: do activations, and what each parameter's own updates do to them, stay of order one?

Networks of several widths are trained for a few steps on one batch. After every step, each module is run again on its
own input with only one of its parameters replaced by its old value: the difference is that parameter's contribution.
Of what goes into a softmax the change since the start is taken: logits of attention show there how they are scaled.
The slope of its logarithm over the logarithm of the width is predicted and measured. The first steps are discounted:
at the start queries and keys are uncorrelated, and their gradients smaller than later.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tensorprog.torch.errors import module_error
from tensorprog.torch.logits import SeenLogits
from tensorprog.torch.multipliers import products_scaled
from tensorprog.torch.optimizers import Settings, optimizers
from tensorprog.verify.report import FAILED, PASSED, UNRESOLVED

if TYPE_CHECKING:
    from tensorprog.torch.graph import TracedValue
    from tensorprog.torch.parametrize import MuTable

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[object, torch.Tensor]
# Where changes are exactly zero, as of a parameter without influence, a picture has this instead.
TINY = 1e-30
#: The smallest power that mistakes of a parametrization usually have.
# Powers of n come in steps of 1/2.
SMALLEST_MISTAKE = 0.5
#: By so many standard errors a slope differs.
MISTAKE_ERRORS = 2
#: So many times as many networks as asked for are taken, where these leave doubts.
MORE = 4
RATES = {"sgd": 0.1, "adamw": 0.01, "muon": 0.05}
CONSTANTS = ("std", "multiplier", "lr", "eps", "weight_decay")


@dataclass(frozen=True, slots=True)
class CoordinateSlope:
    """A power of the width: predicted, and measured with its standard error."""

    name: str
    kind: str
    predicted: float
    measured: float
    error: float
    sizes: tuple[float, ...]

    def off(self, tolerance: float) -> bool:
        """Whether the measured power is not 0: by more than the tolerance and two of its errors."""
        return abs(self.measured) > tolerance + MISTAKE_ERRORS * self.error

    def unresolved(self, tolerance: float) -> bool:
        """Whether a power of 1/2 would have passed as well."""
        return not SMALLEST_MISTAKE > tolerance + MISTAKE_ERRORS * self.error


@dataclass(frozen=True)
class CoordinateCheck:
    """What was measured."""

    widths: tuple[int, ...]
    slopes: tuple[CoordinateSlope, ...]
    tolerance: float = field(default=0.15)

    @property
    def updates(self) -> dict[str, CoordinateSlope]:
        """The contribution of every parameter's updates, by name."""
        return {s.name: s for s in self.slopes if s.kind == "update"}

    @property
    def activations(self) -> dict[str, CoordinateSlope]:
        """The size of the output of every module, by its path."""
        return {s.name: s for s in self.slopes if s.kind == "activation"}

    @property
    def decays(self) -> dict[str, CoordinateSlope]:
        """The contribution of one step of weight decay, by the name of the parameter."""
        return {s.name: s for s in self.slopes if s.kind == "decay"}

    @property
    def logits(self) -> dict[str, CoordinateSlope]:
        """The change of what goes into every softmax, by the name of its value."""
        return {s.name: s for s in self.slopes if s.kind == "logits"}

    @property
    def mistakes(self) -> list[CoordinateSlope]:
        """What does not stay of order one: every update and decay, and activations and logits that grow."""
        kept = ("update", "decay")
        return [s for s in self.slopes if s.off(self.tolerance) and (s.kind in kept or s.measured > 0)]

    @property
    def unresolved(self) -> list[CoordinateSlope]:
        """What is no mistake, but would not be seen as one if it grew or fell as the root of the width."""
        found = self.mistakes
        return [s for s in self.slopes if s not in found and s.unresolved(self.tolerance)]

    @property
    def doubtful(self) -> bool:
        """Whether more networks could decide otherwise: something is not resolved, or a mistake is within twice of what would be
        none."""
        allowed = 2 * MISTAKE_ERRORS
        return bool(self.unresolved) or any(abs(s.measured) < self.tolerance + allowed * s.error for s in self.mistakes)

    @property
    def verdict(self) -> str:
        """"passed", where everything stays of order one; "failed", where something does not; else "not resolved"."""
        return FAILED if self.mistakes else UNRESOLVED if self.unresolved else PASSED

    @property
    def passed(self) -> bool:
        """Whether nothing was seen to leave order one, though `verdict` may be "not resolved"."""
        return self.verdict != FAILED

    def table(self) -> str:
        """One line for each activation and parameter."""
        size = max(len(s.name) for s in self.slopes)
        lines = [
            f"{'':{size}}              predicted  measured power of the width, {self.widths[0]} to {self.widths[-1]}"
        ]
        for s in self.slopes:
            mark = "  <- not of order one" if s in self.mistakes else "  not resolved" if s in self.unresolved else ""
            lines.append(f"{s.name:{size}}  {s.kind:10}  {s.predicted:+9.2f}  {s.measured:+.2f} +- {s.error:.2f}{mark}")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """The sizes against the width, as .png, .pdf or .svg."""
        from tensorprog.torch.coordinates_plot import plot

        plot(self, path)

    def __str__(self) -> str:
        return self.table()


def coordcheck(
    table: MuTable,
    loss: Loss,
    batch: Batch,
    widths: Sequence[int] = (64, 128, 256, 512),
    steps: int = 4,
    *,
    lr: float | None = None,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    seeds: int = 3,
    skip: int = 1,
    constant: Sequence[str] = (),
    tolerance: float = 0.15,
) -> CoordinateCheck:
    """Train networks of several widths by the table, and measure.

    Args:
        loss: a function of the module's output and the batch's targets.
        batch: the inputs (a tensor or a tuple of them) and the targets.
        lr, eps, weight_decay: at the base width.
        seeds: of how many networks of each width at least; where something is not resolved or a mistake is not clear, of up to four
            times as many.
        skip: how many first steps are not counted.
        constant: settings that are left as at the base width, out of "std", "multiplier", "lr", "eps", "weight_decay",
            to see what a mistake does. Predictions know of "lr", "weight_decay" and multipliers of logits.
    """
    for name in constant:
        if name not in CONSTANTS:
            raise module_error("TP805", f"there is no setting {name!r}", help=f"there is: {', '.join(CONSTANTS)}")
    if len(set(widths)) < 2 or steps <= skip or seeds < 1:
        raise module_error("TP805", "a slope takes two widths, one seed, and more steps than are skipped")
    lr = RATES[table.optimizer] if lr is None else lr
    settings = Settings(eps=eps, weight_decay=weight_decay)
    predicted = dict(_predicted(table, set(constant)))
    runs: list[list[dict[tuple[str, str], float]]] = []
    for seed in range(MORE * seeds):
        runs.append(
            [_measure(table, loss, batch, width, steps, skip, (lr, settings), set(constant), seed) for width in widths]
        )
        if len(runs) >= seeds:
            found = _check(runs, widths, predicted, tolerance)
            if not found.doubtful:
                break
    return found


def _check(
    runs: list[list[dict[tuple[str, str], float]]],
    widths: Sequence[int],
    predicted: dict[tuple[str, str], float],
    tolerance: float,
) -> CoordinateCheck:
    """What all runs tell, of every seed and width."""
    slopes = [
        _slope(key, [[run[key] for run in row] for row in runs], widths, predicted.get(key, 0.0)) for key in runs[0][0]
    ]
    return CoordinateCheck(tuple(widths), tuple(slopes), tolerance)


def _predicted(table: MuTable, constant: set[str]) -> Iterator[tuple[tuple[str, str], float]]:
    """The powers that are not 0, by kind and name."""
    for name, exponents in ((row.name, row.exponents) for row in table.trained):
        if "lr" in constant:
            # What a constant rate lacks is its power of the width.
            yield ("update", name), -float(exponents.lr)
        # Decay moves weights by lr * decay of themselves.
        rate = exponents.lr * ("lr" not in constant) + exponents.weight_decay * ("weight_decay" not in constant)
        yield ("decay", name), float(rate)
    for v in table.traced.graph.of("softmax") if "multiplier" in constant else ():
        site = next((table.counting.sites[u] for u in _behind(v) if u in table.counting.sites), None)
        if site is not None:
            yield ("logits", v.name), -float(site.exponent)


def _behind(softmax: TracedValue) -> Iterator[TracedValue]:
    """The values whose multiplier is one of a softmax's logits."""
    value = softmax.args[0]
    while True:
        yield value
        if value.op not in ("map", "view") or not value.args:
            return
        value = value.args[0]


def _slope(key: tuple[str, str], sizes: list[list[float]], widths: Sequence[int], predicted: float) -> CoordinateSlope:
    """The mean over seeds of every seed's slope; the error is that of the mean, and that of the straight line. One seed at two
    widths tells none, nor do seeds in which something has no influence at one width, as an expert that is not chosen."""
    table = np.array(sizes)
    whole = (table > 0).all(axis=1)
    if not whole.any():
        unknown = math.nan if (table > 0).any() else 0.0
        return CoordinateSlope(key[1], key[0], predicted, unknown, unknown, tuple(np.maximum(table.mean(axis=0), TINY)))
    # A mean of logarithms, so that one network with large updates does not decide.
    logs = np.log(table[whole])
    x = np.log(np.array(widths, dtype=float))
    x -= x.mean()
    each = logs @ x / (x @ x)
    # Corrections at finite widths bend the line, chance scatters the seeds: the larger of both is the error.
    residuals = logs.mean(axis=0) - logs.mean() - each.mean() * x
    line = math.sqrt(residuals @ residuals / max(len(x) - 2, 1) / (x @ x))
    scatter = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else 0.0 if len(x) > 2 else math.nan
    return CoordinateSlope(
        key[1], key[0], predicted, float(each.mean()), float(np.maximum(line, scatter)), tuple(np.exp(logs.mean(axis=0)))
    )


def _measure(
    table: MuTable,
    loss: Loss,
    batch: Batch,
    width: int,
    steps: int,
    skip: int,
    rates: tuple[float, Settings],
    constant: set[str],
    seed: int,
) -> dict[tuple[str, str], float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = table.traced.make(width).train(table.traced.train)
    if "std" not in constant:
        table.init_(model)
    if "multiplier" not in constant:
        table.apply(model)
    lr, settings = rates
    chosen = list(optimizers(table, model, lr, settings, _left_constant(constant, lr, settings)))
    # Of the groups as the optimizers have them, after the table and what is left constant.
    decays = {id(p): g["lr"] * g["weight_decay"] for o in chosen for g in o.param_groups for p in g["params"]}
    watched = _Watched(table, model)
    inputs = batch[0] if isinstance(batch[0], tuple) else (batch[0],)
    found: dict[tuple[str, str], list[float]] = {}
    first: list[torch.Tensor] = []
    for step in range(steps):
        old = {name: p.detach().clone() for name, p in watched.params.items()}
        for optimizer in chosen:
            optimizer.zero_grad()
        with SeenLogits() as seen:
            outputs = model(*inputs)
        first = seen.found if step == 0 else first
        loss(outputs, batch[1]).backward()
        for optimizer in chosen:
            optimizer.step()
        if step >= skip:
            for name, now, then in zip(_softmaxes(table, seen.found), seen.found, first, strict=True):
                found.setdefault(("logits", name), []).append(_rms(now - then))
            for name, size in watched.contributions(old):
                found.setdefault(("update", name), []).append(size)
            # A step of decay by itself: w (1 - lr*decay) beside w.
            decayed = {name: p.detach() * (1 - decays[id(p)]) for name, p in watched.params.items() if decays[id(p)]}
            for name, size in watched.contributions(decayed):
                found.setdefault(("decay", name), []).append(size)
    # Once more, for activations after the last step.
    with torch.no_grad():
        model(*inputs)
    sizes = {("activation", path): _rms(value) for path, value in watched.outputs.items()}
    # A geometric mean over the steps, since slopes are of logarithms.
    return sizes | {key: float(np.exp(np.mean(np.log(values)))) if min(values) > 0 else 0.0 for key, values in found.items()}


def _left_constant(constant: set[str], lr: float, settings: Settings) -> Callable[[dict], dict]:
    """Groups with settings as at the base width."""
    whole = {"lr": lr, "eps": settings.eps, "weight_decay": settings.weight_decay}

    def change(group: dict) -> dict:
        return group | {name: value for name, value in whole.items() if name in constant and name in group}

    return change


def _softmaxes(table: MuTable, seen: list[torch.Tensor]) -> list[str]:
    """Names of the softmaxes that were seen: of their values, if these are as many."""
    names = [v.name for v in table.traced.graph.of("softmax")]
    return names if len(names) == len(seen) else [f"softmax {k}" for k in range(1, len(seen) + 1)]


class _Watched:
    """The modules of a network, their last inputs and outputs, and the parameters that each owns."""

    def __init__(self, table: MuTable, model: nn.Module) -> None:
        self.model = model
        self.params = {row.name: model.get_parameter(row.name) for row in table.trained}
        names = {id(p): name for name, p in self.params.items()}
        self.outputs: dict[str, torch.Tensor] = {}
        self._inputs: dict[str, tuple[tuple, dict]] = {}
        self._paused = False
        self._owned: dict[str, list[str]] = {}
        for path, module in model.named_modules():
            owned = [names[id(p)] for key, p in module.named_parameters() if id(p) in names and _is_own(module, key)]
            # Containers without parameters of their own only hand on what is in them.
            if owned or not list(module.children()):
                self._owned[path] = owned
                module.register_forward_hook(self._hook(path), with_kwargs=True)

    def _hook(self, path: str) -> Callable:
        def keep(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            # Of several outputs, as a recurrent layer has them, the first.
            first = _first_tensor(output)
            if first is not None and not self._paused:
                self.outputs[path] = first.detach()
                self._inputs[path] = (_detached(args), _detached(kwargs))

        return keep

    def contributions(self, old: dict[str, torch.Tensor]) -> Iterator[tuple[str, float]]:
        """For every parameter that has an old value, the size of the change that its own update makes; the largest
        over the modules that use it."""
        found: dict[str, float] = {}
        # What is run here is not the network's last pass.
        self._paused = True
        # Modules run by themselves here, outside of the forward pass that has their multipliers.
        with torch.no_grad(), products_scaled(self.model):
            for path, (args, kwargs) in self._inputs.items():
                module = self.model.get_submodule(path)
                new = _first_tensor(module(*args, **kwargs)) if self._owned[path] else None
                for name in self._owned[path]:
                    # Parameters without decay have no decayed value.
                    if name not in old:
                        continue
                    with _set_to(self.params[name], old[name]):
                        was = _first_tensor(module(*args, **kwargs))
                    assert new is not None and was is not None, "kept inputs are those of outputs that have a tensor"
                    found[name] = max(found.get(name, 0.0), _rms(new - was))
        self._paused = False
        yield from found.items()


@contextlib.contextmanager
def _set_to(parameter: nn.Parameter, value: torch.Tensor) -> Iterator[None]:
    """A parameter with other entries, in place: multipliers know it by its identity."""
    kept = parameter.data
    parameter.data = value
    try:
        yield
    finally:
        parameter.data = kept


def _is_own(module: nn.Module, key: str) -> bool:
    """Parameters of a module itself, and those of a submodule that never runs by itself, as the projection of
    attention."""
    return "." not in key or isinstance(module, nn.MultiheadAttention)


def _first_tensor(value: object) -> torch.Tensor | None:
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, torch.Tensor) else None


def _detached(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value.detach()
        case tuple() | list():
            return type(value)(_detached(v) for v in value)
        case dict():
            return {k: _detached(v) for k, v in value.items()}
    return value


def _rms(value: torch.Tensor) -> float:
    return value.double().square().mean().sqrt().item()
