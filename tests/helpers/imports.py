"""Who imports whom in `tensorprog`: as modules are read, and inside of functions. `make goldens` writes the list of the latter."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from places import ROOT

#: Imports inside of functions that are there for start-up alone, a module a line.
LATE = ROOT / "tests" / "packaging" / "late_imports.txt"

HEADER = """# Imports inside of functions: what a module needs only in some calls, so that a command starts without it.
# `make goldens` writes this list; `tests/packaging/test_imports.py` holds that each line spares a module.
"""

Edge = tuple[str, str]


def _modules(package: Path) -> dict[str, Path]:
    named = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@dataclass(frozen=True)
class Imports:
    """Edges from modules to the modules of the package that they import."""

    modules: dict[str, Path]
    at_once: frozenset[Edge]
    late: frozenset[Edge]

    @cached_property
    def _next(self) -> dict[str, set[str]]:
        following: dict[str, set[str]] = {name: set() for name in self.modules}
        for module, target in self.at_once:
            following[module].add(target)
        return following

    def needed(self, start: str) -> set[str]:
        """What a module imports at the top, and what that imports, itself included."""
        return self._reached([start], lambda module: self._next[module])

    def loaded(self, start: str) -> set[str]:
        """What is read before a module is ready: packages above a module are read with it."""
        return self._reached([start, *_packages(start)], lambda module: self._next[module].union(
            *(_packages(m) for m in self._next[module])))

    def _reached(self, starts: list[str], following: Callable[[str], set[str]]) -> set[str]:
        seen, queue = set(starts), list(starts)
        while queue:
            new = following(queue.pop()) - seen
            seen |= new
            queue += new
        return seen

    def closes_a_circle(self, edge: Edge) -> bool:
        """Whether the target itself needs the module."""
        return edge[0] in self.needed(edge[1])


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def imports(package: Path = ROOT / "tensorprog") -> Imports:
    """The imports of a package by its text; those for type checkers alone are none."""
    modules = _modules(package)
    at_once: set[Edge] = set()
    late: set[Edge] = set()
    for module, path in modules.items():
        for node, inside in _statements(ast.parse(path.read_text(encoding="utf-8")), False):
            for target in _targets(node, modules):
                if target != module:
                    (late if inside else at_once).add((module, target))
    return Imports(modules, frozenset(at_once), frozenset(late))


def _statements(node: ast.AST, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, inside
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _statements(child, inside)


def _targets(node: ast.Import | ast.ImportFrom, modules: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif node.module in modules:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in modules else node.module


def late_list(found: Imports) -> str:
    """The text of the list: imports inside of functions that close no circle."""
    lines = []
    for module in sorted({m for m, _ in found.late}):
        targets = sorted(t for m, t in found.late if m == module and not found.closes_a_circle((m, t)))
        if targets:
            lines.append(f"{module}: {' '.join(targets)}\n")
    return HEADER + "".join(lines)


def write_late_list() -> None:
    LATE.write_text(late_list(imports()))
