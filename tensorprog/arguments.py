"""Calls of the Python interface that do not fit: an error of our own that says what to write, instead of a TypeError from inside.

    @entry_point(data=DATA, widths=NUMBERS)
    def verify(self, data=None, *, widths=(64, 128), **settings): ...

Numbers that are out of range are refused where they are used.
"""

from __future__ import annotations

import inspect
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tensorprog.diagnostics import ProgramError, near_miss
from tensorprog.files import mistake

CODE = "TP737"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ArgumentKind:
    """What an argument may be.

    Attributes:
        words: what it is, for the message.
        fits: whether a value is one.
        example: what to write; `{input}` is the name of the program's first input.
    """

    words: str
    fits: Callable[[Any], bool]
    example: str = ""

    def or_none(self) -> ArgumentKind:
        """The same, or left out."""
        return ArgumentKind(f"{self.words}, or None", lambda value: value is None or self.fits(value), self.example)


def _by_name(value: object) -> bool:
    # A table or an opened .npz file has names as well.
    names = getattr(value, "keys", None)
    return callable(names) and all(isinstance(name, str) for name in names())


def _numbers(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


DATA = ArgumentKind("a mapping from names of inputs to arrays", _by_name, "{{'{input}': {input}}}").or_none()
SETTINGS = ArgumentKind("a mapping from names of parameters and sizes to numbers", _by_name, "{{'eta': 0.1}}").or_none()
PATH = ArgumentKind("a path", lambda value: isinstance(value, str | os.PathLike))
PATH_OR_NONE = PATH.or_none()
WORD = ArgumentKind("a word", lambda value: isinstance(value, str))
FLAG = ArgumentKind("True or False", lambda value: isinstance(value, bool))
NUMBERS = ArgumentKind("a list of numbers", _numbers, "[64, 128, 256, 512]")
SECONDS = ArgumentKind("a positive number of seconds", lambda value: isinstance(value, numbers.Real), "600")
REPORT = ArgumentKind("a function of (steps done, steps in all), or True",
                      lambda value: callable(value) or isinstance(value, bool), "True").or_none()
ARRAYS = ArgumentKind("a mapping from names of outputs to arrays", lambda value: isinstance(value, Mapping)).or_none()


def entry_point(**kinds: ArgumentKind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that users call, with what some of its arguments may be."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **options)
            except TypeError as error:
                raise _unbound(function.__name__, signature, args, options, error) from None
            for name, kind in kinds.items():
                if name in bound.arguments and not kind.fits(bound.arguments[name]):
                    raise _other_kind(function.__name__, name, kind, bound.arguments[name], args)
            return function(*args, **options)

        return checked

    return decorated


def _unbound(call: str, signature: inspect.Signature, args: tuple[object, ...], options: Mapping[str, object],
             error: TypeError) -> ProgramError:
    parameters = [p for name, p in signature.parameters.items() if name != "self"]
    known = [p.name for p in parameters]
    given = [name for name in options if name in _inputs(args)]
    stray = [name for name in options if name not in known]
    guess = near_miss(stray[0], known) if stray else None
    if given:
        data = ", ".join(f"'{name}': {name}" for name in given)
        help = f"inputs are data, and come first: `{call}({{{data}}})`"
    elif guess is not None and f"'{stray[0]}'" in str(error):
        help = f"did you mean `{guess}=...`?"
    else:
        help = f"it is called as `{call}({', '.join(map(_written, parameters))})`"
    return mistake(CODE, f"this call of `{call}` does not fit: {error}", help)


def _written(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    default = "" if star or parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{star}{parameter.name}{default}"


def _other_kind(call: str, name: str, kind: ArgumentKind, value: object, args: tuple[object, ...]) -> ProgramError:
    example = kind.example.format(input=next(iter(_inputs(args)), "X"))
    if not example:
        return mistake(CODE, f"'{name}' of `{call}` is {kind.words}, not {_shown(value)}")
    written = example if kind is DATA else f"{name}={example}"
    return mistake(CODE, f"'{name}' of `{call}` is {kind.words}, not {_shown(value)}", f"write `{call}({written})`")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else f"a value of type {type(value).__name__}"


def _inputs(args: tuple[object, ...]) -> list[str]:
    """The names of the inputs of the program whose method is called."""
    declared = getattr(getattr(args[0], "program", None), "inputs", ()) if args else ()
    return [i.name for i in declared]
