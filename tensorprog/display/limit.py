"""The limit of a program as something to look at: text, Markdown, LaTeX, JSON, SymPy equations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy

from tensorprog.derive.rules import Derivation, Rule, Step
from tensorprog.display import FORMATS
from tensorprog.display.json import derivation_dict, derivation_json
from tensorprog.display.latex import aligned, derivation_latex
from tensorprog.display.markdown import derivation_markdown
from tensorprog.display.text import derivation_text
from tensorprog.files import require_choice


@dataclass(frozen=True)
class Limit:
    """The equations of the infinite-width limit. In a notebook it displays itself as formulas.

    Attributes:
        derivation: the equations with their kinds, indices and steps (`derive.rules`).
    """

    derivation: Derivation

    def text(self, steps: bool = False) -> str:
        """The equations for a terminal; with `steps` the simplifications that led to them."""
        return derivation_text(self.derivation, steps)

    def markdown(self, steps: bool = False) -> str:
        """The equations as Markdown with LaTeX formulas."""
        return derivation_markdown(self.derivation, steps)

    def latex(self, steps: bool = False) -> str:
        """The equations as a LaTeX document that needs amsmath and amssymb."""
        return derivation_latex(self.derivation, steps)

    def json(self) -> dict[str, object]:
        """The equations as dictionaries and lists; the schema is in `display.json`."""
        return derivation_dict(self.derivation)

    def json_text(self) -> str:
        """The equations as JSON text."""
        return derivation_json(self.derivation)

    def show(self, style: str, steps: bool = False) -> str:
        """The equations in one of `display.FORMATS`: 'text', 'markdown', 'latex', 'json' (which always has the steps), or one
        that was registered.

        Raises:
            ProgramError: TP704, for another one.
        """
        require_choice("TP704", "format", style, tuple(FORMATS))
        return FORMATS[style].render(self.derivation, steps)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The equations with their kinds, indices and steps."""
        return self.derivation.rules

    @cached_property
    def equations(self) -> list[sympy.Eq]:
        """The equations as SymPy objects, without the laws of the initial vectors."""
        return [sympy.Eq(rule.left, rule.right, evaluate=False) for rule in self.rules if not rule.is_law]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every simplification, by name, in order."""
        return self.derivation.steps

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<limit of {self.derivation.name}: {len(self.rules)} equations>"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_latex_(self) -> str:
        return f"$${aligned(list(self.rules))}$$"
