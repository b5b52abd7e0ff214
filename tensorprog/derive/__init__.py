"""The infinite-width limit of a program as formulas: `derive` reads the limit program, `Limit` shows the result.

    trace -> system -> dependence, responses, parity -> simplify, onsager -> derive (names) -> common -> text,
    markdown, latex, json
"""

from tensorprog.derive.derive import derive
from tensorprog.derive.limit import Limit
from tensorprog.derive.rules import Derivation, Index, Rule, Step

__all__ = ["Derivation", "Index", "Limit", "Rule", "Step", "derive"]
