"""What the calculus of exponents does not decide: an error with its place, never a guess."""

from __future__ import annotations

from typing import NoReturn

from tensorprog.diagnostics import Diagnostic, ProgramError, Source, Span

HELP = "give the intermediate value a name, write the power of n at this place, or train one of them only"


def undecided(source: Source, what: str, span: Span | None, help: str = HELP) -> NoReturn:
    """Raise TP720."""
    raise ProgramError([Diagnostic("TP720", f"powers of n do not decide {what}", span, help=help)], source)


def not_covered(source: Source, node: object, span: Span | None) -> NoReturn:
    """Raise TP720 for an operation or a statement without a rule."""
    undecided(source, f"the size of this ({type(node).__name__})", span,
              "powers of n have no rule for this operation: leave it out of what is scaled")
