"""What an evaluator is: which outputs it covers, what it says of them, their values, and a module that computes them.

`table` holds all, those of this package and those from outside (`tensorprog.register`). `plan` gives every output to the first one
that covers it, exact ones before those with sampling errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorprog.diagnostics import Source
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, Evaluated
from tensorprog.ir.program import Cell, Output


@dataclass(frozen=True)
class Share:
    """The outputs that an evaluator covers.

    Attributes:
        names: of the outputs.
        reasons: why it does not cover others, by cell.
        found: what it found out about them, for its own use; kept on disk with the plan.
    """

    names: tuple[str, ...]
    reasons: Mapping[Cell, str]
    found: Any = None


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        env: values of inputs, sizes and parameters.
        source: the program's text, for diagnostics.
        options: samples, replicates, seed, tolerance, dtype, threads, progress, and what else `evaluate` takes.
        asked: whether the user asked for the evaluator; then it says why it has no values, and else leaves outputs out.
    """

    env: Mapping[str, Any]
    source: Source
    options: Mapping[str, Any]
    asked: bool


@dataclass(frozen=True)
class Evaluator:
    """A way to evaluate limits.

    Attributes:
        name: what `method=` and plans call it.
        exact: whether its values have no sampling errors.
        share: of a program and some of its outputs, which it covers; the flag says whether it was asked for.
        choice: what is said of an output that the plan gives to it, from the shares of all evaluators up to it.
        run: the values and errors of its share, or of a part of it where it finds that it cannot compute all.
        emit: the source of a module whose `run` computes its share, which holds all outputs.
        total: whether it has values of its share whatever the data are, so that such a module can stand alone.
    """

    name: str
    exact: bool
    share: Callable[[Analysis, Sequence[Output], bool], Share]
    choice: Callable[[Analysis, Output, Mapping[str, Share]], Choice]
    run: Callable[[Analysis, Share, Task], Evaluated]
    emit: Callable[[Analysis, Share], str]
    total: bool = True

    def check(self) -> None:
        """Raises:
            ValueError: the name is not one that a command line could hold.
        """
        # `auto` is the plan's choice, `zero` what it says of outputs that vanish.
        if not self.name.isidentifier() or self.name in ("auto", "zero"):
            raise ValueError(f"`{self.name}` is no name of an evaluator")
