"""The front of the compiler: text to syntax tree and back, and the canonical layout of a program's text."""

from tensorprog.syntax import tree
from tensorprog.syntax.format import format_text
from tensorprog.syntax.parser import parse
from tensorprog.syntax.unparse import unparse

__all__ = ["format_text", "parse", "tree", "unparse"]
