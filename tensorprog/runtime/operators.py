"""Lazily sampled operators of laws of matrices that were registered from outside of tensorprog, by the names of the laws."""

from __future__ import annotations

from collections.abc import Callable

OPERATORS: dict[str, Callable[..., object]] = {}


def operator(name: str) -> Callable[..., object]:
    """What makes the operator of a law.

    Raises:
        LookupError: there is none of this name, in this process.
    """
    if name not in OPERATORS:
        raise LookupError(f"no law of matrices `{name}`: a program that uses one from outside of tensorprog runs where that is "
                          "registered (`tensorprog.register`)")
    return OPERATORS[name]
