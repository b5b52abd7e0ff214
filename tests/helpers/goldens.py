"""What every stage makes of every example, as files in `tests/goldens`. `make goldens` writes them anew; a diff shows what a change does.

    tree          the program in canonical form        limit   the limit program
    program       the typed program                    plan    the evaluator of every output, and what it costs
    derivation    the limit as formulas                module  the first lines of the emitted module
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from imports import write_late_list
from places import GOLDENS, ROOT

import tensorprog
from tensorprog.diagnostics import ProgramError

EXAMPLES = sorted(p for p in (ROOT / "examples").rglob("*.tp"))
STAGES = {"tree": "ast", "program": "program", "limit": "limit", "plan": "plan", "derivation": "text", "module": "kernel"}


def name_of(example: Path) -> str:
    """The folder of an example's files."""
    return example.relative_to(ROOT / "examples").with_suffix("").as_posix().replace("/", ".")


def texts(example: Path) -> dict[str, str]:
    """The text of every stage; of a stage that the program does not have, what is said of it."""
    program = tensorprog.compile(example.read_text())
    return {stage: _text(program, stage) for stage in STAGES}


def _text(program: tensorprog.CompiledProgram, stage: str) -> str:
    try:
        text = program.emit(STAGES[stage])
    except ProgramError as error:
        return "".join(f"{d.code}: {d.message}\n" for d in error.diagnostics)
    return header(text) if stage == "module" else text


def header(module: str) -> str:
    """A module up to its first function, without the names of kernels."""
    lines = module.splitlines(keepends=True)
    first = next((k for k, line in enumerate(lines) if line.startswith(("def ", "@"))), len(lines))
    return "".join(lines[:first]).rstrip() + "\n"


def main() -> None:
    """Write all files anew."""
    write_late_list()
    shutil.rmtree(GOLDENS, ignore_errors=True)
    for example in EXAMPLES:
        folder = GOLDENS / name_of(example)
        folder.mkdir(parents=True)
        for stage, text in texts(example).items():
            (folder / f"{stage}.txt").write_text(text)
        print(name_of(example), file=sys.stderr)


if __name__ == "__main__":
    main()
