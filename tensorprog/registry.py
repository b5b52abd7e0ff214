"""What was registered from outside of tensorprog (`extensions`), and a digest of it."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from types import CodeType
from typing import Any

REGISTERED: list[Any] = []


def digest() -> str:
    """A text that changes with what is registered, on which what is kept on disk depends; empty if nothing is."""
    found = hashlib.sha256()
    for extension in REGISTERED:
        found.update(repr([(f.name, _described(getattr(extension, f.name))) for f in fields(extension)]).encode())
    return found.hexdigest() if REGISTERED else ""


def _described(value: Any) -> object:
    code = getattr(value, "__code__", None)
    if code is not None:
        return _code(code), repr(value.__defaults__), [_described(c.cell_contents) for c in value.__closure__ or ()]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _code(code: CodeType) -> object:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return code.co_code.hex(), constants, code.co_names
