"""Emitted modules: from their text to Python modules, whose compiled kernels are kept on disk."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from tensorprog.cache_folder import cache_folder
from tensorprog.diagnostics import ProgramError
from tensorprog.files import write_text
from tensorprog.progress import announce


def load_module(text: str) -> ModuleType:
    """An emitted module, its kernels compiled. Its name is a digest of its text, and its compiled kernels are kept."""
    name = f"tensorprog_limit_{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    if name in sys.modules:
        return sys.modules[name]
    announce("compiling kernels")
    return _import(name, text)


def _import(name: str, text: str) -> ModuleType:
    """Run the text itself, never what some file holds; the file is for tracebacks and for what Numba keeps beside it."""
    folder = cache_folder()
    path = f"<{name}>" if folder is None else str(folder / "modules" / f"{name}.py")
    if folder is not None:
        _write_source(path, text)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _write_source(path: str, text: str) -> None:
    """Write a module where it is not yet; what cannot be written is done without."""
    with suppress(OSError, UnicodeDecodeError, ProgramError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not (os.path.exists(path) and Path(path).read_text(encoding="utf-8") == text):
            write_text(path, text)
