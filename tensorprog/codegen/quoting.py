"""What users wrote, as text within the docstring of an emitted module."""

from __future__ import annotations

import os


def quoted(text: str) -> str:
    """Lines of text as they are written inside of a string literal: nothing in them ends the literal, is an escape, or is
    a character that cannot be seen or encoded."""
    return "".join(map(_quoted, text))


def quoted_name(path: str) -> str:
    """A file's name, without its folder, in one line of a string literal."""
    return quoted(os.path.basename(path)).replace("\n", "\\n")


def _quoted(character: str) -> str:
    if character in '\\"':
        return "\\" + character
    if character == "\n" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
