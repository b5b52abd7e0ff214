r"""Long formulas of LaTeX in several lines, broken at sums.

A line may end before a `+` or `-` that is inside of no group (`{...}`, an environment), though inside of brackets: sums outside
of brackets are broken first. Brackets whose sides come to stand on different lines cannot be `\left(`, `\right)`; they become
`\bigl(`, `\bigr)`. What has no sum stays as long as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The characters that fit into a line, as they are seen.
WIDTH = 66

_TOKEN = re.compile(r"\\(?:left|right)\s*(?:\\[A-Za-z]+|\\.|.)|\\begin\{\w+\}|\\end\{\w+\}|\\[A-Za-z]+|\\.|[{}]| [+-] |.", re.S)
_UNSEEN = re.compile(r"\\(?:left|right|bigl|bigr|mathbb|mathrm|mathit|mathbf|mathcal|operatorname|text|hat|dot|quad)"
                     r"|\\(?:begin|end)\{\w+\}|[{}^_&\s]")
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line may begin: a position of the text, and in how many brackets it is."""

    position: int
    depth: int


@dataclass(frozen=True, slots=True)
class _Bracket:
    """The positions of the two sides of a bracket."""

    left: int
    right: int


def broken(text: str, first: int = WIDTH, width: int = WIDTH) -> list[str]:
    """The lines of a formula.

    Args:
        first, width: the characters that fit into the first line and into the others.
    """
    places, brackets = _read(text)
    ends = [*_starts(text, places, 0, len(text), first, width), len(text)]
    return [_line(text, begin, end, brackets) for begin, end in zip([0, *ends], ends)]


def seen(text: str) -> int:
    """About how many characters one sees of a formula; of a fraction those of both sides count."""
    return len(_COMMAND.sub("x", _UNSEEN.sub("", text)))


def _read(text: str) -> tuple[list[_Place], list[_Bracket]]:
    places, brackets, opened, groups = [], [], [], 0
    for found in _TOKEN.finditer(text):
        token = found.group()
        if token == "{" or token.startswith(r"\begin"):
            groups += 1
        elif token == "}" or token.startswith(r"\end"):
            groups -= 1
        elif token.startswith(r"\left") and token[5:6] and not token[5:6].isalpha():
            opened.append((found.start(), groups))
        elif token.startswith(r"\right") and token[6:7] and not token[6:7].isalpha():
            begin, _ = opened.pop()
            brackets.append(_Bracket(begin, found.start()))
        # In a group, as a fraction or an exponent, a line break is an error of LaTeX.
        elif token in (" + ", " - ") and groups == 0:
            places.append(_Place(found.start() + 1, len(opened)))
    return places, brackets


def _starts(text: str, places: list[_Place], begin: int, end: int, first: int, width: int) -> list[int]:
    """Where the second and later lines of a part of the text begin."""
    inside = [p for p in places if begin < p.position < end]
    if seen(text[begin:end]) <= first or not inside:
        return []
    # Outside of as many brackets as can be.
    depth = min(p.depth for p in inside)
    starts, line, room = [], begin, first
    edges = [*(p.position for p in inside if p.depth == depth), end]
    for term, following in zip([begin, *edges], edges):
        if term > line and seen(text[line:following]) > room:
            starts.append(term)
            line, room = term, width
        # A term that does not fit even into a line of its own is broken in its brackets.
        if line == term and seen(text[term:following]) > room:
            within = _starts(text, places, term, following, room, width)
            starts += within
            line, room = (within[-1], width) if within else (line, room)
    return starts


def _line(text: str, begin: int, end: int, brackets: list[_Bracket]) -> str:
    """A line, with brackets that are not whole in it in a size of their own."""
    split = {side for b in brackets if (begin <= b.left < end) != (begin <= b.right < end) for side in (b.left, b.right)}
    pieces, last = [], begin
    for side in sorted(s for s in split if begin <= s < end):
        word = r"\left" if text.startswith(r"\left", side) else r"\right"
        pieces += [text[last:side], r"\bigl" if word == r"\left" else r"\bigr"]
        last = side + len(word)
    return "".join([*pieces, text[last:end]]).strip()
