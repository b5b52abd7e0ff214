"""The checker: from the syntax tree to the typed program, or to diagnostics."""

from tensorprog.check.checker import check

__all__ = ["check"]
