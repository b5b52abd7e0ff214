"""The infinite-width limit of a program as formulas: `derive` reads the limit program, `display` shows the result.

    trace -> system -> dependence, responses, parity -> simplify, onsager -> derive (names) -> common -> display
"""

from tensorprog.derive.derive import derive
from tensorprog.derive.rules import Derivation, Index, Rule, Step

__all__ = ["Derivation", "Index", "Rule", "Step", "derive"]
