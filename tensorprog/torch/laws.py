"""The initial laws of parameters, exactly: what the initializers did while the module was made.

`make(n)` runs under a dispatch mode that sees every operation on tensors. `uniform_`, `normal_` and `fill_` give the
storage that they fill a law, scaling by a number scales it, anything else that writes to it forgets it. Where no law
is left, as after `trunc_normal_` or `orthogonal_`, mean and standard deviation are read off the entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Sampled exponents are rounded to a multiple of 1/2.
GRAIN = 2


@dataclass(frozen=True, slots=True)
class EntriesLaw:
    """The entries' law: `normal`, `uniform` or `constant`, or `sampled`, with its mean and standard deviation."""

    kind: str
    mean: float
    std: float

    def scaled(self, factor: float) -> EntriesLaw:
        return EntriesLaw(self.kind, self.mean * factor, self.std * abs(factor))

    @property
    def size(self) -> float:
        """The root mean square of the entries."""
        return math.hypot(self.mean, self.std)


def uniform(low: float, high: float) -> EntriesLaw:
    """The law of uniform entries."""
    return EntriesLaw("uniform", (low + high) / 2, (high - low) / math.sqrt(12))


_FILLS: dict[str, Callable[..., EntriesLaw]] = {
    "uniform_": lambda low=0.0, high=1.0: uniform(low, high),
    "normal_": lambda mean=0.0, std=1.0: EntriesLaw("normal", mean, std),
    "fill_": lambda value: EntriesLaw("constant", float(value), 0.0),
    "zero_": lambda: EntriesLaw("constant", 0.0, 0.0),
}
_MAKES: dict[str, EntriesLaw] = {
    "randn": EntriesLaw("normal", 0.0, 1.0),
    "randn_like": EntriesLaw("normal", 0.0, 1.0),
    "rand": uniform(0.0, 1.0),
    "rand_like": uniform(0.0, 1.0),
    "zeros": EntriesLaw("constant", 0.0, 0.0),
    "zeros_like": EntriesLaw("constant", 0.0, 0.0),
    "ones": EntriesLaw("constant", 1.0, 0.0),
    "ones_like": EntriesLaw("constant", 1.0, 0.0),
}
_ALIASES = {"detach", "alias", "view", "t", "transpose", "clone", "_to_copy", "lift_fresh", "unsqueeze", "squeeze"}


class LawWatch(TorchDispatchMode):
    """Follows the laws of whole storages while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self._laws: dict[int, EntriesLaw] = {}
        # The storages of what was computed from draws, and has no known law itself.
        self._drawn: set[int] = set()
        self._kept: list[torch.Tensor] = []

    def law_of(self, tensor: torch.Tensor) -> EntriesLaw | None:
        """The law that is known of a tensor, or None."""
        return self._laws.get(_storage(tensor))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        random = name in ("normal_", "uniform_") or any(isinstance(a, torch.Tensor) and self._is_random(a) for a in args)
        written = [args[0]] if name.endswith("_") and args and isinstance(args[0], torch.Tensor) else []
        if written:
            self._record(written[0], self._after(name, args, kwargs or {}), random)
            return result
        law = self._made(name, args) if isinstance(result, torch.Tensor) else None
        # Decompositions give several tensors.
        for made in result if isinstance(result, tuple | list) else (result,):
            # Views have a law already, that of their storage.
            if isinstance(made, torch.Tensor) and (law is not None or random and self.law_of(made) is None):
                self._record(made, law, random)
        return result

    def _is_random(self, tensor: torch.Tensor) -> bool:
        """Whether it is made of draws."""
        law = self.law_of(tensor)
        return _storage(tensor) in self._drawn or law is not None and law.std > 0

    def _after(self, name: str, args: tuple, kwargs: dict) -> EntriesLaw | None:
        """The law of what an operation in place has written."""
        target = args[0]
        # After a part of it is written to, a storage has no single law.
        if target.numel() * target.element_size() != target.untyped_storage().nbytes():
            return None
        # Means or deviations in a tensor are other ones for every entry.
        if name in _FILLS and not any(isinstance(a, torch.Tensor) and a.dim() for a in args[1:]):
            return _FILLS[name](*args[1:], **{k: v for k, v in kwargs.items() if k not in ("generator",)})
        if name == "copy_" and args[1].shape == target.shape:
            return self.law_of(args[1])
        return self._scaled(name, args)

    def _made(self, name: str, args: tuple) -> EntriesLaw | None:
        if name in _MAKES:
            return _MAKES[name]
        if name == "full":
            return EntriesLaw("constant", float(args[1]), 0.0)
        if name in _ALIASES and isinstance(args[0], torch.Tensor):
            return self.law_of(args[0])
        return self._scaled(name, args)

    def _scaled(self, name: str, args: tuple) -> EntriesLaw | None:
        if name.rstrip("_") not in ("mul", "div") or len(args) != 2:
            return None
        law, factor = (self.law_of(args[0]) if isinstance(args[0], torch.Tensor) else None), args[1]
        if isinstance(factor, torch.Tensor):
            # A number that was computed from draws, as the norm of a matrix, is another one in every network.
            factor = factor.item() if factor.dim() == 0 and not self._is_random(factor) else None
        if law is None or factor is None:
            return None
        return law.scaled(factor if name.startswith("mul") else 1 / factor)

    def _record(self, tensor: torch.Tensor, law: EntriesLaw | None, random: bool) -> None:
        key = _storage(tensor)
        # A storage is known by its address, which another one would get if it were freed.
        self._kept.append(tensor.detach())
        self._drawn.discard(key)
        if law is not None:
            self._laws[key] = law
            return
        self._laws.pop(key, None)
        if random:
            self._drawn.add(key)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def sampled(tensor: torch.Tensor) -> EntriesLaw:
    """Mean and standard deviation of the entries; a mean within its noise is 0."""
    entries = tensor.detach().double()
    mean, std = entries.mean().item(), entries.std(correction=0).item()
    if std == 0.0:
        return EntriesLaw("constant", mean, 0.0)
    return EntriesLaw("sampled", mean if abs(mean) > 5 * std / math.sqrt(entries.numel()) else 0.0, std)


def exponent_between(first: float, second: float, widths: tuple[int, int], grain: int | None = None) -> Fraction | None:
    """The power of n between two positive numbers at two widths, or None if there is none; rounded to 1/grain if
    given."""
    if first == 0.0 or second == 0.0:
        return Fraction(0) if first == second else None
    power = math.log(second / first) / math.log(widths[1] / widths[0])
    if grain is not None:
        return Fraction(round(power * grain), grain)
    # Powers as people write them; what is none of these to six digits is no power.
    found = Fraction(power).limit_denominator(12)
    return found if abs(float(found) - power) < 1e-6 else None
